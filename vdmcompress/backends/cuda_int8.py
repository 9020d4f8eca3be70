"""The path of CUDA devices: 8-bit matrix products on their tensor cores, all else in integers of torch.

A convolution is one product: the 3x3 neighbourhoods of many positions, a row each, times the weights.
Products are s8 * s8 with int32 sums, so activations a of 0..255 are kept as a - 128, zeros outside the band
as -128, and 128 times the sum of the weights is part of the bias.  There is no floating point anywhere: no
mode of the process, of cuBLAS or of cuDNN and no fused operation can alter a result.

cuBLAS has given wrong sums for matrices of odd sizes (pytorch issue 107671) and refuses others.  Here all
products of a layer have one size, `ROWS` positions by a multiple of 16 channels, whatever the size of the
band: the known answers try the very products that everything else is computed with.

On the CPU the same code is the twin by which it is tested.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from vdmcompress.errors import LimitError
from vdmcompress.exact import FEATURES, NO_MARGINS, ExactEvaluation, Layer, Margins

ROWS: Final = 1 << 16
"""Positions of a product: those of a tile.  What a small band leaves free is multiplied for nothing."""

LANES: Final = 16
"""Channels come in multiples of it: cuBLAS asks for 8, and 16 bytes make the fastest loads."""

OFFSET: Final = 128
"""What is taken off an activation, so that it fits int8."""

STREAM_RANGE: Final = (-32768, 32767)

Place: TypeAlias = tuple[slice, slice, slice]
"""Images, rows and columns."""


def _padded(channels: int) -> int:
    return -(-channels // LANES) * LANES


class _Product:
    """A layer on the device, whose rounded sums are in units of 2**-shift of a step, `less` subtracted.

    matrix int8 (K, k * k * C), from weights of K outputs and C inputs, both padded.  A sum s becomes
    (s * factor + added) / 2**right, where added has the bias, what the offset of the inputs takes off, and
    2**(right - 1) - 1 for rounding (see `half_even`); all int32 (K,).  As |s| < 2**24 and shift is at most 4,
    int32 holds all of it.  odd: 1 where there is something to round, else 0.
    """

    def __init__(self, layer: Layer, shift: int, less: int, device: torch.device) -> None:
        outputs, inputs, self.size, _ = layer.weights.shape
        weights = np.zeros((_padded(outputs), self.size, self.size, _padded(inputs)), np.int8)
        weights[:outputs, :, :, :inputs] = layer.weights.transpose(0, 2, 3, 1)
        down = np.zeros(len(weights), np.int64)
        down[:outputs] = layer.exponents.astype(np.int64) - shift
        right, factor = np.maximum(down, 0), 1 << np.maximum(-down, 0)
        added = OFFSET * weights.sum(axis=(1, 2, 3), dtype=np.int64)
        added[:outputs] += layer.bias
        added = added * factor + np.where(right > 0, (1 << right >> 1) - 1, 0) - (less << right)
        numbers = np.stack((factor, added, right, right > 0)).astype(np.int32)
        self.matrix = torch.from_numpy(weights.reshape(len(weights), -1)).to(device)
        self.factor, self.added, self.right, self.odd = torch.from_numpy(numbers).to(device)

    def room(self, rows: int) -> torch.Tensor:
        """Where the neighbourhoods of positions are gathered, int64 (rows, k * k * C / 8)."""
        return torch.empty((rows, self.matrix.shape[1] // 8), dtype=torch.int64, device=self.matrix.device)

    def __call__(self, x: torch.Tensor, place: Place, room: torch.Tensor) -> torch.Tensor:
        """Rounded sums int32 (n, h, w, K) at a place of x, int8 (N, H + 2, W + 2, C) with its border."""
        images, rows, columns = place
        reach = self.size // 2
        source = x.view(torch.int64)[
            images,
            rows.start + 1 - reach : rows.stop + 1 + reach,
            columns.start + 1 - reach : columns.stop + 1 + reach,
        ]
        windows = source.unfold(1, self.size, 1).unfold(2, self.size, 1).permute(0, 1, 2, 4, 5, 3)
        shape = windows.shape[:3]
        room[: shape.numel()].view(windows.shape).copy_(windows)
        # the weights as columns: the one order that all generations of tensor cores take
        sums = torch._int_mm(room.view(torch.int8), self.matrix.t())[: shape.numel()]
        sums = half_even(sums.mul_(self.factor).add_(self.added), self.right, self.odd)
        return sums.view(*shape, -1)


def half_even(x: torch.Tensor, right: torch.Tensor | int, odd: torch.Tensor | int = 1) -> torch.Tensor:
    """v / 2**right rounded, ties to even, in place, of x = v + 2**(right - 1) - 1; of x = v where right is 0.

    Only a tie makes the low bits of x all ones, and there one more carries; the bit above them says whether
    it is wanted.  odd: 0 where right is 0, else 1.
    """
    return x.add_((x >> right).bitwise_and_(odd)).bitwise_right_shift_(right)


def activation(stream: torch.Tensor) -> torch.Tensor:
    """Activations less `OFFSET`, int16 -128..127, of a stream int16 at 1/256: its eighths, ties to even."""
    return half_even(stream.clamp(0, 255 << 3).add_(3 - (OFFSET << 3)), 3)


def _pieces(count: int, rows: slice, columns: slice, limit: int) -> Iterator[Place]:
    """Places of at most `limit` positions that cover rows and columns of so many images."""
    height, width = rows.stop - rows.start, columns.stop - columns.start
    if min(count, height, width) <= 0:
        return
    wide = min(width, limit)
    high = min(height, limit // wide)
    many = min(count, limit // (wide * high))
    for i in range(0, count, many):
        for y in range(rows.start, rows.stop, high):
            for x in range(columns.start, columns.stop, wide):
                yield (
                    slice(i, min(i + many, count)),
                    slice(y, min(y + high, rows.stop)),
                    slice(x, min(x + wide, columns.stop)),
                )


class _Prepared:
    def __init__(self, evaluation: ExactEvaluation, device: torch.device) -> None:
        self.stem = _Product(evaluation.stem, 4, 0, device)
        self.blocks = [
            (_Product(a, 0, OFFSET, device), _Product(b, 3, 0, device)) for a, b in evaluation.blocks
        ]
        head = evaluation.head
        self.outputs, self.width = len(head.bias), _padded(head.weights.shape[1])
        # sums as they are: no exponents, nothing to round
        self.head = _Product(Layer(head.weights, head.bias, np.zeros_like(head.exponents)), 0, 0, device)


class CudaBackend:
    """8-bit products on a CUDA device; evaluations of several threads take turns, which bounds its memory.

    device: as torch names it; "cpu" gives the twin.  rows: positions of a product, more than 16.
    """

    uses_torch = True

    def __init__(self, device: str = "cuda", rows: int = ROWS) -> None:
        self.device, self.rows = torch.device(device), rows
        self.name = f"cuda_int8{'' if self.device.type == 'cuda' else f' on {device}'}"
        self._turn = Lock()

    def prepare(self, evaluation: ExactEvaluation) -> _Prepared:
        """Matrices of all layers on the device.  Raises LimitError where its memory is spent."""
        with _memory():
            return _Prepared(evaluation, self.device)

    def run(self, prepared: object, u: NDArray[np.uint8], margins: Margins = NO_MARGINS) -> NDArray[np.int32]:
        """Head sums int32 (h, w, 24); see `exact.Backend`.  Raises LimitError as `prepare` does."""
        sums: NDArray[np.int32] = self._run(prepared, u[np.newaxis], margins)[0]
        return sums

    def run_batch(self, prepared: object, u: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Head sums int32 (n, h, w, 24); see `exact.Backend`.  Raises LimitError as `prepare` does."""
        return self._run(prepared, u, NO_MARGINS)

    @torch.inference_mode()
    def _run(self, prepared: object, u: NDArray[np.uint8], margins: Margins) -> NDArray[np.int32]:
        layers: _Prepared = prepared  # type: ignore[assignment]
        with self._turn, _memory():
            sums: NDArray[np.int32] = self._sums(layers, u, margins).cpu().numpy()
        return sums

    def _sums(self, layers: _Prepared, u: NDArray[np.uint8], margins: Margins) -> torch.Tensor:
        """Head sums int32 (n, h, w, 24) on the device."""
        count, height, width, _ = u.shape

        def bordered(channels: int) -> torch.Tensor:
            shape = (count, height + 2, width + 2, channels)
            return torch.full(shape, -OFFSET, dtype=torch.int8, device=self.device)

        features, active, inner = map(bordered, (_padded(FEATURES), layers.width, layers.width))
        _inside(features)[..., :FEATURES] = (torch.from_numpy(u).to(self.device) ^ OFFSET).view(torch.int8)
        stream = torch.zeros((count, height, width, layers.width), dtype=torch.int16, device=self.device)
        path = [(features, layers.stem, active, True)]
        for a, b in layers.blocks:
            path += [(active, a, inner, False), (inner, b, active, True)]

        def places(following: int) -> Iterator[Place]:
            """What somebody reads, where so many layers follow that reach one position further each."""
            top, bottom, left, right = (max(0, margin - following) for margin in margins)
            return _pieces(count, slice(top, height - bottom), slice(left, width - right), self.rows)

        for number, (x, product, y, streams) in enumerate(path):
            room = product.room(self.rows)
            for place in places(len(path) - 1 - number):
                sums = product(x, place, room)
                if streams:
                    stream[place] = sums.add_(stream[place]).clamp_(*STREAM_RANGE)
                    _inside(y)[place] = activation(stream[place])
                else:
                    _inside(y)[place] = sums.clamp_(-OFFSET, 255 - OFFSET)
        out = torch.zeros((count, height, width, layers.outputs), dtype=torch.int32, device=self.device)
        room = layers.head.room(self.rows)
        for place in places(0):
            out[place] = layers.head(active, place, room)[..., : layers.outputs]
        return out


def _inside(x: torch.Tensor) -> torch.Tensor:
    """View of (n, h + 2, w + 2, C) without the border."""
    return x[:, 1:-1, 1:-1]


@contextmanager
def _memory() -> Iterator[None]:
    """Memory of the device that runs out becomes a LimitError."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        text = ". ".join(" ".join(str(error).split()).split(". ")[:2])
        raise LimitError(f"the GPU's memory is spent ({text}); free some, or use --device cpu") from error
