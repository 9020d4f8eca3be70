"""The float denoiser: the deployable graph, trained in the very form in which it is later made exact.

One network evaluation reads the coarser image LL, the clean bands and the noisy band z_k of a scale and
gives, for each position and colour component, the mean, the scale and the coupling of p(z_{k-1} | z_k, ctx);
the evaluation at the top of a band also predicts the band itself (for plans without latents).

    u = features(ctx, z_k)                           integers 0..255, unit 1/16
    x = Stem(u)
    x = x + B(clip(A(clip(x)) * (1+g) + h)) + c      for each block; clip is to [0, 8)
    y = Head(clip(x)),  mean = r z_k + Linear(raw) + gain * y

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
from vdmcompress.path import NoisePath

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
    all coarser ones; weights come in two classes, finest scale and the others.
    """

    width: int
    blocks: int
    scales: int
    path: NoisePath

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
        self.head = normal(sets, 18, w, std=0.01)
        self.head_bias = nn.Parameter(torch.zeros(rows, 18))
        self.linear = nn.Parameter(self._first_guess())
        mix = torch.tensor([-1.5, 0.0, 2.0, 0.0, -2.0, -5.0])
        self.mixture = nn.Parameter(mix.repeat(rows, 2, 3, 1))
        if mix.numel() != len(FACTORS16):
            raise ValueError("mixture: one initial logit for each factor")

    def _first_guess(self) -> torch.Tensor:
        """Linear predictors to start from: Wiener shrinkage of z_k, and the slope of LL across the band."""
        cfg = self.config
        linear = torch.zeros(cfg.scales * cfg.slots, 6, LINEAR_INPUTS, 3, 3)
        for scale in range(cfg.scales):
            for step in cfg.path.steps:
                path, row = cfg.path.band(scale, step.band), cfg.row(scale, step.slot)
                below, noise = path.retention(step.k), path.variance(step.k) if not step.top else 0.0
                for c, signal in enumerate((36.0, 9.0, 9.0)):
                    keep = 0.0 if step.top else signal / (signal + noise)
                    slope = 0.05 * (1 - keep) if step.band < 2 else 0.0
                    for out, factor in ((c, 1 - below), (3 + c, 1.0)):
                        before, after = ((1, 0), (1, 2)) if step.band == 0 else ((0, 1), (2, 1))
                        linear[row, out, c][before] += slope * factor
                        linear[row, out, c][after] -= slope * factor
                        if step.band < 2:
                            linear[row, out, 3 + 3 * step.band + c, 1, 1] = keep / 4 * factor
        return linear

    def evaluate(self, raw: torch.Tensor, scale: int, slot: int) -> torch.Tensor:
        """Head outputs (N, 18, h, w) of one evaluation for int32 inputs `raw` (N, 12, h, w).

        Channels 0..2 mean in the step's own unit, 3..5 log2 scale, 6..8 coupling; 9..17 the same for the
        direct prediction of the band (meaningful at tops only).
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
        zeros = torch.zeros_like(lin[:, :3])
        return y + torch.cat((lin[:, :3], zeros, zeros, lin[:, 3:], zeros, zeros), 1)


@dataclass(frozen=True)
class Belief:
    """Parameters of one conditional, in bins of the level that it predicts; tensors (N, 3, h, w).

    mean; log2_scale (of the conditional standard deviation); coupling (Co on Y, Cg on Y, Cg on Co).
    """

    mean: torch.Tensor
    log2_scale: torch.Tensor
    coupling: torch.Tensor


def mean_gain(delta: int) -> float:
    """Bins of a mean for one unit of the head: 4 grey levels."""
    return 4.0 / delta


def scale_centre(delta: int) -> float:
    """log2 scale (in bins) of a head output 0: 4 grey levels."""
    return 2.0 - math.log2(delta)


SCALE_UNIT = 2.0
"""Octaves of scale for one unit of the head."""

LOG2_SCALE_RANGE = (-4.0, 11.875)


def belief(outputs: torch.Tensor, delta: int, base: torch.Tensor | float) -> Belief:
    """Turn nine head channels (N, 9, h, w) into a conditional; base: r z_k in bins (0 at the top)."""
    return Belief(
        base + outputs[:, 0:3] * mean_gain(delta),
        (outputs[:, 3:6] * SCALE_UNIT + scale_centre(delta)).clamp(*LOG2_SCALE_RANGE),
        outputs[:, 6:9].clamp(-COUPLING_LIMIT, COUPLING_LIMIT),
    )
