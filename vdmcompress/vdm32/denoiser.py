"""The network that predicts the noise, as VDM's public code has it, and smaller.

Input: z and, for the Fourier features, sin and cos of 2 pi 2^6 z and 2 pi 2^7 z: a level of grey is 2^-7, so
they turn by half a circle and by a whole one for each level.  Residual blocks at full resolution on the way
down, a middle of two blocks (with one head of attention between them), one more block on the way up than
down, each joined to a stored skip.  A block adds a projection of the conditioning after its first convolution
and ends with a convolution that starts at zero, as does the head, to whose output z is added.  The network
sees gamma, never t.

`PAPER` is the published form and size.  The small sizes depart from it in up to three ways, each a field:
blocks at half resolution, 2x2 patches of z as channels, and an output around the best linear prediction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from vdmcompress.vdm32.parameterisation import Output, Prediction, to_noise
from vdmcompress.vdm32.process import per_image, sigma
from vdmcompress.vdm32.schedule import GAMMA_MAX, GAMMA_MIN

DATA_VARIANCE = 0.25
"""Of the values of photographs in (-1, 1), about."""


@dataclass(frozen=True)
class DenoiserConfig:
    """Sizes and choices of the network.

    width, depth: channels and blocks on the way down, for each resolution from the full one on, each half of
    the one before.  attention: one head in the middle.  fourier: exponents of the two frequencies, or ().
    patch: side of the squares of z that enter as channels of one position, 1 for none.
    preconditioned: instead of z, the best linear prediction of the noise is added to the head, whose output
    is scaled by that prediction's error for values of variance 1/4 (Karras et al. 2022, table 1, as a noise).
    output: which of the four linear outputs the head gives.  learned_variance: a second output.
    scale_and_shift: the conditioning scales and shifts after the norm (Improved DDPM) instead of being added.
    gamma_min, gamma_max: constants of the conditioning's scale; the schedule may leave them.
    """

    width: tuple[int, ...] = (32, 48)
    depth: tuple[int, ...] = (1, 1)
    attention: bool = False
    dropout: float = 0.0
    fourier: tuple[int, ...] = (6, 7)
    patch: int = 1
    preconditioned: bool = False
    output: Output = "noise"
    learned_variance: bool = False
    scale_and_shift: bool = False
    channels: int = 3
    gamma_min: float = GAMMA_MIN
    gamma_max: float = GAMMA_MAX

    def __post_init__(self) -> None:
        """Raise ValueError where widths and depths are not one for each resolution."""
        if len(self.width) != len(self.depth) or not self.width or min(self.depth) < 1:
            raise ValueError(f"width {self.width}, depth {self.depth}: allowed are one for each resolution")
        if self.preconditioned and self.output != "noise":
            raise ValueError(f"output {self.output!r} is not preconditioned; only 'noise' is")
        if any(w % 4 for w in self.width):
            raise ValueError(f"width {self.width}: allowed are multiples of 4")


SMALL = DenoiserConfig()
PAPER = DenoiserConfig(width=(128,), depth=(32,), attention=True, dropout=0.1)
PAPER_AUGMENTED = DenoiserConfig(width=(256,), depth=(32,), attention=True, dropout=0.05)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(channels, 32) if channels >= 64 else channels // 4, channels)


def _zero(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class Block(nn.Module):
    """Residual block: norm, swish, convolution, conditioning, norm, swish, dropout, convolution from zero."""

    def __init__(self, inputs: int, outputs: int, condition: int, config: DenoiserConfig) -> None:
        super().__init__()
        self.scale_and_shift = config.scale_and_shift
        self.norm_1, self.norm_2 = _norm(inputs), _norm(outputs)
        self.conv_1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv_2 = _zero(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.project = nn.Linear(condition, outputs * (1 + config.scale_and_shift), bias=False)
        nn.init.zeros_(self.project.weight)
        self.dropout = nn.Dropout(config.dropout)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        """h (N, inputs, H, W), condition (N, condition) -> (N, outputs, H, W)."""
        inner = self.conv_1(functional.silu(self.norm_1(h)))
        given = self.project(condition)[..., None, None]
        if self.scale_and_shift:
            scale, shift = given.chunk(2, 1)
            inner = self.norm_2(inner) * (1.0 + scale) + shift
        else:
            inner = self.norm_2(inner + given)
        result: Tensor = self.shortcut(h) + self.conv_2(self.dropout(functional.silu(inner)))
        return result


class Attention(nn.Module):
    """One head of self-attention over all positions, from zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = _zero(nn.Conv2d(channels, channels, 1))

    def forward(self, h: Tensor) -> Tensor:
        """h (N, C, H, W) -> the same shape."""
        q, k, v = self.qkv(self.norm(h)).flatten(2).transpose(1, 2).chunk(3, 2)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        result: Tensor = h + self.out(mixed.transpose(1, 2).reshape(h.shape))
        return result


