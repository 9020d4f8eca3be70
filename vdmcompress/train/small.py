"""Training on whole small images: mosaics cut into images, and batches of groups of them.

A small image is coded from edge to edge, so it is trained as it is coded: no crops, zeros outside, mirrored
left to right at the most.  A sample is a group of images that go through one evaluation together; at each
coarser scale four times as many, so that every sample has the same number of positions.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vdmcompress.errors import UsageError
from vdmcompress.train.data import Batch, load_images
from vdmcompress.transform import Bands, forward_colour, haar_forward

Pixels = NDArray[np.uint8]

MOSAIC = (25, 40)
"""Rows and columns of images in the mosaics that `rows_to_mosaics` writes."""


def tiles(mosaic: Pixels, side: int) -> Pixels:
    """Images uint8 (N, side, side, 3) of a mosaic (H, W, 3), row by row; sides must be multiples."""
    height, width = mosaic.shape[0] // side, mosaic.shape[1] // side
    cut = mosaic.reshape(height, side, width, side, 3).swapaxes(1, 2)
    return np.ascontiguousarray(cut.reshape(-1, side, side, 3))


def load_small(folders: list[Path], side: int) -> Pixels:
    """All small images under the folders, uint8 (N, side, side, 3): single ones, or mosaics of them.

    Reads what `data.load_images` reads.  Raises UsageError for an image that is no mosaic of this side.
    """
    found = load_images(folders, side)
    for image in found:
        if image.shape[0] % side or image.shape[1] % side:
            raise UsageError(
                f"an image of {image.shape[1]}x{image.shape[0]} is no mosaic of {side}x{side}; "
                "set [train] whole to the side of its images, or 0 for crops"
            )
    return np.concatenate([tiles(image, side) for image in found])


def split_small(images: Pixels, held_back: int) -> tuple[Pixels, Pixels]:
    """The last `held_back` images are kept aside to see over-fitting; the rest is for training.

    Raises UsageError where nothing would be left to train on.
    """
    if held_back >= len(images):
        raise UsageError(f"held_back {held_back}, allowed are fewer than the {len(images)} images")
    count = len(images) - held_back
    return images[:count], images[count:]


def small_bands(pixels: Pixels, scale: int) -> Bands:
    """Haar bands of a scale of many images (N, S, S, 3) at once, int16 (N, 3, h, w) each."""
    count, side = pixels.shape[:2]
    planes = forward_colour(pixels.reshape(count * side, side, 3))
    planes = planes.reshape(3, count, side, side).swapaxes(0, 1).reshape(3 * count, side, side)
    for _ in range(scale):
        planes = haar_forward(planes).ll
    bands = haar_forward(planes)
    shape = (count, 3, *bands.ll.shape[1:])
    return Bands(*(b.reshape(shape) for b in (bands.ll, bands.hl, bands.lh, bands.hh)))


def small_batch(pixels: Pixels, scale: int, group: int, grey: bool = False) -> Batch:
    """A batch of groups of whole images (N, S, S, 3); grey: without their colours."""
    count, side = pixels.shape[:2]
    if grey:
        flat = Image.fromarray(pixels.reshape(count * side, side, 3)).convert("L").convert("RGB")
        pixels = np.asarray(flat).reshape(count, side, side, 3)
    bands = small_bands(pixels, scale)
    ll, hl, lh, hh = (np.ascontiguousarray(b, np.int32) for b in (bands.ll, bands.hl, bands.lh, bands.hh))
    return Batch(scale, ll, hl, lh, hh, 1 if grey else 3, group)


@dataclass(frozen=True)
class SmallGroups:
    """Makes batches of whole images, each a pure function of (seed, step number), so that resuming is exact.

    images (N, S, S, 3); samples: groups in a batch; group: images of a group at scale 0.  scales:
    probabilities of the scales.  grey: share of grey batches.
    """

    images: Pixels
    samples: int
    group: int
    scales: tuple[float, ...]
    grey: float
    seed: int

    def draw(self, step: int) -> tuple[int, NDArray[np.int64], NDArray[np.bool_], bool]:
        """Scale of a step, numbers of its images, which of them are mirrored, whether all are grey."""
        rng = np.random.default_rng((self.seed, step))
        scale = int(rng.choice(len(self.scales), p=self.scales))
        each = min(self.group << 2 * scale, len(self.images))
        chosen = rng.integers(len(self.images), size=self.samples * each)
        return scale, chosen, rng.random(len(chosen)) < 0.5, bool(rng.random() < self.grey)

    def __call__(self, step: int) -> Batch:
        """The batch of a step."""
        scale, numbers, mirrored, grey = self.draw(step)
        chosen = self.images[numbers]
        chosen[mirrored] = chosen[mirrored, :, ::-1]
        return small_batch(chosen, scale, len(chosen) // self.samples, grey)


def rows_to_mosaics(rows: Pixels, side: int, folder: Path, name: str) -> int:
    """Write images that lie one in each row, (N, side * side, 3), as PNG mosaics; returns how many."""
    down, across = MOSAIC
    images = rows.reshape(-1, side, side, 3)
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for first in range(0, len(images), down * across):
        part = images[first : first + down * across]
        columns = across if len(part) % across == 0 else 1
        mosaic = part.reshape(-1, columns, side, side, 3).swapaxes(1, 2)
        pixels = np.ascontiguousarray(mosaic.reshape(-1, columns * side, 3))
        Image.fromarray(pixels).save(folder / f"{name}_{first:06}.png")
        count += 1
    return count


def main(arguments: Sequence[str] | None = None) -> None:
    """`python -m vdmcompress.train.small FILE... -o FOLDER`: files with an image in each row to mosaics."""
    parser = argparse.ArgumentParser(
        prog="python -m vdmcompress.train.small",
        description="Turn files with an image in each row to mosaics.",
    )
    parser.add_argument("files", nargs="+", type=Path, help="images of side * side pixels across")
    parser.add_argument("-o", "--output", required=True, type=Path, help="folder for the mosaics")
    parser.add_argument("--side", type=int, default=32, help="side of an image (default 32)")
    parser.add_argument("--leave-last", type=int, default=0, help="rows to leave out at the last file's end")
    given = parser.parse_args(arguments)
    total = 0
    for file in given.files:
        with Image.open(file) as image:
            rows = np.asarray(image.convert("RGB"))
        if rows.shape[1] != given.side**2:
            parser.error(f"{file} is {rows.shape[1]} pixels wide, {given.side**2} are an image in each row")
        rows = rows[: len(rows) - given.leave_last] if file == given.files[-1] else rows
        rows_to_mosaics(rows, given.side, given.output, file.stem)
        total += len(rows)
    sys.stdout.write(f"{given.output}: {total} images of {given.side}x{given.side}\n")


if __name__ == "__main__":
    main()
