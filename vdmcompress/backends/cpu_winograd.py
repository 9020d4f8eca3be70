"""The fast path of processors with AVX2 and without 8-bit dot products: Winograd's convolution in integers.

F(2x2, 3x3) of Lavin and Gray ("Fast algorithms for convolutional neural networks", 2016, section 4.1) makes
four outputs of a 3x3 convolution from 16 products instead of 36.  With B, G and A as there, for a patch d of
4x4 inputs and the weights g of a pair of channels,

    y = A' [(G g G') * (B' d B)] A

In floating point that is not exact.  In integers it is: U = 4 G g G' holds whole numbers of at most 9 * 63,
V = B' d B of at most 4 * 255, and the right-hand side is 4 y.  Sums of products wrap modulo 2**32; y is below
2**24 (`exact.Layer.prove`), so that 4 y comes out whole whatever wrapped on the way.  Known answers decide in
every process whether any of it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import local
from typing import Any, Final
from zlib import crc32

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vdmcompress.backends import vectors
from vdmcompress.backends.vectors import LANES, ROWS, gather, gather_stream, multiply, spread
from vdmcompress.exact import FEATURES, NO_MARGINS, ExactEvaluation, Layer, Margins, Share, whole

BLOCK: Final = 4 * ROWS
"""Patches whose transforms wait in the cache."""

_SOURCES: Final = crc32(Path(vectors.__file__).read_bytes())


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """numba's cache watches a function's own file only, so the name tells what the instructions are."""
    function.__qualname__ = f"{function.__qualname__}_{_SOURCES:08x}"
    try:
        compiled: Callable[..., Any] = njit(nogil=True, cache=True)(function)
    except (RuntimeError, OSError):
        compiled = njit(nogil=True)(function)
    return compiled


@_compiled
def _convolve(
    u: NDArray[np.uint8],
    weights: NDArray[np.int16],
    numbers: NDArray[np.int32],
    v: NDArray[np.int16],
    m: NDArray[np.int32],
    out: NDArray[np.uint8],
    stream: NDArray[np.int16],
    top: int,
    bottom: int,
    left: int,
    right: int,
) -> None:
    """A 3x3 convolution; u uint8 (H, W, C), out uint8 (H, W, K), both with a border of one position of zeros.

    weights int16 (16, K / 16, C / 2, 16, 2); numbers int32 (5, K), see `vectors.gather`; v int16
    (16, BLOCK, C) and m int32 (16, BLOCK, K) are room.  stream int16 (H, W, K) is added to, or has size 0.
    top to bottom - 1 and left to right - 1: the patches, of two rows and columns, that are computed.
    """
    _, width, inputs = u.shape
    outputs = out.shape[2]
    across = right - left
    count = (bottom - top) * across
    panel_bytes, plane_bytes = 2 * LANES * inputs, 4 * BLOCK * outputs
    for first in range(0, count, BLOCK):
        n = min(BLOCK, count - first)
        for p in range(n):
            y, x = divmod(first + p, across)
            place = u.ctypes.data + (2 * (top + y) * width + 2 * (left + x)) * inputs
            target = v.ctypes.data + 2 * p * inputs
            for c in range(0, inputs, LANES):
                spread(place + c, width * inputs, inputs, target + 2 * c, 2 * BLOCK * inputs)
        for f in range(16):
            for k in range(outputs // LANES):
                panel = weights.ctypes.data + (f * (outputs // LANES) + k) * panel_bytes
                for p in range(0, n, ROWS):
                    row = f * BLOCK + p
                    a = v.ctypes.data + 2 * row * inputs
                    c = m.ctypes.data + 4 * (row * outputs + k * LANES)
                    multiply(a, 2 * inputs, panel, inputs // 2, c, 4 * outputs)
        for p in range(n):
            y, x = divmod(first + p, across)
            at = ((2 * (top + y) + 1) * width + 2 * (left + x) + 1) * outputs
            for k in range(0, outputs, LANES):
                c = m.ctypes.data + 4 * (p * outputs + k)
                by = numbers.ctypes.data + 4 * k
                to = out.ctypes.data + at + k
                if stream.size > 0:
                    old = stream.ctypes.data + 2 * (at + k)
                    gather_stream(c, plane_bytes, by, 4 * outputs, old, to, width * outputs, outputs)
                else:
                    gather(c, plane_bytes, by, 4 * outputs, to, width * outputs, outputs)


@_compiled
def _heads(
    u: NDArray[np.uint8],
    weights: NDArray[np.int16],
    bias: NDArray[np.int32],
    v: NDArray[np.int16],
    m: NDArray[np.int32],
    out: NDArray[np.int32],
) -> None:
    """The 1x1 head: out int32 (h, w, n) from u uint8 (H, W, C) with its border.

    weights (1, K / 16, C / 2, 16, 2); v int16 (BLOCK, C) and m int32 (BLOCK, K) are room.
    """
    height, width, n = out.shape
    inputs, outputs = v.shape[1], m.shape[1]
    for y in range(height):
        for first in range(0, width, BLOCK):
            count = min(BLOCK, width - first)
            for p in range(count):
                source, target = u[y + 1, first + p + 1], v[p]
                for c in range(inputs):
                    target[c] = source[c]
            for k in range(outputs // LANES):
                panel = weights.ctypes.data + k * 2 * LANES * inputs
                for p in range(0, count, ROWS):
                    multiply(
                        v.ctypes.data + 2 * p * inputs,
                        2 * inputs,
                        panel,
                        inputs // 2,
                        m.ctypes.data + 4 * (p * outputs + k * LANES),
                        4 * outputs,
                    )
            for p in range(count):
                sums, target = m[p], out[y, first + p]
                for k in range(n):
                    target[k] = sums[k] + bias[k]


def _padded(count: int) -> int:
    """Channels in whole groups."""
    return -(-count // LANES) * LANES


@_compiled
def _transform(weights: NDArray[np.int8], out: NDArray[np.int16]) -> None:
    """U = 4 G g G' of weights (K, C, 3, 3) into panels int16 (16, K / 16, C / 2, 16, 2)."""
    outputs, inputs = weights.shape[:2]
    lines = np.empty((4, 3), np.int16)
    for k in range(outputs):
        for c in range(inputs):
            g = weights[k, c]
            for x in range(3):
                top, middle, bottom = np.int16(g[0, x]), np.int16(g[1, x]), np.int16(g[2, x])
                lines[0, x], lines[3, x] = 2 * top, 2 * bottom
                lines[1, x], lines[2, x] = top + middle + bottom, top - middle + bottom
            for y in range(4):
                left, middle, right = lines[y, 0], lines[y, 1], lines[y, 2]
                at, half, one, odd = k // LANES, c // 2, k % LANES, c % 2
                out[4 * y, at, half, one, odd] = 2 * left
                out[4 * y + 1, at, half, one, odd] = left + middle + right
                out[4 * y + 2, at, half, one, odd] = left - middle + right
                out[4 * y + 3, at, half, one, odd] = 2 * right


