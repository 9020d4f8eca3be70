"""Layers of a small integer network, for loops that numba compiles (`corrector_kernels.py`).

A layer's sums stay in vector registers; products of pairs of 16 bits (`vpmaddwd` on x86) are what no loop
in Python becomes by itself. Everything is exact, with or without that instruction. Addresses and counts are
int64; pairs lie in memory as on little-endian machines.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import types
from numba.core import cgutils, codegen, config
from numba.extending import intrinsic

from .corrector import INPUT_LIMIT, LANES, UNIT_LIMIT

ir: Any = vars(cgutils)["ir"]  # what numba itself writes its code with
_SHORT, _INT, _LONG = (ir.IntType(bits) for bits in (16, 32, 64))
_SUMS, _PAIRS = ir.VectorType(_INT, 8), ir.VectorType(_SHORT, 16)
_PARTS = range(LANES // 8)  # of a group, each one vector of sums

_intrinsic: Callable[[Callable[..., Any]], Any] = intrinsic


def _setting(name: str) -> str | None:
    """What NUMBA_CPU_NAME or NUMBA_CPU_FEATURES asks the compiler for."""
    value: str | None = getattr(config, name)
    return value


def _has_avx2() -> bool:
    """Whether compiled code may use AVX2."""
    name, features = _setting("CPU_NAME"), _setting("CPU_FEATURES")
    if name is None and features is None:
        features = codegen.get_host_cpu_features()  # type: ignore[no-untyped-call]
    return "+avx2" in (features or "").split(",")


class Writer:
    """Writes instructions of one function."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def place(self, address: Any, offset: Any, kind: Any) -> Any:
        return self.builder.inttoptr(self.builder.add(address, offset), kind.as_pointer())

    def load(self, address: Any, offset: Any, kind: Any) -> Any:
        return self.builder.load(self.place(address, offset, kind), align=1)

    def store(self, value: Any, address: Any, offset: Any) -> None:
        self.builder.store(value, self.place(address, offset, value.type), align=1)

    def times(self, value: Any, factor: int, more: int = 0) -> Any:
        return self.builder.add(self.builder.mul(value, _LONG(factor)), _LONG(more))

    def same(self, kind: Any, value: int) -> Any:
        return ir.Constant(kind, [value] * kind.count)

    def spread(self, two: Any) -> Any:
        """int16 (16,) of which each pair is the int32 `two`."""
        one = self.builder.insert_element(ir.Constant(_SUMS, ir.Undefined), two, _INT(0))
        return self.builder.bitcast(self.builder.shuffle_vector(one, one, self.same(_SUMS, 0)), _PAIRS)

    def products(self, a: Any, b: Any) -> Any:
        """int32 (8,): sums of pairs of products of int16 (16,) and int16 (16,)."""
        builder = self.builder
        if _has_avx2():
            name, kind = "llvm.x86.avx2.pmadd.wd", ir.FunctionType(_SUMS, [_PAIRS, _PAIRS])
            function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
            return builder.call(function, [a, b])
        wide = ir.VectorType(_INT, 16)
        product = builder.mul(builder.sext(a, wide), builder.sext(b, wide))
        lanes = (ir.Constant(_SUMS, list(range(first, 16, 2))) for first in (0, 1))
        return builder.add(*(builder.shuffle_vector(product, product, which) for which in lanes))

    def clamped(self, x: Any, low: int, high: int) -> Any:
        """x within low and high."""
        least, most = self.same(x.type, low), self.same(x.type, high)
        x = self.builder.select(self.builder.icmp_signed("<", x, least), least, x)
        return self.builder.select(self.builder.icmp_signed(">", x, most), most, x)

    def shorts(self, x: Any) -> Any:
        """x as int16; it fits."""
        return self.builder.trunc(x, ir.VectorType(_SHORT, x.type.count))

    def loop(self, count: Any, before: list[Any], body: Callable[[Any, list[Any]], list[Any]]) -> list[Any]:
        """The last values of body(index, values) -> values for index 0 to count - 1; count is at least 1."""
        builder = self.builder
        start = builder.block
        head, end = builder.append_basic_block("turn"), builder.append_basic_block("end")
        builder.branch(head)
        builder.position_at_end(head)
        index = builder.phi(_LONG)
        values = [builder.phi(value.type) for value in before]
        after = body(index, list(values))
        following = builder.add(index, _LONG(1))
        for phi, first, then in zip([index, *values], [_LONG(0), *before], [following, *after], strict=True):
            phi.add_incoming(first, start)
            phi.add_incoming(then, builder.block)
        builder.cbranch(builder.icmp_signed("<", following, count), head, end)
        builder.position_at_end(end)
        return after


