"""Experts: the shared trunk split into independent weights for each weight set (eDiff-I, Balaji et al. 2022).

Every evaluation of scale 0 gets convolutions of its own; the coarser scales share one set for each
evaluation. That costs nothing at run time.  Gains are folded in, so that the split model computes what the
shared one did, and each expert is then fine-tuned on its own evaluation, drawn by importance.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from vdmcompress.errors import UsageError
from vdmcompress.model_file import SUFFIX
from vdmcompress.network import Denoiser, Graph, NetworkConfig, Weights
from vdmcompress.train.config import load_config
from vdmcompress.train.export import export
from vdmcompress.train.run import Data, Job, Trainer, train_loop
from vdmcompress.train.start import load_graph


class Experts(Graph):
    """Independent weights for each weight set (2 * slots); biases, predictors and mixtures by row as before.

    a, b: block i of set s at index s * blocks + i.
    """

    form = "experts"

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.b_sets = 2 * config.slots
        plain = Denoiser(config)
        self.stem = nn.ParameterList()
        self.a, self.b = nn.ParameterList(), nn.ParameterList()
        for own in range(self.b_sets):
            scale, slot = divmod(own, config.slots)
            w = plain.weights(scale, slot)
            self.stem.append(nn.Parameter(w.stem.detach().clone()))
            self.a.extend(nn.Parameter(a.detach().clone()) for a in w.a)
            self.b.extend(nn.Parameter(b.detach().clone()) for b in w.b)
        self.stem_bias, self.shift, self.offset = plain.stem_bias, plain.shift, plain.offset
        self.head, self.head_bias = plain.head, plain.head_bias
        self.linear, self.mixture = plain.linear, plain.mixture

    def weights(self, scale: int, slot: int, dtype: torch.dtype = torch.float32) -> Weights:
        """The expert of an evaluation with the biases of its row."""
        own, row, n = self.config.weight_set(scale, slot), self.config.row(scale, slot), self.config.blocks
        return Weights(
            self.stem[own].to(dtype),
            self.stem_bias[row].to(dtype),
            tuple(self.a[own * n + i].to(dtype) for i in range(n)),
            self.shift[row].to(dtype),
            tuple(self.b[own * n + i].to(dtype) for i in range(n)),
            self.offset[row].to(dtype),
            self.head[own].to(dtype),
            self.head_bias[row].to(dtype),
            self.linear[row].to(dtype),
        )

    @classmethod
    @torch.no_grad()
    def split(cls, shared: Graph) -> Experts:
        """Experts that compute what a model with a shared trunk computes."""
        config = shared.config
        made, n = cls(config), config.blocks
        for own in range(made.b_sets):
            w = shared.weights(*divmod(own, config.slots))
            made.stem[own].copy_(w.stem)
            for i in range(n):
                made.a[own * n + i].copy_(w.a[i])
                made.b[own * n + i].copy_(w.b[i])
            made.head[own].copy_(w.head)
        for row in range(config.scales * config.slots):
            w = shared.weights(*divmod(row, config.slots))
            for to, value in (
                (made.stem_bias, w.stem_bias),
                (made.shift, w.a_bias),
                (made.offset, w.b_bias),
                (made.head_bias, w.head_bias),
                (made.linear, w.linear),
            ):
                to[row].copy_(value)
        made.mixture.copy_(shared.mixture)
        return made


def train_experts(config_path: Path, job: Job) -> None:
    """Phase `experts`: from `last.pt` (or the job's start) to `experts.pt`, its log and the model file."""
    config = load_config(config_path)
    config = config.scheduled(config.experts)
    checkpoint = job.open("experts")
    if checkpoint.exists():
        trainer = Trainer(config, job.torch_device(), Experts(config.network))
        trainer.load(checkpoint)
    else:
        start = job.start or job.out / "last.pt"
        shared = load_graph(start, config.network)
        if isinstance(shared, Experts):
            raise UsageError(f"{start} is split into experts already; continue it with --resume")
        trainer = Trainer(config, job.torch_device(), Experts.split(shared))
    train_loop(trainer, Data.of(job, config.train), job, checkpoint, job.out / "experts.jsonl", first=True)
    export(trainer.ema, config.name, job.out / f"{config.name}{SUFFIX}")