def _panels(n: int, outputs: int, inputs: int) -> NDArray[np.int16]:
    """Zeros int16 (n, K / 16, C / 2, 16, 2) for weights of K outputs and C inputs."""
    return np.zeros((n, _padded(outputs) // LANES, _padded(inputs) // 2, LANES, 2), np.int16)


class _Convolution:
    """Weights and numbers of a 3x3 layer whose rounded sums are in units of 2**-shift of a step."""

    def __init__(self, layer: Layer, shift: int) -> None:
        self.weights = _panels(16, *layer.weights.shape[:2])
        _transform(np.ascontiguousarray(layer.weights), self.weights)
        down = layer.exponents.astype(np.int64) - shift
        right = np.maximum(down, 0)
        half = np.where(right > 0, (1 << np.maximum(right - 1, 0)) - 1, 0)
        rows = (layer.bias, np.maximum(-down, 0), right, half, right > 0)
        self.numbers = np.zeros((5, _padded(len(layer.bias))), np.int32)
        self.numbers[:, : len(layer.bias)] = np.stack(rows)


class _Prepared:
    def __init__(self, evaluation: ExactEvaluation) -> None:
        self.stem = _Convolution(evaluation.stem, 4)
        self.blocks = [(_Convolution(a, 0), _Convolution(b, 3)) for a, b in evaluation.blocks]
        weights = evaluation.head.weights[:, :, 0, 0]
        self.head = _panels(1, *weights.shape)
        full = np.zeros((len(weights), _padded(weights.shape[1])), np.int16)
        full[:, : weights.shape[1]] = weights
        for k, row in enumerate(full):
            self.head[0, k // LANES, :, k % LANES] = row.reshape(-1, 2)
        self.bias = evaluation.head.bias
        self.width = self.stem.numbers.shape[1]


class _Room:
    """Activations of a tile of h rows and w columns, with a border of zeros, and a place to add to."""

    def __init__(self, h: int, w: int, channels: int) -> None:
        self.key = (h, w, channels)
        size = (2 * -(-h // 2) + 2, 2 * -(-w // 2) + 2)
        self.features = np.zeros((*size, _padded(FEATURES)), np.uint8)
        self.active, self.inner = (np.zeros((*size, channels), np.uint8) for _ in range(2))
        self.stream = np.zeros((*size, channels), np.int16)


class WinogradBackend:
    """16-bit products on the CPU."""

    name = "cpu_winograd"
    uses_torch = False

    def __init__(self) -> None:
        self._kept = local()

    def _room(self, h: int, w: int, channels: int) -> _Room:
        """Room for a tile, this thread's last one where it fits: new memory costs as much as a layer."""
        room: _Room | None = getattr(self._kept, "room", None)
        if room is None or room.key != (h, w, channels):
            room = self._kept.room = _Room(h, w, channels)
        room.stream.fill(0)
        return room

    def prepare(self, evaluation: ExactEvaluation) -> _Prepared:
        """Transformed weights of all layers.  Raises NotImplementedError where there is no AVX2."""
        if not vectors.available():
            raise NotImplementedError("this processor has no AVX2")
        return _Prepared(evaluation)

    def run(self, prepared: object, u: NDArray[np.uint8], margins: Margins = NO_MARGINS) -> NDArray[np.int32]:
        """Head sums int32 (h, w, 24); see `exact.Backend`."""
        return self.run_shared(prepared, u, margins, whole)

    def run_shared(
        self, prepared: object, u: NDArray[np.uint8], margins: Margins, share: Share
    ) -> NDArray[np.int32]:
        """`run` with threads; see `exact.SharingBackend`."""
        layers: _Prepared = prepared  # type: ignore[assignment]
        h, w, _ = u.shape
        room, none = self._room(h, w, layers.width), np.zeros((0, 0, 0), np.int16)
        room.features[1 : h + 1, 1 : w + 1, :FEATURES] = u
        path = [(room.features, layers.stem, room.active, room.stream)]
        for a, b in layers.blocks:
            path += [(room.active, a, room.inner, none), (room.inner, b, room.active, room.stream)]

        def convolve(number: int, left: int, right: int, rows: slice) -> None:
            x, by, y, added = path[number]
            v = np.empty((16, BLOCK, x.shape[2]), np.int16)
            m = np.empty((16, BLOCK, layers.width), np.int32)
            _convolve(x, by.weights, by.numbers, v, m, y, added, rows.start, rows.stop, left, right)

        for number, (_, _, y, _) in enumerate(path):
            # the layers that follow reach one position further each
            skip = [max(0, margin - (len(path) - 1 - number)) for margin in margins]
            columns = (skip[2] // 2, -(-(w - skip[3]) // 2))
            share(partial(convolve, number, *columns), slice(skip[0] // 2, -(-(h - skip[1]) // 2)))
            y[h + 1 :], y[:, w + 1 :] = 0, 0
        out = np.empty((h, w, len(layers.bias)), np.int32)

        def heads(rows: slice) -> None:
            narrow = np.empty((BLOCK, layers.width), np.int16)
            products = np.empty((BLOCK, _padded(len(layers.bias))), np.int32)
            above = room.active[rows.start : rows.stop + 2]
            _heads(above, layers.head, layers.bias, narrow, products, out[rows])

        share(heads, slice(0, h))
        return out

    def run_batch(self, prepared: object, u: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Head sums int32 (n, h, w, 24); see `exact.Backend`."""
        return np.stack([self.run(prepared, alone) for alone in u])
