"""The file format: header, payload in lanes, checksums (byte table in docs/format.md).

    magic  version  kind and mode  width  height  [model  plan  lanes  lengths]  pixel CRC | lanes | file CRC

Nothing is believed before the checksum of the whole file agrees, and everything is bounded before it is used.
"""

import struct
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, TypeAlias

from vdmcompress.errors import LimitError, UnsupportedImageError, UsageError, damaged

__all__ = [
    "DEFAULT_LIMITS",
    "MAGIC",
    "VERSION",
    "Data",
    "Header",
    "Kind",
    "Limits",
    "file_length",
    "file_lengths",
    "holds",
    "longest",
    "pack",
    "peek",
    "unpack",
]

Data: TypeAlias = bytes | bytearray | memoryview

MAGIC: Final = b"\x89VDM"
"""First bytes of every file; the first one is not ASCII, so that transfers as text are noticed."""

VERSION: Final = 0
"""Format version; 0 until the first release, and may change until then."""

MODEL_BYTES: Final = 8
MAX_LANES: Final = 64
FREE_PIXELS: Final = 1 << 12
PIXELS_PER_BYTE: Final = 64
"""A diffusion payload of n bytes holds at most FREE_PIXELS + n * PIXELS_PER_BYTE pixels (docs/format.md)."""
_CRC_BYTES: Final = 4
_VARINT_BYTES: Final = 5
_KIND_BITS: Final = 0x03
_COLOUR_BIT: Final = 0x04
_MOST_PIXEL_BYTES: Final = 9
_MOST_OTHER_BYTES: Final = 1 << 26
"""No sound file is longer: eight bytes a pixel hold 16-bit RGBA plainly; the rest is for what is no pixel."""


class Kind(IntEnum):
    """How the payload codes the pixels; the numbers are those of the format."""

    DIFFUSION = 0
    WEBP = 1
    PNG = 2


