"""Images of equal size through the cascade together: one chain a band, for all of them.

A band of n images is coded like one tall band, image below image, so that the heads of the stack are paid
once and the statistics that adapt while coding go on learning.  The network sees each image alone: its
outputs are those of `cascade.BandChain`, image by image.

    encode: for each batch, for scale 0, 1, ...: push HH, LH, HL of all its images; then their last values
    decode: the same batches the other way round, each from coarse to fine

The pyramid goes down to a single value, because a thousand images have enough of these to learn from.
Arrays have the images first: planes and bands are int16 (n, C, h, w).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codec import adaptive, bits_back
from codec.ans import Stack
from codec.bits_back import Ledger
from codec.errors import BinsError, ShortStackError, StackFormatError, ValueOutOfRange
from codec.gaussian import Bins, code_lengths, gaussian_table
from vdmcompress.cascade import BandChain, PathChain
from vdmcompress.conditionals import BAND_KEYS, Conditionals, band_name
from vdmcompress.engine import Engine
from vdmcompress.errors import VdmError, damaged
from vdmcompress.kernels import differences
from vdmcompress.path import (
    DIRECT_POSITIONS,
    DIRECT_STRIP,
    LATENT_COLUMNS,
    PLANS,
    BatchShape,
    Plan,
    batch_lanes,
)
from vdmcompress.transform import (
    Bands,
    check_range,
    detail_shape,
    forward_colour,
    haar_forward,
    haar_inverse,
    inverse_colour,
    low_range,
)

Array = NDArray[np.int32]
Band = NDArray[np.int16]
Pixels = NDArray[np.uint8]
Progress = Callable[[float, float, str], None]

TOP_SCALE = 72
"""Scale index of the last values before anything is learned: 32 grey levels."""

TOP_COLUMNS = 16
"""Columns in which the last values lie for the statistics that adapt; what is left over is a row."""


@dataclass(frozen=True)
class EncodedBatches:
    """What `encode_batches` gives.

    lanes: of the stack.  plan: index of `path.PLANS`.  ledger: pushes minus pops.  bits: what each image of
    each batch costs, float64 (n,); they sum to the ledger, its shares are estimated.
    """

    lanes: list[bytes]
    plan: int
    ledger: Ledger
    bits: list[NDArray[np.float64]]


class BatchChain(PathChain):
    """A band's chain for n images as the coder wants it (`codec.bits_back.Chain`); rows count through them.

    Strips are whole images, or parts of one image.

    ctx: LL and the clean bands decoded before, int16 (n, C, h, w) each.  data, costs: the band itself and
    where the bits that its values cost each image are added, float64 (n,); for encoding, without latents.
    """

    def __init__(
        self,
        engine: Engine,
        conditionals: Conditionals,
        scale: int,
        band: int,
        ctx: Sequence[Band],
        size: tuple[int, int],
        plan: Plan,
        data: Band | None = None,
        costs: NDArray[np.float64] | None = None,
    ) -> None:
        self.engine, self.conditionals, self.scale, self.band = engine, conditionals, scale, band
        self.ctx, self.size = tuple(ctx), size
        self.model = conditionals.model
        self.path = self.model.path.band(scale, band)
        latents = plan.has_latents(scale, band)
        self.direct = not latents or self.path.evaluations == 1
        self.shape = detail_shape(BAND_KEYS[band], *size)
        self.count, self.components, self.height, self.width = ctx[0].shape
        self.data, self.costs = data, costs
        positions = DIRECT_POSITIONS if self.direct else LATENT_COLUMNS * plan.strip
        self._strip = DIRECT_STRIP if self.direct else plan.strip
        self._strips = _strips(self.count, *self.shape, positions, self._strip)
        self._single: tuple[int, BandChain] | None = None

    def likelihood(self, k: int, z_k: Band | None, rows: slice) -> Bins:
        """p(z_{k-1} | z_k, ctx), or the top; see `codec.bits_back.Chain`."""
        first, start = divmod(rows.start, self.shape[0])
        last, stop = divmod(rows.stop, self.shape[0])
        if start or stop:
            inner = slice(start, start + rows.stop - rows.start)
            bins = self._image(first).likelihood(k, None if z_k is None else z_k[first], inner)
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

    def _images(self, k: int, z_k: Band | None, images: slice) -> Bins:
        """Of whole images."""
        top = z_k is None
        step = self.model.path.step(self.band, self.path.evaluations if top else k)
        row = self.model.row(self.scale, step.slot)
        part = 1 if top and self.direct else 0
        grey = None if z_k is None else z_k[images] * np.int16(self.path.delta(k))
        sums, linear = self.engine.evaluate_batch(row, self._raw(images, grey), part)
        count, rows = images.stop - images.start, self.shape[0]
        tall = count * rows
        sums = np.ascontiguousarray(sums[:, :rows]).reshape(tall, self.width, -1)
        linear = np.ascontiguousarray(linear[:, :, :rows]).reshape(3, tall, self.width)
        z = np.empty((self.components, 0, 0), np.int16)
        if grey is not None:
            z = np.ascontiguousarray(grey[:, :, :rows].swapaxes(0, 1)).reshape(
                self.components, tall, self.width
            )
        exponents = self.engine.head_exponents(row, part)
        return self.conditionals.likelihood(
            self.scale, step, bool(part), sums, linear, exponents, z, slice(0, tall), (tall, self.shape[1])
        )

    def _raw(self, images: slice, z_k: Band | None) -> Band:
        """Features of images, int16 (n, 15, h, w); z_k: the same images in grey levels."""
        c, count = self.components, images.stop - images.start
        raw = np.zeros((count, 15, self.height, self.width), np.int16)
        ll = self.ctx[0][images]
        slopes = np.empty((2 * c, self.height, self.width), np.int16)
        for i in range(count):
            differences(ll[i], slopes)
            raw[i, 0:c], raw[i, 3 : 3 + c] = slopes[:c], slopes[c:]
        raw[:, 12 : 12 + c] = ll
        for band, clean in enumerate(self.ctx[1:]):
            raw[:, 6 + 3 * band : 6 + 3 * band + c] = clean[images]
        if z_k is not None:
            raw[:, 6 + 3 * self.band : 6 + 3 * self.band + c] = z_k
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


def _strips(images: int, rows: int, columns: int, positions: int, height: int) -> list[slice]:
    """Strips of whole images, about so many positions each; of images with more, strips of so many rows."""
    if rows == 0 or columns == 0 or images == 0:
        return []
    if rows * columns > positions:
        inner = [(first, min(first + height, rows)) for first in range(0, rows, height)]
        return [slice(i * rows + first, i * rows + last) for i in range(images) for first, last in inner]
    parts = -(-images // (positions // (rows * columns)))
    edges = [images * i // parts * rows for i in range(parts + 1)]
    return [slice(first, last) for first, last in zip(edges[:-1], edges[1:], strict=True)]


@dataclass(frozen=True)
class BatchCascade:
    """The coder of batches with one model, one engine, one plan."""

    engine: Engine
    plan: Plan
    threads: int

    def rows(self, scale: int) -> list[int]:
        """The evaluations of a scale that the plan uses, in the order in which they are popped."""
        model = self.engine.model
        return [
            model.row(scale, step.slot)
            for band in range(3)
            for step in reversed([s for s in model.path.steps if s.band == band])
            if step.top or self.plan.has_latents(scale, band)
        ]

    def push(self, stack: Stack, planes: Band, ledger: Ledger, costs: NDArray[np.float64]) -> None:
        """Push planes int16 (n, C, H, W); adds to costs what is known of each image's bits."""
        conditionals = Conditionals(self.engine.model, planes.shape[1])
        scale = 0
        while planes.shape[2:] != (1, 1):
            size = (planes.shape[2], planes.shape[3])
            bands = split(planes)
            details = (bands.hl, bands.lh, bands.hh)
            self.engine.prepare(reversed(self.rows(scale)))
            for band in reversed(range(3)):
                chain = BatchChain(
                    self.engine, conditionals, scale, band, (bands.ll, *details[:band]), size, self.plan,
                    details[band], costs,
                )  # fmt: skip
                label = ledger.scope(band_name(scale, band))
                bits_back.encode(stack, details[band], chain, label, self.threads)
            planes, scale = bands.ll, scale + 1
        with ledger.scope("top").entry(stack, 0, "p"):
            for rows, columns in reversed(top_parts(len(planes))):
                bins = top_bins(rows.stop - rows.start, planes.shape[1])
                x = np.ascontiguousarray(planes[rows, :, 0, 0], np.int32)
                adaptive.push(stack, x, bins, columns, self.threads)

    def pop(self, stack: Stack, shape: BatchShape, ledger: Ledger) -> Band:
        """Pop planes int16 (n, C, H, W)."""
        conditionals = Conditionals(self.engine.model, shape.channels)
        planes = np.empty((shape.count, shape.channels, 1, 1), np.int16)
        for rows, columns in top_parts(shape.count):
            bins = top_bins(rows.stop - rows.start, shape.channels)
            planes[rows, :, 0, 0] = adaptive.pop(stack, bins, columns)
        sizes = shape.pyramid
        for scale in reversed(range(len(sizes) - 1)):
            self.engine.prepare(self.rows(scale))
            details: list[Band] = []
            for band in range(3):
                chain = BatchChain(
                    self.engine, conditionals, scale, band, (planes, *details), sizes[scale], self.plan
                )
                z_0 = bits_back.decode(stack, chain, ledger.scope(band_name(scale, band)), self.threads)
                check_range(z_0.swapaxes(0, 1), BAND_KEYS[band])
                details.append(z_0)
            planes = join(Bands(planes, *details), *sizes[scale])
            check_range(planes.swapaxes(0, 1))
        return planes


