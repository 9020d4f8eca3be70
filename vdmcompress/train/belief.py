"""Belief form: the network predicts N(mu, S) of a band d at any noise level, not the step's own conditional.

For exploring: from one belief follow the costs of all steps between any two levels (`step_grid.py`), by

    p(z_{k-1} | z_k, ctx) = N(r z_k + (1-r) mu, (1-r)^2 S + sigma_{k-1}^2 (1-r) I)
    r = sigma_{k-1}^2 / sigma_k^2

A small network of log sigma gives the gains, shifts and offsets that the direct form keeps for each step, so
that for any one level the graph is the deployable one.
"""

from __future__ import annotations

import dataclasses
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from vdmcompress.diffusion import FACTORS16, WIDE_WEIGHT, mixture_code_length
from vdmcompress.exact import PART
from vdmcompress.head import Belief, direct_belief, fuse
from vdmcompress.network import Denoiser, NetworkConfig, Weights, evaluate
from vdmcompress.path import BANDS, BandPath, NoisePath
from vdmcompress.train.config import BeliefConfig, RunConfig, load_config
from vdmcompress.train.data import Batch
from vdmcompress.train.objective import (
    band_input,
    each_sample,
    latent_bits,
    level0_bits,
    sample_noise,
    step_input,
)
from vdmcompress.train.optimiser import make_optimisers
from vdmcompress.train.run import Data, Job, train_loop
from vdmcompress.train.trainer import BaseTrainer, Terms
from vdmcompress.train.validate import ValidationSet, measured_table

HIDDEN = 64
EMBEDDING = 7
OUTLIERS = 1.0 - WIDE_WEIGHT, WIDE_WEIGHT
"""Weights of the Gaussian and of one eight times as wide, so that no outlier decides S."""


def embedding(sigma: float | None) -> list[float]:
    """Noise level in grey levels (None: no noisy band) as numbers of size 1, `EMBEDDING` and a flag."""
    if sigma is None:
        return [0.0] * EMBEDDING + [1.0]
    t = math.log2(sigma) / 3 - 1
    waves = [f(math.pi * j * t / 2) for j in (1, 2, 3) for f in (math.sin, math.cos)]
    return [t, *waves, 0.0]


class BeliefDenoiser(nn.Module):
    """A `Denoiser` with one slot for each band, conditioned on log sigma."""

    form = "belief"

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        bare = dataclasses.replace(config, path=NoisePath(((BandPath(), BandPath(), BandPath()),)))
        self.net = Denoiser(bare)
        inputs = EMBEDDING + 1 + 2 * len(BANDS)
        self.sizes = [config.width] + 3 * [config.blocks * config.width] + [2 * PART]
        generator = torch.Generator().manual_seed(2)
        self.hidden = nn.Parameter(torch.randn(HIDDEN, inputs, generator=generator) / math.sqrt(inputs))
        self.hidden_bias = nn.Parameter(torch.zeros(HIDDEN))
        self.out = nn.Parameter(torch.zeros(sum(self.sizes), HIDDEN))

    def own_parameters(self) -> list[nn.Parameter]:
        """What comes on top of the `Denoiser`."""
        return [self.hidden, self.hidden_bias, self.out]

    def condition(self, scale: int, band: int, sigma: float | None) -> tuple[torch.Tensor, ...]:
        """Of a noise level: stem bias (w,), factors of gains, shifts, offsets (n, w), head bias (24,)."""
        own = self.net.config.weight_set(scale, band)
        one_hot = [float(i == own) for i in range(2 * len(BANDS))]
        x = torch.tensor(embedding(sigma) + one_hot, device=self.hidden.device)
        found = F.linear(F.silu(F.linear(x, self.hidden, self.hidden_bias)), self.out)
        stem, gain, shift, offset, head = torch.split(found, self.sizes)
        n = self.net.config.blocks
        return stem, 1 + gain.view(n, -1), shift.view(n, -1), offset.view(n, -1), head

    def weights(self, scale: int, band: int, sigma: float | None) -> Weights:
        """The deployable graph of a noise level; sigma in grey levels, None at a top."""
        stem, gains, shift, offset, head = self.condition(scale, band, sigma)
        base = self.net.weights(scale, band)
        return dataclasses.replace(
            base,
            stem_bias=base.stem_bias + stem,
            a=tuple(a * g.view(-1, 1, 1, 1) for a, g in zip(base.a, gains, strict=True)),
            a_bias=base.a_bias + shift,
            b_bias=base.b_bias + offset,
            head_bias=base.head_bias + head,
        )

    def part(self, raw: torch.Tensor, scale: int, band: int, sigma: float | None) -> torch.Tensor:
        """Head outputs (N, 12, h, w) for raw int32 inputs: at a top the second part of the head."""
        outputs = evaluate(raw, self.weights(scale, band, sigma))
        return outputs[:, PART:] if sigma is None else outputs[:, :PART]

    def belief(
        self, raw: torch.Tensor, z: torch.Tensor, scale: int, band: int, sigma: float | None
    ) -> Belief:
        """N(mu, S) of d in grey levels; raw int32 inputs, z (N, 3, h, w)."""
        return believed(self.part(raw, scale, band, sigma), z, sigma)

    def mixture(self, scale: int, band: int, top: bool) -> torch.Tensor:
        """Logits (3, F) of the level-0 mixture around the belief."""
        return self.net.mixture[self.net.config.row(scale, band), int(top)]


