"""Pixels that once were YCC: the exact integers (Y, C1, C2) behind them, and the conversions back to RGB.

A photograph that comes out of a JPEG, a lossy WebP or a PhotoCD was luma and two chromas of 8 bits in each
pixel before a program made RGB of them. Such pixels are few among all RGB colours: 1 in 4 for JPEG, 1 in 9
for PhotoCD. Coded as Y, C1, C2 they take the logarithm of that less, and chroma that was stored at half the
resolution is as smooth as it was.

Every conversion here is a sum of tables, in integers:

    R = clip((T_R0[Y] + T_R1[C1] + T_R2[C2]) // divisor), likewise G and B; clip is to 0..255

JPEG: Y, Cb, Cr of ITU-T T.871 (JFIF), with the 16 fractional bits of libjpeg (jdcolor.c). WebP: Y, U, V of
ITU-R BT.601, as libwebp computes them (dsp/yuv.h). PhotoCD: Kodak's PhotoYCC, b = 2.2179 (C1 - 156), r =
1.8215 (C2 - 137), R = 1.3584 Y + r, G = 1.3584 Y - 0.194 b - 0.509 r, B = 1.3584 Y + b; sums are rounded
down, and b and r before they enter G, as pictures that came from PhotoCDs show it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vdmcompress.kernels import compiled

__all__ = ["CONVERSIONS", "Conversion", "fit_luma", "invert", "to_rgb"]

Pixels = NDArray[np.uint8]
Tables = NDArray[np.int32]

NEAR: Final = 1
"""Steps from the rounded inverse to the integers behind a colour, where nothing was clipped."""

FAR: Final = 8
"""The same where a sample is 0 or 255 and may have been beyond."""

BEYOND: Final = 48
"""The same of Y alone."""

PART: Final = 1 << 15
"""Pixels that are worth another thread."""

_BITS: Final = 12
_VALUES: Final = np.arange(256, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Conversion:
    """From YCC to RGB.

    name: of the format where such pixels come from.  tables: int32 (3, 3, 256), of R, G, B by Y, C1, C2.
    divisor: of their sums, at least 1.  centre: C1 and C2 of grey.
    """

    name: str
    tables: Tables
    divisor: int
    centre: tuple[int, int]

    def inverse(self) -> NDArray[np.int32]:
        """int32 (3, 3, 256): Y, C1, C2 in 2^-12 by R, G, B, three terms each; a guess, not exact."""
        rise = (self.tables[:, :, 255] - self.tables[:, :, 0]) / (255.0 * self.divisor)
        start = self.tables[:, :, 0].sum(axis=1) / float(self.divisor)
        back = np.linalg.inv(rise)[:, :, None]
        found = back * (_VALUES + 0.5 - start[:, None])[None]
        terms: NDArray[np.int32] = np.rint(found * (1 << _BITS)).astype(np.int32)
        return terms


def _jpeg() -> Conversion:
    chroma, half = _VALUES - 128, 1 << 15
    fixed = {
        name: int(x * 65536 + 0.5) for name, x in zip("rgbd", (1.402, 0.71414, 0.34414, 1.772), strict=True)
    }
    return _conversion(
        "JPEG", 65536 * _VALUES, 65536, (128, 128),
        red=fixed["r"] * chroma + half,
        green=(half - fixed["b"] * chroma, -fixed["g"] * chroma),
        blue=fixed["d"] * chroma + half,
    )  # fmt: skip


def _webp() -> Conversion:
    def high(factor: int) -> NDArray[np.int64]:
        return factor * _VALUES >> 8

    return _conversion(
        "WebP", high(19077), 64, (128, 128),
        red=high(26149) - 14234, green=(8708 - high(6419), -high(13320)), blue=high(33050) - 17685,
    )  # fmt: skip


def _photo_cd() -> Conversion:
    first, second = 22179 * (_VALUES - 156), 18215 * (_VALUES - 137)
    return _conversion(
        "PhotoCD", 13584 * _VALUES, 10000, (156, 137),
        red=second, green=(-1940 * (first // 10000), -5090 * (second // 10000)), blue=first,
    )  # fmt: skip


def _conversion(
    name: str,
    luma: NDArray[np.int64],
    divisor: int,
    centre: tuple[int, int],
    red: NDArray[np.int64],
    green: tuple[NDArray[np.int64], NDArray[np.int64]],
    blue: NDArray[np.int64],
) -> Conversion:
    """red by C2, green by C1 and C2, blue by C1."""
    none = np.zeros(256, np.int64)
    rows = ((luma, none, red), (luma, *green), (luma, blue, none))
    return Conversion(name, np.array(rows).astype(np.int32), divisor, centre)


CONVERSIONS: Final = (_jpeg(), _webp(), _photo_cd())
"""Those of the format, which numbers them from 1."""


@compiled
def _sample(tables: Tables, divisor: int, c: int, y: int, c1: int, c2: int) -> int:
    total = np.int64(tables[c, 0, y]) + tables[c, 1, c1] + tables[c, 2, c2]
    sample: int = min(max(total // divisor, 0), 255)
    return sample


@compiled
def _search(pixel: Any, tables: Tables, divisor: int, guess: Any, reach: int, found: Any) -> bool:
    """The integers nearest to a guess in 2^-12 that give a pixel, as few steps from it as can be."""
    y0, a0, b0 = (guess[0] + 2048) >> 12, (guess[1] + 2048) >> 12, (guess[2] + 2048) >> 12
    for steps in range(reach + 1):
        best = np.int64(-1)
        for y in range(max(y0 - steps, 0), min(y0 + steps, 255) + 1):
            for a in range(max(a0 - steps, 0), min(a0 + steps, 255) + 1):
                for b in range(max(b0 - steps, 0), min(b0 + steps, 255) + 1):
                    if max(abs(y - y0), abs(a - a0), abs(b - b0)) != steps:
                        continue
                    if _sample(tables, divisor, 0, y, a, b) != pixel[0]:
                        continue
                    if _sample(tables, divisor, 1, y, a, b) != pixel[1]:
                        continue
                    if _sample(tables, divisor, 2, y, a, b) != pixel[2]:
                        continue
                    away = (
                        (4096 * y - guess[0]) ** 2 + (4096 * a - guess[1]) ** 2 + (4096 * b - guess[2]) ** 2
                    )
                    if best < 0 or away < best:
                        best = away
                        found[0], found[1], found[2] = y, a, b
        if best >= 0:
            return True
    return False


@compiled
def _invert(pixels: Any, tables: Tables, divisor: int, inverse: Any, most: int, out: Any, missed: Any) -> int:
    guess, found = np.zeros(3, np.int64), np.zeros(3, np.int64)
    missing = 0
    for i in range(len(pixels)):
        clipped = False
        for j in range(3):
            guess[j] = 0
            for c in range(3):
                guess[j] += inverse[j, c, pixels[i, c]]
            clipped |= pixels[i, j] == 0 or pixels[i, j] == 255
        if not _search(pixels[i], tables, divisor, guess, FAR if clipped else NEAR, found):
            for j in range(3):
                found[j] = min(max((guess[j] + 2048) >> 12, 0), 255)
            missing += 1
            missed[i] = True
            if missing > most:
                return missing
        for j in range(3):
            out[i, j] = found[j]
    return missing


@compiled
def _fit_luma(pixels: Any, tables: Tables, divisor: int, ycc: Any, most: int, missed: Any) -> int:
    missing = 0
    for i in range(len(pixels)):
        clipped = False
        for c in range(3):
            clipped |= pixels[i, c] == 0 or pixels[i, c] == 255
        found = False
        for step in range(2 * (BEYOND if clipped else NEAR) + 1):
            y = np.int64(ycc[i, 0]) + (step + 1) // 2 * (1 - 2 * (step % 2))
            if y < 0 or y > 255:
                continue
            found = True
            for c in range(3):
                if _sample(tables, divisor, c, y, ycc[i, 1], ycc[i, 2]) != pixels[i, c]:
                    found = False
                    break
            if found:
                ycc[i, 0] = y
                break
        if not found:
            missed[i] = True
            missing += 1
            if missing > most:
                return missing
    return missing


@compiled
def _convert(ycc: Any, tables: Tables, divisor: int, out: Any) -> None:
    for i in range(len(ycc)):
        for c in range(3):
            out[i, c] = _sample(tables, divisor, c, ycc[i, 0], ycc[i, 1], ycc[i, 2])


def invert(pixels: Pixels, conversion: Conversion, most: int) -> tuple[Pixels, NDArray[np.bool_]] | None:
    """The integers behind pixels uint8 (n, 3), and which pixels have none (theirs are near).

    None as soon as more than `most` pixels have none.
    """
    ycc, missed = np.empty_like(pixels), np.zeros(len(pixels), np.bool_)
    args = (conversion.tables, conversion.divisor, conversion.inverse(), most)
    missing = _halves(len(pixels), lambda part: _invert(pixels[part], *args, ycc[part], missed[part]))
    return (ycc, missed) if missing <= most else None


def fit_luma(pixels: Pixels, ycc: Pixels, conversion: Conversion, most: int) -> NDArray[np.bool_] | None:
    """Moves Y of ycc uint8 (n, 3), in place, so that with C1 and C2 as they are it gives the pixels.

    Gives which pixels that is not found for; None as soon as there are more than `most`.
    """
    missed = np.zeros(len(pixels), np.bool_)
    args = (conversion.tables, conversion.divisor)
    missing = _halves(len(pixels), lambda part: _fit_luma(pixels[part], *args, ycc[part], most, missed[part]))
    return missed if missing <= most else None


def _halves(count: int, work: Callable[[slice], int]) -> int:
    """The sum of what work gives for parts of 0..count-1, two at once where there are many."""
    if count < 2 * PART:
        return work(slice(0, count))
    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(work, (slice(0, count // 2), slice(count // 2, count))))


def to_rgb(ycc: Pixels, conversion: Conversion) -> Pixels:
    """RGB uint8 (n, 3) of Y, C1, C2 uint8 (n, 3)."""
    rgb = np.empty_like(ycc)
    _convert(ycc, conversion.tables, conversion.divisor, rgb)
    return rgb
