"""Batches made where the network is: all images lie on the GPU, crops are cut, turned and transformed there.

A GPU takes hundreds of millions of pixels a second, more than the processors beside it could augment. They
augment whole photographs instead: behind each photograph on the device there is room for copies, which
processes fill one after the other, over and over. Half of the crops come from the photographs as they are,
half from their copies. Which copies are there depends on the time, so that a run does not repeat to the bit.

Small images (`small.py`) are only drawn and mirrored, with the very draws of a CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event, Thread
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from vdmcompress.engine import default_threads
from vdmcompress.train.augment import Pixels, alter, augment
from vdmcompress.train.data import Batch, Crops, FourBands
from vdmcompress.train.small import SmallGroups
from vdmcompress.train.stored import HALVED, stored_whole

COPIES = 24
"""Augmented copies of each photograph that a device has room for."""


def luma(pixels: torch.Tensor) -> torch.Tensor:
    """Grey (...) int16 of RGB uint8 (..., 3), as Pillow converts it (ITU-R BT.601 in 16 bits)."""
    red, green, blue = pixels.to(torch.int32).unbind(-1)
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).to(torch.int16)


def colour_planes(pixels: torch.Tensor) -> torch.Tensor:
    """YCoCg-R planes int16 (N, 3, H, W) of RGB uint8 (N, H, W, 3); twin of `transform.forward_colour`."""
    red, green, blue = pixels.to(torch.int16).unbind(-1)
    co = red - blue
    t = blue + (co >> 1)
    cg = green - t
    return torch.stack((t + (cg >> 1), co, cg), 1)


def split_rows(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Low and high values of pairs of rows of x (..., H, W), H even."""
    a, b = x[..., 0::2, :], x[..., 1::2, :]
    return (a + b) >> 1, a - b


