"""What every phase of training shares: rates, the step sampler, the optimiser step, checkpoints."""

from __future__ import annotations

import copy
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vdmcompress.errors import UsageError
from vdmcompress.train.config import RunConfig, TrainConfig
from vdmcompress.train.data import Batch
from vdmcompress.train.objective import Found
from vdmcompress.train.optimiser import set_rates
from vdmcompress.train.parent import PARENT_SUFFIX, load_parent
from vdmcompress.train.validate import ValidationSet

M = TypeVar("M", bound=nn.Module)
Terms = dict[int, tuple[float, float | None]]
"""slot -> (bits a value, bits a value of the direct prediction)."""

BEHIND = 20
"""Steps after which a GPU is asked what came of them: to wait for each would leave it idle in between."""

UNIFORM = 0.15
"""Share of the uniform distribution in the draw of evaluations: those that count little are still visited."""


def rate_scale(step: int, config: TrainConfig, seconds: float = 0.0) -> float:
    """Factor of the learning rates at a step: warm-up, constant, then linear decay to 2 %.

    seconds: trained so far, which count instead of the steps where the configuration has a time.
    """
    done, end = (seconds, config.seconds) if config.seconds else (step, config.steps)
    start = end * (1 - config.decay)
    fall = 1.0 if done < start else max(0.02, (end - done) / (end - start))
    return min(1.0, (step + 1) / config.warmup) * fall


@dataclass(frozen=True)
class StepInfo:
    """What came of a step: its scale, bits by slot, norm of the gradients of all but the blocks."""

    scale: int
    terms: Terms
    norm: float

    @classmethod
    def settled(cls, scale: int, terms: Found | Terms, norm: torch.Tensor) -> StepInfo:
        """Tensors as numbers; waits for their device."""
        numbers = {s: (float(bits), None if d is None else float(d)) for s, (bits, d) in terms.items()}
        return cls(scale, numbers, float(norm))


