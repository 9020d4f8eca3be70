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
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import nn

from vdmcompress.diffusion import FACTORS16
from vdmcompress.exact import FEATURES, LINEAR_INPUTS, PART, check_sizes
from vdmcompress.mirrors import check_views
from vdmcompress.path import NoisePath

ACTIVATION_BITS = 5
ACTIVATION_STEPS = 1 << ACTIVATION_BITS
"""Steps of an activation in one unit: u8 / 32 covers [0, 8)."""

ACTIVATION_TOP = 255 / ACTIVATION_STEPS
INPUT_BITS = 4
INPUT_STEPS = 1 << INPUT_BITS
"""Grey levels in one unit of the network's inputs."""


@dataclass(frozen=True)
class NetworkConfig:
    """What determines the graph.

    width: channels.  blocks: residual blocks.  scales: scales with biases of their own, the last one serves
    all coarser ones; weights come in two classes, finest scale and the others.  views: how often the coder
    lets the network look at a band (`mirrors.py`); training sees one.  Raises ValueError for what no model
    file may have.
    """

    width: int
    blocks: int
    scales: int
    path: NoisePath
    views: int = 1

    def __post_init__(self) -> None:
        check_sizes(self.width, self.blocks, self.scales)
        check_views(self.views, self.path)

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


def differences(ll: torch.Tensor) -> torch.Tensor:
    """LL minus its left and LL minus its upper neighbour, 0 at the edge; integers (N, 2C, h, w).

    Every predictor that does not see the absolute level of LL is a convolution of these two.
    """
    dx, dy = torch.zeros_like(ll), torch.zeros_like(ll)
    dx[..., 1:] = ll[..., 1:] - ll[..., :-1]
    dy[..., 1:, :] = ll[..., 1:, :] - ll[..., :-1, :]
    return torch.cat((dx, dy), 1)


def raw_features(ll: torch.Tensor, hl: torch.Tensor, lh: torch.Tensor) -> torch.Tensor:
    """Signed integer inputs (N, 15, h, w) int32: differences of LL along x and y, HL slot, LH slot, LL.

    ll, hl, lh: int32 (N, 3, h, w).  A slot holds the clean band, the noisy band that is coded, or zeros.
    """
    return torch.cat((differences(ll), hl, lh, ll), 1)


def split_signs(raw: torch.Tensor) -> torch.Tensor:
    """Inputs of the network (N, 30, h, w): positive and negative parts, saturated to 0..255, as integers."""
    return torch.cat((raw.clamp(0, 255), (-raw).clamp(0, 255)), 1)


def clip(x: torch.Tensor) -> torch.Tensor:
    """The range of an activation: [0, 8), as u8 / 32 will hold it."""
    return F.hardtanh(x, 0.0, ACTIVATION_TOP)


@dataclass(frozen=True)
class Weights:
    """Weights of one evaluation as the deployable graph has them, gains folded in; tensors of one dtype.

    stem (w, 30, 3, 3); a, b: for each block (w, w, 3, 3); head (24, w); linear (6, 12, 3, 3).
    stem_bias (w,); a_bias, b_bias (blocks, w); head_bias (24,).
    """

    stem: torch.Tensor
    stem_bias: torch.Tensor
    a: tuple[torch.Tensor, ...]
    a_bias: torch.Tensor
    b: tuple[torch.Tensor, ...]
    b_bias: torch.Tensor
    head: torch.Tensor
    head_bias: torch.Tensor
    linear: torch.Tensor


Evaluate = Callable[[torch.Tensor, Weights, torch.dtype], torch.Tensor]
"""The type of `evaluate` and of what `compiled` gives."""


def evaluate(raw: torch.Tensor, weights: Weights, body: torch.dtype = torch.float32) -> torch.Tensor:
    """The graph: head outputs (N, 24, h, w) for int32 inputs `raw` (N, 15, h, w), see `Graph.evaluate`.

    body: dtype of stem and blocks; head and linear predictor are in the weights' own.
    """
    return _evaluate(raw, body, *(getattr(weights, f.name) for f in fields(Weights)))


def compiled(backend: str = "inductor") -> Evaluate:
    """`evaluate` compiled for the device at hand: for the first size that it meets, then for all others.

    backend: as torch.compile names it.
    """
    graph = torch.compile(_evaluate, backend=backend, fullgraph=True)

    def run(raw: torch.Tensor, weights: Weights, body: torch.dtype = torch.float32) -> torch.Tensor:
        y: torch.Tensor = graph(raw, body, *(getattr(weights, f.name) for f in fields(Weights)))
        return y

    return run


def _evaluate(
    raw: torch.Tensor,
    body: torch.dtype,
    stem: torch.Tensor,
    stem_bias: torch.Tensor,
    a: tuple[torch.Tensor, ...],
    a_bias: torch.Tensor,
    b: tuple[torch.Tensor, ...],
    b_bias: torch.Tensor,
    head: torch.Tensor,
    head_bias: torch.Tensor,
    linear: torch.Tensor,
) -> torch.Tensor:
    """`evaluate` with the fields of `Weights` one by one, as a compiler takes them best."""

    def conv(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, weight.to(body), bias.to(body), padding=1)

    u = (split_signs(raw).to(body) / INPUT_STEPS).contiguous(memory_format=torch.channels_last)
    x = conv(u, stem, stem_bias)
    for one, one_bias, two, two_bias in zip(a, a_bias, b, b_bias, strict=True):
        t = conv(clip(x), one, one_bias)
        x = x + conv(clip(t), two, two_bias)
    y = F.conv2d(clip(x).to(head.dtype), head[..., None, None], head_bias)
    return y + predict(raw, linear)


