"""Rounding to what the integer graph holds: one definition for the export and for the rounding phase.

Weights become 7-bit integers with a power of two for each output channel, biases integers in units of the
sums. In training the rounded values go forward and gradients pass straight through (Bengio et al. 2013).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vdmcompress.exact import EXPONENT_RANGE, SUM_LIMIT, WEIGHT_LIMIT

Array = NDArray[np.float64]


def powers(exponents: torch.Tensor) -> torch.Tensor:
    """2**e as exact float64, for integers e within -31..31."""
    table = torch.tensor([2.0**e for e in range(-31, 32)], dtype=torch.float64, device=exponents.device)
    return table[exponents + 31]


def channel_exponents(
    weights: torch.Tensor, peak: torch.Tensor | None = None, input_bits: int = 0
) -> torch.Tensor:
    """Largest exponents int64 (out,) with which weights float64 (out, ...) times 2**e round to |w| <= 63.

    peak: largest |bias| float64 (out,) that comes with these weights, 0 by default; it is coded in units of
    2**-(e + input_bits).  Where 255 * sum(|w|) comes near the limit of exact sums, or reaches it together
    with the bias, the exponent is lowered until it fits.  Raises ValueError where none is low enough.
    """
    lowest, highest = EXPONENT_RANGE
    flat = weights.detach().flatten(1)
    top = flat.abs().amax(1)
    peak = torch.zeros_like(top) if peak is None else peak.detach()
    ratio = torch.where(top > 0, (WEIGHT_LIMIT + 0.49) / top, float(2**highest))
    exponents = (torch.frexp(ratio).exponent.to(torch.int64) - 1).clamp(max=highest)
    while True:
        low = exponents < lowest
        if bool(low.any()):
            worst, bias = float(top[low].max()), float(peak[low].max())
            if round(worst) > WEIGHT_LIMIT:
                raise ValueError(f"a weight of {worst} is too large for 7 bits")
            raise ValueError(f"weights up to {worst} with a bias of {bias} sum to {SUM_LIMIT} or more")
        integers = torch.round(flat * powers(exponents)[:, None]).abs()
        products, bias_units = 255 * integers.sum(1), torch.round(peak * powers(exponents + input_bits))
        wide = (integers.amax(1) > WEIGHT_LIMIT) | (products >= SUM_LIMIT // 2)
        wide |= products + bias_units >= SUM_LIMIT
        if not bool(wide.any()):
            return exponents
        exponents = exponents - wide.to(torch.int64)


def quantise(
    weights: Array, peak: Array | None = None, input_bits: int = 0
) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Weights (out, ...) as int8 and exponents int8 (out,); see `channel_exponents`."""
    values = torch.from_numpy(weights)
    exponents = channel_exponents(values, None if peak is None else torch.from_numpy(peak), input_bits)
    integers = torch.round(values.flatten(1) * powers(exponents)[:, None]).view_as(values)
    return integers.numpy().astype(np.int8), exponents.numpy().astype(np.int8)


class _Straight(torch.autograd.Function):
    """Forward a value, backward as if it were another."""

    @staticmethod
    def forward(context: Any, real: torch.Tensor, rounded: torch.Tensor) -> torch.Tensor:
        return rounded.view_as(rounded)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradients[0], None


def straight(real: torch.Tensor, rounded: torch.Tensor) -> torch.Tensor:
    """`rounded`, with the gradient going to `real`; both of one shape and dtype."""
    result: torch.Tensor = _Straight.apply(real, rounded.detach())  # type: ignore[no-untyped-call]
    return result


def round_to(x: torch.Tensor, steps: int) -> torch.Tensor:
    """x on the grid of 1/steps, a power of two, ties to even; gradients pass straight through."""
    return straight(x, torch.round(x * steps) / steps)


def rounded_layer(
    weights: torch.Tensor, bias: torch.Tensor, peak: torch.Tensor, input_bits: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """A layer's weights and bias as coded, float32; gradients pass straight through.

    weights float64 (out, ...); bias float64 (out,); peak float64 (out,): largest |bias| of all evaluations
    with these weights; input_bits: log2 of the steps of one unit of the input, so that a bias is an integer
    in units of 2**-(e + input_bits).
    """
    exponents = channel_exponents(weights, peak, input_bits)
    step = powers(exponents).view(-1, *[1] * (weights.dim() - 1))
    unit = powers(exponents + input_bits)
    coded = torch.round(weights * step) / step
    return (
        straight(weights.to(torch.float32), coded.to(torch.float32)),
        straight(bias.to(torch.float32), (torch.round(bias * unit) / unit).to(torch.float32)),
    )