@_intrinsic
def short_at(context: Any, address: Any) -> Any:
    """The int16 at an address, as int64."""

    def generate(_: Any, builder: Any, __: Any, values: Any) -> Any:
        return builder.sext(Writer(builder).load(values[0], _LONG(0), _SHORT), _LONG)

    return types.int64(types.int64), generate


@_intrinsic
def put_pair(context: Any, address: Any, first: Any, second: Any) -> Any:
    """Writes two int64, which fit 16 bits, as int16 at an address and behind it."""

    def generate(context: Any, builder: Any, _: Any, values: Any) -> Any:
        address, first, second = values
        low = builder.and_(builder.trunc(first, _INT), _INT(0xFFFF))
        high = builder.shl(builder.trunc(second, _INT), _INT(16))
        Writer(builder).store(builder.or_(low, high), address, _LONG(0))
        return context.get_dummy_value()

    return types.none(*[types.int64] * 3), generate


@_intrinsic
def copy_pairs(context: Any, source: Any, to: Any) -> Any:
    """Copies two pairs from an address to another."""

    def generate(context: Any, builder: Any, _: Any, values: Any) -> Any:
        source, to = values
        w = Writer(builder)
        w.store(w.load(source, _LONG(0), _LONG), to, _LONG(0))
        return context.get_dummy_value()

    return types.none(*[types.int64] * 2), generate


def layer(shift: int) -> Any:
    """The compiled function f(inputs, pairs, weights, stride, bias, groups, units) of a layer:

    units int16 (32 groups,) = clip((bias + weights . inputs) >> shift, 0, UNIT_LIMIT), for inputs int16
    (2 pairs,), weights int16 (groups, stride, 32, 2), of which the first `pairs` of a group count, and bias
    int32 (32 groups,), all by their addresses.  pairs and groups are at least 1; the caller proves that sums
    fit 32 bits.
    """

    @_intrinsic
    def function(
        context: Any, inputs: Any, pairs: Any, weights: Any, stride: Any, bias: Any, groups: Any, units: Any
    ) -> Any:
        def generate(context: Any, builder: Any, _: Any, values: Any) -> Any:
            inputs, pairs, weights, stride, bias, groups, units = values
            w = Writer(builder)

            def group(g: Any, _: list[Any]) -> list[Any]:
                panel = builder.add(weights, builder.mul(g, w.times(stride, 4 * LANES)))

                def pair(p: Any, sums: list[Any]) -> list[Any]:
                    same = w.spread(w.load(inputs, w.times(p, 4), _INT))
                    parts = (w.load(panel, w.times(p, 4 * LANES, 32 * part), _PAIRS) for part in _PARTS)
                    return [
                        builder.add(total, w.products(same, part))
                        for total, part in zip(sums, parts, strict=True)
                    ]

                first = [w.load(bias, w.times(g, 4 * LANES, 32 * part), _SUMS) for part in _PARTS]
                for part, total in enumerate(w.loop(pairs, first, pair)):
                    moved = builder.ashr(total, w.same(_SUMS, shift))
                    unit = w.shorts(w.clamped(moved, 0, UNIT_LIMIT))
                    w.store(unit, units, w.times(g, 2 * LANES, 16 * part))
                return []

            w.loop(groups, [], group)
            return context.get_dummy_value()

        return types.none(*[types.int64] * 7), generate

    return function