def believed(part: torch.Tensor, z: torch.Tensor, sigma: float | None) -> Belief:
    """N(mu, S) of d in grey levels from a part (N, 12, h, w) of the head; z (N, 3, h, w)."""
    if sigma is None:
        return direct_belief(part, 1)
    return fuse(part, z.to(torch.float32), sigma**2, 0.0, 0.0, 1)


def conditional(b: Belief, z: torch.Tensor, r: float, below: float) -> Belief:
    """p(z_{k-1} | z_k, ctx) in grey levels from the belief of d in grey levels.

    z float (N, 3, h, w); r = below / sigma_k^2, 0 at a top; below = sigma_{k-1}^2.  With S = L D L^T, L unit
    lower triangular (rows 1, (a, 1), (b + c a, c, 1) for couplings a, b, c), V = (1-r)^2 S + (1-r) below I is
    factored the same way.
    """
    d0, d1, d2 = torch.exp2(2 * b.log2_scale).unbind(1)
    l10, l21 = b.coupling[:, 0], b.coupling[:, 2]
    l20 = b.coupling[:, 1] + l21 * l10
    keep, noise = (1 - r) ** 2, (1 - r) * below
    v00 = keep * d0 + noise
    v10, v20 = keep * l10 * d0, keep * l20 * d0
    v11 = keep * (l10 * l10 * d0 + d1) + noise
    v21 = keep * (l20 * l10 * d0 + l21 * d1)
    v22 = keep * (l20 * l20 * d0 + l21 * l21 * d1 + d2) + noise
    m10, m20 = v10 / v00, v20 / v00
    e1 = v11 - m10 * v10
    m21 = (v21 - m20 * v10) / e1
    e2 = v22 - m20 * v20 - m21 * m21 * e1
    return Belief(
        r * z + (1 - r) * b.mean,
        0.5 * torch.log2(torch.stack((v00, e1, e2), 1)),
        torch.stack((m10, m20 - m21 * m10, m21), 1),
    )


def in_bins(b: Belief, delta: int) -> Belief:
    """A belief in grey levels in bins of delta grey levels."""
    return Belief(b.mean / delta, b.log2_scale - math.log2(delta), b.coupling)


def noisy(d: torch.Tensor, sigma: float, noise: torch.Tensor) -> torch.Tensor:
    """z int32 with standard deviation sigma around d, on the coarsest grid not above sigma, as levels are.

    noise: standard normal of d's shape.
    """
    delta = 2.0 ** max(math.floor(math.log2(sigma)), 0)
    own = math.sqrt(max(sigma**2 - delta**2 / 12, 0.0))
    return (torch.round((d + own * noise) / delta) * delta).to(torch.int32)


def plain_bits(b: Belief, d: torch.Tensor, components: int) -> torch.Tensor:
    """Code length (N, C, h, w) of d under N(mu, S) with rare outliers: what mu and S are trained by."""
    c = components
    weights = b.mean.new_zeros(d.shape[0], c, len(FACTORS16))
    weights[..., FACTORS16.index(16)], weights[..., -1] = OUTLIERS
    residual = d[:, :c].to(torch.float32) - b.mean[:, :c]
    return mixture_code_length(residual, b.log2_scale[:, :c], b.coupling, weights)


