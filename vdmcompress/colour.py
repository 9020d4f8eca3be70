"""Which planes stand for the pixels of an image: YCoCg-R of RGB, or the YCC that the pixels once were.

An image whose pixels come from Y, C1, C2 (`ycc.py`) has the planes Y, C2 - grey, grey - C1, which look to a
network like its Y, Co, Cg; where chroma was stored at half the resolution (`subsampling.py`), they are its
samples. Pixels that do not fit are exceptions, listed with what they are away; there may be one in `RARE`
pixels. The number of the colour (0 for YCoCg-R) and the exceptions lie on the stack above everything else:

    encode: ... push planes; push exceptions; push colour
    decode: pop colour; pop exceptions; pop planes ...
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from codec.ans import Stack
from codec.codecs import Codec, categorical, uniform
from vdmcompress.chroma_samples import likeliest, shrink
from vdmcompress.clipped import settle
from vdmcompress.errors import damaged
from vdmcompress.path import ALL_COLOURS, FIRST_COLOURS, Plan
from vdmcompress.pyramid import Planes
from vdmcompress.subsampling import FULL, SUBSAMPLINGS, Subsampling, upsample
from vdmcompress.transform import forward_colour, inverse_colour
from vdmcompress.wire import Reader, varint
from vdmcompress.ycc import CONVERSIONS, Conversion, fit_luma, invert, to_rgb

__all__ = [
    "YCOCG",
    "Colour",
    "colour_bits",
    "from_planes",
    "likely",
    "pop_colours",
    "push_colours",
    "to_planes",
    "was_stored",
]

Pixels = NDArray[np.uint8]
IntArray = NDArray[np.int16]
Mask = NDArray[np.bool_]

_EVERY: Final = [(c, kind) for c in CONVERSIONS for kind in (FULL, *SUBSAMPLINGS[c.name])]
_FIRST: Final = [(c, k) for c, k in _EVERY if k is FULL or k.sited or (k == k.whole and not k.rounding)]
_LATER: Final = [kind for kind in _EVERY if kind not in _FIRST]

KINDS: Final[tuple[tuple[Conversion | None, Subsampling], ...]] = ((None, FULL), *_FIRST, *_LATER)
"""Colours by their numbers in the format; the first ten are those of older plans."""

RARE: Final = 16
"""Pixels of an image for each exception that it may have."""

DOUBTFUL: Final = 6
"""The same before samples of chroma are moved (`clipped.py`)."""

LEAST: Final = 256
"""Pixels of the smallest image that is tried: fewer may fit by chance."""

LEAST_SIDE: Final = 16
"""Rows and columns of the smallest image whose chroma may be halved."""

SAMPLE: Final = 1024
"""Pixels that are tried first, so that images without such a past cost nothing."""

_WEIGHTS: Final = {FIRST_COLOURS: 240, ALL_COLOURS: 960}
_CHUNK: Final = 1 << 18


@dataclass(frozen=True)
class Colour:
    """number: 0 for YCoCg-R (and grey), else of `KINDS`.  exceptions: bytes of their list."""

    number: int = 0
    exceptions: bytes = b""

    @property
    def name(self) -> str:
        """For people: YCoCg-R, or the format and the resolution of chroma."""
        conversion, kind = KINDS[self.number]
        return "YCoCg-R" if conversion is None else f"{conversion.name} {kind.name}"

    @property
    def conversion(self) -> Conversion | None:
        """None for YCoCg-R."""
        return KINDS[self.number][0]

    @property
    def subsampling(self) -> Subsampling:
        """Of chroma."""
        return KINDS[self.number][1]


YCOCG: Final = Colour()


def to_planes(pixels: Pixels, seek: bool = True, careful: bool = True) -> tuple[Planes, Colour]:
    """Planes of pixels uint8 (H, W) or (H, W, 3), and how they came about.

    seek: look for the YCC that they once were.  careful: search chroma under clipped pixels.
    Raises UnsupportedImageError for other arrays.
    """
    if seek and pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3:
        flat = np.ascontiguousarray(pixels).reshape(-1, 3)
        for conversion in likely(flat):
            found = invert(flat, conversion, len(flat) // RARE)
            if found is not None:
                return _as_stored(pixels, *found, conversion, careful)
    return Planes(forward_colour(pixels)), YCOCG


def likely(pixels: Pixels) -> list[Conversion]:
    """The conversions that nearly all of a sample of pixels uint8 (n, 3) may come from; mostly none."""
    if len(pixels) < LEAST:
        return []
    sample = pixels[:: max(1, len(pixels) // SAMPLE)]
    return [each for each in CONVERSIONS if invert(sample, each, len(sample) // 32) is not None]


def was_stored(pixels: NDArray[Any]) -> bool:
    """Whether pixels (H, W) or (H, W, 3) seem to have been YCC once, from a sample of them."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        return False
    count = pixels.shape[0] * pixels.shape[1]
    places = np.arange(0, count, max(1, count // SAMPLE))
    return count >= LEAST and bool(likely(pixels[np.unravel_index(places, pixels.shape[:2])]))


def _as_stored(
    pixels: Pixels, ycc: Pixels, missed: Mask, conversion: Conversion, careful: bool
) -> tuple[Planes, Colour]:
    """Planes of pixels with the integers behind them, chroma at half the resolution where that serves."""
    flat, size = np.ascontiguousarray(pixels).reshape(-1, 3), pixels.shape[:2]
    number = next(n for n, kind in enumerate(KINDS) if kind[0] is conversion)
    if min(size) >= LEAST_SIDE:
        clipped = (flat == 0) | (flat == 255)
        known = ~(missed | clipped[:, 0] | clipped[:, 1] | clipped[:, 2]).reshape(size)
        chroma = [np.ascontiguousarray(ycc[:, c]).reshape(size) for c in (1, 2)]
        for kind in likeliest(chroma, known, SUBSAMPLINGS[conversion.name]):
            with ThreadPoolExecutor(2) as pool:
                half = list(pool.map(partial(shrink, known=known, kind=kind), chroma))
            most = len(flat) // (DOUBTFUL if careful else RARE)
            wrong, nearest = _with_chroma(flat, ycc, half, conversion, kind, size, most)
            if careful and wrong is not None and wrong.any():
                half = list(settle(pixels, wrong.reshape(size), (half[0], half[1]), conversion, kind))
                wrong, nearest = _with_chroma(flat, ycc, half, conversion, kind, size, len(flat) // RARE)
            if wrong is not None:
                luma = nearest[:, 0].astype(np.int16).reshape(1, *size)
                listed = _listed(flat, nearest, wrong, conversion)
                other = KINDS.index((conversion, kind))
                return Planes(luma, _centred(half[0], half[1], conversion)), Colour(other, listed)
    y, c1, c2 = (np.ascontiguousarray(ycc[:, c]).reshape(size) for c in range(3))
    full = np.concatenate((y.astype(np.int16)[None], _centred(c1, c2, conversion)))
    return Planes(full), Colour(number, _listed(flat, ycc, missed, conversion))


def _with_chroma(
    pixels: Pixels,
    ycc: Pixels,
    half: Sequence[Pixels],
    conversion: Conversion,
    kind: Subsampling,
    size: tuple[int, int],
    most: int,
) -> tuple[Mask | None, Pixels]:
    """Which pixels have no Y with samples of chroma, None for more than `most`; and Y, C1, C2 of all."""
    nearest = ycc.copy()
    for c in (1, 2):
        nearest[:, c] = upsample(half[c - 1], kind, *size).reshape(-1)
    return fit_luma(pixels, nearest, conversion, most), nearest


def _centred(c1: Pixels, c2: Pixels, conversion: Conversion) -> IntArray:
    """C2 - grey, grey - C1, int16 (2, h, w)."""
    first, second = conversion.centre
    return np.stack((c2.astype(np.int16) - np.int16(second), np.int16(first) - c1.astype(np.int16)))


def _stored(chroma: IntArray, conversion: Conversion, clip: bool) -> list[Pixels]:
    """C1 and C2 uint8 of `_centred`."""
    first, second = conversion.centre
    planes = first - chroma[1], chroma[0] + second
    return [_bytes_of(plane, conversion, clip) for plane in planes]


def _bytes_of(plane: IntArray, conversion: Conversion, clip: bool) -> Pixels:
    if clip:
        plane = plane.clip(0, 255)
    elif plane.size and np.bitwise_or.reduce(plane, axis=None) & ~0xFF:
        raise damaged(f"{conversion.name} planes decode to {plane.min()}..{plane.max()}, allowed are 0..255")
    return plane.astype(np.uint8)


def from_planes(planes: Planes, colour: Colour, *, clip: bool = False) -> Pixels:
    """The inverse of `to_planes`; with clip (previews) for LL of a coarse scale, without exceptions.

    Raises DamagedFileError for planes or exceptions that no image has.
    """
    conversion = colour.conversion
    if conversion is None:
        return inverse_colour(planes.full, clip=clip)
    height, width = planes.size
    chroma = _stored(planes.full[1:] if planes.half is None else planes.half, conversion, clip)
    if planes.half is not None:
        chroma = [upsample(plane, colour.subsampling, height, width) for plane in chroma]
    stored = [_bytes_of(planes.full[0], conversion, clip), *chroma]
    y, c1, c2 = (plane.reshape(-1) for plane in stored)
    pixels = np.empty((height * width, 3), np.uint8)
    for start in range(0, height * width, _CHUNK):
        part = slice(start, start + _CHUNK)
        pixels[part] = to_rgb(np.stack((y[part], c1[part], c2[part]), axis=1), conversion)
    if colour.exceptions and not clip:
        places, away = _read_list(colour.exceptions, len(pixels))
        pixels[places] += away
    return pixels.reshape(height, width, 3)


def _listed(pixels: Pixels, ycc: Pixels, missed: Mask, conversion: Conversion) -> bytes:
    """zlib of all distances to the next exception, then of R, G, B less what ycc gives; nothing for none."""
    places = np.flatnonzero(missed)
    if not len(places):
        return b""
    gaps = np.diff(places, prepend=-1) - 1
    away = pixels[places] - to_rgb(ycc[places], conversion)
    return zlib.compress(b"".join(map(varint, gaps.tolist())) + away.T.tobytes(), 9)


def _most_bytes(pixels: int) -> int:
    """Of the longest list of exceptions before it is compressed."""
    return (5 + 3) * (pixels // RARE)


def _read_list(data: bytes, pixels: int) -> tuple[NDArray[np.int64], Pixels]:
    """Places int64 (n,) and what their colours are away, uint8 (n, 3), for an image of so many pixels."""
    most = _most_bytes(pixels)
    unpacker = zlib.decompressobj()
    try:
        found = unpacker.decompress(data, most + 1)
    except zlib.error as error:
        raise damaged(f"the list of exceptional colours is no zlib stream ({error})") from error
    if not unpacker.eof or unpacker.unused_data or len(found) > most:
        raise damaged(f"the list of exceptional colours is not whole, or longer than {most} bytes")
    reader = Reader(memoryview(found), where="list of exceptional colours")
    places: list[int] = []
    place = -1
    while reader.left > 3 * len(places):
        place += 1 + reader.varint()
        places.append(place)
    if place >= pixels or reader.left != 3 * len(places):
        raise damaged(f"an exceptional colour at pixel {place} of {pixels}, or a list of odd length")
    away = np.frombuffer(reader.take(reader.left), np.uint8).reshape(3, -1).T
    return np.array(places, np.int64), away


def _bytes(count: int) -> Codec:
    return uniform(0, 256, (count,))


def _weights(plan: Plan) -> NDArray[np.int64]:
    return np.array([_WEIGHTS[plan.coloured]] + [2] * (plan.coloured - 1), np.int64)


def _numbers(count: int, plan: Plan) -> Codec:
    return categorical(_weights(plan), (count,))


def push_colours(stack: Stack, colours: Sequence[Colour], plan: Plan) -> None:
    """Push what `pop_colours` pops."""
    for colour in reversed([colour for colour in colours if colour.number]):
        length = varint(len(colour.exceptions))
        _bytes(len(colour.exceptions)).push(stack, np.frombuffer(colour.exceptions, np.uint8))
        for byte in reversed(length):  # one by one, as they are popped
            _bytes(1).push(stack, np.array([byte]))
    _numbers(len(colours), plan).push(stack, np.array([colour.number for colour in colours]))


def pop_colours(stack: Stack, count: int, channels: int, height: int, width: int, plan: Plan) -> list[Colour]:
    """Pop the colours of so many images of a size.

    Raises DamagedFileError, and ShortStackError where the stack ends.
    """
    numbers = _numbers(count, plan).pop(stack)[1]
    found = [_pop(stack, int(number), height * width) for number in numbers]
    for colour in found:
        halved = colour.subsampling is not FULL
        if (colour.number and channels != 3) or (halved and min(height, width) < LEAST_SIDE):
            raise damaged(f"colour {colour.number} in an image of {width}x{height}, {channels} components")
    return found


def _pop(stack: Stack, number: int, pixels: int) -> Colour:
    """The exceptions of a colour, if it can have any."""
    if not number:
        return YCOCG
    most = _most_bytes(pixels) + 64  # zlib's own
    length = _pop_varint(stack)
    if length > most:
        raise damaged(f"{length} bytes of exceptional colours, allowed are {most} for {pixels} pixels")
    return Colour(number, _bytes(length).pop(stack)[1].astype(np.uint8).tobytes())


def _pop_varint(stack: Stack) -> int:
    """A number of `wire.varint`, byte by byte."""
    found = bytearray()
    while len(found) < 5 and not (found and found[-1] < 0x80):
        found.append(int(_bytes(1).pop(stack)[1][0]))
    return Reader(memoryview(bytes(found)), where="list of exceptional colours").varint()


def colour_bits(colours: Sequence[Colour], plan: Plan) -> float:
    """Information of what `push_colours` pushes, in bits."""
    parts = [colour.exceptions for colour in colours if colour.number]
    weights = _weights(plan)
    shares = np.log2(weights[[colour.number for colour in colours]] / weights.sum())
    return 8.0 * sum(len(part) + len(varint(len(part))) for part in parts) - float(shares.sum())
