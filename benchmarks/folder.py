"""A folder there and back by the command line: `vdmc encode -r --rm` over a copy, then `vdmc decode -r`.

    python -m benchmarks.folder FOLDER [--model FILE]

What came back is compared with the original by the programs of `benchmarks.fidelity`. Every file of the copy
must be removed and come back exactly, with its time and permissions, or be as it was; no other file may lie
there. The exit status says whether all of that held.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.fidelity import compare

CODED = ".vdm"
REMOVED = "removed and came back exactly"
INCOMPLETE = "kept beside their .vdm files, which lack metadata that PNG cannot hold, and came back exactly"
UNTOUCHED = "untouched"


@dataclass
class Outcome:
    """What came of the files.  faults: what must not be."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    bytes_removed: int = 0
    bytes_coded: int = 0


def vdmc(*arguments: str | Path) -> int:
    """Run the command as a process of its own; its exit code."""
    start = "from cli.main import main; main()"
    return subprocess.run([sys.executable, "-c", start, *map(str, arguments)], check=False).returncode


def files(folder: Path) -> set[str]:
    """All files below a folder, hidden ones too, by their names relative to it."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def judge(source: Path, copy: Path, back: Path) -> Outcome:
    """Compare the original folder with what encoding left of its copy, and with what decoding made."""
    outcome, coded, decoded = Outcome(), set[str](), set[str]()
    for name in sorted(files(source)):
        if (copy / f"{name}{CODED}").exists():
            coded.add(name)
        written = name if name.lower().endswith(".png") else f"{name}.png"
        fault = _untouched(source / name, copy / name) if (copy / name).exists() else ""
        if name in coded and not fault:
            decoded.add(written)
            fault = _came_back(source / name, back / written)
        elif not fault and not (copy / name).exists():
            fault = "is lost"
        if fault:
            outcome.faults.append(f"{name}: {fault}")
            continue
        removed = name in coded and not (copy / name).exists()
        outcome.counts[REMOVED if removed else INCOMPLETE if name in coded else UNTOUCHED] += 1
        if removed:
            outcome.bytes_removed += (source / name).stat().st_size
            outcome.bytes_coded += (copy / f"{name}{CODED}").stat().st_size
    left = files(copy) - files(source) - {f"{name}{CODED}" for name in coded}
    left |= files(back) - decoded
    outcome.faults += [f"{name}: left behind" for name in sorted(left)]
    return outcome


def _untouched(source: Path, found: Path) -> str:
    same = source.read_bytes() == found.read_bytes() and _kept(source) == _kept(found)
    return "" if same else "was altered in its place"


def _came_back(source: Path, written: Path) -> str:
    if not written.exists():
        return "did not come back"
    if _kept(source) != _kept(written):
        return "came back with another time or other permissions"
    return compare(source.read_bytes(), written.read_bytes())[1]


def _kept(path: Path) -> tuple[int, int]:
    """Permissions and time of change."""
    found = path.stat()
    return found.st_mode, found.st_mtime_ns


def run(source: Path, place: Path, options: Sequence[str]) -> Outcome:
    """Send a copy of a folder there and back below another folder.  options: further ones of encode."""
    copy, back = place / "copy", place / "back"
    shutil.copytree(source, copy)
    codes = (
        vdmc("encode", "-q", "-r", "--rm", "--full-name", *options, copy),
        vdmc("decode", "-q", "-r", "--format", "png", copy, "-O", back),
    )
    outcome = judge(source, copy, back)
    if codes[0] not in (0, 1) or codes[1] != 0:
        outcome.faults.append(f"exit codes {codes[0]} of encode, {codes[1]} of decode")
    return outcome


def text(outcome: Outcome) -> str:
    """The figures in a few lines."""
    lines = [f"{sum(outcome.counts.values()) + len(outcome.faults)} files"]
    lines += [f"{count} {what}" for what, count in sorted(outcome.counts.items())]
    lines += [f"{outcome.bytes_removed:,} bytes removed, {outcome.bytes_coded:,} in their .vdm files"]
    return "\n".join([*lines, f"{len(outcome.faults)} faults", *outcome.faults])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.folder", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, help="model file; default the shipped one")
    given = parser.parse_args()
    options = ["--effort", "1"]
    if given.model is not None:
        os.environ["VDMC_MODEL_PATH"] = str(given.model.parent)
        options += ["--model", str(given.model)]
    with tempfile.TemporaryDirectory() as place:
        outcome = run(given.folder, Path(place), options)
    print(text(outcome))
    sys.exit(bool(outcome.faults))


if __name__ == "__main__":
    main()
