"""Where the bits of an image go, and what the model sees and expects level by level, as arrays to look at.

The map is of the VLB's terms: what coding a value costs on average over the noise of the latents.  For bands
without latents these are the code lengths themselves.  What tells the colour of planes is spread over all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vdmcompress.band_chain import BandChain
from vdmcompress.colour import colour_bits
from vdmcompress.conditionals import band_name
from vdmcompress.engine import Engine
from vdmcompress.evaluate import Term, band_terms, chains, planes_of
from vdmcompress.model_file import Model
from vdmcompress.path import PLANS
from vdmcompress.transform import low_range, pyramid_shapes

Pixels = NDArray[np.uint8]
Map = NDArray[np.float64]

BLOCK: Final = 16
"""Pixels of a side of a block of the map; a power of two."""


@dataclass(frozen=True)
class LevelView:
    """One level of a band, its first component (luma or grey), float64 (h, w) in grey levels.

    level: 0 is the band itself.  value: z_k.  mean, scale: of the distribution that codes it, given the level
    above and what was decoded before.  bpd: what it costs, in bits per dimension of the whole image.
    """

    scale: int
    band: str
    level: int
    value: Map
    mean: Map
    scale_map: Map
    bpd: float


@dataclass(frozen=True)
class Views:
    """bits (rows, columns): of each block of the image; they sum to the VLB.  levels: coarse to fine."""

    bits: Map
    levels: list[LevelView] = field(default_factory=list)


def look(pixels: Pixels, plan: int, model: Model, device: str, threads: int, block: int = BLOCK) -> Views:
    """The map of an image and its levels, with the plan of its file; pixels uint8 (H, W) or (H, W, 3)."""
    height, width = pixels.shape[:2]
    bits = np.zeros((-(-height // block), -(-width // block)))
    levels: list[LevelView] = []
    found = planes_of(pixels, plan)
    with Engine(model, threads, device) as engine:
        for chain, d, rng in chains(found, plan, engine, threads):
            views, spent = _band(chain, list(band_terms(chain, d, rng)), pixels.size)
            bits += in_blocks(spent, 2 << chain.scale, (height, width), block)
            levels += views
    shape = pyramid_shapes(height, width)[-1]
    components = 1 if pixels.ndim == 2 else 3
    each = sum(math.log2(low_range(c)[1]) for c in range(components))
    step = 1 << (len(pyramid_shapes(height, width)) - 1)
    bits += in_blocks(np.full(shape, each), step, (height, width), block)
    if PLANS[plan].coloured:
        bits += colour_bits([found[1]], PLANS[plan]) / bits.size
    order = {"HL": 0, "LH": 1, "HH": 2}
    levels.sort(key=lambda view: (-view.scale, order[view.band], -view.level))
    return Views(bits, levels)


def _band(chain: BandChain, terms: list[Term], values: int) -> tuple[list[LevelView], Map]:
    """The levels of a band, and the bits at each of its positions, all levels and components together."""
    spent = np.zeros(chain.shape)
    views = []
    for level in range(chain.levels):
        strips = [term for term in terms if term.level == level]
        if not strips:
            continue
        for term in strips:
            spent[term.rows] += term.bits.sum(0)
        value, mean, scale = (
            np.concatenate([getattr(term, name)[0] for term in strips]) for name in ("value", "mean", "scale")
        )
        cost = sum(float(term.bits.sum()) for term in strips) / values
        name = band_name(chain.scale, chain.band)[-2:]
        views.append(LevelView(chain.scale, name, level, value, mean, scale, cost))
    return views, spent


def in_blocks(spent: Map, step: int, size: tuple[int, int], block: int) -> Map:
    """Sums by block of a scale's bits; a position stands for step x step pixels, and may reach over the edge.

    step and block are powers of two.  What a position that covers several blocks has spent is dealt out
    equally to those that exist; the sum stays what it was.
    """
    rows, columns = -(-size[0] // block), -(-size[1] // block)
    found = np.zeros((rows, columns))
    if spent.size == 0:
        return found
    if step <= block:
        y, x = (np.arange(n) * step // block for n in spent.shape)
        np.add.at(found, (y[:, np.newaxis], x[np.newaxis]), spent)
        return found
    times = step // block
    y, x = np.arange(rows) // times, np.arange(columns) // times
    y, x = np.minimum(y, spent.shape[0] - 1), np.minimum(x, spent.shape[1] - 1)
    shares = np.bincount(y)[y][:, np.newaxis] * np.bincount(x)[x][np.newaxis]
    return np.asarray(spent[y][:, x] / shares)
