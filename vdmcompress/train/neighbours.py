"""What neighbours tell, in training: a differentiable twin of the statistics that adapt while coding.

`codec/adaptive.py` corrects mean and scale of a direct prediction by what the values before it were, and
learns how from zero.  Where it has long to learn (archives), a network should be trained for what is left to
tell after that.  Here the same correction has weights for each evaluation that are trained along; they are
not exported, because the coder finds its own.

    u  = (x - m) / sigma, clipped to two
    p  = sum_t w_t u_t          over six neighbours before it, m / sigma, and u of Y and Co at the position
    m' = m + sigma p
    s' = s + a_0 + a_1 log2 v + a_2 (log2 v)^2        v: mean |u - p| of the neighbours and of Y, Co
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

TAPS = ((0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0))
"""Rows and columns from a position to its neighbours, as in the coder."""

SHARES = (3, 3, 2, 2, 1, 1)
BEFORE = 8
"""Shares of the neighbours and of each component before in the magnitude."""

FLOOR = -1.75
"""log2 of the least sigma in which residuals are measured."""

USUAL = 0.8
"""Magnitude of a place outside the band."""

GAIN = 8.0
"""Weights for one unit of their parameter, which so learn faster than the network's."""


def neighbours(x: torch.Tensor, outside: float) -> list[torch.Tensor]:
    """The six neighbours before each position of x (N, h, w), a constant outside."""
    h, w = x.shape[-2:]
    padded = F.pad(x, (2, 2, 2, 0), value=outside)
    return [padded[:, 2 + dy : 2 + dy + h, 2 + dx : 2 + dx + w] for dy, dx in TAPS]


class Neighbours(nn.Module):
    """Corrections for each row of a model: weights (rows, 3, 9), coefficients of the scale (rows, 3, 3)."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(rows, 3, len(TAPS) + 3))
        self.offsets = nn.Parameter(torch.zeros(rows, 3, 3))

    def correct(
        self, row: int, error: torch.Tensor, mean: torch.Tensor, log2_scale: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Residuals and log2 scales (N, C, h, w) after the correction of a row.

        error: d minus its mean, coupling taken off; mean: before coupling; all in bins.
        """
        weights, offsets = GAIN * self.weights[row], GAIN * self.offsets[row]
        sigma = torch.exp2(log2_scale.clamp_min(FLOOR))
        u, own = (error / sigma).clamp(-2, 2), (mean / sigma).clamp(-2, 2)
        errors: list[torch.Tensor] = []
        scales: list[torch.Tensor] = []
        sizes: list[torch.Tensor] = []
        for c in range(error.shape[1]):
            known = [*neighbours(u[:, c], 0.0), own[:, c], *(u[:, other] for other in range(c))]
            none = torch.zeros_like(u[:, c])
            expected = sum((w * k for w, k in zip(weights[c], known, strict=False)), none).clamp(-2, 2)
            size = (u[:, c] - expected).abs()
            near = zip(SHARES, neighbours(size, USUAL), strict=True)
            total = sum((share * s for share, s in near), BEFORE * sum(sizes, none))
            octaves = torch.log2(total / (sum(SHARES) + BEFORE * c) + 0.05)
            errors.append(error[:, c] - torch.exp2(log2_scale[:, c]) * expected)
            a, b, d = offsets[c]
            scales.append(log2_scale[:, c] + a + octaves * (b + octaves * d))
            sizes.append(size)
        return torch.stack(errors, 1), torch.stack(scales, 1)
