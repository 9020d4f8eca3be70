"""A picture with everything that must come back: pixels, mode, depth, palette, metadata."""

import zlib
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vdmcompress.chunks import Chunk, chunk_fault, find_chunk, palette_of, strip_chunks
from vdmcompress.errors import UnsupportedImageError

__all__ = [
    "DEPTHS",
    "Mode",
    "Picture",
    "Samples",
    "array_picture",
    "difference",
    "mode_name",
    "mode_of",
    "pixel_crc",
]

Samples: TypeAlias = NDArray[Any]
"""uint8, or uint16 at 16 bits."""


class Mode(IntEnum):
    """What the samples of a pixel are; the numbers are PNG's colour types."""

    GREY = 0
    RGB = 2
    PALETTE = 3
    GREY_ALPHA = 4
    RGBA = 6

    @property
    def channels(self) -> int:
        """Samples of a pixel."""
        return {Mode.RGB: 3, Mode.GREY_ALPHA: 2, Mode.RGBA: 4}.get(self, 1)


DEPTHS: Final = {
    Mode.GREY: (1, 2, 4, 8, 16),
    Mode.RGB: (8, 16),
    Mode.PALETTE: (1, 2, 4, 8),
    Mode.GREY_ALPHA: (8, 16),
    Mode.RGBA: (8, 16),
}
"""Bits that a sample may have."""

_NAMES: Final = {
    Mode.GREY: "grey",
    Mode.RGB: "RGB",
    Mode.PALETTE: "palette",
    Mode.GREY_ALPHA: "grey with alpha",
    Mode.RGBA: "RGB with alpha",
}


def mode_of(channels: int, indexed: bool = False) -> Mode:
    """Mode of 1 to 4 channels.  indexed: the one channel holds indices of a palette."""
    if indexed:
        return Mode.PALETTE
    return (Mode.GREY, Mode.GREY_ALPHA, Mode.RGB, Mode.RGBA)[channels - 1]


def mode_name(mode: Mode, depth: int) -> str:
    """Mode and depth in words, e.g. "16-bit RGB"; 8 bits are not named."""
    return _NAMES[mode] if depth == 8 else f"{depth}-bit {_NAMES[mode]}"


