"""The training loop: resumable, one writer, checkpoints and a log in the run's folder."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vdmcompress.errors import UsageError
from vdmcompress.model_file import SUFFIX
from vdmcompress.network import Denoiser
from vdmcompress.train.config import RunConfig, TrainConfig, load_config
from vdmcompress.train.data import batches, load_images, split
from vdmcompress.train.export import export
from vdmcompress.train.objective import batch_loss
from vdmcompress.train.optimiser import make_optimisers, set_rates
from vdmcompress.train.validate import ValidationSet, bits_table

Report = Callable[[dict[str, Any]], None]


def rate_scale(step: int, config: TrainConfig) -> float:
    """Factor of the learning rates at a step: warm-up, constant, then linear decay to 2 %."""
    start = config.steps * (1 - config.decay)
    fall = 1.0 if step < start else max(0.02, (config.steps - step) / (config.steps - start))
    return min(1.0, (step + 1) / config.warmup) * fall


class StepSampler:
    """Draws evaluations (slots) in proportion to their expected loss, mixed with the uniform distribution.

    One rule for what VDM's variance minimisation, VDM++'s adaptive schedule and Improved DDPM's importance
    sampling aim at: noise levels that contribute more are visited more, and weights keep the objective the
    VLB.
    """

    def __init__(self, scales: int, slots: int) -> None:
        self.mean = np.ones((scales, slots))

    def chances(self, scale: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Probabilities of the slots of a scale, at least half of uniform."""
        m = self.mean[scale]
        chance: np.ndarray[Any, np.dtype[np.float64]] = 0.5 / m.size + 0.5 * m / m.sum()
        return chance

    def update(self, scale: int, slot: int, bits: float) -> None:
        """Take a measured loss into the running mean."""
        self.mean[scale, slot] += 0.02 * (max(bits, 0.0) - self.mean[scale, slot])


