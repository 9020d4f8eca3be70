"""How a phase begins: models from checkpoints, and the direct form from a belief."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import torch

from vdmcompress.errors import UsageError
from vdmcompress.exact import PART
from vdmcompress.head import SCALE_CENTRE, SCALE_UNIT, fuse
from vdmcompress.network import Denoiser, NetworkConfig
from vdmcompress.path import BandPath, Step
from vdmcompress.train.belief import BeliefDenoiser, believed, conditional
from vdmcompress.train.config import RunConfig
from vdmcompress.train.objective import step_input
from vdmcompress.train.trainer import load_averaged, load_state
from vdmcompress.train.validate import ValidationSet

CROPS = 4
"""Images on which the spread of the steps' conditionals is measured."""


def load_graph(checkpoint: Path, config: NetworkConfig) -> Denoiser:
    """Averaged weights of a checkpoint of the phases direct, experts or rounding, on the CPU.

    One of fewer blocks or channels is made as deep and as wide as the configuration asks (`deepen`, `widen`);
    of a direct form with latents the direct predictions are kept where the configuration has none
    (`direct_only`).  Raises UsageError where the checkpoint is in belief form or has another graph than the
    configuration.
    """
    from vdmcompress.train.experts import Experts

    state = load_state(checkpoint, torch.device("cpu"))
    form = state.get("form", Denoiser.form)
    if form not in (Denoiser.form, Experts.form):
        raise UsageError(f"{checkpoint} is in {form} form; give a checkpoint of the direct form")
    split = form == Experts.form
    if not split:
        state["ema"] = direct_only(state["ema"], config)
    made: type[Denoiser] = Experts if split else Denoiser
    groups = 1 + max(made(replace(config, blocks=1)).b_set)
    blocks = sum(name.startswith("a.") for name in state["ema"]) // groups
    width = len(state["ema"].get("stem", ()))
    size = replace(
        config,
        blocks=blocks if 0 < blocks < config.blocks else config.blocks,
        width=width if 0 < width < config.width else config.width,
    )
    model = load_averaged(made(size), state, checkpoint)
    if model.config.width < config.width:
        model = widen(model, config.width)
    return deepen(model, config.blocks) if model.config.blocks < config.blocks else model


def direct_only(ema: dict[str, torch.Tensor], config: NetworkConfig) -> dict[str, torch.Tensor]:
    """A direct form's state without the evaluations that read latents, for a path without any.

    Only the bands' tops learn direct predictions: in all other rows the biases of that part are the zeros
    that they began with.  Returns the state as it is where the path has latents or nothing is to be dropped.
    """
    stem, bias = ema.get("stem_own"), ema.get("head_bias")
    if any(not step.top or step.k > 1 for step in config.path.steps) or stem is None or bias is None:
        return ema
    slots = stem.shape[0] // 2
    learned = bias.view(-1, slots, 2 * PART)[:, :, PART:].abs().amax((0, 2)) > 0
    tops = [slot for slot in range(slots) if learned[slot]]
    if len(tops) != config.slots or slots == config.slots:
        return ema
    by_slot = ("stem_own", "stem_bias", "gain", "shift", "offset", "head", "head_bias", "linear", "mixture")
    kept = dict(ema)
    for name in by_slot:
        rows = ema[name].view(-1, slots, *ema[name].shape[1:])
        kept[name] = rows[:, tops].flatten(0, 1)
    return kept


@torch.no_grad()
def deepen(shallow: Denoiser, blocks: int) -> Denoiser:
    """The same function with more blocks: the new ones come last in each group and their B is zero.

    A network that has used up its size goes on from where it is (Net2Net, Chen et al. 2016).
    """
    made, n = type(shallow)(replace(shallow.config, blocks=blocks)), shallow.config.blocks
    old = dict(shallow.named_parameters())
    for name, to in made.named_parameters():
        kind, _, index = name.rpartition(".")
        group, block = divmod(int(index), blocks) if kind else (0, 0)
        if name in ("gain", "shift", "offset"):
            to[:, :n].copy_(old[name])
        elif block < n:
            to.copy_(old[f"{kind}.{group * n + block}" if kind else name])
        elif kind == "b":
            to.zero_()
    return made


@torch.no_grad()
def widen(narrow: Denoiser, width: int) -> Denoiser:
    """The same function with more channels: nothing reads the new ones at first, which begin at random.

    Net2Net (Chen et al. 2016), with weights of zero instead of copies of channels.
    """
    made, n = type(narrow)(replace(narrow.config, width=width)), narrow.config.width
    old = dict(narrow.named_parameters())
    by_width = {"stem": 0, "stem_own": 1, "stem_bias": 1, "gain": 2, "shift": 2, "offset": 2}
    for name, to in made.named_parameters():
        kind = name.partition(".")[0]
        if kind in ("a", "b"):
            to[:n, n:] = 0
            to[:n, :n] = old[name]
        elif kind == "head":
            to[..., n:] = 0
            to[..., :n] = old[name]
        elif kind in by_width:
            to.narrow(by_width[kind], 0, n).copy_(old[name])
        else:
            to.copy_(old[name])
    return made