class Denoiser(nn.Module):
    """The network; a `Denoise` of images (N, channels, H, W), sides divisible by 2^(resolutions - 1)."""

    def __init__(self, config: DenoiserConfig = SMALL) -> None:
        super().__init__()
        self.config = config
        width, depth = config.width, config.depth
        condition = 4 * width[0]
        self.dense_1 = nn.Linear(width[0] + 1, condition)
        self.dense_2 = nn.Linear(condition, condition)
        area = config.patch**2
        inputs = config.channels * (1 + 2 * len(config.fourier)) * area
        self.enter = nn.Conv2d(inputs, width[0], 3, padding=1)
        self.down, self.lower, self.up, self.raise_ = (nn.ModuleList() for _ in range(4))
        for level, (w, d) in enumerate(zip(width, depth, strict=True)):
            self.down.append(nn.ModuleList(Block(w, w, condition, config) for _ in range(d)))
            self.up.append(nn.ModuleList(Block(2 * w, w, condition, config) for _ in range(d + 1)))
            if level + 1 < len(width):
                self.lower.append(nn.Conv2d(4 * w, width[level + 1], 1))
                self.raise_.append(nn.Conv2d(width[level + 1], 4 * w, 1))
        w = width[-1]
        self.middle = nn.ModuleList(Block(w, w, condition, config) for _ in range(2))
        self.attention = Attention(w) if config.attention else nn.Identity()
        self.norm = _norm(width[0])
        outputs = config.channels * (1 + config.learned_variance) * area
        self.head = _zero(nn.Conv2d(width[0], outputs, 3, padding=1))

    def condition(self, gamma: Tensor) -> Tensor:
        """gamma (N,) -> (N, 4 width): sinusoids of 1000 times the scaled gamma, the scaled gamma, two
        layers."""
        scaled = (gamma - self.config.gamma_min) / (self.config.gamma_max - self.config.gamma_min)
        half = (self.dense_1.in_features - 1) // 2
        rate = torch.exp(torch.arange(half, dtype=gamma.dtype) * (-math.log(10000.0) / (half - 1)))
        angle = 1000.0 * scaled[:, None] * rate
        features = torch.cat((angle.sin(), angle.cos(), scaled[:, None]), 1)
        result: Tensor = functional.silu(self.dense_2(functional.silu(self.dense_1(features))))
        return result

    def _at(self, level: int, h: Tensor, condition: Tensor) -> Tensor:
        skips = [h]
        for block in cast(nn.ModuleList, self.down[level]):
            h = block(h, condition)
            skips.append(h)
        if level + 1 < len(self.down):
            inner = self.lower[level](functional.pixel_unshuffle(h, 2))
            inner = self._at(level + 1, inner, condition)
            h = h + functional.pixel_shuffle(self.raise_[level](inner), 2)
        else:
            h = self.middle[0](h, condition)
            h = self.middle[1](self.attention(h), condition)
        for block in cast(nn.ModuleList, self.up[level]):
            h = block(torch.cat((h, skips.pop()), 1), condition)
        return h

    def forward(self, z: Tensor, gamma: Tensor) -> Prediction:
        """z (N, C, H, W), gamma (N,) -> the prediction, in z's dtype."""
        turned = [z]
        for exponent in self.config.fourier:
            angle = 2.0 * math.pi * 2.0**exponent * z
            turned += [angle.sin(), angle.cos()]
        patch = self.config.patch
        entered = self.enter(functional.pixel_unshuffle(torch.cat(turned, 1), patch))
        h = functional.silu(self.norm(self._at(0, entered, self.condition(gamma))))
        out = functional.pixel_shuffle(self.head(h), patch).to(z.dtype)
        value, variance = out[:, : z.shape[1]], out[:, z.shape[1] :]
        g = per_image(gamma)
        if self.config.preconditioned:
            total = DATA_VARIANCE * torch.sigmoid(-g) + torch.sigmoid(g)
            value = value * torch.sqrt(DATA_VARIANCE * torch.sigmoid(-g) / total) + sigma(g) / total * z
        elif self.config.output == "noise":
            value = value + z
        noise = to_noise(self.config.output, value, z, g)
        return Prediction(noise, variance if self.config.learned_variance else None)

    def __call__(self, z: Tensor, gamma: Tensor) -> Prediction:
        """`forward`, typed."""
        result: Prediction = super().__call__(z, gamma)
        return result


def parameters(model: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in model.parameters())
