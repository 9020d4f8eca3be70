"""A band of many images as one chain: image below image, like one tall band.

The network sees each image alone: its outputs are those of `band_chain.BandChain`, image by image.  Arrays
have the images first: bands are int16 (n, C, h, w).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from codec.gaussian import Bins, code_lengths
from vdmcompress.band_chain import BandChain, PathChain
from vdmcompress.conditionals import BAND_KEYS, Conditionals
from vdmcompress.engine import Engine
from vdmcompress.kernels import differences
from vdmcompress.mirrors import View
from vdmcompress.path import DIRECT_POSITIONS, DIRECT_STRIP, LATENT_COLUMNS, BatchShape, Plan
from vdmcompress.transform import detail_shape

__all__ = ["BatchChain"]

Array = NDArray[np.int32]
Band = NDArray[np.int16]


class BatchChain(PathChain):
    """A band's chain for n images as the coder wants it (`codec.bits_back.Chain`); rows count through them.

    Strips are whole images, or parts of one image.  Where they are one image each, the network is evaluated
    for many at once all the same, if it reads no latent.

    shape: of the batch.  ctx: LL and the clean bands decoded before, int16 (n, C, h, w) each.  data, costs:
    the band itself and where the bits that its values cost each image are added, float64 (n,); for encoding,
    without latents.
    """

    def __init__(
        self,
        engine: Engine,
        conditionals: Conditionals,
        shape: BatchShape,
        scale: int,
        band: int,
        ctx: Sequence[Band],
        plan: Plan,
        data: Band | None = None,
        costs: NDArray[np.float64] | None = None,
    ) -> None:
        self.engine, self.conditionals, self.scale, self.band = engine, conditionals, scale, band
        self.ctx, self.size = tuple(ctx), shape.pyramid[scale]
        self.model = conditionals.model
        self.path = self.model.path.band(scale, band)
        latents = plan.has_latents(scale, band)
        self.direct = not latents or self.path.evaluations == 1
        self.shape = detail_shape(BAND_KEYS[band], *self.size)
        self.count, _, self.height, self.width = ctx[0].shape
        self.components = conditionals.components
        self.data, self.costs = data, costs
        self._strip = DIRECT_STRIP if self.direct else plan.strip
        positions = DIRECT_POSITIONS if self.direct else LATENT_COLUMNS * plan.strip
        self._together = _shared_strips(self.count, *self.shape, positions)
        shares = shape.shares_strips(self.shape[0] * self.shape[1])
        self._strips = self._together if shares else _own_strips(self.count, *self.shape, self._strip)
        self._single: tuple[int, BandChain] | None = None
        self._tops: tuple[slice, Bins] | None = None

    def likelihood(self, k: int, z_k: Band | None, rows: slice) -> Bins:
        """p(z_{k-1} | z_k, ctx), or the top; see `codec.bits_back.Chain`."""
        first, start = divmod(rows.start, self.shape[0])
        last, stop = divmod(rows.stop, self.shape[0])
        if start or stop:
            inner = slice(start, start + rows.stop - rows.start)
            bins = self._image(first).likelihood(k, None if z_k is None else z_k[first], inner)
        elif z_k is None:
            bins = self._top(rows)
        else:
            bins = self._images(k, z_k, slice(first, last))
        if self.direct and self.data is not None and self.costs is not None:
            bits = code_lengths(self.gather(self.data, rows), bins).sum(axis=1)
            if start or stop:
                self.costs[first] += bits.sum()
            else:
                self.costs[first:last] += bits.reshape(last - first, -1).sum(axis=1)
        return bins

    def _image(self, i: int) -> BandChain:
        """The chain of one image alone, whose rows are asked for one strip after the other."""
        if self._single is None or self._single[0] != i:
            ctx = [clean[i] for clean in self.ctx]
            latents = not self.direct
            chain = BandChain(
                self.engine, self.conditionals, self.scale, self.band, ctx, self.size, latents, self._strip
            )
            self._single = (i, chain)
        return self._single[1]

    def _top(self, rows: slice) -> Bins:
        """The top of whole images, out of what was computed for all that may share a strip."""
        if self._tops is None or not self._tops[0].start <= rows.start < self._tops[0].stop:
            near = next(strip for strip in self._together if strip.start <= rows.start < strip.stop)
            images = slice(near.start // self.shape[0], near.stop // self.shape[0])
            self._tops = (near, self._images(self.levels, None, images))
        near, bins = self._tops
        n = self.shape[1]
        part = slice((rows.start - near.start) * n, (rows.stop - near.start) * n)
        return replace(bins, mean=bins.mean[part], scale=bins.scale[part], coupling=bins.coupling[part])

    def _images(self, k: int, z_k: Band | None, images: slice) -> Bins:
        """Of whole images."""
        top = z_k is None
        step = self.model.path.step(self.band, self.path.evaluations if top else k)
        row = self.model.row(self.scale, step.slot)
        part = 1 if top and self.direct else 0
        grey = None if z_k is None else z_k[images] * np.int16(self.path.delta(k))
        sums, linear = self.over_views(
            lambda view: self.engine.evaluate_batch(row, self._raw(view, images, grey), part)
        )
        count, rows = images.stop - images.start, self.shape[0]
        tall = count * rows
        sums = np.ascontiguousarray(sums[:, :rows]).reshape(tall, self.width, -1)
        linear = np.ascontiguousarray(linear[:, :, :rows]).reshape(3, tall, self.width)
        z = np.empty((self.components, 0, 0), np.int16)
        if grey is not None:
            z = np.ascontiguousarray(grey[:, :, :rows].swapaxes(0, 1)).reshape(
                self.components, tall, self.width
            )
        exponents, shape = self.exponents(row, part), (tall, self.shape[1])
        return self.conditionals.likelihood(
            self.scale, step, bool(part), sums, linear, exponents, z, slice(0, tall), shape, self.engine.share
        )

    def _raw(self, view: View, images: slice, z_k: Band | None) -> Band:
        """Features of a view of images, int16 (n, 15, h, w); z_k: the same images in grey levels."""
        c, count = self.ctx[0].shape[1], images.stop - images.start
        raw = np.zeros((count, 15, self.height, self.width), np.int16)
        ll = view.turn(self.ctx[0][images])
        slopes = np.empty((2 * c, self.height, self.width), np.int16)
        for i in range(count):
            differences(ll[i], slopes)
            raw[i, 0:c], raw[i, 3 : 3 + c] = slopes[:c], slopes[c:]
        raw[:, 12 : 12 + c] = ll
        for band, clean in enumerate(self.ctx[1:]):
            turned = view.turn(clean[images]) * np.int16(view.sign(band))
            raw[:, 6 + 3 * band : 6 + 3 * band + clean.shape[1]] = turned
        if z_k is not None:
            raw[:, 6 + 3 * self.band : 6 + 3 * self.band + z_k.shape[1]] = z_k
        return raw

    def _part(self, z: Band, rows: slice) -> Band:
        """View of the existing positions of rows, (n, C, rows, columns)."""
        first, start = divmod(rows.start, self.shape[0])
        last, stop = divmod(rows.stop, self.shape[0])
        if start or stop:
            return z[first : first + 1, :, start : start + rows.stop - rows.start, : self.shape[1]]
        return z[first:last, :, : self.shape[0], : self.shape[1]]

    def gather(self, z: Band, rows: slice) -> Array:
        """Existing positions of rows, int32 (n, C)."""
        part = self._part(z, rows).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(part.reshape(-1, self.components), np.int32)

    def scatter(self, z: Band, rows: slice, x: Array) -> None:
        """The inverse of `gather`, in place."""
        part = self._part(z, rows).transpose(0, 2, 3, 1)
        part[:] = x.reshape(part.shape)

    def blank(self) -> Band:
        """Zeros int16 (n, C, h, w)."""
        return np.zeros((self.count, self.components, self.height, self.width), np.int16)


def _shared_strips(images: int, rows: int, columns: int, positions: int) -> list[slice]:
    """Strips of whole images, as few as there can be of at most so many positions, but one image at least."""
    if rows == 0 or columns == 0 or images == 0:
        return []
    parts = -(-images // max(positions // (rows * columns), 1))
    edges = [images * i // parts * rows for i in range(parts + 1)]
    return [slice(first, last) for first, last in zip(edges[:-1], edges[1:], strict=True)]


def _own_strips(images: int, rows: int, columns: int, height: int) -> list[slice]:
    """Strips of so many rows in each image."""
    if columns == 0:
        return []
    inner = [(first, min(first + height, rows)) for first in range(0, rows, height)]
    return [slice(i * rows + first, i * rows + last) for i in range(images) for first, last in inner]
