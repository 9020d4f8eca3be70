"""Terms of the variational bound of one band, in closed form.

q(z_{k-1} | z_k, d) is the Gaussian N(r z_k + (1-r) d, sigma_{k-1}^2 (1-r)) with r = sigma_{k-1}^2 / sigma_k^2
(Kingma et al. 2021, appendix A, with alpha = 1: the noise of a band only adds up).  p(z_{k-1} | z_k, ctx) is
a Gaussian with the network's mean, scale and coupling of the three colour components.  Level 0 is discrete: a
scale mixture integrated over the bins of the integers.

All quantities of a step are in bins of the level that is predicted.  Functions take torch tensors of any
float dtype with the components on axis 1, shape (N, C, h, w) with C = 3 or 1, and give bits for each value.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch

from vdmcompress.exact import FACTORS16 as FACTORS16

WIDE_WEIGHT = 2.0**-9
"""Least weight of the widest component, so that no dead pixel or caption costs dozens of bits."""

LOG2E = 1.0 / math.log(2.0)


def mixture_weights(logits: torch.Tensor) -> torch.Tensor:
    """Weights of the mixture (..., F) from free logits (..., F); the widest has at least `WIDE_WEIGHT`."""
    w = torch.softmax(logits, dim=-1) * (1.0 - WIDE_WEIGHT)
    wide = torch.zeros_like(w)
    wide[..., -1] = WIDE_WEIGHT
    return w + wide


def coupled(residual: torch.Tensor, coupling: torch.Tensor) -> torch.Tensor:
    """Residuals x - mean after the coupling of colour components is taken off.

    residual (N, C, h, w); coupling (N, 3, h, w): Co on Y, Cg on Y, Cg on Co.  C = 1 has no coupling.
    """
    if residual.shape[1] == 1:
        return residual
    y, co, cg = residual.unbind(1)
    a, b, c = coupling.unbind(1)
    return torch.stack((y, co - a * y, cg - b * y - c * co), 1)


def gaussian_kl(
    error: torch.Tensor, variance: float, log2_scale: torch.Tensor, coupling: torch.Tensor
) -> torch.Tensor:
    """KL( N(c, variance I) || p ) for each value, in bits.

    error: c - mean of p before coupling, in bins, (N, C, h, w).  variance: of q's posterior, in bins**2.
    log2_scale: log2 of p's conditional standard deviations, in bins.  coupling: (N, 3, h, w).
    The components of p are coded one after the other, so the KL is a sum of one-dimensional terms in which
    the coupling lets the posterior's own variance of the earlier components through.
    """
    e = coupled(error, coupling)
    if error.shape[1] == 1:
        spread = torch.ones_like(e)
    else:
        a, b, c = coupling.unbind(1)
        spread = torch.stack((torch.ones_like(a), 1 + a * a, 1 + b * b + c * c), 1)
    inverse = torch.exp2(-2.0 * log2_scale)
    nats = 0.5 * ((e * e + variance * spread) * inverse - 1.0 - math.log(variance)) + log2_scale / LOG2E
    return nats * LOG2E


@lru_cache(maxsize=8)
def _factors(dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Factors of the level-0 mixture, (F,); made once, for recorded steps cannot bring them to a GPU."""
    return torch.tensor(FACTORS16, dtype=dtype, device=device) / 16.0


def mixture_code_length(
    residual: torch.Tensor, log2_scale: torch.Tensor, coupling: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """-log2 of the probability that the level-0 mixture gives to the unit bin around each value, in bits.

    residual: d - mean before coupling, (N, C, h, w); weights: (N, C, F) from `mixture_weights`.
    """
    r = coupled(residual, coupling).abs()
    factors = _factors(r.dtype, r.device)
    inverse = torch.exp2(-log2_scale).unsqueeze(2) / (factors.view(1, 1, -1, 1, 1) * math.sqrt(2.0))
    r = r.unsqueeze(2)
    mass = 0.5 * (torch.erfc((r - 0.5) * inverse) - torch.erfc((r + 0.5) * inverse))
    p = (mass * weights[..., None, None]).sum(2)
    return -torch.log2(p.clamp_min(1e-12))
