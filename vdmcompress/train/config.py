"""Configuration of a training run: a TOML file for each shipped model, only what differs from here."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from vdmcompress.errors import UsageError
from vdmcompress.network import NetworkConfig
from vdmcompress.path import NoisePath


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained.

    steps: optimiser steps in all; the learning rates fall linearly to 2 % over the last `decay` of them.
    batch: crops in a step.  crop: side of a crop in band positions.  scales: probabilities of the scales.
    lr_muon, lr_adam: learning rates of the blocks' convolutions and of everything else.
    decay_muon: weight decay of the blocks' convolutions; without it they grow until activations saturate.
    ema: decay of the averaged weights, the ones that are exported.
    direct_weight: weight of the tops' direct prediction of the band.
    grey: share of grey batches.  held_back: training images kept aside to see over-fitting.
    validate_every, save_every: in steps.  valid_crop: side in pixels of validation images' centre crops.
    """

    steps: int = 10000
    batch: int = 12
    crop: int = 64
    scales: tuple[float, ...] = (0.60, 0.24, 0.10, 0.06)
    lr_muon: float = 0.005
    lr_adam: float = 0.001
    decay_muon: float = 0.5
    warmup: int = 100
    decay: float = 0.2
    ema: float = 0.998
    direct_weight: float = 0.1
    grey: float = 0.04
    held_back: int = 8
    validate_every: int = 250
    save_every: int = 100
    valid_crop: int = 256
    seed: int = 1


@dataclass(frozen=True)
class RunConfig:
    """A whole configuration: name of the model, what is expected of it, graph and training."""

    name: str
    expected: str
    network: NetworkConfig
    train: TrainConfig


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
    unknown = table.keys() - {"name", "expected", "network", "train"}
    if unknown:
        raise UsageError(
            f"{path}: unknown key {min(unknown)!r}; known are name, expected, [network], [train]"
        )
    try:
        net = dict(table["network"])
        net["path"] = NoisePath.from_lists(net["path"])
        network: NetworkConfig = NetworkConfig(**net)
        train: TrainConfig = _fill(TrainConfig, table.get("train", {}), f"{path} [train]")
        return RunConfig(str(table["name"]), str(table.get("expected", "")), network, train)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path}: not a training configuration ({error})") from error
