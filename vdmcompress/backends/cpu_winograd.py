"""The fast path of processors with AVX2 and without 8-bit dot products: Winograd's convolution in integers.

F(2x2, 3x3) of Lavin and Gray ("Fast algorithms for convolutional neural networks", 2016, section 4.1) makes
four outputs of a 3x3 convolution from 16 products instead of 36.  With B, G and A as there, for a patch d of
4x4 inputs and the weights g of a pair of channels,

    y = A' [(G g G') * (B' d B)] A

In floating point that is not exact.  In integers it is: U = 4 G g G' holds whole numbers of at most 9 * 63,
V = B' d B of at most 4 * 255, and the right-hand side is 4 y.  Sums of products wrap modulo 2**32; y is below
2**24 (`exact.Layer.prove`), so that 4 y comes out whole whatever wrapped on the way.

The products of 16 bits are `vpmaddwd`, which no loop in Python becomes by itself: `_multiply`, `_spread` and
`_gather` below build their instructions.  Known answers decide in every process whether any of it is used.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from llvmlite import binding, ir
from numba import njit, types
from numba.core import config
from numba.extending import intrinsic
from numpy.typing import NDArray

from vdmcompress.exact import FEATURES, ExactEvaluation, Layer

LANES: Final = 16
"""Channels come in groups of so many."""

ROWS: Final = 6
"""Patches that are multiplied at once: 6 x 16 sums fill twelve of sixteen vector registers."""

UNROLLED: Final = 2
"""Pairs of channels in one turn of the innermost loop."""

BLOCK: Final = 24
"""Patches whose transforms wait in the cache."""

_SPREAD: Final = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
_GATHER: Final = ((1, 1, 1, 0), (0, 1, -1, -1))
"""B' and A' of the transform."""

_BYTE, _SHORT, _INT, _LONG = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_BYTES, _SHORTS, _INTS = (ir.VectorType(kind, LANES) for kind in (_BYTE, _SHORT, _INT))
_HALF = ir.VectorType(_INT, LANES // 2)


def available() -> bool:
    """Whether compiled code may use AVX2 here."""
    if config.CPU_NAME is not None or config.CPU_FEATURES is not None:
        return "+avx2" in (config.CPU_FEATURES or "")
    return bool(binding.get_host_cpu_features().get("avx2", False))


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    try:
        compiled: Callable[..., Any] = njit(nogil=True, cache=True)(function)
    except (RuntimeError, OSError):
        compiled = njit(nogil=True)(function)
    return compiled


class _Writer:
    """Writes instructions; addresses and strides are int64, in bytes."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.builder = builder

    def at(self, address: Any, offset: Any, kind: ir.Type) -> Any:
        """Pointer to a value of a kind."""
        place = self.builder.add(address, offset) if offset is not None else address
        return self.builder.inttoptr(place, kind.as_pointer())

    def load(self, address: Any, offset: Any, kind: ir.Type) -> Any:
        return self.builder.load(self.at(address, offset, kind), align=1)

    def store(self, value: Any, address: Any, offset: Any) -> None:
        self.builder.store(value, self.at(address, offset, value.type), align=1)

    def times(self, stride: Any, factor: int) -> Any:
        return self.builder.mul(stride, _LONG(factor))

    def constant(self, kind: ir.VectorType, value: int) -> ir.Constant:
        return ir.Constant(kind, [value] * kind.count)

    def clamp(self, x: Any, low: int, high: int) -> Any:
        least, most = self.constant(x.type, low), self.constant(x.type, high)
        x = self.builder.select(self.builder.icmp_signed("<", x, least), least, x)
        return self.builder.select(self.builder.icmp_signed(">", x, most), most, x)


def _addresses(count: int) -> Any:
    return types.void(*[types.int64] * count)


