"""Planes of many images of one size: bands of all of them, and which of them go together.

Arrays have the images first: planes and bands are int16 (n, C, h, w).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vdmcompress import pyramid
from vdmcompress.path import BatchShape
from vdmcompress.pyramid import Planes
from vdmcompress.subsampling import FULL, Subsampling
from vdmcompress.transform import Bands, haar_forward, haar_inverse

__all__ = ["alike", "join", "join_all", "shape_of", "split", "split_all"]

Band = NDArray[np.int16]
Pixels = NDArray[np.uint8]


def shape_of(pixels: Pixels) -> BatchShape:
    """Of pixels uint8 (n, H, W) or (n, H, W, 3)."""
    count, height, width = pixels.shape[:3]
    return BatchShape(count, height, width, 1 if pixels.ndim == 3 else 3)


def alike(kinds: Sequence[Subsampling]) -> list[list[int]]:
    """Places of the images whose chroma has the same resolution: full, halved, halved columns."""
    found: dict[int, list[int]] = {}
    for i, kind in enumerate(kinds):
        found.setdefault(0 if kind is FULL else 1 if kind.rows else 2, []).append(i)
    return [found[key] for key in sorted(found)]


def split(planes: Band) -> Bands:
    """`haar_forward` of planes (n, C, H, W)."""
    bands = haar_forward(planes.reshape(-1, *planes.shape[2:]))
    shape = (*planes.shape[:2], *bands.ll.shape[1:])
    return Bands(*(band.reshape(shape) for band in (bands.ll, bands.hl, bands.lh, bands.hh)))


def join(bands: Bands, height: int, width: int) -> Band:
    """`haar_inverse` of bands (n, C, h, w)."""
    parts = (bands.ll, bands.hl, bands.lh, bands.hh)
    planes = haar_inverse(Bands(*(p.reshape(-1, *p.shape[2:]) for p in parts)), height, width)
    return planes.reshape(*bands.ll.shape[:2], height, width)


def split_all(images: Sequence[Planes], subsampling: Subsampling) -> Bands:
    """`pyramid.split` of the finest scale of many images, bands int16 (n, C, h, w)."""
    if subsampling is FULL:
        return split(np.stack([planes.full for planes in images]))
    found = [pyramid.split(planes, subsampling) for planes in images]
    return Bands(*(np.stack([getattr(bands, name) for bands in found]) for name in ("ll", "hl", "lh", "hh")))


def join_all(bands: Bands, size: tuple[int, int], subsampling: Subsampling) -> list[Planes]:
    """The inverse of `split_all`."""
    if subsampling is FULL:
        return [Planes(image) for image in join(bands, *size)]
    each = zip(bands.ll, bands.hl, bands.lh, bands.hh, strict=True)
    return [pyramid.join(Bands(*parts), size, subsampling) for parts in each]
