"""The noise path of the cascade: which levels of noise each band of each scale passes through.

A band of detail coefficients d is coded by a small diffusion chain:

    z_0 = d,    q(z_k | z_{k-1}) = discretised Gaussian around z_{k-1} on the grid delta_k Z,   k = 1..K-1.

Everything here is integers, so that encoder and decoder hold the same path: ``grid`` is log2(delta_k) and
``scale`` the index of q's own standard deviation on the coder's logarithmic grid (in bins of delta_k).  The
standard deviations of z_k given d follow from them.  This is the multivariate noise schedule of a variational
diffusion model (Kingma et al. 2021, section 4) whose falling intervals come one band after the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vdmcompress.exact import RAW_LIMIT
from vdmcompress.transform import detail_range

BANDS = ("HL", "LH", "HH")
"""Bands of a scale in the order in which they are decoded."""

WINDOW_SIGMAS = 8
"""q(z_k | z_{k-1}) is coded on a window of so many standard deviations."""


@dataclass(frozen=True)
class Level:
    """One latent level of a band.

    grid: log2 of the bin width delta_k in grey levels, 0..6.
    scale: index i of q(z_k | z_{k-1})'s own standard deviation, 2**((i - 32) / 8) bins.
    """

    grid: int
    scale: int

    @property
    def delta(self) -> int:
        """Bin width of z_k in grey levels."""
        return 1 << self.grid

    @property
    def own_sigma(self) -> float:
        """Standard deviation of q(z_k | z_{k-1}) before rounding to the grid, in grey levels."""
        return self.delta * math.pow(2.0, (self.scale - 32) / 8)


@dataclass(frozen=True)
class BandPath:
    """The levels z_1 .. z_{K-1} of one band, from little noise to much; empty for direct coding (K = 1)."""

    levels: tuple[Level, ...] = ()

    @property
    def evaluations(self) -> int:
        """K: how often the network is evaluated for this band."""
        return len(self.levels) + 1

    def delta(self, k: int) -> int:
        """Bin width of z_k in grey levels; level 0 is the integers."""
        return 1 if k == 0 else self.levels[k - 1].delta

    def variance(self, k: int) -> float:
        """sigma_k**2, the variance of z_k given d, in squared grey levels (grid rounding included)."""
        total = 0.0
        for level in self.levels[:k]:
            total += level.own_sigma**2 + level.delta**2 / 12
        return total

    def window(self, k: int) -> int:
        """Half width in bins of the window on which q(z_k | z_{k-1}) is coded."""
        level = self.levels[k - 1]
        return math.ceil(WINDOW_SIGMAS * level.own_sigma / level.delta)

    def spread(self, k: int) -> int:
        """Grey levels by which z_k can differ from d at most: the windows and the rounding to the grids."""
        return sum((self.window(j) + 1) * self.delta(j) for j in range(1, k + 1))

    def retention(self, k: int) -> float:
        """r = sigma_{k-1}**2 / sigma_k**2: what the posterior mean of z_{k-1} keeps of z_k; 0 at the top."""
        return self.variance(k - 1) / self.variance(k) if k < self.evaluations else 0.0


@dataclass(frozen=True)
class Step:
    """One network evaluation: p(z_{k-1} | z_k, ctx) of a band, or its top p(z_{K-1} | ctx).

    slot numbers the evaluations of a scale (0..slots-1) in the order HL, LH, HH, and inside a band from
    k = 1 (predicts the data) to k = K (the top).
    """

    band: int
    k: int
    slot: int
    top: bool


@dataclass(frozen=True)
class NoisePath:
    """The whole path: for each scale class the three bands' levels.

    ``scales[s]`` holds the bands (HL, LH, HH) of scale s; the last entry serves all coarser scales as well.
    All scales have the same number of levels in a band, so that evaluations have the same slots everywhere.
    """

    scales: tuple[tuple[BandPath, BandPath, BandPath], ...]

    def band(self, scale: int, band: int) -> BandPath:
        """Levels of one band at one scale (0 is the finest; any scale is allowed)."""
        return self.scales[min(scale, len(self.scales) - 1)][band]

    @property
    def steps(self) -> tuple[Step, ...]:
        """The network evaluations of a scale, by slot."""
        found: list[Step] = []
        for band in range(len(BANDS)):
            evaluations = self.scales[0][band].evaluations
            for k in range(1, evaluations + 1):
                found.append(Step(band, k, len(found), k == evaluations))
        return tuple(found)

    def step(self, band: int, k: int) -> Step:
        """The evaluation that predicts z_{k-1} of a band."""
        return next(s for s in self.steps if s.band == band and s.k == k)

    @classmethod
    def from_lists(cls, scales: list[list[list[list[int]]]]) -> NoisePath:
        """Build from nested lists [scale][band][level] = [grid, scale index], as in model files and TOML.

        Raises ValueError where bands or levels are not as this class has them.
        """
        built = []
        for bands in scales:
            hl, lh, hh = (BandPath(tuple(Level(int(g), int(i)) for g, i in levels)) for levels in bands)
            built.append((hl, lh, hh))
        path = cls(tuple(built))
        counts = {tuple(b.evaluations for b in bands) for bands in path.scales}
        if len(counts) != 1:
            raise ValueError(f"path: the scales' bands have different numbers of levels: {sorted(counts)}")
        if any(bands[2].levels for bands in path.scales):
            raise ValueError("path: HH has levels, allowed are none: nothing is there to borrow from")
        bands_of_all = [band for bands in path.scales for band in bands]
        if any(not 0 <= v.grid <= 6 or not 0 <= v.scale <= 127 for b in bands_of_all for v in b.levels):
            raise ValueError("path: levels outside grid 0..6, scale 0..127")
        farthest = detail_range("hl", 1)[1] // 2 + max(b.spread(len(b.levels)) for b in bands_of_all)
        if farthest > RAW_LIMIT:
            raise ValueError(f"path: levels let latents reach {farthest}, allowed is {RAW_LIMIT}")
        return path

    def to_lists(self) -> list[list[list[list[int]]]]:
        """The inverse of `from_lists`."""
        return [[[[v.grid, v.scale] for v in band.levels] for band in bands] for bands in self.scales]


DIRECT_STRIP = 256
"""Rows of a strip of a band without latents: nothing is borrowed, and statistics have long to adapt."""

DIRECT_POSITIONS = 1 << 17
"""Positions of a strip of several images without latents."""

LATENT_COLUMNS = 256
"""Positions of a strip of several images with latents, for each row of the plan's strips."""