@intrinsic
def _multiply(context, a, a_stride, b, pairs, c, c_stride):  # type: ignore[no-untyped-def]
    """c int32 (ROWS, 16) = a int16 (ROWS, 2 pairs) times b int16 (pairs, 16, 2)."""

    def generate(_: Any, builder: ir.IRBuilder, __: Any, values: Any) -> Any:
        a, a_stride, b, pairs, c, c_stride = values
        w = _Writer(builder)
        name = "llvm.x86.avx2.pmadd.wd"
        kind = ir.FunctionType(_HALF, [_SHORTS, _SHORTS])
        product = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        zero = ir.Constant(_HALF, None)
        before = builder.block
        head, end = builder.append_basic_block("pairs"), builder.append_basic_block("end")
        builder.branch(head)
        builder.position_at_end(head)
        index = builder.phi(_LONG)
        sums = [[builder.phi(_HALF) for _ in range(2)] for _ in range(ROWS)]
        totals: list[list[Any]] = [list(pair) for pair in sums]
        panel = builder.add(b, builder.mul(index, _LONG(4 * LANES)))
        column = builder.add(a, builder.mul(index, _LONG(4)))
        for step in range(UNROLLED):
            weights = [w.load(panel, _LONG(2 * LANES * (2 * step + half)), _SHORTS) for half in range(2)]
            for row in range(ROWS):
                pair = w.load(column, builder.add(w.times(a_stride, row), _LONG(4 * step)), _INT)
                one = builder.insert_element(ir.Constant(_HALF, ir.Undefined), pair, _INT(0))
                same = builder.shuffle_vector(one, one, ir.Constant(_HALF, None))
                inputs = builder.bitcast(same, _SHORTS)
                for half in range(2):
                    products = builder.call(product, [inputs, weights[half]])
                    totals[row][half] = builder.add(totals[row][half], products)
        following = builder.add(index, _LONG(UNROLLED))
        index.add_incoming(_LONG(0), before)
        index.add_incoming(following, head)
        for begun, ended in zip(sums, totals, strict=True):
            for half in range(2):
                begun[half].add_incoming(zero, before)
                begun[half].add_incoming(ended[half], head)
        builder.cbranch(builder.icmp_signed("<", following, pairs), head, end)
        builder.position_at_end(end)
        for row, pair_of_sums in enumerate(totals):
            for half, total in enumerate(pair_of_sums):
                offset = builder.add(w.times(c_stride, row), _LONG(2 * LANES * half))
                w.store(total, c, offset)
        return ir.Constant(_LONG, 0)

    return types.int64(*[types.int64] * 6), generate


def _transformed(builder: ir.IRBuilder, matrix: Any, values: list[list[Any]]) -> list[list[Any]]:
    """matrix times values times its transpose; entries of the matrix are 0, 1, -1."""

    def combine(row: Any, terms: list[Any]) -> Any:
        plus = [t for factor, t in zip(row, terms, strict=True) if factor > 0]
        minus = [t for factor, t in zip(row, terms, strict=True) if factor < 0]
        total = plus[0]
        for term in plus[1:]:
            total = builder.add(total, term)
        for term in minus:
            total = builder.sub(total, term)
        return total

    columns = [[combine(row, list(column)) for row in matrix] for column in zip(*values, strict=True)]
    half = list(zip(*columns, strict=True))
    return [[combine(row, list(line)) for row in matrix] for line in half]


@intrinsic
def _spread(context, u, row_stride, stride, v, v_stride):  # type: ignore[no-untyped-def]
    """16 channels of B' d B as int16 at v + i v_stride, i = 0..15; d: 4x4 positions uint8 from u on."""

    def generate(_: Any, builder: ir.IRBuilder, __: Any, values: Any) -> Any:
        u, row_stride, stride, v, v_stride = values
        w = _Writer(builder)
        patch = []
        for y in range(4):
            line = builder.add(u, w.times(row_stride, y))
            loaded = [w.load(line, w.times(stride, x), _BYTES) for x in range(4)]
            patch.append([builder.zext(x, _SHORTS) for x in loaded])
        flat = [x for line in _transformed(builder, _SPREAD, patch) for x in line]
        for i, x in enumerate(flat):
            w.store(x, v, w.times(v_stride, i))
        return ir.Constant(_LONG, 0)

    return types.int64(*[types.int64] * 5), generate


