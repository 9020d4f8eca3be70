"""A worker: mutates and tries the cases of a range, one JSON line each; limits of memory on itself.

Case i of a seed is the same bytes in every run, so that any case can be had again (`python -m fuzz.drive
--first i --cases 1`).  The even ones are plain, the odd ones repaired (of files and archives; others have no
checksums).
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fuzz import corpus, mutate
from fuzz.mutate import Change
from fuzz.targets import FileTarget, ModelTarget, Target, image_target

SCALES = (1, 1, 1, 1, 1, 1, 1, 2, 4, 8)


@dataclass(frozen=True)
class Cases:
    """The mutated files of a target.  seeds: name -> sound file.  repaired: makes the odd cases, if given."""

    seeds: Mapping[str, bytes]
    target: Target
    repaired: Change | None = None
    names: Sequence[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", sorted(self.seeds))

    def make(self, seed: int, index: int) -> tuple[str, bytes, int]:
        """Kind and name of seed, the mutated bytes, the scale to decode at."""
        rng = np.random.default_rng([seed, index])
        name = self.names[int(rng.integers(len(self.names)))]
        data, all_seeds = self.seeds[name], [self.seeds[n] for n in self.names]
        repaired = self.repaired if index % 2 else None
        kind, change = ("plain", mutate.plain) if repaired is None else ("repaired", repaired)
        changed = change(rng, data, all_seeds)
        while changed in all_seeds:
            changed = change(rng, data, all_seeds)
        return f"{kind} {name}", changed, int(rng.choice(SCALES))


def cases(name: str) -> Cases:
    """The cases of a target: file, archive, model or image."""
    if name == "file":
        from vdmcompress.api import decode_picture
        from vdmcompress.container import peek

        sound = corpus.load("sound")
        pictures = {peek(data).pixel_crc: decode_picture(data, threads=1) for data in sound.values()}
        return Cases(sound, FileTarget(pictures), mutate.repaired)
    if name == "archive":
        from fuzz import archives, mutate_archives

        seeds = archives.seeds()
        return Cases(seeds, archives.target(seeds), mutate_archives.repaired)
    if name == "model":
        target = ModelTarget(corpus.load("sound")["rgb-17x12"])
        return Cases({"tiny": corpus.TINY.read_bytes()}, target)
    return Cases(_images(), image_target)


def _images() -> dict[str, bytes]:
    """A small image in every format that is read, some with metadata, and PNGs of all modes and depths."""
    from PIL import Image

    from vdmcompress.api import decode_picture
    from vdmcompress.container import peek
    from vdmcompress.header import Kind
    from vdmcompress.image_output import write_picture

    exif = Image.Exif()
    exif[274] = 6
    blocks = {"exif": exif, "icc_profile": bytes(range(40)), "xmp": b"<x/>", "dpi": (72, 72)}
    found = {}
    for kind in ("BMP", "GIF", "JPEG", "PNG", "PPM", "QOI", "TIFF", "WEBP"):
        for channels in (1, 3):
            if kind == "QOI" and channels == 1:
                continue
            stream = io.BytesIO()
            rich = blocks if kind in ("JPEG", "TIFF", "WEBP") and channels == 3 else {}
            Image.fromarray(corpus.picture(24, 20, channels)).save(stream, kind, **rich)
            found[f"{kind.lower()}-{channels}"] = stream.getvalue()
    for name, data in corpus.load("sound").items():
        if peek(data).kind is not Kind.DIFFUSION and "png" not in name:
            found[f"png-{name}"] = write_picture(decode_picture(data), "png")[0]
    return found


def _status(name: str) -> int:
    """A figure of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"/proc/self/status has no {name}")


def attempt(found: Cases, seed: int, index: int) -> dict[str, Any]:
    """Try a case: what came of it, seconds, bytes of memory."""
    kind, data, scale = found.make(seed, index)
    Path("/proc/self/clear_refs").write_text("5")
    held, wall, processor = _status("VmRSS"), time.perf_counter(), time.process_time()
    try:
        result, broken = found.target(data, scale), False
    except Exception as error:  # all that is no VdmError is what is looked for
        result, broken = f"{type(error).__name__}: {error}", True
    return {
        "case": index,
        "kind": kind,
        "result": result,
        "broken": broken,
        "wall": time.perf_counter() - wall,
        "processor": time.process_time() - processor,
        "memory": max(_status("VmHWM") - held, 0),
    }


def run(found: Cases, seed: int, first: int, count: int, memory: int) -> None:
    """Try the cases and print a line for each, before (its number) and after (what came of it)."""
    found.target(found.seeds[found.names[0]], 1)  # what is imported and compiled once is no case's cost
    bound = _status("VmSize") + memory
    resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
    for index in range(first, first + count):
        print(index, flush=True)
        print(json.dumps(attempt(found, seed, index)), flush=True)


def main() -> None:
    """Run a range of cases."""
    parser = argparse.ArgumentParser(description="Try a range of mutated files; fuzz.drive starts this.")
    parser.add_argument("target")
    for name in ("seed", "first", "count", "memory"):
        parser.add_argument(name, type=int)
    given = parser.parse_args()
    os.environ["VDMC_MODEL_PATH"] = str(corpus.DATA)
    run(cases(given.target), given.seed, given.first, given.count, given.memory)
    sys.exit(0)


if __name__ == "__main__":
    main()
