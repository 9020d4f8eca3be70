"""Discretised Gaussians, and mixtures of scales, as exact integer intervals; couplings of three components.

A bin x of a distribution with mean m and scale sigma, whose values are low..low+count-1, gets the counts

      C(x) = F((64 x - 32 - m) / (64 sigma)) (2^28 - count) + (x - low)

      0        C(x)          C(x+1)                           2^28
      |---------|!!!!!!!!!!!!!!!|------------------------------|
                 <--- freq ---->

out of 2^28: one count for every bin, so that nothing in range is uncodable, and the rest by the CDF F, read
with linear interpolation from an integer table. The ends are forced, C(low) = 0 and C(low + count) = 2^28, so
the counts sum exactly and both tails belong to the end bins. Means are in 1/64 bin; scale index i means sigma
= 2^((i - 32) / 8). The tables are in `tables.py`; no float decides a bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from . import kernels
from .ans import Stack, over_lanes
from .corrector import Corrector
from .errors import BinsError, ValueOutOfRange
from .kernels import (
    GUESS_AT,
    MEAN_FRACTION_BITS,
    MEAN_LIMIT,
    PRECISION,
    SCALES,
    SHAPE_BITS,
    SHAPE_HALF,
    TABLE_LENGTH,
)
from .tables import (
    NORMAL_CDF_SHA256,
    WEIGHT_BITS,
    gaussian_table,
    inverses,
    normal_cdf,
    normal_cdf_sha256,
    shape_table,
    widths,
)

__all__ = [
    "Bins",
    "MEAN_FRACTION_BITS",
    "MEAN_LIMIT",
    "NORMAL_CDF_SHA256",
    "PRECISION",
    "SCALES",
    "SHAPE_BITS",
    "SHAPE_HALF",
    "TABLE_LENGTH",
    "VALUE_LIMIT",
    "WEIGHT_BITS",
    "check_values",
    "code_length",
    "code_lengths",
    "gaussian_table",
    "intervals",
    "normal_cdf",
    "normal_cdf_sha256",
    "pop",
    "push",
    "shape_table",
]

VALUE_LIMIT = 1 << 18  # values, and so ranges, are within +-2^18 bins

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Bins:
    """The distributions of n positions of C components (C is 1 or 3), all that one push or pop needs.

    Attributes:
        mean: int32 (n, C), 1/64 bin, within +-2^24, before coupling.
        scale: uint8 (n, C), 0..127; index i means sigma = 2^((i - 32) / 8) bins.
        coupling: int16 (n, 3), 1/64 bin for a bin: Co on the residual of Y, Cg on Y's, Cg on Co's. Not read
            if C is 1.
        low: int32 (C,), least value of each component; not read if `window` is not 0.
        count: int32 (C,), number of values of each component; not read if `window` is not 0.
        window: 0, or W > 0: the values are (mean >> 6) - W .. (mean >> 6) + W for each mean; no couplings
            then.
        tables: int32 (C, TABLE_LENGTH), the row of each component made by `shape_table`.
        corrector: of statistics that adapt (`adaptive.py`), None for none; not read by `push` and `pop` here.

    A component's coupled mean is its mean plus coupling * (64 x - mean) / 64 of the components before it,
    rounded down.

    Raises:
        BinsError: a shape, dtype or range other than these.
    """

    mean: Array
    scale: Array
    coupling: Array
    low: Array
    count: Array
    window: int
    tables: Array
    corrector: Corrector | None = None

    def __post_init__(self) -> None:
        if self.mean.ndim != 2 or self.mean.shape[1] not in (1, 3):
            raise BinsError(f"mean has shape {self.mean.shape}, it must be (n, 1) or (n, 3)")
        n, components = self.mean.shape
        _check_array("mean", self.mean, np.int32, (n, components))
        _check_array("scale", self.scale, np.uint8, (n, components))
        _check_array("coupling", self.coupling, np.int16, (n, 3))
        _check_array("low", self.low, np.int32, (components,))
        _check_array("count", self.count, np.int32, (components,))
        _check_array("tables", self.tables, np.int32, (components, TABLE_LENGTH))
        ends = self.tables[:, [0, GUESS_AT - 1]]
        if (ends != [0, 1 << SHAPE_BITS]).any():
            raise BinsError(
                f"tables run from and to {ends.tolist()}, not 0 to 2^30; make them with shape_table"
            )
        if self.corrector is not None and self.corrector.components != components:
            have = self.corrector.components
            raise BinsError(f"corrector has {have} components, the mean has {components}")
        _check_range("mean", self.mean, -MEAN_LIMIT, MEAN_LIMIT)
        _check_range("scale", self.scale, 0, SCALES - 1)
        if self.window:
            if not 0 < self.window < VALUE_LIMIT:
                raise BinsError(f"window is {self.window}, it must be 0 to {VALUE_LIMIT - 1}")
            if components > 1 and self.coupling.any():
                raise BinsError("coupling must be 0 where a window is used: it follows the uncoupled mean")
        else:
            _check_range("count", self.count, 1, 2 * VALUE_LIMIT)
            _check_range("low", self.low, -VALUE_LIMIT, VALUE_LIMIT)
            _check_range("low + count", self.low.astype(np.int64) + self.count, -VALUE_LIMIT, VALUE_LIMIT)

    @classmethod
    def ranged(
        cls, mean: Array, scale: Array, low: Array, count: Array,
        coupling: Array | None = None, tables: Array | None = None,
    ) -> Bins:  # fmt: skip
        """Bins over the ranges low..low+count-1, uncoupled and Gaussian unless told otherwise."""
        return cls(
            mean, scale, _uncoupled(mean) if coupling is None else coupling, low, count, 0,
            _gaussian_tables(mean) if tables is None else tables,
        )  # fmt: skip

    @classmethod
    def windowed(cls, mean: Array, scale: Array, window: int) -> Bins:
        """Gaussian bins over (mean >> 6) - window .. (mean >> 6) + window."""
        nothing = np.zeros(mean.shape[1], dtype=np.int32)
        return cls(mean, scale, _uncoupled(mean), nothing, nothing, window, _gaussian_tables(mean))

    @property
    def shape(self) -> tuple[int, int]:
        """(n, C)."""
        return self.mean.shape[0], self.mean.shape[1]


def push(stack: Stack, x: Array, bins: Bins, threads: int = 1) -> None:
    """Pushes the values x, int32 (n, C), last position and component first; the same bits for any `threads`.

    Raises:
        BinsError: x has another shape or dtype.
        ValueOutOfRange: a value is outside its range; the stack is as it was.
    """
    arguments = _arguments(bins)
    check_values(x, bins)
    n, components = bins.shape
    stack.reserve(-(-n // stack.lanes) * components)
    over_lanes(
        stack, x.size, threads,
        lambda first, last: kernels.push_gaussian(
            stack.heads, stack.words, stack.sizes, first, last, x, *arguments
        ),
    )  # fmt: skip


def pop(stack: Stack, bins: Bins, threads: int = 1) -> npt.NDArray[np.int32]:
    """Pops values int32 (n, C), first position and component first: the inverse of `push`.

    Raises:
        ShortStackError: the stack does not hold the bits; its content is undefined then.
    """
    arguments = _arguments(bins)
    x = np.empty(bins.shape, dtype=np.int32)
    over_lanes(
        stack, x.size, threads,
        lambda first, last: kernels.pop_gaussian(
            stack.heads, stack.words, stack.sizes, first, last, x, *arguments, widths()
        ),
    )  # fmt: skip
    return x


def intervals(x: Array, bins: Bins) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Start and freq, int64 (n, C), of the interval out of 2^28 that `push` takes for each value.

    Raises:
        BinsError, ValueOutOfRange: as `push`.
    """
    arguments = _arguments(bins)
    check_values(x, bins)
    start, freq = np.empty(bins.shape, dtype=np.int64), np.empty(bins.shape, dtype=np.int64)
    kernels.gaussian_intervals(start, freq, x, *arguments)
    return start, freq