LARGE_PIXELS = 1 << 14
"""Pixels of an image too large to share strips: photographs differ too much to learn from each other."""

LEAST_POSITIONS = 64
"""Positions of a band of a large image; smaller ones are in shared strips all the same."""

ALL_SCALES = 99


@dataclass(frozen=True)
class Plan:
    """Which latents a file uses, and how far the encoder borrows ahead.

    strip: rows of a strip of a band with latents.  first, last: scales first <= s < last have latents.
    coloured: how many colours there are of which those of the planes lie on the stack (`colour.py`); 0 where
    they are YCoCg-R.
    """

    strip: int
    first: int
    last: int
    coloured: int = 0

    def has_latents(self, scale: int, band: int) -> bool:
        """Whether a band (index into `BANDS`) of a scale has latents, if the noise path gives it any."""
        return self.first <= scale < self.last and band < 2


_LATENTS = ((128, 2, 3), (32, 2, 3), (128, 0, 0), (128, 0, ALL_SCALES), (32, 0, ALL_SCALES))
_LATER = ((128, 3, 4), (32, 3, 4))

FIRST_COLOURS, ALL_COLOURS = 10, 32

PLANS = tuple(
    Plan(*latents, colours)
    for some in (_LATENTS, _LATER)
    for colours in (0, FIRST_COLOURS, ALL_COLOURS)
    for latents in some
)
"""Plans of the format; the header stores the index."""


def coloured(index: int, number: int) -> int:
    """The plan with the same latents and with colours on the stack, up to one of this number."""
    return PLANS.index(
        replace(PLANS[index], coloured=FIRST_COLOURS if number < FIRST_COLOURS else ALL_COLOURS)
    )


COLOURS = ("auto", "rgb")
"""What an encoder may be asked for: to look for the YCC that pixels once were, or to take them as RGB."""

QUICK = "quick"
"""As auto, without the search under clipped pixels: what efforts that are not careful take for it."""

ORDERS: dict[str, tuple[int, ...]] = {"one": (15, 16, 2), "all": (3, 4, 15, 16, 2), "none": (2,)}
"""Plans that an encoder tries in order, by which latents are asked for.

one, the default: chains of latents at the fourth-finest scale only.  At finer scales, statistics that adapt
and correctors are worth more, from there on latents are worth as much (docs/experiments.md), for three
evaluations instead of seven.  Later plans borrow less, for images too small or too smooth to lend so much.
"""


def lane_count(height: int, width: int) -> int:
    """Lanes of the stack, 5 to 8 bytes each: a power of two, 16 or fewer, one for each 16384 pixels begun."""
    lanes = 1
    while lanes < 16 and lanes * 16384 < height * width:
        lanes *= 2
    return lanes


@dataclass(frozen=True)
class BatchShape:
    """So many images of one size.  channels: 1 or 3."""

    count: int
    height: int
    width: int
    channels: int

    @property
    def pixels(self) -> int:
        """Of all images together."""
        return self.count * self.height * self.width

    def shares_strips(self, positions: int) -> bool:
        """Whether a band of so many positions an image has strips of several images."""
        return self.height * self.width < LARGE_PIXELS or positions < LEAST_POSITIONS

    @property
    def pyramid(self) -> list[tuple[int, int]]:
        """(H_s, W_s) for s = 0, 1, ..., down to (1, 1)."""
        shapes = [(self.height, self.width)]
        while shapes[-1] != (1, 1):
            shapes.append(((shapes[-1][0] + 1) // 2, (shapes[-1][1] + 1) // 2))
        return shapes


def batch_lanes(shapes: Sequence[BatchShape]) -> int:
    """Lanes of the stack of batches: those of one image of as many pixels."""
    return lane_count(sum(shape.pixels for shape in shapes), 1)
