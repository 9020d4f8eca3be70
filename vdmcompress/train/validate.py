"""Validation of the float model: VLB terms by scale and slot on centre crops, with the noise fixed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vdmcompress.network import Graph
from vdmcompress.train.augment import grain, halve_chroma, sharpen
from vdmcompress.train.data import Batch, stack_batch, stored_batch
from vdmcompress.train.neighbours import Neighbours
from vdmcompress.train.objective import batch_loss


@dataclass(frozen=True)
class ValidationSet:
    """Centre crops of one size, uint8 (size, size, 3) each; group: how many are measured together.

    stored: they are measured as a JPEG or a PhotoCD has them.
    """

    crops: tuple[NDArray[np.uint8], ...]
    group: int = 1
    stored: bool = False

    @classmethod
    def of(cls, images: list[NDArray[np.uint8]], size: int, wild: bool = False) -> ValidationSet:
        """Centre crops; `wild` makes photographs with halved chroma, sharpening and grain out of them."""
        crops = []
        for i, image in enumerate(images):
            top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
            crop = np.ascontiguousarray(image[max(top, 0) :, max(left, 0) :][:size, :size])
            if crop.shape[:2] != (size, size):
                continue
            if wild:
                rng = np.random.default_rng((17, i))
                crop = halve_chroma(grain(sharpen(crop, rng), rng), rng)
            crops.append(crop)
        return cls(tuple(crops))

    @property
    def groups(self) -> int:
        """Batches that hold all crops."""
        return -(-len(self.crops) // self.group)

    def batch(self, scale: int, index: int) -> Batch:
        """The bands of a group of crops at a scale, as one sample."""
        crops = list(self.crops[index * self.group : (index + 1) * self.group])
        if self.stored:
            return replace(stored_batch(crops, scale, np.random.default_rng((19, index))), group=len(crops))
        return replace(stack_batch(crops, scale), group=len(crops))


Measure = Callable[[Batch, int, torch.Generator], tuple[float, float | None]]
"""Bits a value of an evaluation (slot) on a batch, and of the direct prediction where it is a top."""


@torch.no_grad()
def measured_table(
    measure: Measure, slots: int, images: ValidationSet, scales: int, device: torch.device
) -> dict[str, Any]:
    """VLB in bpd over all scales asked for, and bits a value by scale and slot (direct predictions: d).

    Raises ValueError for a set without images, of which no mean can be told.
    """
    if not images.crops:
        raise ValueError("no images to validate on; hold some back, at least as large as [train] valid_crop")
    sums: dict[str, float] = {}
    generator = torch.Generator(device).manual_seed(5)
    for index in range(images.groups):
        for scale in range(scales):
            batch = images.batch(scale, index)
            share = batch.group / len(images.crops)
            for slot in range(slots):
                bits, direct = measure(batch, slot, generator)
                for key, value in ((f"s{scale}.{slot}", bits), (f"s{scale}.{slot}d", direct)):
                    if value is not None:
                        sums[key] = sums.get(key, 0.0) + value * share
    total = sum(v * 4.0 ** -(int(k[1]) + 1) for k, v in sums.items() if not k.endswith("d"))
    return {"bpd": round(total, 4), "terms": {k: round(v, 4) for k, v in sorted(sums.items())}}


def bits_table(
    model: Graph, images: ValidationSet, scales: int, neighbours: Neighbours | None = None
) -> dict[str, Any]:
    """`measured_table` of a model in direct form, corrected by neighbours if they are given."""

    def measure(batch: Batch, slot: int, generator: torch.Generator) -> tuple[float, float | None]:
        found = batch_loss(model, batch, [slot], [1.0], 0.0, generator, False, neighbours=neighbours)
        bits, direct = found[slot]
        return float(bits), None if direct is None else float(direct)

    device = next(model.parameters()).device
    return measured_table(measure, model.config.slots, images, scales, device)
