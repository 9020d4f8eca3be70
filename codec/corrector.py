"""A corrector: a small integer network that sees what has just been coded around a position.

The networks of the model see no value of the level that they predict; statistics that adapt (`adaptive.py`)
see neighbours, linearly, and begin with nothing. The corrector stands between these and the coder. It is
trained (`vdmcompress.train.correct`), belongs to a model and is the same at every position:

    h = clip(W z + b)       H units, clip is to [0, 32)
    h = clip(W' h + b')     H' units; one layer where there is no W'
    (s, o) = V h + v        s moves the mean by s sigma, o the scale by o octaves

All is integers. Inputs z, in 2^-8, are clipped to +-4; errors are in sigmas of the adapted distribution, and
so are means. What does not exist is 0: a place outside the band has no error, mean 0 and scale index 40. The
state of a component: its adapted scale index (less 40, in 16), its adapted mean, the move of its mean by
adaptation, the move of its scale index by adaptation (in 8). z has one of two forms, for component c:

    24 inputs, one layer    errors of 4 neighbours (left, above, above left, above right), errors of the 2
                            components before at the position, the sizes of these six; states of 3 components
    52 inputs, two layers   errors of 14 neighbours: two to the left, then of the row above and of the one
                            above that from two to the left to three to the right; errors of the 2 components
                            before; states of 3 components; means as the model predicts them at 12 positions,
                            in the own sigma, and scale indices there, less the own adapted one, in 8: of the
                            rows above, here and below from one to the left to two to the right

W and W' are in 2^-10, b in 2^-18, b' in 2^-20, h in 2^-10, V in 2^-12, v in 2^-22. s is clipped to +-2, o to
+-4.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import BinsError

INPUTS = 24
"""Of a corrector of one layer."""

WIDE = 52
"""Inputs of a corrector of two layers."""

INPUT_BITS, INPUT_LIMIT = 8, 4 << 8
WEIGHT_BITS, WEIGHT_LIMIT = 10, (1 << 13) - 1
BIAS_LIMIT = 1 << 28
UNIT_BITS = 10
OUTPUT_BITS, OUTPUT_LIMIT = 12, (1 << 15) - 1
SUM_LIMIT = 1 << 15
"""Of the sizes of all weights of a unit of the second layer."""

MOST_UNITS = 64
LANES = 32
"""Units are padded to groups of so many where they are computed (`vector_kernels.py`)."""

UNIT_LIMIT = (1 << 15) - 1
"""The largest value of a unit."""

Array = npt.NDArray[Any]


def order(c: int, inputs: int) -> tuple[int, ...]:
    """Inputs of component c as the loop puts them together: those of components before come last."""
    wide = inputs == WIDE
    states = [tuple(range(first, first + 4)) for first in ((16, 20, 24) if wide else (12, 16, 20))]
    others = [t for j in range(3) if j != c for t in states[j]]
    if wide:
        return (*range(14), *states[c], *range(28, 52), 14, 15, *others)
    return (0, 1, 2, 3, 6, 7, 8, 9, *states[c], 4, 5, 10, 11, *others)


def _aligned(weights: Array) -> Array:
    """Weights as contiguous int16 that begins with a line of the cache, as vector loads like it."""
    line, size = 64, 2 * weights.size
    raw = np.empty(size + line, np.uint8)
    first = -raw.ctypes.data % line
    found = raw[first : first + size].view(np.int16).reshape(weights.shape)
    found[...] = weights
    return found


def _paired(weights: Array) -> Array:
    """Weights (C, 2 P, 32 G) as int16 (C, G, P, 32, 2)."""
    components, inputs, units = weights.shape
    parts = weights.reshape(components, inputs // 2, 2, units // LANES, LANES)
    return _aligned(parts.transpose(0, 3, 1, 4, 2))


def _padded(weights: Array, *axes: int) -> Array:
    """Weights with zeros up to whole groups along axes."""
    widths = [(0, -size % LANES if axis in axes else 0) for axis, size in enumerate(weights.shape)]
    return np.pad(weights, widths)


@dataclass(frozen=True, eq=False)
class Corrector:
    """Weights of a corrector for C components; H and H' units, 0 to 64.

    Attributes:
        hidden: int32 (C, INPUTS or WIDE, H), W in 2^-10, within +-8191.
        hidden_bias: int32 (C, H), b in 2^-18, within +-2^28.
        middle: int32 (C, H, H'), W' in 2^-10, within +-8191, the sizes of a unit's weights sum to 2^15 at
            most; H' is 0 where hidden has INPUTS, and only there.
        middle_bias: int32 (C, H'), b' in 2^-20, within +-2^28.
        output: int32 (C, 2, H' or H), V in 2^-12, within +-32767.
        output_bias: int32 (C, 2), v in 2^-22, within +-2^28.

    Sums stay below 2^31: 52 inputs of at most 2^10 times 2^13 and the bias, units of 2^15 times 2^15 and the
    bias.

    Raises:
        BinsError: a shape, dtype or range other than these.
    """

    hidden: Array
    hidden_bias: Array
    middle: Array
    middle_bias: Array
    output: Array
    output_bias: Array

    def __post_init__(self) -> None:
        shape = self.hidden.shape
        if len(shape) != 3 or shape[1] not in (INPUTS, WIDE) or shape[2] > MOST_UNITS:
            raise BinsError(f"corrector: hidden has shape {shape}, it must be (C, {INPUTS} or {WIDE}, H)")
        components, inputs, units = shape
        last = self.middle.shape[-1] if self.middle.ndim else 0
        if last > MOST_UNITS or (inputs == WIDE) != (last > 0):
            have = f"{inputs} inputs and {last} units in the second layer"
            raise BinsError(f"corrector: {have}; {INPUTS} go with 0 units, {WIDE} with 1 to {MOST_UNITS}")
        for name, wanted, limit in (
            ("hidden", (components, inputs, units), WEIGHT_LIMIT),
            ("hidden_bias", (components, units), BIAS_LIMIT),
            ("middle", (components, units, last), WEIGHT_LIMIT),
            ("middle_bias", (components, last), BIAS_LIMIT),
            ("output", (components, 2, last or units), OUTPUT_LIMIT),
            ("output_bias", (components, 2), BIAS_LIMIT),
        ):
            array: Array = getattr(self, name)
            if array.dtype != np.int32 or array.shape != wanted or not array.flags.c_contiguous:
                raise BinsError(
                    f"corrector: {name} is {array.dtype} {array.shape}, it must be contiguous int32 {wanted}"
                )
            if array.size and max(int(array.max()), -int(array.min())) > limit:
                raise BinsError(f"corrector: {name} leaves +-{limit}; round and clip it")
        sums = abs(self.middle).sum(1)
        if sums.size and int(sums.max()) > SUM_LIMIT:
            raise BinsError(
                f"corrector: weights of a unit of middle sum to {int(sums.max())}, at most {SUM_LIMIT}"
            )

    @property
    def components(self) -> int:
        """C."""
        return int(self.hidden.shape[0])

    @cached_property
    def packed(self) -> tuple[Array, ...]:
        """The six arrays as the compiled loop reads them, units padded with zeros to groups of 32.

        hidden int16 (C, G, INPUTS / 2, 32, 2) in the order of `order`; hidden_bias int32 (C, 32 G); middle
        int16 (C, G', 16 G, 32, 2); middle_bias int32 (C, 32 G'); output int16 (C, 2, 32 G' or 32 G);
        output_bias int32 (C, 2).
        """
        inputs = self.hidden.shape[1]
        hidden = np.stack([weights[list(order(c, inputs))] for c, weights in enumerate(self.hidden)])
        return (
            _paired(_padded(hidden, 2)),
            _padded(self.hidden_bias, 1),
            _paired(_padded(self.middle, 1, 2)),
            _padded(self.middle_bias, 1),
            _padded(self.output, 2).astype(np.int16),
            self.output_bias,
        )

    @classmethod
    def none(cls, components: int) -> Corrector:
        """One without units, which corrects nothing."""
        shapes = ((INPUTS, 0), (0,), (0, 0), (0,), (2, 0), (2,))
        return cls(*(np.zeros((components, *shape), np.int32) for shape in shapes))

    def first(self, components: int) -> Corrector:
        """The same for the first components only (grey images have one)."""
        return Corrector(*(np.ascontiguousarray(getattr(self, f.name)[:components]) for f in fields(self)))