def start_direct(checkpoint: Path, config: RunConfig, images: ValidationSet) -> Denoiser:
    """A model in direct form to begin with, from a checkpoint in direct or in belief form.

    images: a few crops, for what only measuring tells (`from_belief`).
    """
    from vdmcompress.train.step_grid import load_belief

    if not images.crops:
        raise UsageError(
            "no images are held back; a direct form that begins with another needs [train] held_back"
        )
    if load_state(checkpoint, torch.device("cpu")).get("form") != BeliefDenoiser.form:
        return load_graph(checkpoint, config.network)
    belief = load_belief(checkpoint, BeliefDenoiser(config.network))
    return from_belief(belief, config.network, images)


@torch.no_grad()
def from_belief(belief: BeliefDenoiser, config: NetworkConfig, images: ValidationSet) -> Denoiser:
    """The direct form of a belief on a path.

    Trunk, means, and the whole conditional of the data given z_1 are the belief's own.  Couplings and scales
    of the other steps, where sigma_{k-1}^2 (1-r) I is added to S, are fitted to what the belief gives on the
    images.
    """
    made = Denoiser(config)
    made.stem.copy_(belief.net.stem)
    for to, value in zip((*made.a, *made.b), (*belief.net.a, *belief.net.b), strict=True):
        to.copy_(value)
    for scale in reversed(range(config.scales)):  # finer scales last: their gains count where sets are shared
        for step in config.path.steps:
            _fill_row(made, belief, scale, step, images)
    return made


def _fill_row(made: Denoiser, belief: BeliefDenoiser, scale: int, step: Step, images: ValidationSet) -> None:
    """Set all that an evaluation has of its own."""
    config, net = made.config, belief.net
    own, row = config.weight_set(scale, step.slot), config.row(scale, step.slot)
    theirs = net.config.weight_set(scale, step.band)
    path = config.path.band(scale, step.band)
    sigma = None if step.top else math.sqrt(path.variance(step.k))
    w, gains = belief.weights(scale, step.band, sigma), belief.condition(scale, step.band, sigma)[1]
    made.stem_own[own].copy_(net.stem_own[theirs])
    made.gain[own].copy_((1 + net.gain[theirs]) * gains - 1)
    for to, value in ((made.stem_bias, w.stem_bias), (made.shift, w.a_bias), (made.offset, w.b_bias)):
        to[row].copy_(value)
    made.head[own].copy_(w.head)
    made.head_bias[row].copy_(w.head_bias)
    made.linear[row].copy_(w.linear)
    made.mixture[row].copy_(net.mixture[net.config.row(scale, step.band)])
    if step.k == 1:
        return
    source = slice(PART, 2 * PART) if step.top else slice(0, PART)
    slope, shift = _fit(belief, scale, step, path, images)
    made.head[own][:PART] = w.head[source] * slope[:, None]
    made.head_bias[row][:PART] = w.head_bias[source] * slope + shift
    made.linear[row][:3] = w.linear[source.start // 4 : source.start // 4 + 3]


def _fit(
    belief: BeliefDenoiser, scale: int, step: Step, path: BandPath, images: ValidationSet
) -> tuple[torch.Tensor, torch.Tensor]:
    """Slopes and shifts (12,) from a part of the belief's head to that of p(z_{k-1} | z_k, ctx), k > 1."""
    noise, below = math.inf if step.top else path.variance(step.k), path.variance(step.k - 1)
    have: list[torch.Tensor] = []
    want: list[torch.Tensor] = []
    generator = torch.Generator().manual_seed(3)
    for index in range(min(CROPS, len(images.crops))):
        batch = images.batch(scale, index)
        ll, hl, lh, hh = batch.bands(torch.device("cpu"))
        inputs = step_input((ll, hl, lh, hh), step, path, batch.components, generator)
        z = inputs.z_k.to(torch.float32)
        sigma = None if step.top else math.sqrt(noise)
        y = belief.part(inputs.raw, scale, step.band, sigma)
        p = conditional(believed(y, z, sigma), z, below / noise, below)
        target = y.clone()
        target[:, 6:9] = p.coupling
        if step.top:
            target[:, 3:6] = (p.log2_scale - SCALE_CENTRE) / SCALE_UNIT
        else:
            uncorrected = torch.cat((y[:, :9], 0 * y[:, 9:]), 1)
            plain = fuse(uncorrected, z, noise, below, below / noise, 1)
            target[:, 9:12] = p.log2_scale - plain.log2_scale
        have.append(y.transpose(0, 1).flatten(1))
        want.append(target.transpose(0, 1).flatten(1))
    x, t = torch.cat(have, 1), torch.cat(want, 1)
    x0, t0 = x.mean(1, keepdim=True), t.mean(1, keepdim=True)
    slope = ((x - x0) * (t - t0)).sum(1) / ((x - x0).square().sum(1) + 1e-6)
    return slope, (t0 - x0 * slope[:, None])[:, 0]
