"""Photographs as files store them before they become RGB: luma and chroma, mostly at half the resolution.

The coder finds these integers behind the pixels (`ycc.py`, `subsampling.py`) and codes them in place of
YCoCg-R. Here they are made the way JPEGs and PhotoCDs make them, from photographs that never were either.

A stored photograph is uint8 (H, W, 3): Y, and C2 - grey, grey - C1 with 128 added; where chroma is halved
each sample stands in the 2x2 pixels that it is for.
"""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vdmcompress.colour import KINDS, Colour
from vdmcompress.pyramid import Planes, split
from vdmcompress.subsampling import FULL, Subsampling
from vdmcompress.transform import haar_forward
from vdmcompress.ycc import CONVERSIONS

Pixels = NDArray[np.uint8]

HALVED: Final = 0.75
"""Share of photographs with chroma at half the resolution."""

FILM: Final = 0.5
"""Share of PhotoCDs; the others are JPEGs."""

QUALITIES: Final = (72, 98)
"""Least and greatest quality of a JPEG."""

_BITS: Final = 12


def _shrunk(plane: NDArray[Any]) -> NDArray[np.float64]:
    """Means of 2x2 values, float64 (H/2, W/2)."""
    h, w = plane.shape
    means: NDArray[np.float64] = plane.reshape(h // 2, 2, w // 2, 2).mean((1, 3))
    return means


def _sited(plane: NDArray[Any]) -> NDArray[np.float64]:
    """Every second value after a small low-pass, float64 (H/2, W/2)."""
    values = plane.astype(np.float64)
    for _ in range(2):
        padded = np.pad(values, ((0, 0), (1, 1)), mode="edge")
        values = (0.25 * padded[:, :-2] + 0.5 * values + 0.25 * padded[:, 2:])[:, ::2].T
    return values


def _bytes(values: NDArray[Any]) -> Pixels:
    result: Pixels = np.rint(values).clip(0, 255).astype(np.uint8)
    return result


def _photo_cd(pixels: Pixels, half: bool, rng: np.random.Generator) -> list[NDArray[Any]]:
    """Y, C2 - grey, grey - C1 of PhotoYCC."""
    conversion = CONVERSIONS[-1]
    tables = conversion.inverse()
    y, c1, c2 = (sum(tables[j, c][pixels[..., c]] for c in range(3)) / (1 << _BITS) for j in range(3))
    chroma = [c2 - conversion.centre[1], conversion.centre[0] - c1]
    if half:
        down = _sited if rng.random() < 0.5 else _shrunk
        chroma = [down(plane) for plane in chroma]
    return [y, *chroma]


def _through_jpeg(image: Image.Image, quality: int) -> NDArray[np.uint8]:
    """Y, Cb, Cr of a JPEG as its decoder has them before it brings them to RGB, without subsampling."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=0)
    with Image.open(buffer) as back:
        back.draft("YCbCr", image.size)
        return np.asarray(back)


def _jpeg(pixels: Pixels, half: bool, rng: np.random.Generator) -> list[NDArray[Any]]:
    """Y, Cr - 128, 128 - Cb of a JPEG."""
    quality = int(rng.integers(QUALITIES[0], QUALITIES[1] + 1))
    image = Image.fromarray(pixels)
    luma = chroma = _through_jpeg(image, quality).astype(np.int16)
    if half:
        small = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
        chroma = _through_jpeg(small, quality).astype(np.int16)
    return [luma[..., 0], chroma[..., 2] - 128, 128 - chroma[..., 1]]


def as_stored(pixels: Pixels, half: bool, rng: np.random.Generator) -> Pixels:
    """A photograph uint8 (H, W, 3), of even sides where half, as a PhotoCD or a JPEG stores it, by chance."""
    y, *chroma = (_photo_cd if rng.random() < FILM else _jpeg)(np.ascontiguousarray(pixels), half, rng)
    if half:
        chroma = [np.repeat(np.repeat(plane, 2, 0), 2, 1) for plane in chroma]
    return np.stack((_bytes(y), *(_bytes(plane + 128) for plane in chroma)), 2)


def stored_whole(pixels: Pixels, half: bool, rng: np.random.Generator) -> Pixels:
    """`as_stored` of a photograph of any shape; an odd last row or column is the one before it again."""
    h, w = pixels.shape[:2]
    even = as_stored(pixels[: h - h % 2, : w - w % 2], half, rng)
    return np.pad(even, ((0, h % 2), (0, w % 2), (0, 0)), mode="edge")


def stored_planes(stored: Pixels, half: bool) -> Planes:
    """Planes of a stored photograph, as the coder has them."""
    planes = np.ascontiguousarray(stored.transpose(2, 0, 1).astype(np.int16))
    planes[1:] -= 128
    return Planes(planes[:1], np.ascontiguousarray(planes[1:, ::2, ::2])) if half else Planes(planes)


def drawn(pixels: Pixels, rng: np.random.Generator) -> tuple[Planes, Colour]:
    """A photograph uint8 (H, W, 3) as a file may store it, as if `colour.to_planes` had found it."""
    half = bool(rng.random() < HALVED)
    h, w = pixels.shape[:2]
    name = f"JPEG {'4:2:0' if half else '4:4:4'}"
    colour = next(c for c in map(Colour, range(1, len(KINDS))) if c.name == name)
    return stored_planes(as_stored(pixels[: h - h % 2, : w - w % 2], half, rng), half), colour


def stored_bands(stored: Pixels, half: bool, scale: int) -> tuple[NDArray[np.int32], ...]:
    """LL, HL, LH, HH int32 (3, h, w) of a scale as the coder splits planes; zeros where it has no chroma.

    stored: uint8 (H, W, 3) whose sides divide by 2 << scale.
    """
    bands = split(stored_planes(stored, half), Subsampling("4:2:0") if half else FULL)
    for _ in range(scale):
        bands = haar_forward(bands.ll)
    found = []
    for band in (bands.ll, bands.hl, bands.lh, bands.hh):
        whole = np.zeros((3, *band.shape[1:]), np.int32)
        whole[: len(band)] = band
        found.append(whole)
    return tuple(found)
