"""The rate of a vdm32 against the number of steps: bound, net rate, initial bits, seconds an image.

The bound of a number of steps T is scored on more images than are coded where T is large, since coding runs
the network T times for each. All figures are bits per dimension with the standard error over images.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from vdmcompress.vdm32 import coding, objective, steps
from vdmcompress.vdm32.chain import ChainCoder, Order, needed
from vdmcompress.vdm32.checkpoint import Vdm32
from vdmcompress.vdm32.variance import VarianceKind

T_EVAL = (10, 25, 50, 100, 250, 500)
TOP_DOWN_UP_TO = 50
"""Top-down, a chain borrows a word or so for each latent: coded up to this T, computed beyond."""


@dataclass(frozen=True)
class Measured:
    """Mean over images and its standard error."""

    mean: float
    error: float

    @classmethod
    def of(cls, values: Tensor) -> Measured:
        """Of one value for each image."""
        error = float(values.std() / len(values) ** 0.5) if len(values) > 1 else 0.0
        return cls(float(values.mean()), error)


@dataclass(frozen=True)
class Rate:
    """A row of the table.

    vlb: bound, all terms, on `vlb_images`.  vlb_coded: the bound in closed form on the very latents that were
    coded, net: what `coded_images` cost, initial: what the first of them had to borrow, total: of one image
    alone.  chain_total: of each image where `coded_images` follow one another on one stack.  seconds: for
    each image, to encode.
    """

    steps: int
    order: Order
    variance: VarianceKind
    vlb_images: int
    coded_images: int
    vlb: Measured
    vlb_coded: Measured
    net: Measured
    initial: Measured
    total: float
    chain_total: float
    seconds: float
    exact: bool

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def coded_count(count: int, most: int) -> int:
    """How many images are coded with so many steps: `most` up to 50, a quarter of it from 500 on."""
    return max(1, most if count <= 50 else most // 2 if count <= 250 else most // 4)


def bound(
    model: Vdm32, levels: Tensor, gammas: Tensor, seed: int, variance: VarianceKind, mse: Tensor | None
) -> Tensor:
    """The bound of images, (N,), in float32, in batches of 32."""
    generator = torch.Generator().manual_seed(seed)
    fitted = None if mse is None else mse.float()
    parts = [
        objective.evaluate(model.denoiser, part, gammas.float(), generator, variance, fitted).total
        for part in torch.split(levels, 32)
    ]
    return torch.cat(parts).double()


def code(
    coder: ChainCoder, levels: Tensor, batch: int, seed: int, check: bool
) -> tuple[coding.Coded, bool, float]:
    """Codes images in batches and decodes them again; costs (N,), whether all came back, seconds an image.

    Raises:
        RuntimeError: an image or a stack did not come back as it was; a defect.
    """
    parts, seconds = [], 0.0
    for number, part in enumerate(torch.split(levels, batch)):
        stack = coding.filled(len(part), needed(coder), seed + number)
        before = stack.copy()
        started = time.perf_counter()
        parts.append(coding.encode(coder, part, stack))
        seconds += time.perf_counter() - started
        if check:
            same = torch.equal(coding.decode(coder, len(part), stack), part)
            if not same or stack.to_lanes() != before.to_lanes():
                raise RuntimeError(
                    f"{coder.steps} steps {coder.order}: decoding did not give the images back"
                )
    return coding.joined(parts), check, seconds / len(levels)


def rates(
    model: Vdm32,
    levels: Tensor,
    counts: tuple[int, ...] = T_EVAL,
    coded: int = 16,
    variance: VarianceKind = "lower",
    mse: Tensor | None = None,
    seed: int = 0,
    check_up_to: int = 100,
) -> Iterator[Rate]:
    """Rows of the table for images, levels int64 (N, 3, H, W), the bound on all, the first `coded` coded.

    mse: (T,) for the fitted variance, of a single count.  check_up_to: decoding is checked for chains of at
    most so many steps.
    """
    dimensions = levels[0].numel()
    shape = (int(levels.shape[1]), int(levels.shape[2]), int(levels.shape[3]))
    for count in counts:
        gammas = steps.even(model.schedule, count)
        scored = levels if count <= 100 else levels[: max(coded, len(levels) * 100 // count)]
        vlb = bound(model, scored, gammas, seed, variance, mse)
        orders: tuple[Order, ...] = ("bottom-up", "top-down") if count <= TOP_DOWN_UP_TO else ("bottom-up",)
        for order in orders:
            coder = ChainCoder(model.denoiser, gammas, order, variance=variance, mse=mse, shape=shape)
            part = levels[: coded_count(count, coded)]
            result, exact, seconds = code(coder, part, 8, seed, count <= check_up_to)
            net, initial, own = (
                torch.from_numpy(v) / dimensions for v in (result.net, result.initial, result.vlb)
            )
            yield Rate(
                count, order, variance, len(scored), len(part), Measured.of(vlb), Measured.of(own),
                Measured.of(net), Measured.of(initial), float((net + initial).mean()),
                float(net.mean() + initial[0] / len(net)), seconds, exact,
            )  # fmt: skip
