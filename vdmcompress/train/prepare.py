"""Training photographs out of originals: upright, small enough to be sharp, free of what a JPEG leaves.

    python -m vdmcompress.train.prepare ORIGINALS... -o PHOTOGRAPHS

Lossless originals are taken as they are up to `SIDE` pixels a side, larger ones at a half or a third. A JPEG
is brought to a third or less, which takes its blocks and its halved chroma away. Of what is larger still the
middle is kept. Left out, with the reason: what is grey, has transparency, is too small, or takes a number of
bits that photographs do not take (drawings, noise).
"""

from __future__ import annotations

import argparse
import io
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageOps

SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp")

SIDE: Final = 768
"""Most pixels of a side."""

LEAST: Final = 200
"""Fewest pixels of a side."""

WANTED: Final = 800
"""Longer side of a downscaled JPEG, as nearly as a whole factor of 3 to 6 brings it."""

COLOURED: Final = 1.0
"""Least mean distance of red and green in a coloured picture."""

BPD: Final = (1.2, 5.5)
"""Bits a sub-pixel, as lossless WebP, of a photograph."""

_KERNELS: Final = (Image.Resampling.LANCZOS, Image.Resampling.BOX, Image.Resampling.BICUBIC)


@dataclass(frozen=True)
class Prepared:
    """path: of the original.  data: the lossless WebP, or empty with the reason."""

    path: Path
    data: bytes = b""
    reason: str = ""


def factor_of(width: int, height: int, lossy: bool) -> int:
    """By how much an original is downscaled; 0 where it is too small for that."""
    longer = max(width, height)
    if lossy:
        factor = min(max(round(longer / WANTED), 3), 6)
        return factor if min(width, height) >= LEAST * factor else 0
    return 1 if longer <= SIDE else 2 if longer <= 2 * SIDE else 3


def middle(image: Image.Image) -> Image.Image:
    """The middle of at most SIDE pixels a side."""
    width, height = min(image.width, SIDE), min(image.height, SIDE)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def prepared(path: Path, kernel: int = 0) -> Prepared:
    """One photograph of an original; kernel: number of the one that downscales."""
    try:
        with Image.open(path) as original:
            lossy = original.format == "JPEG"
            image: Image.Image = ImageOps.exif_transpose(original)
            image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return Prepared(path, reason=f"unreadable ({type(error).__name__})")
    if image.mode != "RGB":
        return Prepared(path, reason=f"mode {image.mode}")
    factor = factor_of(*image.size, lossy)
    if not factor:
        return Prepared(path, reason="too small for a JPEG")
    if factor > 1:
        size = (image.width // factor, image.height // factor)
        image = image.resize(size, _KERNELS[kernel % len(_KERNELS)])
    image = middle(image)
    if min(image.size) < LEAST:
        return Prepared(path, reason="too small")
    pixels = np.asarray(image).astype(np.int16)
    if np.abs(pixels[..., 0] - pixels[..., 1]).mean() < COLOURED:
        return Prepared(path, reason="grey")
    stream = io.BytesIO()
    image.save(stream, "WEBP", lossless=True, quality=60, method=4, exact=True)
    data = stream.getvalue()
    bpd = 8 * len(data) / pixels.size
    if not BPD[0] <= bpd <= BPD[1]:
        return Prepared(path, reason="no photograph by its bits")
    return Prepared(path, data)


def originals(folders: Sequence[Path]) -> list[tuple[Path, str]]:
    """Files in the folders, and the name of each one's photograph: its path there, joined by dashes."""
    found = []
    for folder in folders:
        for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()):
            found.append((path, "-".join(path.relative_to(folder).with_suffix("").parts) + ".webp"))
    return found


def prepare(folders: Sequence[Path], out: Path, workers: int | None = None) -> Counter[str]:
    """Write the photographs to `out`; how many were kept ("") and left out, by reason.

    A name that is there already is left out too, so that a call can be repeated with further folders.
    """
    out.mkdir(parents=True, exist_ok=True)
    counts: Counter[str] = Counter()
    wanted = []
    for path, name in originals(folders):
        if (out / name).exists():
            counts["there already"] += 1
        else:
            wanted.append((path, out / name))
    with ProcessPoolExecutor(workers) as pool:
        made = pool.map(prepared, [path for path, _ in wanted], range(len(wanted)))
        for (_, target), photograph in zip(wanted, made, strict=True):
            reason = photograph.reason
            if photograph.data and not target.exists():
                target.write_bytes(photograph.data)
            elif photograph.data:
                reason = "there already"
            counts[reason] += 1
    return counts


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(
        prog="python -m vdmcompress.train.prepare", description="Make training photographs of originals."
    )
    parser.add_argument("folders", nargs="+", type=Path, help="folders of JPEG, PNG, TIFF or WebP originals")
    parser.add_argument("-o", "--output", required=True, type=Path, help="folder of the photographs")
    given = parser.parse_args(arguments)
    counts = prepare(given.folders, given.output)
    sys.stdout.write(f"{given.output}: {counts.pop('', 0)} photographs\n")
    for reason, count in counts.most_common():
        sys.stdout.write(f"  left out, {reason}: {count}\n")


if __name__ == "__main__":
    main()
