"""Experts: the shared trunk split by the kind of evaluation (eDiff-I, Balaji et al. 2022).

The evaluations at the tops of scale 0, which every plan makes and which hold most of the bits, get blocks of
their own; all others go on sharing the trunk.  That costs nothing at run time.  The split model computes what
the shared one did, and each expert is then fine-tuned on its own evaluation.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vdmcompress.model_file import SUFFIX
from vdmcompress.network import Denoiser, NetworkConfig
from vdmcompress.train.config import load_config
from vdmcompress.train.export import export
from vdmcompress.train.run import Data, Job, Trainer, train_loop
from vdmcompress.train.start import load_graph


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
    """Every step belongs to one evaluation, so that one expert learns from the whole batch."""

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
