"""The float denoiser: the deployable graph, trained in the very form in which it is later made exact.

One network evaluation reads the coarser image LL, the clean bands and the noisy band z_k of a scale and
gives, for each position and colour component, the mean, the scale and the coupling of p(z_{k-1} | z_k, ctx);
the evaluation at the top of a band also predicts the band itself (for plans without latents).

    u = features(ctx, z_k)                           integers 0..255, unit 1/16
    x = Stem(u)
    x = x + B(clip(A(clip(x)) * (1+g) + h)) + c      for each block; clip is to [0, 8)
    y = Head(clip(x)) + Linear(raw)

g, h and c depend on the evaluation only, so they fold into A's weights and biases on export (`exact.py`).
Stem, A and B are 3x3 convolutions, Head is 1x1 and Linear is a 3x3 predictor from the raw integers beside the
network, which keeps large means precise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from vdmcompress.diffusion import FACTORS16
from vdmcompress.exact import check_sizes
from vdmcompress.exact import PART
from vdmcompress.path import BandPath, NoisePath

ACTIVATION_STEPS = 32
"""Steps of an activation in one unit: u8 / 32 covers [0, 8)."""

ACTIVATION_TOP = 255 / ACTIVATION_STEPS
INPUT_STEPS = 16
"""Grey levels in one unit of the network's inputs."""

FEATURES = 24
LINEAR_INPUTS = 9
COUPLING_LIMIT = 1.98
"""Couplings are clamped to +-127/64."""


@dataclass(frozen=True)
class NetworkConfig:
    """What determines the graph.

    width: channels.  blocks: residual blocks.  scales: scales with biases of their own, the last one serves
    all coarser ones; weights come in two classes, finest scale and the others.  Raises ValueError for sizes that no
    model file may have.
    """

    width: int
    blocks: int
    scales: int
    path: NoisePath

    def __post_init__(self) -> None:
        check_sizes(self.width, self.blocks, self.scales)

    @property
    def slots(self) -> int:
        """Network evaluations of a scale."""
        return len(self.path.steps)

    def row(self, scale: int, slot: int) -> int:
        """Index of the biases of an evaluation."""
        return min(scale, self.scales - 1) * self.slots + slot

    def weight_set(self, scale: int, slot: int) -> int:
        """Index of the weights of an evaluation: those of scale 0 are its own, all other scales share."""
        return min(scale, 1) * self.slots + slot


def high_pass(ll: torch.Tensor) -> torch.Tensor:
    """LL minus its rounded 3x3 mean (57/512 for 1/9), edges replicated; int32 (N, C, h, w)."""
    p = F.pad(ll.to(torch.float32), (1, 1, 1, 1), mode="replicate").to(torch.int32)
    rows = p[:, :, :-2] + p[:, :, 1:-1] + p[:, :, 2:]
    box = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    return ll - ((box * 57 + 256) >> 9)


def raw_features(ll: torch.Tensor, hl: torch.Tensor, lh: torch.Tensor) -> torch.Tensor:
    """Signed integer inputs (N, 12, h, w) int32: high-passed LL, HL slot, LH slot, LL, three components each.

    ll, hl, lh: int32 (N, 3, h, w).  A slot holds the clean band, the noisy band that is coded, or zeros.
    """
    return torch.cat((high_pass(ll), hl, lh, ll), 1)


def split_signs(raw: torch.Tensor) -> torch.Tensor:
    """Inputs of the network (N, 24, h, w): positive and negative parts, saturated to 0..255, as integers."""
    return torch.cat((raw.clamp(0, 255), (-raw).clamp(0, 255)), 1)


def clip(x: torch.Tensor) -> torch.Tensor:
    """The range of an activation: [0, 8), as u8 / 32 will hold it."""
    return F.hardtanh(x, 0.0, ACTIVATION_TOP)


