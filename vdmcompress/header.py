"""The header of a file: what it says of itself, and its bytes (table in docs/format.md).

magic  version  kind and mode  width  height  [layout]  [model  plan  lanes  lengths]
[alpha: kind  length]  pixel CRC  [metadata]
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from numbers import Real
from typing import Final

from vdmcompress.chunks import Chunk, chunk_fault, pack_section, read_section
from vdmcompress.errors import UnsupportedImageError, UsageError, damaged
from vdmcompress.picture import DEPTHS, Mode, mode_name, mode_of
from vdmcompress.wire import Reader, varint

__all__ = [
    "DEFAULT_LIMITS",
    "MAGIC",
    "VERSION",
    "Header",
    "Kind",
    "Limits",
    "read_fields",
    "read_head",
    "write_head",
]

MAGIC: Final = b"\x89VDM"
"""First bytes of every file; the first one is not ASCII, so that transfers as text are noticed."""

VERSION: Final = 0
"""Format version; 0 until the first release, and may change until then."""

MODEL_BYTES: Final = 8
MAX_LANES: Final = 64
_CRC_BYTES: Final = 4
_KIND_BITS: Final = 0x03
_COLOUR_BIT: Final = 0x04
_LAYOUT_BIT: Final = 0x08
_METADATA_BIT: Final = 0x10
_MODE_BITS: Final = 0x07
_DEPTH_SHIFT: Final = 3
_DEPTH_BITS: Final = 0x38
_ALPHA_BIT: Final = 0x40


class Kind(IntEnum):
    """How the payload codes the pixels; the numbers are those of the format."""

    DIFFUSION = 0
    WEBP = 1
    PNG = 2


@dataclass(frozen=True)
class Header:
    """What a file says of itself.

    kind: how the payload codes the pixels.  width, height: pixels, at least 1.  channels: samples of a pixel,
    1 grey or index, 2 grey and alpha, 3 RGB, 4 RGB and alpha.  pixel_crc: `picture.pixel_crc` of the picture.
    model: first 8 bytes of the model's hash.  plan: index of the list of latents.  lanes: 1..64 parts of the
    payload.  The classical kinds have no model (empty), plan 0 and one lane.
    depth: bits of a sample, 1, 2, 4, 8 or 16.  indexed: the one channel holds indices of a palette.
    alpha: how the alpha plane is coded, if it is a part of its own before the lanes (8 bits only).
    chunks: palette and metadata.
    """

    kind: Kind
    width: int
    height: int
    channels: int
    pixel_crc: int
    model: bytes = b""
    plan: int = 0
    lanes: int = 1
    version: int = VERSION
    depth: int = 8
    indexed: bool = False
    alpha: Kind | None = None
    chunks: tuple[Chunk, ...] = ()

    @property
    def mode(self) -> Mode:
        """What the samples of a pixel are."""
        return mode_of(self.channels, self.indexed)

    @property
    def payload_channels(self) -> int:
        """Samples of a pixel that the lanes code: all, or all but alpha where that is apart."""
        return self.channels if self.alpha is None else self.channels - 1

    def fault(self) -> str | None:
        """What cannot be in a header, in words; None for a sound one."""
        return self.field_fault() or chunk_fault(self.chunks, self.indexed)

    def field_fault(self) -> str | None:
        """What cannot be in a header but for its chunks, in words."""
        classical = self.kind is not Kind.DIFFUSION
        checks = (
            (self.version == VERSION, f"format version {self.version}, allowed {VERSION}"),
            (self.width >= 1 and self.height >= 1, f"size {self.width}x{self.height}, allowed 1x1 and more"),
            (max(self.width, self.height) < 2**32, f"size {self.width}x{self.height}, allowed under 2**32"),
            (1 <= self.channels <= 4, f"{self.channels} channels, allowed 1..4"),
            (not self.indexed or self.channels == 1, f"{self.channels} channels of indices, allowed 1"),
            (0 <= self.pixel_crc < 2**32, f"pixel CRC {self.pixel_crc}, allowed 0..2**32-1"),
            (0 <= self.plan < 2**32, f"plan {self.plan}, allowed 0..2**32-1"),
            (1 <= self.lanes <= MAX_LANES, f"{self.lanes} lanes, allowed 1..{MAX_LANES}"),
            (
                len(self.model) == (0 if classical else MODEL_BYTES),
                f"model hash of {len(self.model)} bytes, allowed {MODEL_BYTES} (classical kinds 0)",
            ),
            (not classical or (self.plan, self.lanes) == (0, 1), f"plan or lanes with {self.kind.name}"),
        )
        found = next((text for sound, text in checks if not sound), None)
        return found or self._layout_fault()

    def _layout_fault(self) -> str | None:
        """What cannot be of mode, depth, alpha and kind, in words."""
        name = mode_name(self.mode, self.depth)
        apart = self.alpha is not None
        served = self.depth == 8 and not self.indexed and self.payload_channels in (1, 3)
        checks = (
            (self.depth in DEPTHS[self.mode], name),
            (not apart or (self.channels in (2, 4) and self.depth == 8), f"an alpha plane in {name}"),
            (self.alpha is not Kind.DIFFUSION, "an alpha plane of kind DIFFUSION"),
            (self.kind is not Kind.DIFFUSION or served, f"kind DIFFUSION for {name}"),
            (self.kind is not Kind.WEBP or self.depth <= 8, f"kind WEBP for {name}"),
        )
        return next((text for sound, text in checks if not sound), None)


@dataclass(frozen=True)
class Limits:
    """What a reader is ready to work on.  max_pixels: width times height."""

    max_pixels: int = 2**28

    def __post_init__(self) -> None:
        """Raise UsageError for no number."""
        given: object = self.max_pixels
        if not isinstance(given, Real):
            raise UsageError(f"max_pixels {given!r}, allowed are numbers of pixels")


DEFAULT_LIMITS: Final = Limits()


def write_head(header: Header, lengths: Sequence[int]) -> bytes:
    """Everything before the first part; lengths: bytes of the parts."""
    mode = header.kind | (_COLOUR_BIT if header.payload_channels >= 3 else 0)
    layout = _layout(header)
    mode |= (_LAYOUT_BIT if layout else 0) | (_METADATA_BIT if header.chunks else 0)
    parts = [MAGIC, bytes((header.version, mode)), varint(header.width), varint(header.height), layout]
    apart = header.alpha is not None
    if header.kind is Kind.DIFFUSION:
        parts += [header.model, varint(header.plan), varint(header.lanes)]
        parts += [varint(length) for length in lengths[apart:-1]]
    if header.alpha is not None:
        parts += [bytes((header.alpha,)), varint(lengths[0])]
    parts.append(struct.pack("<I", header.pixel_crc))
    if header.chunks:
        parts.append(pack_section(header.chunks))
    return b"".join(parts)


def _layout(header: Header) -> bytes:
    """The byte of mode, depth and alpha; empty for 8-bit grey and RGB, which the bit of colour tells."""
    if header.depth == 8 and header.mode in (Mode.GREY, Mode.RGB):
        return b""
    apart = _ALPHA_BIT if header.alpha is not None else 0
    return bytes((header.mode | (header.depth.bit_length() - 1) << _DEPTH_SHIFT | apart,))


def read_head(reader: Reader) -> tuple[Header, list[int], int]:
    """Header, lengths of the parts, start of the first one."""
    header, lengths, more = read_fields(reader)
    if more:
        header = replace(header, chunks=read_section(reader))
        if not header.chunks:
            raise damaged("metadata without anything in them")
    fault = header.fault()
    last = reader.left - sum(lengths)
    if fault is None and last < 0:
        fault = f"lanes of {sum(lengths)} bytes in a payload of {reader.left}"
    if fault is not None:
        raise damaged(fault)
    return header, [*lengths, last], reader.at


def read_fields(reader: Reader) -> tuple[Header, list[int], bool]:
    """Header without chunks, lengths of all parts but the last, whether chunks follow; all unchecked."""
    version = reader.byte()
    if version != VERSION:
        raise UnsupportedImageError(
            f"file of format version {version}, this program reads {VERSION}; use the version that made it"
        )
    first = reader.byte()
    known = _KIND_BITS | _COLOUR_BIT | _LAYOUT_BIT | _METADATA_BIT
    if first & ~known or first & _KIND_BITS not in Kind.__members__.values():
        raise damaged(f"kind and mode {first:#04x} does not exist")
    kind = Kind(first & _KIND_BITS)
    width, height = reader.varint(), reader.varint()
    mode, depth, apart = Mode.RGB if first & _COLOUR_BIT else Mode.GREY, 8, False
    if first & _LAYOUT_BIT:
        mode, depth, apart = _read_layout(reader.byte(), bool(first & _COLOUR_BIT))
    model, plan, lanes, lengths = b"", 0, 1, []
    if kind is Kind.DIFFUSION:
        model, plan, lanes = reader.take(MODEL_BYTES), reader.varint(), reader.varint()
        if lanes <= MAX_LANES:
            lengths = [reader.varint() for _ in range(lanes - 1)]
    alpha = None
    if apart:
        number = reader.byte()
        if number not in (Kind.WEBP, Kind.PNG):
            raise damaged(f"an alpha plane of kind {number}")
        alpha, lengths = Kind(number), [reader.varint(), *lengths]
    crc = int.from_bytes(reader.take(_CRC_BYTES), "little")
    indexed = mode is Mode.PALETTE
    header = Header(
        kind, width, height, mode.channels, crc, model, plan, lanes, version, depth, indexed, alpha
    )
    return header, lengths, bool(first & _METADATA_BIT)


def _read_layout(byte: int, colour: bool) -> tuple[Mode, int, bool]:
    """Mode, depth, whether alpha is a part of its own; the byte must be needed and agree with the first."""
    number, depth = byte & _MODE_BITS, 1 << ((byte & _DEPTH_BITS) >> _DEPTH_SHIFT)
    known = byte & ~(_MODE_BITS | _DEPTH_BITS | _ALPHA_BIT) == 0 and number in Mode.__members__.values()
    plain = depth == 8 and number in (Mode.GREY, Mode.RGB)
    if not known or plain or (Mode(number).channels >= 3) != colour:
        raise damaged(f"layout {byte:#04x} does not exist or contradicts the mode")
    return Mode(number), depth, bool(byte & _ALPHA_BIT)