def _outputs(w: _Writer, m: Any, m_stride: Any, numbers: Any, step: Any) -> list[list[Any]]:
    """Rounded sums int32 of 2x2 positions; numbers: bias, left, right, half, odd, int32 at a step."""
    builder = w.builder
    lines = [[w.load(m, w.times(m_stride, 4 * y + x), _INTS) for x in range(4)] for y in range(4)]
    bias, left, right, half, odd = (w.load(numbers, w.times(step, i), _INTS) for i in range(5))

    def rounded(total: Any) -> Any:
        total = builder.add(builder.ashr(total, w.constant(_INTS, 2)), bias)
        total = builder.shl(total, left)
        even = builder.and_(builder.ashr(total, right), odd)
        return builder.ashr(builder.add(builder.add(total, half), even), right)

    return [[rounded(x) for x in line] for line in _transformed(builder, _GATHER, lines)]


@intrinsic
def _gather(context, m, m_stride, numbers, step, u, row_stride, stride):  # type: ignore[no-untyped-def]
    """16 channels of four activations uint8 at u from their products at m."""

    def generate(_: Any, builder: ir.IRBuilder, __: Any, values: Any) -> Any:
        m, m_stride, numbers, step, u, row_stride, stride = values
        w = _Writer(builder)
        for y, line in enumerate(_outputs(w, m, m_stride, numbers, step)):
            for x, value in enumerate(line):
                place = builder.add(w.times(row_stride, y), w.times(stride, x))
                w.store(builder.trunc(w.clamp(value, 0, 255), _BYTES), u, place)
        return ir.Constant(_LONG, 0)

    return types.int64(*[types.int64] * 7), generate


@intrinsic
def _gather_stream(context, m, m_stride, numbers, step, stream, u, row_stride, stride):  # type: ignore[no-untyped-def]
    """Adds 16 channels of four sums to the stream int16, and its activations uint8 at u.

    Strides are those of u; the stream's are twice as long.
    """

    def generate(_: Any, builder: ir.IRBuilder, __: Any, values: Any) -> Any:
        m, m_stride, numbers, step, stream, u, row_stride, stride = values
        w = _Writer(builder)
        for y, line in enumerate(_outputs(w, m, m_stride, numbers, step)):
            for x, value in enumerate(line):
                place = builder.add(w.times(row_stride, y), w.times(stride, x))
                twice = w.times(place, 2)
                old = builder.sext(w.load(stream, twice, _SHORTS), _INTS)
                new = w.clamp(builder.add(old, value), -32768, 32767)
                w.store(builder.trunc(new, _SHORTS), stream, twice)
                three = w.constant(_INTS, 3)
                even = builder.and_(builder.ashr(new, three), w.constant(_INTS, 1))
                active = builder.ashr(builder.add(builder.add(new, three), even), three)
                w.store(builder.trunc(w.clamp(active, 0, 255), _BYTES), u, place)
        return ir.Constant(_LONG, 0)

    return types.int64(*[types.int64] * 8), generate