def belief_loss(
    model: BeliefDenoiser,
    batch: Batch,
    bands: list[int],
    sigmas: list[float | None],
    weights: list[float],
    generator: torch.Generator,
    backward: bool,
    pool: ThreadPoolExecutor | None = None,
) -> Terms:
    """Negative log-likelihood of d at each sample's noise level; band -> (bits a value, those at tops).

    bands, sigmas, weights: one a sample.  The level-0 mixtures are fitted beside mu and S and do not move
    them; the bits that are told are theirs.
    """
    device = model.hidden.device
    everything = batch.bands(device)

    def term(i: int) -> tuple[torch.Tensor, float]:
        band, sigma = bands[i], sigmas[i]
        ll, hl, lh, hh = (x[batch.sample(i)] for x in everything)
        clean, z = (hl, lh, hh)[band], None
        if sigma is not None:
            own = sample_noise(generator, i, device)
            z = noisy(clean, sigma, torch.randn(clean.shape, generator=own, device=device))
        inputs = band_input((ll, hl, lh, hh), band, z, batch.components)
        b = model.belief(inputs.raw, inputs.z_k, batch.scale, band, sigma)
        fixed = Belief(b.mean.detach(), b.log2_scale.detach(), b.coupling.detach())
        logits = model.mixture(batch.scale, band, sigma is None)
        shaped = level0_bits(fixed, inputs.d, logits, batch.components).mean()
        loss = plain_bits(b, inputs.d, batch.components).mean() + shaped
        return loss * (weights[i] / len(bands)), float(shaped.detach())

    found = each_sample(term, len(bands), list(model.parameters()), backward, pool)
    terms: Terms = {}
    for band in sorted(set(bands)):
        chosen = [i for i, b in enumerate(bands) if b == band]
        tops = [found[i] for i in chosen if sigmas[i] is None]
        mean = sum(found[i] for i in chosen) / len(chosen)
        terms[band] = (mean, sum(tops) / len(tops) if tops else None)
    return terms


def path_bits(
    model: BeliefDenoiser, path: NoisePath, batch: Batch, slot: int, generator: torch.Generator
) -> tuple[float, float | None]:
    """Bits a value of a step of a path, and of coding directly where it is a top."""
    device = model.hidden.device
    ll, hl, lh, hh = batch.bands(device)
    step, c = path.steps[slot], batch.components
    band = path.band(batch.scale, step.band)
    noise = sample_noise(generator, 0, device)  # the very noise of `batch_loss`
    inputs = step_input((ll, hl, lh, hh), step, band, c, noise)
    sigma = None if step.top else math.sqrt(band.variance(step.k))
    b = model.belief(inputs.raw, inputs.z_k, batch.scale, step.band, sigma)
    logits = model.mixture(batch.scale, step.band, step.top)
    level0 = float(level0_bits(b, inputs.d, logits, c).mean())
    if step.k == 1:
        return level0, None
    z = inputs.z_k.to(torch.float32)
    below = conditional(b, z, band.retention(step.k), band.variance(step.k - 1))
    bits = latent_bits(in_bins(below, band.delta(step.k - 1)), inputs, band, step.k, c)
    return float(bits.mean()), level0 if step.top else None


def path_table(model: BeliefDenoiser, path: NoisePath, images: ValidationSet, scales: int) -> dict[str, Any]:
    """VLB of a path by the conditionals that follow from the belief; table as `validate.bits_table`."""

    def measure(batch: Batch, slot: int, generator: torch.Generator) -> tuple[float, float | None]:
        return path_bits(model, path, batch, slot, generator)

    return measured_table(measure, len(path.steps), images, scales, model.hidden.device)


class BeliefTrainer(BaseTrainer[BeliefDenoiser]):
    """Training in belief form; validation is the VLB of the configuration's path."""

    def __init__(self, config: RunConfig, device: torch.device) -> None:
        cfg = config.train
        model = BeliefDenoiser(config.network).to(device)
        optimisers = make_optimisers(
            model.net, cfg.lr_muon, cfg.lr_adam, cfg.decay_muon, model.own_parameters()
        )
        super().__init__(config, device, model, optimisers, len(BANDS))

    def sigmas(self, bands: list[int]) -> list[float | None]:
        """Noise levels of the samples of this step: evenly over octaves, or none; HH never is noisy."""
        belief: BeliefConfig = self.config.belief
        rng = np.random.default_rng((self.config.train.seed, 11, self.step))
        low, high = math.log(belief.sigma_low), math.log(belief.sigma_high)
        drawn = [(rng.random() < belief.top, math.exp(rng.uniform(low, high))) for _ in bands]
        return [None if top or band == 2 else sigma for band, (top, sigma) in zip(bands, drawn, strict=True)]

    def loss(self, batch: Batch, slots: list[int], weights: list[float], generator: torch.Generator) -> Terms:
        """Gradients of the likelihood of d; a slot is a band."""
        sigmas = self.sigmas(slots)
        return belief_loss(self.model, batch, slots, sigmas, weights, generator, True, self.pool)

    def tables(self, name: str, images: ValidationSet) -> dict[str, dict[str, Any]]:
        """VLB of the configuration's path."""
        return {name: path_table(self.ema, self.config.network.path, images, len(self.config.train.scales))}


def train_belief(config_path: Path, job: Job) -> None:
    """Phase `belief`: checkpoints `belief.pt` and the log `belief.jsonl` go to the run's folder."""
    config = load_config(config_path)
    config = config.scheduled(config.belief)
    checkpoint = job.open("belief")
    trainer = BeliefTrainer(config, job.torch_device())
    if checkpoint.exists():
        trainer.load(checkpoint)
    train_loop(trainer, Data.of(job, config.train), job, checkpoint, job.out / "belief.jsonl")
