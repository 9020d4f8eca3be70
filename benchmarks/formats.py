"""The formats that vdmc is measured against, each as a pair of functions on pixels."""

import io
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True)
class Format:
    """Lossless coding of uint8 pixels (H, W) or (H, W, 3), both ways."""

    name: str
    encode: Callable[[Pixels], bytes]
    decode: Callable[[bytes], Pixels]


@dataclass(frozen=True)
class Measured:
    """One image in one format: bytes, and seconds each way."""

    size: int
    encode_seconds: float
    decode_seconds: float


def _pillow(kind: str, **how: Any) -> Callable[[Pixels], bytes]:
    def encode(pixels: Pixels) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, kind, **how)
        return stream.getvalue()

    return encode


def _pillow_decode(data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


PNG = Format("PNG", _pillow("PNG", optimize=True), _pillow_decode)
"""Pillow's PNG with optimize."""

WEBP = Format("WebP", _pillow("WEBP", lossless=True, quality=100, method=6, exact=True), _pillow_decode)
"""WebP lossless, method 6, quality 100, exact."""


def webp(method: int) -> Format:
    """WebP lossless at a method below the best, quality 75, exact."""
    how = {"lossless": True, "quality": 75, "method": method, "exact": True}
    return Format(f"WebP m{method}", _pillow("WEBP", **how), _pillow_decode)


def jpeg_xl(effort: int) -> Format | None:
    """JPEG XL lossless at an effort, on as many threads as there are cores; None without imagecodecs."""
    try:
        import imagecodecs
    except ImportError:
        return None
    threads = os.cpu_count() or 1

    def encode(pixels: Pixels) -> bytes:
        return bytes(imagecodecs.jpegxl_encode(pixels, lossless=True, effort=effort, numthreads=threads))

    def decode(data: bytes) -> Pixels:
        return np.asarray(imagecodecs.jpegxl_decode(data, numthreads=threads), np.uint8)

    return Format(f"JPEG XL e{effort}", encode, decode)


def measure(format: Format, pixels: Pixels) -> Measured:
    """Code an image both ways; raises ValueError where the pixels do not come back.

    WebP has no grey mode: a grey image that comes back as three equal components is the same image.
    """
    start = time.perf_counter()
    data = format.encode(pixels)
    middle = time.perf_counter()
    back = format.decode(data)
    end = time.perf_counter()
    if back.ndim > pixels.ndim:
        pixels = np.repeat(pixels[..., np.newaxis], back.shape[2], axis=2)
    if not np.array_equal(back, pixels):
        raise ValueError(f"{format.name} gave other pixels back")
    return Measured(len(data), middle - start, end - middle)


def read_pixels(path: str | os.PathLike[str]) -> Pixels:
    """Pixels of an image file, (H, W) or (H, W, 3); raises ValueError for other modes than L and RGB."""
    with Image.open(path) as image:
        if image.mode not in ("L", "RGB"):
            raise ValueError(f"{path}: mode {image.mode}; the benchmarks take 8-bit grey and RGB")
        return np.asarray(image)
