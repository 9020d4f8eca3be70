"""Training images in memory, random crops of one scale, and a small held-back part.

Crops are flipped, transposed and augmented as pixels, *before* colour and Haar.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from vdmcompress.errors import UsageError
from vdmcompress.train.augment import augment
from vdmcompress.train.stored import HALVED, as_stored, stored_bands
from vdmcompress.transform import Bands, forward_colour, haar_forward

Band = NDArray[np.int32] | torch.Tensor
FourBands = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
"""LL, HL, LH, HH, int32 (N, 3, h, w)."""

SUFFIXES = (".png", ".webp", ".ppm", ".bmp", ".tif", ".tiff")


def load_images(folders: list[Path], least: int = 128) -> list[NDArray[np.uint8]]:
    """All lossless 8-bit RGB images under the folders, by path, uint8 (H, W, 3), at least `least` a side.

    A folder may hold packed sets too: ``.npz`` files with one uint8 array an image, its pixels or the bytes
    of its file (`pack.py`).  Raises UsageError when nothing is found.
    """
    found: list[NDArray[np.uint8]] = []
    paths = sorted(
        p for folder in folders for p in folder.rglob("*") if p.suffix.lower() in (*SUFFIXES, ".npz")
    )

    def decode(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if array.ndim != 1:
            return array
        with Image.open(io.BytesIO(array.tobytes())) as image:
            return np.asarray(image)

    def read(path: Path) -> list[NDArray[np.uint8]]:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as pack:
                return [decode(pack[name]) for name in sorted(pack.files)]
        with Image.open(path) as image:
            return [np.asarray(image)] if image.mode == "RGB" else []

    with ThreadPoolExecutor(4) as pool:
        for images in pool.map(read, paths):
            found += [i for i in images if i.ndim == 3 and min(i.shape[:2]) >= least]
    if not found:
        raise UsageError(f"no RGB images of {least} pixels or more under {', '.join(map(str, folders))}")
    return found


def split(
    images: list[NDArray[np.uint8]], held_back: int
) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.uint8]]]:
    """Every n-th image is held back to see over-fitting; the rest is for training."""
    if held_back == 0:
        return images, []
    stride = max(len(images) // held_back, 1)
    back = set(list(range(stride // 2, len(images), stride))[:held_back])
    return [im for i, im in enumerate(images) if i not in back], [
        im for i, im in enumerate(images) if i in back
    ]


@dataclass(frozen=True)
class Batch:
    """Bands of crops at one scale: ll, hl, lh, hh int32 (N, 3, h, w); components 3 or, for grey crops, 1.

    group: crops of a sample, which go through one evaluation together; N is a multiple.  Bands are arrays, or
    tensors where they were made on a device.
    """

    scale: int
    ll: Band
    hl: Band
    lh: Band
    hh: Band
    components: int
    group: int = 1

    @property
    def samples(self) -> int:
        """Samples of the batch, each with an evaluation of its own."""
        return len(self.ll) // self.group

    def sample(self, index: int) -> slice:
        """Crops of a sample."""
        return slice(index * self.group, (index + 1) * self.group)

    def bands(self, device: torch.device) -> FourBands:
        """LL, HL, LH, HH as tensors on a device."""
        ll, hl, lh, hh = (torch.as_tensor(x, device=device) for x in (self.ll, self.hl, self.lh, self.hh))
        return ll, hl, lh, hh


def bands_of(pixels: NDArray[np.uint8], scale: int) -> Bands:
    """Haar bands of a scale of an image (H, W, 3) or (H, W)."""
    planes = forward_colour(pixels)
    for _ in range(scale):
        planes = haar_forward(planes).ll
    return haar_forward(planes)


def stack_batch(crops: list[NDArray[np.uint8]], scale: int) -> Batch:
    """Bands of equal crops; grey crops (H, W) get chroma planes of zeros."""
    components = 1 if crops[0].ndim == 2 else 3
    parts = [bands_of(c, scale) for c in crops]

    def join(name: str) -> NDArray[np.int32]:
        x = np.stack([getattr(p, name) for p in parts])
        if components == 1:
            x = np.concatenate((x, np.zeros_like(x), np.zeros_like(x)), 1)
        return x.astype(np.int32)

    return Batch(scale, join("ll"), join("hl"), join("lh"), join("hh"), components)


def stored_batch(crops: list[NDArray[np.uint8]], scale: int, rng: np.random.Generator) -> Batch:
    """Bands of equal crops of even sides as a file stores them; all with halved chroma, or none."""
    half = bool(rng.random() < HALVED)
    parts = [stored_bands(as_stored(crop, half, rng), half, scale) for crop in crops]
    ll, hl, lh, hh = (np.stack([part[i] for part in parts]) for i in range(4))
    return Batch(scale, ll, hl, lh, hh, 1 if half and scale == 0 else 3)


def random_crop(image: NDArray[np.uint8], size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A crop of size x size, flipped, transposed and augmented at random."""
    h, w = image.shape[:2]
    top, left = int(rng.integers(h - size + 1)), int(rng.integers(w - size + 1))
    crop = image[top : top + size, left : left + size]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    if rng.random() < 0.5:
        crop = crop[::-1]
    if rng.random() < 0.5:
        crop = crop.transpose(1, 0, 2)
    return augment(np.ascontiguousarray(crop), rng)


