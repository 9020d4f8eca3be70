"""Ancestral sampling: the chain p run down from N(0, I), then p(x | z_0)."""

from __future__ import annotations

import torch
from torch import Tensor

from vdmcompress.vdm32.decoder import log_probabilities
from vdmcompress.vdm32.parameterisation import Denoise
from vdmcompress.vdm32.process import Step, per_image
from vdmcompress.vdm32.variance import VarianceKind, ratio


@torch.no_grad()
def sample(
    denoise: Denoise,
    gammas: Tensor,
    shape: tuple[int, int, int, int],
    generator: torch.Generator,
    variance: VarianceKind = "lower",
    mse: Tensor | None = None,
) -> Tensor:
    """Levels 0..255, int64 of a shape (N, C, H, W), by the chain of levels gammas (T + 1,), in its dtype.

    variance: of p; 'scalar' needs mse (T,), of the steps 1..T.
    """

    def noise() -> Tensor:
        return torch.randn(shape, dtype=gammas.dtype, generator=generator)

    z = noise()
    for i in range(len(gammas) - 1, 0, -1):
        step = Step(per_image(gammas[i - 1].expand(shape[0])), per_image(gammas[i].expand(shape[0])))
        prediction = denoise(z, gammas[i].expand(shape[0]))
        rho = ratio(variance, step, prediction.variance, None if mse is None else mse[i - 1])
        z = step.reverse(z, prediction.noise, rho).sample(noise())
    logits = log_probabilities(z, gammas[0])
    drawn = torch.multinomial(logits.exp().reshape(-1, logits.shape[-1]), 1, generator=generator)
    return drawn.reshape(shape)
