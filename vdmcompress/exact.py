"""Exact networks: the trained graph in integers, with a proven bound and known answers.

    u8 activations at 1/32 (inputs at 1/16), s8 weights |w| <= 63 with a power of two for each output channel,
    int32 (or exact float32) sums below 2**24, residual stream int16 at 1/256, ties to even.

A sum of products u8 * s8 that stays below 2**24 in every order is the same integer in int32 and in float32,
on every machine, with every thread count and every tiling: `prove` checks that bound from the weights alone.
What remains, rounding and saturation, is defined on integers.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from vdmcompress.errors import LimitError, MachineError, ModelMissingError

if TYPE_CHECKING:
    from vdmcompress.model_file import Model

WEIGHT_LIMIT = 63
"""Largest |weight|: a pair of u8 x s8 products then fits 16 bits, where some 8-bit kernels saturate."""

SUM_LIMIT = 1 << 24
"""Sums of products and bias stay below this, so that float32 holds them exactly."""

EXPONENT_RANGE = (0, 15)
LINEAR_BITS = 12
"""Fractional bits of the linear predictor's weights."""

LINEAR_LIMIT = 1 << 30
"""Linear predictions stay below this, so that int32 holds them and half a grey level (`mirrors.py`)."""

FEATURES = 30
"""Inputs of the network: both signs of 15 integers a position: LL along x, along y, HL, LH, LL."""

LINEAR_INPUTS = 12
"""Integers that the linear predictor reads: all but LL itself."""

PART = 12
"""Head channels of a part: mean, scale, coupling, correction of the scale, three components each."""

FACTORS16 = (6, 10, 16, 28, 48, 128)
"""Scale factors of the level-0 mixture in sixteenths: .375, .625, 1, 1.75, 3, 8."""

RAW_LIMIT = 2047
"""Largest |value| of a raw input that the linear predictor may meet."""

SIZES = {"width": (8, 512), "blocks": (1, 15), "scales": (2, 16)}
"""Least and most of what determines a graph; 15 blocks reach 31 rows, within the lowest strip of a plan."""


def check_sizes(width: int, blocks: int, scales: int) -> None:
    """Raise ValueError unless the sizes of a graph are within `SIZES`."""
    for (name, (low, high)), value in zip(SIZES.items(), (width, blocks, scales), strict=True):
        if not low <= value <= high:
            raise ValueError(f"{name} {value}, allowed are {low} to {high}")


@dataclass(frozen=True)
class Layer:
    """One convolution: weights int8 (out, in, k, k), bias int32 (out,) in units of the sums, exponents.

    A sum s stands for s * 2**-exponent in units of the input's step.
    """

    weights: NDArray[np.int8]
    bias: NDArray[np.int32]
    exponents: NDArray[np.int8]

    def bound(self) -> NDArray[np.int64]:
        """Largest possible |sum| of each output channel, for any inputs 0..255 and any order of summation."""
        total = self._sizes().sum(axis=(1, 2, 3), dtype=np.int64) * 255
        bound: NDArray[np.int64] = total + np.abs(self.bias.astype(np.int64))
        return bound

    def _sizes(self) -> NDArray[np.int16]:
        """|weights|, in a type that holds 128 and is narrow: a model proves hundreds of layers on loading."""
        sizes: NDArray[np.int16] = np.abs(self.weights.astype(np.int16))
        return sizes

    def prove(self, name: str) -> None:
        """Raise ModelMissingError unless weights, exponents and sums keep their bounds."""
        largest = int(self._sizes().max(initial=0))
        if largest > WEIGHT_LIMIT:
            raise ModelMissingError(
                f"model: {name} has a weight of {largest}, allowed is {WEIGHT_LIMIT}; use a sound copy"
            )
        worst = int(self.bound().max(initial=0))
        if worst >= SUM_LIMIT:
            raise ModelMissingError(
                f"model: {name} can reach a sum of {worst}, allowed is < {SUM_LIMIT}; use a sound copy"
            )
        low, high = EXPONENT_RANGE
        if int(self.exponents.min()) < low or int(self.exponents.max()) > high:
            raise ModelMissingError(f"model: {name} has exponents outside {low}..{high}; use a sound copy")


@dataclass(frozen=True)
class ExactEvaluation:
    """The integer graph of one network evaluation (a weight set with the biases of a row).

    stem (30 -> w), blocks of (A, B) (w -> w), head (w -> 24, 1x1); linear int32 (6, 12, 3, 3), unit 2**-12.
    """

    stem: Layer
    blocks: tuple[tuple[Layer, Layer], ...]
    head: Layer
    linear: NDArray[np.int32]

    def prove(self, name: str) -> None:
        """Check every layer's bound and the linear predictor's (int32 sums)."""
        self.stem.prove(f"{name} stem")
        for i, (a, b) in enumerate(self.blocks):
            a.prove(f"{name} block {i} A")
            b.prove(f"{name} block {i} B")
        self.head.prove(f"{name} head")
        worst = int(np.abs(self.linear.astype(np.int64)).sum(axis=(1, 2, 3)).max()) * RAW_LIMIT
        if worst >= LINEAR_LIMIT:
            raise ModelMissingError(f"model: {name} linear predictor can reach {worst}, allowed is < 2**30")

    @property
    def reach(self) -> int:
        """Rows and columns on each side on which an output position depends."""
        return 1 + 2 * len(self.blocks)


