"""Experts: the shared trunk split by the kind of evaluation (eDiff-I, Balaji et al. 2022).

The evaluations at the tops of scale 0, which every plan makes and which hold most of the bits, get blocks of
their own; all others go on sharing the trunk.  That costs nothing at run time.  The split model computes what
the shared one did, and each expert is then fine-tuned on its own evaluation.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vdmcompress.model_file import SUFFIX
from vdmcompress.network import Denoiser, Graph, NetworkConfig
from vdmcompress.train.config import RunConfig, load_config
from vdmcompress.train.data import Batch
from vdmcompress.train.export import export
from vdmcompress.train.objective import Found, evaluation_loss
from vdmcompress.train.recorded import RecordedCalls, default_noise
from vdmcompress.train.run import Data, Job, Trainer, train_loop
from vdmcompress.train.start import load_graph
from vdmcompress.train.trainer import Terms


class Experts(Denoiser):
    """A denoiser whose blocks come in several groups.

    Group 0 is the shared trunk; the tops of scale 0 have groups of their own.  a, b: block i of group g at
    index g * blocks + i.
    """

    form = "experts"

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        tops = [step.slot for step in config.path.steps if step.top]
        self.b_set = tuple(1 + tops.index(own) if own in tops else 0 for own in range(2 * config.slots))
        for blocks in (self.a, self.b):
            trunk = [block.detach() for block in blocks]
            for _ in tops:
                blocks.extend(torch.nn.Parameter(block.clone()) for block in trunk)

    @classmethod
    @torch.no_grad()
    def split(cls, shared: Denoiser) -> Experts:
        """Experts that compute what a model with a shared trunk computes."""
        made, n = cls(shared.config), shared.config.blocks
        theirs = shared.state_dict()
        for name, to in made.state_dict().items():
            kind, _, index = name.rpartition(".")
            to.copy_(theirs[f"{kind}.{int(index) % n}" if kind else name])
        return made


class ExpertsTrainer(Trainer):
    """Every step belongs to one evaluation, so that one expert learns from the whole batch.

    With `recorded` in the configuration a step is a call that can be recorded (`recorded.py`).
    """

    def __init__(self, config: RunConfig, device: torch.device, model: Graph | None = None) -> None:
        super().__init__(config, device, model)
        self.weight = torch.ones((), device=device)
        self.calls = RecordedCalls() if config.train.recorded and self.neighbours is None else None

    def update(
        self, batch: Batch, slots: list[int], weights: list[float], generator: torch.Generator
    ) -> tuple[Found | Terms, torch.Tensor]:
        """A step that can be recorded where the batch is one sample."""
        if self.calls is None or batch.samples > 1:
            return super().update(batch, slots, weights, generator)
        bands = batch.bands(self.device)
        where = batch.scale, slots[0], batch.components
        self.weight.fill_(weights[0])
        bits, norm, *direct = self.calls((*where, bands[0].shape), partial(self._step, where), *bands)
        return {slots[0]: (bits, direct[0] if direct else None)}, norm

    def _step(self, where: tuple[int, int, int], *bands: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The whole step of one evaluation: bits, norm, and at tops bits of the direct prediction."""
        cfg, (ll, hl, lh, hh) = self.config.train, bands
        noise, share = default_noise(self.device), cfg.path_weights(where[0])
        loss, bits, direct = evaluation_loss(self.model, (ll, hl, lh, hh), where, share, noise, cfg.body)
        parameters = list(self.model.parameters())
        gradients = torch.autograd.grad(loss * self.weight, parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        norm = self.clip()
        for optimiser in self.optimisers:
            optimiser.step()
        return (bits, norm) if direct is None else (bits, norm, direct)

    def draw(self, chance: NDArray[np.float64], samples: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """One slot for all samples."""
        return np.repeat(rng.choice(chance.size, p=chance), samples)


def train_experts(config_path: Path, job: Job) -> None:
    """Phase `experts`: from `last.pt` (or the job's start) to `experts.pt`, its log and the model file.

    A start that is split already is continued with the rates of this phase.
    """
    config = load_config(config_path)
    config = config.scheduled(config.experts)
    checkpoint = job.open("experts")
    if checkpoint.exists():
        trainer = ExpertsTrainer(config, job.torch_device(), Experts(config.network))
        trainer.load(checkpoint)
    else:
        shared = load_graph(job.start or job.out / "last.pt", config.network)
        begin = shared if isinstance(shared, Experts) else Experts.split(shared)
        trainer = ExpertsTrainer(config, job.torch_device(), begin)
    train_loop(trainer, Data.of(job, config.train), job, checkpoint, job.out / "experts.jsonl", first=True)
    export(trainer.ema, config.name, job.out / f"{config.name}{SUFFIX}")
