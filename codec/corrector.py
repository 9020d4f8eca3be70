"""A corrector: a small integer network that sees what has just been coded around a position.

The networks of the model see no value of the level that they predict; statistics that adapt (`adaptive.py`)
see neighbours, linearly, and begin with nothing. The corrector stands between these and the coder. It is
trained (`vdmcompress.train.correct`), belongs to a model and is the same at every position:

    z = (errors of 4 neighbours, errors of the components before, their sizes, what adaptation did)
    h = clip(W z + b)       H units, clip is to [0, 32)
    (s, o) = V h + v        s moves the mean by s sigma, o the scale by o octaves

All is integers. Inputs z, in 2^-8, clipped to +-4: errors are in sigmas of the adapted distribution, left,
above, above left, above right, then of the components before at the position; then, for each component up to
the own one, its adapted scale index (less 40, in 16), its adapted mean and the move of its mean by adaptation
(both in sigmas), the move of its scale index by adaptation (in 8). What does not exist is 0. W is in 2^-10, b
in 2^-18, h in 2^-10, V in 2^-12, v in 2^-22. s is clipped to +-2, o to +-4.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .errors import BinsError

INPUTS = 24
"""Errors of 4 neighbours and 2 components, the sizes of these, four numbers for each of three components."""

NEAR = 4
INPUT_BITS, INPUT_LIMIT = 8, 4 << 8
WEIGHT_BITS, WEIGHT_LIMIT = 10, (1 << 13) - 1
BIAS_LIMIT = 1 << 28
UNIT_BITS, UNIT_LIMIT = 10, (1 << 15) - 1
OUTPUT_BITS, OUTPUT_LIMIT = 12, (1 << 15) - 1
MOST_UNITS = 64
GROUP = 16
"""Units are padded to groups of so many where they are computed (`vector_kernels.py`)."""

_OWN = ((0, 1, 2, 3, 6, 7, 8, 9), (4, 5, 10, 11))
"""Inputs about the neighbours, then about the components before."""

Array = npt.NDArray[Any]


def order(c: int) -> tuple[int, ...]:
    """Of component c: inputs as the loop puts them together, first the own ones, those of others last."""
    near, before = _OWN
    states = (c, *(j for j in range(3) if j != c))
    own, *others = (tuple(range(12 + 4 * j, 16 + 4 * j)) for j in states)
    return (*near, *own, *before, *(t for other in others for t in other))


class Packed(NamedTuple):
    """Weights as the compiled loop reads them, units padded with zeros to G groups of 16.

    hidden int16 (C, G, INPUTS / 2, 16, 2) in the order of `order`; hidden_bias int32 (C, 16 G);
    output int16 (C, 2, 16 G); output_bias int32 (C, 2).
    """

    hidden: Array
    hidden_bias: Array
    output: Array
    output_bias: Array


@dataclass(frozen=True, eq=False)
class Corrector:
    """Weights of a corrector for C components; H hidden units, 0 to 64.

    Attributes:
        hidden: int32 (C, INPUTS, H), W in 2^-10, within +-8191.
        hidden_bias: int32 (C, H), b in 2^-18, within +-2^28.
        output: int32 (C, 2, H), V in 2^-12, within +-32767.
        output_bias: int32 (C, 2), v in 2^-22, within +-2^28.

    Sums stay below 2^30: 24 inputs of at most 2^10 times 2^13, and the bias.

    Raises:
        BinsError: a shape, dtype or range other than these.
    """

    hidden: Array
    hidden_bias: Array
    output: Array
    output_bias: Array

    def __post_init__(self) -> None:
        if self.hidden.ndim != 3 or self.hidden.shape[2] > MOST_UNITS:
            raise BinsError(f"corrector: hidden has shape {self.hidden.shape}, it must be (C, {INPUTS}, H)")
        components, _, units = self.hidden.shape
        for name, shape, limit in (
            ("hidden", (components, INPUTS, units), WEIGHT_LIMIT),
            ("hidden_bias", (components, units), BIAS_LIMIT),
            ("output", (components, 2, units), OUTPUT_LIMIT),
            ("output_bias", (components, 2), BIAS_LIMIT),
        ):
            array: Array = getattr(self, name)
            if array.dtype != np.int32 or array.shape != shape or not array.flags.c_contiguous:
                raise BinsError(
                    f"corrector: {name} is {array.dtype} {array.shape}, it must be contiguous int32 {shape}"
                )
            if array.size and max(int(array.max()), -int(array.min())) > limit:
                raise BinsError(f"corrector: {name} leaves +-{limit}; round and clip it")

    @property
    def components(self) -> int:
        """C."""
        return int(self.hidden.shape[0])

    @cached_property
    def packed(self) -> Packed:
        """The weights as the compiled loop reads them."""
        components, _, units = self.hidden.shape
        groups = -(-units // GROUP)
        more = ((0, 0), (0, groups * GROUP - units))
        hidden = np.stack([np.pad(w[list(order(c))], more) for c, w in enumerate(self.hidden)])
        hidden = hidden.reshape(components, INPUTS // 2, 2, groups, GROUP).transpose(0, 3, 1, 4, 2)
        return Packed(
            np.ascontiguousarray(hidden, np.int16),
            np.pad(self.hidden_bias, more),
            np.pad(self.output, ((0, 0), *more)).astype(np.int16),
            self.output_bias,
        )

    @classmethod
    def none(cls, components: int) -> Corrector:
        """One without units, which corrects nothing."""
        return cls(
            np.zeros((components, INPUTS, 0), np.int32),
            np.zeros((components, 0), np.int32),
            np.zeros((components, 2, 0), np.int32),
            np.zeros((components, 2), np.int32),
        )

    def first(self, components: int) -> Corrector:
        """The same for the first components only (grey images have one)."""
        return Corrector(
            *(
                np.ascontiguousarray(x[:components])
                for x in (self.hidden, self.hidden_bias, self.output, self.output_bias)
            )
        )