Margins: TypeAlias = tuple[int, int, int, int]
"""Rows at the top and at the bottom, columns at the left and at the right."""

NO_MARGINS: Final[Margins] = (0, 0, 0, 0)


Share: TypeAlias = Callable[[Callable[[slice], None], slice], None]
"""Calls a function for the parts of a range, in any order or at once; ends when all have ended."""


def whole(work: Callable[[slice], None], rows: slice) -> None:
    """A `Share` for one thread."""
    work(rows)


class Backend(Protocol):
    """A way of computing an exact evaluation; all give the same integers."""

    name: str
    uses_torch: bool
    """Whether torch computes, whose own threads are switched off then."""

    def prepare(self, evaluation: ExactEvaluation) -> object:
        """Weights in the backend's own form."""

    def run(self, prepared: object, u: NDArray[np.uint8], margins: Margins = NO_MARGINS) -> NDArray[np.int32]:
        """Head sums int32 (h, w, 24) for inputs u8 (h, w, 30); zeros outside.

        margins: rows and columns of the result that nobody will read, which may hold anything.
        """

    def run_batch(self, prepared: object, u: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Head sums int32 (n, h, w, 24) for n inputs u8 (n, h, w, 30), each alone with zeros around it."""


@runtime_checkable
class SharingBackend(Backend, Protocol):
    """A backend in which threads share each layer, so that no margin is computed twice."""

    def run_shared(
        self, prepared: object, u: NDArray[np.uint8], margins: Margins, share: Share
    ) -> NDArray[np.int32]:
        """`run`, with the rows of each layer spread over threads by `share`."""


def probe_input(height: int = 24, width: int = 11) -> NDArray[np.uint8]:
    """Inputs for known answers, u8 (h, w, 30): extremes, stripes, a ramp, hashed noise, rows as in images.

    Extremes drive nearly every activation to 0 or 255, where rounding does not show; the rows below them hold
    what images hold, noise of 1 to 32 grey levels over a slope of LL, with one sign of each value.
    """
    return _probe(height, width).copy()


@cache
def _probe(height: int, width: int) -> NDArray[np.uint8]:
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(FEATURES), indexing="ij")
    noise = (((y * 73856093) ^ (x * 19349663) ^ (c * 83492791)) * 2654435761 & 0xFFFFFFFF) >> 13
    u = noise % 256
    u = np.where(y < 2, np.where((x + y + c) % 2 == 0, 255, 0), u)
    u = np.where((y >= 2) & (y < 4), 255, u)
    u = np.where((y >= 4) & (y < 6), np.where(c == 0, (x * 23) % 256, 0), u)
    strength = 1 << (y // 3 % 6)
    value = (noise % (2 * strength + 1) - strength)[:, :, : FEATURES // 2]
    value[:, :, 12] = (40 + 3 * y + 5 * x)[:, :, 12]
    u = np.where(y < 8, u, np.concatenate((value, -value), axis=2).clip(0, 255))
    result: NDArray[np.uint8] = u.astype(np.uint8)
    return result


def answer(sums: NDArray[np.int32]) -> int:
    """Known answer: CRC-32 of head sums as little-endian int32."""
    return zlib.crc32(np.ascontiguousarray(sums, "<i4").tobytes())


def check_answer(backend: Backend, prepared: object, expected: int, name: str) -> None:
    """Raise MachineError unless the backend gives the model's known answer."""
    met = answer(backend.run(prepared, probe_input()))
    if met != expected:
        raise MachineError(
            f"this machine computes differently: {backend.name} gives {met:08x} for {name}, the model knows "
            f"{expected:08x}; run 'vdmc selftest', update torch, or use another machine"
        )


def selftest(model: Model | None = None) -> Iterator[tuple[str, bool, str]]:
    """Check this machine: coder table, and every evaluation of a model on every CPU path and the CUDA device.

    model: the one to check; None for every model found.  Gives (name, sound, detail) as each check ends.
    """
    from codec.gaussian import NORMAL_CDF_SHA256, normal_cdf, normal_cdf_sha256
    from vdmcompress.engine import CPU_BACKENDS, CUDA_BACKENDS, candidate_backends, cuda_available
    from vdmcompress.model_search import list_models, load_model

    yield "table of the normal distribution", normal_cdf_sha256(normal_cdf()) == NORMAL_CDF_SHA256, ""
    ways = CPU_BACKENDS + (CUDA_BACKENDS if cuda_available() else ())
    found = map(load_model, (info.path for info in list_models())) if model is None else iter([model])
    for model in found:
        for backend in chain.from_iterable(map(candidate_backends, ways)):
            name = f"model {model.name} on {backend.name}"
            try:
                for row in range(model.slots * model.scales):
                    prepared = backend.prepare(model.evaluation(row))
                    check_answer(backend, prepared, model.answer(row), f"row {row}")
            except (AttributeError, NotImplementedError) as error:
                yield name, True, f"not available here ({error}); the reference path serves"
            except (MachineError, LimitError, RuntimeError) as error:
                yield name, False, str(error)
            else:
                yield name, True, f"{model.slots * model.scales} known answers"
