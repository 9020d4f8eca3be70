"""Mosaics of small images, and their images again.

The CIFAR-10 validation images are stored as mosaics of 25 rows of 40 tiles of 32x32 pixels each; image i is
at row i // 40, column i % 40.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from vdmcompress.measure.formats import Pixels, read_pixels

TILE = 32


def tiles(mosaic: Pixels, side: int = TILE) -> Pixels:
    """Images uint8 (n, side, side) or (n, side, side, 3) of a mosaic, row by row.

    Raises ValueError where the mosaic is not made of whole tiles.
    """
    height, width = mosaic.shape[:2]
    if height % side or width % side:
        raise ValueError(f"a mosaic of {width}x{height}, allowed are multiples of {side}")
    rest = mosaic.shape[2:]
    cut = mosaic.reshape(height // side, side, width // side, side, *rest).swapaxes(1, 2)
    return np.ascontiguousarray(cut.reshape(-1, side, side, *rest))


def named_tiles(paths: Sequence[Path], side: int = TILE) -> Iterator[tuple[str, Pixels]]:
    """Names such as "valid_0/0017.png" and images of mosaics, in order."""
    for path in paths:
        for index, image in enumerate(tiles(read_pixels(path), side)):
            yield f"{path.stem}/{index:04}.png", image
