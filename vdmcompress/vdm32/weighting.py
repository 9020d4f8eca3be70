"""Weightings of the noise levels: every usual objective is half the integral of w(gamma) mse(gamma) d gamma.

lambda = -gamma is the log-SNR of Kingma and Gao 2023.  w = 1 is the bound.  A weighting that does not rise
with lambda, so does not fall with gamma, is an average of bounds of noisy data.  Each is known up to a
factor.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vdmcompress.vdm32.objective import Weighting


def uniform(gamma: Tensor) -> Tensor:
    """The bound itself."""
    return torch.ones_like(gamma)


def simple_cosine(gamma: Tensor) -> Tensor:
    """L_simple under the cosine schedule: the density of its log-SNRs, sech(lambda / 2) / (2 pi)."""
    return 1.0 / (2.0 * torch.pi * torch.cosh(0.5 * gamma))


def velocity_cosine(gamma: Tensor) -> Tensor:
    """Squared error of the velocity under the cosine schedule: exp(-lambda / 2) up to a factor."""
    return simple_cosine(gamma) / torch.sigmoid(-gamma)


def min_snr(gamma: Tensor, most: float = 5.0) -> Tensor:
    """Min-SNR (Hang et al. 2023): squared error of x weighted by min(SNR, most), under the cosine
    schedule."""
    return simple_cosine(gamma) * torch.clamp(most * torch.exp(gamma), max=1.0)


def edm(gamma: Tensor, mean: float = 2.4, deviation: float = 2.4) -> Tensor:
    """EDM (Karras et al. 2022): normal density of lambda times (exp(-lambda) + 0.5^2), up to a factor."""
    lam = -gamma
    return torch.exp(-0.5 * ((lam - mean) / deviation) ** 2) * (torch.exp(-lam) + 0.25)


def edm_monotone(gamma: Tensor, mean: float = 2.4, deviation: float = 2.4) -> Tensor:
    """EDM's, held at its peak for all noisier levels."""
    grid = torch.linspace(-30.0, 30.0, 6001, dtype=gamma.dtype)
    curve = edm(grid, mean, deviation)
    top = int(curve.argmax())
    return torch.where(
        gamma > grid[top], curve[top], edm(gamma, mean, deviation).clamp(max=float(curve[top]))
    )


def sigmoid(gamma: Tensor, offset: float = 2.0) -> Tensor:
    """sigmoid(-lambda + offset)."""
    return torch.sigmoid(gamma + offset)


WEIGHTINGS: dict[str, Weighting] = {
    "uniform": uniform,
    "simple-cosine": simple_cosine,
    "velocity-cosine": velocity_cosine,
    "min-snr": min_snr,
    "edm": edm,
    "edm-monotone": edm_monotone,
    "sigmoid": sigmoid,
}


def is_monotone(weighting: Weighting, gamma_0: float = -15.0, gamma_1: float = 15.0) -> bool:
    """Whether a weighting never falls as gamma rises from gamma_0 to gamma_1."""
    w = weighting(torch.linspace(gamma_0, gamma_1, 4001, dtype=torch.float64))
    return bool((w[1:] >= w[:-1] * (1.0 - 1e-9)).all())