@dataclass(frozen=True)
class Crops:
    """Makes batches of random crops, each a pure function of (seed, step number), so that resuming is exact.

    images: uint8 (H, W, 3) each, drawn in proportion to their area.  samples: of a batch, `group` crops each.
    crop: side of a crop in band positions; crops are at most 512 pixels and at most the image.  scales:
    probabilities of the scales.  grey: share of grey batches.  stored: crops as a JPEG or PhotoCD has them.
    """

    images: list[NDArray[np.uint8]]
    samples: int
    crop: int
    scales: tuple[float, ...]
    grey: float
    seed: int
    group: int = 1
    stored: bool = False

    def __call__(self, step: int) -> Batch:
        """The batch of a step."""
        rng = np.random.default_rng((self.seed, step))
        scale = int(rng.choice(len(self.scales), p=self.scales))
        size = min(self.crop << (scale + 1), 512)
        area = np.array([im.shape[0] * im.shape[1] for im in self.images], np.float64)
        each = rng.choice(len(self.images), self.samples * self.group, p=area / area.sum())
        chosen = [self.images[i] for i in each]
        size = min(size, *(min(im.shape[:2]) for im in chosen))
        size -= size % (2 << scale)
        crops = [random_crop(im, size, rng) for im in chosen]
        if self.stored:
            return replace(stored_batch(crops, scale, rng), group=self.group)
        if rng.random() < self.grey:
            crops = [np.asarray(Image.fromarray(c).convert("L")) for c in crops]
        return replace(stack_batch(crops, scale), group=self.group)


def endless(make: Callable[[int], Batch], start: int, workers: int = 0) -> Iterator[Batch]:
    """Batches make(start), make(start + 1), ..., made while others are used.

    workers: processes that make them, each a batch at a time; 0 for one thread of this process.
    """
    if workers:
        yield from DataLoader(
            _Steps(make), batch_size=None, sampler=count(start), num_workers=workers, prefetch_factor=4
        )
    with ThreadPoolExecutor(1) as pool:
        ahead = [pool.submit(make, start + i) for i in range(3)]
        step = start + 3
        while True:
            yield ahead.pop(0).result()
            ahead.append(pool.submit(make, step))
            step += 1


class _Steps(Dataset[Batch]):
    """Batches by step number, as a DataLoader asks for them."""

    def __init__(self, make: Callable[[int], Batch]) -> None:
        self.make = make

    def __getitem__(self, step: int) -> Batch:
        return self.make(step)