@_compiled
def _convolve(
    u: NDArray[np.uint8],
    weights: NDArray[np.int16],
    numbers: NDArray[np.int32],
    v: NDArray[np.int16],
    m: NDArray[np.int32],
    out: NDArray[np.uint8],
    stream: NDArray[np.int16],
) -> None:
    """A 3x3 convolution; u uint8 (H, W, C), out uint8 (H, W, K), both with a border of one position of zeros.

    weights int16 (16, K / 16, C / 2, 16, 2); numbers int32 (5, K), see `_outputs`; v int16 (16, BLOCK, C) and
    m int32 (16, BLOCK, K) are room.  stream int16 (H, W, K) is added to, or has size 0.
    """
    height, width, inputs = u.shape
    outputs = out.shape[2]
    across = (width - 2) // 2
    count = (height - 2) // 2 * across
    size = 2 * LANES * inputs
    for first in range(0, count, BLOCK):
        n = min(BLOCK, count - first)
        for p in range(n):
            y, x = divmod(first + p, across)
            place = u.ctypes.data + (2 * y * width + 2 * x) * inputs
            target = v.ctypes.data + 2 * p * inputs
            for c in range(0, inputs, LANES):
                _spread(place + c, width * inputs, inputs, target + 2 * c, 2 * BLOCK * inputs)
        for f in range(16):
            for k in range(outputs // LANES):
                panel = weights.ctypes.data + (f * (outputs // LANES) + k) * size
                for p in range(0, n, ROWS):
                    row = f * BLOCK + p
                    products = m.ctypes.data + 4 * (row * outputs + k * LANES)
                    _multiply(
                        v.ctypes.data + 2 * row * inputs, 2 * inputs, panel, inputs // 2, products, 4 * outputs
                    )
        for p in range(n):
            y, x = divmod(first + p, across)
            at = ((2 * y + 1) * width + 2 * x + 1) * outputs
            for k in range(0, outputs, LANES):
                products = m.ctypes.data + 4 * (p * outputs + k)
                by = numbers.ctypes.data + 4 * k
                place = out.ctypes.data + at + k
                if stream.size > 0:
                    old = stream.ctypes.data + 2 * (at + k)
                    _gather_stream(
                        products, 4 * BLOCK * outputs, by, 4 * outputs, old, place, width * outputs, outputs
                    )
                else:
                    _gather(products, 4 * BLOCK * outputs, by, 4 * outputs, place, width * outputs, outputs)


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
                    _multiply(
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
        for k, row in enumerate(weights):
            self.head[0, k // LANES, : len(row) // 2, k % LANES] = row.reshape(-1, 2)
        self.bias = evaluation.head.bias
        self.width = self.stem.numbers.shape[1]


class WinogradBackend:
    """16-bit products on the CPU."""

    name = "cpu_winograd"
    uses_torch = False

    def prepare(self, evaluation: ExactEvaluation) -> _Prepared:
        """Transformed weights of all layers.  Raises NotImplementedError where there is no AVX2."""
        if not available():
            raise NotImplementedError("this processor has no AVX2")
        return _Prepared(evaluation)

    def run(self, prepared: object, u: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Head sums int32 (h, w, 24); see `exact.Backend`."""
        layers: _Prepared = prepared  # type: ignore[assignment]
        h, w, _ = u.shape
        size = (2 * -(-h // 2) + 2, 2 * -(-w // 2) + 2)
        features = np.zeros((*size, _padded(FEATURES)), np.uint8)
        features[1 : h + 1, 1 : w + 1, :FEATURES] = u
        v = np.empty((16, BLOCK, max(_padded(FEATURES), layers.width)), np.int16)
        m = np.empty((16, BLOCK, layers.width), np.int32)
        active, inner = (np.zeros((*size, layers.width), np.uint8) for _ in range(2))
        stream, none = np.zeros((*size, layers.width), np.int16), np.zeros((0, 0, 0), np.int16)

        def convolve(x: NDArray[np.uint8], by: _Convolution, y: NDArray[np.uint8], s: NDArray[np.int16]) -> None:
            _convolve(x, by.weights, by.numbers, v, m, y, s)
            y[h + 1 :], y[:, w + 1 :] = 0, 0

        convolve(features, layers.stem, active, stream)
        for a, b in layers.blocks:
            convolve(active, a, inner, none)
            convolve(inner, b, active, stream)
        out = np.empty((h, w, len(layers.bias)), np.int32)
        room = np.empty((BLOCK, layers.width), np.int16)
        products = np.empty((BLOCK, _padded(len(layers.bias))), np.int32)
        _heads(active, layers.head, layers.bias, room, products, out)
        return out
