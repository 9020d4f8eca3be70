"""The corrector's arithmetic, to be compiled into the loop of `adaptive_kernels.py`; see `corrector.py`."""

from __future__ import annotations

from typing import Any

import numpy as np

from .corrector import INPUT_BITS, INPUT_LIMIT, OUTPUT_BITS, UNIT_BITS, WEIGHT_BITS
from .kernels import FLOOR, MEAN_FRACTION_BITS, STEP_BITS, _inlined
from .vector_kernels import layer, surroundings, weighed

NO_INDEX = 40
"""Scale index of a place outside the band."""

FACTOR_BITS = 15
FACTORS = np.array([32768, 30048, 27554, 25268, 23170, 21247, 19484, 17867], np.int64)
"""2^-(f / 8) with 15 fractional bits."""

_INPUT_SHIFT = STEP_BITS + MEAN_FRACTION_BITS - INPUT_BITS
_ROUND = 1 << (OUTPUT_BITS - 1)
_first_layer = layer(INPUT_BITS + WEIGHT_BITS - UNIT_BITS)
_second_layer = layer(WEIGHT_BITS)


@_inlined
def _pair(first: Any, second: Any) -> Any:
    """Two inputs as a layer reads them: int16 each, the first one in the lower half of an int32."""
    return np.int32((np.int64(first) & np.int64(0xFFFF)) | (np.int64(second) << np.int64(16)))


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
    c: Any, here: Any, span: Any, index: Any, z: Any, states: Any, errors: Any, means: Any, indexes: Any
) -> Any:
    """Puts the inputs of component c at place `here` into z, in the order of `corrector.order`; their pairs.

    index: its adapted scale index; states int32 (C, 2) by component: pairs; errors int16, means int32 and
    indexes int16 (C, places), rows `span` places apart; means and indexes are empty for one layer.
    """
    if means.shape[1] > 0:
        place = np.int64(errors.shape[1]) * c + here
        least = max(index, np.int64(FLOOR))
        octave = least >> np.int64(3)
        cut = max(octave - np.int64(6), np.int64(0))
        surroundings(
            np.int64(errors.ctypes.data) + 2 * place, np.int64(means.ctypes.data) + 4 * place,
            np.int64(indexes.ctypes.data) + 2 * place, span, index, cut, FACTORS[least & np.int64(7)],
            octave + np.int64(9) - cut, np.int64(z.ctypes.data),
        )  # fmt: skip
        z[7], z[8] = states[c, 0], states[c, 1]
        pairs = np.int64(21)
    else:
        left, above = errors[c, here - 1], errors[c, here - span]
        above_left, above_right = errors[c, here - span - 1], errors[c, here - span + 1]
        z[0], z[1] = _pair(left, above), _pair(above_left, above_right)
        z[2], z[3] = _pair(abs(left), abs(above)), _pair(abs(above_left), abs(above_right))
        z[4], z[5] = states[c, 0], states[c, 1]
        pairs = np.int64(6)
    if c > 0:
        first = errors[0, here]
        second = errors[1, here] if c > 1 else np.int16(0)
        z[pairs] = _pair(first, second)
        pairs += 1
        if means.shape[1] == 0:
            z[pairs] = _pair(abs(first), abs(second))
            pairs += 1
        for j in range(c):
            z[pairs], z[pairs + 1] = states[j, 0], states[j, 1]
            pairs += 2
    return pairs


@_inlined
def _outputs(
    pairs: Any, c: Any, z: Any, units: Any, hidden: Any, hidden_bias: Any, middle: Any, middle_bias: Any,
    output: Any, output_bias: Any,
) -> Any:  # fmt: skip
    """s and o with 10 fractional bits, not yet clipped, of component c.

    z int32 (P,): pairs of inputs, of which the first `pairs` count; units int16 (2, 64) is written.  Weights
    as `Corrector.packed` has them.
    """
    groups, stride = np.int64(hidden.shape[1]), np.int64(hidden.shape[2])
    units_at, row = np.int64(units.ctypes.data), np.int64(2 * units.shape[1])
    place = np.int64(hidden_bias.shape[1]) * c
    _first_layer(
        np.int64(z.ctypes.data), pairs, np.int64(hidden.ctypes.data) + 2 * stride * 2 * place, stride,
        np.int64(hidden_bias.ctypes.data) + 4 * place, groups, units_at,
    )  # fmt: skip
    if middle.shape[1] > 0:
        groups, stride = np.int64(middle.shape[1]), np.int64(middle.shape[2])
        place = np.int64(middle_bias.shape[1]) * c
        _second_layer(
            units_at, stride, np.int64(middle.ctypes.data) + 2 * stride * 2 * place, stride,
            np.int64(middle_bias.ctypes.data) + 4 * place, groups, units_at + row,
        )  # fmt: skip
        units_at += row
    weights, width = np.int64(output.ctypes.data), np.int64(2 * output.shape[2])
    s = np.int64(output_bias[c, 0]) + weighed(units_at, weights + 2 * c * width, groups)
    o = np.int64(output_bias[c, 1]) + weighed(units_at, weights + (2 * c + 1) * width, groups)
    return (s + np.int64(_ROUND)) >> np.int64(OUTPUT_BITS), (o + np.int64(_ROUND)) >> np.int64(OUTPUT_BITS)
