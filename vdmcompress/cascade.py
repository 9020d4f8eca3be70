"""Whole images through the cascade: encode beside decode, from fine to coarse and back.

    encode: for scale 0, 1, ...: push HH, LH, HL (each with its chain of latents); then the few values on top
    decode: the few values on top; for scale ..., 1, 0: pop HL, LH, HH, put the bands together

The first band that is encoded (HH of scale 0) has no latents: the bits that it pushes are those that the
latents after it borrow.  Nothing is ever borrowed from outside the image; where it lends too few, the encoder
takes the next plan of its order (`path.ORDERS`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codec import bits_back
from codec.ans import Stack
from codec.bits_back import Ledger
from codec.codecs import Codec, uniform
from codec.errors import BinsError, ShortStackError, StackFormatError, ValueOutOfRange
from codec.gaussian import Bins
from vdmcompress.conditionals import BAND_KEYS, Conditionals, band_name
from vdmcompress.engine import Engine
from vdmcompress.errors import VdmError, damaged
from vdmcompress.kernels import differences
from vdmcompress.memory import choose_tile
from vdmcompress.model_file import Model
from vdmcompress.path import DIRECT_STRIP, ORDERS, PLANS, BandPath, Plan, lane_count
from vdmcompress.transform import (
    Bands,
    check_range,
    detail_shape,
    forward_colour,
    haar_forward,
    haar_inverse,
    inverse_colour,
    low_range,
    pyramid_shapes,
)

Array = NDArray[np.int32]
Band = NDArray[np.int16]
Pixels = NDArray[np.uint8]
Progress = Callable[[float, float, str], None]

CHUNK_ROWS = 256
"""Rows that are evaluated at once where the network reads no latent."""


@dataclass(frozen=True)
class Encoded:
    """What `encode_pixels` gives: the lanes of the stack, the plan, the ledger of pushes minus pops."""

    lanes: list[bytes]
    plan: int
    ledger: Ledger


class PathChain:
    """What the chains of one image's band and of many images' bands have in common."""

    path: BandPath
    conditionals: Conditionals
    direct: bool
    _strips: list[slice]

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

    ctx: LL and the clean bands decoded before, int16 (C, h, w) each.  latents: whether the plan gives it any.
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
        self.components = ctx[0].shape[0]
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
        exponents = self.engine.head_exponents(row, part)
        return self.conditionals.likelihood(
            self.scale, step, bool(part), sums, linear, exponents, grey, rows, self.shape
        )

    def _top(self, row: int, rows: slice, part: int) -> tuple[Array, Array]:
        """Outputs of the top evaluation, which reads no latent: computed for many strips at once."""
        if self._chunk is None or not (
            self._chunk[0].start <= rows.start and rows.stop <= self._chunk[0].stop
        ):
            first = rows.start - rows.start % CHUNK_ROWS
            chunk = slice(first, min(max(first + CHUNK_ROWS, rows.stop), self.shape[0]))
            self._chunk = (chunk, *self._evaluate(row, chunk, part))
        chunk, sums, linear = self._chunk
        inner = slice(rows.start - chunk.start, rows.stop - chunk.start)
        return sums[inner], np.ascontiguousarray(linear[:, inner])

    def _evaluate(
        self, row: int, rows: slice, part: int, z_k: Band | None = None, delta: int = 1
    ) -> tuple[Array, Array]:
        """Outputs of an evaluation in these rows; z_k (C, h, w) in bins of delta grey levels."""
        reach = 2 * self.model.blocks + 1
        first, last = max(rows.start - reach, 0), min(rows.stop + reach, self.height)
        raw = self._raw(first, last, None if z_k is None else z_k[:, first:last] * np.int16(delta))
        return self.engine.evaluate(row, raw, slice(rows.start - first, rows.stop - first), part)

    def _raw(self, first: int, last: int, z_k: Band | None) -> Band:
        """Features of rows first..last-1, int16 (15, last - first, w); z_k: the same rows in grey levels."""
        c = self.components
        raw = np.zeros((15, last - first, self.width), np.int16)
        above = min(first, 1)
        ll = self.ctx[0][:, first - above : last]
        slopes = np.empty((2 * c, last - first + above, self.width), np.int16)
        differences(ll, slopes)
        raw[0:c], raw[3 : 3 + c], raw[12 : 12 + c] = slopes[:c, above:], slopes[c:, above:], ll[:, above:]
        for band, clean in enumerate(self.ctx[1:]):
            raw[6 + 3 * band : 6 + 3 * band + c] = clean[:, first:last]
        if z_k is not None:
            raw[6 + 3 * self.band : 6 + 3 * self.band + c] = z_k
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


@dataclass(frozen=True)
class Cascade:
    """The coder of whole images with one model, one engine, one plan."""

    engine: Engine
    conditionals: Conditionals
    plan: Plan
    threads: int

    def chain(self, scale: int, band: int, ctx: Sequence[Band], size: tuple[int, int]) -> BandChain:
        """The chain of a band; size: (H, W) of the scale that the band splits."""
        latents = self.plan.has_latents(scale, band)
        strip = self.plan.strip if latents else DIRECT_STRIP
        return BandChain(self.engine, self.conditionals, scale, band, ctx, size, latents, strip)

    def rows(self, scale: int) -> list[int]:
        """The evaluations of a scale that the plan uses, in the order in which they are popped."""
        model = self.engine.model
        return [
            model.row(scale, step.slot)
            for band in range(3)
            for step in reversed([s for s in model.path.steps if s.band == band])
            if step.top or self.plan.has_latents(scale, band)
        ]

    def push_scale(
        self, stack: Stack, scale: int, bands: Bands, size: tuple[int, int], ledger: Ledger
    ) -> None:
        """Push HH, LH, HL of a scale."""
        self.engine.prepare(reversed(self.rows(scale)))
        details = (bands.hl, bands.lh, bands.hh)
        for band in reversed(range(3)):
            chain = self.chain(scale, band, (bands.ll, *details[:band]), size)
            bits_back.encode(stack, details[band], chain, ledger.scope(band_name(scale, band)), self.threads)

    def pop_scale(self, stack: Stack, scale: int, ll: Band, size: tuple[int, int], ledger: Ledger) -> Bands:
        """Pop HL, LH, HH of a scale."""
        self.engine.prepare(self.rows(scale))
        details: list[Band] = []
        for band in range(3):
            chain = self.chain(scale, band, (ll, *details), size)
            z_0 = bits_back.decode(stack, chain, ledger.scope(band_name(scale, band)), self.threads)
            check_range(z_0, BAND_KEYS[band])
            details.append(z_0)
        return Bands(ll, *details)


def top_codec(component: int, shape: tuple[int, ...]) -> Codec:
    """Codec of the few values on top of the pyramid."""
    return uniform(*low_range(component), shape)


def encode_pixels(
    pixels: Pixels,
    model: Model,
    threads: int,
    progress: Progress | None = None,
    device: str = "auto",
    order: Sequence[int] = ORDERS["one"],
    memory: int | None = None,
) -> Encoded:
    """Encode pixels uint8 (H, W) or (H, W, 3); tries the plans of `order` until the image lends the bits.

    memory: bytes that the process may take; LimitError where that cannot be (`memory.py`).
    """
    planes = forward_colour(pixels)
    channels, *size = planes.shape
    tile = choose_tile(size[0], size[1], channels, model, threads, memory)
    pyramid = []
    for _ in range(len(pyramid_shapes(*size)) - 1):
        bands = haar_forward(planes)
        pyramid.append((bands, planes.shape[1:]))
        planes = bands.ll
    work = [b.ll.shape[1] * b.ll.shape[2] for b, _ in pyramid]
    with Engine(model, threads, device, tile) as engine:
        conditionals = Conditionals(model, channels)
        for index in order:
            stack, ledger = Stack.empty(lane_count(*size)), Ledger()
            cascade = Cascade(engine, conditionals, PLANS[index], threads)
            try:
                for scale, (bands, shape) in enumerate(pyramid):
                    cascade.push_scale(stack, scale, bands, shape, ledger)
                    if progress is not None:
                        progress(sum(work[: scale + 1]), sum(work), "encode")
            except ShortStackError:
                continue
            with ledger.scope("top").entry(stack, 0, "p"):
                for component, plane in enumerate(planes):
                    top_codec(component, plane.shape).push(stack, plane)
            return Encoded(stack.to_lanes(), index, ledger)
    raise VdmError("no plan fits: the last plan borrows nothing, so this is a defect; please report it")


def decode_pixels(
    lanes: list[bytes],
    height: int,
    width: int,
    channels: int,
    plan: int,
    model: Model,
    threads: int,
    scale: int = 1,
    progress: Progress | None = None,
    device: str = "auto",
    memory: int | None = None,
) -> Pixels:
    """Decode lanes to pixels; scale 2, 4, 8 stops at the coarser image (a preview, clipped to 0..255).

    memory: as in `encode_pixels`.
    Raises DamagedFileError where the lanes cannot be what an encoder wrote.
    """
    if plan >= len(PLANS):
        raise damaged(f"plan {plan}, the last one is {len(PLANS) - 1}")
    shapes = pyramid_shapes(height, width)
    last = min(scale.bit_length() - 1, len(shapes) - 1)
    work = [h * w for h, w in shapes[1:]][last:]
    tile = choose_tile(height, width, channels, model, threads, memory)
    try:
        stack, ledger = Stack.from_lanes(lanes), Ledger()
        if stack.lanes != lane_count(height, width):
            raise damaged(f"{stack.lanes} lanes, an image of this size has {lane_count(height, width)}")
        planes = np.empty((channels, *shapes[-1]), np.int16)
        for component in reversed(range(channels)):
            _, planes[component] = top_codec(component, shapes[-1]).pop(stack)
        with Engine(model, threads, device, tile) as engine:
            cascade = Cascade(engine, Conditionals(model, channels), PLANS[plan], threads)
            for s in reversed(range(last, len(shapes) - 1)):
                bands = cascade.pop_scale(stack, s, planes, shapes[s], ledger)
                planes = haar_inverse(bands, *shapes[s])
                del bands  # as large as the planes
                check_range(planes)
                if progress is not None:
                    progress(sum(work[s - last :]), sum(work), "decode")
    except (ShortStackError, StackFormatError, ValueOutOfRange, BinsError) as error:
        raise damaged(str(error)) from error
    if last > 0:
        return inverse_colour(planes, clip=True)
    if not stack.is_initial():
        raise damaged("bits are left over after the last band")
    return inverse_colour(planes)