@dataclass(frozen=True, eq=False)
class Picture:
    """An image file's content.

    mode: what the samples are.  depth: bits of a sample, as DEPTHS allows.  pixels: uint8, or uint16 at 16
    bits; (H, W), or (H, W, 2..4) with the channels of the mode, alpha last and not multiplied in; values are
    0..2**depth - 1 as they stand in the file, below 8 bits too; with Mode.PALETTE they are indices.
    chunks: palette (PLTE), transparency (tRNS) and metadata as PNG chunks, in order.  notes: what the reader
    of a file has to say; lost: names of what the file has and the picture has not. Both are no part of it.
    """

    mode: Mode
    depth: int
    pixels: Samples
    chunks: tuple[Chunk, ...] = ()
    notes: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def name(self) -> str:
        """Mode and depth in words."""
        return mode_name(self.mode, self.depth)

    @property
    def palette(self) -> NDArray[np.uint8]:
        """Colours (N, 3) of the indices; none for other modes."""
        data = palette_of(self.chunks) if self.mode is Mode.PALETTE else b""
        return np.frombuffer(data, np.uint8).reshape(-1, 3)

    @property
    def colour(self) -> Samples:
        """The channels without alpha, (H, W) or (H, W, 3)."""
        if self.mode is Mode.GREY_ALPHA:
            return np.ascontiguousarray(self.pixels[:, :, 0])
        return np.ascontiguousarray(self.pixels[:, :, :3]) if self.mode is Mode.RGBA else self.pixels

    @property
    def alpha(self) -> Samples | None:
        """The alpha plane (H, W); None for modes without."""
        if self.mode not in (Mode.GREY_ALPHA, Mode.RGBA):
            return None
        return np.ascontiguousarray(self.pixels[:, :, -1])

    def fault(self) -> str | None:
        """What contradicts the rules of the class, in words; None for a sound picture."""
        mode, depth, pixels = self.mode, self.depth, self.pixels
        if depth not in DEPTHS[mode]:
            return f"{depth}-bit {_NAMES[mode]}, allowed {', '.join(map(str, DEPTHS[mode]))} bits"
        dtype, shape = _layout(mode, depth)
        if pixels.dtype != dtype or pixels.ndim < 2 or pixels.shape[2:] != shape or pixels.size == 0:
            return f"pixels {pixels.dtype} {pixels.shape} for {self.name}"
        if depth < 8 and int(pixels.max()) >> depth:
            return f"value {pixels.max()} in {self.name}, allowed 0..{2**depth - 1}"
        return chunk_fault(self.chunks, mode is Mode.PALETTE)

    def stripped(self) -> "Picture":
        """The picture without metadata; a transparent colour (tRNS) stays, it belongs to the picture."""
        return replace(self, chunks=strip_chunks(self.chunks, self.mode is Mode.PALETTE))

    def array(self) -> Samples:
        """Pixels as programs expect them: palettes as RGB or RGBA, fewer than 8 bits scaled to 0..255.

        Other modes as they are.  A transparent colour (tRNS) of grey and RGB is not applied.
        """
        if self.mode is Mode.PALETTE:
            return self._colours()
        if self.depth < 8:
            return self.pixels * np.uint8(255 // (2**self.depth - 1))
        return self.pixels

    def _colours(self) -> NDArray[np.uint8]:
        """Colours of the indices; those beyond the palette are black."""
        alpha = find_chunk(self.chunks, b"tRNS") or b""
        table = np.zeros((256, 4 if alpha else 3), np.uint8)
        table[: len(self.palette), :3] = self.palette
        if alpha:
            table[:, 3] = 255
            table[: len(alpha[:256]), 3] = np.frombuffer(alpha[:256], np.uint8)
        return table[self.pixels]


def array_picture(pixels: Samples) -> Picture:
    """The picture of an array uint8 or uint16, (H, W), (H, W, 2), (H, W, 3) or (H, W, 4), alpha last.

    Raises UnsupportedImageError for everything else.
    """
    if not isinstance(pixels, np.ndarray) or pixels.dtype.newbyteorder("=") not in (np.uint8, np.uint16):
        met = f"an array of {pixels.dtype}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise UnsupportedImageError(
            f"image: {met}; allowed are uint8 and uint16 arrays, Pillow images and pictures; convert it"
        )
    if pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (2,), (3,), (4,)) or pixels.size == 0:
        raise UnsupportedImageError(
            f"image has shape {pixels.shape}; allowed are (H, W) for grey, (H, W, 3) for RGB, and (H, W, 2) "
            "and (H, W, 4) with alpha, not empty"
        )
    depth = 8 * pixels.dtype.itemsize
    native = pixels.astype(np.uint16) if depth == 16 else pixels
    return Picture(mode_of(1 if pixels.ndim == 2 else pixels.shape[2]), depth, native)


def pixel_crc(picture: Picture) -> int:
    """CRC-32 of all that is the picture, so that nothing of it can be altered unnoticed.

    A byte of the mode and one of the depth (neither for 8-bit grey and RGB), the samples row by row, those of
    a pixel together, 16 bits big-endian, the palette of an indexed picture, the transparency (tRNS).
    """
    plain = picture.depth == 8 and picture.mode in (Mode.GREY, Mode.RGB)
    crc = 0 if plain else zlib.crc32(bytes((picture.mode, picture.depth)))
    samples = picture.pixels.astype(">u2") if picture.depth == 16 else picture.pixels
    crc = zlib.crc32(np.ascontiguousarray(samples).data, crc)
    if picture.mode is Mode.PALETTE:
        crc = zlib.crc32(palette_of(picture.chunks), crc)
    return zlib.crc32(find_chunk(picture.chunks, b"tRNS") or b"", crc)


def difference(found: Picture, expected: Picture) -> str | None:
    """The first thing in which two pictures differ, in words; None where they are equal."""
    if (found.width, found.height) != (expected.width, expected.height):
        return f"size {found.width}x{found.height}, not {expected.width}x{expected.height}"
    if (found.mode, found.depth) != (expected.mode, expected.depth):
        return f"mode {found.name}, not {expected.name}"
    if not np.array_equal(found.pixels, expected.pixels):
        return "other pixels"
    if found.chunks == expected.chunks:
        return None
    for ours, theirs, what in ((expected, found, "lacks"), (found, expected, "has besides")):
        names = [chunk.name for chunk in ours.chunks if chunk not in theirs.chunks]
        if names:
            return f"metadata: {what} {', '.join(names)}"
    return "metadata: another order"


def _layout(mode: Mode, depth: int) -> tuple[type, tuple[int, ...]]:
    """dtype of the samples, and shape behind height and width."""
    channels = mode.channels
    return np.uint16 if depth == 16 else np.uint8, () if channels == 1 else (channels,)
