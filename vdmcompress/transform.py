"""Reversible integer transforms: YCoCg-R colour and the Haar pyramid (S-transform), both ways, any size.

Colour (Malvar and Sullivan 2003), lifting, all integers:

    Co = R - B;  t = B + (Co >> 1);  Cg = G - t;  Y = t + (Cg >> 1)

Haar of a pair (a, b), first along x, then along y:

    high = a - b;  low = (a + b) >> 1;      b = low - (high >> 1);  a = b + high

Everything fits int16. Of an odd length the last sample goes to the low band as it is and has no detail. All
bands of a scale have LL's size; positions of the details which do not exist hold 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vdmcompress.errors import UnsupportedImageError, damaged

__all__ = [
    "BANDS",
    "Band",
    "Bands",
    "check_range",
    "detail_range",
    "detail_shape",
    "forward_colour",
    "haar_forward",
    "haar_inverse",
    "inverse_colour",
    "low_range",
    "pyramid_shapes",
    "rows_forward",
    "rows_inverse",
]

IntArray: TypeAlias = NDArray[np.int16]
Pixels: TypeAlias = NDArray[np.uint8]
Band: TypeAlias = Literal["hl", "lh", "hh"]

BANDS: tuple[Band, ...] = ("hl", "lh", "hh")
"""The detail bands of a scale in decoding order: HL is high along x, LH high along y, HH high along both."""

TOP_VALUES = 4
"""The pyramid ends at the first scale with at most this many positions."""

_CHUNK = 1 << 17
"""Values that are transformed at a time, so that intermediate arrays stay in the cache."""


@dataclass(frozen=True)
class Bands:
    """One scale split in four, each int16 (C, ceil(H/2), ceil(W/2))."""

    ll: IntArray
    hl: IntArray
    lh: IntArray
    hh: IntArray


def low_range(component: int) -> tuple[int, int]:
    """Range [low, low + count) of planes and of LL at any scale; component 0 is Y or grey, 1 Co, 2 Cg."""
    return (0, 256) if component == 0 else (-255, 511)


def detail_range(band: Band, component: int) -> tuple[int, int]:
    """Range [low, low + count) of a detail band: differences of LL values, and of differences for HH."""
    _, count = low_range(component)
    reach = (count - 1) * (2 if band == "hh" else 1)
    return -reach, 2 * reach + 1


def detail_shape(band: Band, height: int, width: int) -> tuple[int, int]:
    """Rows and columns that exist of a band of a (height, width) scale: the top left part of LL's size."""
    rows = height // 2 if band in ("lh", "hh") else (height + 1) // 2
    columns = width // 2 if band in ("hl", "hh") else (width + 1) // 2
    return rows, columns


def pyramid_shapes(height: int, width: int) -> list[tuple[int, int]]:
    """(H_s, W_s) for s = 0, 1, ...: scale s splits shapes[s] into bands of shapes[s+1]; the top is last."""
    shapes = [(height, width)]
    while height * width > TOP_VALUES:
        height, width = (height + 1) // 2, (width + 1) // 2
        shapes.append((height, width))
    return shapes


def check_range(values: IntArray, band: Band | Literal["ll"] = "ll") -> None:
    """Raise DamagedFileError unless values (C, h, w) are in the range that 8-bit images have in this band."""
    for component, plane in enumerate(values):
        low, count = low_range(component) if band == "ll" else detail_range(band, component)
        if plane.size == 0:
            continue
        least, most = int(plane.min()), int(plane.max())
        if least < low or most >= low + count:
            raise damaged(
                f"component {component} of {band.upper()} decodes to {least}..{most}, "
                f"an image has {low}..{low + count - 1}"
            )


def forward_colour(pixels: Pixels) -> IntArray:
    """Planes int16 (C, H, W), C = 1 or 3, of pixels uint8 (H, W) or (H, W, 3).

    Raises UnsupportedImageError for other arrays.
    """
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)):
        raise UnsupportedImageError(
            f"pixels are {pixels.dtype} {pixels.shape}; allowed are uint8 (H, W) and (H, W, 3); convert them"
        )
    if pixels.ndim == 2:
        return pixels[np.newaxis].astype(np.int16)
    height, width = pixels.shape[:2]
    planes = np.empty((3, height, width), np.int16)
    for rows in _row_chunks(height, width):
        red, green, blue = np.moveaxis(pixels[rows].astype(np.int16), 2, 0)
        y, co, cg = planes[:, rows]
        np.subtract(red, blue, out=co)
        t = (co >> 1) + blue
        np.subtract(green, t, out=cg)
        np.right_shift(cg, 1, out=y)
        y += t
    return planes


