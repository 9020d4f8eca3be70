"""Chroma samples where pixels leave them open: moved until the pixels around them have a luma.

Where a program clipped R, G or B to 0 or 255, a pixel tells little of its chroma, and samples that were found
without it, each plane alone (`chroma_samples.py`), often leave no Y from which the pixel's colour follows.
With C1, C2 of a pixel each of its three values allows an interval of Y, for T_c0 rises with Y:

    0 < v: T_c0[Y] + T_c1[C1] + T_c2[C2] >= v divisor          v < 255: ... < (v + 1) divisor

What the three intervals lack to a common Y, in steps of Y, is the pixel's gap. Samples near pixels with a gap
move, both chromas together, as long as the gaps around them shrink: first one by one, then two neighbours.
Strips of rows are moved apart from each other, then what lies between them, so that the samples that come out
do not depend on how many threads there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vdmcompress.kernels import compiled, inlined
from vdmcompress.subsampling import Subsampling, between_pixel, half_shape, mirrored
from vdmcompress.ycc import Conversion

__all__ = ["gap", "settle"]

Pixels = NDArray[np.uint8]
Plane = NDArray[np.uint8]
Mask = NDArray[np.bool_]

SWEEPS: Final = 8
"""Passes over the samples that have a gap near them, at most."""

STEPS: Final = 4
"""Moves of a sample in one pass, at most."""

ROUNDS: Final = 2
"""Passes over pairs of samples, with passes over single ones between them."""

LENGTHS: Final = (1, 2, 3, 4, 6)
"""Of the moves that another Y makes up for."""

ANY: Final = 3
"""What any gap costs besides its size: one pixel explained is worth more than two nearly so."""

WIDEST: Final = 12
"""The largest gap that counts."""

STRIP: Final = 32
BETWEEN: Final = 4
"""Rows of samples from strip to strip, and between two of them: no pixel depends on samples of both."""

SIDES: Final = ((0, 1), (1, 0), (0, -1), (-1, 0))

_ENDLESS: Final = 1 << 30


@inlined
def _first(luma: Any, need: Any) -> Any:
    """The least Y with luma[Y] >= need; below 0 or beyond 255 where there is none, in proportion."""
    rise = np.int64(luma[255]) - luma[0]
    y: Any = (255 * (need - luma[0])) // rise
    if y < -1 or y > 257:
        return y
    y = min(max(y, 0), 255)
    while y > 0 and luma[y - 1] >= need:
        y -= 1
    while y < 256 and luma[min(y, 255)] < need:
        y += 1
    return y


@inlined
def gap(tables: Any, divisor: int, red: int, green: int, blue: int, c1: int, c2: int) -> Any:
    """Steps of Y that are missing for a Y with which C1, C2 give a colour; 0 where there is one.

    tables: of a conversion whose R, G and B rise with Y alike (`ycc.Conversion`).
    """
    low, high = np.int64(-_ENDLESS), np.int64(_ENDLESS)
    for c in range(3):
        value = red if c == 0 else (green if c == 1 else blue)
        rest = np.int64(tables[c, 1, c1]) + tables[c, 2, c2]
        if value > 0:
            low = max(low, value * divisor - rest)
        if value < 255:
            high = min(high, (value + 1) * divisor - rest)
    luma = tables[0, 0]
    least = np.int64(0) if low <= luma[0] else _first(luma, low)
    most = np.int64(255) if high > luma[255] else _first(luma, high) - 1
    return max(least - most, 0)


@inlined
def _at(half: Plane, rows: bool, rounding: int, sited: bool, y: int, x: int) -> int:
    """Pixel (y, x) of `upsample`."""
    h, w = half.shape
    i, j = (y // 2 if rows else y), x // 2
    if sited:
        below, after = min((y + 1) // 2, h - 1), min((x + 1) // 2, w - 1)
        total = np.int64(half[i, j]) + half[i, after] + half[below, j] + half[below, after]
        pixel: int = (total + 2) >> 2
        return pixel
    beside = min(max(j + 2 * (x % 2) - 1, 0), w - 1)
    here, there = np.int64(half[i, j]), np.int64(half[i, beside])
    if rows:
        other = min(max(i + 2 * (y % 2) - 1, 0), h - 1)
        here, there = 3 * here + half[other, j], 3 * there + half[other, beside]
    between: int = between_pixel(here, there, rows, rounding, y, x)
    return between


@inlined
def _price(work: Any, i: int, j: int, most: int) -> Any:
    """What the gaps of the pixels cost in which sample (i, j) has a part; beyond `most` some such number.

    work: pixels, tables and divisor of the conversion, samples of C1 and C2, and the kind as numbers.
    """
    pixels, tables, divisor, first, second, how = work
    rows, rounding, sited = how[0] != 0, how[1], how[2] != 0
    height, width = pixels.shape[:2]
    top, bottom = (2 * i - 1, 2 * i + 2) if rows else (i, i)
    price = np.int64(0)
    for y in range(max(top, 0), min(bottom, height - 1) + 1):
        for x in range(max(2 * j - 1, 0), min(2 * j + 2, width - 1) + 1):
            missing = gap(
                tables,
                divisor,
                pixels[y, x, 0],
                pixels[y, x, 1],
                pixels[y, x, 2],
                _at(first, rows, rounding, sited, y, x),
                _at(second, rows, rounding, sited, y, x),
            )
            if missing > 0:
                price += ANY + min(missing, WIDEST)
                if price > most:
                    return price
    return price


@compiled
def _both(
    work: Any,
    i: int,
    j: int,
    k: int,
    m: int,
    most: int,
) -> Any:
    """`_price` of two samples together; pixels in which both have a part count twice."""
    price = _price(work, i, j, most)
    if price > most:
        return price
    return price + _price(work, k, m, most - price)


@compiled
def _doubt(doubt: Mask, top: int, bottom: int, i: int, j: int) -> None:
    """Samples beside (i, j) are to be looked at again, within the rows of the strip."""
    for k in range(max(i - 1, top), min(i + 2, bottom)):
        for m in range(max(j - 1, 0), min(j + 2, doubt.shape[1])):
            doubt[k - top, m] = True


@compiled
def _sweep(
    work: Any,
    moves: Any,
    doubt: Mask,
    top: int,
    bottom: int,
) -> int:
    """Moves samples in doubt in rows top..bottom-1; what has no gap, or what nothing helps, is taken off."""
    first, second = work[3], work[4]
    moved = 0
    for i in range(top, bottom):
        for j in range(first.shape[1]):
            if not doubt[i - top, j]:
                continue
            doubt[i - top, j] = False
            least = _price(work, i, j, _ENDLESS)
            for _ in range(STEPS):
                if least == 0:
                    break
                one, two = np.int64(first[i, j]), np.int64(second[i, j])
                best, best_one, best_two = least, one, two
                for k in range(len(moves)):
                    a, b = one + moves[k, 0], two + moves[k, 1]
                    if a < 0 or a > 255 or b < 0 or b > 255:
                        continue
                    first[i, j], second[i, j] = a, b
                    price = _price(work, i, j, best - 1)
                    if price < best:
                        best, best_one, best_two = price, a, b
                first[i, j], second[i, j] = best_one, best_two
                if best == least:
                    break
                least = best
                moved += 1
                _doubt(doubt, top, bottom, i, j)
    return moved


@compiled
def _pair_sweep(
    work: Any,
    doubt: Mask,
    top: int,
    bottom: int,
) -> int:
    """The same for a sample and one beside it, of one chroma: by 1, the other as far, back or twice back."""
    first, second = work[3], work[4]
    moved = 0
    for i in range(top, bottom):
        for j in range(first.shape[1]):
            if not doubt[i - top, j]:
                continue
            doubt[i - top, j] = False
            if _price(work, i, j, 0) == 0:
                continue
            for side in range(4):
                k, m = i + SIDES[side][0], j + SIDES[side][1]
                if k < top or k >= bottom or m < 0 or m >= first.shape[1]:
                    continue
                least = _both(work, i, j, k, m, _ENDLESS)
                for move in range(12):
                    plane, a = (first if move % 2 == 0 else second), 1 - move // 2 % 2 * 2
                    b = a if move < 4 else (-a if move < 8 else -2 * a)
                    one, two = np.int64(plane[i, j]), np.int64(plane[k, m])
                    if least == 0 or not (0 <= one + a <= 255 and 0 <= two + b <= 255):
                        continue
                    plane[i, j], plane[k, m] = one + a, two + b
                    price = _both(work, i, j, k, m, least - 1)
                    if price < least:
                        least = price
                        moved += 1
                        _doubt(doubt, top, bottom, i, j)
                        _doubt(doubt, top, bottom, k, m)
                    else:
                        plane[i, j], plane[k, m] = one, two
    return moved


def moves_of(conversion: Conversion) -> NDArray[np.int64]:
    """Moves of C1, C2, int64 (n, 2): one step, and such as leave two of R, G, B where Y makes up for them."""
    moves = {(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)} - {(0, 0)}
    rise = (conversion.tables[:, :, 255] - conversion.tables[:, :, 0]) / conversion.divisor
    for one, other in ((1, 2), (0, 2), (0, 1)):
        across = rise[one] / rise[one, 0] - rise[other] / rise[other, 0]
        along = np.array([across[2], -across[1]]) / np.abs(across[1:]).max()
        for length in LENGTHS:
            step = np.rint(along * length).astype(int)
            moves |= {(int(step[0]), int(step[1])), (-int(step[0]), -int(step[1]))}
    return np.array(sorted(moves), np.int64)


def _strips(rows: int) -> Iterator[list[tuple[int, int]]]:
    """Rows of strips, then of what is between them and a little beside."""
    edges = range(0, rows, STRIP)
    yield [(top, top + STRIP - BETWEEN if top + STRIP < rows else rows) for top in edges]
    yield [(top - 2 * BETWEEN, min(top + BETWEEN, rows)) for top in edges[1:]]


def settle(
    pixels: Pixels, missed: Mask, chroma: tuple[Plane, Plane], conversion: Conversion, kind: Subsampling
) -> tuple[Plane, Plane]:
    """Samples uint8 of C1, C2 with which fewer pixels uint8 (H, W, 3) have no Y.

    missed: bool (H, W), the pixels that have none with the samples given.
    """
    if kind.sited:
        pixels = np.ascontiguousarray(mirrored(pixels, kind))
        missed = np.ascontiguousarray(mirrored(missed, kind))
        chroma = (mirrored(chroma[0], kind), mirrored(chroma[1], kind))
    else:
        own = (slice(int(kind.down), None), slice(int(kind.right), None))
        pixels, missed = pixels[own], missed[own]
    h, w = half_shape(kind.whole, *missed.shape)
    first, second = (np.ascontiguousarray(plane[:h, :w]) for plane in chroma)
    first, second = first.copy(), second.copy()
    near = np.zeros((h, w), np.bool_)
    y, x = np.nonzero(missed)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            near[((y // 2 if kind.rows else y) + down).clip(0, h - 1), (x // 2 + right).clip(0, w - 1)] = True
    how = np.array([kind.rows, kind.rounding, kind.sited], np.int64)
    fixed = pixels, conversion.tables, conversion.divisor, first, second, how
    moves = moves_of(conversion)

    def settle_rows(rows: tuple[int, int]) -> None:
        doubt = near[rows[0] : rows[1]].copy()
        for turn in range(ROUNDS + 1):
            if turn:
                doubt[:] = near[rows[0] : rows[1]]
                if not _pair_sweep(fixed, doubt, *rows):
                    break
            for _ in range(SWEEPS):
                if not _sweep(fixed, moves, doubt, *rows):
                    break

    with ThreadPoolExecutor(2) as pool:
        for strips in _strips(h):
            list(pool.map(settle_rows, strips))
    found = []
    for plane, before in zip((first, second), chroma, strict=True):
        short = [(0, most - has) for most, has in zip(before.shape, plane.shape, strict=True)]
        whole = np.pad(plane, short, mode="edge")
        found.append(np.ascontiguousarray(mirrored(whole, kind)) if kind.sited else whole)
    return found[0], found[1]
