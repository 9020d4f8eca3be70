"""Where the levels of a band lie best: a dynamic programme over a grid of measured step costs.

The belief form gives the cost of every step from a level t to a level s below it, in bits for each value,

    c(t, s) = KL( q(z_s | z_t, d) || p(z_s | z_t, ctx) ),   c(t, 0) = -log2 p(d | z_t, ctx),

with common noise: all levels of an image see the same standard normal numbers.  A path with K evaluations is
a chain 0 < s_1 < ... < s_{K-1} < top; the cheapest follows from the cheapest ones with K - 1.  Levels are
chosen on every second image and scored on the others.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vdmcompress.diffusion import gaussian_kl
from vdmcompress.errors import UsageError
from vdmcompress.head import Belief
from vdmcompress.path import BANDS, BandPath, Level, NoisePath
from vdmcompress.train.belief import BeliefDenoiser, conditional, noisy, path_table
from vdmcompress.train.config import BeliefConfig, TrainConfig, load_config
from vdmcompress.train.data import load_images, split
from vdmcompress.train.objective import band_input, level0_bits
from vdmcompress.train.run import Job
from vdmcompress.train.small import load_small, split_small
from vdmcompress.train.trainer import load_averaged, load_state
from vdmcompress.train.validate import ValidationSet

Costs = NDArray[np.float64]
"""[from, to]: bits a value of a step; index 0 is the data, 1..J the candidates, J + 1 the top."""


@dataclass(frozen=True)
class Choice:
    """The best levels of a band for K evaluations.

    scale: class of scales (the last one stands for all coarser ones).  levels: standard deviations of z_k
    given d in grey levels.  chosen, scored: bits a value on the images of the choice and on the others.
    """

    scale: int
    band: int
    evaluations: int
    levels: tuple[float, ...]
    chosen: float
    scored: float


def candidates(config: BeliefConfig) -> list[float]:
    """Noise levels that the grid tries, evenly over octaves, in grey levels."""
    count = math.floor(config.per_octave * math.log2(config.sigma_high / config.sigma_low) + 1e-9)
    return [config.sigma_low * 2.0 ** (i / config.per_octave) for i in range(count + 1)]


def step_cost(
    b: Belief, d: torch.Tensor, z: torch.Tensor, noise: float, below: float, components: int
) -> float:
    """c(t, s) for s > 0: mean bits a value.

    b: belief of d at level t; d, z float (N, 3, h, w); noise = sigma_t^2 (inf at the top), below = sigma_s^2.
    """
    r, c = below / noise, components
    p = conditional(b, z, r, below)
    error = r * z + (1 - r) * d - p.mean
    return float(gaussian_kl(error[:, :c], (1 - r) * below, p.log2_scale[:, :c], p.coupling).mean())


@torch.no_grad()
def measure(
    model: BeliefDenoiser, images: ValidationSet, scales: int, band: int, sigmas: list[float]
) -> NDArray[np.float64]:
    """Costs [image, scale, from, to] of a band."""
    size, device = len(sigmas) + 2, model.hidden.device
    costs = np.full((len(images.crops), scales, size, size), np.inf)
    for index in range(len(images.crops)):
        for scale in range(scales):
            batch = images.batch(scale, index)
            bands = batch.bands(device)
            d, c = bands[1 + band], batch.components
            generator = torch.Generator(device).manual_seed(1_000 * index + 10 * scale + band)
            common = torch.randn(d.shape, generator=generator, device=device)
            for t in range(1, size):
                sigma = sigmas[t - 1] if t <= len(sigmas) else None
                z = None if sigma is None else noisy(d, sigma, common)
                inputs = band_input(bands, band, z, c)
                b = model.belief(inputs.raw, inputs.z_k, scale, band, sigma)
                logits = model.mixture(scale, band, sigma is None)
                costs[index, scale, t, 0] = float(level0_bits(b, d, logits, c).mean())
                noise = math.inf if sigma is None else sigma**2
                seen, clean = inputs.z_k.to(torch.float32), d.to(torch.float32)
                for s in range(1, t):
                    costs[index, scale, t, s] = step_cost(b, clean, seen, noise, sigmas[s - 1] ** 2, c)
    return costs


def best_chains(costs: Costs, most: int) -> list[list[int]]:
    """For K = 1..most the indices of the cheapest chain's levels, from little noise to much."""
    size = len(costs)
    best: list[tuple[float, list[int]]] = [(math.inf, [])] * size
    best[0] = (0.0, [])
    chains = []
    for _ in range(most):
        reached: list[tuple[float, list[int]]] = [(math.inf, [])] * size
        for t in range(1, size):
            total, s = min((best[s][0] + costs[t, s], s) for s in range(t))
            reached[t] = (total, [*best[s][1], t])
        chains.append(reached[-1][1][:-1])
        best = reached
    return chains


def chain_cost(costs: Costs, levels: list[int]) -> float:
    """Bits a value of a chain of levels."""
    stops = [0, *levels, len(costs) - 1]
    return float(sum(costs[t, s] for s, t in zip(stops, stops[1:], strict=False)))


def choose(
    costs: NDArray[np.float64], band: int, sigmas: list[float], classes: int, most: int
) -> list[Choice]:
    """Best levels of a band by class of scales and K; costs [image, scale, from, to], even images choose."""
    found = []
    for scale in range(classes):
        chosen_scales = range(scale, costs.shape[1] if scale == classes - 1 else scale + 1)
        share = np.array([4.0 ** -(s - scale) for s in chosen_scales])
        mean = np.tensordot(costs[:, list(chosen_scales)], share / share.sum(), axes=(1, 0))
        even, odd = mean[0::2].mean(0), mean[1::2].mean(0)
        for k, chain in enumerate(best_chains(even, most if band < 2 else 1), start=1):
            levels = tuple(sigmas[i - 1] for i in chain)
            found.append(Choice(scale, band, k, levels, chain_cost(even, chain), chain_cost(odd, chain)))
    return found