class Denoiser(nn.Module):
    """The cascade's network for all scales, bands and levels (see the module's docstring).

    Parameters are kept for weight sets (2 * slots) and for rows (scales * slots).
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        w, n, slots = config.width, config.blocks, config.slots
        sets, rows = 2 * slots, config.scales * slots
        generator = torch.Generator().manual_seed(1)

        def normal(*shape: int, std: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=generator) * std)

        gains = torch.exp2(torch.linspace(-2.0, 2.0, w)).view(-1, 1, 1, 1)
        stem = normal(w, FEATURES, 3, 3, std=0.1).data * gains
        for group in (9, 21):  # absolute LL, large and not zero-mean: a little of it, at no gain
            stem[:, group : group + 3] = 0.1 * stem[:, group : group + 3] / gains
        self.stem = nn.Parameter(stem)
        self.stem_own = nn.Parameter(torch.zeros(sets, w, FEATURES, 3, 3))
        self.stem_bias = nn.Parameter(torch.zeros(rows, w) + 0.5)
        self.a = nn.ParameterList(normal(w, w, 3, 3, std=math.sqrt(2 / (9 * w))) for _ in range(n))
        self.b = nn.ParameterList(normal(w, w, 3, 3, std=0.3 * math.sqrt(2 / (9 * w))) for _ in range(n))
        self.gain = nn.Parameter(torch.zeros(sets, n, w))
        self.shift = nn.Parameter(torch.zeros(rows, n, w) + 0.2)
        self.offset = nn.Parameter(torch.zeros(rows, n, w))
        self.head = normal(sets, 2 * PART, w, std=0.01)
        self.head_bias = nn.Parameter(torch.zeros(rows, 2 * PART))
        self.linear = nn.Parameter(self._first_guess())
        mix = torch.tensor([-1.5, 0.0, 2.0, 0.0, -2.0, -5.0])
        self.mixture = nn.Parameter(mix.repeat(rows, 2, 3, 1))
        if mix.numel() != len(FACTORS16):
            raise ValueError("mixture: one initial logit for each factor")

    def _first_guess(self) -> torch.Tensor:
        """Linear predictors to start from: the slope of LL across the band."""
        cfg = self.config
        linear = torch.zeros(cfg.scales * cfg.slots, 6, LINEAR_INPUTS, 3, 3)
        for scale in range(cfg.scales):
            for step in cfg.path.steps:
                if step.band == 2:
                    continue
                before, after = ((1, 0), (1, 2)) if step.band == 0 else ((0, 1), (2, 1))
                for c in range(6):
                    linear[cfg.row(scale, step.slot), c, c % 3][before] = 0.05
                    linear[cfg.row(scale, step.slot), c, c % 3][after] = -0.05
        return linear

    def evaluate(self, raw: torch.Tensor, scale: int, slot: int) -> torch.Tensor:
        """Head outputs (N, 24, h, w) of one evaluation for int32 inputs `raw` (N, 12, h, w).

        Two parts of 12 channels: mean, log2 scale, coupling, correction of the scale (three components each) of
        the step, and the same for the direct prediction of the band (meaningful at tops only).
        """
        cfg = self.config
        weights, row = cfg.weight_set(scale, slot), cfg.row(scale, slot)
        u = (split_signs(raw).to(torch.float32) / INPUT_STEPS).contiguous(memory_format=torch.channels_last)
        x = F.conv2d(u, self.stem + self.stem_own[weights], self.stem_bias[row], padding=1)
        for i in range(cfg.blocks):
            folded = self.a[i] * (1 + self.gain[weights, i]).view(-1, 1, 1, 1)
            t = F.conv2d(clip(x), folded, self.shift[row, i], padding=1)
            x = x + F.conv2d(clip(t), self.b[i], self.offset[row, i], padding=1)
        y = F.conv2d(clip(x), self.head[weights][..., None, None], self.head_bias[row])
        lin = F.conv2d(raw[:, :LINEAR_INPUTS].to(torch.float32), self.linear[row], padding=1)
        zeros = torch.zeros_like(y[:, : PART - 3])
        return y + torch.cat((lin[:, :3], zeros, lin[:, 3:], zeros), 1)


@dataclass(frozen=True)
class Belief:
    """Parameters of one conditional, in bins of the level that it predicts; tensors (N, 3, h, w).

    mean; log2_scale (of the conditional standard deviation); coupling (Co on Y, Cg on Y, Cg on Co).
    """

    mean: torch.Tensor
    log2_scale: torch.Tensor
    coupling: torch.Tensor


MEAN_UNIT = 4.0
"""Grey levels of mean for one unit of the head."""

SCALE_CENTRE = 2.0
"""log2 of the scale in grey levels for a head output 0."""

SCALE_UNIT = 2.0
"""Octaves of scale for one unit of the head."""

LOG2_SCALE_RANGE = (-4.0, 11.875)


def direct_belief(outputs: torch.Tensor, delta: int) -> Belief:
    """Conditional of a top, p(z_{K-1} | ctx) or p(d | ctx), from the head channels of a part (N, 12, h, w)."""
    return Belief(
        outputs[:, 0:3] * (MEAN_UNIT / delta),
        (outputs[:, 3:6] * SCALE_UNIT + (SCALE_CENTRE - math.log2(delta))).clamp(*LOG2_SCALE_RANGE),
        outputs[:, 6:9].clamp(-COUPLING_LIMIT, COUPLING_LIMIT),
    )


def fused_belief(outputs: torch.Tensor, path: BandPath, k: int, z_k: torch.Tensor) -> Belief:
    """Conditional p(z_{k-1} | z_k, ctx): the network's prior of d, N(m, s^2), met with z_k by Bayes' rule.

        w = s^2 / (s^2 + sigma_k^2),  d | z_k ~ N(m + w (z_k - m), w sigma_k^2)
        z_{k-1} | z_k ~ N(m + omega (z_k - m), (1-r)^2 w sigma_k^2 + (1-r) sigma_{k-1}^2),  omega = r + (1-r) w

    The network corrects the scale by `correction` octaves; what it learns of d from z_k's neighbours is in m and
    s.  outputs (N, 12, h, w); z_k float (N, 3, h, w) in grey levels.
    """
    delta = path.delta(k - 1)
    r, noise, below = path.retention(k), path.variance(k), path.variance(k - 1)
    m = outputs[:, 0:3] * MEAN_UNIT
    log2_prior = (outputs[:, 3:6] * SCALE_UNIT + SCALE_CENTRE).clamp(*LOG2_SCALE_RANGE)
    w = torch.sigmoid((2.0 * log2_prior - math.log2(noise)) * math.log(2.0))
    omega = r + (1 - r) * w
    variance = (1 - r) ** 2 * w * noise + (1 - r) * below
    log2_scale = 0.5 * torch.log2(variance) - math.log2(delta) + outputs[:, 9:12]
    return Belief(
        (m + omega * (z_k - m)) / delta,
        log2_scale.clamp(*LOG2_SCALE_RANGE),
        outputs[:, 6:9].clamp(-COUPLING_LIMIT, COUPLING_LIMIT),
    )
