"""The loss of a batch: the step's own term of the VLB, in bits for each value (DESIGN, "Training")."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vdmcompress.diffusion import gaussian_kl, mixture_code_length, mixture_weights
from vdmcompress.exact import PART
from vdmcompress.network import Belief, Denoiser, NetworkConfig, direct_belief, fused_belief, raw_features
from vdmcompress.path import BandPath, Step
from vdmcompress.train.data import Batch


def draw_chain(d: torch.Tensor, path: BandPath, k: int, generator: torch.Generator) -> torch.Tensor:
    """z_k of a band through the integer chain itself: int32 grey levels, multiples of delta_k; z_0 = d."""
    z = d
    for level in path.levels[:k]:
        noise = torch.randn(z.shape, generator=generator, device=z.device) * level.own_sigma
        z = (torch.round((z + noise) / level.delta) * level.delta).to(torch.int32)
    return z


@dataclass(frozen=True)
class StepInput:
    """Inputs and targets of one evaluation: raw (N, 12, h, w), d and z_k (N, 3, h, w); int32."""

    raw: torch.Tensor
    d: torch.Tensor
    z_k: torch.Tensor


def step_input(
    bands: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor],
    step: Step,
    path: BandPath,
    components: int,
    generator: torch.Generator,
) -> StepInput:
    """What the network sees at a step: ctx clean, the band at level k in its own slot, zeros at the top.

    Grey images (components 1) have no chroma latents: these stay 0.
    """
    ll, hl, lh, hh = bands
    d = (hl, lh, hh)[step.band]
    zero = torch.zeros_like(ll)
    z_k = zero if step.top else draw_chain(d, path, step.k, generator)
    if components == 1 and not step.top:
        z_k = torch.cat((z_k[:, :1], zero[:, 1:]), 1)
    slot_hl = z_k if step.band == 0 else hl
    slot_lh = zero if step.band == 0 else (z_k if step.band == 1 else lh)
    return StepInput(raw_features(ll, slot_hl, slot_lh), d, z_k)


def step_bits(
    outputs: torch.Tensor,
    inputs: StepInput,
    step: Step,
    path: BandPath,
    mixture: torch.Tensor,
    components: int,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Bits of each value (N, C, h, w): of the step's own term, and (tops) of predicting the band directly.

    mixture: logits (2, 3, F) of the level-0 mixtures, for z_1 -> d and for direct coding.  For K = 1 the two
    are one and the second value is None.
    """
    c = components
    d = inputs.d[:, :c].to(torch.float32)
    z = inputs.z_k.to(torch.float32)
    own, other = outputs[:, :PART], outputs[:, PART:]

    def level0(b: Belief, logits: torch.Tensor) -> torch.Tensor:
        weights = mixture_weights(logits)[:c].expand(d.shape[0], -1, -1)
        return mixture_code_length(d - b.mean[:, :c], b.log2_scale[:, :c], b.coupling, weights)

    direct = level0(direct_belief(other, 1), mixture[1]) if step.top else None
    if direct is not None and step.k == 1:
        return direct, None
    below = step.k - 1
    delta = path.delta(below)
    b = direct_belief(own, delta) if step.top else fused_belief(own, path, step.k, z)
    if below == 0:
        return level0(b, mixture[0]), direct
    r = path.retention(step.k)
    centre = (r * z[:, :c] + (1 - r) * d) / delta
    variance = path.variance(below) * (1 - r) / delta**2
    return gaussian_kl(centre - b.mean[:, :c], variance, b.log2_scale[:, :c], b.coupling), direct


def batch_loss(
    model: Denoiser,
    batch: Batch,
    slots: list[int],
    weights: list[float],
    direct_weight: float,
    generator: torch.Generator,
    backward: bool,
) -> dict[int, tuple[float, float | None]]:
    """Weighted mean over the samples of a batch of their steps' terms; slot -> (bits, direct bits) a value.

    slots: sorted evaluation numbers, one a sample; weights: importance weights of the samples.  The samples
    of an evaluation go through the network together; with `backward` their gradients are added up at once, so
    that memory and caches hold one evaluation at a time.
    """
    config: NetworkConfig = model.config
    device = next(model.parameters()).device
    all_bands = [torch.from_numpy(x).to(device) for x in (batch.ll, batch.hl, batch.lh, batch.hh)]
    terms: dict[int, tuple[float, float | None]] = {}
    for slot in sorted(set(slots)):
        chosen = [i for i, s in enumerate(slots) if s == slot]
        step = config.path.steps[slot]
        path = config.path.band(batch.scale, step.band)
        ll, hl, lh, hh = (x[chosen[0] : chosen[-1] + 1] for x in all_bands)
        inputs = step_input((ll, hl, lh, hh), step, path, batch.components, generator)
        outputs = model.evaluate(inputs.raw, batch.scale, slot)
        mixture = model.mixture[config.row(batch.scale, slot)]
        bits, direct = step_bits(outputs, inputs, step, path, mixture, batch.components)
        loss = bits.mean()
        terms[slot] = (float(loss.detach()), None if direct is None else float(direct.detach().mean()))
        if direct is not None:
            loss = loss + direct_weight * direct.mean()
        if backward:
            (loss * (sum(weights[i] for i in chosen) / len(slots))).backward()  # type: ignore[no-untyped-call]
    return terms