def inverse_colour(planes: IntArray, *, clip: bool = False) -> Pixels:
    """Pixels uint8 (H, W) or (H, W, 3) of planes int16 (C, H, W).

    Values outside 0..255 raise DamagedFileError; with clip (previews: LL of a coarse scale) they are clipped.
    """
    channels, height, width = planes.shape
    pixels = np.empty((height, width, channels), np.uint8)
    for rows in _row_chunks(height, width):
        if channels == 1:
            values = planes[0, rows, :, np.newaxis]
        else:
            y, co, cg = planes[:, rows]
            values = np.empty((*y.shape, 3), np.int16)
            red, green, blue = np.moveaxis(values, 2, 0)
            t = y - (cg >> 1)
            np.add(t, cg, out=green)
            np.subtract(t, co >> 1, out=blue)
            np.add(blue, co, out=red)
        if clip:
            values = np.clip(values, 0, 255)
        elif values.size and np.bitwise_or.reduce(values, axis=None) & ~0xFF:
            raise damaged(f"pixels decode to {values.min()}..{values.max()}, an image has 0..255")
        pixels[rows] = values
    return pixels[:, :, 0] if channels == 1 else pixels


def haar_forward(planes: IntArray) -> Bands:
    """Split planes int16 (C, H, W) of one scale into the four bands."""
    channels, height, width = planes.shape
    half = ((height + 1) // 2, (width + 1) // 2)
    bands = Bands(*(np.empty((channels, *half), np.int16) for _ in range(4)))
    for rows in _row_chunks(half[0], 2 * channels * width):
        x = planes[:, 2 * rows.start : 2 * rows.stop]
        low = np.empty((*x.shape[:2], half[1]), np.int16)
        high = np.empty_like(low)
        _split(x, low, high)
        _split(_turn(low), _turn(bands.ll[:, rows]), _turn(bands.lh[:, rows]))
        _split(_turn(high), _turn(bands.hl[:, rows]), _turn(bands.hh[:, rows]))
    return bands


def haar_inverse(bands: Bands, height: int, width: int) -> IntArray:
    """Planes int16 (C, height, width) of the four bands; exact inverse of haar_forward."""
    channels, *half = bands.ll.shape
    planes = np.empty((channels, height, width), np.int16)
    for rows in _row_chunks(half[0], 2 * channels * width):
        x = planes[:, 2 * rows.start : 2 * rows.stop]
        low = np.empty((*x.shape[:2], half[1]), np.int16)
        high = np.empty_like(low)
        _join(_turn(bands.hl[:, rows]), _turn(bands.hh[:, rows]), _turn(high))
        _join(_turn(bands.ll[:, rows]), _turn(bands.lh[:, rows]), _turn(low))
        _join(low, high, x)
    return planes


def rows_forward(planes: IntArray) -> tuple[IntArray, IntArray]:
    """Means and differences of pairs of rows of planes int16 (C, H, W), each (C, ceil(H/2), W)."""
    channels, height, width = planes.shape
    low = np.empty((channels, (height + 1) // 2, width), np.int16)
    high = np.empty_like(low)
    _split(_turn(planes), _turn(low), _turn(high))
    return low, high


def rows_inverse(low: IntArray, high: IntArray, height: int) -> IntArray:
    """The inverse of `rows_forward`."""
    planes = np.empty((low.shape[0], height, low.shape[2]), np.int16)
    _join(_turn(low), _turn(high), _turn(planes))
    return planes


def _split(x: IntArray, low: IntArray, high: IntArray) -> None:
    """Pairs along the last axis of x to low and high, whose last axis is ceil(n/2)."""
    n = x.shape[-1] // 2
    a, b = x[..., 0 : 2 * n : 2], x[..., 1::2]
    np.subtract(a, b, out=high[..., :n])
    high[..., n:] = 0
    np.add(a, b, out=low[..., :n])
    low[..., :n] >>= 1
    low[..., n:] = x[..., 2 * n :]


def _join(low: IntArray, high: IntArray, x: IntArray) -> None:
    """Inverse of _split, into x."""
    n = x.shape[-1] // 2
    a, b = x[..., 0 : 2 * n : 2], x[..., 1::2]
    np.right_shift(high[..., :n], 1, out=b)
    np.subtract(low[..., :n], b, out=b)
    np.add(b, high[..., :n], out=a)
    x[..., 2 * n :] = low[..., n:]


def _turn(x: IntArray) -> IntArray:
    """The same memory with rows and columns exchanged."""
    return x.swapaxes(-1, -2)


def _row_chunks(rows: int, values_per_row: int) -> Iterator[slice]:
    """Slices that cover the rows from top to bottom, about _CHUNK values each."""
    step = max(1, _CHUNK // max(1, values_per_row))
    for start in range(0, rows, step):
        yield slice(start, min(rows, start + step))
