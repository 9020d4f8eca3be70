"""From the float graph to the integer model file: fold, round, prove, ask for the known answers."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vdmcompress.backends.cpu_float import FloatBackend
from vdmcompress.conditionals import fusion_table
from vdmcompress.diffusion import FACTORS16, mixture_weights
from vdmcompress.exact import EXPONENT_RANGE, LINEAR_BITS, SUM_LIMIT, WEIGHT_LIMIT, answer, probe_input
from vdmcompress.model_file import FORMAT, Model, parse_model
from vdmcompress.network import Denoiser

Array = NDArray[np.float64]


def quantise(weights: Array) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Weights (out, ...) to int8, a power of two for each output channel: the largest that keeps |w| <= 63.

    Where 255 * sum(|w|) comes near the limit of exact sums the exponent is lowered until it fits.
    """
    flat = weights.reshape(len(weights), -1)
    integers = np.zeros(flat.shape, np.int8)
    exponents = np.zeros(len(flat), np.int8)
    for i, row in enumerate(flat):
        top = float(np.abs(row).max())
        e = (
            EXPONENT_RANGE[1]
            if top == 0
            else min(EXPONENT_RANGE[1], math.floor(math.log2((WEIGHT_LIMIT + 0.49) / top)))
        )
        while True:
            w = np.rint(row * 2.0**e)
            if np.abs(w).max(initial=0) <= WEIGHT_LIMIT and 255 * np.abs(w).sum() < SUM_LIMIT // 2:
                break
            e -= 1
        if e < EXPONENT_RANGE[0]:
            raise ValueError(f"a weight of {top} is too large for 7 bits")
        integers[i], exponents[i] = w.astype(np.int8), e
    return integers.reshape(weights.shape), exponents


def mixture16(logits: torch.Tensor) -> NDArray[np.int32]:
    """Mixture weights as integers that sum to 65536; logits (..., F)."""
    w = mixture_weights(logits.detach().to(torch.float64)).numpy()
    integers: NDArray[np.int32] = np.floor(w * 65536).astype(np.int32)
    integers[..., FACTORS16.index(16)] += 65536 - integers.sum(-1)
    return integers


@torch.no_grad()
def export_tensors(model: Denoiser) -> dict[str, NDArray[np.generic]]:
    """All tensors of the model file except the known answers."""
    cfg = model.config
    n, slots = cfg.blocks, cfg.slots
    sets, rows = 2 * slots, cfg.scales * slots

    def f64(t: torch.Tensor) -> Array:
        array: Array = t.detach().to(torch.float64).cpu().numpy()
        return array

    stem = [quantise(f64(model.stem) + f64(model.stem_own[s])) for s in range(sets)]
    b = [quantise(f64(model.b[i])) for i in range(n)]
    a = [
        [quantise(f64(model.a[i]) * (1 + f64(model.gain[s, i])).reshape(-1, 1, 1, 1)) for i in range(n)]
        for s in range(sets)
    ]
    head = [quantise(f64(model.head[s])) for s in range(sets)]
    set_of = [min(r // slots, 1) * slots + r % slots for r in range(rows)]

    def bias(values: Array, exponents: NDArray[np.int8], step_bits: int) -> NDArray[np.int32]:
        return np.rint(values * np.exp2(exponents.astype(np.float64) + step_bits)).astype(np.int32)

    out: dict[str, NDArray[np.generic]] = {
        "stem": np.stack([w for w, _ in stem]),
        "stem_exponent": np.stack([e for _, e in stem]),
        "stem_bias": np.stack([bias(f64(model.stem_bias[r]), stem[set_of[r]][1], 4) for r in range(rows)]),
        "a": np.stack([np.stack([w for w, _ in blocks]) for blocks in a]),
        "a_exponent": np.stack([np.stack([e for _, e in blocks]) for blocks in a]),
        "b": np.stack([w for w, _ in b])[None],
        "b_exponent": np.stack([e for _, e in b])[None],
        "head": np.stack([w for w, _ in head]),
        "head_exponent": np.stack([e for _, e in head]),
        "head_bias": np.stack([bias(f64(model.head_bias[r]), head[set_of[r]][1], 5) for r in range(rows)]),
        "linear": np.rint(f64(model.linear) * 2**LINEAR_BITS).astype(np.int32),
        "mixture": mixture16(model.mixture),
    }
    steps = cfg.path.steps
    out["fusion"] = np.stack(
        [
            np.zeros((2, 128), np.int32)
            if steps[r % slots].top
            else fusion_table(cfg.path.band(r // slots, steps[r % slots].band), steps[r % slots].k)
            for r in range(rows)
        ]
    )
    out["a_bias"] = np.stack(
        [
            np.stack([bias(f64(model.shift[r, i]), a[set_of[r]][i][1], 5) for i in range(n)])
            for r in range(rows)
        ]
    )
    out["b_bias"] = np.stack(
        [np.stack([bias(f64(model.offset[r, i]), b[i][1], 5) for i in range(n)]) for r in range(rows)]
    )
    return out


def canonical(data: bytes) -> bytes:
    """The same safetensors file with its header sorted: the library writes metadata in an order of chance."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[end:]


def export(model: Denoiser, name: str, path: Path) -> Model:
    """Write the integer model file of a float model; returns it as loaded back.

    The known answers come from the reference path.  Raises ModelMissingError if a bound does not hold.
    """
    from safetensors.numpy import save

    cfg = model.config
    tensors = export_tensors(model)
    rows = cfg.scales * cfg.slots
    draft = Model(name, b"", cfg.path, cfg.width, cfg.blocks, cfg.scales, dict(tensors))
    draft.prove()
    backend, probe = FloatBackend(), probe_input()
    answers = [answer(backend.run(backend.prepare(draft.evaluation(r)), probe)) for r in range(rows)]
    tensors["answers"] = np.array(answers, np.uint32)
    config = {
        "name": name,
        "width": cfg.width,
        "blocks": cfg.blocks,
        "scales": cfg.scales,
        "path": cfg.path.to_lists(),
    }
    data = save(
        {k: np.ascontiguousarray(v) for k, v in sorted(tensors.items())},
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
