"""What photographs in the wild have and clean downscaled ones lack: halved chroma, sharpening, grain.

Each function takes and gives uint8 pixels (H, W, 3) and a numpy random generator, and works before the colour
transform and the pyramid, so that rounding is the real one.  No tone curves: they leave combs in the
histogram.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Pixels = NDArray[np.uint8]

_DOWN = (Image.Resampling.BOX, Image.Resampling.BILINEAR, Image.Resampling.HAMMING, Image.Resampling.LANCZOS)
_UP = (
    Image.Resampling.BILINEAR,
    Image.Resampling.BICUBIC,
    Image.Resampling.NEAREST,
    Image.Resampling.LANCZOS,
)
_FROM_YCC = np.array([[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]], np.float32)
_TO_YCC = np.linalg.inv(_FROM_YCC.astype(np.float64)).astype(np.float32)


def _to_uint8(x: NDArray[np.float32]) -> Pixels:
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)


def halve_chroma(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Chroma of RGB -> YCbCr halved with a random kernel and brought back with another, at a random phase."""
    ycc: NDArray[np.float32] = pixels.astype(np.float32) @ _TO_YCC.T
    h, w = pixels.shape[:2]
    down, up = _DOWN[rng.integers(len(_DOWN))], _UP[rng.integers(len(_UP))]
    top, left = int(rng.integers(2)), int(rng.integers(2))
    for c in (1, 2):
        plane = np.pad(ycc[..., c], ((top, top), (left, left)), mode="edge")
        small = Image.fromarray(plane).resize(((w + 2 * left) // 2, (h + 2 * top) // 2), down)
        back = np.asarray(small.resize((w + 2 * left, h + 2 * top), up))
        ycc[..., c] = back[top : top + h, left : left + w]
    return _to_uint8(ycc @ _FROM_YCC.T)


def sharpen(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Unsharp mask of random radius and strength."""
    mask = ImageFilter.UnsharpMask(float(rng.uniform(0.4, 1.6)), int(rng.integers(20, 140)), 0)
    return np.asarray(Image.fromarray(pixels).filter(mask))


def grain(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Gaussian grain of 0.5 to 5 grey levels on luma or on each colour, a third of it slightly blurred."""
    h, w = pixels.shape[:2]
    channels = 1 if rng.random() < 0.6 else 3
    noise = rng.standard_normal((h, w, channels), dtype=np.float32)
    if rng.random() < 0.35:
        near = np.roll(noise, 1, 0) + np.roll(noise, 1, 1)
        noise = ((noise + np.float32(0.5) * near) / np.float32(1.22)).astype(np.float32)
    strength = np.exp(rng.uniform(np.log(0.5), np.log(5.0)))
    return _to_uint8(pixels + np.float32(strength) * noise)


def augment(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Half of the crops go through a random choice of the three, the other half stays as it is."""
    if rng.random() < 0.5:
        return pixels
    if rng.random() < 0.5:
        pixels = sharpen(pixels, rng)
    if rng.random() < 0.5:
        pixels = grain(pixels, rng)
    if rng.random() < 0.6:
        pixels = halve_chroma(pixels, rng)
    return pixels
