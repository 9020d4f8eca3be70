"""A set of images through all formats by turns: the run, and the record that is kept of it.

    for each image: for each repeat: for each format, beginning with another one each time: encode, decode

so that whatever else the machine does falls on all formats alike.  A format that takes longer than SLOW
seconds for an image encodes it once; it decodes it as often as the others.  Each format has a process of its
own (`process.py`), all are warmed up before the first image, and every image is compared with what came back.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from vdmcompress.classical import WEBP_SIDE
from vdmcompress.errors import UnsupportedImageError, UsageError, VdmError
from vdmcompress.measure.formats import Pixels, available, find_format, read_pixels, usual_names
from vdmcompress.measure.machine import machine, processors, versions
from vdmcompress.measure.process import FormatProcess
from vdmcompress.measure.summary import median, totals

Progress = Callable[[float, float, str], None]

SCHEMA: Final = "vdmc-bench/1"

SLOW: Final = 3.0
"""Seconds; what takes longer to encode is encoded once."""

TYPICAL: Final[Mapping[str, float]] = {
    "png": 0.7, "webp": 25.0, "webp4": 0.7, "jxl3": 0.15, "jxl5": 0.8, "jxl7": 1.6, "jxl9": 7.0, "jls": 0.05,
    "avif": 4.0, "vdmc1": 2.0, "vdmc7": 9.0, "vdmc9": 30.0,
}  # fmt: skip
"""Seconds a megapixel for both ways, by which the time left is told until a format has been measured."""


@dataclass(frozen=True)
class Settings:
    """How a run is made.  names: formats.  threads: for formats that use several.  repeats: of each image."""

    names: Sequence[str] = field(default_factory=usual_names)
    threads: int = 0
    repeats: int = 3

    @property
    def thread_count(self) -> int:
        """Threads, of which 0 means all processors."""
        return self.threads or processors()


def run(
    paths: Sequence[Path], name: str, settings: Settings, progress: Progress | None = None
) -> dict[str, Any]:
    """Measure images; the record that is kept as JSON (docs/measuring.md has its keys).

    Raises UsageError where no image can be measured, MachineError where a format gives other pixels back,
    VdmError where a format fails.
    """
    if settings.repeats < 1:
        raise UsageError(f"{settings.repeats} repeats; allowed are 1 and more")
    names, missing = available(settings.names, settings.thread_count)
    if not names:
        raise UsageError(f"no format to measure: {'; '.join(missing.values()) or 'none was named'}")
    images, skipped = survey(paths, progress)
    if not images:
        raise UsageError("no image to measure" + "".join(f"; {s['image']}: {s['reason']}" for s in skipped))
    forms = {each: find_format(each, settings.thread_count) for each in names}
    clock = _Clock(images, names)
    clock.repeats, clock.progress = settings.repeats, progress
    records = []
    with ExitStack() as stack:
        processes = []
        for each in names:
            clock.tell(f"starting {forms[each].title}")
            processes.append(stack.enter_context(FormatProcess(each, settings.thread_count)))
        called = image_names(paths)
        for turn, path in enumerate(images):
            pixels = read_pixels(path)
            rows = _one_image(processes, path, pixels, settings.repeats, turn, clock)
            records.append(
                {
                    "image": called[path],
                    "width": pixels.shape[1],
                    "height": pixels.shape[0],
                    "channels": 1 if pixels.ndim == 2 else pixels.shape[2],
                    "crc": f"{zlib.crc32(pixels.tobytes()):08x}",
                    "formats": {forms[each].title: rows[each] for each in names},
                }
            )
    return {
        "schema": SCHEMA,
        "name": name,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "versions": versions(),
        "threads": settings.thread_count,
        "repeats": settings.repeats,
        "formats": {
            form.title: {"name": form.name, "family": form.family, "setting": form.setting}
            | {"threads": form.threads}
            for form in forms.values()
        },
        "missing": missing,
        "skipped": skipped,
        "totals": totals(records),
        "images": records,
    }


def survey(
    paths: Sequence[Path], progress: Progress | None = None
) -> tuple[dict[Path, float], list[dict[str, str]]]:
    """Megapixels of the images that all formats can hold; and which are left out, and why."""
    found: dict[Path, float] = {}
    skipped = []
    for index, path in enumerate(paths):
        if progress is not None:
            progress(index, len(paths), f"reading {path.name}")
        try:
            height, width = read_pixels(path).shape[:2]
            if max(height, width) > WEBP_SIDE:
                raise UnsupportedImageError(f"not measured: {width}x{height}, WebP has {WEBP_SIDE} a side")
            found[path] = height * width / 1e6
        except (VdmError, OSError) as error:
            skipped.append({"image": str(path), "reason": " ".join(str(error).split())})
    return found, skipped


def image_names(paths: Iterable[Path]) -> dict[Path, str]:
    """What images are called: without folder and suffix, or as they were named where that is not unique."""
    paths = list(paths)
    count = Counter(path.stem for path in paths)
    return {path: path.stem if count[path.stem] == 1 else str(path) for path in paths}


def _one_image(
    processes: Sequence[FormatProcess], path: Path, pixels: Pixels, repeats: int, turn: int, clock: _Clock
) -> dict[str, dict[str, Any]]:
    """The figures of an image by format name."""
    times: dict[str, dict[str, list[float]]] = {p.name: {"encode": [], "decode": []} for p in processes}
    rows: dict[str, dict[str, Any]] = {
        p.name: {"encode_peak_mib": 0, "decode_peak_mib": 0} for p in processes
    }
    for repeat in range(repeats):
        first = (turn + repeat) % len(processes)
        for process in (*processes[first:], *processes[:first]):
            spent, row = times[process.name], rows[process.name]
            clock.tell(f"{path.name} {find_title(process.name)}")
            if repeat == 0 or spent["encode"][0] <= SLOW:
                coded = process.encode(pixels)
                if row.setdefault("bytes", coded.size) != coded.size:
                    raise VdmError(
                        f"{path}: {process.name} gave {row['bytes']} bytes, then {coded.size}; a defect"
                    )
                spent["encode"].append(coded.seconds)
                row["encode_peak_mib"] = max(row["encode_peak_mib"], -(-coded.peak >> 20))
                row |= coded.detail
            decoded = process.decode()
            spent["decode"].append(decoded.seconds)
            row["decode_peak_mib"] = max(row["decode_peak_mib"], -(-decoded.peak >> 20))
            clock.spent(process.name, path, repeat, spent)
    for each, row in rows.items():
        for way, seconds in times[each].items():
            row[f"{way}_seconds"] = median(seconds)
            row[way] = [round(s, 4) for s in seconds]
    return rows


def find_title(name: str) -> str:
    """How a format's name is shown while it works."""
    return find_format(name).title


