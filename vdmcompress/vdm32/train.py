"""Training of the isotropic model, resumable to the step.

    python -m vdmcompress.vdm32.train CONFIG.toml --images FOLDER --out FOLDER [--valid FILE] [--minutes M]

The run folder holds the configuration's plain copy and the state (`state.pt`), the log (`log.jsonl`, one line
a `log_every`) and the averaged weights (`vdm32.safetensors`).  Started again, it goes on where it stopped:
every draw depends on the seed and the step number alone.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vdmcompress.train.trainer import save_atomic
from vdmcompress.vdm32 import objective, times
from vdmcompress.vdm32.checkpoint import build, save
from vdmcompress.vdm32.config import TrainConfig, Vdm32Config, load_config
from vdmcompress.vdm32.data import load_images, spread
from vdmcompress.vdm32.parameterisation import Denoise
from vdmcompress.vdm32.process import Step, diffuse, per_image
from vdmcompress.vdm32.schedule import Schedule
from vdmcompress.vdm32.times import NoiseSampler
from vdmcompress.vdm32.weighting import WEIGHTINGS

Record = dict[str, float]


@dataclass(frozen=True)
class Loss:
    """Losses of a batch: per image (N,) what is minimised and the bound's term, gammas and rates as
    leaves."""

    minimised: Tensor
    diffusion: Tensor
    gamma: Tensor
    rate: Tensor


def rate_scale(step: int, config: TrainConfig) -> float:
    """Factor of the learning rates: warm-up, constant, linear fall to 2 %."""
    start = config.steps * (1.0 - config.cooldown)
    fall = 1.0 if step < start else max(0.02, (config.steps - step) / (config.steps - start))
    return min(1.0, (step + 1) / max(1, config.warmup)) * fall


class Trainer:
    """State of a run: denoiser, schedule, averaged denoiser, optimiser, sampler, step number."""

    def __init__(self, config: Vdm32Config) -> None:
        self.config = config
        self.denoiser, self.schedule = build(config)
        self.ema = copy.deepcopy(self.denoiser)
        cfg = config.train
        free = [p for name, p in self.schedule.named_parameters() if not self._frozen(name)]
        groups: list[dict[str, Any]] = [
            {
                "params": [p for p in self.denoiser.parameters() if p.ndim > 1],
                "weight_decay": cfg.decay,
                "base": cfg.lr,
            },
            {
                "params": [p for p in self.denoiser.parameters() if p.ndim <= 1],
                "weight_decay": 0.0,
                "base": cfg.lr,
            },
        ]
        if free:
            groups.append({"params": free, "weight_decay": 0.0, "base": cfg.lr_schedule})
        self.optimiser = torch.optim.AdamW(groups, lr=cfg.lr, betas=(0.9, cfg.beta_2))
        self.sampler = NoiseSampler(cfg.sampler) if cfg.sampler else None
        self.step = 0
        self.seconds = 0.0

    def _frozen(self, name: str) -> bool:
        return self.config.train.freeze_ends and name in ("b", "w", "gamma_0", "gamma_1")

    def state(self) -> dict[str, Any]:
        """Everything that continuing exactly needs."""
        return {
            "denoiser": self.denoiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "ema": self.ema.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "sampler": self.sampler.table() if self.sampler else {},
            "step": self.step,
            "seconds": self.seconds,
        }

    def load(self, path: Path) -> None:
        """Continue from a state."""
        state = torch.load(path, weights_only=True)
        self.denoiser.load_state_dict(state["denoiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.ema.load_state_dict(state["ema"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.sampler:
            self.sampler.load(state["sampler"])
        self.step, self.seconds = int(state["step"]), float(state["seconds"])

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Times (n,) and the weights that keep the mean."""
        u = (
            times.iid(n, generator)
            if self.config.train.times == "iid"
            else times.low_discrepancy(n, generator)
        )
        return self.sampler.draw(u) if self.sampler else (u, torch.ones(n))

    def loss(self, levels: Tensor, t: Tensor, generator: torch.Generator) -> Loss:
        """Losses of a batch of levels int64 (N, C, H, W) at times t (N,)."""
        cfg = self.config.train
        x = objective.signal(levels)
        eps = torch.randn(x.shape, generator=generator)
        steps = cfg.timesteps
        if steps:
            t = torch.ceil(t * steps).clamp_min(1.0) / steps
        gamma, rate = self.schedule.gamma(t), self.schedule.rate(t)
        leaf, slope = gamma.detach().requires_grad_(), rate.detach().requires_grad_()
        if not steps:
            error = objective.squared_error(self.denoiser, x, leaf, eps)
            bits = 0.5 * slope * objective.bpd(error)
            return Loss(self._weighted(bits, error, leaf), bits, leaf, slope)
        step = Step(per_image(self.schedule.gamma(t - 1.0 / steps)), per_image(gamma))
        prediction = self.denoiser(diffuse(x, per_image(gamma), eps), gamma)
        kind = "learned" if self.config.denoiser.learned_variance else "lower"
        bits = steps * objective.bpd(objective.step_nats(prediction, eps, step, kind))  # type: ignore[arg-type]
        if cfg.objective == "hybrid":
            return Loss(objective.hybrid(prediction, eps, step, steps), bits, gamma, rate)
        return Loss(self._weighted(bits, (eps - prediction.noise) ** 2, gamma), bits, gamma, rate)

    def _weighted(self, bits: Tensor, error: Tensor, gamma: Tensor) -> Tensor:
        cfg = self.config.train
        if cfg.objective == "simple":
            return error.flatten(1).mean(1)
        late = self.step >= cfg.steps * (1.0 - cfg.uniform_last)
        if cfg.objective == "weighted" and not late:
            return bits * WEIGHTINGS[cfg.weighting](gamma.detach())
        return bits

    def train_step(self, levels: Tensor, generator: torch.Generator) -> Record:
        """One optimiser step on a batch; returns what the log wants to know."""
        cfg = self.config.train
        for group in self.optimiser.param_groups:
            group["lr"] = group["base"] * rate_scale(self.step, cfg)
        self.optimiser.zero_grad(set_to_none=True)
        t, weights = self.draw(len(levels), generator)
        loss = self.loss(levels, t, generator)
        (weights * loss.minimised).mean().backward()  # type: ignore[no-untyped-call]
        if cfg.objective == "vlb" and not cfg.timesteps:
            gamma, rate = self.schedule.gamma(t), self.schedule.rate(t)
            pulls = (loss.gamma.grad, loss.rate.grad)
            if gamma.requires_grad and pulls[0] is not None and pulls[1] is not None:
                objective.schedule_gradients(self.schedule, gamma, rate, (pulls[0], pulls[1]), loss.diffusion)
        ends = self._ends(levels, generator)
        norm = nn.utils.clip_grad_norm_(self.denoiser.parameters(), cfg.clip)
        self.optimiser.step()
        with torch.no_grad():
            keep = min(cfg.ema, (self.step + 1) / (self.step + 10))
            for average, current in zip(self.ema.parameters(), self.denoiser.parameters(), strict=True):
                average.lerp_(current, 1.0 - keep)
        if self.sampler:
            self.sampler.update(t, loss.minimised)
        self.step += 1
        diffusion = float((weights * loss.diffusion.detach()).mean())
        return {"bpd": diffusion + ends, "diffusion": diffusion, "ends": ends, "norm": float(norm)}

    def _ends(self, levels: Tensor, generator: torch.Generator) -> float:
        """Prior and reconstruction, which only the schedule's ends change; adds up their gradients.

        They come from an eighth of the batch: 256 logits for each value are much work for two numbers.
        """
        levels = levels[: max(1, len(levels) // 8)]
        x = objective.signal(levels)
        gammas = self.schedule.gamma(torch.tensor([0.0, 1.0]))
        eps = torch.randn(x.shape, generator=generator)
        terms = (objective.prior(x, gammas[1]) + objective.reconstruction(levels, gammas[0], eps)).mean()
        if terms.requires_grad and self.config.train.objective == "vlb" and not self.config.train.freeze_ends:
            terms.backward()  # type: ignore[no-untyped-call]
        return float(terms.detach())


def batch_of(images: Tensor, config: TrainConfig, step: int) -> tuple[Tensor, torch.Generator]:
    """The batch of a step, levels int64, and the generator for all that it draws."""
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
    levels = images[torch.randint(len(images), (config.batch,), generator=generator)].long()
    if config.flip:
        mirrored = torch.rand(len(levels), generator=generator) < 0.5
        levels = torch.where(mirrored[:, None, None, None], levels.flip(3), levels)
    return levels, generator


def validate(
    denoise: Denoise, schedule: Schedule, levels: Tensor, draws: int = 4, seed: int = 1
) -> tuple[float, float]:
    """Continuous-time bound of images, even times with one offset, and its standard error over images."""
    generator = torch.Generator().manual_seed(seed)
    t = torch.stack([times.low_discrepancy(len(levels), generator) for _ in range(draws)])
    t = t[:, torch.randperm(len(levels), generator=generator)]
    parts = [
        objective.evaluate_continuous(
            denoise, levels[i : i + 64], schedule, t[:, i : i + 64], generator
        ).total
        for i in range(0, len(levels), 64)
    ]
    total = torch.cat(parts)
    return float(total.mean()), float(total.std() / len(total) ** 0.5)


def fit(
    trainer: Trainer, images: Tensor, until: int | None = None, each: Callable[[Record], None] | None = None
) -> None:
    """Train up to a step, the configuration's last by default; `each` sees every step's record."""
    last = trainer.config.train.steps if until is None else until
    while trainer.step < last:
        levels, generator = batch_of(images, trainer.config.train, trainer.step)
        record = trainer.train_step(levels, generator)
        if each is not None:
            each(record)


def run(config: Vdm32Config, images: Tensor, valid: Tensor | None, out: Path, minutes: float) -> None:
    """Train in a run folder, for so many minutes at most; goes on from the folder's state."""
    out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(config)
    if (out / "state.pt").exists():
        trainer.load(out / "state.pt")
    started = time.monotonic()
    before = trainer.seconds
    recent: list[Record] = []
    (out / "config.json").write_text(json.dumps(config.table(), indent=1) + "\n")

    def stop() -> bool:
        return time.monotonic() - started > 60.0 * minutes

    def store() -> None:
        trainer.seconds = before + time.monotonic() - started
        save_atomic(trainer.state(), out / "state.pt")
        notes = {"steps": float(trainer.step), "seconds": trainer.seconds}
        save(out / "vdm32.safetensors", trainer.ema, trainer.schedule, config, notes)

    cfg = config.train
    while trainer.step < cfg.steps and not stop():
        levels, generator = batch_of(images, cfg, trainer.step)
        recent.append(trainer.train_step(levels, generator))
        due = trainer.step == cfg.steps
        if trainer.step % cfg.log_every == 0 or due:
            ends = trainer.schedule.end(0.0), trainer.schedule.end(1.0)
            line: dict[str, float] = {k: sum(r[k] for r in recent) / len(recent) for k in recent[0]}
            line |= {"step": trainer.step, "seconds": round(before + time.monotonic() - started, 1)}
            line |= {"gamma_0": float(ends[0].detach()), "gamma_1": float(ends[1].detach())}
            if valid is not None and (trainer.step % cfg.validate_every == 0 or due):
                line["valid_bpd"], line["valid_error"] = validate(trainer.ema, trainer.schedule, valid)
                line["train_bpd"], _ = validate(trainer.ema, trainer.schedule, spread(images, len(valid)))
            with (out / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
            recent.clear()
        if trainer.step % cfg.save_every == 0 or due:
            store()
    store()


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(prog="python -m vdmcompress.vdm32.train", description="Train a vdm32.")
    parser.add_argument("config", type=Path, help="configuration, TOML")
    parser.add_argument("--images", required=True, type=Path, help="folder of mosaics of 32x32 images")
    parser.add_argument("--valid", type=Path, help="mosaic, or folder of mosaics, for validation")
    parser.add_argument("--out", required=True, type=Path, help="run folder")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so many, resumable")
    given = parser.parse_args(arguments)
    torch.set_flush_denormal(True)  # the averages of gradients that vanish would slow the processor down
    valid = None if given.valid is None else spread(load_images(given.valid), 256)
    run(load_config(given.config), load_images(given.images), valid, given.out, given.minutes)
    sys.stdout.write(f"{given.out / 'vdm32.safetensors'}\n")


if __name__ == "__main__":
    main()