def code_lengths(x: Array, bins: Bins) -> npt.NDArray[np.float64]:
    """Ideal length in bits of each value, float64 (n, C): 28 - log2(freq)."""
    lengths: npt.NDArray[np.float64] = PRECISION - np.log2(intervals(x, bins)[1].astype(np.float64))
    return lengths


def code_length(x: Array, bins: Bins) -> float:
    """Ideal length in bits of all values together, which `push` reaches to a small fraction of a bit."""
    return float(code_lengths(x, bins).sum())


def _arguments(bins: Bins) -> tuple[Any, ...]:
    """The arguments of a kernel that describe the bins."""
    return (
        bins.mean, bins.scale, bins.coupling, bins.low, bins.count, bins.window, bins.tables, inverses()
    )  # fmt: skip


def _uncoupled(mean: Array) -> npt.NDArray[np.int16]:
    return np.zeros((mean.shape[0], 3), dtype=np.int16)


def _gaussian_tables(mean: Array) -> npt.NDArray[np.int32]:
    return np.tile(gaussian_table(), (mean.shape[1], 1))


def check_values(x: Array, bins: Bins) -> None:
    """Raise BinsError for another shape or dtype than the bins', ValueOutOfRange for a value out of range."""
    _check_array("x", x, np.int32, bins.shape)
    index = int(kernels.first_outside(x, bins.mean, bins.low, bins.count, bins.window))
    if index >= 0:
        i, c = divmod(index, bins.shape[1])
        low, count = int(bins.low[c]), int(bins.count[c])
        if bins.window:
            low, count = (int(bins.mean[i, c]) >> MEAN_FRACTION_BITS) - bins.window, 2 * bins.window + 1
        raise ValueOutOfRange(
            f"x[{i}, {c}] is {int(x[i, c])}, its range is {low} to {low + count - 1}; "
            "widen the range or clip the value"
        )


def _check_array(name: str, array: Array, dtype: type, shape: tuple[int, ...]) -> None:
    if array.dtype != dtype or array.shape != shape:
        raise BinsError(f"{name} is {array.dtype} {array.shape}, it must be {np.dtype(dtype)} {shape}")
    if not array.flags.c_contiguous:
        raise BinsError(f"{name} is not contiguous; pass np.ascontiguousarray of it")


def _check_range(name: str, array: Array, least: int, most: int) -> None:
    if array.size and (array.min() < least or array.max() > most):
        raise BinsError(
            f"{name} runs from {array.min()} to {array.max()}, it must be within {least} to {most}"
        )
