"""The corrector's arithmetic, to be compiled into the loop of `adaptive_kernels.py`; see `corrector.py`."""

from __future__ import annotations

from typing import Any

import numpy as np

from .corrector import INPUT_BITS, INPUT_LIMIT, LANES, MOST_UNITS, OUTPUT_BITS, UNIT_BITS, WEIGHT_BITS
from .kernels import FLOOR, MEAN_FRACTION_BITS, STEP_BITS, _inlined
from .vector_kernels import copy_pairs, layer, put_pair, short_at, surroundings, weighed

NO_INDEX = 40
"""Scale index of a place outside the band."""

FACTORS = np.array([32768, 30048, 27554, 25268, 23170, 21247, 19484, 17867], np.int64)
"""2^-(f / 8) with 15 fractional bits."""

_INPUT_SHIFT = STEP_BITS + MEAN_FRACTION_BITS - INPUT_BITS
_ROUND = 1 << (OUTPUT_BITS - 1)
_first_layer = layer(INPUT_BITS + WEIGHT_BITS - UNIT_BITS)
_second_layer = layer(WEIGHT_BITS)


@_inlined
def _input_of(v: Any) -> Any:
    return min(max(v, np.int64(-INPUT_LIMIT)), np.int64(INPUT_LIMIT))


@_inlined
def _in_sigma(v: Any, inverse: Any) -> Any:
    """v in 1/64 bin as an input, in sigmas; inverse: of the sigma."""
    return _input_of((v * inverse) >> np.int64(_INPUT_SHIFT))


@_inlined
def _index_input(difference: Any, bits: Any) -> Any:
    """A difference of scale indices as an input, in 2^bits."""
    return _input_of(difference << np.int64(INPUT_BITS - bits))


@_inlined
def _gathered(
    c: Any, here: Any, span: Any, places: Any, index: Any, wide: Any,
    z: Any, states: Any, errors: Any, means: Any, indexes: Any,
) -> Any:  # fmt: skip
    """Puts the inputs of component c at place `here` into z, in the order of `corrector.order`; their pairs.

    index: its adapted scale index.  By their addresses: z int16; states int16 (C, 4); errors int16, means
    int32 and indexes int16 (C, places), rows `span` places apart.
    """
    at = errors + 2 * (places * c + here)
    if wide:
        place = places * c + here
        least = max(index, np.int64(FLOOR))
        octave = least >> np.int64(3)
        # m 2^(6 - octave) 2^-(f / 8): a mean in 1/64 bin as an input, by int32 alone
        cut = max(octave - np.int64(6), np.int64(0))
        surroundings(
            at, means + 4 * place, indexes + 2 * place, span, index, cut,
            FACTORS[least & np.int64(7)], octave + np.int64(9) - cut, z,
        )  # fmt: skip
        copy_pairs(states + 8 * c, z + 28)
        pairs = np.int64(21)
    else:
        left, above = short_at(at - 2), short_at(at - 2 * span)
        above_left, above_right = short_at(at - 2 * span - 2), short_at(at - 2 * span + 2)
        put_pair(z, left, above)
        put_pair(z + 4, above_left, above_right)
        put_pair(z + 8, abs(left), abs(above))
        put_pair(z + 12, abs(above_left), abs(above_right))
        copy_pairs(states + 8 * c, z + 16)
        pairs = np.int64(6)
    if c > 0:
        first = short_at(errors + 2 * here)
        second = short_at(errors + 2 * (places + here)) if c > 1 else np.int64(0)
        put_pair(z + 4 * pairs, first, second)
        pairs += 1
        if not wide:
            put_pair(z + 4 * pairs, abs(first), abs(second))
            pairs += 1
        for j in range(c):
            copy_pairs(states + 8 * j, z + 4 * pairs)
            pairs += 2
    return pairs


@_inlined
def _outputs(
    pairs: Any, c: Any, z: Any, units: Any, first: Any, second: Any, output: Any, s: Any, o: Any
) -> Any:
    """The outputs of component c with 10 fractional bits, not yet clipped; s, o: their biases.

    By addresses: z int16 (2 P,), of which the first `pairs` count; units int16 (2, MOST_UNITS), written;
    output.  first, second: of a layer, see `_layer_of`, no groups in one that is not there.  Weights as
    `Corrector.packed` has them.
    """
    groups, stride, weights, bias = first
    begin = groups * LANES * c
    _first_layer(z, pairs, weights + 4 * stride * begin, stride, bias + 4 * begin, groups, units)
    if second[0] > 0:
        groups, stride, weights, bias = second
        begin = groups * LANES * c
        last = units + 2 * MOST_UNITS
        _second_layer(units, stride, weights + 4 * stride * begin, stride, bias + 4 * begin, groups, last)
        units = last
    place = output + 4 * groups * LANES * c
    s += weighed(units, place, groups)
    o += weighed(units, place + 2 * groups * LANES, groups)
    return (s + np.int64(_ROUND)) >> np.int64(OUTPUT_BITS), (o + np.int64(_ROUND)) >> np.int64(OUTPUT_BITS)


@_inlined
def _layer_of(weights: Any, bias: Any) -> Any:
    """Groups, stride, addresses of weights int16 (C, groups, stride, 32, 2) and of biases int32."""
    groups, stride = np.int64(weights.shape[1]), np.int64(weights.shape[2])
    return groups, stride, np.int64(weights.ctypes.data), np.int64(bias.ctypes.data)
