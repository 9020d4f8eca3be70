"""The variational bound of a diffusion model, in discrete and in continuous time, and what is trained
instead.

    bound = KL(q(z_T | x) || N(0, I)) - log p(x | z_0) + sum over steps of KL(q(z_s | z_t, x) || p(z_s | z_t))

(VDM equation 11.)  A step is `process.Step.kl`; as the steps grow finer their sum tends to the integral of
gamma'(t) (eps - prediction)^2 / 2 (equation 17).  Images are levels, int64 (N, C, H, W); results are bits per
dimension, (N,).  All noise is an argument or comes from a generator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vdmcompress.vdm32.decoder import centres, code_length
from vdmcompress.vdm32.parameterisation import Denoise, Prediction
from vdmcompress.vdm32.process import LN2, Normal, Step, alpha, diffuse, per_image
from vdmcompress.vdm32.schedule import MonotoneNetwork, Schedule
from vdmcompress.vdm32.variance import VarianceKind, interpolated, ratio

Weighting = Callable[[Tensor], Tensor]
"""gamma -> weight of the squared error of the noise against its weight in the bound; see `weighting`."""


def bpd(nats: Tensor) -> Tensor:
    """Nats of each value (N, ...) to bits per dimension (N,)."""
    return nats.flatten(1).mean(1) / LN2


def signal(levels: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Levels int64 to x in (-1, 1)."""
    return centres(levels.to(dtype))


@dataclass(frozen=True)
class Bound:
    """The three terms, bits per dimension, (N,) each."""

    prior: Tensor
    reconstruction: Tensor
    diffusion: Tensor

    @property
    def total(self) -> Tensor:
        """The bound, (N,)."""
        return self.prior + self.reconstruction + self.diffusion


def prior(x: Tensor, gamma_1: Tensor) -> Tensor:
    """KL(q(z_1 | x) || N(0, I)); log sigma_1^2 is a log-sigmoid."""
    q = Normal(alpha(gamma_1) * x, torch.sigmoid(gamma_1).expand_as(x))
    return bpd(q.kl(Normal(torch.zeros_like(x), torch.ones_like(x))))


def reconstruction(levels: Tensor, gamma_0: Tensor, eps: Tensor) -> Tensor:
    """-log p(x | z_0) at the z_0 of the noise eps."""
    z_0 = diffuse(signal(levels, eps.dtype), gamma_0, eps)
    return bpd(code_length(levels, z_0, gamma_0))


def squared_error(denoise: Denoise, x: Tensor, gamma: Tensor, eps: Tensor) -> Tensor:
    """(eps - prediction)^2 at gamma (N,), shape of x."""
    return (eps - denoise(diffuse(x, per_image(gamma), eps), gamma).noise) ** 2


def continuous(denoise: Denoise, x: Tensor, gamma: Tensor, rate: Tensor, eps: Tensor) -> Tensor:
    """The integrand gamma' (eps - prediction)^2 / 2 at gamma, rate (N,): its mean over t is the diffusion
    term."""
    return 0.5 * rate * bpd(squared_error(denoise, x, gamma, eps))


def step_bits(
    denoise: Denoise,
    x: Tensor,
    step: Step,
    eps: Tensor,
    variance: VarianceKind = "lower",
    mse: Tensor | None = None,
    detach_mean: bool = False,
) -> Tensor:
    """KL of the steps gamma_s to gamma_t (N,), one for each image, from the z_t of the noise eps.

    variance: of p; 'scalar' needs mse (N,).  detach_mean: no gradient through the prediction of the noise, so
    that only the variance learns (the second term of Improved DDPM's hybrid).
    """
    wide = Step(per_image(step.gamma_s), per_image(step.gamma_t))
    prediction = denoise(diffuse(x, wide.gamma_t, eps), step.gamma_t)
    return bpd(step_nats(prediction, eps, wide, variance, mse, detach_mean))


def step_nats(
    prediction: Prediction,
    eps: Tensor,
    step: Step,
    variance: VarianceKind = "lower",
    mse: Tensor | None = None,
    detach_mean: bool = False,
) -> Tensor:
    """KL of a step for each value, in nats; the step's gammas (N, 1, 1, 1)."""
    noise = prediction.noise.detach() if detach_mean else prediction.noise
    error = (eps - noise) ** 2
    if variance == "lower":
        return step.kl(error)
    fitted = None if mse is None else per_image(mse)
    return step.kl(error, ratio(variance, step, prediction.variance, fitted))