def split_columns(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Low and high values of pairs of columns of x (..., H, W), W even."""
    a, b = x[..., 0::2], x[..., 1::2]
    return (a + b) >> 1, a - b


def bands_on_device(planes: torch.Tensor, scale: int) -> FourBands:
    """LL, HL, LH, HH int32 of a scale of planes int16 (N, C, H, W) whose sides divide by 2 << scale.

    Twin of `transform.haar_forward`.
    """
    for _ in range(scale):
        planes = split_rows(split_columns(planes)[0])[0]
    low, high = split_columns(planes)
    ll, lh, hl, hh = (x.to(torch.int32).contiguous() for x in (*split_rows(low), *split_rows(high)))
    return ll, hl, lh, hh


def device_batch(pixels: torch.Tensor, scale: int, grey: bool) -> Batch:
    """One sample of images uint8 (N, H, W, 3) at a scale; grey: without their colours."""
    if grey:
        plane = luma(pixels)
        planes = torch.stack((plane, torch.zeros_like(plane), torch.zeros_like(plane)), 1)
    else:
        planes = colour_planes(pixels)
    ll, hl, lh, hh = bands_on_device(planes, scale)
    return Batch(scale, ll, hl, lh, hh, 1 if grey else 3, len(pixels))


def stored_on_device(pixels: torch.Tensor, scale: int, half: bool) -> Batch:
    """One sample of stored images uint8 (N, H, W, 3) at a scale; twin of `stored.stored_bands`."""
    y, *chroma = (x.to(torch.int16) for x in pixels.unbind(-1))
    pair = torch.stack(chroma, 1) - 128
    if not half:
        return Batch(scale, *bands_on_device(torch.cat((y[:, None], pair), 1), scale), 3, len(pixels))
    pair = pair[..., ::2, ::2]
    if scale > 0:
        low = split_rows(split_columns(y[:, None])[0])[0]
        return Batch(scale, *bands_on_device(torch.cat((low, pair), 1), scale - 1), 3, len(pixels))
    none = torch.zeros_like(pair, dtype=torch.int32)
    ll, *details = bands_on_device(y[:, None], 0)
    hl, lh, hh = (torch.cat((x, none), 1) for x in details)
    return Batch(scale, torch.cat((ll, pair.to(torch.int32)), 1), hl, lh, hh, 1, len(pixels))


def _stored_first(half: bool, image: Pixels) -> Pixels:
    """A photograph as stored, the same each time, of its own shape; an odd row or column is repeated."""
    return stored_whole(image, half, np.random.default_rng((23, *image.shape)))


class DeviceImages:
    """Photographs uint8 (H, W, 3) on a device, and room for `copies` more of each.

    Pixels of image i's copy c begin at starts[i] + c * areas[i]; copy 0 is the photograph itself.
    """

    def __init__(self, images: list[Pixels], copies: int, device: torch.device) -> None:
        self.heights, self.widths = np.array([im.shape[:2] for im in images], np.int64).T
        self.areas = self.heights * self.widths
        self.starts = (1 + copies) * (np.cumsum(self.areas) - self.areas)
        self.copies = copies
        self.filled = np.zeros(len(images), np.int64)
        self._turn = np.zeros(len(images), np.int64)
        total = int((1 + copies) * self.areas.sum())
        self.pixels = torch.empty((total, 3), dtype=torch.uint8, device=device)
        self._stream: Any = (
            torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        )
        for i, image in enumerate(images):
            self._put(i, 0, image)

    def _put(self, image: int, copy: int, pixels: Pixels) -> None:
        start, area = int(self.starts[image] + copy * self.areas[image]), int(self.areas[image])
        flat = torch.tensor(np.ascontiguousarray(pixels)).view(area, 3)
        with torch.cuda.stream(self._stream):
            self.pixels[start : start + area].copy_(flat)
        if self._stream is not None:
            self._stream.synchronize()

    def add_copy(self, image: int, pixels: Pixels) -> None:
        """An augmented copy in place of the oldest one; a crop cut at that moment may have parts of both."""
        self._put(image, 1 + int(self._turn[image]), pixels)
        self._turn[image] = (self._turn[image] + 1) % self.copies
        self.filled[image] = min(self.filled[image] + 1, self.copies)

    def cut(
        self, image: NDArray[np.int64], size: int, rng: np.random.Generator, even: bool = False
    ) -> torch.Tensor:
        """A crop uint8 (N, size, size, 3) of each image, from it or by half of the chance from a copy.

        Crops lie and are turned at random: mirrored, turned upside down, transposed.  even: at even rows and
        columns only.
        """
        count, last = len(image), size - 1
        from_copy = (rng.random(count) < 0.5) & (self.filled[image] > 0)
        copy = np.where(from_copy, 1 + rng.integers(np.maximum(self.filled[image], 1)), 0)
        top = rng.integers(self.heights[image] - last)
        left = rng.integers(self.widths[image] - last)
        if even:
            top, left = top - top % 2, left - left % 2
        down, right = rng.random(count) < 0.5, rng.random(count) < 0.5
        width = self.widths[image]
        row = np.where(down, width, -width)
        column = np.where(right, 1, -1)
        first = self.starts[image] + copy * self.areas[image]
        first += np.where(down, top, top + last) * width + np.where(right, left, left + last)
        turned = rng.random(count) < 0.5
        along = np.stack((first, np.where(turned, column, row), np.where(turned, row, column)))
        origin, i, j = torch.from_numpy(along).to(self.pixels.device).view(3, count, 1, 1)
        steps = torch.arange(size, device=self.pixels.device)
        return self.pixels[origin + i * steps[:, None] + j * steps]


class DeviceCrops:
    """Makes batches like `data.Crops`, one sample each, on the device where the images are.

    Crops of a scale all have one size: the configured one, or what at least half of the images have room for.
    """

    def __init__(self, crops: Crops, copies: int, device: torch.device) -> None:
        self.crops = crops
        self.pools = [DeviceImages(crops.images, copies, device)]
        if crops.stored:
            with ThreadPoolExecutor(default_threads()) as pool:
                drawn = [list(pool.map(partial(_stored_first, half), crops.images)) for half in (False, True)]
            self.pools = [DeviceImages(images, copies, device) for images in drawn]
        self.images = self.pools[0]
        sides = np.minimum(self.images.heights, self.images.widths)
        self.sizes: list[int] = []
        self.chances: list[NDArray[np.float64]] = []
        for scale in range(len(crops.scales)):
            size = min(crops.crop << (scale + 1), 512, int(np.median(sides)))
            size -= size % (2 << scale)
            area = np.where(sides >= size, self.images.areas, 0).astype(np.float64)
            self.sizes.append(size)
            self.chances.append(area / area.sum())

    def __call__(self, step: int) -> Batch:
        """The batch of a step."""
        crops = self.crops
        rng = np.random.default_rng((crops.seed, step))
        scale = int(rng.choice(len(crops.scales), p=crops.scales))
        chance = self.chances[scale]
        image = rng.choice(len(chance), crops.samples * crops.group, p=chance)
        if crops.stored:
            half = bool(rng.random() < HALVED)
            found = self.pools[half].cut(image, self.sizes[scale], rng, even=True)
            return stored_on_device(found, scale, half)
        return device_batch(
            self.images.cut(image, self.sizes[scale], rng), scale, bool(rng.random() < crops.grey)
        )


class DeviceGroups:
    """Makes batches like `small.SmallGroups`, with the same draws, all groups of a batch as one sample."""

    def __init__(self, groups: SmallGroups, device: torch.device) -> None:
        self.groups = groups
        self.images = torch.from_numpy(groups.images).to(device)

    def __call__(self, step: int) -> Batch:
        """The batch of a step."""
        scale, chosen, mirrored, grey = self.groups.draw(step)
        device = self.images.device
        pixels = self.images[torch.from_numpy(chosen).to(device)]
        flip = torch.from_numpy(mirrored).to(device).view(-1, 1, 1, 1)
        return device_batch(torch.where(flip, pixels.flip(2), pixels), scale, grey)


class _Copies(IterableDataset[tuple[int, int, torch.Tensor]]):
    """Augmented photographs without end: (number, pool, pixels), drawn by area; processes draw their own."""

    def __init__(self, images: list[Pixels], seed: int, stored: bool) -> None:
        self.images, self.seed, self.stored = images, seed, stored

    def __iter__(self) -> Iterator[tuple[int, int, torch.Tensor]]:
        info = get_worker_info()
        rng = np.random.default_rng((self.seed, 13, 0 if info is None else info.id))
        area = np.array([im.shape[0] * im.shape[1] for im in self.images], np.float64)
        while True:
            i = int(rng.choice(len(area), p=area / area.sum()))
            if self.stored:
                half = rng.random() < HALVED
                yield i, int(half), torch.tensor(stored_whole(augment(self.images[i], rng), half, rng))
                continue
            pixels = alter(self.images[i], rng)
            if pixels is not self.images[i]:
                yield i, 0, torch.tensor(pixels)


def copies_without_end(
    images: list[Pixels], seed: int, workers: int, stored: bool = False
) -> Iterator[tuple[int, int, Pixels]]:
    """`_Copies` made by processes, or in place with 0 workers."""
    ahead: dict[str, Any] = {"prefetch_factor": 2} if workers else {}
    copies = _Copies(images, seed, stored)
    for i, pool, pixels in DataLoader(copies, batch_size=None, num_workers=workers, **ahead):
        yield int(i), int(pool), pixels.numpy()


def on_device(
    make: Crops | SmallGroups, start: int, workers: int, device: torch.device, copies: int = COPIES
) -> Iterator[Batch]:
    """Endless batches from step `start` on, on a device; workers: processes that augment photographs."""
    if isinstance(make, SmallGroups):
        groups, step = DeviceGroups(make, device), start
        while True:
            yield groups(step)
            step += 1
    crops, closed, step = DeviceCrops(make, copies, device), Event(), start

    def fill() -> None:
        for image, pool, pixels in copies_without_end(make.images, make.seed + start, workers, make.stored):
            if closed.is_set():
                return
            crops.pools[pool].add_copy(image, pixels)

    thread = Thread(target=fill, daemon=True)
    thread.start()
    try:
        while True:
            yield crops(step)
            step += 1
    finally:
        closed.set()
        thread.join()
