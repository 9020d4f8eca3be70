"""Pack training photographs into one file for another machine: an npz of lossless WebP bytes.

    python -m vdmcompress.train.pack FOLDER... -o pack.npz --limit 45MiB

`data.load_images` reads packs in its folders.  Lossless WebP is denser than compressing the npz itself.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vdmcompress.errors import UsageError
from vdmcompress.train.data import load_images

UNITS = {
    "": 1,
    "B": 1,
    "kB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
}
OVERHEAD = 512
"""Bytes of an npz, at most, for one more image in it."""


def size(text: str) -> int:
    """Bytes of "45MiB", "1 kB", "12"; ValueError for what is no size."""
    match = re.fullmatch(r"([0-9.]+) ?([A-Za-z]*)", text)
    if match is None or match[2] not in UNITS:
        raise ValueError(f"size {text!r}, allowed are numbers with one of {', '.join(filter(None, UNITS))}")
    return int(float(match[1]) * UNITS[match[2]])


def webp(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lossless WebP bytes, uint8 (n,), of pixels uint8 (H, W, 3)."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "WEBP", lossless=True, exact=True, quality=75, method=4)
    return np.frombuffer(buffer.getvalue(), np.uint8)


def pack(folders: Sequence[Path], out: Path, limit: int) -> tuple[int, int]:
    """Write a pack of at most `limit` bytes; returns how many images are in it and how many were left out.

    Where not all fit, the ones that stay are spread evenly over the folders' order.  Raises UsageError where
    none fits.
    """
    coded = [webp(image) for image in load_images(list(folders))]
    room = limit - OVERHEAD
    order = sorted(range(len(coded)), key=lambda i: (i * 0.6180339887498949) % 1.0)
    kept: list[int] = []
    for i in order:
        need = coded[i].size + OVERHEAD
        if need <= room:
            room -= need
            kept.append(i)
    if not kept:
        raise UsageError(f"a pack of {limit} bytes holds none of {len(coded)} images; give a larger --limit")
    out.parent.mkdir(parents=True, exist_ok=True)
    arrays = {f"{i:06}": coded[i] for i in sorted(kept)}
    with out.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    return len(kept), len(coded) - len(kept)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(prog="python -m vdmcompress.train.pack", description="Pack photographs.")
    parser.add_argument("folders", nargs="+", type=Path, help="folders of lossless RGB images, or of packs")
    parser.add_argument("-o", "--output", required=True, type=Path, help="the pack, .npz")
    parser.add_argument("--limit", type=size, default=size("45MiB"), help="largest size (default 45MiB)")
    given = parser.parse_args(arguments)
    kept, left = pack(given.folders, given.output, given.limit)
    total = given.output.stat().st_size
    sys.stdout.write(f"{given.output}: {kept} images, {total} bytes; {left} left out\n")


if __name__ == "__main__":
    main()
