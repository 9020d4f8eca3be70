"""The fast path: oneDNN's 8-bit convolutions, requantisation inside the operator, stream updates compiled.

`onednn.qconv2d_pointwise` is a semi-internal operator of torch; `available` tries it, and known answers
decide in every process whether it is used (`engine.py`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vdmcompress.exact import NO_MARGINS, ExactEvaluation, Layer, Margins
from vdmcompress.kernels import add_to_stream, start_stream


class _Packed:
    """Weights in oneDNN's blocked order, with scales 2**-exponent and float32 biases."""

    def __init__(self, layer: Layer, scale: NDArray[np.float64], float_output: bool) -> None:
        ops: Any = torch.ops.onednn
        w = torch.from_numpy(layer.weights)
        self.padding = [layer.weights.shape[2] // 2] * 2
        self.scales = torch.from_numpy(scale.astype(np.float32))
        self.zeros = torch.zeros(len(scale), dtype=torch.int32)
        self.bias = torch.from_numpy((layer.bias * scale).astype(np.float32))
        shape = [1, w.shape[1], 64, 64]
        self.weights = ops.qconv_prepack(w, self.scales, 1.0, 0, [1, 1], self.padding, [1, 1], 1, shape)
        self.dtype = torch.float32 if float_output else torch.uint8

    def __call__(self, u: torch.Tensor) -> torch.Tensor:
        ops: Any = torch.ops.onednn
        result: torch.Tensor = ops.qconv2d_pointwise(
            u, 1.0, 0, self.weights, self.scales, self.zeros, self.bias,
            [1, 1], self.padding, [1, 1], 1, 1.0, 0, self.dtype, "none", [], "",
        )  # fmt: skip
        return result


class _Prepared:
    def __init__(self, evaluation: ExactEvaluation) -> None:
        def power(layer: Layer, shift: int) -> NDArray[np.float64]:
            return np.exp2(shift - layer.exponents.astype(np.float64))

        # float outputs leave in units (input steps: 1/16 for the stem, 1/32 inside); the head's as plain sums
        self.stem = _Packed(evaluation.stem, power(evaluation.stem, -4), True)
        self.blocks = [
            (_Packed(a, power(a, 0), False), _Packed(b, power(b, -5), True)) for a, b in evaluation.blocks
        ]
        self.head = _Packed(evaluation.head, np.ones(len(evaluation.head.bias)), True)


class Int8Backend:
    """oneDNN backend for the CPU."""

    name = "cpu_int8"
    uses_torch = True

    def prepare(self, evaluation: ExactEvaluation) -> _Prepared:
        """Packed weights of all layers."""
        return _Prepared(evaluation)

    def run(self, prepared: object, u: NDArray[np.uint8], margins: Margins = NO_MARGINS) -> NDArray[np.int32]:
        """Head sums int32 (h, w, 24); see `exact.Backend`."""
        sums: NDArray[np.int32] = self.run_batch(prepared, u[np.newaxis])[0]
        return sums

    @torch.inference_mode()
    def run_batch(self, prepared: object, u: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Head sums int32 (n, h, w, 24); see `exact.Backend`."""
        layers: _Prepared = prepared  # type: ignore[assignment]
        x = torch.from_numpy(u).permute(0, 3, 1, 2)
        t = layers.stem(x)
        activation = torch.empty_like(t, dtype=torch.uint8)
        flat = _flat(activation)
        stream = np.empty(flat.size, np.int16)
        start_stream(_flat(t), stream, flat)
        for a, b in layers.blocks:
            add_to_stream(_flat(b(a(activation))), stream, flat)
        sums = layers.head(activation).permute(0, 2, 3, 1)
        return sums.to(torch.int32).contiguous().numpy()


def _flat(t: torch.Tensor) -> NDArray[Any]:
    """Memory of a channels-last tensor (n, C, h, w) as a flat array."""
    if not t.is_contiguous(memory_format=torch.channels_last):
        raise RuntimeError("8-bit convolution did not give channels-last memory")
    flat: NDArray[Any] = t.permute(0, 2, 3, 1).reshape(-1).numpy()
    return flat
