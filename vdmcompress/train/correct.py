"""Phase `correct`: the correctors of directly coded bands (`codec/corrector.py`), for a finished model file.

Nothing of the networks changes. The model codes training images as a file would, with statistics that adapt
over whole bands; at positions drawn from them a small network per row and component learns to move the mean
and the scale so that the code length falls, together with the level-0 mixture. Its weights are then rounded.
"""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from codec import corrector
from vdmcompress.conditionals import band_name
from vdmcompress.diffusion import FACTORS16, mixture_weights
from vdmcompress.engine import Engine, default_threads
from vdmcompress.errors import UsageError
from vdmcompress.model_file import CORRECTOR_TENSORS, SUFFIX, Model, read_model
from vdmcompress.train.augment import augment
from vdmcompress.train.config import CorrectConfig, RunConfig, load_config
from vdmcompress.train.correct_samples import Image, Samples, collect, measure
from vdmcompress.train.data import load_images
from vdmcompress.train.export import mixture16, write_model
from vdmcompress.train.run import Job
from vdmcompress.train.small import load_small, split_small
from vdmcompress.train.stored import drawn

Integers = NDArray[np.int32]

EPOCHS = 16
"""How often a position is seen, at most: few positions are soon known by heart."""

GROUP = 512
"""Small images in the largest group."""


_TOP = 32.0
_MARGIN = 0.1  # what rounding may add to the sizes of a unit's weights


class CorrectorNet(nn.Module):
    """The corrector in float, in the units of the inputs (2^-8), for one component; and its mixture."""

    def __init__(self, units: int, last: int, weights16: NDArray[np.int32], seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)

        def drawn(inputs: int, outputs: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(inputs, outputs, generator=generator) / math.sqrt(inputs))

        self.hidden = drawn(corrector.WIDE if last else corrector.INPUTS, units)
        self.middle = drawn(units, last)
        self.hidden_bias = nn.Parameter(torch.randn(units, generator=generator) * 0.1)
        self.middle_bias = nn.Parameter(torch.randn(last, generator=generator) * 0.1)
        self.output = nn.Parameter(torch.zeros(2, last or units))
        self.output_bias = nn.Parameter(torch.zeros(2))
        self.mixture = nn.Parameter(torch.log(torch.from_numpy(weights16.astype(np.float32)).clamp_min(16)))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Moves of mean, in sigmas, and of scale, in octaves, (n, 2), not clipped; z as in `Samples`."""
        hidden = F.hardtanh(z @ self.hidden + self.hidden_bias, 0.0, _TOP)
        if self.middle.shape[1]:
            hidden = F.hardtanh(hidden @ self.middle + self.middle_bias, 0.0, _TOP)
        return hidden @ self.output.T + self.output_bias

    @torch.no_grad()
    def limit(self) -> None:
        """Keep weights where integers can hold them."""
        for weights in (self.hidden, self.middle, self.output):
            weights.clamp_(-7.99, 7.99)
        most = corrector.SUM_LIMIT / (1 << corrector.WEIGHT_BITS) - _MARGIN
        self.middle.mul_(most / self.middle.abs().sum(0).clamp_min(most))

    def bits(self, z: torch.Tensor, error: torch.Tensor, log2_scale: torch.Tensor) -> torch.Tensor:
        """Code length (n,) of the values whose errors are given."""
        shift, octaves = self(z).unbind(1)
        scale = log2_scale + octaves.clamp(-4, 4)
        residual = (error - shift.clamp(-2, 2) * torch.exp2(log2_scale)).abs()[:, None]
        factors = torch.tensor(FACTORS16, dtype=error.dtype) / 16
        inverse = torch.exp2(-scale)[:, None] / (factors * math.sqrt(2.0))
        mass = 0.5 * (torch.erfc((residual - 0.5) * inverse) - torch.erfc((residual + 0.5) * inverse))
        return -torch.log2((mass * mixture_weights(self.mixture)).sum(1).clamp_min(1e-10))

    @torch.no_grad()
    def integers(self) -> dict[str, Integers]:
        """The tensors of a model file for one component, and the mixture's weights."""

        def fixed(values: torch.Tensor, bits: int, limit: int) -> Integers:
            rounded = np.rint(values.double().numpy() * 2.0**bits).clip(-limit, limit)
            result: Integers = rounded.astype(np.int32)
            return result

        c = corrector
        sums = c.INPUT_BITS + c.WEIGHT_BITS
        results = c.UNIT_BITS + c.OUTPUT_BITS
        return {
            "correct_hidden": fixed(self.hidden, c.WEIGHT_BITS, c.WEIGHT_LIMIT),
            "correct_hidden_bias": fixed(self.hidden_bias, sums, c.BIAS_LIMIT),
            "correct_middle": fixed(self.middle, c.WEIGHT_BITS, c.WEIGHT_LIMIT),
            "correct_middle_bias": fixed(self.middle_bias, c.UNIT_BITS + c.WEIGHT_BITS, c.BIAS_LIMIT),
            "correct_output": fixed(self.output, c.OUTPUT_BITS, c.OUTPUT_LIMIT),
            "correct_output_bias": fixed(self.output_bias, results, c.BIAS_LIMIT),
            "mixture": mixture16(self.mixture),
        }


