"""A band's chain of latents as the coder wants it: where the network's evaluations meet `codec.bits_back`.

p(z_{k-1} | z_k, ctx)   the network's, from what is decoded before the band (ctx) and the level above
q(z_k | z_{k-1})        fixed by the noise path
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from codec.gaussian import Bins
from vdmcompress.conditionals import BAND_KEYS, Conditionals
from vdmcompress.engine import Engine
from vdmcompress.kernels import differences
from vdmcompress.mirrors import VIEWS, Outputs, View, average, exponent
from vdmcompress.path import BandPath
from vdmcompress.transform import detail_shape

Array = NDArray[np.int32]
Band = NDArray[np.int16]

CHUNK_ROWS = 256
"""Rows that are evaluated at once where the network reads no latent."""


class PathChain:
    """What the chains of one image's band and of many images' bands have in common."""

    engine: Engine
    path: BandPath
    band: int
    conditionals: Conditionals
    direct: bool
    _strips: list[slice]

    @property
    def views(self) -> tuple[View, ...]:
        """How the network sees the band: more than once only in models without latents."""
        return VIEWS[self.conditionals.model.views]

    def over_views(self, look: Callable[[View], Outputs]) -> Outputs:
        """Outputs of all views together, which `look` gives for each, as it has them."""
        if len(self.views) == 1:
            return look(self.views[0])
        return average(((view, look(view)) for view in self.views), self.band)

    def exponents(self, row: int, part: int) -> NDArray[np.int64]:
        """Exponents of the sums of all views."""
        return self.engine.head_exponents(row, part) + exponent(len(self.views))

    @property
    def levels(self) -> int:
        """K of the plan: 1 without latents."""
        return 1 if self.direct else self.path.evaluations

    @property
    def adapts(self) -> bool:
        """The statistics of p adapt."""
        return True

    @property
    def strips(self) -> Sequence[slice]:
        """Rows of the strips, top to bottom."""
        return self._strips

    def posterior(self, k: int, z_below: Band, rows: slice) -> Bins:
        """q(z_k | z_{k-1}); see `codec.bits_back.Chain`."""
        below = self.gather(z_below, rows) * np.int32(self.path.delta(k - 1))
        return self.conditionals.posterior(self.path, k, below)

    def gather(self, z: Band, rows: slice) -> Array:
        """Existing positions of rows, int32 (n, C)."""
        raise NotImplementedError


class BandChain(PathChain):
    """A band's chain as the coder wants it (`codec.bits_back.Chain`); z_k is in bins of its own grid.

    ctx: LL and the clean bands decoded before, int16 (C, h, w) each; C may differ from one to the other, and
    from the components of the band, which are those of the conditionals.  latents: whether the plan gives it
    any.
    """

    def __init__(
        self,
        engine: Engine,
        conditionals: Conditionals,
        scale: int,
        band: int,
        ctx: Sequence[Band],
        size: tuple[int, int],
        latents: bool,
        strip: int,
    ) -> None:
        self.engine, self.conditionals, self.scale, self.band = engine, conditionals, scale, band
        self.ctx = tuple(ctx)
        self.model = conditionals.model
        self.path = self.model.path.band(scale, band)
        self.direct = not latents or self.path.evaluations == 1
        self.shape = detail_shape(BAND_KEYS[band], *size)
        self.components = conditionals.components
        _, self.height, self.width = ctx[0].shape
        rows = self.shape[0] if self.shape[1] else 0
        self._chunk: tuple[slice, Array, Array] | None = None
        self._strips = [slice(i, min(i + strip, rows)) for i in range(0, rows, strip)]

    def likelihood(self, k: int, z_k: Band | None, rows: slice) -> Bins:
        """p(z_{k-1} | z_k, ctx), or the top; see `codec.bits_back.Chain`."""
        top = z_k is None
        step = self.model.path.step(self.band, self.path.evaluations if top else k)
        row = self.model.row(self.scale, step.slot)
        part = 1 if top and self.direct else 0
        if z_k is None:
            sums, linear = self._top(row, rows, part)
            grey = np.empty((self.components, 0, 0), np.int16)
        else:
            sums, linear = self._evaluate(row, rows, part, z_k, self.path.delta(k))
            grey = z_k[:, rows] * np.int16(self.path.delta(k))
        return self.conditionals.likelihood(
            self.scale, step, bool(part), sums, linear, self.exponents(row, part), grey, rows, self.shape,
            self.engine.share,
        )  # fmt: skip

    def _top(self, row: int, rows: slice, part: int) -> Outputs:
        """Outputs of the top evaluation, which reads no latent: computed for many strips at once."""
        if self._chunk is None or not (
            self._chunk[0].start <= rows.start and rows.stop <= self._chunk[0].stop
        ):
            first = rows.start - rows.start % CHUNK_ROWS
            chunk = slice(first, min(max(first + CHUNK_ROWS, rows.stop), self.shape[0]))
            outputs = self._evaluate(row, chunk, part)
            if chunk == rows:
                return outputs  # no other strip will ask for them
            self._chunk = (chunk, *outputs)
        chunk, sums, linear = self._chunk
        inner = slice(rows.start - chunk.start, rows.stop - chunk.start)
        return sums[inner], np.ascontiguousarray(linear[:, inner])

    def _evaluate(self, row: int, rows: slice, part: int, z_k: Band | None = None, delta: int = 1) -> Outputs:
        """Outputs of an evaluation in these rows; z_k (C, h, w) in bins of delta grey levels."""
        return self.over_views(lambda view: self._seen(view, row, rows, part, z_k, delta))

    def _seen(self, view: View, row: int, rows: slice, part: int, z_k: Band | None, delta: int) -> Outputs:
        """Outputs of one view, as it has them."""
        reach, rows = 2 * self.model.blocks + 1, view.rows(rows, self.height)
        first, last = max(rows.start - reach, 0), min(rows.stop + reach, self.height)
        grey = None if z_k is None else z_k[:, first:last] * np.int16(delta)
        raw = self._raw(view, first, last, grey)
        return self.engine.evaluate(row, raw, slice(rows.start - first, rows.stop - first), part)

    def _raw(self, view: View, first: int, last: int, z_k: Band | None) -> Band:
        """Features of rows first..last-1 of a view, int16 (15, last - first, w); z_k: the same, in grey."""
        c = len(self.ctx[0])
        raw = np.zeros((15, last - first, self.width), np.int16)
        above = min(first, 1)
        ll = view.turn(self.ctx[0])[:, first - above : last]
        slopes = np.empty((2 * c, last - first + above, self.width), np.int16)
        differences(ll, slopes)
        raw[0:c], raw[3 : 3 + c], raw[12 : 12 + c] = slopes[:c, above:], slopes[c:, above:], ll[:, above:]
        for band, clean in enumerate(self.ctx[1:]):
            turned = view.turn(clean)[:, first:last]
            raw[6 + 3 * band : 6 + 3 * band + len(clean)] = turned * np.int16(view.sign(band))
        if z_k is not None:
            raw[6 + 3 * self.band : 6 + 3 * self.band + len(z_k)] = z_k
        return raw

    def gather(self, z: Band, rows: slice) -> Array:
        """Existing positions of rows, int32 (n, C)."""
        part = z[:, rows, : self.shape[1]]
        return np.ascontiguousarray(part.reshape(self.components, -1).T, np.int32)

    def scatter(self, z: Band, rows: slice, x: Array) -> None:
        """The inverse of `gather`, in place."""
        z[:, rows, : self.shape[1]] = x.T.reshape(self.components, rows.stop - rows.start, self.shape[1])

    def blank(self) -> Band:
        """Zeros int16 (C, h, w)."""
        return np.zeros((self.components, self.height, self.width), np.int16)
