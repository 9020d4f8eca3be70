"""The samples of chroma that a program brought to full resolution: the encoder's side of `subsampling.py`.

JPEG's and WebP's samples are not to be read off: each pixel is a rounded sum of two or four. From means of
pixels, sharpened, each line of samples is solved as a whole, the others as they are, so that most pixels come
out right; rows and columns take turns. PhotoCD's samples are pixels; those that were clipped are told by the
pixels between them. Pixels that stay unexplained are for the caller: nothing here has to be exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vdmcompress.kernels import compiled, inlined
from vdmcompress.subsampling import Subsampling, between_pixel, half_shape, mirrored, upsample

__all__ = ["likeliest", "shrink"]

Plane = NDArray[np.uint8]
Mask = NDArray[np.bool_]

SHARPENED: Final = 4
"""Steps from the means of pixels to a first guess of samples between them."""

REACH: Final = 2
"""How far a sample moves at a time."""

PIECE: Final = 128
"""Rows and columns of the part of a plane that is looked at first."""

SHARE: Final = 0.1
"""Pixels of it that may be unexplained."""

ASKED: Final = 0.35
"""The same with another rounding."""

BEATEN: Final = 6
"""The same where a kind has left that many times fewer: no rounding makes up for it."""

SURE: Final = 0.015
"""With so few unexplained no other kind is looked at: a wrong rounding leaves more."""

MISS: Final = 16
"""Price of a pixel that is one off; to move a sample by one costs 1: it stays where nothing tells."""

SWEEPS: Final = (1, 2, 2)
"""Passes over the samples so near to one with a part in a pixel that they do not explain yet."""

SITED_SWEEPS: Final = 6
"""The same of samples that lie on pixels."""


@inlined
def _miss(full: Plane, rows: bool, rounding: int, turned: bool, here: int, there: int, y: int, x: int) -> int:
    """Price of pixel (y, x) of planes that may be transposed, from the sums of its samples."""
    pixel = between_pixel(here, there, rows, rounding, x if turned else y, y if turned else x)
    price: int = MISS * (pixel - full[y, x]) ** 2
    return price


@compiled
def _fit_line(
    full: Plane,
    known: Mask,
    rows: bool,
    rounding: int,
    turned: bool,
    half: Plane,
    i: int,
    doubt: Mask,
    reach: int,
) -> int:
    """The samples of line i that explain most pixels, the other lines as they are; how many moved.

    Only samples in doubt move, by `reach` at most.  The best of all combinations (Viterbi 1967).
    turned: the planes are transposed.
    """
    height, width = full.shape
    h, w = half.shape
    states = 2 * reach + 1
    first, last = (max(2 * i - 1, 0), min(2 * i + 2, height - 1)) if rows else (i, i)
    part, rest = np.zeros((4, w), np.int64), np.zeros((4, w), np.int64)
    for y in range(first, last + 1):
        own = y // 2 if rows else y
        other = min(max(own + 2 * (y % 2) - 1, 0), h - 1)
        for j in range(w):
            k = y - first
            if not rows:
                part[k, j] = 1
            elif own == i and other == i:
                part[k, j] = 4
            elif own == i:
                part[k, j], rest[k, j] = 3, half[other, j]
            elif other == i:
                part[k, j], rest[k, j] = 1, 3 * np.int64(half[own, j])
    price, back = np.zeros((w, states), np.int64), np.zeros((w, states), np.int64)
    for j in range(w):
        if j > 0 and not doubt[i, j] and not doubt[i, j - 1]:  # nothing to choose
            price[j], back[j] = 1 << 40, reach
            price[j, reach] = price[j - 1, reach]
            continue
        for state in range(states):
            value = np.int64(half[i, j]) + state - reach
            if (state != reach and not doubt[i, j]) or value < 0 or value > 255:
                price[j, state] = 1 << 40
                continue
            alone = np.int64(abs(state - reach))
            for x in (0, 2 * w - 1):
                if (x == 0 and j > 0) or (x > 0 and j < w - 1) or x >= width:
                    continue
                for y in range(first, last + 1):
                    if known[y, x] and part[y - first, j] > 0:
                        own = part[y - first, j] * value + rest[y - first, j]
                        alone += _miss(full, rows, rounding, turned, own, own, y, x)
            if j == 0:
                price[j, state] = alone
                continue
            best = np.int64(1) << 50
            for turn in range(states):  # the one that stays first, for it leaves the others soon behind
                before = reach + (turn + 1) // 2 * (1 - turn % 2 * 2)
                total = price[j - 1, before]
                left = np.int64(half[i, j - 1]) + before - reach
                for k in range(last - first + 1):
                    if total >= best:
                        break
                    if part[k, j] == 0:
                        continue
                    y, x = first + k, 2 * j
                    near, far = part[k, j - 1] * left + rest[k, j - 1], part[k, j] * value + rest[k, j]
                    if known[y, x - 1]:
                        total += _miss(full, rows, rounding, turned, near, far, y, x - 1)
                    if x < width and known[y, x]:
                        total += _miss(full, rows, rounding, turned, far, near, y, x)
                if total < best:
                    best = total
                    back[j, state] = before
            price[j, state] = best + alone
    state, moved = int(np.argmin(price[w - 1])), 0
    for j in range(w - 1, -1, -1):
        before = back[j, state]
        if state != reach:
            moved += 1
            half[i, j] += state - reach
        state = before
    return moved


@compiled
def _fit(
    full: Plane,
    known: Mask,
    rows: bool,
    rounding: int,
    turned: bool,
    half: Plane,
    doubt: Mask,
    reach: int,
) -> int:
    moved = 0
    for i in range(len(half)):
        if doubt[i].any():
            moved += _fit_line(full, known, rows, rounding, turned, half, i, doubt, reach)
    return moved


@compiled
def _fill(plane: Plane, known: Mask) -> None:
    """Unknown pixels become means of what lies before them, then of what lies around them."""
    height, width = plane.shape
    for turn in range(4):
        back = turn % 2 == 1
        for line in range(height):
            y = height - 1 - line if back else line
            for place in range(width):
                x = width - 1 - place if back else place
                if known[y, x]:
                    continue
                total, count = np.int64(0), 0
                for k, m in ((y, x - 1), (y - 1, x), (y, x + 1), (y + 1, x)):
                    ahead = (k > y or m > x) != back
                    if 0 <= k < height and 0 <= m < width and (turn > 1 or known[k, m] or not ahead):
                        total += plane[k, m]
                        count += 1
                if count:
                    plane[y, x] = (total + count // 2) // count


@compiled
def _sited_explained(full: Plane, known: Mask, half: Plane, i: int, j: int) -> int:
    """How many known pixels around sample (i, j) come out right."""
    height, width = full.shape
    h, w = half.shape
    right = 0
    for y in range(max(2 * i - 1, 0), min(2 * i + 2, height)):
        top, below = y // 2, min((y + 1) // 2, h - 1)
        for x in range(max(2 * j - 1, 0), min(2 * j + 2, width)):
            if known[y, x]:
                k, after = x // 2, min((x + 1) // 2, w - 1)
                total = np.int64(half[top, k]) + half[top, after] + half[below, k] + half[below, after]
                right += (total + 2) >> 2 == full[y, x]
    return right


@compiled
def _sited_sweep(full: Plane, known: Mask, half: Plane) -> int:
    """Samples whose own pixel says nothing become what the pixels halfway to the next ones say."""
    height, width = full.shape
    h, w = half.shape
    moved = 0
    for i in range(h):
        for j in range(w):
            if known[2 * i, 2 * j]:
                continue
            value = np.int64(half[i, j])
            best, most = value, _sited_explained(full, known, half, i, j)
            for side in range(8):
                dy, dx = side // 2 % 2 * (1 - 2 * (side // 4)), (1 - side // 2 % 2) * (1 - 2 * (side // 4))
                y, x, k, m = 2 * i + dy, 2 * j + dx, i + dy, j + dx
                if not (0 <= y < height and 0 <= x < width and 0 <= k < h and 0 <= m < w and known[y, x]):
                    continue
                new = 2 * np.int64(full[y, x]) - np.int64(half[k, m]) - side % 2
                if 0 <= new <= 255:
                    half[i, j] = new
                    met = _sited_explained(full, known, half, i, j)
                    if met > most:
                        best, most = new, met
            half[i, j] = best
            moved += best != value
    return moved


def misfit(full: Plane, known: Mask, kind: Subsampling) -> float:
    """Share of the known pixels of a piece from a plane's middle that the kind does not explain."""
    top, left = ((length - PIECE) // 4 * 2 if length > PIECE else 0 for length in full.shape)
    part = np.ascontiguousarray(full[top : top + PIECE, left : left + PIECE])
    inner = np.zeros(part.shape, np.bool_)  # but for what the piece's edges change
    inner[4:-4, 4:-4] = known[top : top + PIECE, left : left + PIECE][4:-4, 4:-4]
    wrong = (upsample(shrink(part, inner, kind), kind, *part.shape) != part) & inner
    return float(wrong.sum() / max(int(inner.sum()), 1))


def likeliest(planes: Sequence[Plane], known: Mask, kinds: Sequence[Subsampling]) -> list[Subsampling]:
    """The kinds that planes may be of, by how few pixels they leave unexplained.

    Of kinds that differ in rounding only the best is given; all are looked at where the first one is near.
    """

    def worst(kind: Subsampling) -> float:
        with ThreadPoolExecutor(len(planes)) as pool:
            return max(pool.map(partial(misfit, known=known, kind=kind), planes))

    found: list[tuple[float, int]] = []
    for _, group in groupby(range(len(kinds)), lambda n: replace(kinds[n], rounding=0)):
        first, *others = group
        best = worst(kinds[first]), first
        if best[0] <= SURE:
            return [kinds[first]]
        if best[0] <= min(ASKED, BEATEN * min([share for share, _ in found], default=1.0)):
            best = min([best, *((worst(kinds[n]), n) for n in others)])
        if best[0] <= SHARE:
            found.append(best)
    return [kinds[n] for _, n in sorted(found)]


def shrink(full: Plane, known: Mask, kind: Subsampling) -> Plane:
    """Samples uint8 from which `upsample` makes a plane, as nearly as is found; known: pixels that count."""
    if kind.sited:
        plane, sure = (np.ascontiguousarray(mirrored(x, kind)) for x in (full, known))
        half = plane[::2, ::2].copy()
        for _ in range(SITED_SWEEPS):
            if not _sited_sweep(plane, sure, half):
                break
        return np.ascontiguousarray(mirrored(half, kind))
    if kind.down or kind.right:
        inner = (slice(int(kind.down), None), slice(int(kind.right), None))
        half = shrink(full[inner], known[inner], kind.whole)
        short = zip(half_shape(kind, *full.shape), half.shape, strict=True)
        return np.pad(half, [(0, most - has) for most, has in short], mode="edge")
    height, width = full.shape
    full, known = full.copy(), np.ascontiguousarray(known)
    _fill(full, known)
    means = _means(full, kind.rows)
    half = means
    for _ in range(SHARPENED):
        missing = means.astype(np.int16) - _means(upsample(half, kind, height, width), kind.rows)
        half = (half + missing).clip(0, 255).astype(np.uint8)
    for spread in SWEEPS:
        wrong = (upsample(half, kind, height, width) != full) & known
        doubt = _near(wrong, half.shape, kind.rows, spread)
        moved = _fit(full, known, kind.rows, kind.rounding, False, half, doubt, REACH)
        if kind.rows:
            turned = np.ascontiguousarray(half.T)
            across = full.T.copy(), known.T.copy()
            moved += _fit(*across, True, kind.rounding, True, turned, doubt.T.copy(), REACH)
            half = np.ascontiguousarray(turned.T)
        if not moved:
            break
    return half


def _means(full: Plane, rows: bool) -> Plane:
    """Of the pixels that are nearest to each sample."""
    height, width = full.shape
    padded = np.pad(full, ((0, height % 2 if rows else 0), (0, width % 2)), mode="edge").astype(np.uint16)
    total = padded[:, ::2] + padded[:, 1::2]
    return ((total[::2] + total[1::2] + 2) >> 2 if rows else (total + 1) >> 1).astype(np.uint8)


def _near(wrong: Mask, shape: tuple[int, ...], rows: bool, spread: int) -> Mask:
    """Samples within `spread` of one that has a part in a wrong pixel."""
    found = np.zeros(shape, np.bool_)
    y, x = np.nonzero(wrong)
    found[y // 2 if rows else y, x // 2] = True
    for axis in (0, 1) if rows else (1,):
        wide = np.pad(found, [(spread, spread) if axis == k else (0, 0) for k in (0, 1)])
        found = np.zeros_like(found)
        for shift in range(2 * spread + 1):
            found |= wide[shift : shift + shape[0]] if axis == 0 else wide[:, shift : shift + shape[1]]
    return found
