"""Whole images through the cascade: encode beside decode, from fine to coarse and back.

    encode: for scale 0, 1, ...: push HH, LH, HL (each with its chain of latents); then the few values on top
            and which colour the planes are (`colour.py`)
    decode: the colour, the few values on top; for scale ..., 1, 0: pop HL, LH, HH, put the bands together

The first band that is encoded (HH of scale 0) has no latents: the bits that it pushes are those that the
latents after it borrow.  Nothing is ever borrowed from outside the image; where it lends too few, the encoder
takes the next plan of its order (`path.ORDERS`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from codec import bits_back
from codec.ahead import Ahead
from codec.ans import Stack
from codec.bits_back import Ledger
from codec.codecs import Codec, uniform
from codec.errors import BinsError, ShortStackError, StackFormatError, ValueOutOfRange
from vdmcompress.band_chain import BandChain
from vdmcompress.colour import YCOCG, Colour, from_planes, pop_colours, push_colours, to_planes
from vdmcompress.conditionals import BAND_KEYS, Conditionals, band_name
from vdmcompress.engine import Engine
from vdmcompress.errors import VdmError, damaged
from vdmcompress.memory import choose_tile
from vdmcompress.model_file import Model
from vdmcompress.path import DIRECT_STRIP, ORDERS, PLANS, QUICK, Plan, coloured, lane_count
from vdmcompress.pyramid import Planes, components, join, split
from vdmcompress.transform import (
    Bands,
    check_range,
    low_range,
    pyramid_shapes,
)

Array = NDArray[np.int32]
Band = NDArray[np.int16]
Pixels = NDArray[np.uint8]
Progress = Callable[[float, float, str], None]
Pyramid = Sequence[tuple[Bands, tuple[int, int]]]
"""Bands of each scale and (H, W) of what they split, from fine to coarse."""


@dataclass(frozen=True)
class Encoded:
    """What `encode_pixels` gives: lanes of the stack, plan, ledger of pushes minus pops, colour of planes.

    quick: whether the colour was sought in a hurry.
    """

    lanes: list[bytes]
    plan: int
    ledger: Ledger
    colour: Colour = YCOCG
    quick: bool = False


@dataclass(frozen=True)
class Cascade:
    """The coder of whole images with one model, one engine, one plan.

    channels: components of the image.  colour: of its planes.
    """

    engine: Engine
    channels: int
    plan: Plan
    threads: int
    colour: Colour = YCOCG
    _conditionals: dict[int, Conditionals] = field(default_factory=dict)

    def chain(self, scale: int, band: int, ctx: Sequence[Band], size: tuple[int, int]) -> BandChain:
        """The chain of a band; size: (H, W) of the scale that the band splits."""
        count = components(self.channels, self.colour.subsampling, scale, band)
        conditionals = self._conditionals.setdefault(count, Conditionals(self.engine.model, count))
        latents = self.plan.has_latents(scale, band)
        strip = self.plan.strip if latents else DIRECT_STRIP
        return BandChain(self.engine, conditionals, scale, band, ctx, size, latents, strip)

    def rows(self, scale: int) -> list[int]:
        """The evaluations of a scale that the plan uses, in the order in which they are popped."""
        model = self.engine.model
        return [
            model.row(scale, step.slot)
            for band in range(3)
            for step in reversed([s for s in model.path.steps if s.band == band])
            if step.top or self.plan.has_latents(scale, band)
        ]

    def push_scales(
        self, stack: Stack, pyramid: Pyramid, ledger: Ledger, pushed: Callable[[int], None]
    ) -> None:
        """Push HH, LH, HL of each scale, from fine to coarse, and tell each scale when it is done.

        While strips are coded, those that follow go through the network and learn, be it in another band.
        """
        order = [(scale, band) for scale in range(len(pyramid)) for band in reversed(range(3))]
        chains = {place: self._chain_of(pyramid, *place) for place in order}
        for scale in range(len(pyramid)):
            self.engine.prepare(reversed(self.rows(scale)))
        with Ahead(self.threads) as ahead:
            tops = ahead.tops([found for found in chains.values() if found[0].levels == 1])
            for scale, band in order:
                chain, detail = chains.pop((scale, band))
                label = ledger.scope(band_name(scale, band))
                ready = tops if chain.levels == 1 else None
                bits_back.encode(stack, detail, chain, label, self.threads, ready)
                if band == 0:
                    pushed(scale)

    def _chain_of(self, pyramid: Pyramid, scale: int, band: int) -> tuple[BandChain, Band]:
        """A band's chain and the band."""
        bands, size = pyramid[scale]
        details = (bands.hl, bands.lh, bands.hh)
        return self.chain(scale, band, (bands.ll, *details[:band]), size), details[band]

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
    colour: str = "auto",
) -> Encoded:
    """Encode pixels uint8 (H, W) or (H, W, 3); tries the plans of `order` until the image lends the bits.

    memory: bytes that the process may take; LimitError where that cannot be (`memory.py`).  colour: of
    `path.COLOURS`, or `path.QUICK`.
    """
    channels, size = 1 if pixels.ndim == 2 else 3, (pixels.shape[0], pixels.shape[1])
    tile = choose_tile(*size, channels, model, threads, memory)
    planes, found = to_planes(pixels, colour != "rgb", colour != QUICK)
    with Engine(model, threads, device, tile) as engine:
        pyramid = []
        for _ in range(len(pyramid_shapes(*size)) - 1):
            bands = split(planes, found.subsampling)
            pyramid.append((bands, planes.size))
            planes = Planes(bands.ll)
        work = [b.ll.shape[1] * b.ll.shape[2] for b, _ in pyramid]

        def pushed(scale: int) -> None:
            if progress is not None:
                progress(sum(work[: scale + 1]), sum(work), "encode")

        for index in (coloured(plan, found.number) for plan in order) if found.number else order:
            stack, ledger = Stack.empty(lane_count(*size)), Ledger()
            cascade = Cascade(engine, channels, PLANS[index], threads, found)
            try:
                cascade.push_scales(stack, pyramid, ledger, pushed)
            except ShortStackError:
                continue
            with ledger.scope("top").entry(stack, 0, "p"):
                for component, plane in enumerate(planes.full):
                    top_codec(component, plane.shape).push(stack, plane)
                if cascade.plan.coloured:
                    push_colours(stack, [found], cascade.plan)
            return Encoded(stack.to_lanes(), index, ledger, found, colour == QUICK)
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
        colour = YCOCG
        if PLANS[plan].coloured:
            (colour,) = pop_colours(stack, 1, channels, height, width, PLANS[plan])
        planes = Planes(np.empty((channels, *shapes[-1]), np.int16))
        for component in reversed(range(channels)):
            _, planes.full[component] = top_codec(component, shapes[-1]).pop(stack)
        with Engine(model, threads, device, tile) as engine:
            cascade = Cascade(engine, channels, PLANS[plan], threads, colour)
            for s in reversed(range(last, len(shapes) - 1)):
                bands = cascade.pop_scale(stack, s, planes.full, shapes[s], ledger)
                planes = join(bands, shapes[s], colour.subsampling)
                del bands  # as large as the planes
                planes.check_range()
                if progress is not None:
                    progress(sum(work[s - last :]), sum(work), "decode")
    except (ShortStackError, StackFormatError, ValueOutOfRange, BinsError) as error:
        raise damaged(str(error)) from error
    if last > 0:
        return from_planes(planes, colour, clip=True)
    if not stack.is_initial():
        raise damaged("bits are left over after the last band")
    return from_planes(planes, colour)