class StepSampler:
    """Draws evaluations (slots) in proportion to their expected loss, mixed with the uniform distribution.

    One rule for what VDM's variance minimisation, VDM++'s adaptive schedule and Improved DDPM's importance
    sampling aim at: noise levels that contribute more are visited more, and weights keep the objective the
    VLB.
    """

    def __init__(self, scales: int, slots: int) -> None:
        self.mean = np.ones((scales, slots))

    def chances(self, scale: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Probabilities of the slots of a scale, at least UNIFORM of the uniform distribution."""
        m = self.mean[scale]
        chance: np.ndarray[Any, np.dtype[np.float64]] = UNIFORM / m.size + (1 - UNIFORM) * m / m.sum()
        return chance

    def update(self, scale: int, slot: int, bits: float) -> None:
        """Take a measured loss into the running mean."""
        self.mean[scale, slot] += 0.02 * (max(bits, 0.0) - self.mean[scale, slot])


def save_atomic(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint so that the old one or the whole new one is there at any time."""
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


def load_state(path: Path, device: torch.device) -> dict[str, Any]:
    """Read a checkpoint, or the float parent of a shipped model; UsageError where there is none."""
    if path.name.endswith(PARENT_SUFFIX):
        return load_parent(path)
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise UsageError(f"{path} is not there; train the phase before this one, or name its file") from error
    return state


def sample_pool() -> ThreadPoolExecutor:
    """Threads for one sample each, torch's own threading switched off in them: up to twice as fast."""
    return ThreadPoolExecutor(torch.get_num_threads(), initializer=torch.set_num_threads, initargs=(1,))


def load_averaged(model: M, state: dict[str, Any], checkpoint: Path) -> M:
    """A checkpoint's averaged weights into a model; UsageError where they are another graph's."""
    try:
        model.load_state_dict(state["ema"])
    except RuntimeError as error:
        raise UsageError(f"{checkpoint} has another graph than the configuration: {error}") from error
    return model


class BaseTrainer(Generic[M]):
    """State of a run: model, averaged weights, optimisers, sampler, step number.

    A phase says what its loss is (`loss`) and what its validation shows (`tables`).  slots: what the sampler
    draws from.
    """

    def __init__(
        self,
        config: RunConfig,
        device: torch.device,
        model: M,
        optimisers: list[torch.optim.Optimizer],
        slots: int,
    ) -> None:
        self.config, self.device = config, device
        self.model = model
        self.ema = copy.deepcopy(model)
        self.optimisers = optimisers
        self.sampler = StepSampler(len(config.train.scales), slots)
        self.pool = sample_pool() if device.type == "cpu" else None
        self.step = 0
        self.seconds = 0.0
        self._open: list[tuple[int, Found | Terms, torch.Tensor]] = []

    @property
    def finished(self) -> bool:
        """Whether all steps, or all of the time where the configuration has one, are behind."""
        cfg = self.config.train
        return self.seconds >= cfg.seconds if cfg.seconds else self.step >= cfg.steps

    @property
    def rate(self) -> float:
        """Factor of the learning rates at the next step."""
        return rate_scale(self.step, self.config.train, self.seconds)

    def remaining(self) -> float:
        """Seconds to the end at the pace so far."""
        cfg = self.config.train
        if cfg.seconds:
            return max(cfg.seconds - self.seconds, 0.0)
        return (cfg.steps - self.step) * self.seconds / max(self.step, 1)

    def loss(
        self, batch: Batch, slots: list[int], weights: list[float], generator: torch.Generator
    ) -> Found | Terms:
        """Add up the gradients of a batch; slots sorted, one a sample, weights of the samples."""
        raise NotImplementedError

    def draw(self, chance: NDArray[np.float64], samples: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Sorted slots, one a sample, by their chances."""
        return np.sort(rng.choice(chance.size, samples, p=chance))

    def weighted(self, scale: int, slot: int, bits: float, direct: float | None) -> float:
        """What an evaluation counts in the loss, for the sampler."""
        return bits

    def tables(self, name: str, images: ValidationSet) -> dict[str, dict[str, Any]]:
        """Validation of the averaged weights: name -> table with keys bpd and terms."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """Everything that continuing exactly needs; form says which kind of model it is."""
        return {
            "form": getattr(self.model, "form", ""),
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimisers": [o.state_dict() for o in self.optimisers],
            "sampler": torch.from_numpy(self.sampler.mean),
            "step": self.step,
            "seconds": self.seconds,
        }

    def load(self, path: Path) -> None:
        """Continue from a checkpoint."""
        state = load_state(path, self.device)
        self.model.load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.sampler.mean = state["sampler"].cpu().numpy()
        self.step, self.seconds = int(state["step"]), float(state["seconds"])

    @torch.no_grad()
    def _average(self, decay: float) -> None:
        """Let the averaged weights follow."""
        torch._foreach_lerp_(list(self.ema.parameters()), list(self.model.parameters()), 1 - decay)

    def train_step(self, batch: Batch) -> list[StepInfo]:
        """One optimiser step on a batch; returns what came of this step, or beside a GPU of all since the
        last answer, now and then.
        """
        cfg = self.config.train
        n = batch.samples
        rng = np.random.default_rng((cfg.seed, 7, self.step))
        chance = self.sampler.chances(batch.scale)
        slots = self.draw(chance, n, rng)
        rest = not cfg.whole and batch.scale == len(cfg.scales) - 1  # the last scale stands for coarser ones
        share = (1.0 if rest else 0.75) * 4.0**-batch.scale
        weights = share / cfg.scales[batch.scale] / (chance.size * chance[slots])
        generator = torch.Generator(self.device).manual_seed(cfg.seed * 1_000_003 + self.step)
        set_rates(self.optimisers, cfg.lr_muon, cfg.lr_adam, self.rate)
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        terms, norm = self.update(batch, slots.tolist(), weights.tolist(), generator)
        each = map if self.pool is None else self.pool.map
        list(each(self._average, (min(cfg.ema, (self.step + 1) / (self.step + 10)),)))
        self.step += 1
        self._open.append((batch.scale, terms, norm))
        return self.settle() if self.device.type == "cpu" or len(self._open) >= BEHIND else []

    def update(
        self, batch: Batch, slots: list[int], weights: list[float], generator: torch.Generator
    ) -> tuple[Found | Terms, torch.Tensor]:
        """Gradients of a batch and a step of the optimisers; the terms, the norm of all but the blocks."""
        terms = self.loss(batch, slots, weights, generator)
        norm = self.clip()
        # in the pool: tensors are so small that torch's own threads would mostly wait for each other
        each = map if self.pool is None else self.pool.map
        list(each(lambda optimiser: optimiser.step(), self.optimisers))
        return terms, norm

    def clip(self) -> torch.Tensor:
        """Clip the gradients of all but the blocks to a norm of 1; their norm."""
        others = [p for g in self.optimisers[1].param_groups for p in g["params"]]
        return torch.nn.utils.clip_grad_norm_(others, 1.0)

    def settle(self) -> list[StepInfo]:
        """What came of the steps since the last call; the sampler learns of them."""
        found = [StepInfo.settled(*step) for step in self._open]
        self._open.clear()
        for step in found:
            for slot, (bits, direct) in step.terms.items():
                self.sampler.update(step.scale, slot, self.weighted(step.scale, slot, bits, direct))
        return found