def fit(
    samples: Samples, config: CorrectConfig, steps: int, weights16: NDArray[np.int32], seed: int
) -> CorrectorNet:
    """Train a corrector; the rate rises for 50 steps and falls over the last 60 %."""
    net = CorrectorNet(config.units, config.last, weights16, seed)
    optimiser = torch.optim.AdamW(net.parameters(), config.lr, weight_decay=1e-4)
    z = torch.from_numpy(samples.z)
    error, log2_scale = torch.from_numpy(samples.error), torch.from_numpy(samples.log2_scale)
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        fall = min(1.0, (steps - step) / (0.6 * steps))
        for group in optimiser.param_groups:
            group["lr"] = config.lr * min(1.0, (step + 1) / 50) * max(0.02, fall)
        chosen = torch.randint(0, len(error), (config.batch,), generator=generator)
        inputs = z[chosen].to(torch.float32) / (1 << corrector.INPUT_BITS)
        loss = net.bits(inputs, error[chosen], log2_scale[chosen]).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        net.limit()
    return net


def with_correctors(model: Model, nets: dict[int, list[CorrectorNet]]) -> Model:
    """The model with correctors, and their mixtures, in the rows that have them."""
    rows = model.scales * model.slots
    tensors = dict(model.tensors)
    one = next(iter(nets.values()))[0].integers()
    for name in CORRECTOR_TENSORS:
        tensors.pop(name, None)
        if one[name].size:
            tensors[name] = np.zeros(
                (rows, 3, *one[name].shape), np.int32 if name.endswith("bias") else np.int16
            )
    tensors["mixture"] = tensors["mixture"].copy()
    for row, components in nets.items():
        for c, net in enumerate(components):
            for name, values in net.integers().items():
                if values.size:
                    tensors[name][(row, 1, c) if name == "mixture" else (row, c)] = values
    return replace(model, tensors=tensors)


def images_of(folders: Sequence[Path], run: RunConfig, valid: bool = False) -> Sequence[Image]:
    """Images to learn from, augmented, or with `valid` to measure on: photographs, or groups of small images.

    Groups are of all sizes up to `GROUP`, so that there is much of the beginning of a strip and of its end.
    """
    config, whole = run.correct, run.train.whole
    if whole:
        small = load_small(list(folders), whole)
        small = small if valid else split_small(small, run.train.held_back)[0]
        stride = max(1, len(small) // config.images)
        small = small[::stride][: config.images]
        sizes = itertools.cycle([GROUP] if valid else [GROUP, *[1] * 24, *[GROUP // 32] * 6])
        edges = itertools.takewhile(lambda edge: edge < len(small), itertools.accumulate(sizes, initial=0))
        cuts = [*edges, len(small)]
        return [small[first:last] for first, last in itertools.pairwise(cuts)]
    images = load_images(list(folders))
    rng = np.random.default_rng(config.seed)
    if not valid:
        stride = max(1, len(images) // config.images)
        images = [augment(image, rng) for image in images[::stride][: config.images]]
    return [drawn(image, rng) for image in images] if run.train.stored else images


def train_correct(config_path: Path, job: Job) -> None:
    """Phase `correct`: reads the model file of `out` (or the job's start), writes it with correctors.

    Raises UsageError where there is no model file.
    """
    run = load_config(config_path)
    config, target = run.correct, job.out / f"{run.name}{SUFFIX}"
    source = job.start or target
    if not source.is_file():
        raise UsageError(f"{source} is not there; export the model first, or name its file with --from")
    job.out.mkdir(parents=True, exist_ok=True)
    images = images_of(job.data_dirs, run)
    began, log = time.monotonic(), (job.out / "correct.jsonl").open("a")

    def write(**entry: Any) -> None:
        entry["seconds"] = round(time.monotonic() - began, 1)
        log.write(json.dumps(entry) + "\n")
        log.flush()
        if job.report is not None:
            job.report({"text": entry.pop("text")} | entry)

    with log:
        model = read_model(source)
        with Engine(model, default_threads(), "cpu") as engine:
            samples = collect(images, engine, config)
        write(text=f"{len(images)} images, {len(samples)} rows")
        nets: dict[int, list[CorrectorNet]] = {}
        for row in sorted(samples):
            parts = samples.pop(row)
            nets[row] = []
            for c in range(3):
                chosen = [image[c] for image in parts if len(image) > c]
                whole = Samples(
                    np.concatenate([s.z for s in chosen]),
                    np.concatenate([s.error for s in chosen]),
                    np.concatenate([s.log2_scale for s in chosen]),
                )
                most = EPOCHS * len(whole.error) // config.batch
                steps = max(1, min(config.steps // (1 + row // model.slots), most))
                nets[row].append(fit(whole, config, steps, model.mixture(row, True)[c], 100 * row + c))
            write(text=f"row {row}: {len(whole.error)} positions", row=row)
        made = write_model(with_correctors(model, nets), target)
        if not job.valid_dirs:
            return
        with Engine(made, default_threads(), "cpu") as engine:
            for row, (before, after, count) in sorted(
                measure(images_of(job.valid_dirs, run, valid=True), engine, config.scales).items()
            ):
                scale, slot = divmod(row, made.slots)
                name = band_name(scale, made.path.steps[slot].band)
                told = f"{name}: {before / count:.4f} bits a value, corrected {after / count:.4f}"
                write(
                    text=f"{told} ({100 * (1 - after / before):.2f} %)",
                    row=row,
                    before=before / count,
                    after=after / count,
                )
