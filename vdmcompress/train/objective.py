"""The loss of a batch: the step's own term of the VLB, in bits for each value (VDM, equation 12)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch

from vdmcompress.diffusion import coupled, gaussian_kl, mixture_code_length, mixture_weights
from vdmcompress.exact import PART
from vdmcompress.head import Belief, direct_belief, fused_belief
from vdmcompress.network import Graph, NetworkConfig, raw_features
from vdmcompress.path import BandPath, Step
from vdmcompress.train.data import Batch, FourBands
from vdmcompress.train.neighbours import Neighbours

T = TypeVar("T")
Found = dict[int, tuple[torch.Tensor, torch.Tensor | None]]
"""slot -> (bits a value, bits a value of the direct prediction), scalars of float64."""

Correction = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""Residuals (coupling taken off), means, log2 scales to residuals and log2 scales; all (N, C, h, w)."""


def draw_chain(d: torch.Tensor, path: BandPath, k: int, generator: torch.Generator) -> torch.Tensor:
    """z_k of a band through the integer chain itself: int32 grey levels, multiples of delta_k; z_0 = d."""
    z = d
    for level in path.levels[:k]:
        noise = torch.randn(z.shape, generator=generator, device=z.device) * level.own_sigma
        z = (torch.round((z + noise) / level.delta) * level.delta).to(torch.int32)
    return z


@dataclass(frozen=True)
class StepInput:
    """Inputs and targets of one evaluation: raw (N, 15, h, w), d and z_k (N, 3, h, w); int32."""

    raw: torch.Tensor
    d: torch.Tensor
    z_k: torch.Tensor


def band_input(
    bands: FourBands,
    band: int,
    z_k: torch.Tensor | None,
    components: int,
) -> StepInput:
    """Inputs with a given noisy band, or None at a top; bands int32 (N, 3, h, w) ll, hl, lh, hh."""
    ll, hl, lh, _ = bands
    zero = torch.zeros_like(ll)
    if z_k is None:
        z_k = zero
    elif components == 1:
        z_k = torch.cat((z_k[:, :1], zero[:, 1:]), 1)
    slot_hl = z_k if band == 0 else hl
    slot_lh = zero if band == 0 else (z_k if band == 1 else lh)
    return StepInput(raw_features(ll, slot_hl, slot_lh), bands[1 + band], z_k)


def step_input(
    bands: FourBands,
    step: Step,
    path: BandPath,
    components: int,
    generator: torch.Generator,
) -> StepInput:
    """What the network sees at a step: ctx clean, the band at level k in its own slot, zeros at the top.

    Grey images (components 1) have no chroma latents: these stay 0.
    """
    z_k = None if step.top else draw_chain(bands[1 + step.band], path, step.k, generator)
    return band_input(bands, step.band, z_k, components)