def top_bins(count: int, components: int) -> Bins:
    """Distributions of the last value of each of so many images, before anything is learned."""
    ranges = [low_range(c) for c in range(components)]
    low, number = (np.array(values, np.int32) for values in zip(*ranges, strict=True))
    middle = [64 * 128 if c == 0 else 0 for c in range(components)]
    mean = np.ascontiguousarray(np.broadcast_to(np.array(middle, np.int32), (count, components)))
    scale = np.full((count, components), TOP_SCALE, np.uint8)
    tables = np.stack([gaussian_table()] * components)
    return Bins(mean, scale, np.zeros((count, 3), np.int16), low, number, 0, tables)


def top_parts(count: int) -> list[tuple[slice, int]]:
    """The last values of so many images in rows of TOP_COLUMNS, and a row of the rest: (images, columns)."""
    whole = count - count % TOP_COLUMNS
    parts = [(slice(0, whole), TOP_COLUMNS), (slice(whole, count), count - whole)]
    return [(images, columns) for images, columns in parts if images.stop > images.start]


def split(planes: Band) -> Bands:
    """`haar_forward` of planes (n, C, H, W)."""
    bands = haar_forward(planes.reshape(-1, *planes.shape[2:]))
    shape = (*planes.shape[:2], *bands.ll.shape[1:])
    return Bands(*(band.reshape(shape) for band in (bands.ll, bands.hl, bands.lh, bands.hh)))


