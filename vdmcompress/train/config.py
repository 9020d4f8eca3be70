"""Configuration of a training run: a TOML file for each shipped model, only what differs from here."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from vdmcompress.errors import UsageError
from vdmcompress.network import NetworkConfig
from vdmcompress.path import NoisePath


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained.

    steps: optimiser steps in all; the learning rates fall linearly to 2 % over the last `decay` of them.
    seconds: if not 0, the phase takes this time instead, whatever the number of steps.
    batch: samples in a step.  crops: crops of photographs in a sample, which go through one evaluation
    together; one on a CPU, whose caches hold what it takes, many on a GPU.  crop: side of a crop in band
    positions.  scales: probabilities of the scales.
    lr_muon, lr_adam: learning rates of the blocks' convolutions and of everything else.
    decay_muon: weight decay of the blocks' convolutions; without it they grow until activations saturate.
    ema: decay of the averaged weights, the ones that are exported.
    direct_weight: weight of the tops' direct prediction of the band, 1 at scales outside of
    first <= s < last of `chain_scales`, where the default plan codes bands directly and `chain_weight` is
    that of the chains of latents.
    grey: share of grey batches.  held_back: training images kept aside to see over-fitting.
    whole: side in pixels of small images that are trained on whole, alone or cut from mosaics (`small.py`); 0
    for crops of photographs.  group: whole images of a sample at scale 0, four times as many at each coarser
    scale; `batch` is the number of samples then.  neighbours: train for coding with statistics that have had
    long to adapt (`neighbours.py`); only where no band has latents.
    bfloat16: stem and blocks compute in bfloat16 while training, which processors with dot products of that
    type do at up to twice the rate; weights, averages and validation stay in float32.
    stored: train on photographs as a JPEG or a PhotoCD stores them: luma and chroma, mostly at half the
    resolution (`stored.py`).
    recorded: steps of the phase `experts` beside a GPU are recorded once and played (`recorded.py`).
    validate_every, save_every: in steps.  valid_crop: side in pixels of validation images' centre crops.
    """

    steps: int = 10000
    seconds: float = 0
    batch: int = 12
    crops: int = 1
    crop: int = 64
    scales: tuple[float, ...] = (0.60, 0.24, 0.10, 0.06)
    lr_muon: float = 0.005
    lr_adam: float = 0.001
    decay_muon: float = 0.5
    warmup: int = 100
    decay: float = 0.2
    ema: float = 0.998
    direct_weight: float = 0.1
    chain_scales: tuple[int, int] = (0, 99)
    chain_weight: float = 0.25
    grey: float = 0.04
    held_back: int = 8
    validate_every: int = 250
    save_every: int = 100
    valid_crop: int = 256
    whole: int = 0
    group: int = 16
    neighbours: bool = False
    bfloat16: bool = False
    stored: bool = False
    recorded: bool = False
    seed: int = 1

    @property
    def body(self) -> torch.dtype:
        """What stem and blocks compute in."""
        return torch.bfloat16 if self.bfloat16 else torch.float32

    def path_weights(self, scale: int) -> tuple[float, float]:
        """Weights of a chain's steps and of the direct predictions beside them at a scale."""
        first, last = self.chain_scales
        return (1.0, self.direct_weight) if first <= scale < last else (self.chain_weight, 1.0)


@dataclass(frozen=True)
class Schedule:
    """What a phase other than the direct form has of its own; everything else is as in [train]."""

    steps: int
    lr_muon: float
    lr_adam: float
    warmup: int
    decay: float
    ema: float
    seconds: float


