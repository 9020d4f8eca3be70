"""The Gaussian process of a variational diffusion model: q and p of its steps, by the log-SNR.

z_t = alpha_t x + sigma_t eps with sigma_t^2 = sigmoid(gamma_t), alpha_t^2 = sigmoid(-gamma_t), so that the
process preserves variance and SNR(t) = alpha_t^2 / sigma_t^2 = exp(-gamma_t) (Kingma et al. 2021, section 3
and appendix A).  Throughout s < t, gamma_s < gamma_t, and

    c = 1 - SNR(t) / SNR(s) = -expm1(gamma_s - gamma_t)

is the share of z_t's noise that the step from s to t added.  Nothing here subtracts a square from
1.  Functions take tensors of any float dtype; gammas broadcast against z.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

LN2 = math.log(2.0)


def alpha(gamma: Tensor) -> Tensor:
    """Factor of the signal, sqrt(sigmoid(-gamma))."""
    return torch.sqrt(torch.sigmoid(-gamma))


def sigma(gamma: Tensor) -> Tensor:
    """Standard deviation of the noise, sqrt(sigmoid(gamma))."""
    return torch.sqrt(torch.sigmoid(gamma))


def snr(gamma: Tensor) -> Tensor:
    """Signal-to-noise ratio exp(-gamma)."""
    return torch.exp(-gamma)


def diffuse(x: Tensor, gamma: Tensor, eps: Tensor) -> Tensor:
    """A draw of q(z_t | x) with the noise eps."""
    return alpha(gamma) * x + sigma(gamma) * eps


def per_image(values: Tensor) -> Tensor:
    """Values (N,) in a shape that broadcasts against images (N, C, H, W)."""
    return values.reshape(-1, 1, 1, 1)


@dataclass(frozen=True)
class Normal:
    """Gaussians with independent dimensions: mean and variance, of shapes that broadcast."""

    mean: Tensor
    variance: Tensor

    def sample(self, eps: Tensor) -> Tensor:
        """The draw mean + standard deviation * eps."""
        return self.mean + torch.sqrt(self.variance) * eps

    def kl(self, other: Normal) -> Tensor:
        """KL(self || other) for each dimension, in nats."""
        ratio = self.variance / other.variance
        return 0.5 * (ratio - 1.0 - torch.log(ratio) + (self.mean - other.mean) ** 2 / other.variance)


@dataclass(frozen=True)
class Step:
    """The step between two levels of noise, gamma_s < gamma_t (VDM appendix A.2 to A.4)."""

    gamma_s: Tensor
    gamma_t: Tensor

    @property
    def c(self) -> Tensor:
        """1 - SNR(t) / SNR(s), in (0, 1)."""
        return -torch.expm1(self.gamma_s - self.gamma_t)

    @property
    def gain(self) -> Tensor:
        """expm1(gamma_t - gamma_s) = SNR(s) / SNR(t) - 1: twice the nats of a squared error of 1."""
        return torch.expm1(self.gamma_t - self.gamma_s)

    @property
    def shrink(self) -> Tensor:
        """alpha_t / alpha_s, in (0, 1]."""
        return torch.exp(0.5 * (functional.softplus(self.gamma_s) - functional.softplus(self.gamma_t)))

    @property
    def forward_variance(self) -> Tensor:
        """sigma_{t|s}^2 = sigma_t^2 c, the variance of q(z_t | z_s): the upper choice for p."""
        return torch.sigmoid(self.gamma_t) * self.c

    @property
    def posterior_variance(self) -> Tensor:
        """sigma_s^2 c, the variance of q(z_s | z_t, x): the lower choice for p, VDM's own."""
        return torch.sigmoid(self.gamma_s) * self.c

    def forward(self, z_s: Tensor) -> Normal:
        """q(z_t | z_s)."""
        return Normal(self.shrink * z_s, self.forward_variance)

    def posterior(self, z_t: Tensor, x: Tensor) -> Normal:
        """q(z_s | z_t, x)."""
        mean = torch.exp(self.gamma_s - self.gamma_t) / self.shrink * z_t + alpha(self.gamma_s) * self.c * x
        return Normal(mean, self.posterior_variance)

    def reverse(self, z_t: Tensor, noise: Tensor, ratio: Tensor | float = 1.0) -> Normal:
        """p(z_s | z_t) for a prediction `noise` of eps; its variance is `ratio` times the posterior's."""
        mean = (z_t - sigma(self.gamma_t) * self.c * noise) / self.shrink
        return Normal(mean, self.posterior_variance * ratio)

    def kl(self, squared_error: Tensor, ratio: Tensor | float = 1.0) -> Tensor:
        """KL(q(z_s | z_t, x) || p(z_s | z_t)) in nats, from (eps - prediction)^2, for each dimension.

        With the posterior's own variance it is half the gain times the squared error (VDM equation 13); a
        ratio rho of the variances makes it (log rho + (1 + gain * error) / rho - 1) / 2.
        """
        excess = self.gain * squared_error
        if isinstance(ratio, float) and ratio == 1.0:
            return 0.5 * excess
        rho = torch.as_tensor(ratio, dtype=excess.dtype)
        return 0.5 * (torch.log(rho) + (1.0 + excess) / rho - 1.0)
