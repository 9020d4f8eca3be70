"""Compiled loops of the coder, integers only; a twin of each in plain Python integers is in the tests.

All arithmetic is exact: int64 for positions, tables and counts, uint64 for heads, every cast written out
(numba makes float64 of uint64 with int64). Position i of a call goes to lane i % L; a call works on the lanes
first <= lane < last, so that threads can share a stack. The loops run over positions rather than lane by
lane, which lets the processor overlap the lanes' chains of dependent operations. The lines that fill up a
popped head stand in each loop, because a function for them costs a tenth of the speed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numba import njit, types

PRECISION = 28  # a symbol's interval is part of [0, 2^28)
MEAN_FRACTION_BITS = 6  # means are in 1/64 bin
SCALES = 128  # scale index i means sigma = 2^((i - 32) / 8) bins
FLOOR = 18  # scale index of sigma 2^(-14/8), the spread of rounding: no residual is measured finer
SHAPE_BITS = 30  # fractional bits of a shape table
SHAPE_HALF = 4352  # a shape table covers +-4352 steps of 1/64 sigma: 8.5 sigma at eight times the scale
STEP_BITS = 24  # fractional bits of a coordinate in a shape table
GUESS_BITS = 10  # the inverse guess has 2^10 cells
GUESS_FRACTION = 8  # a guess is in 2^-8 table steps
WIDTH_BITS = 16  # fractional bits of the sigmas with which a guess is scaled
GUESS_AT = 2 * SHAPE_HALF + 1  # the guess table follows the CDF
TABLE_LENGTH = GUESS_AT + (1 << GUESS_BITS) + 1
MEAN_LIMIT = 1 << 24  # a mean is within +-2^24 / 64 bins, coupled or not

DONE = 0
SHORT = 1

_ONE = 1 << PRECISION
_LIMIT = SHAPE_HALF << STEP_BITS
_STEP_MASK = (1 << STEP_BITS) - 1
_CELL_BITS = PRECISION - GUESS_BITS
_CELL_MASK = (1 << _CELL_BITS) - 1
_GUESS_SHIFT = GUESS_FRACTION + WIDTH_BITS
_FORCE_BITS = 60  # beyond any coordinate: |edge| < 2^26, an inverse is at most 2^28
_HALF_BIN = 1 << (MEAN_FRACTION_BITS - 1)

_BIT32 = np.uint64(32)
_EMIT = np.uint64(64 - PRECISION)
_PRECISION = np.uint64(PRECISION)
_SLOT_MASK = np.uint64(_ONE - 1)
_WORD_MASK = np.uint64(0xFFFFFFFF)
_LOWEST_HEAD = np.uint64(1 << 32)
_SOURCES = crc32(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*kernels.py"))))
"""Of all compiled loops, see `_compiled`."""


def _compiled(signature: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compiles at import for one signature; without a cache where no folder for it can be written.

    numba's cache watches a function's own file only; with the checksum of all kernels' sources in its name, a
    function is compiled anew when one that is inlined into it has changed.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        function.__qualname__ = f"{function.__qualname__}_{_SOURCES:08x}"
        compile_with: Any = partial(njit, signature, nogil=True, error_model="numpy", fastmath=False)
        try:
            compiled: Callable[..., Any] = compile_with(cache=True)(function)
        except (RuntimeError, OSError):
            compiled = compile_with(cache=False)(function)
        return compiled

    return decorate


def _input(dtype: Any, dimensions: int) -> Any:
    """Type of a contiguous argument that is only read; writable arrays are accepted for it too."""
    return types.Array(dtype, dimensions, "C", readonly=True)


def _output(dtype: Any, dimensions: int) -> Any:
    """Type of a contiguous argument that is written."""
    return types.Array(dtype, dimensions, "C")


_inlined = njit(nogil=True, error_model="numpy", fastmath=False, forceinline=True)

_STACK = (
    _output(types.uint64, 1),  # heads (L,)
    _output(types.uint32, 2),  # words (L, capacity)
    _output(types.int64, 1),  # sizes (L,)
    types.int64,  # first lane
    types.int64,  # one after the last lane
)
_VALUES_IN = _input(types.int32, 2)
_VALUES_OUT = _output(types.int32, 2)
_BINS = (
    _input(types.int32, 2),  # mean (n, C), 1/64 bin
    _input(types.uint8, 2),  # scale (n, C)
    _input(types.int16, 2),  # coupling (n, 3), 1/64
    _input(types.int32, 1),  # low (C,)
    _input(types.int32, 1),  # count (C,)
    types.int64,  # window
    _input(types.int32, 2),  # tables (C, TABLE_LENGTH)
    _input(types.int64, 1),  # inverses (SCALES,), 2^24 / sigma
)


@_inlined
def _pushed(head: Any, start: Any, freq: Any) -> Any:
    """The head with the interval [start, start + freq) out of 2^28 on it; a full head sheds a word before."""
    width = np.uint64(freq)
    quotient = head // width
    return (quotient << _PRECISION) + (head - quotient * width) + np.uint64(start)


@_inlined
def _popped(head: Any, start: Any, freq: Any) -> Any:
    """The head without the interval; one below 2^32 needs a word."""
    return np.uint64(freq) * (head >> _PRECISION) + (head & _SLOT_MASK) - np.uint64(start)


@_inlined
def _count_below(tables: Any, c: Any, x: Any, mean: Any, inverse: Any, low: Any, count: Any) -> Any:
    """C(x), the counts of bins low..x-1 out of 2^28: one for each, the rest by the distribution.

    The CDF is linear between the table's entries; the ends low and low + count are read at the table's ends,
    0 and one. There is no branch, because numba would count references to `tables` around it.
    """
    edge = (x << np.int64(MEAN_FRACTION_BITS)) - np.int64(_HALF_BIN) - mean
    forced = (np.int64(x >= low + count) - np.int64(x <= low)) << np.int64(_FORCE_BITS)
    at = min(max(edge * inverse + forced, np.int64(-_LIMIT)), np.int64(_LIMIT)) + np.int64(_LIMIT)
    cell = np.uint64(at >> np.int64(STEP_BITS))
    below = np.int64(tables[c, cell])
    above = np.int64(tables[c, cell + np.uint64(1)])
    share = below + (((above - below) * (at & np.int64(_STEP_MASK))) >> np.int64(STEP_BITS))
    return ((share * (np.int64(_ONE) - count)) >> np.int64(SHAPE_BITS)) + (x - low)


@_inlined
def _find(slot: Any, tables: Any, c: Any, m: Any, inverse: Any, sigma: Any, lowest: Any, width: Any) -> Any:
    """The bin whose counts hold the slot, with C of it and of the next: (value, C(value), C(value + 1)).

    The guess table says near which bin the slot lies; a doubling step and then bisection find the bin
    exactly, for any C that does not fall and whatever the guess was.
    """
    cell = np.uint64(GUESS_AT) + np.uint64(slot >> np.int64(_CELL_BITS))
    left = np.int64(tables[c, cell])
    right = np.int64(tables[c, cell + np.uint64(1)])
    step = left + (((right - left) * (slot & np.int64(_CELL_MASK))) >> np.int64(_CELL_BITS))
    away = (step * sigma) >> np.int64(_GUESS_SHIFT)
    value = (m + np.int64(_HALF_BIN) + away) >> np.int64(MEAN_FRACTION_BITS)
    value = min(max(value, lowest), lowest + width - 1)

    below = _count_below(tables, c, value, m, inverse, lowest, width)
    above = _count_below(tables, c, value + 1, m, inverse, lowest, width)
    if slot < below or slot >= above:
        end = value + 1  # C(value) <= slot < C(end) when the two loops have ended
        stride = np.int64(1)
        while slot < below:
            end, above = value, below
            value = max(value - stride, lowest)
            below = _count_below(tables, c, value, m, inverse, lowest, width)
            stride += stride
        while slot >= above:
            value, below = end, above
            end = min(end + stride, lowest + width)
            above = _count_below(tables, c, end, m, inverse, lowest, width)
            stride += stride
        while end - value > 1:
            middle = (value + end) >> np.int64(1)
            at_middle = _count_below(tables, c, middle, m, inverse, lowest, width)
            if slot < at_middle:
                end, above = middle, at_middle
            else:
                value, below = middle, at_middle
    return value, below, above


@_inlined
def _coupled(mean: Any, factor_y: Any, r_y: Any, factor_co: Any, r_co: Any) -> Any:
    """A mean, moved with the residuals of the components before it, saturated."""
    m = mean + ((np.int64(factor_y) * r_y + np.int64(factor_co) * r_co) >> np.int64(MEAN_FRACTION_BITS))
    return min(max(m, np.int64(-MEAN_LIMIT)), np.int64(MEAN_LIMIT))


@_inlined
def _residual(x: Any, mean: Any) -> Any:
    """64 x - mean, in 1/64 bin, with the mean as it is before coupling."""
    return (x << np.int64(MEAN_FRACTION_BITS)) - np.int64(mean)


@_compiled(types.int64(_VALUES_IN, _BINS[0], *_BINS[3:6]))
def first_outside(x: Any, mean: Any, low: Any, count: Any, window: Any) -> Any:
    """Flat index of the first value outside its range, -1 if there is none."""
    n, components = x.shape
    for i in range(n):
        for c in range(components):
            lowest, width = np.int64(low[c]), np.int64(count[c])
            if window > 0:
                lowest = (np.int64(mean[i, c]) >> np.int64(MEAN_FRACTION_BITS)) - window
                width = 2 * window + 1
            offset = np.int64(x[i, c]) - lowest
            if offset < 0 or offset >= width:
                return np.int64(i) * np.int64(components) + np.int64(c)
    return np.int64(-1)


@_compiled(types.void(_output(types.int64, 2), _output(types.int64, 2), _VALUES_IN, *_BINS))
def gaussian_intervals(
    start: Any, freq: Any, x: Any, mean: Any, scale: Any, coupling: Any, low: Any, count: Any, window: Any,
    tables: Any, inverses: Any,
) -> None:  # fmt: skip
    """Writes the intervals of the values x, each [start, start + freq) out of 2^28."""
    n, components = x.shape
    for i in range(n):
        r_y, r_co = np.int64(0), np.int64(0)
        for c in range(components):
            value = np.int64(x[i, c])
            m = np.int64(mean[i, c])
            if c == 1:
                m = _coupled(m, coupling[i, 0], r_y, 0, 0)
            elif c == 2:
                m = _coupled(m, coupling[i, 1], r_y, coupling[i, 2], r_co)
            lowest, width = np.int64(low[c]), np.int64(count[c])
            if window > 0:
                lowest = (m >> np.int64(MEAN_FRACTION_BITS)) - window
                width = 2 * window + 1
            inverse = inverses[np.uint64(scale[i, c])]
            below = _count_below(tables, c, value, m, inverse, lowest, width)
            start[i, c] = below
            freq[i, c] = _count_below(tables, c, value + 1, m, inverse, lowest, width) - below
            if c == 0:
                r_y = _residual(value, mean[i, c])
            else:
                r_co = _residual(value, mean[i, c])


@_compiled(types.int64(*_STACK, _VALUES_IN, *_BINS))
def push_gaussian(
    heads: Any, words: Any, sizes: Any, first: Any, last: Any, x: Any,
    mean: Any, scale: Any, coupling: Any, low: Any, count: Any, window: Any, tables: Any, inverses: Any,
) -> Any:  # fmt: skip
    """Pushes x (n, C) on the lanes first..last-1, last position and last component first."""
    n, components = x.shape
    lanes = len(heads)
    for row in range((n - 1) // lanes if n else -1, -1, -1):
        for lane in range(min(last, n - row * lanes) - 1, first - 1, -1):
            i = row * lanes + lane
            r_y, r_co = np.int64(0), np.int64(0)
            if components == 3:
                r_y = _residual(np.int64(x[i, 0]), mean[i, 0])
                r_co = _residual(np.int64(x[i, 1]), mean[i, 1])
            for c in range(components - 1, -1, -1):
                value = np.int64(x[i, c])
                m = np.int64(mean[i, c])
                if c == 1:
                    m = _coupled(m, coupling[i, 0], r_y, 0, 0)
                elif c == 2:
                    m = _coupled(m, coupling[i, 1], r_y, coupling[i, 2], r_co)
                lowest, width = np.int64(low[c]), np.int64(count[c])
                if window > 0:
                    lowest = (m >> np.int64(MEAN_FRACTION_BITS)) - window
                    width = 2 * window + 1
                inverse = inverses[np.uint64(scale[i, c])]
                below = _count_below(tables, c, value, m, inverse, lowest, width)
                freq = _count_below(tables, c, value + 1, m, inverse, lowest, width) - below
                head = heads[lane]
                if (head >> _EMIT) >= np.uint64(freq):
                    words[lane, sizes[lane]] = np.uint32(head & _WORD_MASK)
                    sizes[lane] += np.int64(1)
                    head >>= _BIT32
                heads[lane] = _pushed(head, below, freq)
    return DONE


@_compiled(types.int64(*_STACK, _VALUES_OUT, *_BINS, _input(types.int64, 1)))
def pop_gaussian(
    heads: Any, words: Any, sizes: Any, first: Any, last: Any, x: Any,
    mean: Any, scale: Any, coupling: Any, low: Any, count: Any, window: Any, tables: Any, inverses: Any,
        widths: Any,
) -> Any:  # fmt: skip
    """Pops x (n, C) off the lanes first..last-1, first position and first component first."""
    n, components = x.shape
    lanes = len(heads)
    for row in range((n + lanes - 1) // lanes):
        for lane in range(first, min(last, n - row * lanes)):
            i = row * lanes + lane
            r_y, r_co = np.int64(0), np.int64(0)
            for c in range(components):
                m = np.int64(mean[i, c])
                if c == 1:
                    m = _coupled(m, coupling[i, 0], r_y, 0, 0)
                elif c == 2:
                    m = _coupled(m, coupling[i, 1], r_y, coupling[i, 2], r_co)
                lowest, width = np.int64(low[c]), np.int64(count[c])
                if window > 0:
                    lowest = (m >> np.int64(MEAN_FRACTION_BITS)) - window
                    width = 2 * window + 1
                index = np.uint64(scale[i, c])
                inverse = inverses[index]
                slot = np.int64(heads[lane] & _SLOT_MASK)
                value, below, above = _find(slot, tables, c, m, inverse, widths[index], lowest, width)
                head = _popped(heads[lane], below, above - below)
                if head < _LOWEST_HEAD:
                    sizes[lane] -= np.int64(1)
                    if sizes[lane] < np.int64(0):
                        return SHORT
                    head = (head << _BIT32) | np.uint64(words[lane, sizes[lane]])
                heads[lane] = head
                x[i, c] = np.int32(value)
                if c == 0:
                    r_y = _residual(value, mean[i, c])
                else:
                    r_co = _residual(value, mean[i, c])
    return DONE


@_compiled(types.int64(*_STACK, _input(types.int64, 1), _input(types.int64, 2)))
def push_table(heads: Any, words: Any, sizes: Any, first: Any, last: Any, index: Any, below: Any) -> Any:
    """Pushes index (n,) by cumulative counts `below` (1 or n, M + 1), last position first."""
    n = len(index)
    lanes = len(heads)
    shared = below.shape[0] == 1
    for row in range((n - 1) // lanes if n else -1, -1, -1):
        for lane in range(min(last, n - row * lanes) - 1, first - 1, -1):
            i = row * lanes + lane
            j = index[i]
            start = below[0 if shared else i, j]
            freq = below[0 if shared else i, j + 1] - start
            head = heads[lane]
            if (head >> _EMIT) >= np.uint64(freq):
                words[lane, sizes[lane]] = np.uint32(head & _WORD_MASK)
                sizes[lane] += np.int64(1)
                head >>= _BIT32
            heads[lane] = _pushed(head, start, freq)
    return DONE


@_compiled(types.int64(*_STACK, _output(types.int64, 1), _input(types.int64, 2)))
def pop_table(heads: Any, words: Any, sizes: Any, first: Any, last: Any, index: Any, below: Any) -> Any:
    """Pops index (n,) by cumulative counts `below` (1 or n, M + 1), first position first."""
    n = len(index)
    lanes = len(heads)
    shared = below.shape[0] == 1
    for row in range((n + lanes - 1) // lanes):
        for lane in range(first, min(last, n - row * lanes)):
            i = row * lanes + lane
            line = 0 if shared else i
            slot = np.int64(heads[lane] & _SLOT_MASK)
            j, end = 0, below.shape[1] - 1
            while end - j > 1:
                middle = (j + end) >> 1
                if slot < below[line, middle]:
                    end = middle
                else:
                    j = middle
            head = _popped(heads[lane], below[line, j], below[line, j + 1] - below[line, j])
            if head < _LOWEST_HEAD:
                sizes[lane] -= np.int64(1)
                if sizes[lane] < np.int64(0):
                    return SHORT
                head = (head << _BIT32) | np.uint64(words[lane, sizes[lane]])
            heads[lane] = head
            index[i] = j
    return DONE
