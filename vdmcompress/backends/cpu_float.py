"""The reference path: each convolution as shifted matrix products in float32, which hold the sums exactly.

There is no algorithm to choose and nothing to be faster than exact: products of integers whose sums stay
below 2**24 are the same in every order.  TF32 and reduced-precision modes are switched off around the
products.  The same code runs on a CUDA device, where 8-bit products (`cuda_int8.py`) do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from vdmcompress.exact import NO_MARGINS, ExactEvaluation, Layer, Margins


@contextmanager
def exact_products() -> Iterator[None]:
    """float32 matrix products in full precision, whatever the process chose; its choice comes back after."""
    before = torch.get_float32_matmul_precision()
    tf32 = torch.backends.cuda.matmul.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.set_float32_matmul_precision(before)


class _Prepared:
    """Weights as float32 matrices (k*k, in, out), biases and 2**-exponent (out,)."""

    def __init__(self, layer: Layer, device: torch.device) -> None:
        w = torch.from_numpy(layer.weights.astype(np.float32)).to(device)
        self.size = w.shape[2]
        self.matrices = w.permute(2, 3, 1, 0).reshape(-1, w.shape[1], w.shape[0]).contiguous()
        self.bias = torch.from_numpy(layer.bias.astype(np.float32)).to(device)
        self.scale = torch.from_numpy(np.exp2(-layer.exponents.astype(np.float32))).to(device)

    def sums(self, u: torch.Tensor) -> torch.Tensor:
        """Sums of products and bias, exact integers in float32; u (n, h, w, in) float32 of 0..255."""
        n, h, w, _ = u.shape
        if self.size == 1:
            return u @ self.matrices[0] + self.bias
        padded = F.pad(u, (0, 0, 1, 1, 1, 1))
        total = self.bias.expand(n, h, w, -1).clone()
        for i in range(3):
            for j in range(3):
                total += padded[:, i : i + h, j : j + w] @ self.matrices[3 * i + j]
        return total


class FloatBackend:
    """Reference backend on a torch device."""

    uses_torch = True

    def __init__(self, device: str = "cpu") -> None:
        self.device = torch.device(device)
        self.name = "cpu_float" if self.device.type == "cpu" else f"{self.device.type}_float"

    def prepare(self, evaluation: ExactEvaluation) -> list[_Prepared]:
        """Matrices of all layers in order: stem, A, B, ..., head."""
        layers = [evaluation.stem, *(x for pair in evaluation.blocks for x in pair), evaluation.head]
        return [_Prepared(layer, self.device) for layer in layers]

    def run(self, prepared: object, u: NDArray[np.uint8], margins: Margins = NO_MARGINS) -> NDArray[np.int32]:
        """Head sums int32 (h, w, 24); see `exact.Backend`."""
        sums: NDArray[np.int32] = self.run_batch(prepared, u[np.newaxis])[0]
        return sums

    @torch.inference_mode()
    def run_batch(self, prepared: object, u: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Head sums int32 (n, h, w, 24); see `exact.Backend`."""
        layers: list[_Prepared] = prepared  # type: ignore[assignment]
        with exact_products():
            x = torch.from_numpy(u).to(self.device).to(torch.float32)
            stem, blocks, head = layers[0], layers[1:-1], layers[-1]
            stream = torch.round(stem.sums(x) * stem.scale * 16).clamp(-32768, 32767)
            for a, b in zip(blocks[0::2], blocks[1::2], strict=True):
                t = torch.round(a.sums(_activation(stream)) * a.scale).clamp(0, 255)
                stream = (stream + torch.round(b.sums(t) * (b.scale * 8))).clamp(-32768, 32767)
            sums = head.sums(_activation(stream))
            return sums.to(torch.int32).cpu().numpy()


def _activation(stream: torch.Tensor) -> torch.Tensor:
    """u8 activation of the stream (exact integers in float32), ties to even."""
    return torch.round(stream / 8).clamp(0, 255)