@_intrinsic
def weighed(context: Any, units: Any, weights: Any, groups: Any) -> Any:
    """int64: the sum of units times weights, both int16 (32 groups,), by addresses; groups at least 1.

    Two products of at most 32767 times 32767 fit 32 bits.
    """

    def generate(_: Any, builder: Any, __: Any, values: Any) -> Any:
        units, weights, groups = values
        w = Writer(builder)
        longs = ir.VectorType(_LONG, 8)

        def group(g: Any, sums: list[Any]) -> list[Any]:
            at = [w.times(g, 2 * LANES, 32 * half) for half in range(LANES // 16)]
            for offset in at:
                pair = (w.load(x, offset, _PAIRS) for x in (units, weights))
                sums = [builder.add(sums[0], builder.sext(w.products(*pair), longs))]
            return sums

        total = w.loop(groups, [ir.Constant(longs, None)], group)[0]
        lanes = 8
        while lanes > 1:
            lanes //= 2
            parts = (ir.Constant(ir.VectorType(_INT, lanes), list(range(k, k + lanes))) for k in (0, lanes))
            total = builder.add(*(builder.shuffle_vector(total, total, part) for part in parts))
        return builder.extract_element(total, _INT(0))

    return types.int64(*[types.int64] * 3), generate


@_intrinsic
def surroundings(
    context: Any, errors: Any, means: Any, indexes: Any, row: Any,
    index: Any, cut: Any, factor: Any, fall: Any, to: Any,
) -> Any:  # fmt: skip
    """Writes 38 inputs of a corrector of two layers (`corrector.py`), int16, by addresses.

    errors int16, means int32 and indexes int16 at the position, `row` places a row: errors of 14 neighbours
    go to `to`, with two more behind them that may be anything; means m of 12 places, as
    clip((clip(m >> cut, +-4095) factor) >> fall), to 18 places further; indexes i of 12 places, as
    clip((i - index) << 5), to 30 places further. clip is to +-INPUT_LIMIT.
    """

    def generate(context: Any, builder: Any, _: Any, values: Any) -> Any:
        errors, means, indexes, row, index, cut, factor, fall, to = values
        w = Writer(builder)
        zero, four = _LONG(0), ir.VectorType(_INT, 4)

        def splat(value: Any) -> Any:
            one = builder.insert_element(ir.Constant(four, ir.Undefined), builder.trunc(value, _INT), _INT(0))
            return builder.shuffle_vector(one, one, w.same(four, 0))

        w.store(w.load(errors, _LONG(-4), _INT), to, zero)
        for dy in (1, 2):
            near = w.load(errors, w.times(row, -2 * dy, -4), ir.VectorType(_SHORT, 8))
            w.store(near, to, _LONG(12 * dy - 8))
        cut, factor, fall, index = (splat(value) for value in (cut, factor, fall, index))
        for line, dy in enumerate((-1, 0, 1)):
            mean = w.clamped(builder.ashr(w.load(means, w.times(row, 4 * dy, -4), four), cut), -4095, 4095)
            mean = builder.ashr(builder.mul(mean, factor), fall)
            w.store(w.shorts(w.clamped(mean, -INPUT_LIMIT, INPUT_LIMIT)), to, _LONG(36 + 8 * line))
            found = builder.sext(w.load(indexes, w.times(row, 2 * dy, -2), ir.VectorType(_SHORT, 4)), four)
            apart = builder.shl(builder.sub(found, index), w.same(four, 5))
            w.store(w.shorts(w.clamped(apart, -INPUT_LIMIT, INPUT_LIMIT)), to, _LONG(60 + 8 * line))
        return context.get_dummy_value()

    return types.none(*[types.int64] * 9), generate