def save_atomic(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint so that the old one or the whole new one is there at any time."""
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


class Trainer:
    """State of a run: model, averaged weights, optimisers, sampler, step number."""

    def __init__(self, config: RunConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        self.model = Denoiser(config.network).to(device)
        self.ema = Denoiser(config.network).to(device)
        self.ema.load_state_dict(self.model.state_dict())
        self.optimisers = make_optimisers(
            self.model, config.train.lr_muon, config.train.lr_adam, config.train.decay_muon
        )
        self.sampler = StepSampler(len(config.train.scales), config.network.slots)
        self.step = 0
        self.seconds = 0.0

    def state(self) -> dict[str, Any]:
        """Everything that continuing exactly needs."""
        return {
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimisers": [o.state_dict() for o in self.optimisers],
            "sampler": torch.from_numpy(self.sampler.mean),
            "step": self.step,
            "seconds": self.seconds,
        }

    def load(self, path: Path) -> None:
        """Continue from a checkpoint."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.sampler.mean = state["sampler"].numpy()
        self.step, self.seconds = int(state["step"]), float(state["seconds"])

    def train_step(self, batch: Any) -> dict[str, Any]:
        """One optimiser step on a batch; returns what the log wants to know."""
        cfg = self.config.train
        n = batch.ll.shape[0]
        rng = np.random.default_rng((cfg.seed, 7, self.step))
        chance = self.sampler.chances(batch.scale)
        slots = np.sort(rng.choice(chance.size, n, p=chance))
        share = 0.75 * 4.0**-batch.scale if batch.scale < len(cfg.scales) - 1 else 4.0**-batch.scale
        weights = share / cfg.scales[batch.scale] / (chance.size * chance[slots])
        generator = torch.Generator(self.device).manual_seed(cfg.seed * 1_000_003 + self.step)
        set_rates(self.optimisers, cfg.lr_muon, cfg.lr_adam, rate_scale(self.step, cfg))
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        terms = batch_loss(
            self.model, batch, slots.tolist(), weights.tolist(), cfg.direct_weight, generator, backward=True
        )
        others = [p for g in self.optimisers[1].param_groups for p in g["params"]]
        norm = float(torch.nn.utils.clip_grad_norm_(others, 1.0))
        for optimiser in self.optimisers:
            optimiser.step()
        with torch.no_grad():
            decay = min(cfg.ema, (self.step + 1) / (self.step + 10))
            for average, current in zip(self.ema.parameters(), self.model.parameters(), strict=True):
                average.lerp_(current, 1 - decay)
        for slot, (bits, _) in terms.items():
            self.sampler.update(batch.scale, slot, bits)
        self.step += 1
        return {"scale": batch.scale, "terms": terms, "norm": norm}


def main(
    config_path: Path,
    data_dirs: list[Path],
    out: Path,
    resume: bool = False,
    minutes: float | None = None,
    device: str = "auto",
    valid_dirs: list[Path] | None = None,
    report: Report | None = None,
) -> None:
    """Train a model; checkpoints (`last.pt`), `log.jsonl` and the exported model file go to `out`.

    valid_dirs: images on which validation bpd is measured (the held-back training images always are).
    report: called with a dictionary a step (keys step, steps, seconds, mpx_per_second, bpd, ...).
    """
    config = load_config(config_path)
    cfg = config.train
    where = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    checkpoint = out / "last.pt"
    if checkpoint.exists() and not resume:
        raise UsageError(f"{checkpoint} exists; continue it with --resume or choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(config, where)
    if resume and checkpoint.exists():
        trainer.load(checkpoint)
    images, held_back = split(load_images(data_dirs), cfg.held_back)
    sets = {"held_back": ValidationSet.of(held_back, cfg.valid_crop)}
    sets["held_back_wild"] = ValidationSet.of(held_back, cfg.valid_crop, wild=True)
    if valid_dirs:
        sets["valid"] = ValidationSet.of(load_images(valid_dirs), cfg.valid_crop)
    stop = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
    source = batches(images, cfg.batch, cfg.crop, cfg.scales, cfg.grey, cfg.seed, trainer.step)
    with (out / "log.jsonl").open("a") as log:

        def write(entry: dict[str, Any]) -> None:
            log.write(json.dumps(entry) + "\n")
            log.flush()
            if report is not None:
                report(entry)

        running: dict[str, float] = {}
        while trainer.step < cfg.steps and time.monotonic() < stop:
            began = time.monotonic()
            batch = next(source)
            info = trainer.train_step(batch)
            took = time.monotonic() - began
            trainer.seconds += took
            for slot, (bits, direct) in info["terms"].items():
                for key, value in ((f"s{batch.scale}.{slot}", bits), (f"s{batch.scale}.{slot}d", direct)):
                    if value is not None:
                        running[key] = running.get(key, value) + 0.03 * (value - running.get(key, value))
            last = trainer.step >= cfg.steps or time.monotonic() >= stop
            if trainer.step % 10 == 0 or last:
                rate = batch.ll.shape[0] * batch.ll.shape[2] * batch.ll.shape[3] * 4e-6 / took
                eta = (cfg.steps - trainer.step) * trainer.seconds / trainer.step
                total = sum(v * 4.0 ** -(int(k[1]) + 1) for k, v in running.items() if not k.endswith("d"))
                write(
                    {"step": trainer.step, "steps": cfg.steps, "seconds": round(trainer.seconds, 1)}
                    | {"mpx_per_second": round(rate, 3), "eta_seconds": round(eta), "bpd": round(total, 4)}
                    | {"norm": round(info["norm"], 3), "rate": round(rate_scale(trainer.step, cfg), 3)}
                    | {"terms": {k: round(v, 4) for k, v in sorted(running.items())}}
                )
            if trainer.step % cfg.validate_every == 0 or last:
                for name, images_set in sets.items():
                    table = bits_table(trainer.ema, images_set, len(cfg.scales))
                    write({"step": trainer.step, "validation": name} | table)
            if trainer.step % cfg.save_every == 0 or last:
                save_atomic(trainer.state(), checkpoint)
    export(trainer.ema, config.name, out / f"{config.name}{SUFFIX}")
