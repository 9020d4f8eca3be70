"""Data whose best denoiser is known exactly: what the papers claim can be checked to the last digit on it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from vdmcompress.vdm32.decoder import LEVELS, centres
from vdmcompress.vdm32.parameterisation import Prediction
from vdmcompress.vdm32.process import alpha, per_image, sigma


@dataclass(frozen=True)
class IndependentPixels:
    """Every colour value drawn on its own from one histogram of the 256 levels, float64 (256,), sum 1."""

    histogram: Tensor

    def sample(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Levels, int64 of a shape."""
        drawn = torch.multinomial(self.histogram, math.prod(shape), replacement=True, generator=generator)
        return drawn.reshape(shape)

    @property
    def entropy(self) -> float:
        """Bits of a value."""
        p = self.histogram[self.histogram > 0]
        return float(-(p * torch.log2(p)).sum())

    def __call__(self, z: Tensor, gamma: Tensor) -> Prediction:
        """The posterior mean of eps given z: no denoiser has a lower squared error."""
        used = self.histogram > 0
        x = centres(torch.arange(LEVELS, dtype=z.dtype))[used]
        g = per_image(gamma)
        a, s = alpha(g), sigma(g)
        distance = (z.unsqueeze(-1) - a[..., None] * x) / s[..., None]
        logits = self.histogram[used].log().to(z.dtype) - 0.5 * distance**2
        mean = (functional.softmax(logits, dim=-1) * x).sum(-1)
        return Prediction((z - a * mean) / s)


@dataclass(frozen=True)
class GaussianData:
    """Independent values of a Gaussian with mean 0 and a standard deviation: everything in closed form.

    The best mean squared error of eps is v SNR / (1 + v SNR), v the variance.
    """

    deviation: float

    def sample(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Values, float64 of a shape."""
        return self.deviation * torch.randn(shape, dtype=torch.float64, generator=generator)

    def mse(self, gamma: Tensor) -> Tensor:
        """The denoiser's mean squared error of the noise."""
        return torch.sigmoid(2.0 * math.log(self.deviation) - gamma)

    def __call__(self, z: Tensor, gamma: Tensor) -> Prediction:
        """The posterior mean of eps given z."""
        g = per_image(gamma)
        total = self.deviation**2 * torch.sigmoid(-g) + torch.sigmoid(g)
        return Prediction(sigma(g) / total * z)


def two_humps(every: int = 1) -> IndependentPixels:
    """Two bell shapes over every so many of the 256 levels: 7.5 bits a value with all of them, 4.5 with 8."""
    k = torch.arange(LEVELS, dtype=torch.float64)
    weights = 0.6 * torch.exp(-0.5 * ((k - 80) / 28) ** 2) + 0.4 * torch.exp(-0.5 * ((k - 180) / 20) ** 2)
    weights = (weights + 1e-4) * (k % every == every // 2)
    return IndependentPixels(weights / weights.sum())
