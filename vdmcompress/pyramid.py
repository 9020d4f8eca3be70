"""An image's planes scale by scale, chroma at half the resolution included: what each band holds.

Where chroma has half the resolution (`subsampling.py`), the finest scale splits luma alone, and chroma joins
luma's LL:

    4:4:4   Y, C, C at (H, W)                       HL, LH, HH of three components
    4:2:0   Y at (H, W), C, C at LL's size          HL, LH, HH of luma
    4:2:2   Y at (H, W), C, C at (H, LL's columns)  HL, HH of luma; LH of three, chroma's from pairs of rows

All coarser scales have three components. Grey images have one everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vdmcompress.subsampling import FULL, Subsampling
from vdmcompress.transform import (
    Bands,
    check_range,
    haar_forward,
    haar_inverse,
    rows_forward,
    rows_inverse,
)

__all__ = ["Planes", "components", "join", "split"]

IntArray = NDArray[np.int16]
LH: Final = 1


@dataclass(frozen=True)
class Planes:
    """full: int16 (C, H, W), all components or luma.  half: chroma int16 (2, h, w) where it is halved."""

    full: IntArray
    half: IntArray | None = None

    @property
    def channels(self) -> int:
        """Components in all."""
        return len(self.full) + (0 if self.half is None else len(self.half))

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.full.shape[1], self.full.shape[2]

    def check_range(self) -> None:
        """Raise DamagedFileError unless the values are those that 8-bit images have."""
        check_range(self.full)
        if self.half is not None:
            check_range(np.concatenate((np.zeros_like(self.half[:1]), self.half)))


def components(channels: int, subsampling: Subsampling, scale: int, band: int) -> int:
    """How many components a band (index into `path.BANDS`) of a scale has."""
    if scale > 0 or subsampling is FULL or channels == 1:
        return channels
    return 1 if subsampling.rows or band != LH else channels


def split(planes: Planes, subsampling: Subsampling) -> Bands:
    """The bands of the finest scale of planes; LL has all components."""
    bands = haar_forward(planes.full)
    if planes.half is None:
        return bands
    if subsampling.rows:
        return Bands(np.concatenate((bands.ll, planes.half)), bands.hl, bands.lh, bands.hh)
    low, high = rows_forward(planes.half)
    return Bands(np.concatenate((bands.ll, low)), bands.hl, np.concatenate((bands.lh, high)), bands.hh)


def join(bands: Bands, size: tuple[int, int], subsampling: Subsampling) -> Planes:
    """The inverse of `split`."""
    if len(bands.hl) == len(bands.ll):
        return Planes(haar_inverse(bands, *size))
    luma = haar_inverse(Bands(bands.ll[:1], bands.hl, bands.lh[:1], bands.hh), *size)
    if subsampling.rows:
        return Planes(luma, bands.ll[1:])
    return Planes(luma, rows_inverse(bands.ll[1:], bands.lh[1:], size[0]))