@dataclass(frozen=True)
class BeliefConfig(Schedule):
    """Belief form and step grid.

    sigma_low, sigma_high: range of noise levels in grey levels.  top: share of samples without the noisy
    band.  per_octave: candidate levels of the grid in an octave of noise.  most: largest number of
    evaluations K of a band that is tried.  evaluations: K of HL and LH in the path that is written.
    """

    steps: int = 4000
    lr_muon: float = 0.005
    lr_adam: float = 0.001
    warmup: int = 100
    decay: float = 0.2
    ema: float = 0.998
    seconds: float = 0
    sigma_low: float = 0.75
    sigma_high: float = 48.0
    top: float = 0.25
    per_octave: int = 2
    most: int = 5
    evaluations: tuple[int, int] = (3, 3)

    def __post_init__(self) -> None:
        """Raise ValueError for a range without levels, or for evaluations that the grid does not try."""
        if not 0.5 <= self.sigma_low < self.sigma_high <= 128:
            raise ValueError(f"sigma {self.sigma_low} to {self.sigma_high}, allowed are .5 to 128, rising")
        levels = math.floor(self.per_octave * math.log2(self.sigma_high / self.sigma_low)) + 1
        if not 1 <= self.most <= levels + 1:
            raise ValueError(
                f"most {self.most}, allowed are 1 to {levels + 1} with {levels} levels to choose from"
            )
        if not all(1 <= k <= self.most for k in self.evaluations) or len(self.evaluations) != 2:
            raise ValueError(f"evaluations {self.evaluations}, allowed are two numbers from 1 to {self.most}")


@dataclass(frozen=True)
class ExpertsConfig(Schedule):
    """Fine-tuning of a split trunk: blocks for each top of scale 0, and one trunk for all others."""

    steps: int = 3000
    lr_muon: float = 0.0025
    lr_adam: float = 0.0005
    warmup: int = 50
    decay: float = 0.5
    ema: float = 0.995
    seconds: float = 0


@dataclass(frozen=True)
class RoundingConfig(Schedule):
    """Fine-tuning with weights, biases and activations as coded."""

    steps: int = 500
    lr_muon: float = 0.0005
    lr_adam: float = 0.0001
    warmup: int = 20
    decay: float = 0.5
    ema: float = 0.99
    seconds: float = 0


@dataclass(frozen=True)
class CorrectConfig:
    """Correctors of directly coded bands (`correct.py`).

    units, last: units of the first and of the second layer, which 0 leaves out.  images: training images,
    spread over the folders.  positions: of each band of an image, at most.  scales: how many, from the
    finest.  steps, batch, lr: of a row and component of scale 0; at scale s there are steps / (1 + s), or as
    many as see each position `correct.EPOCHS` times.
    """

    units: int = 32
    last: int = 32
    images: int = 128
    positions: int = 12288
    scales: int = 4
    steps: int = 4000
    batch: int = 4096
    lr: float = 0.003
    seed: int = 1


@dataclass(frozen=True)
class RunConfig:
    """A whole configuration: name of the model, what is expected of it, graph and training by phase."""

    name: str
    expected: str
    network: NetworkConfig
    train: TrainConfig
    belief: BeliefConfig = BeliefConfig()
    experts: ExpertsConfig = ExpertsConfig()
    rounding: RoundingConfig = RoundingConfig()
    correct: CorrectConfig = CorrectConfig()

    def scheduled(self, phase: Schedule) -> RunConfig:
        """The same with the steps and rates of a phase in place of those of [train]."""
        own = {f.name: getattr(phase, f.name) for f in fields(Schedule)}
        return replace(self, train=replace(self.train, **own))


def _fill(cls: type[Any], table: dict[str, Any], where: str) -> Any:
    known = {f.name for f in fields(cls)}
    for key in table:
        if key not in known:
            raise UsageError(f"{where}: unknown key {key!r}; known are {', '.join(sorted(known))}")
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in table.items()})


def load_config(path: Path) -> RunConfig:
    """Read a TOML configuration; unknown keys raise UsageError."""
    try:
        table = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: {error}") from error
    tables = {
        "train": TrainConfig,
        "belief": BeliefConfig,
        "experts": ExpertsConfig,
        "rounding": RoundingConfig,
        "correct": CorrectConfig,
    }
    known = ["name", "expected", "network", *tables]
    unknown = table.keys() - set(known)
    if unknown:
        raise UsageError(f"{path}: unknown key {min(unknown)!r}; known are {', '.join(known)}")
    try:
        net = dict(table["network"])
        net["path"] = NoisePath.from_lists(net["path"])
        network: NetworkConfig = NetworkConfig(**net)
        phases = {n: _fill(cls, table.get(n, {}), f"{path} [{n}]") for n, cls in tables.items()}
        return RunConfig(str(table["name"]), str(table.get("expected", "")), network, **phases)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path}: not a training configuration ({error})") from error