@dataclass(frozen=True)
class Header:
    """What a file says of itself.

    kind: how the payload codes the pixels.  width, height: pixels, at least 1.  channels: 1 grey or 3 RGB, of
    8 bits.  pixel_crc: CRC-32 of the pixels, row by row, the channels of a pixel together.
    model: first 8 bytes of the model's hash.  plan: index of the list of latents.  lanes: 1..64 parts of the
    payload.  The classical kinds have no model (empty), plan 0 and one lane.
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

    def fault(self) -> str | None:
        """What cannot be in a header, in words; None for a sound one."""
        classical = self.kind is not Kind.DIFFUSION
        checks = (
            (self.version == VERSION, f"format version {self.version}, allowed {VERSION}"),
            (self.width >= 1 and self.height >= 1, f"size {self.width}x{self.height}, allowed 1x1 and more"),
            (max(self.width, self.height) < 2**32, f"size {self.width}x{self.height}, allowed under 2**32"),
            (self.channels in (1, 3), f"{self.channels} channels, allowed 1 and 3"),
            (0 <= self.pixel_crc < 2**32, f"pixel CRC {self.pixel_crc}, allowed 0..2**32-1"),
            (0 <= self.plan < 2**32, f"plan {self.plan}, allowed 0..2**32-1"),
            (1 <= self.lanes <= MAX_LANES, f"{self.lanes} lanes, allowed 1..{MAX_LANES}"),
            (
                len(self.model) == (0 if classical else MODEL_BYTES),
                f"model hash of {len(self.model)} bytes, allowed {MODEL_BYTES} (classical kinds 0)",
            ),
            (not classical or (self.plan, self.lanes) == (0, 1), f"plan or lanes with {self.kind.name}"),
        )
        return next((text for sound, text in checks if not sound), None)


@dataclass(frozen=True)
class Limits:
    """What a reader is ready to work on.  max_pixels: width times height."""

    max_pixels: int = 2**28


DEFAULT_LIMITS: Final = Limits()


def pack(header: Header, payload: Sequence[Data]) -> bytes:
    """The file of a header and its lanes; UsageError where the two contradict each other or the format."""
    fault = header.fault()
    if fault is None and len(payload) != header.lanes:
        fault = f"{len(payload)} lanes of payload, header has {header.lanes}"
    if fault is None and not holds(header, sum(len(lane) for lane in payload)):
        fault = _too_short(header, sum(len(lane) for lane in payload))
    if fault is not None:
        raise UsageError(f"no file can hold {fault}")
    head = _pack_head(header, [len(lane) for lane in payload])
    body = b"".join((head, *payload))
    return body + struct.pack("<I", zlib.crc32(body))


def unpack(data: Data, limits: Limits = DEFAULT_LIMITS) -> tuple[Header, list[memoryview]]:
    """Header and lanes of a file.

    Raises DamagedFileError for anything but a whole and unaltered file, UnsupportedImageError for a file of
    another format version, LimitError for an image beyond the limits, UsageError for what is no bytes.
    """
    view = _bytes_of(data)
    _check_magic(view)
    body = view[:-_CRC_BYTES]
    stored = int.from_bytes(view[-_CRC_BYTES:], "little")
    if len(view) < len(MAGIC) + 1 + _CRC_BYTES or zlib.crc32(body) != stored:
        raise damaged(f"the CRC-32 of its {len(view)} bytes does not agree")
    header, lengths, start = _read_head(_Reader(body, len(MAGIC)))
    _check_pixels(header, limits)
    if not holds(header, sum(lengths)):
        raise damaged(_too_short(header, sum(lengths)))
    lanes = []
    for length in lengths:
        lanes.append(body[start : start + length])
        start += length
    return header, lanes


def peek(data: Data, limits: Limits = DEFAULT_LIMITS) -> Header:
    """Header of a whole file, checked like unpack."""
    return unpack(data, limits)[0]


def holds(header: Header, payload: int) -> bool:
    """Whether a payload of so many bytes may belong to the header.

    Only diffusion has a bound: it ties the work of decoding to the size of the file, so that no small file
    can ask for an hour of network time.  Such images are left to the classical kinds.
    """
    pixels = header.width * header.height
    return header.kind is not Kind.DIFFUSION or pixels <= FREE_PIXELS + PIXELS_PER_BYTE * payload


def file_length(header: Header, payload: Sequence[Data]) -> int:
    """Bytes of the file of a header and its lanes, whether or not `holds` lets it be written."""
    lengths = [len(lane) for lane in payload]
    return len(_pack_head(header, lengths)) + sum(lengths) + _CRC_BYTES


def longest(start: Data, limits: Limits = DEFAULT_LIMITS) -> int:
    """Most bytes that a file can have that begins with ``start``, which holds all of its header.

    So a file that is too long is refused before the rest of it is read.  Raises like unpack for a header that
    cannot be; what it says is otherwise not checked.
    """
    view = _bytes_of(start)
    _check_magic(view)
    reader = _Reader(view, len(MAGIC))
    reader.end = sys.maxsize
    header, _, _ = _read_head(reader)
    _check_pixels(header, limits)
    return header.width * header.height * _MOST_PIXEL_BYTES + _MOST_OTHER_BYTES


def file_lengths(data: Data) -> tuple[int, int]:
    """(bytes that are not payload, bytes of payload) of a file."""
    payload = sum(len(lane) for lane in unpack(data)[1])
    return memoryview(data).nbytes - payload, payload


def _bytes_of(data: Data) -> memoryview:
    try:
        return memoryview(data).cast("B")
    except (TypeError, ValueError) as error:
        raise UsageError(f"a file is given as {type(data).__name__}, allowed are its bytes") from error


def _too_short(header: Header, payload: int) -> str:
    return (
        f"a diffusion payload of {payload} bytes for {header.width}x{header.height} pixels, allowed are at "
        f"most {FREE_PIXELS + PIXELS_PER_BYTE * payload}"
    )


def _check_magic(view: memoryview) -> None:
    if bytes(view[: len(MAGIC)]) != MAGIC:
        raise damaged(f"it begins with {bytes(view[: len(MAGIC)])!r}, a vdmc file with {MAGIC!r}")


def _check_pixels(header: Header, limits: Limits) -> None:
    pixels = header.width * header.height
    if pixels > limits.max_pixels:
        raise LimitError(
            f"image of {header.width}x{header.height} = {pixels} pixels, allowed are {limits.max_pixels}; "
            "raise the limit if you trust the file"
        )


def _pack_head(header: Header, lengths: Sequence[int]) -> bytes:
    mode = header.kind | (_COLOUR_BIT if header.channels == 3 else 0)
    parts = [MAGIC, bytes((header.version, mode)), _varint(header.width), _varint(header.height)]
    if header.kind is Kind.DIFFUSION:
        parts += [header.model, _varint(header.plan), _varint(header.lanes)]
        parts += [_varint(length) for length in lengths[:-1]]
    parts.append(struct.pack("<I", header.pixel_crc))
    return b"".join(parts)


def _read_head(reader: "_Reader") -> tuple[Header, list[int], int]:
    """Header, lengths of the lanes, start of the first lane."""
    version = reader.byte()
    if version != VERSION:
        raise UnsupportedImageError(
            f"file of format version {version}, this program reads {VERSION}; use the version that made it"
        )
    mode = reader.byte()
    if mode & ~(_KIND_BITS | _COLOUR_BIT) or mode & _KIND_BITS not in Kind.__members__.values():
        raise damaged(f"kind and mode {mode:#04x} does not exist")
    kind = Kind(mode & _KIND_BITS)
    width, height = reader.varint(), reader.varint()
    model, plan, lengths = b"", 0, []
    lanes = 1
    if kind is Kind.DIFFUSION:
        model, plan, lanes = reader.take(MODEL_BYTES), reader.varint(), reader.varint()
        if lanes <= MAX_LANES:
            lengths = [reader.varint() for _ in range(lanes - 1)]
    pixel_crc = int.from_bytes(reader.take(_CRC_BYTES), "little")
    channels = 3 if mode & _COLOUR_BIT else 1
    header = Header(kind, width, height, channels, pixel_crc, model, plan, lanes, version)
    fault = header.fault()
    last = reader.left - sum(lengths)
    if fault is None and last < 0:
        fault = f"lanes of {sum(lengths)} bytes in a payload of {reader.left}"
    if fault is not None:
        raise damaged(fault)
    return header, [*lengths, last], reader.at


def _varint(value: int) -> bytes:
    """LEB128: seven bits a byte, lowest first, the high bit says that more follow."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


@dataclass
class _Reader:
    """Reads a header front to back; every read is checked against the end."""

    view: memoryview
    at: int
    end: int = field(init=False)

    def __post_init__(self) -> None:
        self.end = len(self.view)

    @property
    def left(self) -> int:
        return self.end - self.at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise damaged("it ends within its header")
        self.at += count
        return bytes(self.view[self.at - count : self.at])

    def byte(self) -> int:
        return self.take(1)[0]

    def varint(self) -> int:
        """A number below 2**32 in its shortest form; any other form is damage."""
        value = 0
        for i in range(_VARINT_BYTES):
            byte = self.byte()
            value |= (byte & 0x7F) << 7 * i
            if byte < 0x80:
                if (byte == 0 and i > 0) or value >= 2**32:
                    break
                return value
        raise damaged("a number in its header is not in canonical form")
