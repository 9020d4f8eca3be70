"""Compiled loop of statistics that adapt while coding, integers only; see `adaptive.py` for the rules.

One loop serves both ways, so that encoder and decoder learn the same from the same values: it meets a value
either in `x` (encoding) or on the stack (decoding), and goes on as the other does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from .corrector import MOST_UNITS, WIDE
from .corrector_kernels import NO_INDEX, _gathered, _in_sigma, _index_input, _layer_of, _outputs
from .kernels import (
    _BINS,
    _BIT32,
    _HALF_BIN,
    _LIMIT,
    _LOWEST_HEAD,
    _SLOT_MASK,
    _STEP_MASK,
    DONE,
    FLOOR,
    MEAN_FRACTION_BITS,
    MEAN_LIMIT,
    SCALES,
    SHORT,
    STEP_BITS,
    WIDTH_BITS,
    _compiled,
    _coupled,
    _find,
    _inlined,
    _input,
    _output,
    _popped,
    _residual,
)
from .vector_kernels import put_pair

UNIT_BITS = 10  # residuals in units of their sigma have 10 fractional bits
WEIGHT_BITS = 20  # weights of neighbours have 20 fractional bits
OFFSET_BITS = 16  # offsets of scale indices have 16 fractional bits
MARGIN = 2  # columns that neighbours reach to each side, rows that they reach up
TAPS = 6  # neighbours; the mean itself and the components before have weights too
BUCKETS = 16  # of the neighbours' magnitude
SCALE_BUCKETS = 32  # of the predicted scale index, four indices each
CLASSES = 16  # of the predicted scale index, eight indices each: weights of their own beside the common ones

_DY = np.array([0, -1, -1, -1, 0, -2], np.int64)
_DX = np.array([-1, 0, -1, 1, -2, 0], np.int64)
_SHARE = np.array([3, 3, 2, 2, 1, 1], np.int64)  # in the magnitude, 12 in all
_BEFORE = 8  # share of each component before, at the position itself
# edges of the buckets: mean magnitude in 1/64 sigma, 17 * 2^(j/4), times the shares of Y, Co, Cg
_EDGES = np.array([12, 20, 28])[:, None] * np.array(
    [17, 20, 24, 28, 34, 40, 48, 57, 67, 80, 95, 113, 135, 160, 190], np.int64
)

_USUAL = 51  # magnitude of a place outside the band: E|u| of a Gaussian in 1/64 sigma
_CLIP = 4 << UNIT_BITS  # residuals are clipped to four sigma
_SHIFT_LIMIT = 2 << UNIT_BITS  # the corrector moves a mean by two sigma at most
_SIZE_LIMIT = 255
_SLOPE_LIMIT = 4 << UNIT_BITS
_OFFSET_LIMIT = 24 << OFFSET_BITS

_UNIT_SHIFT = STEP_BITS + MEAN_FRACTION_BITS - UNIT_BITS
_WIDTH_SHIFT = UNIT_BITS + WIDTH_BITS - MEAN_FRACTION_BITS
_EIGHTH_SHIFT = WIDTH_BITS - MEAN_FRACTION_BITS + 3
_OCTAVE_SHIFT = OFFSET_BITS + 3 - UNIT_BITS  # from octaves in 2^-10 to scale indices in 2^-16


@_inlined
def _clip(v: Any, limit: Any) -> Any:
    return min(max(v, np.int64(-limit)), np.int64(limit))


@_inlined
def _edge(tables: Any, c: Any, at: Any) -> Any:
    """Of a coordinate in 2^-24 steps of 1/64 sigma: it in 2^-10 steps, the CDF there, its rise in a step."""
    at = _clip(at, _LIMIT - 1)
    cell = np.uint64((at + np.int64(_LIMIT)) >> np.int64(STEP_BITS))
    below = np.int64(tables[c, cell])
    rise = np.int64(tables[c, cell + np.uint64(1)]) - below
    share = below + ((rise * (at & np.int64(_STEP_MASK))) >> np.int64(STEP_BITS))
    return at >> np.int64(STEP_BITS - UNIT_BITS), share, rise


@_inlined
def _fade(count: Any, first: Any, last: Any, start: Any) -> Any:
    """Shift of a learning rate: from 2^-first down to 2^-last, a step each time `count` quadruples."""
    shift = np.int64(first)
    bound = np.int64(start)
    while shift < last and count >= bound:
        shift += np.int64(1)
        bound <<= np.int64(2)
    return shift


@_compiled(
    types.int64(
        _output(types.uint64, 1),  # heads (L,)
        _input(types.uint32, 2),  # words (L, capacity)
        _output(types.int64, 1),  # sizes (L,)
        types.int64,  # 1: pop x; 0: x is given
        types.int64,  # columns of the band
        _output(types.int32, 2),  # x (n, C)
        *_BINS,
        _input(types.int64, 1),  # widths (SCALES,)
        _input(types.int16, 5),  # corrector, see `Corrector.packed`: hidden (C, G, INPUTS / 2, 32, 2)
        _input(types.int32, 2),  # hidden bias (C, 32 G)
        _input(types.int16, 5),  # middle (C, G', 16 G, 32, 2)
        _input(types.int32, 2),  # middle bias (C, 32 G')
        _input(types.int16, 3),  # output (C, 2, 32 G' or 32 G)
        _input(types.int32, 2),  # output bias (C, 2)
        _output(types.int16, 1),  # for the corrector: inputs (WIDE,), units (2, MOST_UNITS), states (C, 4)
        _output(types.int16, 2),  # errors (C, places) in adapted sigma, of places with margins; 0
        _input(types.int32, 2),  # the mean (C, places), 0 outside; no places for one layer or none
        _input(types.int16, 2),  # the scale (C, places), NO_INDEX outside
        _output(types.int32, 2),  # refined mean (n, C)
        _output(types.uint8, 2),  # refined scale (n, C)
    )
)
def adaptive(
    heads: Any, words: Any, sizes: Any, decoding: Any, columns: Any, x: Any,
    mean: Any, scale: Any, coupling: Any, low: Any, count: Any, window: Any, tables: Any, inverses: Any,
    widths: Any, hidden: Any, hidden_bias: Any, middle: Any, middle_bias: Any, output: Any, output_bias: Any,
    near: Any, errors: Any, means: Any, indexes: Any, refined_mean: Any, refined_scale: Any,
) -> Any:  # fmt: skip
    """Refines the distributions of positions in raster order; if `decoding` pops the values on the way."""
    n, components = x.shape
    lanes = len(heads)
    span = columns + 2 * MARGIN
    place = (n // max(columns, 1) + MARGIN) * span
    residuals = np.zeros((components, place), np.int32)  # in sigma, clipped
    magnitudes = np.full((components, place), np.int32(_USUAL))  # |innovation| in 1/64 sigma
    away = _DY * span + _DX
    common = np.zeros((components, TAPS + 3), np.int64)
    special = np.zeros((components, CLASSES, TAPS + 3), np.int64)
    seen_class = np.zeros((components, CLASSES), np.int64)
    by_size = np.zeros((components, BUCKETS), np.int64)
    by_scale = np.zeros((components, SCALE_BUCKETS), np.int64)
    seen_size = np.zeros((components, BUCKETS), np.int64)
    seen_scale = np.zeros((components, SCALE_BUCKETS), np.int64)
    corrects = hidden.shape[1] > 0
    # by address: functions that take these arrays within the loop would count references at each turn
    z_at = np.int64(near.ctypes.data)
    units_at = z_at + 2 * WIDE
    states_at = units_at + 4 * MOST_UNITS
    first, second = _layer_of(hidden, hidden_bias), _layer_of(middle, middle_bias)
    errors_at, output_at = np.int64(errors.ctypes.data), np.int64(output.ctypes.data)
    means_at, indexes_at = np.int64(means.ctypes.data), np.int64(indexes.ctypes.data)
    places = np.int64(errors.shape[1])
    here = np.int64(MARGIN * span + MARGIN) - 1
    column = np.int64(-1)
    for i in range(n):
        column += 1
        here += 1
        if column == columns:
            column = np.int64(0)
            here += np.int64(2 * MARGIN)
        rate = _fade(i, 9, 11, 2048)
        half = np.int64(1) << (rate - 1)
        r_y, r_co, moved_y, moved_co = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
        before = np.int64(0)
        for c in range(components):
            m = np.int64(mean[i, c])
            base, moved = m, np.int64(0)
            if c == 1:
                base = _coupled(m, coupling[i, 0], r_y, 0, 0)
                moved = (coupling[i, 0] * moved_y) >> np.int64(MEAN_FRACTION_BITS)
            elif c == 2:
                base = _coupled(m, coupling[i, 1], r_y, coupling[i, 2], r_co)
                moved = (coupling[i, 1] * moved_y + coupling[i, 2] * moved_co) >> np.int64(MEAN_FRACTION_BITS)
            index = np.int64(scale[i, c])

            own = _clip((m * inverses[max(index, np.int64(FLOOR))]) >> np.int64(_UNIT_SHIFT), _CLIP)
            kind = index >> np.int64(3)
            expected = np.int64(1 << (WEIGHT_BITS - 1)) + (common[c, TAPS] + special[c, kind, TAPS]) * own
            magnitude = before
            for other in range(c):
                weight = common[c, TAPS + 1 + other] + special[c, kind, TAPS + 1 + other]
                expected += weight * np.int64(residuals[other, here])
            for t in range(TAPS):
                weight = common[c, t] + special[c, kind, t]
                expected += weight * np.int64(residuals[c, here + away[t]])
                magnitude += _SHARE[t] * np.int64(magnitudes[c, here + away[t]])
            expected = _clip(expected >> np.int64(WEIGHT_BITS), _CLIP)
            move = (expected * widths[index]) >> np.int64(_WIDTH_SHIFT)
            adapted = _clip(base + move, MEAN_LIMIT)
            bucket = np.int64(0)
            while bucket < BUCKETS - 1 and magnitude >= _EDGES[c, bucket]:
                bucket += 1
            group = index >> np.int64(2)
            offset = by_size[c, bucket] + by_scale[c, group] + (1 << (OFFSET_BITS - 1))
            adapted_index = min(
                max(index + (offset >> np.int64(OFFSET_BITS)), np.int64(0)), np.int64(SCALES - 1)
            )
            refined = adapted_index

            if corrects:
                sigma = inverses[max(adapted_index, np.int64(FLOOR))]
                own_state = states_at + 8 * c
                put_pair(own_state, _index_input(adapted_index - NO_INDEX, 4), _in_sigma(adapted, sigma))
                put_pair(own_state + 4, _in_sigma(move, sigma), _index_input(adapted_index - index, 3))
                pairs = _gathered(
                    np.int64(c), here, span, places, adapted_index, second[0] > 0,
                    z_at, states_at, errors_at, means_at, indexes_at,
                )  # fmt: skip
                shift, octaves = _outputs(
                    pairs, np.int64(c), z_at, units_at, first, second, output_at,
                    np.int64(output_bias[c, 0]), np.int64(output_bias[c, 1]),
                )  # fmt: skip
                move += (_clip(shift, _SHIFT_LIMIT) * widths[adapted_index]) >> np.int64(_WIDTH_SHIFT)
                offset += _clip(octaves, 4 << UNIT_BITS) << np.int64(_OCTAVE_SHIFT)
                refined = min(
                    max(index + (offset >> np.int64(OFFSET_BITS)), np.int64(0)), np.int64(SCALES - 1)
                )

            uncoupled = _clip(m + moved + move, MEAN_LIMIT)
            moved = uncoupled - m
            m = uncoupled
            if c == 1:
                m = _coupled(m, coupling[i, 0], r_y - moved_y, 0, 0)
            elif c == 2:
                m = _coupled(m, coupling[i, 1], r_y - moved_y, coupling[i, 2], r_co - moved_co)
            inverse = inverses[refined]

            if decoding:
                lowest, width = np.int64(low[c]), np.int64(count[c])
                lane = i % lanes
                slot = np.int64(heads[lane] & _SLOT_MASK)
                value, below, above = _find(slot, tables, c, m, inverse, widths[refined], lowest, width)
                head = _popped(heads[lane], below, above - below)
                if head < _LOWEST_HEAD:
                    sizes[lane] -= np.int64(1)
                    if sizes[lane] < np.int64(0):
                        return SHORT
                    head = (head << _BIT32) | np.uint64(words[lane, sizes[lane]])
                heads[lane] = head
                x[i, c] = np.int32(value)
            else:
                value = np.int64(x[i, c])
            refined_mean[i, c] = np.int32(uncoupled)
            refined_scale[i, c] = np.uint8(refined)

            # how the code length changes with mean and log scale, from the density at the edges of the
            # value's bin or, where that is narrow, of a quarter of a sigma
            centre = (value << np.int64(MEAN_FRACTION_BITS)) - adapted
            reach = max(widths[adapted_index] >> np.int64(_EIGHTH_SHIFT), np.int64(_HALF_BIN))
            inverse = inverses[adapted_index]
            left, left_share, left_rise = _edge(tables, c, (centre - reach) * inverse)
            right, right_share, right_rise = _edge(tables, c, (centre + reach) * inverse)
            if corrects:
                sigma = inverses[max(adapted_index, np.int64(FLOOR))]
                errors[c, here] = np.int16(_in_sigma(_clip(centre, 1 << 25), sigma))
            share = max(right_share - left_share, np.int64(1))
            error = _clip(((left_rise - right_rise) << np.int64(UNIT_BITS + 6)) // share, _CLIP)
            slope = _clip((left * left_rise - right * right_rise) // share, _SLOPE_LIMIT)

            seen_class[c, kind] += 1
            own_rate = _fade(seen_class[c, kind], 9, 11, 2048)
            own_half = np.int64(1) << (own_rate - 1)
            for t in range(TAPS):
                product = error * np.int64(residuals[c, here + away[t]])
                common[c, t] += (product + half) >> rate
                special[c, kind, t] += (product + own_half) >> own_rate
            common[c, TAPS] += (error * own + half) >> rate
            special[c, kind, TAPS] += (error * own + own_half) >> own_rate
            for other in range(c):
                product = error * np.int64(residuals[other, here])
                common[c, TAPS + 1 + other] += (product + half) >> rate
                special[c, kind, TAPS + 1 + other] += (product + own_half) >> own_rate
            slope <<= np.int64(OFFSET_BITS - UNIT_BITS)
            seen_size[c, bucket] += 1
            step = slope >> _fade(seen_size[c, bucket], 3, 5, 16)
            by_size[c, bucket] = _clip(by_size[c, bucket] + step, _OFFSET_LIMIT)
            seen_scale[c, group] += 1
            step = slope >> _fade(seen_scale[c, group], 3, 5, 16)
            by_scale[c, group] = _clip(by_scale[c, group] + step, _OFFSET_LIMIT)

            u = _clip((value << np.int64(MEAN_FRACTION_BITS)) - base, 1 << 25)
            u = (u * inverses[max(index, np.int64(FLOOR))]) >> np.int64(_UNIT_SHIFT)
            residuals[c, here] = _clip(u, _CLIP)
            size = u - expected
            size = min(max(size, -size) >> np.int64(UNIT_BITS - 6), np.int64(_SIZE_LIMIT))
            magnitudes[c, here] = size
            before += _BEFORE * size
            if c == 0:
                r_y, moved_y = _residual(value, mean[i, c]), moved
            else:
                r_co, moved_co = _residual(value, mean[i, c]), moved
    return DONE