def predict(raw: torch.Tensor, linear: torch.Tensor) -> torch.Tensor:
    """What the linear predictor adds to the head outputs (N, 24, h, w)."""
    lin = F.conv2d(raw[:, :LINEAR_INPUTS].to(torch.float32), linear, padding=1)
    zeros = lin.new_zeros(lin.shape[0], PART - 3, *lin.shape[2:])
    return torch.cat((lin[:, :3], zeros, lin[:, 3:], zeros), 1)


@dataclass(frozen=True)
class BiasPeaks:
    """Largest |bias| of each channel over all evaluations with the same weights; float64, no gradients.

    stem (w,); a, b (blocks, w); head (24,).
    """

    stem: torch.Tensor
    a: torch.Tensor
    b: torch.Tensor
    head: torch.Tensor


class Graph(nn.Module):
    """What can be trained, rounded and exported: it has the weights of every evaluation.

    form: the kind of checkpoint.  b_set: for each weight set the number of the B that it uses, from 0 without
    gaps.  a, b: convolutions of the blocks; biases by row: stem_bias (rows, w), shift (of A) and offset
    (of B) (rows, blocks, w), head_bias (rows, 24); linear (rows, 6, 12, 3, 3); mixture: logits
    (rows, 2, 3, F) of the level-0 mixtures, for z_1 -> d and for direct coding.  graph: what evaluates, which
    training on a GPU replaces by `compiled`.
    """

    graph: Evaluate = staticmethod(evaluate)
    form: str
    config: NetworkConfig
    b_set: tuple[int, ...]
    a: nn.ParameterList
    b: nn.ParameterList
    stem_bias: nn.Parameter
    shift: nn.Parameter
    offset: nn.Parameter
    head_bias: nn.Parameter
    linear: nn.Parameter
    mixture: nn.Parameter

    def weights(self, scale: int, slot: int, dtype: torch.dtype = torch.float32) -> Weights:
        """Weights of one evaluation; gains are folded in the dtype asked for."""
        raise NotImplementedError

    def bias_peaks(self, scale: int, slot: int) -> BiasPeaks:
        """Largest biases that come with the weights of one evaluation."""
        slots = self.config.slots
        alike = slice(slot, slot + 1) if scale == 0 else slice(slots + slot, None, slots)

        mine = self.config.weight_set(scale, slot)
        sets = [self.config.weight_set(*divmod(r, slots)) for r in range(self.config.scales * slots)]

        def peak(bias: torch.Tensor, rows: slice | list[int]) -> torch.Tensor:
            return bias.detach()[rows].to(torch.float64).abs().amax(0)

        return BiasPeaks(
            peak(self.stem_bias, alike),
            peak(self.shift, alike),
            peak(self.offset, [r for r, own in enumerate(sets) if self.b_set[own] == self.b_set[mine]]),
            peak(self.head_bias, alike),
        )

    def evaluate(
        self, raw: torch.Tensor, scale: int, slot: int, body: torch.dtype = torch.float32
    ) -> torch.Tensor:
        """Head outputs (N, 24, h, w) of one evaluation for int32 inputs `raw` (N, 15, h, w).

        Two parts of 12 channels: mean, log2 scale, coupling, correction of the scale (three components each)
        of the step, and the same for the direct prediction of the band (meaningful at tops only).
        """
        return self.graph(raw, self.weights(scale, slot), body)


class Denoiser(Graph):
    """The cascade's network for all scales, bands and levels (see the module's docstring).

    Parameters are kept for weight sets (2 * slots) and for rows (scales * slots).
    """

    form = "shared"

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.b_set = (0,) * (2 * config.slots)
        w, n, slots = config.width, config.blocks, config.slots
        sets, rows = 2 * slots, config.scales * slots
        generator = torch.Generator().manual_seed(1)

        def normal(*shape: int, std: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=generator) * std)

        gains = torch.exp2(torch.linspace(-2.0, 2.0, w)).view(-1, 1, 1, 1)
        stem = normal(w, FEATURES, 3, 3, std=0.1).data * gains
        for group in (12, 27):  # absolute LL, large and not zero-mean: a little of it, at no gain
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
                after = (1, 2) if step.band == 0 else (2, 1)
                for c in range(6):
                    for tap in ((1, 1), after):
                        linear[cfg.row(scale, step.slot), c, 3 * step.band + c % 3][tap] = -0.06
        return linear

    def blocks(self, own: int) -> slice:
        """Where the blocks of a weight set stand in a and b: those of its B's number, one after the other."""
        first = self.b_set[own] * self.config.blocks
        return slice(first, first + self.config.blocks)

    def weights(self, scale: int, slot: int, dtype: torch.dtype = torch.float32) -> Weights:
        """Shared weights with the gains and biases of the evaluation."""
        own, row = self.config.weight_set(scale, slot), self.config.row(scale, slot)
        gain, blocks = 1 + self.gain[own].to(dtype), self.blocks(own)
        return Weights(
            self.stem.to(dtype) + self.stem_own[own].to(dtype),
            self.stem_bias[row].to(dtype),
            tuple(a.to(dtype) * g.view(-1, 1, 1, 1) for a, g in zip(self.a[blocks], gain, strict=True)),
            self.shift[row].to(dtype),
            tuple(b.to(dtype) for b in self.b[blocks]),
            self.offset[row].to(dtype),
            self.head[own].to(dtype),
            self.head_bias[row].to(dtype),
            self.linear[row].to(dtype),
        )