def as_levels(sigmas: tuple[float, ...]) -> BandPath:
    """Integer levels (log2 of the grid, scale index) with standard deviations near those asked for.

    Each grid is the coarsest power of two not above sigma_k that leaves q(z_k | z_{k-1}) a standard deviation
    of half a bin or more.
    """
    levels: list[Level] = []
    for sigma in sigmas:
        lower = BandPath(tuple(levels)).variance(len(levels))
        grid = min(max(math.floor(math.log2(sigma)), 0), 6)
        while grid > 0 and sigma**2 - lower - 4.0**grid / 12 < 4.0**grid / 4:
            grid -= 1
        own = math.sqrt(max(sigma**2 - lower - 4.0**grid / 12, 4.0**grid / 16)) / 2.0**grid
        levels.append(Level(grid, min(max(round(32 + 8 * math.log2(own)), 0), 127)))
    return BandPath(tuple(levels))


def path_of(choices: list[Choice], evaluations: tuple[int, int]) -> NoisePath:
    """The path with so many evaluations of HL and LH; HH is coded directly."""
    wanted = (*evaluations, 1)
    found = {(c.scale, c.band): as_levels(c.levels) for c in choices if c.evaluations == wanted[c.band]}
    classes = 1 + max(c.scale for c in choices)
    lists = [[[[v.grid, v.scale] for v in found[s, b].levels] for b in range(3)] for s in range(classes)]
    return NoisePath.from_lists(lists)


def path_toml(path: NoisePath) -> str:
    """The path as configurations have it."""
    rows = "\n".join(f"  {json.dumps(bands)}," for bands in path.to_lists())
    return f"path = [\n{rows}\n]\n"


def summary(choices: list[Choice]) -> list[str]:
    """A line for each band and class of scales: the levels and their costs by K."""
    lines = []
    for c in choices:
        levels = ", ".join(f"{s:.2f}" for s in c.levels) or "none"
        lines.append(
            f"scale {c.scale} {BANDS[c.band]} K={c.evaluations}: sigma {levels}; "
            f"{c.chosen:.4f} bits a value, {c.scored:.4f} on other images"
        )
    return lines


def load_belief(checkpoint: Path, model: BeliefDenoiser) -> BeliefDenoiser:
    """Averaged weights of a belief checkpoint; UsageError where it holds another model."""
    state = load_state(checkpoint, model.hidden.device)
    if state.get("form") != model.form:
        raise UsageError(f"{checkpoint} is not in belief form; train one with --phase belief")
    return load_averaged(model, state, checkpoint)


def grid_images(job: Job, cfg: TrainConfig) -> ValidationSet:
    """Crops to measure on: the validation folders', else the held-back training images'; two at least.

    Whole small images are measured one by one, so that levels are chosen for each.
    """
    crop = cfg.whole or cfg.valid_crop
    folders = list(job.valid_dirs or job.data_dirs)
    if cfg.whole:
        small = load_small(folders, cfg.whole)
        small = small if job.valid_dirs else split_small(small, cfg.held_back)[1]
        found = ValidationSet(tuple(small))
    else:
        images = load_images(folders)
        images = images if job.valid_dirs else split(images, cfg.held_back)[1]
        found = ValidationSet.of(images, crop)
    if len(found.crops) < 2:
        raise UsageError(f"{len(found.crops)} images of {crop} pixels to choose levels on, two are needed")
    return found


def run_grid(config_path: Path, job: Job) -> None:
    """Phase `grid`: reads a belief checkpoint, writes `grid.json` and `path.toml` to the run's folder.

    The report gets entries with the key text, a line each.
    """
    config = load_config(config_path)
    own, scales = config.belief, len(config.train.scales)
    model = BeliefDenoiser(config.network).to(job.torch_device())
    load_belief(job.start or job.out / "belief.pt", model)
    images = grid_images(job, config.train)
    sigmas, classes = candidates(own), len(config.network.path.scales)
    choices: list[Choice] = []
    for band in range(len(BANDS)):
        costs = measure(model, images, scales, band, sigmas if band < 2 else [])
        choices += choose(costs, band, sigmas, classes, own.most)
    path = path_of(choices, own.evaluations)
    others = ValidationSet(images.crops[1::2])
    paths: list[dict[str, Any]] = [
        {"path": p.to_lists(), "bpd_on_other_images": path_table(model, p, others, scales)["bpd"]}
        for p in (path, config.network.path)
    ]
    result = {
        "candidates": sigmas,
        "choices": [vars(c) for c in choices],
        "best": paths[0],
        "configured": paths[1],
    }
    job.out.mkdir(parents=True, exist_ok=True)
    (job.out / "grid.json").write_text(json.dumps(result, indent=1) + "\n")
    (job.out / "path.toml").write_text(path_toml(path))
    if job.report is not None:
        best, configured = (p["bpd_on_other_images"] for p in paths)
        lines = [*summary(choices), f"{best:.4f} bpd on other images ({configured:.4f} with the path of the"]
        for line in [*lines[:-1], lines[-1] + " configuration)", path_toml(path).rstrip()]:
            job.report({"text": line})
