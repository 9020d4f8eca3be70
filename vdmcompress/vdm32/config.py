"""Configuration of a training run of the isotropic model: a TOML file with what differs from here."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from vdmcompress.errors import UsageError
from vdmcompress.vdm32.denoiser import DenoiserConfig
from vdmcompress.vdm32.schedule import GAMMA_MAX, GAMMA_MIN, ScheduleKind
from vdmcompress.vdm32.times import Rule

Times = Literal["iid", "low-discrepancy"]
Objective = Literal["vlb", "simple", "hybrid", "weighted"]


@dataclass(frozen=True)
class TrainConfig:
    """How a vdm32 is trained.

    steps, batch: optimiser steps and images in each.  lr, decay, beta_2: of AdamW; rates warm up over
    `warmup` steps and fall linearly to 2 % over the last `cooldown` of all.  ema: of the averaged weights.
    timesteps: T of the discrete bound, 0 for continuous time.  times: how a batch draws t.  sampler: rule
    that bends the draw towards the loss, or "".  schedule, gamma_0, gamma_1: kind and start of gamma(t).
    lr_schedule: rate of its parameters.  freeze_ends: ends stay, the inside may learn. objective: 'vlb';
    'simple', the plain squared error; 'hybrid', Improved DDPM's (needs a learned variance and timesteps);
    'weighted' by the named `weighting`, the uniform one over the last `uniform_last` of the steps. flip:
    mirrored images.  clip: of the gradient's norm.  log_every, save_every, validate_every: in steps.
    """

    steps: int = 2000
    batch: int = 32
    lr: float = 1e-3
    decay: float = 0.01
    beta_2: float = 0.99
    warmup: int = 100
    cooldown: float = 0.3
    ema: float = 0.998
    timesteps: int = 0
    times: Times = "low-discrepancy"
    sampler: Rule | Literal[""] = ""
    schedule: ScheduleKind = "scalar"
    gamma_0: float = GAMMA_MIN
    gamma_1: float = GAMMA_MAX
    lr_schedule: float = 1e-2
    freeze_ends: bool = False
    objective: Objective = "vlb"
    weighting: str = "uniform"
    uniform_last: float = 0.0
    flip: bool = True
    clip: float = 1.0
    seed: int = 0
    log_every: int = 10
    save_every: int = 100
    validate_every: int = 500

    def __post_init__(self) -> None:
        """Raise ValueError for choices that do not go together."""
        if self.objective not in get_args(Objective):
            raise ValueError(f"objective {self.objective!r}; known are {', '.join(get_args(Objective))}")
        if self.objective == "hybrid" and not self.timesteps:
            raise ValueError("the hybrid objective needs timesteps, the T of its chain")
        if self.steps < 1 or self.batch < 1 or self.timesteps < 0:
            raise ValueError("steps and batch must be 1 or more, timesteps 0 or more")


@dataclass(frozen=True)
class Vdm32Config:
    """Network and training together."""

    denoiser: DenoiserConfig = DenoiserConfig()
    train: TrainConfig = TrainConfig()

    def table(self) -> dict[str, dict[str, Any]]:
        """Plain data, for a checkpoint."""
        return {"denoiser": asdict(self.denoiser), "train": asdict(self.train)}


def from_table(table: dict[str, Any], where: str = "the configuration") -> Vdm32Config:
    """A configuration of plain data; UsageError for unknown keys and values that are not allowed."""
    parts: dict[str, type[Any]] = {"denoiser": DenoiserConfig, "train": TrainConfig}
    for key in table.keys() - parts.keys():
        raise UsageError(f"{where}: unknown table {key!r}; known are {', '.join(parts)}")
    made = {}
    for name, cls in parts.items():
        known = {f.name for f in fields(cls)}
        given = table.get(name, {})
        for key in given.keys() - known:
            raise UsageError(f"{where} [{name}]: unknown key {key!r}; known are {', '.join(sorted(known))}")
        try:
            made[name] = cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()})
        except (TypeError, ValueError) as error:
            raise UsageError(f"{where} [{name}]: {error}") from error
    return Vdm32Config(**made)


def load_config(path: Path) -> Vdm32Config:
    """Read a TOML file; UsageError where it is none."""
    try:
        return from_table(tomllib.loads(path.read_text()), str(path))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: {error}") from error