def join(bands: Bands, height: int, width: int) -> Band:
    """`haar_inverse` of bands (n, C, h, w)."""
    parts = (bands.ll, bands.hl, bands.lh, bands.hh)
    planes = haar_inverse(Bands(*(p.reshape(-1, *p.shape[2:]) for p in parts)), height, width)
    return planes.reshape(*bands.ll.shape[:2], height, width)


def planes_of(pixels: Pixels) -> Band:
    """Planes int16 (n, C, H, W) of pixels uint8 (n, H, W) or (n, H, W, 3)."""
    count, height, width = pixels.shape[:3]
    planes = forward_colour(pixels.reshape(count * height, width, *pixels.shape[3:]))
    return np.ascontiguousarray(planes.reshape(-1, count, height, width).swapaxes(0, 1))


def pixels_of(planes: Band) -> Pixels:
    """The inverse of `planes_of`; DamagedFileError for values outside 0..255."""
    count, channels, height, width = planes.shape
    tall = np.ascontiguousarray(planes.swapaxes(0, 1)).reshape(channels, count * height, width)
    pixels = inverse_colour(tall)
    return pixels.reshape(count, height, width, *pixels.shape[2:])


def shape_of(pixels: Pixels) -> BatchShape:
    """Of pixels uint8 (n, H, W) or (n, H, W, 3)."""
    count, height, width = pixels.shape[:3]
    return BatchShape(count, height, width, 1 if pixels.ndim == 3 else 3)


def encode_batches(
    batches: Sequence[Pixels],
    engine: Engine,
    order: Sequence[int],
    progress: Progress | None = None,
) -> EncodedBatches:
    """Encode batches uint8 (n, H, W) or (n, H, W, 3) on one stack, by the first plan that fits."""
    shapes = [shape_of(pixels) for pixels in batches]
    total = sum(shape.pixels for shape in shapes)
    for index in order:
        stack, ledger = Stack.empty(batch_lanes(shapes)), Ledger()
        cascade = BatchCascade(engine, PLANS[index], engine.threads)
        costs = [np.zeros(shape.count) for shape in shapes]
        done = 0
        try:
            for pixels, shape, cost in zip(batches, shapes, costs, strict=True):
                before = ledger.bits
                cascade.push(stack, planes_of(pixels), ledger, cost)
                _scale(cost, ledger.bits - before)
                done += shape.pixels
                if progress is not None:
                    progress(done, total, "encode")
        except ShortStackError:
            continue
        return EncodedBatches(stack.to_lanes(), index, ledger, costs)
    raise VdmError("no plan fits: the last plan borrows nothing, so this is a defect; please report it")


def _scale(costs: NDArray[np.float64], bits: float) -> None:
    """Let the costs sum to the bits; equal shares where nothing is known."""
    known = float(costs.sum())
    costs[:] = costs * (bits / known) if known > 0 else bits / len(costs)


def decode_batches(
    lanes: Sequence[bytes],
    shapes: Sequence[BatchShape],
    plan: int,
    engine: Engine,
    progress: Progress | None = None,
) -> list[Pixels]:
    """Decode lanes to batches.  Raises DamagedFileError where they cannot be what an encoder wrote."""
    if plan >= len(PLANS):
        raise damaged(f"plan {plan}, the last one is {len(PLANS) - 1}")
    total = sum(shape.pixels for shape in shapes)
    found: list[Pixels] = []
    done = 0
    try:
        stack, ledger = Stack.from_lanes(lanes), Ledger()
        if stack.lanes != batch_lanes(shapes):
            raise damaged(f"{stack.lanes} lanes, images of these sizes have {batch_lanes(shapes)}")
        cascade = BatchCascade(engine, PLANS[plan], engine.threads)
        for shape in reversed(shapes):
            found.append(pixels_of(cascade.pop(stack, shape, ledger)))
            done += shape.pixels
            if progress is not None:
                progress(done, total, "decode")
    except (ShortStackError, StackFormatError, ValueOutOfRange, BinsError) as error:
        raise damaged(str(error)) from error
    if not stack.is_initial():
        raise damaged("bits are left over after the last band")
    return found[::-1]
