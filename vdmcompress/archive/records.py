"""The parts of an archive file and how they are found: head, groups and models, index, tail.

    head: magic, version
    group: "G", images, directory length, stored length, payload length, CRC-32 | directory | payload, CRC-32
    model: "M", length, CRC-32 | model file, CRC-32
    index: "I", number of records, images and length of each, CRC-32
    tail: length of the index, "VDMA"

Each record says how long it is, so that the records before a damaged index, or one that is missing yet, are
found from the front; the index finds those behind a damaged record.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

from vdmcompress.archive.directory import MAX_IMAGES, MAX_RAW
from vdmcompress.errors import DamagedFileError, UnsupportedImageError, damaged
from vdmcompress.model_file import SIZE_LIMIT
from vdmcompress.wire import Reader, varint

__all__ = [
    "GROUP",
    "HEAD",
    "MAX_MODELS",
    "MAGIC",
    "MODEL",
    "GroupHead",
    "Record",
    "model_record",
    "pack_index",
    "read_index",
    "read_record",
    "read_records",
    "unpack_model",
]

MAGIC: Final = b"\x89VDA"
VERSION: Final = 0
HEAD: Final = MAGIC + bytes((VERSION,))
TAIL_MAGIC: Final = b"VDMA"
GROUP: Final = b"G"
MODEL: Final = b"M"
INDEX: Final = b"I"
MAX_MODELS: Final = 64
"""Models of an archive that a reader looks at: each that it does not know yet may be read for a group."""

_CRC_BYTES: Final = 4
_LEAST_MODEL: Final = 10
_LEAST_GROUP: Final = 18
"""Bytes of the smallest records: mark, numbers, checksums, a directory of one byte."""

_TAIL_BYTES: Final = 8
_HEAD_BYTES: Final = 32
"""More than the numbers in front of any record take."""


@dataclass(frozen=True)
class Record:
    """A part of the file: where it begins and how many bytes it has.  images: 0 for a model."""

    offset: int
    length: int
    images: int


@dataclass(frozen=True)
class GroupHead:
    """What stands in front of a group: images; bytes of its directory, raw and stored; of its payload."""

    images: int
    raw: int
    stored: int
    payload: int

    def pack(self) -> bytes:
        """With the mark and the CRC-32."""
        numbers = (self.images, self.raw, self.stored, self.payload)
        return _sealed(GROUP + b"".join(varint(number) for number in numbers))

    @property
    def length(self) -> int:
        """Of the whole record."""
        return len(self.pack()) + self.stored + _CRC_BYTES + self.payload + _CRC_BYTES


def _sealed(data: bytes) -> bytes:
    """The bytes with their CRC-32."""
    return data + struct.pack("<I", zlib.crc32(data))


def model_record(data: bytes) -> bytes:
    """The record of a model file."""
    return _sealed(MODEL + varint(len(data))) + _sealed(data)


def unpack_model(record: bytes) -> bytes:
    """The model file of a record; DamagedFileError where it was altered."""
    start, length = _model_head(record[:_HEAD_BYTES])
    return unseal(memoryview(record)[start : start + length + _CRC_BYTES], "an embedded model")


def unseal(data: memoryview, what: str) -> bytes:
    """The bytes before their CRC-32; DamagedFileError where it does not agree."""
    body, stored = data[:-_CRC_BYTES], data[-_CRC_BYTES:]
    if len(data) < _CRC_BYTES or zlib.crc32(body) != int.from_bytes(stored, "little"):
        raise damaged(f"the CRC-32 of {what} does not agree")
    return bytes(body)


def _model_head(start: bytes) -> tuple[int, int]:
    """Bytes before the model file, bytes of it."""
    reader = Reader(memoryview(start), 1, "head of a model")
    length = reader.varint()
    unseal(memoryview(start)[: reader.at + _CRC_BYTES], "the head of a model")
    if length > SIZE_LIMIT:
        raise damaged(f"a model of {length} bytes, allowed are {SIZE_LIMIT}")
    return reader.at + _CRC_BYTES, length


def read_group_head(start: bytes) -> GroupHead:
    """The head of a group out of the first bytes of its record; DamagedFileError for an altered one."""
    reader = Reader(memoryview(start), 1, "head of a group")
    head = GroupHead(*(reader.varint() for _ in range(4)))
    unseal(memoryview(start)[: reader.at + _CRC_BYTES], "the head of a group")
    if not 1 <= head.images <= MAX_IMAGES or not 0 < head.stored <= head.raw <= MAX_RAW:
        raise damaged(f"a group of {head.images} images with a directory of {head.raw} bytes")
    return head


def read_record(file: BinaryIO, offset: int, end: int) -> Record:
    """The record that begins at an offset, by its head; DamagedFileError where there is none before end."""
    file.seek(offset)
    start = file.read(min(_HEAD_BYTES, max(end - offset, 0)))
    if start[:1] == GROUP:
        head = read_group_head(start)
        record = Record(offset, head.length, head.images)
    elif start[:1] == MODEL:
        before, length = _model_head(start)
        record = Record(offset, before + length + _CRC_BYTES, 0)
    else:
        raise damaged(f"no record begins at byte {offset}")
    if record.offset + record.length > end:
        raise damaged(f"it ends within a record of {record.length} bytes at byte {offset}")
    return record


def check_head(start: bytes) -> None:
    """Raise unless the bytes are a head: DamagedFileError, UnsupportedImageError for another version."""
    if start[: len(MAGIC)] != MAGIC:
        raise damaged(f"it begins with {start[: len(MAGIC)]!r}, an archive with {MAGIC!r}")
    if len(start) < len(HEAD):
        raise damaged("it ends within its head")
    if start[len(MAGIC)] != VERSION:
        raise UnsupportedImageError(
            f"archive of format version {start[len(MAGIC)]}, this program reads {VERSION}; "
            "use the version that made it"
        )


def pack_index(records: Sequence[Record]) -> bytes:
    """Index and tail of the records, which follow one another from the head on."""
    parts = [INDEX, varint(len(records))]
    for record in records:
        parts += [varint(record.images), varint(record.length)]
    index = _sealed(b"".join(parts))
    return index + struct.pack("<I", len(index)) + TAIL_MAGIC


def read_index(file: BinaryIO, size: int) -> list[Record]:
    """Records by the index at the end of a file of so many bytes; DamagedFileError without a sound one."""
    if size < len(HEAD) + _TAIL_BYTES:
        raise damaged(f"{size} bytes, too few for an archive")
    file.seek(size - _TAIL_BYTES)
    tail = file.read(_TAIL_BYTES)
    length = int.from_bytes(tail[:4], "little")
    end = size - _TAIL_BYTES - length
    if tail[4:] != TAIL_MAGIC or end < len(HEAD):
        raise damaged("it does not end as an archive does; it was cut, or its end altered")
    file.seek(end)
    body = unseal(memoryview(file.read(length)), "the index")
    if body[:1] != INDEX:
        raise damaged("its tail does not lead to an index")
    reader = Reader(memoryview(body), 1, "index")
    number = reader.varint()
    if 2 * number > reader.left or _LEAST_MODEL * number > end:
        raise damaged(f"an index of {number} records in {reader.left} bytes, of a file of {size}")
    records, offset = [], len(HEAD)
    for _ in range(number):
        images, record_length = reader.varint(), reader.varint()
        least = _LEAST_GROUP if images else _LEAST_MODEL
        if record_length < least or record_length > end - offset or images > MAX_IMAGES:
            raise damaged(
                f"a record of {record_length} bytes and {images} images at byte {offset} in its index, "
                f"allowed are {least} to {end - offset} bytes and {MAX_IMAGES} images"
            )
        records.append(Record(offset, record_length, images))
        offset += record_length
    if reader.left or offset != end:
        raise damaged("the records of its index do not fill the file")
    return records


def read_records(file: BinaryIO, end: int) -> Iterator[Record]:
    """Records from the front, up to the first that is not sound, or the index."""
    offset = len(HEAD)
    while offset < end:
        try:
            record = read_record(file, offset, end)
        except DamagedFileError:
            return
        yield record
        offset += record.length


def total(records: Iterable[Record]) -> int:
    """Images of records."""
    return sum(record.images for record in records)
