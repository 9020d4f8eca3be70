"""Vector instructions of the integer Winograd convolution, for loops that numba compiles (`cpu_winograd.py`).

The products of 16 bits, `vpmaddwd`, are what no loop in Python becomes by itself. Addresses and strides are
int64, in bytes; sums wrap modulo 2**32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from llvmlite import binding, ir
from numba import types
from numba.core import config
from numba.extending import intrinsic

LANES: Final = 16
"""Channels come in groups of so many."""

ROWS: Final = 6
"""Patches that are multiplied at once: 6 x 16 sums fill twelve of sixteen vector registers."""

UNROLLED: Final = 2
"""Pairs of channels in one turn of the innermost loop."""

_SPREAD: Final = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
_GATHER: Final = ((1, 1, 1, 0), (0, 1, -1, -1))
"""B' and A' of the transform."""

_BYTE, _SHORT, _INT, _LONG = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_BYTES, _SHORTS, _INTS = (ir.VectorType(kind, LANES) for kind in (_BYTE, _SHORT, _INT))
_HALF = ir.VectorType(_INT, LANES // 2)

_intrinsic: Callable[[Callable[..., Any]], Any] = intrinsic


def available() -> bool:
    """Whether compiled code may use AVX2 here."""
    name, features = _setting("CPU_NAME"), _setting("CPU_FEATURES")
    if name is not None or features is not None:
        return "+avx2" in (features or "")
    return bool(binding.get_host_cpu_features().get("avx2", False))


def _setting(name: str) -> str | None:
    """What NUMBA_CPU_NAME or NUMBA_CPU_FEATURES asks the compiler for."""
    value: str | None = getattr(config, name)
    return value


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


@_intrinsic
def multiply(context: Any, a: Any, a_stride: Any, b: Any, pairs: Any, c: Any, c_stride: Any) -> Any:
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


@_intrinsic
def spread(context: Any, u: Any, row_stride: Any, stride: Any, v: Any, v_stride: Any) -> Any:
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


@_intrinsic
def gather(
    context: Any, m: Any, m_stride: Any, numbers: Any, step: Any, u: Any, row_stride: Any, stride: Any
) -> Any:
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


@_intrinsic
def gather_stream(
    context: Any,
    m: Any,
    m_stride: Any,
    numbers: Any,
    step: Any,
    stream: Any,
    u: Any,
    row_stride: Any,
    stride: Any,
) -> Any:
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
