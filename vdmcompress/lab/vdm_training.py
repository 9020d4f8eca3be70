"""V9, V10, V16: what training itself shows, with networks of a few thousand parameters on 16x16 crops.

Each compares runs that see the same crops in the same order, with the same number of steps and nearly the
same weights; the claim is about the difference, not about the rate, which is far from what the papers reach.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from vdmcompress.lab.finding import Curve, Finding, Plot, Setting
from vdmcompress.lab.rows_vdm import VDM_ROWS
from vdmcompress.lab.vdm_bound import even_times
from vdmcompress.vdm32 import objective, steps
from vdmcompress.vdm32.config import TrainConfig, Vdm32Config
from vdmcompress.vdm32.data import load_images, spread
from vdmcompress.vdm32.denoiser import DenoiserConfig
from vdmcompress.vdm32.schedule import Linear, Schedule
from vdmcompress.vdm32.train import Trainer, fit

SIDE = 16
NETWORK = DenoiserConfig(width=(16,), depth=(1,), patch=2, preconditioned=True)
TRAINING = TrainConfig(batch=8, lr=4e-3, warmup=20, cooldown=0.4, ema=0.97, schedule="linear", flip=False)


def crops(setting: Setting, n: int) -> tuple[Tensor, Tensor]:
    """Training crops uint8 (N, 3, 16, 16), and n held-out ones as levels: of every tenth image."""
    if setting.images is None:  # `lab.run` has said so already
        raise ValueError("this row needs images")
    images = load_images(setting.images)[:, :, 8 : 8 + SIDE, 8 : 8 + SIDE]
    held_out = torch.arange(len(images)) % 10 == 9
    return images[~held_out], spread(images[held_out], n)


def trained(config: Vdm32Config, images: Tensor) -> Trainer:
    """A run of a configuration, all its steps."""
    trainer = Trainer(config)
    fit(trainer, images)
    trainer.ema.eval()
    return trainer


def score(trainer: Trainer, levels: Tensor, schedule: Schedule | None = None, seed: int = 3) -> float:
    """The continuous bound of the averaged weights, with noise that depends on the seed alone."""
    generator = torch.Generator().manual_seed(seed)
    t = even_times(8, len(levels), generator).float()
    return float(
        objective.evaluate_continuous(
            trainer.ema, levels, schedule or trainer.schedule, t, generator
        ).total.mean()
    )


def v9(setting: Setting) -> Finding:
    """Held-out bound against steps: linear schedule, learned inside, adaptive sampler; three seeds."""
    images, held_out = crops(setting, setting.times(128, 16))
    last = setting.times(240, 4)
    stops = [round(last * share) for share in (0.25, 0.5, 0.75, 1.0)]
    kinds: dict[str, TrainConfig] = {
        "linear": TRAINING,
        "learned inside": replace(TRAINING, schedule="network", freeze_ends=True),
        "adaptive": replace(TRAINING, sampler="adaptive"),
    }
    curves: dict[str, list[list[float]]] = {name: [] for name in kinds}
    for seed in range(3):
        for name, train in kinds.items():
            trainer = Trainer(Vdm32Config(NETWORK, replace(train, steps=last, seed=setting.seed + seed)))
            points = []
            for stop in stops:
                fit(trainer, images, stop)
                points.append(score(trainer, held_out, Linear()))
            curves[name].append(points)
    ends = {name: torch.tensor([c[-1] for c in runs]) for name, runs in curves.items()}
    mean = {name: [sum(c[i] for c in runs) / 3 for i in range(len(stops))] for name, runs in curves.items()}
    ratios = {name: _step_ratio(stops, mean["linear"], mean[name]) for name in ("learned inside", "adaptive")}
    gaps = ends["linear"] - torch.minimum(ends["learned inside"], ends["adaptive"])
    listed = ", ".join(f"{name} {float(v.mean()):.3f} +- {float(v.std()):.3f}" for name, v in ends.items())
    x = tuple(map(float, stops))
    return Finding(
        "V9",
        VDM_ROWS["V9"].claim,
        f"after {last} steps, 3 seeds, held-out bpd: {listed}; the last bpd of the linear schedule is "
        "reached in "
        f"{ratios['learned inside']:.2f} of the steps with a learned inside and in "
        f"{ratios['adaptive']:.2f} with the "
        "adaptive sampler (1 is no gain)",
        bool((gaps > 0).all()),
        {name: float(v.mean()) for name, v in ends.items()}
        | {f"step ratio {name}": value for name, value in ratios.items()},
        (
            Plot(
                "Held-out bpd against optimiser steps", "step", "bpd",
                tuple(Curve(name, x, tuple(values)) for name, values in mean.items()),
            ),
        ),
    )  # fmt: skip


def _step_ratio(stops: list[int], base: list[float], other: list[float]) -> float:
    """Where `other` reaches the last value of `base`, over the last step; 1 where it does not."""
    for i, value in enumerate(other):
        if value <= base[-1]:
            if i == 0:
                return stops[0] / stops[-1]
            share = (other[i - 1] - base[-1]) / (other[i - 1] - value)
            return (stops[i - 1] + share * (stops[i] - stops[i - 1])) / stops[-1]
    return 1.0


def v10(setting: Setting) -> Finding:
    """With and without Fourier features, at gamma_0 = -13.3 and at -8."""
    images, held_out = crops(setting, setting.times(128, 16))
    last = setting.times(300, 4)
    with_features, without = NETWORK, replace(NETWORK, fourier=())
    grid = torch.linspace(-13.3, 5.0, 25)
    scores: dict[str, float] = {}
    errors: dict[str, Tensor] = {}
    for name, network in (("on", with_features), ("off", without)):
        for low in (-13.3, -8.0):
            train = replace(TRAINING, steps=last, gamma_0=low, seed=setting.seed)
            trainer = trained(Vdm32Config(network, train), images)
            scores[f"{name} {low:g}"] = score(trainer, held_out)
            if low == -13.3:
                generator = torch.Generator().manual_seed(5)
                errors[name] = objective.error_curve(trainer.ema, held_out[:32], grid, generator)
    gain, raised = scores["off -13.3"] - scores["on -13.3"], scores["off -8"] - scores["on -8"]
    low_noise = float((errors["off"] - errors["on"])[grid < -7].mean())
    high_noise = float((errors["off"] - errors["on"])[grid >= -7].mean())
    x = tuple(grid.tolist())
    return Finding(
        "V10",
        VDM_ROWS["V10"].claim,
        f"after {last} steps: {scores['on -13.3']:.3f} bpd with, {scores['off -13.3']:.3f} without, a "
        f"gain of {gain:.3f}; "
        f"with gamma_0 = -8 it is {raised:.3f}. Squared error of the noise is lower by {low_noise:.3f} "
        "below gamma = -7, "
        f"by {high_noise:.3f} above",
        gain > 0 and low_noise > high_noise and raised < gain,
        {**scores, "gain": gain, "gain raised": raised},
        (
            Plot(
                "Squared error of the noise", "gamma", "mse",
                tuple(Curve(f"Fourier {k}", x, tuple(v.tolist())) for k, v in errors.items()),
            ),
        ),
    )  # fmt: skip


@torch.no_grad()
def _discrete(trainer: Trainer, levels: Tensor, count: int, seed: int = 4) -> tuple[float, float]:
    """The bound with T steps, by random steps where T is large, and its standard error."""
    generator = torch.Generator().manual_seed(seed)
    gammas = steps.even(trainer.schedule, count).float()
    if count <= 16:
        total = objective.evaluate(trainer.ema, levels, gammas, generator).total
        return float(total.mean()), float(total.std() / math.sqrt(len(total)))
    x = objective.signal(levels)
    runs = []
    for _ in range(8):
        index = (even_times(1, len(x), generator)[0] * count).long().clamp(0, count - 1) + 1
        eps = torch.randn(x.shape, generator=generator)
        runs.append(objective.discrete(trainer.ema, x, gammas, index, eps).mean())
    eps = torch.randn(x.shape, generator=generator)
    ends = objective.prior(x, gammas[-1]) + objective.reconstruction(levels, gammas[0], eps)
    values = torch.stack(runs) + ends.mean()
    return float(values.mean()), float(values.std() / math.sqrt(len(values)))


def v16(setting: Setting) -> Finding:
    """One run with T = 10, one in continuous time, scored at T = 10 and T = 1000."""
    images, held_out = crops(setting, setting.times(128, 16))
    train = replace(TRAINING, steps=setting.times(400, 4), seed=setting.seed)
    runs = {
        "continuous": trained(Vdm32Config(NETWORK, train), images),
        "T 10": trained(Vdm32Config(NETWORK, replace(train, timesteps=10)), images),
        "T 1000": trained(Vdm32Config(NETWORK, replace(train, timesteps=1000)), images),
    }
    ten = {name: _discrete(run, held_out, 10)[0] for name, run in runs.items() if name != "T 1000"}
    many = {name: _discrete(run, held_out, 1000) for name, run in runs.items() if name != "T 10"}
    gap = abs(many["continuous"][0] - many["T 1000"][0])
    return Finding(
        "V16",
        VDM_ROWS["V16"].claim,
        f"after {train.steps} steps each: at T = 10 trained there {ten['T 10']:.3f} bpd, in continuous time "
        f"{ten['continuous']:.3f}; at T = 1000 {many['T 1000'][0]:.3f} and {many['continuous'][0]:.3f} "
        f"+- {many['continuous'][1]:.3f}",
        ten["T 10"] < ten["continuous"] and gap < max(0.02, 3 * many["continuous"][1]),
        {
            "T 10, trained there": ten["T 10"],
            "T 10, continuous": ten["continuous"],
            "T 1000, trained there": many["T 1000"][0],
            "T 1000, continuous": many["continuous"][0],
        },
    )
