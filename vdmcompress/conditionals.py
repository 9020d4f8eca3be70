"""The one place where network outputs become integer coder parameters.

With y = s 2**-(e+5) for head sums s and exponents e (four groups of three components), linear predictions l
and grid g = log2(delta) of the level that is predicted; roundings are half up:

    m = 4 y_0 + 4 l 2**-12                      prior mean of d in grey levels, kept in 2**-20
    i = 48 + 16 y_1                             index of the prior scale s, clamped to 0..127
    mean     = m + omega[i] (z_k - m)           in 1/64 bin of delta; at a top: m
    scale    = spread[i] + 8 y_3                index, clamped to 0..127; at a top: i - 8 g
    coupling = 64 y_2                           in 1/64, clamped to +-127

omega and spread are Bayes' rule (`head.fused_belief` is the float twin) as integers in the model file
(`fusion_table`).  Level 0 is coded with a scale mixture, latents with the plain Gaussian.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from codec.corrector import Corrector
from codec.gaussian import Bins, gaussian_table, shape_table
from vdmcompress import kernels
from vdmcompress.exact import FACTORS16, Share, whole
from vdmcompress.model_file import Model
from vdmcompress.path import BANDS, BandPath, Step
from vdmcompress.transform import Band, detail_range

Array = NDArray[np.int32]
BAND_KEYS: tuple[Band, ...] = ("hl", "lh", "hh")


def fusion_table(path: BandPath, k: int) -> Array:
    """Bayes' rule of a step by prior scale index i, s = 2**((i - 32) / 8) grey levels, int32 (2, 128).

    Row 0: omega = r + (1-r) w with 16 fractional bits, w = s^2 / (s^2 + sigma_k^2).  Row 1: scale index of
    sqrt((1-r)^2 w sigma_k^2 + (1-r) sigma_{k-1}^2) in bins of the level below, with 8 fractional bits.  Made
    once, on export, in float64; from then on the integers in the model file decide.
    """
    table = np.zeros((2, 128), np.int32)
    r, noise, below = path.retention(k), path.variance(k), path.variance(k - 1)
    for i in range(128):
        signal = 4.0 ** ((i - 32) / 8)
        w = signal / (signal + noise)
        variance = (1 - r) ** 2 * w * noise + (1 - r) * below
        table[0, i] = round(65536 * (r + (1 - r) * w))
        table[1, i] = round(256 * (8 * (0.5 * math.log2(variance) - math.log2(path.delta(k - 1))) + 32))
    return table


def value_range(path: BandPath, k: int, band: int, components: int) -> tuple[Array, Array]:
    """Least value and number of values (C,) of z_k in bins: the band's own, widened by q's windows."""
    low, count = np.empty(components, np.int32), np.empty(components, np.int32)
    for c in range(components):
        least, n = detail_range(BAND_KEYS[band], c)
        if k == 0:
            low[c], count[c] = least, n
            continue
        bins = -(-(path.spread(k) - least) // path.delta(k))
        low[c], count[c] = -bins, 2 * bins + 1
    return low, count


@dataclass(frozen=True)
class Conditionals:
    """Turns integers of the network into `Bins`, for a model and a number of colour components (3 or 1)."""

    model: Model
    components: int
    _tables: dict[tuple[int, bool], Array] = field(default_factory=dict, repr=False)
    _correctors: dict[int, Corrector | None] = field(default_factory=dict, repr=False)

    def mixture_tables(self, row: int, direct: bool) -> Array:
        """CDF tables (C, length) of the level-0 mixture of a row."""
        key = (row, direct)
        if key not in self._tables:
            weights = self.model.mixture(row, direct)[: self.components]
            factors = np.array(FACTORS16)
            self._tables[key] = np.stack([shape_table(w.astype(np.int64), factors) for w in weights])
        return self._tables[key]

    def gaussian_tables(self) -> Array:
        """CDF tables (C, length) of the plain Gaussian."""
        if (-1, False) not in self._tables:
            self._tables[(-1, False)] = np.stack([gaussian_table()] * self.components)
        return self._tables[(-1, False)]

    def corrector(self, row: int) -> Corrector | None:
        """The corrector of a row's directly coded band, for these components."""
        if row not in self._correctors:
            found = self.model.corrector(row)
            self._correctors[row] = None if found is None else found.first(self.components)
        return self._correctors[row]

    def likelihood(
        self,
        scale: int,
        step: Step,
        direct: bool,
        sums: Array,
        linear: Array,
        exponents: NDArray[np.int64],
        z_k: NDArray[np.int16],
        rows: slice,
        shape: tuple[int, int],
        share: Share = whole,
    ) -> Bins:
        """p(z_{k-1} | z_k, ctx) of rows, or for `direct` p(d | ctx) at a band's top.

        sums int32 (n, w, 12), linear int32 (3, n, w), z_k int16 (C, n, w) in grey levels (empty at a top): of
        these rows.  shape: rows and columns of the band that exist.  share: spreads rows over threads.
        """
        path = self.model.path.band(scale, step.band)
        level = 0 if direct else step.k - 1
        grid = path.levels[level - 1].grid if level else 0
        count = min(rows.stop, shape[0]) - rows.start
        n = max(count, 0) * shape[1]
        mean = np.empty((n, self.components), np.int32)
        index = np.empty((n, self.components), np.uint8)
        coupling = np.empty((n, 3), np.int16)
        row = self.model.row(scale, step.slot)
        fusion = np.zeros((2, 0), np.int32) if step.top else self.model.fusion(row)

        def some(part: slice) -> None:
            kernels.conditionals(
                sums[:count], linear, exponents, z_k, fusion, grid,
                mean, index, coupling, part.start, part.stop,
            )  # fmt: skip

        if n:
            share(some, slice(0, count))
        low, number = value_range(path, level, step.band, self.components)
        tables = self.mixture_tables(row, direct) if level == 0 else self.gaussian_tables()
        corrector = self.corrector(row) if direct else None
        return Bins(mean, index, coupling, low, number, 0, tables, corrector)

    def posterior(self, path: BandPath, k: int, z_below: Array) -> Bins:
        """q(z_k | z_{k-1}) of positions; z_below int32 (n, C) in grey levels."""
        level = path.levels[k - 1]
        mean = z_below * np.int32(64 // level.delta)
        n, c = mean.shape
        scale = np.full((n, c), level.scale, np.uint8)
        none = np.zeros(c, np.int32)
        return Bins(
            mean,
            scale,
            np.zeros((n, 3), np.int16),
            none,
            none,
            path.window(k),
            self.gaussian_tables(),
        )


def band_name(scale: int, band: int) -> str:
    """Label of a band in ledgers and tables, for example "0/HL"."""
    return f"{scale}/{BANDS[band]}"
