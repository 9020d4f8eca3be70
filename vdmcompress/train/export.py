"""From the float graph to the integer model file: fold, round, prove, ask for the known answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vdmcompress.backends.cpu_float import FloatBackend
from vdmcompress.conditionals import fusion_table
from vdmcompress.diffusion import FACTORS16, mixture_weights
from vdmcompress.exact import LINEAR_BITS, answer, probe_input
from vdmcompress.model_file import FORMAT, Model, parse_model
from vdmcompress.network import ACTIVATION_BITS, INPUT_BITS, Denoiser, Graph
from vdmcompress.train.quantise import quantise

Array = NDArray[np.float64]


def mixture16(logits: torch.Tensor) -> NDArray[np.int32]:
    """Mixture weights as integers that sum to 65536; logits (..., F)."""
    w = mixture_weights(logits.detach().to(torch.float64)).cpu().numpy()
    integers: NDArray[np.int32] = np.floor(w * 65536).astype(np.int32)
    integers[..., FACTORS16.index(16)] += 65536 - integers.sum(-1)
    return integers


@torch.no_grad()
def export_tensors(model: Graph) -> dict[str, NDArray[np.generic]]:
    """All tensors of the model file except the known answers."""
    cfg = model.config
    coded: dict[str, list[tuple[NDArray[np.int8], NDArray[np.int8]]]] = {
        n: [] for n in ("stem", "a", "b", "head")
    }
    biases: dict[str, list[NDArray[np.int32]]] = {n: [] for n in coded}
    linear, fusion = [], []
    numbers = list(dict.fromkeys(model.b_set))  # by first use; the file leaves out what no weight set uses
    b_set = [numbers.index(number) for number in model.b_set]

    def f64(tensor: torch.Tensor) -> Array:
        array: Array = tensor.cpu().numpy()
        return array

    def blocks(
        weights: tuple[torch.Tensor, ...], peaks: torch.Tensor
    ) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
        pairs = [quantise(f64(w), f64(p), ACTIVATION_BITS) for w, p in zip(weights, peaks, strict=True)]
        return np.stack([w for w, _ in pairs]), np.stack([e for _, e in pairs])

    def bias(values: torch.Tensor, exponents: NDArray[np.int8], step_bits: int) -> NDArray[np.int32]:
        units = np.exp2(exponents.astype(np.float64) + step_bits)
        return np.rint(f64(values) * units).astype(np.int32)

    for row in range(cfg.scales * cfg.slots):
        scale, slot = divmod(row, cfg.slots)
        w = model.weights(scale, slot, torch.float64)
        own = cfg.weight_set(scale, slot)
        if own == len(coded["stem"]):  # the first row of a weight set
            peaks = model.bias_peaks(scale, slot)
            coded["stem"].append(quantise(f64(w.stem), f64(peaks.stem), INPUT_BITS))
            coded["a"].append(blocks(w.a, peaks.a))
            coded["head"].append(quantise(f64(w.head), f64(peaks.head), ACTIVATION_BITS))
            if b_set[own] == len(coded["b"]):
                coded["b"].append(blocks(w.b, peaks.b))
        biases["stem"].append(bias(w.stem_bias, coded["stem"][own][1], INPUT_BITS))
        biases["a"].append(bias(w.a_bias, coded["a"][own][1], ACTIVATION_BITS))
        biases["b"].append(bias(w.b_bias, coded["b"][b_set[own]][1], ACTIVATION_BITS))
        biases["head"].append(bias(w.head_bias, coded["head"][own][1], ACTIVATION_BITS))
        linear.append(np.rint(f64(w.linear) * 2**LINEAR_BITS).astype(np.int32))
        step = cfg.path.steps[slot]
        path = cfg.path.band(scale, step.band)
        fusion.append(np.zeros((2, 128), np.int32) if step.top else fusion_table(path, step.k))

    out: dict[str, NDArray[np.generic]] = {
        "linear": np.stack(linear),
        "mixture": mixture16(model.mixture),
        "fusion": np.stack(fusion),
    }
    for name, pairs in coded.items():
        out[name] = np.stack([w for w, _ in pairs])
        out[f"{name}_exponent"] = np.stack([e for _, e in pairs])
        out[f"{name}_bias"] = np.stack(biases[name])
    if len(coded["b"]) > 1:
        out["b_set"] = np.array(b_set, np.uint8)
    return out


def canonical(data: bytes) -> bytes:
    """The same safetensors file with its header sorted: the library writes metadata in an order of chance."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[end:]


def export(model: Graph, name: str, path: Path) -> Model:
    """Write the integer model file of a float model; returns it as loaded back.

    The known answers come from the reference path.  Raises ModelMissingError if a bound does not hold.
    """
    cfg = model.config
    tensors = export_tensors(model)
    rows = cfg.scales * cfg.slots
    draft = Model(name, b"", cfg.path, cfg.width, cfg.blocks, cfg.scales, dict(tensors), cfg.views)
    draft.prove()
    backend, probe = FloatBackend(), probe_input()
    answers = [answer(backend.run(backend.prepare(draft.evaluation(r)), probe)) for r in range(rows)]
    tensors["answers"] = np.array(answers, np.uint32)
    return write_model(replace(draft, tensors=dict(tensors)), path)


def write_model(model: Model, path: Path) -> Model:
    """Write a model's configuration and tensors; returns it as loaded back, with its own hash."""
    from safetensors.numpy import save

    config = {
        "name": model.name,
        "width": model.width,
        "blocks": model.blocks,
        "scales": model.scales,
        "path": model.path.to_lists(),
    } | ({"views": model.views} if model.views > 1 else {})
    data = save(
        {k: np.ascontiguousarray(v) for k, v in sorted(model.tensors.items())},
        {"format": FORMAT, "config": json.dumps(config, sort_keys=True)},
    )
    data = canonical(data)
    loaded = parse_model(data, str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(data)
    temporary.replace(path)
    return loaded


def load_float(checkpoint: Path, model: Denoiser) -> Denoiser:
    """Averaged weights of a training checkpoint into a float model."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    model.load_state_dict(state["ema"])
    return model
