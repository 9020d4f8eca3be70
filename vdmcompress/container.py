"""The file format: header, payload in lanes, checksums (byte table in docs/format.md).

    header  |  [alpha]  lanes  |  file CRC

Nothing is believed before the checksum of the whole file agrees, and everything is bounded before it is used.
"""

import struct
import sys
import zlib
from collections.abc import Sequence
from typing import Final, TypeAlias

from vdmcompress.errors import DamagedFileError, LimitError, UsageError, damaged
from vdmcompress.header import (
    DEFAULT_LIMITS,
    MAGIC,
    Header,
    Kind,
    Limits,
    read_fields,
    read_head,
    write_head,
)
from vdmcompress.wire import Reader

__all__ = [
    "Data",
    "file_length",
    "file_lengths",
    "holds",
    "longest",
    "pack",
    "peek",
    "unpack",
]

Data: TypeAlias = bytes | bytearray | memoryview

ARCHIVE_MAGIC: Final = b"\x89VDA"
FREE_PIXELS: Final = 1 << 12
PIXELS_PER_BYTE: Final = 64
"""A diffusion payload of n bytes holds at most FREE_PIXELS + n * PIXELS_PER_BYTE pixels (docs/format.md)."""

_CRC_BYTES: Final = 4
_MOST_PIXEL_BYTES: Final = 9
_MOST_OTHER_BYTES: Final = 1 << 26
"""No sound file is longer: eight bytes a pixel hold 16-bit RGBA plainly; the rest is for what is no pixel."""


def pack(header: Header, payload: Sequence[Data]) -> bytes:
    """The file of a header and its parts: the alpha plane where it is apart, then the lanes.

    Raises UsageError where they contradict each other or the format, LimitError for too much metadata.
    """
    fault = header.fault()
    apart = header.alpha is not None
    if fault is None and len(payload) != header.lanes + apart:
        fault = f"{len(payload) - apart} lanes of payload, header has {header.lanes}"
    lanes = sum(len(lane) for lane in payload[apart:])
    if fault is None and not holds(header, lanes):
        fault = _too_short(header, lanes)
    if fault is not None:
        raise UsageError(f"no file can hold {fault}")
    head = write_head(header, [len(part) for part in payload])
    body = b"".join((head, *payload))
    return body + struct.pack("<I", zlib.crc32(body))


def unpack(data: Data, limits: Limits = DEFAULT_LIMITS) -> tuple[Header, list[memoryview]]:
    """Header and parts of a file: the alpha plane where it is apart, then the lanes.

    Raises DamagedFileError for anything but a whole and unaltered file, UnsupportedImageError for a file of
    another format version, LimitError for an image beyond the limits, UsageError for what is no bytes.
    """
    view = _bytes_of(data)
    _check_magic(view)
    body = view[:-_CRC_BYTES]
    stored = int.from_bytes(view[-_CRC_BYTES:], "little")
    if len(view) < len(MAGIC) + 1 + _CRC_BYTES or zlib.crc32(body) != stored:
        raise damaged(f"the CRC-32 of its {len(view)} bytes does not agree")
    header, lengths, start = read_head(Reader(body, len(MAGIC)))
    _check_pixels(header, limits)
    lanes = sum(lengths[header.alpha is not None :])
    if not holds(header, lanes):
        raise damaged(_too_short(header, lanes))
    parts = []
    for length in lengths:
        parts.append(body[start : start + length])
        start += length
    return header, parts


def peek(data: Data, limits: Limits = DEFAULT_LIMITS) -> Header:
    """Header of a whole file, checked like unpack."""
    return unpack(data, limits)[0]


def holds(header: Header, payload: int) -> bool:
    """Whether lanes of so many bytes may belong to the header.

    Only diffusion has a bound: it ties the work of decoding to the size of the file, so that no small file
    can ask for an hour of network time.  Such images are left to the classical kinds.
    """
    pixels = header.width * header.height
    return header.kind is not Kind.DIFFUSION or pixels <= FREE_PIXELS + PIXELS_PER_BYTE * payload


def file_length(header: Header, payload: Sequence[Data]) -> int:
    """Bytes of the file of a header and its lanes, whether or not `holds` lets it be written."""
    lengths = [len(lane) for lane in payload]
    return len(write_head(header, lengths)) + sum(lengths) + _CRC_BYTES


def longest(start: Data, limits: Limits = DEFAULT_LIMITS) -> int:
    """Most bytes that a file can have that begins with ``start``, which holds all of its header.

    So a file that is too long is refused before the rest of it is read.  Raises like unpack for a header that
    cannot be; what it says is otherwise not checked.
    """
    view = _bytes_of(start)
    _check_magic(view)
    reader = Reader(view, len(MAGIC))
    reader.end = sys.maxsize
    header, _, _ = read_fields(reader)
    fault = header.field_fault()
    if fault is not None:
        raise damaged(fault)
    _check_pixels(header, limits)
    return header.width * header.height * _MOST_PIXEL_BYTES + _MOST_OTHER_BYTES


def file_lengths(data: Data) -> tuple[int, int]:
    """(bytes that are not payload, bytes of payload) of a file; an alpha plane is payload, metadata not."""
    payload = sum(len(part) for part in unpack(data)[1])
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
    start = bytes(view[: len(MAGIC)])
    if start == ARCHIVE_MAGIC:
        raise DamagedFileError("no vdmc file but an archive of many: use 'vdmc archive extract'")
    if start != MAGIC:
        met = f"it begins with {start.hex(' ')}" if start else "it is empty"
        raise DamagedFileError(f"no vdmc file: {met}, a vdmc file with {MAGIC.hex(' ')}; name another file")


def _check_pixels(header: Header, limits: Limits) -> None:
    pixels = header.width * header.height
    if pixels > limits.max_pixels:
        raise LimitError(
            f"image of {header.width}x{header.height} = {pixels} pixels, allowed are {limits.max_pixels}; "
            "raise the limit if you trust the file"
        )
