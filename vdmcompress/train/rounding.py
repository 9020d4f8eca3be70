"""Rounding phase: fine-tuning with weights, biases and activations as they will be coded.

`Rounded` computes what the integer network computes (`exact.py`), as real numbers: inputs as they are, 7-bit
weights with a power of two for each channel, integer biases, u8 activations at 1/32, the stream in int16 at
1/256, ties to even, and head outputs on the grids of `conditionals.py`.  Gradients pass straight through the
roundings and stop where something saturates.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from vdmcompress.exact import LINEAR_BITS, PART
from vdmcompress.model_file import SUFFIX
from vdmcompress.network import (
    ACTIVATION_BITS,
    ACTIVATION_STEPS,
    INPUT_BITS,
    INPUT_STEPS,
    BiasPeaks,
    Graph,
    Weights,
    clip,
    predict,
    split_signs,
)
from vdmcompress.train.config import load_config
from vdmcompress.train.export import export
from vdmcompress.train.objective import Found, batch_loss
from vdmcompress.train.quantise import round_to, rounded_layer, straight
from vdmcompress.train.run import Data, Job, Trainer, train_loop
from vdmcompress.train.start import load_graph
from vdmcompress.train.validate import ValidationSet, bits_table

STREAM_STEPS = 256
STREAM_RANGE = (-32768 / STREAM_STEPS, 32767 / STREAM_STEPS)
OUTPUT_STEPS = torch.tensor([0] * 3 + [16] * 3 + [64] * 3 + [2048] * 3).repeat(2)
"""Steps of a unit of each head channel: scale to an index, coupling to 1/64, correction to 1/256 index.  The
mean and the corrected scale are rounded after Bayes' rule, to 1/64 bin and to an index; 0: left as it is."""


def activation(x: torch.Tensor) -> torch.Tensor:
    """The stream, or a sum of A, as u8 / 32."""
    return round_to(clip(x), ACTIVATION_STEPS)


def rounded_head(
    u: torch.Tensor, weights: Weights, peaks: BiasPeaks, body: torch.dtype = torch.float32
) -> torch.Tensor:
    """Head outputs (N, 24, h, w) float32 of the integer graph without its linear predictor.

    u: inputs (N, 30, h, w), float32 of integers 0..255; weights in float64.  body: dtype of the convolutions'
    operands and results; bfloat16 holds the operands exactly, sums are rounded twice.
    """

    def conv(
        x: torch.Tensor, w: torch.Tensor, bias: torch.Tensor, peak: torch.Tensor, bits: int = ACTIVATION_BITS
    ) -> torch.Tensor:
        coded, coded_bias = rounded_layer(w, bias, peak, bits)
        y = F.conv2d(x.to(body), coded.to(body), coded_bias.to(body), padding=w.shape[-1] // 2)
        return y.to(torch.float32)

    def stream(x: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
        return F.hardtanh(x + round_to(change, STREAM_STEPS), *STREAM_RANGE)

    u = (u / INPUT_STEPS).contiguous(memory_format=torch.channels_last)
    stem = conv(u, weights.stem, weights.stem_bias, peaks.stem, INPUT_BITS)
    x = stream(torch.zeros((), device=u.device), stem)
    for i, (a, b) in enumerate(zip(weights.a, weights.b, strict=True)):
        t = activation(conv(activation(x), a, weights.a_bias[i], peaks.a[i]))
        x = stream(x, conv(t, b, weights.b_bias[i], peaks.b[i]))
    return conv(activation(x), weights.head[..., None, None], weights.head_bias, peaks.head)


class Rounded(Graph):
    """A model whose evaluations are rounded as they will be coded; its parameters are those of `inner`."""

    def __init__(self, inner: Graph) -> None:
        super().__init__()
        self.inner = inner
        self.form, self.config, self.b_set = inner.form, inner.config, inner.b_set
        self.a, self.b, self.linear, self.mixture = inner.a, inner.b, inner.linear, inner.mixture

    def weights(self, scale: int, slot: int, dtype: torch.dtype = torch.float32) -> Weights:
        """Weights before rounding."""
        return self.inner.weights(scale, slot, dtype)

    def evaluate(
        self, raw: torch.Tensor, scale: int, slot: int, body: torch.dtype = torch.float32
    ) -> torch.Tensor:
        """Head outputs on the grids of the coder's parameters; see `Graph.evaluate`."""
        weights = self.inner.weights(scale, slot, torch.float64)
        peaks = self.inner.bias_peaks(scale, slot)
        y = rounded_head(split_signs(raw).to(torch.float32), weights, peaks, body)
        steps = OUTPUT_STEPS.to(y.device).view(1, 2 * PART, 1, 1)
        y = straight(y, torch.where(steps > 0, torch.floor(y * steps + 0.5) / steps.clamp(min=1), y))
        linear = round_to(weights.linear, 1 << LINEAR_BITS).to(torch.float32)
        return y + predict(raw, linear)


class RoundingTrainer(Trainer):
    """Training of the rounded graph; validation shows it beside the float one."""

    def loss(self, batch: Any, slots: list[int], weights: list[float], generator: torch.Generator) -> Found:
        """Gradients of the rounded graph's terms of the VLB."""
        cfg, near = self.config.train, self.neighbours
        chain, direct = cfg.path_weights(batch.scale)
        model = Rounded(self.model)
        return batch_loss(
            model, batch, slots, weights, direct, generator, True, self.pool, chain, near, cfg.body
        )

    def tables(self, name: str, images: ValidationSet) -> dict[str, dict[str, Any]]:
        """VLB of the averaged weights, rounded and as they are, with the same noise."""
        scales = len(self.config.train.scales)
        whole = bits_table(self.ema, images, scales, self.neighbours)
        rounded = bits_table(Rounded(self.ema), images, scales, self.neighbours)
        return {name: rounded, f"{name}_float": whole}


def train_rounding(config_path: Path, job: Job) -> None:
    """Phase `rounding`: from `last.pt` (or the job's start) to `rounding.pt`, its log and the model file."""
    config = load_config(config_path)
    config = config.scheduled(config.rounding)
    checkpoint = job.open("rounding")
    source = checkpoint if checkpoint.exists() else job.start or job.out / "last.pt"
    trainer = RoundingTrainer(config, job.torch_device(), load_graph(source, config.network))
    if checkpoint.exists():
        trainer.load(checkpoint)
    train_loop(trainer, Data.of(job, config.train), job, checkpoint, job.out / "rounding.jsonl", first=True)
    export(trainer.ema, config.name, job.out / f"{config.name}{SUFFIX}")
