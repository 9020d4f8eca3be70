"""Images of equal size through the cascade together: one chain a band, for all of them.

A band of n images is coded like one tall band, image below image, so that the heads of the stack are paid
once and the statistics that adapt while coding go on learning.  The network sees each image alone: its
outputs are those of `band_chain.BandChain`, image by image.

    encode: for each batch, for scale 0, 1, ...: push HH, LH, HL of all its images; then their last values and
            which colours their planes are
    decode: the same batches the other way round, each from coarse to fine

The pyramid goes down to a single value, because a thousand images have enough of these to learn from.
Arrays have the images first: planes and bands are int16 (n, C, h, w).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from codec import adaptive, bits_back
from codec.ans import Stack
from codec.bits_back import Ledger
from codec.errors import BinsError, ShortStackError, StackFormatError, ValueOutOfRange
from codec.gaussian import Bins, gaussian_table
from vdmcompress.batch_chain import BatchChain
from vdmcompress.batch_planes import alike, join, join_all, shape_of, split, split_all
from vdmcompress.colour import YCOCG, Colour, from_planes, pop_colours, push_colours, to_planes
from vdmcompress.conditionals import BAND_KEYS, Conditionals, band_name
from vdmcompress.engine import Engine
from vdmcompress.errors import VdmError, damaged
from vdmcompress.path import PLANS, BatchShape, Plan, batch_lanes, coloured
from vdmcompress.pyramid import Planes, components
from vdmcompress.subsampling import Subsampling
from vdmcompress.transform import (
    Bands,
    check_range,
    low_range,
)

Band = NDArray[np.int16]
Pixels = NDArray[np.uint8]
Progress = Callable[[float, float, str], None]
Images = Sequence[tuple[Planes, Colour]]

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


@dataclass
class Told:
    """Says how many pixels are done, after each band.  stage: "encode" or "decode"."""

    progress: Progress | None
    total: int
    stage: str
    done: int = 0

    def add(self, pixels: int) -> None:
        """So many more."""
        self.done += pixels
        if self.progress is not None and pixels:
            self.progress(self.done, self.total, self.stage)


@dataclass(frozen=True)
class BatchCascade:
    """The coder of batches with one model, one engine, one plan."""

    engine: Engine
    plan: Plan
    threads: int
    _conditionals: dict[int, Conditionals] = field(default_factory=dict)

    def rows(self, scale: int) -> list[int]:
        """The evaluations of a scale that the plan uses, in the order in which they are popped."""
        model = self.engine.model
        return [
            model.row(scale, step.slot)
            for band in range(3)
            for step in reversed([s for s in model.path.steps if s.band == band])
            if step.top or self.plan.has_latents(scale, band)
        ]

    def push(
        self, stack: Stack, found: Images, ledger: Ledger, costs: NDArray[np.float64], told: Told
    ) -> None:
        """Push images of one size; adds to costs what is known of each one's bits."""
        colours = [colour for _, colour in found]
        for places in alike([colour.subsampling for colour in colours]):
            known = np.zeros(len(places))
            self._push_alike(stack, [found[i] for i in places], ledger, known, told)
            costs[places] += known
        if self.plan.coloured:
            with ledger.scope("top").entry(stack, 0, "p"):
                push_colours(stack, colours, self.plan)

    def _push_alike(
        self, stack: Stack, found: Images, ledger: Ledger, costs: NDArray[np.float64], told: Told
    ) -> None:
        """Push images with chroma of the same resolution."""
        count, subsampling = len(found), found[0][1].subsampling
        shape = BatchShape(count, *found[0][0].size, found[0][0].channels)
        planes = np.empty(0, np.int16)
        for scale in range(len(shape.pyramid) - 1):
            bands = split_all([planes for planes, _ in found], subsampling) if scale == 0 else split(planes)
            details = (bands.hl, bands.lh, bands.hh)
            self.engine.prepare(reversed(self.rows(scale)))
            for band in reversed(range(3)):
                ctx = (bands.ll, *details[:band])
                chain = self.chain(shape, subsampling, scale, band, ctx, details[band], costs)
                label = ledger.scope(band_name(scale, band))
                bits_back.encode(stack, details[band], chain, label, self.threads)
                told.add(count * chain.shape[0] * chain.shape[1])
            planes = bands.ll
        if len(shape.pyramid) == 1:
            planes = np.stack([planes.full for planes, _ in found])
        with ledger.scope("top").entry(stack, 0, "p"):
            for rows, columns in reversed(top_parts(count)):
                bins = top_bins(rows.stop - rows.start, shape.channels)
                x = np.ascontiguousarray(planes[rows, :, 0, 0], np.int32)
                adaptive.push(stack, x, bins, columns, self.threads)

    def chain(
        self,
        shape: BatchShape,
        subsampling: Subsampling,
        scale: int,
        band: int,
        ctx: Sequence[Band],
        data: Band | None = None,
        costs: NDArray[np.float64] | None = None,
    ) -> BatchChain:
        """The chain of a band of a scale; see `BatchChain`."""
        count = components(shape.channels, subsampling, scale, band)
        conditionals = self._conditionals.setdefault(count, Conditionals(self.engine.model, count))
        return BatchChain(self.engine, conditionals, shape, scale, band, ctx, self.plan, data, costs)

    def pop(self, stack: Stack, shape: BatchShape, ledger: Ledger, told: Told) -> Pixels:
        """Pop images uint8 (n, H, W) or (n, H, W, 3)."""
        colours = [YCOCG] * shape.count
        if self.plan.coloured:
            colours = pop_colours(stack, shape.count, shape.channels, shape.height, shape.width, self.plan)
        pixels: list[Pixels] = [np.empty(0, np.uint8)] * shape.count
        for places in reversed(alike([colour.subsampling for colour in colours])):
            part = replace(shape, count=len(places))
            popped = self._pop_alike(stack, part, colours[places[0]].subsampling, ledger, told)
            for i, planes in zip(places, popped, strict=True):
                pixels[i] = from_planes(planes, colours[i])
        return np.stack(pixels)

    def _pop_alike(
        self, stack: Stack, shape: BatchShape, subsampling: Subsampling, ledger: Ledger, told: Told
    ) -> list[Planes]:
        """Pop images with chroma of the same resolution."""
        planes = np.empty((shape.count, shape.channels, 1, 1), np.int16)
        for rows, columns in top_parts(shape.count):
            bins = top_bins(rows.stop - rows.start, shape.channels)
            planes[rows, :, 0, 0] = adaptive.pop(stack, bins, columns)
        sizes, found = shape.pyramid, []
        for scale in reversed(range(len(sizes) - 1)):
            self.engine.prepare(self.rows(scale))
            details: list[Band] = []
            for band in range(3):
                chain = self.chain(shape, subsampling, scale, band, (planes, *details))
                z_0 = bits_back.decode(stack, chain, ledger.scope(band_name(scale, band)), self.threads)
                check_range(z_0.swapaxes(0, 1), BAND_KEYS[band])
                details.append(z_0)
                told.add(shape.count * chain.shape[0] * chain.shape[1])
            if scale == 0:
                found = join_all(Bands(planes, *details), sizes[0], subsampling)
                break
            planes = join(Bands(planes, *details), *sizes[scale])
            check_range(planes.swapaxes(0, 1))
        found = found or [Planes(image) for image in planes]
        for image in found:
            image.check_range()
        return found


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


