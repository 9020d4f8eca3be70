"""p(x | z_0): every colour value on its own, a softmax over the 256 levels by their distance to z_0.

z_0 / alpha_0 = x + exp(gamma_0 / 2) eps, so the logit of level k is -((z_0 / alpha_0 - f(k)) exp(-gamma_0 /
2))^2 / 2, with f(k) = 2 (k + 1/2) / 256 - 1 (VDM section 3.3 and its public code).  No network, no
parameters.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from vdmcompress.vdm32.process import alpha

LEVELS = 256


def centres(levels: Tensor) -> Tensor:
    """f(k), in (-1, 1), of levels k = 0..255."""
    return (2.0 * levels + 1.0) / LEVELS - 1.0


def nearest(x: Tensor) -> Tensor:
    """The level, int64 0..255, whose centre is nearest to x."""
    return torch.floor((x + 1.0) * (LEVELS / 2)).clamp(0, LEVELS - 1).long()


def log_probabilities(z_0: Tensor, gamma_0: Tensor) -> Tensor:
    """Log p(x = k | z_0) in nats for every k, shape of z_0 + (256,); gamma_0 is a scalar."""
    grid = centres(torch.arange(LEVELS, dtype=z_0.dtype, device=z_0.device))
    distance = ((z_0 / alpha(gamma_0)).unsqueeze(-1) - grid) * torch.exp(-0.5 * gamma_0)
    return functional.log_softmax(-0.5 * distance**2, dim=-1)


def code_length(levels: Tensor, z_0: Tensor, gamma_0: Tensor) -> Tensor:
    """-log p(x | z_0) in nats for each value; levels int64, of z_0's shape."""
    return -log_probabilities(z_0, gamma_0).gather(-1, levels.unsqueeze(-1)).squeeze(-1)
