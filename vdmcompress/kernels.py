"""Compiled integer loops around the network: features, linear predictor, residual stream, outputs.

All integers (or float32 values that are exact integers), so every machine gets the same result.  Arrays of
the image are planar (C, h, w); activations are (h, w, C), the memory order of the 8-bit convolutions.
A twin of each kernel in plain numpy or torch stands in ``backends/cpu_float.py`` or in the tests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

STREAM_BITS = 8
"""Fractional bits of the residual stream (int16): 1/256 of a unit."""

ACTIVATION_BITS = 5
"""Fractional bits of a u8 activation: 1/32 of a unit."""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled by numba for loops over integers, without the interpreter's lock; cached where that can be."""
    try:
        found: Callable[..., Any] = njit(nogil=True, cache=True, fastmath=False)(function)
    except (RuntimeError, OSError):
        found = njit(nogil=True, fastmath=False)(function)
    return found


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """For what compiled loops call at each turn, to become a part of them.

    Called as a function it would count references to its arrays, in turn with all other threads.
    """
    found: Callable[..., Any] = njit(nogil=True, fastmath=False, forceinline=True)(function)
    return found


@compiled
def differences(ll: NDArray[np.int16], out: NDArray[np.int16]) -> None:
    """LL less its left neighbour (out[:C]) and less its upper one (out[C:]), 0 at edges; int16 (2C, h, w)."""
    channels, h, w = ll.shape
    for c in range(channels):
        for y in range(h):
            for x in range(w):
                out[c, y, x] = ll[c, y, x] - ll[c, y, x - 1] if x > 0 else 0
                out[channels + c, y, x] = ll[c, y, x] - ll[c, y - 1, x] if y > 0 else 0


@compiled
def pack_features(raw: NDArray[np.int16], top: int, left: int, out: NDArray[np.uint8]) -> None:
    """u8 inputs of the network: both signs of raw (15, h, w), saturated; out (rows, cols, 30)."""
    rows, cols, _ = out.shape
    for y in range(rows):
        for c in range(15):
            for x in range(cols):
                v = raw[c, top + y, left + x]
                out[y, x, c] = np.uint8(min(max(v, 0), 255))
                out[y, x, 15 + c] = np.uint8(min(max(-v, 0), 255))


@compiled
def linear_predict(
    raw: NDArray[np.int16], weights: NDArray[np.int32], top: int, left: int, out: NDArray[np.int32]
) -> None:
    """3x3 correlation of raw[:12] with weights (n, 12, 3, 3), zeros outside; out int32 (n, rows, cols)."""
    _, h, w = raw.shape
    n, rows, cols = out.shape
    line = np.empty((12, cols + 2), np.int32)
    out[:] = 0
    for y in range(rows):
        for i in range(3):
            source = top + y + i - 1
            if source < 0 or source >= h:
                continue
            for c in range(12):
                for x in range(cols + 2):
                    at = left + x - 1
                    line[c, x] = raw[c, source, at] if 0 <= at < w else 0
            for o in range(n):
                target = out[o, y]
                for c in range(12):
                    values = line[c]
                    before, here, after = weights[o, c, i, 0], weights[o, c, i, 1], weights[o, c, i, 2]
                    for x in range(cols):
                        target[x] += before * values[x] + here * values[x + 1] + after * values[x + 2]


@compiled
def start_stream(t: NDArray[np.float32], stream: NDArray[np.int16], u: NDArray[np.uint8]) -> None:
    """stream = round(256 t), saturated; u = its u8 activation.  Flat arrays of one length."""
    for i in range(t.size):
        v = np.int32(np.rint(t[i] * np.float32(256.0)))
        v = min(max(v, np.int32(-32768)), np.int32(32767))
        stream[i] = np.int16(v)
        a = (v + np.int32(3) + ((v >> np.int32(3)) & np.int32(1))) >> np.int32(3)
        u[i] = np.uint8(min(max(a, np.int32(0)), np.int32(255)))


@compiled
def add_to_stream(t: NDArray[np.float32], stream: NDArray[np.int16], u: NDArray[np.uint8]) -> None:
    """stream += round(256 t), saturated; u = its u8 activation (ties to even).  Flat arrays of one length."""
    for i in range(t.size):
        v = np.int32(stream[i]) + np.int32(np.rint(t[i] * np.float32(256.0)))
        v = min(max(v, np.int32(-32768)), np.int32(32767))
        stream[i] = np.int16(v)
        a = (v + np.int32(3) + ((v >> np.int32(3)) & np.int32(1))) >> np.int32(3)
        u[i] = np.uint8(min(max(a, np.int32(0)), np.int32(255)))


@compiled
def conditionals(
    acc: NDArray[np.int32],
    linear: NDArray[np.int32],
    exponents: NDArray[np.int64],
    z_k: NDArray[np.int16],
    fusion: NDArray[np.int32],
    grid: int,
    mean: NDArray[np.int32],
    scale: NDArray[np.uint8],
    coupling: NDArray[np.int16],
    first: int,
    last: int,
) -> None:
    """Integer coder parameters of a conditional in rows first..last-1, by the formulas of `conditionals.py`.

    acc int32 (rows, w, 12); linear int32 (3, rows, w); exponents (12,); z_k (C, rows, w);
    fusion int32 (2, 128): Bayes' rule by prior scale index, or (2, 0) where there is no z_k;
    mean, scale (n, C), coupling (n, 3), n = positions in the leading rectangle (rows', cols') given by the
    outputs' number: cols' = n / rows'.
    """
    n, channels = mean.shape
    rows = acc.shape[0]
    cols = n // rows
    fused = fusion.shape[1] > 0
    half = np.int64(1) << np.int64(13 + grid)
    for y in range(first, last):
        for x in range(cols):
            i = y * cols + x
            for c in range(channels):
                m = np.int64(acc[y, x, c]) << (np.int64(17) - exponents[c])
                m += np.int64(linear[c, y, x]) << np.int64(10)
                e = exponents[3 + c]
                s = (np.int64(acc[y, x, 3 + c]) + (np.int64(1) << e)) >> (e + np.int64(1))
                if fused:
                    s = min(max(s + np.int64(48), np.int64(0)), np.int64(127))
                    z = np.int64(z_k[c, y, x]) << np.int64(20)
                    m += (np.int64(fusion[0, s]) * (z - m)) >> np.int64(16)
                    e = exponents[9 + c] + np.int64(2)
                    k = np.int64(acc[y, x, 9 + c]) << np.int64(8)
                    k = (k + (np.int64(1) << (e - np.int64(1)))) >> e
                    s = (np.int64(fusion[1, s]) + k + np.int64(128)) >> np.int64(8)
                else:
                    s += np.int64(48 - 8 * grid)
                m = (m + half) >> np.int64(14 + grid)
                mean[i, c] = np.int32(min(max(m, np.int64(-(1 << 24))), np.int64(1 << 24)))
                scale[i, c] = np.uint8(min(max(s, np.int64(0)), np.int64(127)))
            for c in range(3):
                e = exponents[6 + c]
                k = ((np.int64(acc[y, x, 6 + c]) << np.int64(2)) + (np.int64(1) << e)) >> (e + np.int64(1))
                coupling[i, c] = np.int16(min(max(k, np.int64(-127)), np.int64(127)))
