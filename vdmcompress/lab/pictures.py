"""Small pictures for the rows that train, drawn by a program.

Dead leaves (Matheron; Lee, Mumford & Huang 2001, "Occlusion models for natural images"): discs of random
place, size and colour that hide one another, sizes with density r^-3, so that the picture looks alike at all
scales, as photographs do.  A little noise and shading keep the last bits from being free.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

LEAVES = 16
"""Discs a picture; what they leave uncovered has the colour of the ground."""

NOISE = 3.0
"""Standard deviation of the noise, grey levels."""


def dead_leaves(count: int, side: int = 8, seed: int = 0) -> Pixels:
    """Pictures uint8 (count, 3, side, side); the same for the same seed on every machine."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    pictures = np.empty((count, 3, side, side), np.float32)
    pictures[:] = _colours(rng, (count,))[:, :, None, None]
    for _ in range(LEAVES):
        radius = 1.5 / np.sqrt(rng.uniform(2.25 / side**2, 1.0, count))  # density r^-3 on 1.5..side
        top, left = rng.uniform(-2, side + 2, (2, count))
        colour = _colours(rng, (count,))
        slope = rng.normal(0.0, 3.0, (2, count))
        dy, dx = y - top[:, None, None], x - left[:, None, None]
        inside = dy**2 + dx**2 <= radius[:, None, None] ** 2
        shade = slope[0, :, None, None] * dy + slope[1, :, None, None] * dx
        leaf = colour[:, :, None, None] + shade[:, None]
        pictures = np.where(inside[:, None], leaf, pictures)
    pictures += rng.normal(0.0, NOISE, (count, 1, side, side)) + rng.normal(0.0, 1.0, pictures.shape)
    return np.asarray(np.clip(np.rint(pictures), 0, 255), np.uint8)


def _colours(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Colours (*shape, 3): a brightness and small differences of the components, as in photographs."""
    return rng.uniform(20, 235, (*shape, 1)) + rng.normal(0.0, 14.0, (*shape, 3))
