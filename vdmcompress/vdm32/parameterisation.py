"""Four outputs of a denoiser that are linear in one another: noise, image, score, velocity.

    z = alpha x + sigma eps       score = -eps / sigma       velocity = alpha eps - sigma x

(Salimans and Ho 2022 for the velocity; Kingma and Gao 2023, section 2; Ribeiro and Glocker 2024, section
2.4.) Given z and gamma, one of them gives the other three.  The squared error of the noise is the squared
error of another output times its weight: SNR for the image, sigma^2 for the score, alpha^2 for the velocity.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from vdmcompress.vdm32.process import alpha, sigma

Output = Literal["noise", "image", "score", "velocity"]
OUTPUTS: tuple[Output, ...] = get_args(Output)


@dataclass(frozen=True)
class Prediction:
    """What a denoiser gives: the noise, shape of z, and an output for a learned variance, or None."""

    noise: Tensor
    variance: Tensor | None = None


Denoise = Callable[[Tensor, Tensor], Prediction]
"""(z (N, C, H, W), gamma (N,)) -> Prediction."""


def to_noise(kind: Output, value: Tensor, z: Tensor, gamma: Tensor) -> Tensor:
    """The prediction of the noise that an output of another kind stands for."""
    a, s = alpha(gamma), sigma(gamma)
    if kind == "noise":
        return value
    if kind == "image":
        return (z - a * value) / s
    if kind == "score":
        return -s * value
    return s * z + a * value


def from_noise(kind: Output, noise: Tensor, z: Tensor, gamma: Tensor) -> Tensor:
    """The inverse of `to_noise`."""
    a, s = alpha(gamma), sigma(gamma)
    if kind == "noise":
        return noise
    if kind == "image":
        return (z - s * noise) / a
    if kind == "score":
        return -noise / s
    return (noise - s * z) / a


def convert(source: Output, target: Output, value: Tensor, z: Tensor, gamma: Tensor) -> Tensor:
    """An output of one kind as another."""
    return from_noise(target, to_noise(source, value, z, gamma), z, gamma)


def error_weight(kind: Output, gamma: Tensor) -> Tensor:
    """Factor w such that (error of the noise)^2 = w (error of this output)^2."""
    if kind == "noise":
        return torch.ones_like(gamma)
    if kind == "image":
        return torch.exp(-gamma)
    return torch.sigmoid(gamma) if kind == "score" else torch.sigmoid(-gamma)
