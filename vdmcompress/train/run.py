"""The training loop: resumable, one writer, checkpoints and a log in the run's folder; the direct form."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vdmcompress.engine import default_threads
from vdmcompress.errors import UsageError
from vdmcompress.model_file import SUFFIX
from vdmcompress.network import Denoiser, Graph, compiled
from vdmcompress.train.config import RunConfig, TrainConfig, load_config
from vdmcompress.train.data import Batch, Crops, endless, load_images, split
from vdmcompress.train.device_data import on_device
from vdmcompress.train.export import export
from vdmcompress.train.neighbours import Neighbours
from vdmcompress.train.objective import Found, batch_loss
from vdmcompress.train.optimiser import make_optimisers
from vdmcompress.train.small import SmallGroups, load_small, split_small
from vdmcompress.train.trainer import BaseTrainer, M, load_state, save_atomic
from vdmcompress.train.validate import ValidationSet, bits_table

Report = Callable[[dict[str, Any]], None]

CPU = torch.device("cpu")

VALID_GROUP = 50
"""Whole small images that are measured together."""


@dataclass(frozen=True)
class Job:
    """What a phase reads and writes, and when it stops.

    data_dirs, valid_dirs: folders of images.  out: the run's folder.  resume: go on from the phase's
    checkpoint. minutes: stop after this time.  device: auto, cpu or cuda.  report: called with every entry of
    the log. start: checkpoint of another phase to begin with.  workers: processes that make batches; None for
    one thread beside a CPU, for all processors but one beside a GPU.
    """

    data_dirs: tuple[Path, ...]
    out: Path
    resume: bool = False
    minutes: float | None = None
    device: str = "auto"
    valid_dirs: tuple[Path, ...] = ()
    report: Report | None = None
    start: Path | None = None
    workers: int | None = None

    @property
    def batch_workers(self) -> int:
        """Processes that make batches, 0 for a thread."""
        if self.workers is not None:
            return self.workers
        return 0 if self.torch_device().type == "cpu" else max(default_threads() - 1, 1)

    def torch_device(self) -> torch.device:
        """The device; auto takes a GPU where there is one."""
        auto = "cuda" if torch.cuda.is_available() else "cpu"
        return torch.device(auto if self.device == "auto" else self.device)

    def open(self, phase: str) -> Path:
        """The phase's checkpoint file, in a folder that exists; UsageError if it would be written over."""
        checkpoint = self.out / f"{phase}.pt"
        if checkpoint.exists() and not self.resume:
            raise UsageError(f"{checkpoint} exists; continue it with --resume or choose another folder")
        self.out.mkdir(parents=True, exist_ok=True)
        return checkpoint


@dataclass(frozen=True)
class Data:
    """Training images, a list or whole small ones (N, S, S, 3), and sets for validation by name."""

    images: list[NDArray[np.uint8]] | NDArray[np.uint8]
    sets: dict[str, ValidationSet]

    def batches(
        self, cfg: TrainConfig, start: int, workers: int = 0, device: torch.device = CPU
    ) -> Iterator[Batch]:
        """Endless batches from a step on; workers as in `data.endless`, on a GPU as in `on_device`."""
        make: Crops | SmallGroups
        if isinstance(self.images, np.ndarray):
            make = SmallGroups(self.images, cfg.batch, cfg.group, cfg.scales, cfg.grey, cfg.seed)
        else:
            make = Crops(
                self.images, cfg.batch, cfg.crop, cfg.scales, cfg.grey, cfg.seed, cfg.crops, cfg.stored
            )
        if device.type == "cpu":
            return endless(make, start, workers)
        return on_device(make, start, workers, device)

    @classmethod
    def of(cls, job: Job, cfg: TrainConfig) -> Data:
        """Read a job's folders; held-back training images always are validation sets."""
        if cfg.whole:
            small, aside = split_small(load_small(list(job.data_dirs), cfg.whole), cfg.held_back)
            found = {"held_back": ValidationSet(tuple(aside), VALID_GROUP)}
            if job.valid_dirs:
                others = load_small(list(job.valid_dirs), cfg.whole)
                found["valid"] = ValidationSet(tuple(others), VALID_GROUP)
            return cls(small, found)
        images, held_back = split(load_images(list(job.data_dirs)), cfg.held_back)
        sets = {"held_back": ValidationSet.of(held_back, cfg.valid_crop)}
        if not cfg.stored:
            sets["held_back_wild"] = ValidationSet.of(held_back, cfg.valid_crop, wild=True)
        if job.valid_dirs:
            sets["valid"] = ValidationSet.of(load_images(list(job.valid_dirs)), cfg.valid_crop)
        return cls(images, {name: replace(images, stored=cfg.stored) for name, images in sets.items()})


