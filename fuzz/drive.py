"""Mutated files through the readers, in worker processes with limits of time and memory.

    python -m fuzz.drive --target file --cases 20000 --seed 1 --report report.json

Reported: how often each outcome came, by kind of mutation; the slowest case; the most memory; every broken
promise, with its bytes under --keep.  A worker that ends or takes too long is one, and a new one goes on
after that case.  The exit status says whether all promises held.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from fuzz import corpus, worker

START_SECONDS = 300.0
"""A worker may take so long until its first case: it imports, compiles and decodes the seeds."""


@dataclass
class Tally:
    """What came of the cases so far."""

    seconds_allowed: float
    memory_allowed: int
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    broken: list[dict[str, Any]] = field(default_factory=list)
    slowest: dict[str, Any] = field(default_factory=dict)
    largest: dict[str, Any] = field(default_factory=dict)
    cases: int = 0
    processor: float = 0.0

    def add(self, record: dict[str, Any]) -> None:
        """Count a case."""
        self.cases += 1
        self.processor += record["processor"]
        counter = self.outcomes.setdefault(record["kind"].split()[0], Counter())
        counter["BROKEN" if record["broken"] else record["result"]] += 1
        if record["broken"]:
            self.broken.append(record)
        for held, figure, allowed in (
            ("slowest", "processor", self.seconds_allowed),
            ("largest", "memory", self.memory_allowed),
        ):
            if record[figure] > getattr(self, held).get(figure, -1):
                setattr(self, held, record)
            if record[figure] > allowed and not record["broken"]:
                self.broken.append({**record, "result": f"{figure} {record[figure]}", "broken": True})

    def report(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "cases": self.cases,
            "outcomes": {kind: dict(sorted(found.items())) for kind, found in sorted(self.outcomes.items())},
            "broken": self.broken,
            "slowest": self.slowest,
            "largest": self.largest,
            "mean_processor_seconds": self.processor / max(self.cases, 1),
        }


def _lines(stream: IO[str], into: queue.Queue[str | None]) -> None:
    with stream:
        for line in stream:
            into.put(line)
    into.put(None)


def watch(command: list[str], first: int, count: int, patience: float, tally: Tally) -> int:
    """Run a worker over a range; the number of the first case that is still to be done.

    patience: seconds that a case may take before its worker is ended.
    """
    alone = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | alone)
    lines: queue.Queue[str | None] = queue.Queue()
    reader = threading.Thread(target=_lines, args=(process.stdout, lines), daemon=True)
    reader.start()
    begun, wait = first, START_SECONDS
    try:
        while True:
            line = lines.get(timeout=wait)
            if line is None:
                break
            if line.startswith("{"):
                tally.add(json.loads(line))
                begun += 1
            else:
                begun, wait = int(line), patience
        status = process.wait()
        fault = f"the worker ended with status {status}" if status else None
    except queue.Empty:
        process.kill()
        process.wait()
        fault = f"no end after {wait:g} s"
    reader.join()
    if fault is None:
        return first + count
    record = {"case": begun, "kind": "worker", "result": fault, "broken": True}
    tally.add({**record, "wall": 0.0, "processor": 0.0, "memory": 0})
    return begun + 1


def _keep(given: argparse.Namespace, tally: Tally) -> None:
    """Write the bytes of broken cases."""
    if not tally.broken or given.keep is None:
        return
    found = worker.cases(given.target)
    given.keep.mkdir(parents=True, exist_ok=True)
    for record in tally.broken:
        _, data, scale = found.make(given.seed, record["case"])
        (given.keep / f"{given.target}-{given.seed}-{record['case']}-scale{scale}").write_bytes(data)


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description="Mutated files through the readers.")
    parser.add_argument("--target", choices=("file", "archive", "model", "image"), default="file")
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--chunk", type=int, default=2000, help="cases that one worker tries")
    parser.add_argument("--seconds", type=float, default=2.0, help="processor time that a case may take")
    parser.add_argument("--memory", type=int, default=256, help="MiB that a case may take")
    parser.add_argument("--patience", type=float, default=30.0, help="seconds until a worker is ended")
    parser.add_argument("--report", type=Path, help="write all figures to this JSON file")
    parser.add_argument("--keep", type=Path, help="write broken cases into this folder")
    given = parser.parse_args()
    os.environ["VDMC_MODEL_PATH"] = str(corpus.DATA)
    tally, start = Tally(given.seconds, given.memory << 20), time.perf_counter()
    at, end = given.first, given.first + max(given.cases, 1)
    while at < end:
        count = min(given.chunk, end - at)
        numbers = [str(v) for v in (given.seed, at, count, given.memory << 20)]
        command = [sys.executable, "-m", "fuzz.worker", given.target, *numbers]
        at = watch(command, at, count, given.patience, tally)
        print(f"{at - given.first} cases, {len(tally.broken)} broken promises", file=sys.stderr, flush=True)
        report = {**tally.report(), "seconds": time.perf_counter() - start, "seed": given.seed}
        if given.report is not None:
            given.report.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))
    _keep(given, tally)
    return 1 if tally.broken else 0


if __name__ == "__main__":
    sys.exit(main())