def step_bits(
    outputs: torch.Tensor,
    inputs: StepInput,
    step: Step,
    path: BandPath,
    mixture: torch.Tensor,
    components: int,
    correct: Correction | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Bits of each value (N, C, h, w): of the step's own term, and (tops) of predicting the band directly.

    mixture: logits (2, 3, F) of the level-0 mixtures, for z_1 -> d and for direct coding.  For K = 1 the two
    are one and the second value is None.  correct: what neighbours tell of direct predictions.
    """
    z = inputs.z_k.to(torch.float32)
    own, other = outputs[:, :PART], outputs[:, PART:]
    direct = None
    if step.top:
        direct = level0_bits(direct_belief(other, 1), inputs.d, mixture[1], components, correct)
    if direct is not None and step.k == 1:
        return direct, None
    b = direct_belief(own, path.delta(step.k - 1)) if step.top else fused_belief(own, path, step.k, z)
    if step.k == 1:
        return level0_bits(b, inputs.d, mixture[0], components), direct
    return latent_bits(b, inputs, path, step.k, components), direct


def level0_bits(
    b: Belief, d: torch.Tensor, logits: torch.Tensor, components: int, correct: Correction | None = None
) -> torch.Tensor:
    """Code length (N, C, h, w) of d int32 (N, 3, h, w) under a mixture of logits (3, F)."""
    c = components
    weights = mixture_weights(logits)[:c].expand(d.shape[0], -1, -1)
    residual = d[:, :c].to(torch.float32) - b.mean[:, :c]
    log2_scale, coupling = b.log2_scale[:, :c], b.coupling
    if correct is not None:
        residual, log2_scale = correct(coupled(residual, coupling), b.mean[:, :c], log2_scale)
        coupling = torch.zeros_like(coupling)
    return mixture_code_length(residual, log2_scale, coupling, weights)


def latent_bits(b: Belief, inputs: StepInput, path: BandPath, k: int, components: int) -> torch.Tensor:
    """KL( q(z_{k-1} | z_k, d) || b ) in bits (N, C, h, w) for k >= 2; b in bins of level k-1."""
    c, delta, r = components, path.delta(k - 1), path.retention(k)
    d, z = inputs.d[:, :c].to(torch.float32), inputs.z_k[:, :c].to(torch.float32)
    centre = (r * z + (1 - r) * d) / delta
    variance = path.variance(k - 1) * (1 - r) / delta**2
    return gaussian_kl(centre - b.mean[:, :c], variance, b.log2_scale[:, :c], b.coupling)


def evaluation_loss(
    model: Graph,
    bands: FourBands,
    where: tuple[int, int, int],
    share: tuple[float, float],
    generator: torch.Generator,
    body: torch.dtype = torch.float32,
    correct: Correction | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Loss of one evaluation; bits a value of its step and, at tops, of the direct prediction, detached.

    where: scale, slot, components.  share: weights of chains' steps and of direct predictions.
    """
    scale, slot, components = where
    config: NetworkConfig = model.config
    step = config.path.steps[slot]
    path = config.path.band(scale, step.band)
    inputs = step_input(bands, step, path, components, generator)
    outputs = model.evaluate(inputs.raw, scale, slot, body)
    mixture = model.mixture[config.row(scale, slot)]
    bits, direct = step_bits(outputs, inputs, step, path, mixture, components, correct)
    loss = (share[0] if path.evaluations > 1 else 1.0) * bits.mean()
    if direct is not None:
        loss = loss + share[1] * direct.mean()
    return loss, bits.detach().mean(), None if direct is None else direct.detach().mean()


def sample_noise(generator: torch.Generator, index: int, device: torch.device) -> torch.Generator:
    """Noise of one sample, which the generator's seed and the sample's number decide."""
    seed = generator.initial_seed() % (1 << 48)
    return torch.Generator(device).manual_seed(seed * 256 + index)


def each_sample(
    term: Callable[[int], tuple[torch.Tensor, T]],
    count: int,
    parameters: list[torch.nn.Parameter],
    backward: bool,
    pool: ThreadPoolExecutor | None,
) -> list[T]:
    """Results of `term` (its loss, its result) for samples 0..count-1, one a task of the pool.

    With `backward` the gradients of the losses are added to the parameters' in the order of the samples,
    whatever the number of threads: one sample a task keeps activations in the caches and two cores busy.
    """
    grad = torch.is_grad_enabled()

    def run(i: int) -> tuple[T, tuple[torch.Tensor | None, ...]]:
        with torch.set_grad_enabled(grad):
            loss, result = term(i)
            return result, torch.autograd.grad(loss, parameters, allow_unused=True) if backward else ()

    found = list((pool.map if pool is not None else map)(run, range(count)))
    for _, gradients in found:
        for parameter, gradient in zip(parameters, gradients, strict=False):
            if gradient is not None:
                parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
    return [result for result, _ in found]


def batch_loss(
    model: Graph,
    batch: Batch,
    slots: list[int],
    weights: list[float],
    direct_weight: float,
    generator: torch.Generator,
    backward: bool,
    pool: ThreadPoolExecutor | None = None,
    chain_weight: float = 1.0,
    neighbours: Neighbours | None = None,
    body: torch.dtype = torch.float32,
) -> Found:
    """Weighted mean over the samples of a batch of their steps' terms; slot -> (bits, direct bits) a value.

    slots: evaluation numbers, one a sample; weights: importance weights of the samples; direct_weight and
    chain_weight: of the tops' direct predictions and of the steps of chains; generator: its seed
    gives each sample a noise of its own.  neighbours: corrections of the direct predictions, trained along.
    body: dtype in which stem and blocks compute.
    With `backward` the gradients are added to the parameters' (`each_sample`).  The bits are tensors, so that
    nothing waits for a device.
    """
    config: NetworkConfig = model.config
    device = next(model.parameters()).device
    bands = batch.bands(device)

    def term(i: int) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor | None]]:
        ll, hl, lh, hh = (x[batch.sample(i)] for x in bands)
        noise = sample_noise(generator, i, device)
        row = config.row(batch.scale, slots[i])
        correct = None if neighbours is None else partial(neighbours.correct, row)
        where, share = (batch.scale, slots[i], batch.components), (chain_weight, direct_weight)
        loss, bits, direct = evaluation_loss(model, (ll, hl, lh, hh), where, share, noise, body, correct)
        return loss * (weights[i] / len(slots)), (bits, direct)

    parameters = [*model.parameters(), *(() if neighbours is None else neighbours.parameters())]
    samples = each_sample(term, len(slots), parameters, backward, pool)
    terms: Found = {}
    for slot in sorted(set(slots)):
        chosen = [sample for s, sample in zip(slots, samples, strict=True) if s == slot]
        direct = [value for _, value in chosen if value is not None]
        mean = torch.stack([bits for bits, _ in chosen]).mean(dtype=torch.float64)
        terms[slot] = (mean, torch.stack(direct).mean(dtype=torch.float64) if direct else None)
    return terms
