"""A group: images coded on one stack, and what serves each best.

    directory (`directory.py`), payload:
    pixel CRC | metadata | model, plan, lanes, lengths | alpha kinds, lengths | lengths of singles |
    lanes, alpha planes, singles

Equal sizes are coded together (`vdmcompress.batch`), batch after batch on the same stack; what diffusion does
not serve, or serves worse, is a whole `.vdm` file inside (a single).  Nothing outside the group is needed but
the model.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from vdmcompress.archive.compact import compacted, expanded
from vdmcompress.archive.directory import (
    MAX_IMAGES,
    MAX_NAMES,
    MAX_RAW,
    Member,
    pack_directory,
    read_directory,
)
from vdmcompress.archive.names import encode_name
from vdmcompress.archive.records import GroupHead, read_group_head, unseal
from vdmcompress.chunks import Chunk, chunk_fault, pack_list, read_list
from vdmcompress.container import FREE_PIXELS, PIXELS_PER_BYTE
from vdmcompress.errors import LimitError, damaged
from vdmcompress.header import MAX_LANES, MODEL_BYTES, Kind, Limits
from vdmcompress.path import BatchShape, batch_lanes
from vdmcompress.wire import Reader, varint

__all__ = [
    "BATCH_PIXELS",
    "MAX_METADATA",
    "Coded",
    "GroupParts",
    "batches_of",
    "pack_group",
    "price_of",
    "read_members",
    "unpack_group",
]

MAX_METADATA: Final = 1 << 25
"""Most bytes of the metadata of a group, uncompressed."""

MAX_CHUNKS: Final = 1 << 17
"""Most chunks of metadata in a group: empty ones take many times their bytes as objects."""

BATCH_PIXELS: Final = 256
"""Pixels that a batch counts as besides its own where work is weighed against bytes."""

_CRC_BYTES: Final = 4
_FIXED_BYTES: Final = 40
"""Head, four checksums, numbers in the payload and in the index, in a group of usual size."""

_LANE_BYTES: Final = 9
"""Head and length of a lane."""


@dataclass(frozen=True)
class Coded:
    """What diffusion made of the batches of a group.  model: first 8 bytes of its hash."""

    model: bytes
    plan: int
    lanes: list[bytes]


@dataclass(frozen=True)
class GroupParts:
    """A group taken apart.

    members: batches first, then singles.  pixel_crc: CRC-32 of the pixel CRCs of the members in batches, four
    bytes each.  coded: None without batches.  chunks: of each member in a batch.  alphas: kind and bytes for
    each member in a batch that has alpha.  singles: files.
    """

    members: list[Member]
    pixel_crc: int
    coded: Coded | None
    chunks: list[tuple[Chunk, ...]]
    alphas: list[tuple[Kind, bytes]]
    singles: list[bytes]

    @property
    def shapes(self) -> list[BatchShape]:
        """Of the batches."""
        return [shape for shape, _ in batches_of(self.members)]


def batches_of(members: Sequence[Member]) -> Iterator[tuple[BatchShape, list[Member]]]:
    """The batches of members that are no singles: neighbours of one size and number of coded channels."""
    together = [member for member in members if not member.single]
    for (height, width, channels), run in groupby(
        together, key=lambda member: (member.height, member.width, member.batch_channels)
    ):
        found = list(run)
        yield BatchShape(len(found), height, width, channels), found


def holds(shapes: Sequence[BatchShape], payload: int) -> bool:
    """Whether lanes of so many bytes may stand for batches: the rule of single files, for all together.

    A batch counts as `BATCH_PIXELS` more, as a batch of one pixel takes about as long as one of hundreds.
    """
    work = sum(shape.pixels + BATCH_PIXELS for shape in shapes)
    return work <= FREE_PIXELS + PIXELS_PER_BYTE * payload


def pack_group(parts: GroupParts) -> bytes:
    """The record of a group."""
    names = sum(len(encode_name(member.name)) for member in parts.members)
    if names > MAX_NAMES:
        raise LimitError(f"names of {names} bytes in a group, allowed are {MAX_NAMES}; use smaller groups")
    raw = pack_directory(parts.members)
    if len(raw) > MAX_RAW or len(parts.members) > MAX_IMAGES:
        raise LimitError(f"a directory of {len(raw)} bytes, allowed are {MAX_RAW}; use smaller groups")
    directory = compacted(raw)
    payload = _pack_payload(parts)
    head = GroupHead(len(parts.members), len(raw), len(directory), len(payload))
    return b"".join((head.pack(), _sealed(directory), _sealed(payload)))


def _sealed(data: bytes) -> bytes:
    return data + struct.pack("<I", zlib.crc32(data))


def _pack_payload(parts: GroupParts) -> bytes:
    head = [struct.pack("<I", parts.pixel_crc), _pack_metadata(parts.chunks)]
    bodies: list[bytes] = []
    if parts.coded is not None:
        head += [parts.coded.model, varint(parts.coded.plan), varint(len(parts.coded.lanes))]
        head += [varint(len(lane)) for lane in parts.coded.lanes]
        bodies += parts.coded.lanes
    for kind, plane in parts.alphas:
        head += [bytes((kind,)), varint(len(plane))]
        bodies.append(plane)
    head += [varint(len(single)) for single in parts.singles]
    return b"".join((*head, *bodies, *parts.singles))


def _pack_metadata(chunks: Sequence[tuple[Chunk, ...]]) -> bytes:
    """Each list of chunks once, then which one each member has; a zero where nobody has any."""
    if not any(chunks):
        return varint(0)
    places: dict[bytes, int] = {}
    chosen = [places.setdefault(pack_list(own), len(places) + 1) if own else 0 for own in chunks]
    parts = [varint(len(places))]
    for text in places:
        parts += [varint(len(text)), text]
    raw = b"".join((*parts, *(varint(place) for place in chosen)))
    if len(raw) > MAX_METADATA:
        raise LimitError(f"metadata of {len(raw)} bytes, allowed are {MAX_METADATA}; use smaller groups")
    stored = compacted(raw)
    return varint(len(raw)) + varint(len(stored)) + stored


def read_members(record: bytes | memoryview) -> tuple[GroupHead, list[Member]]:
    """Head and members out of a record, or of its beginning up to the payload; DamagedFileError."""
    view = memoryview(record)
    head = read_group_head(bytes(view[:32]))
    start = len(head.pack())
    stored = unseal(view[start : start + head.stored + _CRC_BYTES], "the directory of a group")
    return head, read_directory(expanded(stored, head.raw, "the directory of a group"), head.images)


def unpack_group(record: bytes | memoryview, limits: Limits) -> GroupParts:
    """A group taken apart, everything bounded by what it says and by the limits before it is worked on.

    Raises DamagedFileError, LimitError for images or groups of more pixels than allowed.
    """
    view = memoryview(record)
    head, members = read_members(view)
    if len(view) != head.length:
        raise damaged(f"a group of {len(view)} bytes whose head says {head.length}")
    pixels = sum(member.width * member.height for member in members)
    if pixels > limits.max_pixels:
        raise LimitError(
            f"a group of {pixels} pixels, allowed are {limits.max_pixels}; "
            "raise the limit if you trust the file"
        )
    payload = unseal(view[-(head.payload + _CRC_BYTES) :], "a group's payload")
    reader = Reader(memoryview(payload), where="group")
    crc = int.from_bytes(reader.take(_CRC_BYTES), "little")
    together = [member for member in members if not member.single]
    if any(member.single for member in members[: len(together)]):
        raise damaged("singles before batches in a group")
    chunks = _read_metadata(reader, together)
    model, plan, lanes = b"", 0, []
    if together:
        model, plan, count = reader.take(MODEL_BYTES), reader.varint(), reader.varint()
        if not 1 <= count <= MAX_LANES:
            raise damaged(f"{count} lanes in a group, allowed are 1 to {MAX_LANES}")
        lanes = [reader.varint() for _ in range(count)]
    alphas = [(reader.byte(), reader.varint()) for member in together if member.has_alpha]
    if any(kind not in (Kind.WEBP, Kind.PNG) for kind, _ in alphas):
        raise damaged("an alpha plane of a kind that does not exist")
    singles = [reader.varint() for _ in members[len(together) :]]
    wanted = sum(lanes) + sum(length for _, length in alphas) + sum(singles)
    if wanted != reader.left:
        raise damaged(f"parts of {wanted} bytes in a group where there are {reader.left}")
    coded = Coded(model, plan, [reader.take(length) for length in lanes]) if together else None
    parts = GroupParts(
        members,
        crc,
        coded,
        chunks,
        [(Kind(kind), reader.take(length)) for kind, length in alphas],
        [reader.take(length) for length in singles],
    )
    if not holds(parts.shapes, sum(lanes)):
        coded_pixels = sum(shape.pixels for shape in parts.shapes)
        raise damaged(
            f"lanes of {sum(lanes)} bytes for {coded_pixels} pixels in {len(parts.shapes)} batches of a group"
        )
    return parts


def _read_metadata(reader: Reader, members: Sequence[Member]) -> list[tuple[Chunk, ...]]:
    length = reader.varint()
    if not length:
        return [()] * len(members)
    stored = reader.varint()
    if length > MAX_METADATA or not 0 < stored <= length:
        raise damaged(f"metadata of {length} bytes in {stored} in a group, allowed are {MAX_METADATA}")
    raw = expanded(reader.take(stored), length, "the metadata of a group")
    inner = Reader(memoryview(raw), where="metadata")
    count = inner.varint()
    if not 1 <= count <= len(members):
        raise damaged(f"{count} lists of metadata for {len(members)} images")
    lists: list[tuple[Chunk, ...]] = [()]
    chunks = 0
    for _ in range(count):
        found = read_list(inner.take(inner.varint()))
        fault = chunk_fault(found, False) if found else "a list without anything in it"
        if fault is not None:
            raise damaged(f"{fault} in the metadata of a group")
        lists.append(found)
        chunks += len(found)
        if chunks > MAX_CHUNKS:
            raise LimitError(f"metadata of more than {MAX_CHUNKS} chunks in a group; the file may be a trap")
    chosen = [inner.varint() for _ in members]
    if inner.left or any(place > count for place in chosen):
        raise damaged("the metadata of a group do not belong to its images")
    return [lists[place] for place in chosen]


def price_of(members: Sequence[Member]) -> int:
    """Bytes that a group has for being one, whatever is in it: numbers, checksums, model, heads of lanes.

    What it costs besides that statistics learn anew is not counted.
    """
    lanes = batch_lanes([shape for shape, _ in batches_of(members)])
    together = any(not member.single for member in members)
    return _FIXED_BYTES + (MODEL_BYTES + 2 + lanes * _LANE_BYTES if together else 0)
