"""Arrays as small PNG pictures within a page: photographs, heat maps, bands and their scales."""

from __future__ import annotations

import base64
import io
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Map = NDArray[np.float64]

RAMP: Final = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
"""From little to much: matplotlib's viridis at five points, which reads the same in grey and for the colour
blind."""

PHOTO_SIDE: Final = 768
BAND_SIDE: Final = 384


def data_uri(pixels: NDArray[np.uint8]) -> str:
    """A PNG (H, W) or (H, W, 3) as the source of an img."""
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def photograph(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image, made smaller where it is larger than a page shows."""
    side = max(pixels.shape[:2])
    if side <= PHOTO_SIDE:
        return pixels
    size = (max(1, pixels.shape[1] * PHOTO_SIDE // side), max(1, pixels.shape[0] * PHOTO_SIDE // side))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def heat(values: Map, low: float, high: float) -> NDArray[np.uint8]:
    """Values as colours of the ramp, uint8 (H, W, 3); low and below is its start, high and above its end."""
    place = np.clip((values - low) / max(high - low, 1e-12), 0, 1) * (len(RAMP) - 1)
    ramp = np.array(RAMP, np.float64)
    points = np.arange(len(RAMP))
    return np.rint(np.stack([np.interp(place, points, ramp[:, c]) for c in range(3)], -1)).astype(np.uint8)


def ramp_css() -> str:
    """The ramp as a CSS gradient, for legends."""
    return f"linear-gradient(90deg, {', '.join(f'rgb{colour}' for colour in RAMP)})"


def middle(values: Map) -> Map:
    """The middle of a band, where it is larger than a page shows."""
    rows, columns = (min(n, BAND_SIDE) for n in values.shape)
    top, left = (values.shape[0] - rows) // 2, (values.shape[1] - columns) // 2
    return values[top : top + rows, left : left + columns]


def signed(values: Map, reach: float) -> NDArray[np.uint8]:
    """Values around zero as grey: 0 is the middle, +-reach are white and black."""
    return np.clip(np.rint(128 + 127 * values / max(reach, 1e-12)), 0, 255).astype(np.uint8)
