"""Training at a scale that a row can afford: 8x8 pictures, a network of some ten thousand weights, one
thread.

Runs are remembered by their configuration, so that rows which compare with the same run share it.  All runs
of a seed see the same pictures; their networks start from the same weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from vdmcompress.lab.finding import Setting
from vdmcompress.lab.pictures import dead_leaves
from vdmcompress.vdm32 import objective
from vdmcompress.vdm32.config import TrainConfig, Vdm32Config
from vdmcompress.vdm32.data import load_images
from vdmcompress.vdm32.denoiser import Denoiser, DenoiserConfig
from vdmcompress.vdm32.parameterisation import Denoise
from vdmcompress.vdm32.schedule import Linear
from vdmcompress.vdm32.train import Record, Trainer, batch_of, validate

SIDE = 8
TRAINING, HELD_BACK = 3000, 128
NETWORK = DenoiserConfig(width=(16,), depth=(1,), patch=2, preconditioned=True)
TRAIN = TrainConfig(
    steps=160, batch=8, lr=2e-3, warmup=15, ema=0.96, schedule="linear", flip=False, cooldown=0.3
)


@lru_cache(maxsize=4)
def pictures(folder: Path | None, seed: int) -> tuple[Tensor, Tensor]:
    """Levels for training and held back, (N, 3, 8, 8): dead leaves, or crops of a folder of 32x32 mosaics."""
    if folder is None:
        drawn = torch.from_numpy(dead_leaves(TRAINING + HELD_BACK, SIDE, seed))
        return drawn[:TRAINING], drawn[TRAINING:].long()
    images = load_images(folder)
    draw = torch.Generator().manual_seed(seed)
    split = max(1, len(images) // 4)
    parts = []
    for part, count in ((images[:-split], TRAINING), (images[-split:], HELD_BACK)):
        index = torch.randint(len(part), (count,), generator=draw)
        corner = torch.randint(part.shape[2] - SIDE + 1, (count, 2), generator=draw).tolist()
        cut = [
            part[i, :, y : y + SIDE, x : x + SIDE] for i, (y, x) in zip(index.tolist(), corner, strict=True)
        ]
        parts.append(torch.stack(cut))
    return parts[0], parts[1].long()


@dataclass(frozen=True)
class Plan:
    """A run: what differs from `TRAIN`, and how many pictures it trains on (0 for all).

    low, high: part of [0, 1] from which times are drawn; the loss keeps its mean over that part.
    curriculum: low starts at `high` and reaches `low` when this share of the steps is done.
    """

    train: TrainConfig = TRAIN
    network: DenoiserConfig = NETWORK
    few: int = 0
    low: float = 0.0
    high: float = 1.0
    curriculum: float = 0.0


class RangedTrainer(Trainer):
    """A trainer that draws its times from a part of [0, 1], which may change with the step."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(Vdm32Config(plan.network, plan.train))
        self.plan = plan

    @property
    def lowest(self) -> float:
        """Lower end of the times of this step."""
        plan = self.plan
        if not plan.curriculum:
            return plan.low
        done = min(1.0, (self.step + 1) / (plan.curriculum * plan.train.steps))
        return plan.high + (plan.low - plan.high) * done

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Times (n,) within the part, and the weights that keep the mean."""
        t, weights = super().draw(n, generator)
        low = self.lowest
        return low + (self.plan.high - low) * t, weights * (self.plan.high - low)


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run: its trainer and the record of each step."""

    trainer: RangedTrainer
    records: tuple[Record, ...]

    @property
    def averaged(self) -> Denoiser:
        """The network of averaged weights, in evaluation mode."""
        return self.trainer.ema.eval()


def scaled(setting: Setting, plan: Plan) -> Plan:
    """The plan with the setting's scale and seed."""
    steps = setting.times(plan.train.steps, 4)
    return replace(plan, train=replace(plan.train, steps=steps, seed=setting.seed))


def train(setting: Setting, plan: Plan, start: Run | None = None) -> Run:
    """Do a run, or recall it; `start` gives the weights to begin with."""
    return _train(setting.images, scaled(setting, plan), start)


@lru_cache(maxsize=64)
def _train(folder: Path | None, plan: Plan, start: Run | None) -> Run:
    images, _ = pictures(folder, plan.train.seed)
    images = images[: plan.few] if plan.few else images
    trainer = RangedTrainer(plan)
    if start is not None:
        trainer.denoiser.load_state_dict(start.averaged.state_dict())
        trainer.ema.load_state_dict(start.averaged.state_dict())
    records = []
    while trainer.step < plan.train.steps:
        levels, generator = batch_of(images, plan.train, trainer.step)
        records.append(trainer.train_step(levels, generator))
    return Run(trainer, tuple(records))


def score(setting: Setting, denoise: Denoise, held_back: bool = True) -> tuple[float, float]:
    """Continuous-time bound of pictures, bits per dimension, and its standard error."""
    images, valid = pictures(setting.images, setting.seed)
    levels = valid if held_back else images[:HELD_BACK].long()
    return validate(denoise, Linear(), levels, draws=setting.times(4, 2))


def by_level(setting: Setting, denoise: Denoise, points: int) -> tuple[Tensor, Tensor]:
    """gammas (M,) and the mean squared error of the noise at them, of held-back pictures, float64."""
    _, valid = pictures(setting.images, setting.seed)
    gammas = Linear().levels(points - 1)
    draw = torch.Generator().manual_seed(setting.seed)
    return gammas.double(), objective.error_curve(denoise, valid, gammas, draw).double()


def loss_deviation(trainer: Trainer, valid: Tensor, draws: int, seed: int) -> tuple[float, float]:
    """Mean and standard deviation, bpd, of single weighted losses at the times that a trainer draws."""
    generator, parts = torch.Generator().manual_seed(seed), []
    with torch.no_grad():
        for _ in range(draws):
            t, weights = trainer.draw(len(valid), generator)
            x = objective.signal(valid)
            eps = torch.randn(x.shape, generator=generator)
            gamma, rate = trainer.schedule.gamma(t), trainer.schedule.rate(t)
            parts.append(weights * objective.continuous(trainer.denoiser, x, gamma, rate, eps))
    losses = torch.cat(parts)
    return float(losses.mean()), float(losses.std())


def gradient(
    trainer: Trainer, loss: Callable[[Tensor, torch.Generator], Tensor], images: Tensor, batch: int, seed: int
) -> Tensor:
    """Flat gradient of a mean loss over a batch of pictures, by the denoiser's weights."""
    draw = torch.Generator().manual_seed(seed)
    levels = images[torch.randint(len(images), (batch,), generator=draw)].long()
    trainer.denoiser.zero_grad(set_to_none=True)
    torch.autograd.backward(loss(levels, draw).mean())
    return torch.cat(
        [
            torch.zeros(p.numel()) if p.grad is None else p.grad.flatten()
            for p in trainer.denoiser.parameters()
        ]
    )


def noise_scale(gradients: list[Tensor]) -> float:
    """Variance of a gradient over minibatches, by the square of its mean: the gradient noise scale.

    The square of the mean is corrected for the variance of the mean of so few.
    """
    g = torch.stack(gradients).double()
    variance = float(g.var(0).sum())
    mean = float(g.mean(0).square().sum()) - variance / len(g)
    return variance / max(mean, 1e-30)
