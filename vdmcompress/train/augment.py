"""What photographs in the wild have and clean downscaled ones lack: softness, grain, halved chroma.

Each function takes and gives uint8 pixels (H, W, 3) and a numpy random generator, and works before the colour
transform and the pyramid, so that rounding is the real one.  No tone curves: they leave combs in the
histogram.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float32]

_DOWN = (Image.Resampling.BOX, Image.Resampling.BILINEAR, Image.Resampling.HAMMING, Image.Resampling.LANCZOS)
_UP = (
    Image.Resampling.BILINEAR,
    Image.Resampling.BICUBIC,
    Image.Resampling.NEAREST,
    Image.Resampling.LANCZOS,
)
_SMOOTH = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
_FROM_YCC = np.array([[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]], np.float32)
_TO_YCC = np.linalg.inv(_FROM_YCC.astype(np.float64)).astype(np.float32)


def _to_uint8(x: Plane) -> Pixels:
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)


def _centred(plane: Plane, rng: np.random.Generator) -> Plane:
    """A plane of even sides halved with a random kernel and brought back with another."""
    down, up = _DOWN[rng.integers(len(_DOWN))], _UP[rng.integers(len(_UP))]
    h, w = plane.shape
    small = Image.fromarray(plane).resize((w // 2, h // 2), down)
    return np.asarray(small.resize((w, h), up))


def _cosited(plane: Plane) -> Plane:
    """Every second sample after a small low-pass, the others halfway between: along both sides."""
    for _ in range(2):
        padded = np.pad(plane, ((0, 0), (1, 1)), mode="edge")
        kept = (0.25 * padded[:, :-2] + 0.5 * plane + 0.25 * padded[:, 2:])[:, ::2]
        after = np.concatenate((kept[:, 1:], kept[:, -1:]), 1)
        plane = np.stack((kept, (kept + after) / 2), 2).reshape(plane.shape).T.astype(np.float32)
    return plane


def halve_chroma(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Chroma of RGB -> YCbCr halved and brought back, at a random phase; half of the time from whole numbers.

    Samples lie between the pixels, with random kernels, or a third of the time on every second one.
    """
    ycc: Plane = pixels.astype(np.float32) @ _TO_YCC.T
    h, w = pixels.shape[:2]
    top, left = int(rng.integers(2)), int(rng.integers(2))
    bottom, right = (h + top) % 2, (w + left) % 2
    cosited, seed, whole = rng.random() < 0.33, rng.integers(1 << 32), rng.random() < 0.5
    for c in (1, 2):
        plane = np.pad(ycc[..., c], ((top, bottom), (left, right)), mode="edge")
        back = _cosited(plane) if cosited else _centred(plane, np.random.default_rng(seed))
        ycc[..., c] = back[top : top + h, left : left + w]
    return _to_uint8((np.rint(ycc) if whole else ycc) @ _FROM_YCC.T)


def soften(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """The middle, enlarged by up to 1.7: what lenses, demosaicing and scanners leave of the finest detail."""
    h, w = pixels.shape[:2]
    shrink = 1 / rng.uniform(1.0, 1.7)
    kernel = _SMOOTH[rng.integers(len(_SMOOTH))]
    dy, dx = h * (1 - shrink) / 2, w * (1 - shrink) / 2
    return np.asarray(Image.fromarray(pixels).resize((w, h), kernel, (dx, dy, w - dx, h - dy)))


def sharpen(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Unsharp mask of random radius and strength."""
    mask = ImageFilter.UnsharpMask(float(rng.uniform(0.4, 1.6)), int(rng.integers(20, 140)), 0)
    return np.asarray(Image.fromarray(pixels).filter(mask))


def grain(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Gaussian grain of 0.5 to 5 grey levels on luma or on each colour, half of it blurred by chance."""
    h, w = pixels.shape[:2]
    channels = 1 if rng.random() < 0.6 else 3
    noise = rng.standard_normal((h, w, channels), dtype=np.float32)
    if rng.random() < 0.5:
        side = np.float32(rng.uniform(0.1, 0.5))
        for axis in (0, 1):
            noise = noise + side * (np.roll(noise, 1, axis) + np.roll(noise, -1, axis))
        noise /= 1 + 2 * side * side
    strength = np.exp(rng.uniform(np.log(0.5), np.log(5.0)))
    return _to_uint8(pixels + np.float32(strength) * noise)


def alter(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A random choice of the four; none of them now and then, which gives the very array."""
    if rng.random() < 0.3:
        pixels = soften(pixels, rng)
    changes = [change for change in (sharpen, grain) if rng.random() < 0.5]
    for i in rng.permutation(len(changes)):
        pixels = changes[i](pixels, rng)
    if rng.random() < 0.6:
        pixels = halve_chroma(pixels, rng)
    return pixels


def augment(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Half of the crops go through `alter`, the other half stays as it is."""
    return pixels if rng.random() < 0.5 else alter(pixels, rng)