def encode_batches(
    batches: Sequence[Pixels],
    engine: Engine,
    order: Sequence[int],
    progress: Progress | None = None,
    quick: bool = False,
) -> EncodedBatches:
    """Encode batches uint8 (n, H, W) or (n, H, W, 3) on one stack, by the first plan that fits.

    progress: called after each band with pixels done, all pixels, and "encode".  quick: as `path.QUICK`.
    """
    shapes = [shape_of(pixels) for pixels in batches]
    total = sum(shape.pixels for shape in shapes)
    found = [[to_planes(image, careful=not quick) for image in pixels] for pixels in batches]
    most = max(colour.number for batch in found for _, colour in batch)
    for index in (coloured(plan, most) for plan in order) if most else order:
        stack, ledger = Stack.empty(batch_lanes(shapes)), Ledger()
        cascade = BatchCascade(engine, PLANS[index], engine.threads)
        costs = [np.zeros(shape.count) for shape in shapes]
        told = Told(progress, total, "encode")
        try:
            for images, shape, cost in zip(found, shapes, costs, strict=True):
                before = ledger.bits
                cascade.push(stack, images, ledger, cost, told)
                _scale(cost, ledger.bits - before)
                told.add(shape.count)
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
    """Decode lanes to batches; progress: called after each band with pixels done, all pixels, and "decode".

    Raises DamagedFileError where they cannot be what an encoder wrote.
    """
    if plan >= len(PLANS):
        raise damaged(f"plan {plan}, the last one is {len(PLANS) - 1}")
    told = Told(progress, sum(shape.pixels for shape in shapes), "decode")
    found: list[Pixels] = []
    try:
        stack, ledger = Stack.from_lanes(lanes), Ledger()
        if stack.lanes != batch_lanes(shapes):
            raise damaged(f"{stack.lanes} lanes, images of these sizes have {batch_lanes(shapes)}")
        cascade = BatchCascade(engine, PLANS[plan], engine.threads)
        for shape in reversed(shapes):
            found.append(cascade.pop(stack, shape, ledger, told))
            told.add(shape.count)
    except (ShortStackError, StackFormatError, ValueOutOfRange, BinsError) as error:
        raise damaged(str(error)) from error
    if not stack.is_initial():
        raise damaged("bits are left over after the last band")
    return found[::-1]