class _Clock:
    """Tells progress in expected seconds, so that the time left is right although formats differ widely."""

    def __init__(self, megapixels: Mapping[Path, float], names: Sequence[str]) -> None:
        self.repeats = 1
        self.progress: Progress | None = None
        self._megapixels = megapixels
        self._guesses = {name: TYPICAL.get(name.removesuffix("+").removesuffix("rgb"), 1.0) for name in names}
        self._known: dict[str, tuple[float, float, float]] = {}
        self._done: dict[tuple[str, Path], int] = {}
        self._seconds = 0.0

    def spent(self, name: str, path: Path, repeat: int, times: Mapping[str, Sequence[float]]) -> None:
        """Count what a format has just done."""
        encode = times["encode"][-1] if len(times["encode"]) > repeat else 0.0
        self._seconds += encode + times["decode"][-1]
        self._done[name, path] = repeat + 1
        encodes, decodes, pixels = self._known.get(name, (0.0, 0.0, 0.0))
        if repeat == 0:
            mpx = self._megapixels[path]
            self._known[name] = (encodes + times["encode"][0], decodes + times["decode"][0], pixels + mpx)
        self.tell("")

    def tell(self, what: str) -> None:
        """Say how far the run is."""
        if self.progress is not None:
            self.progress(self._seconds, self._seconds + self._left(), what)

    def _left(self) -> float:
        total = 0.0
        for name, guess in self._guesses.items():
            encodes, decodes, pixels = self._known.get(name, (guess, 0.0, 1.0))
            for path, mpx in self._megapixels.items():
                done = self._done.get((name, path), 0)
                encode, decode = encodes / pixels * mpx, decodes / pixels * mpx
                encodings = max(0, 1 - done) if encode > SLOW else self.repeats - done
                total += encodings * encode + (self.repeats - done) * decode
        return total
