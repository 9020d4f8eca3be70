"""Chroma that was stored at half the resolution: how programs bring it back, and what it was before.

4:2:0 halves both sides, 4:2:2 the columns. JPEG's samples lie between the pixels; libjpeg (jdsample.c,
"fancy") weighs the nearest two with 3/4 and 1/4 along each side:

    4:2:2   (3 a + b + 1) >> 2 to the left of a sample, (3 a + b + 2) >> 2 to the right
    4:2:0   (3 (3 a + c) + (3 b + d) + 8) >> 4 to the left of a sample, + 7 to the right; c and d from the row
            above or below

libwebp (dsp/upsampling.c, "fancy") weighs them alike and always adds 8, written there as two roundings.
PhotoCD's samples lie on every second pixel; others are means of two, (a + b + 1) >> 1, or of four, (a + b + c
+ d + 2) >> 2.

A picture that was turned has PhotoCD's samples on the other pixels: it is mirrored first; JPEG's roundings
are in another order, or go from row to row. One that was cut out of a larger one may begin with the second
pixel of a pair: samples then stand for pixels 1 and 2, 3 and 4, and pixel 0 is like pixel 1. At the edges the
outermost sample is repeated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vdmcompress.kernels import compiled, inlined

__all__ = ["FULL", "SUBSAMPLINGS", "Subsampling", "half_shape", "upsample"]

Plane = NDArray[np.uint8]


@dataclass(frozen=True)
class Subsampling:
    """name: of the kind.  rows: rows are halved too.

    down, right: the first row, or column, has no sample of its own: the picture was cut there, or turned.
    sited: samples lie on pixels, as PhotoCD's, not between them, as JPEG's.  rounding: of the sums of samples
    between pixels, an index of `ROUNDINGS`.
    """

    name: str
    rows: bool = True
    down: bool = False
    right: bool = False
    sited: bool = False
    rounding: int = 0

    @property
    def whole(self) -> Subsampling:
        """The same of a picture whose first row and column have samples of their own."""
        return replace(self, down=False, right=False)


FULL: Final = Subsampling("4:4:4", rows=False)

ROUNDINGS: Final = ("left", "right", "upper", "lower", "all")
"""Which pixels of a pair are rounded up at a half: libjpeg's, then libjpeg's of a picture that was mirrored,
turned over its diagonal, turned and mirrored; libwebp's."""

_TURNS: Final = ((False, False), (False, True), (True, False), (True, True))

SUBSAMPLINGS: Final = {
    "JPEG": (
        *(Subsampling("4:2:0", True, *turn, rounding=each) for turn in _TURNS for each in range(4)),
        *(
            Subsampling("4:2:2", False, False, right, rounding=each)
            for right in (False, True)
            for each in (0, 1)
        ),
    ),
    "WebP": tuple(Subsampling("4:2:0", True, *turn, rounding=4) for turn in _TURNS),
    "PhotoCD": tuple(Subsampling("4:2:0", True, *turn, sited=True) for turn in _TURNS),
}
"""By the name of the conversion: what chroma of its pictures may have been, but for full resolution."""


@compiled
def _between_up(half: Plane, rows: bool, rounding: int, out: Plane) -> None:
    height, width = out.shape
    h, w = half.shape
    shift = 4 if rows else 2
    for y in range(height):
        i, other = y, y
        if rows:
            i = y // 2
            other = min(max(i + 2 * (y % 2) - 1, 0), h - 1)
        for x in range(width):
            j = x // 2
            beside = min(max(j + 2 * (x % 2) - 1, 0), w - 1)
            here, there = np.int64(half[i, j]), np.int64(half[i, beside])
            if rows:
                here, there = 3 * here + half[other, j], 3 * there + half[other, beside]
            out[y, x] = (3 * here + there + _rounding(rows, rounding, y, x)) >> shift


@inlined
def _rounding(rows: bool, rounding: int, y: int, x: int) -> int:
    """What is added to the sum of a pixel: half of its divisor, or one less."""
    half = 8 if rows else 2
    if rounding == 4:
        return half
    place = x if rounding < 2 else y
    up: int = (place + rounding + 1) % 2
    return half - 1 + up if rows else half - up


@inlined
def between_pixel(here: int, there: int, rows: bool, rounding: int, y: int, x: int) -> int:
    """Pixel (y, x) from the sums of its column of samples and of the one beside it."""
    pixel: int = (3 * here + there + _rounding(rows, rounding, y, x)) >> (4 if rows else 2)
    return pixel


@compiled
def _sited_up(half: Plane, out: Plane) -> None:
    height, width = out.shape
    h, w = half.shape
    for y in range(height):
        i, below = y // 2, min((y + 1) // 2, h - 1)
        for x in range(width):
            j, after = x // 2, min((x + 1) // 2, w - 1)
            total = np.int64(half[i, j]) + half[i, after] + half[below, j] + half[below, after]
            out[y, x] = (total + 2) >> 2


def mirrored(plane: NDArray[Any], kind: Subsampling) -> NDArray[Any]:
    """The plane as its samples want it, or as it was: a view."""
    return plane[:: -1 if kind.down else 1, :: -1 if kind.right else 1]


def half_shape(kind: Subsampling, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the samples."""
    return (height + 1) // 2 if kind.rows else height, (width + 1) // 2


def upsample(half: Plane, kind: Subsampling, height: int, width: int) -> Plane:
    """The plane uint8 (height, width) that a program makes of samples uint8 of `half_shape`."""
    out = np.empty((height, width), np.uint8)
    if kind.sited:
        _sited_up(np.ascontiguousarray(mirrored(half, kind)), out)
        return np.ascontiguousarray(mirrored(out, kind))
    first, whole = (int(kind.down), int(kind.right)), kind.whole
    out = out[first[0] :, first[1] :].copy()
    h, w = half_shape(whole, *out.shape)
    _between_up(np.ascontiguousarray(half[:h, :w]), kind.rows, kind.rounding, out)
    return np.pad(out, [(count, 0) for count in first], mode="edge")
