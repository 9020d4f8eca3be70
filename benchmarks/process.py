"""The installed `vdmc` in a process of its own, and what that process cost."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Run:
    """One finished process: its JSON records, wall time and peak resident memory."""

    records: list[dict[str, Any]]
    seconds: float
    peak_mib: float


def command() -> str:
    """The `vdmc` script beside the interpreter; FileNotFoundError where the package is not installed."""
    script = Path(sys.executable).with_name("vdmc")
    if not script.exists():
        raise FileNotFoundError(f"no vdmc beside {sys.executable}: install the package (make install)")
    return str(script)


def run(*arguments: str | os.PathLike[str]) -> Run:
    """Run `vdmc` with --json added to the arguments; raises RuntimeError with its stderr where it fails."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.perf_counter()
        process = subprocess.Popen([command(), *map(str, arguments), "--json"], stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode != 0:
            said = err.read().decode(errors="replace").strip()
            raise RuntimeError(f"vdmc {arguments[0]} ended with {process.returncode}: {said}")
        records = [json.loads(line) for line in out.read().splitlines()]
    return Run(records, seconds, usage.ru_maxrss / 1024)


def run_files(
    arguments: Sequence[str | os.PathLike[str]], files: Sequence[Path], folder: Path
) -> tuple[Run, dict[str, dict[str, Any]]]:
    """Run a command on files with -O folder; returns the run and the records by the input's stem."""
    folder.mkdir(parents=True, exist_ok=True)
    done = run(*arguments, *files, "-O", folder)
    return done, {Path(record["file"]).stem: record for record in done.records}