def discrete(
    denoise: Denoise, x: Tensor, gammas: Tensor, index: Tensor, eps: Tensor, variance: VarianceKind = "lower"
) -> Tensor:
    """T times the KL of the steps index = 1..T, int64 (N,): its mean over uniform steps is the diffusion
    term."""
    step = Step(gammas[index - 1], gammas[index])
    return (len(gammas) - 1) * step_bits(denoise, x, step, eps, variance)


def hybrid(prediction: Prediction, eps: Tensor, step: Step, steps: int, factor: float = 0.001) -> Tensor:
    """Improved DDPM's L_simple + factor T L_vlb, nats of a value (N,): the second term trains the variance
    only.

    Raises:
        ValueError: the network has no variance output.
    """
    if prediction.variance is None:
        raise ValueError("the hybrid loss needs a network with learned_variance = true")
    simple = ((eps - prediction.noise) ** 2).flatten(1).mean(1)
    kl = step.kl((eps - prediction.noise.detach()) ** 2, interpolated(step, prediction.variance))
    return simple + factor * steps * kl.flatten(1).mean(1)


@torch.no_grad()
def evaluate(
    denoise: Denoise,
    levels: Tensor,
    gammas: Tensor,
    generator: torch.Generator,
    variance: VarianceKind = "lower",
    mse: Tensor | None = None,
    per_step: list[Tensor] | None = None,
) -> Bound:
    """The bound of a chain gammas (T + 1,), all steps, one draw of noise for each; in the dtype of gammas.

    mse (T,): for the fitted variance, of the steps 1..T.  per_step: takes the bits of each step, (N,), from
    the lowest noise up.
    """
    x = signal(levels, gammas.dtype)

    def noise() -> Tensor:
        return torch.randn(x.shape, dtype=x.dtype, generator=generator)

    total = torch.zeros(len(x), dtype=x.dtype)
    for i in range(1, len(gammas)):
        step = Step(gammas[i - 1].expand(len(x)), gammas[i].expand(len(x)))
        fitted = None if mse is None else mse[i - 1].expand(len(x))
        bits = step_bits(denoise, x, step, noise(), variance, fitted)
        total += bits
        if per_step is not None:
            per_step.append(bits)
    return Bound(prior(x, gammas[-1]), reconstruction(levels, gammas[0], noise()), total)


@torch.no_grad()
def evaluate_continuous(
    denoise: Denoise, levels: Tensor, schedule: Schedule, t: Tensor, generator: torch.Generator
) -> Bound:
    """An estimate of the continuous-time bound, at times t (D, N): D draws for each image; in t's dtype."""
    x = signal(levels, t.dtype)
    total = torch.zeros(len(x), dtype=t.dtype)
    for row in t:
        eps = torch.randn(x.shape, dtype=t.dtype, generator=generator)
        total += continuous(denoise, x, schedule.gamma(row), schedule.rate(row), eps)
    eps = torch.randn(x.shape, dtype=t.dtype, generator=generator)
    ends = schedule.gamma(torch.tensor([0.0, 1.0], dtype=t.dtype))
    return Bound(prior(x, ends[1]), reconstruction(levels, ends[0], eps), total / len(t))


@torch.no_grad()
def error_curve(
    denoise: Denoise, levels: Tensor, gammas: Tensor, generator: torch.Generator, draws: int = 1
) -> Tensor:
    """mse(gamma) at gammas (M,): mean over images, values and draws, with common noise for all gammas."""
    x = signal(levels, gammas.dtype)
    noises = [torch.randn(x.shape, dtype=x.dtype, generator=generator) for _ in range(draws)]
    return torch.stack(
        [
            torch.stack([squared_error(denoise, x, g.expand(len(x)), eps).mean() for eps in noises]).mean()
            for g in gammas
        ]
    )


def schedule_gradients(
    schedule: Schedule, gamma: Tensor, rate: Tensor, pulls: tuple[Tensor, Tensor], loss: Tensor
) -> None:
    """Gradients of a schedule from those of single losses L_i by gamma_i and gamma'_i, without a second pass.

    gamma, rate: (N,), in the schedule's graph.  pulls: dL_i/dgamma_i / N and dL_i/dgamma'_i / N.  Parameters
    that shape the inside take the gradient of mean L^2, the variance of the estimator up to a constant (VDM
    appendix I.2); the ends take that of mean L, since the bound depends on them.
    """
    inside = schedule.inside() if isinstance(schedule, MonotoneNetwork) else []
    within = {id(p) for p in inside}
    ends = [p for p in schedule.parameters() if id(p) not in within and p.requires_grad]
    if ends:
        torch.autograd.backward([gamma, rate], list(pulls), retain_graph=bool(inside), inputs=ends)
    if inside:
        factor = 2.0 * loss.detach()
        torch.autograd.backward([gamma, rate], [factor * pull for pull in pulls], inputs=inside)
