"""The bound of any top-down hierarchy of Gaussian latents: a ladder VAE and a diffusion model are two cases.

    q(z_1..z_L | x) = q(z_L | x) prod q(z_l | z_(l+1), x)          p = p(z_L) prod p(z_l | z_(l+1)) p(x | z_1)

    -log p(x) <= KL(q(z_L | x) || p(z_L)) + E -log p(x | z_1)
                 + sum over levels of E KL(q(z_l | z_(l+1), x) || p(z_l | z_(l+1)))

Nothing in `bound` knows what a noise schedule is (Ribeiro and Glocker 2024, section 2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vdmcompress.vdm32.parameterisation import Denoise
from vdmcompress.vdm32.process import Normal, Step, alpha, sigma

Conditional = Callable[[Tensor, Tensor], Normal]
"""(z of the level above, x) -> distribution of this level."""


@dataclass(frozen=True)
class Hierarchy:
    """q and p of each level, and the likelihood of x.

    top: q(z_L | x), from x, and p(z_L).  levels: pairs q(z_l | z_(l+1), x) and p(z_l | z_(l+1)), from the top
    down; p's second argument is ignored.  cost: (x, z_1) -> -log p(x | z_1) in nats, summed over dimensions,
    shape (N,).
    """

    top: tuple[Callable[[Tensor], Normal], Normal]
    levels: Sequence[tuple[Conditional, Conditional]]
    cost: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Bound:
    """Terms in nats, from the top down.

    kl (L, N): in closed form.  ratio (L, N): log q - log p of the latents drawn, whose mean is the KL.
    reconstruction (N,).  latents: z_L..z_1 that were drawn.
    """

    kl: Tensor
    ratio: Tensor
    reconstruction: Tensor
    latents: tuple[Tensor, ...]

    @property
    def total(self) -> Tensor:
        """The bound, (N,)."""
        return self.kl.sum(0) + self.reconstruction

    @property
    def sampled(self) -> Tensor:
        """The same from log densities alone, (N,): -log p(x) for any draw if q is the true posterior."""
        return self.ratio.sum(0) + self.reconstruction


def bound(model: Hierarchy, x: Tensor, generator: torch.Generator) -> Bound:
    """One draw of the bound for x (N, ...)."""

    kl, ratio, latents = [], [], []

    def level(q: Normal, p: Normal) -> None:
        z = q.sample(torch.randn(x.shape, dtype=x.dtype, generator=generator))
        kl.append(_summed(q.kl(p), x))
        ratio.append(_summed(_log_density(q, z) - _log_density(p, z), x))
        latents.append(z)

    encoder, prior = model.top
    level(encoder(x), prior)
    for posterior, generative in model.levels:
        level(posterior(latents[-1], x), generative(latents[-1], x))
    return Bound(torch.stack(kl), torch.stack(ratio), model.cost(x, latents[-1]), tuple(latents))


def _log_density(of: Normal, z: Tensor) -> Tensor:
    """log N(z), without the constant that q and p share."""
    return -0.5 * ((z - of.mean) ** 2 / of.variance + torch.log(of.variance))


def _summed(kl: Tensor, x: Tensor) -> Tensor:
    return kl.expand_as(x).flatten(1).sum(1)


def gaussian_nats(x: Tensor, mean: Tensor | float, variance: float) -> Tensor:
    """-log N(x; mean, variance) of each value."""
    return 0.5 * ((x - mean) ** 2 / variance + math.log(2.0 * math.pi * variance))


def diffusion(gammas: Tensor, denoise: Denoise, cost: Callable[[Tensor, Tensor], Tensor]) -> Hierarchy:
    """A diffusion model as a hierarchy: z_1 there is the least noisy latent, of gammas[0].

    gammas: (T + 1,), rising.  cost: as in `Hierarchy`.
    """

    def level(s: int) -> tuple[Conditional, Conditional]:
        step = Step(gammas[s], gammas[s + 1])

        def generative(z_t: Tensor, _: Tensor) -> Normal:
            return step.reverse(z_t, denoise(z_t, gammas[s + 1].expand(len(z_t))).noise)

        return step.posterior, generative

    last = gammas[-1]
    unit = Normal(torch.zeros((), dtype=gammas.dtype), torch.ones((), dtype=gammas.dtype))
    top = (lambda x: Normal(alpha(last) * x, sigma(last) ** 2), unit)
    return Hierarchy(top, [level(s) for s in reversed(range(len(gammas) - 1))], cost)


def ladder(lower: float, upper: float, noise: float) -> Hierarchy:
    """A linear VAE of two levels with its exact posterior: z_2 ~ N(0, upper), z_1 ~ N(z_2, lower), x ~
    N(z_1, noise).

    The arguments are variances.  -log p(x) = -log N(x; 0, upper + lower + noise).
    """

    def normal(mean: Tensor, variance: float) -> Normal:
        return Normal(mean, torch.tensor(variance, dtype=mean.dtype))

    def q_2(x: Tensor) -> Normal:
        gain = upper / (upper + lower + noise)
        return normal(gain * x, upper * (1 - gain))

    def q_1(z_2: Tensor, x: Tensor) -> Normal:
        gain = lower / (lower + noise)
        return normal(z_2 + gain * (x - z_2), lower * (1 - gain))

    def cost(x: Tensor, z_1: Tensor) -> Tensor:
        return gaussian_nats(x, z_1, noise).flatten(1).sum(1)

    prior = normal(torch.zeros((), dtype=torch.float64), upper)
    return Hierarchy((q_2, prior), [(q_1, lambda z_2, _: normal(z_2, lower))], cost)