class Trainer(BaseTrainer[Graph]):
    """Training in direct form: the parameters of each step's own conditional."""

    def __init__(self, config: RunConfig, device: torch.device, model: Graph | None = None) -> None:
        cfg = config.train
        model = (Denoiser(config.network) if model is None else model).to(device)
        rows = config.network.scales * config.network.slots
        self.neighbours = Neighbours(rows).to(device) if cfg.neighbours else None
        more = [] if self.neighbours is None else list(self.neighbours.parameters())
        optimisers = make_optimisers(
            model, cfg.lr_muon, cfg.lr_adam, cfg.decay_muon, more, cfg.body, cfg.recorded
        )
        super().__init__(config, device, model, optimisers, config.network.slots)
        if device.type == "cuda":
            model.graph = compiled()

    def state(self) -> dict[str, Any]:
        """With the neighbours' corrections, where there are any."""
        own = {} if self.neighbours is None else {"neighbours": self.neighbours.state_dict()}
        return super().state() | own

    def load(self, path: Path) -> None:
        """Continue from a checkpoint."""
        super().load(path)
        rates = [group["lr"] for optimiser in self.optimisers for group in optimiser.param_groups]
        if self.config.train.recorded and not all(isinstance(rate, torch.Tensor) for rate in rates):
            raise UsageError(f"{path} was made without recorded = true; continue it without that")
        if self.neighbours is not None:
            self.neighbours.load_state_dict(load_state(path, self.device)["neighbours"])

    def loss(self, batch: Any, slots: list[int], weights: list[float], generator: torch.Generator) -> Found:
        """Gradients of the steps' terms of the VLB."""
        cfg, near = self.config.train, self.neighbours
        chain, direct = cfg.path_weights(batch.scale)
        return batch_loss(
            self.model, batch, slots, weights, direct, generator, True, self.pool, chain, near, cfg.body
        )

    def weighted(self, scale: int, slot: int, bits: float, direct: float | None) -> float:
        """Chains and direct predictions in their proportions."""
        chain, weight = self.config.train.path_weights(scale)
        step = self.config.network.path.steps[slot]
        own = 1.0 if step.top and step.k == 1 else chain
        return own * bits + (0.0 if direct is None else weight * direct)

    def tables(self, name: str, images: ValidationSet) -> dict[str, dict[str, Any]]:
        """VLB of the averaged weights, corrected by neighbours where they are trained for that."""
        return {name: bits_table(self.ema, images, len(self.config.train.scales), self.neighbours)}


def train_loop(
    trainer: BaseTrainer[M], data: Data, job: Job, checkpoint: Path, log_path: Path, first: bool = False
) -> None:
    """Train to the end of the steps or of the job's time; first: validate before the first step.

    On a GPU cuDNN looks for the fastest convolutions; those in float32 do not round to TF32.
    """
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
        _train_loop(trainer, data, job, checkpoint, log_path, first)


def _train_loop(
    trainer: BaseTrainer[M], data: Data, job: Job, checkpoint: Path, log_path: Path, first: bool
) -> None:
    cfg, report = trainer.config.train, job.report
    stop = time.monotonic() + 60 * job.minutes if job.minutes is not None else float("inf")
    source = data.batches(cfg, trainer.step, job.batch_workers, trainer.device)
    with log_path.open("a") as log:

        def write(entry: dict[str, Any]) -> None:
            log.write(json.dumps(entry) + "\n")
            log.flush()
            if report is not None:
                report(entry)

        def validate() -> None:
            for set_name, images in data.sets.items():
                if not images.crops:
                    continue
                for name, table in trainer.tables(set_name, images).items():
                    write({"step": trainer.step, "validation": name} | table)

        if first and trainer.step == 0:
            validate()
        running: dict[str, float] = {}
        norm = 0.0
        while not trainer.finished and time.monotonic() < stop:
            began = time.monotonic()
            batch = next(source)
            settled = trainer.train_step(batch)
            took = time.monotonic() - began
            trainer.seconds += took
            last = trainer.finished or time.monotonic() >= stop
            settled += trainer.settle() if last else []
            norm = settled[-1].norm if settled else norm
            for scale, terms in ((step.scale, step.terms) for step in settled):
                for slot, (bits, direct) in terms.items():
                    for key, value in ((f"s{scale}.{slot}", bits), (f"s{scale}.{slot}d", direct)):
                        if value is not None:
                            running[key] = running.get(key, value) + 0.03 * (value - running.get(key, value))
            if trainer.step % 10 == 0 or last:
                rate = batch.ll.shape[0] * batch.ll.shape[2] * batch.ll.shape[3] * 4e-6 / took
                total = sum(v * 4.0 ** -(int(k[1]) + 1) for k, v in running.items() if not k.endswith("d"))
                write(
                    {"step": trainer.step, "steps": cfg.steps, "seconds": round(trainer.seconds, 1)}
                    | {"mpx_per_second": round(rate, 3), "eta_seconds": round(trainer.remaining())}
                    | {"bpd": round(total, 4), "norm": round(norm, 3), "rate": round(trainer.rate, 3)}
                    | {"terms": {k: round(v, 4) for k, v in sorted(running.items())}}
                )
            if trainer.step % cfg.validate_every == 0 or last:
                validate()
            if trainer.step % cfg.save_every == 0 or last:
                save_atomic(trainer.state(), checkpoint)


def train_direct(config_path: Path, job: Job) -> None:
    """Phase `direct`: from nothing, or from the job's start, to `last.pt`, `log.jsonl` and the model file.

    The start is a checkpoint in belief form, or in direct form with the same graph.
    """
    config = load_config(config_path)
    checkpoint = job.open("last")
    data, where = Data.of(job, config.train), job.torch_device()
    model = None
    if job.start is not None and not checkpoint.exists():
        from vdmcompress.train.start import start_direct

        model = start_direct(job.start, config, data.sets["held_back"])
    trainer = Trainer(config, where, model)
    if checkpoint.exists():
        trainer.load(checkpoint)
    train_loop(trainer, data, job, checkpoint, job.out / "log.jsonl")
    export(trainer.ema, config.name, job.out / f"{config.name}{SUFFIX}")
