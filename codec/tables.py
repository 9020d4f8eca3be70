"""Integer tables of the coder: the normal CDF, the CDFs of mixtures of scales, the grid of scales.

The normal CDF is data beside this file, checked by its SHA-256. All else follows from it by exact integer
arithmetic, so that every machine has the same tables.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import BinsError, TableError
from .kernels import GUESS_BITS, GUESS_FRACTION, SCALES, SHAPE_BITS, SHAPE_HALF, STEP_BITS, WIDTH_BITS

WEIGHT_BITS = 16  # the weights of a mixture sum to 2^16
FACTOR_UNIT = 16  # factors are in sixteenths
FACTOR_LIMIT = 128
NORMAL_CDF_BITS = 32
NORMAL_CDF_SHA256 = "04e0b3804ccdb1e5510136e8c8acfa39e2330943905517c87f4a0f6cc46c9600"

Array = npt.NDArray[Any]


def shape_table(weights: Array, factors16: Array) -> npt.NDArray[np.int32]:
    """Table of the mixture of scales sum_i w_i Phi(t / f_i), int32 (TABLE_LENGTH,), from integers alone.

    The first 2 * SHAPE_HALF + 1 entries are the CDF at t = -SHAPE_HALF .. SHAPE_HALF in steps of 1/64 sigma,
    with 30 fractional bits: from 0 to 2^30, never falling, F(t) + F(-t) = 2^30. The rest guesses its inverse,
    which speeds a pop and decides no bit.

    Args:
        weights: integers w_i >= 0 that sum to 2^16.
        factors16: integers 1..128, the factors f_i in sixteenths.

    Raises:
        BinsError: other weights or factors.
    """
    weights, factors16 = np.asarray(weights), np.asarray(factors16)
    for name, values in (("weights", weights), ("factors16", factors16)):
        if values.ndim != 1 or values.dtype.kind not in "iu" or not 0 < values.size == weights.size:
            raise BinsError(f"{name} must be integers, as many of one as of the other, not {values!r}")
    weights, factors16 = weights.astype(np.int64), factors16.astype(np.int64)
    if weights.min() < 0 or int(weights.sum()) != 1 << WEIGHT_BITS:
        raise BinsError(
            f"weights sum to {int(weights.sum())}, they must be 0 or more and sum to {1 << WEIGHT_BITS}"
        )
    if factors16.min() < 1 or factors16.max() > FACTOR_LIMIT:
        raise BinsError(f"factors16 are {factors16.tolist()}, they must be 1 to {FACTOR_LIMIT}")

    upper = np.zeros(SHAPE_HALF + 1, dtype=np.int64)
    half_cdf = normal_cdf()
    last = len(half_cdf) - 1
    for weight, factor in zip(weights, factors16, strict=True):
        cell, rest = np.divmod(np.arange(SHAPE_HALF + 1, dtype=np.int64) * FACTOR_UNIT, factor)
        below, above = half_cdf[np.minimum(cell, last)], half_cdf[np.minimum(cell + 1, last)]
        upper += weight * (below + (above - below) * rest // factor)
    upper >>= NORMAL_CDF_BITS + WEIGHT_BITS - SHAPE_BITS
    cdf = np.concatenate([(1 << SHAPE_BITS) - upper[:0:-1], upper])
    return np.concatenate([cdf, _inverse_guess(cdf)]).astype(np.int32)


@lru_cache(maxsize=1)
def gaussian_table() -> npt.NDArray[np.int32]:
    """`shape_table` of the normal distribution alone, read-only."""
    table = shape_table(np.array([1 << WEIGHT_BITS]), np.array([FACTOR_UNIT]))
    table.setflags(write=False)
    return table


@lru_cache(maxsize=1)
def normal_cdf() -> npt.NDArray[np.int64]:
    """The committed table: 2^32 Phi(t / 64) for t = 0..544, rounded to nearest, int64 (545,), read-only.

    Raises:
        TableError: its SHA-256 is not the committed one.
    """
    table: npt.NDArray[np.int64] = np.load(Path(__file__).with_name("normal_cdf.npy"), allow_pickle=False)
    if normal_cdf_sha256(table) != NORMAL_CDF_SHA256:
        raise TableError(
            f"normal_cdf.npy has SHA-256 {normal_cdf_sha256(table)}, it must be {NORMAL_CDF_SHA256}; "
            "install the package again"
        )
    table.setflags(write=False)
    return table


def normal_cdf_sha256(table: Array) -> str:
    """SHA-256 of a table's values as little-endian int64, in hexadecimal."""
    return hashlib.sha256(table.astype("<i8").tobytes()).hexdigest()


@lru_cache(maxsize=1)
def inverses() -> npt.NDArray[np.int64]:
    """2^STEP_BITS / sigma of each scale index, rounded to nearest."""
    return np.array([_power_of_two(8 * STEP_BITS + 32 - i) for i in range(SCALES)], dtype=np.int64)


@lru_cache(maxsize=1)
def widths() -> npt.NDArray[np.int64]:
    """2^WIDTH_BITS * sigma of each scale index, rounded to nearest."""
    return np.array([_power_of_two(8 * WIDTH_BITS - 32 + i) for i in range(SCALES)], dtype=np.int64)


def _power_of_two(eighths: int) -> int:
    """2^(eighths / 8), eighths >= 0, rounded to nearest by integer square roots alone."""
    return (isqrt(isqrt(isqrt(1 << (eighths + 8)))) + 1) // 2


def _inverse_guess(cdf: Array) -> npt.NDArray[np.int64]:
    """Where the CDF passes each 2^-GUESS_BITS, in 2^-GUESS_FRACTION table steps from the middle.

    The two outermost cells begin a quarter of a cell inside, so that a line through them follows the tail.
    """
    cells = 1 << GUESS_BITS
    targets = np.arange(cells + 1, dtype=np.int64) << (SHAPE_BITS - GUESS_BITS)
    quarter = 1 << (SHAPE_BITS - GUESS_BITS - 2)
    targets[0], targets[-1] = quarter, (1 << SHAPE_BITS) - quarter
    at = np.searchsorted(cdf, targets, side="right") - 1
    rise = np.maximum(cdf[at + 1] - cdf[at], 1)
    guess: npt.NDArray[np.int64] = (at - SHAPE_HALF) * (1 << GUESS_FRACTION)
    guess += (targets - cdf[at]) * (1 << GUESS_FRACTION) // rise
    return guess
