"""Statistics that adapt while coding: each value learns from the values of its strip that went before it.

The network sees nothing of the band that it predicts but a noisier level of it; what neighbours in the same
level tell is learned here, from zero in each strip, so that nothing is sent and the bits-back loop stays as
it is. A position's value x of a component has a distribution with mean m (coupled, see `gaussian.py`) and
scale index s; refined it has m' and s':

    u      = (x - m) / sigma(max(s, 18)), clipped to four
    p      = sum_t (w_t + w_t[s / 8]) u_t                  over six neighbours before it, left and above,
                                                           m / sigma, and u of Y and Co at the position
    m'     = m + sigma(s) p
    s'     = s + a[v] + b[s / 4]                           v: mean |u - p| of the neighbours and of Y, Co
    w_t   += rate * sigma dlog p(x)/dm * u_t               least mean squares (Widrow and Hoff 1960), both
    a, b  += rate * dlog p(x)/dlog sigma                   both slopes from the table at the edges of x's bin

Rates fall while a strip goes on. Everything is integers (`adaptive_kernels.py`). On a stack the encoder walks
a strip forwards to learn, then pushes it backwards; the decoder learns while it pops.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from . import gaussian
from .adaptive_kernels import MARGIN, adaptive
from .ans import Stack
from .corrector import MOST_UNITS, WIDE, Corrector
from .corrector_kernels import NO_INDEX
from .errors import BinsError, ShortStackError
from .gaussian import Bins
from .kernels import DONE
from .tables import inverses, widths

Array = npt.NDArray[np.int32]


def refine(x: Array, bins: Bins, columns: int) -> Bins:
    """The distributions with which `push` codes x int32 (n, C), in raster order over rows of `columns`.

    Raises:
        BinsError: bins have a window, or n is not a multiple of columns.
        ValueOutOfRange: a value is outside its range.
    """
    gaussian.check_values(x, bins)
    heads, words, sizes = np.zeros(1, np.uint64), np.zeros((1, 0), np.uint32), np.zeros(1, np.int64)
    x = x if x.flags.writeable else x.copy()  # the kernel that pops writes x as well
    return _walk(heads, words, sizes, False, x, bins, columns)[1]


def push(stack: Stack, x: Array, bins: Bins, columns: int, threads: int = 1) -> None:
    """Pushes the values x, int32 (n, C), of a band of n / columns rows; the same bits for any `threads`.

    Raises:
        BinsError, ValueOutOfRange: as `refine`.
    """
    gaussian.push(stack, x, refine(x, bins, columns), threads)


def pop(stack: Stack, bins: Bins, columns: int) -> Array:
    """Pops values int32 (n, C), the inverse of `push`; one thread, because each value waits for the last.

    Raises:
        BinsError: as `refine`.
        ShortStackError: the stack does not hold the bits; its content is undefined then.
    """
    x = np.empty(bins.shape, np.int32)
    status, _ = _walk(stack.heads, stack.words, stack.sizes, True, x, bins, columns)
    if status != DONE:
        raise ShortStackError("a pop needs more bits than the stack holds; the data are damaged")
    return x


def _walk(
    heads: npt.NDArray[np.uint64],
    words: npt.NDArray[np.uint32],
    sizes: npt.NDArray[np.int64],
    decoding: bool,
    x: Array,
    bins: Bins,
    columns: int,
) -> tuple[int, Bins]:
    """The kernel's status and the refined distributions."""
    n, components = bins.shape
    if bins.window:
        raise BinsError(f"window is {bins.window}, it must be 0 where statistics adapt")
    if columns < 1 or n % columns:
        raise BinsError(f"{n} positions are not rows of {columns} columns")
    corrector = Corrector.none(components) if bins.corrector is None else bins.corrector
    mean, scale = np.empty((n, components), np.int32), np.empty((n, components), np.uint8)
    wide, corrects = corrector.middle.shape[2] > 0, corrector.hidden.shape[2] > 0
    near = np.zeros(WIDE + 2 * MOST_UNITS + 4 * components, np.int16)
    errors = _places(np.zeros((n if corrects else 0, components), np.int16), columns, 0)
    means = _places(bins.mean[: n if wide else 0], columns, 0)
    indexes = _places(bins.scale[: n if wide else 0].astype(np.int16), columns, NO_INDEX)
    status = adaptive(
        heads, words, sizes, int(decoding), columns, x, bins.mean, bins.scale, bins.coupling, bins.low,
        bins.count, bins.window, bins.tables, inverses(), widths(), *corrector.packed,
        near, errors, means, indexes, mean, scale,
    )  # fmt: skip
    return int(status), replace(bins, mean=mean, scale=scale) if status == DONE else bins


def _places(values: npt.NDArray[Any], columns: int, outside: int) -> npt.NDArray[Any]:
    """Values (n, C) of rows of `columns` as (C, places), with margins on all sides, flat; none of none."""
    n, components = values.shape
    if n == 0:
        return np.zeros((components, 0), values.dtype)
    rows = values.reshape(n // columns, columns, components).transpose(2, 0, 1)
    margins = ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN))
    return np.pad(rows, margins, constant_values=outside).reshape(components, -1)
