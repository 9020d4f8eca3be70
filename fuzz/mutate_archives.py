"""Mutations of archives that repair what lies in front: index, heads, checksums of the parts.

Each is a function of a random generator, an archive and all seeds, as those of `fuzz.mutate`, whose plain
mutations serve archives as they are.
"""

from __future__ import annotations

import io
import lzma
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fuzz import mutate
from fuzz.archives import assembled
from fuzz.corpus import sealed
from fuzz.mutate import Change, Random, flip_bits, plain
from vdmcompress.archive.compact import compacted
from vdmcompress.archive.directory import Member, pack_directory, read_directory
from vdmcompress.archive.group import Coded, GroupParts, pack_group, read_members, unpack_group
from vdmcompress.archive.records import GroupHead, model_record, read_index
from vdmcompress.chunks import Chunk
from vdmcompress.errors import VdmError
from vdmcompress.header import Kind, Limits
from vdmcompress.picture import Mode
from vdmcompress.wire import Reader, varint

Records = list[tuple[bytes, int]]
FRONT_BYTES = 60
"""Mutations that aim at the numbers of a payload alter bytes up to here."""

NAMES = (
    "a.png", "/etc/x", "../x", "a//b", "a/../../x", "C:x", "a\nb", ".", "x" * 256, "a/" * 2100, "a", "a/b",
)  # fmt: skip


def records_of(data: bytes) -> Records:
    """The records of a sound archive, each with its number of images."""
    found = read_index(io.BytesIO(data), len(data))
    return [(data[r.offset : r.offset + r.length], r.images) for r in found]


def _some_group(rng: Random, records: Records) -> int:
    """The place of a group."""
    groups = [i for i, (_, images) in enumerate(records) if images]
    return groups[int(rng.integers(len(groups)))]


def taken_apart(record: bytes) -> tuple[GroupHead, bytes, bytes]:
    """Head, raw directory and payload of the record of a group."""
    head, members = read_members(record)
    return head, pack_directory(members), record[-(head.payload + 4) : -4]


def group_record(images: int, raw: bytes, payload: bytes, stored: bytes | None = None) -> bytes:
    """The record of a group, whatever it says; stored: in place of the compacted directory."""
    body = compacted(raw) if stored is None else stored
    head = GroupHead(images, len(raw), len(body), len(payload))
    return head.pack() + sealed(body) + sealed(payload)


def _with_group(rng: Random, data: bytes, change: Any) -> bytes:
    """The archive with one group changed by a function of head, directory and payload."""
    records = records_of(data)
    at = _some_group(rng, records)
    record, images = records[at]
    changed = change(*taken_apart(record))
    records[at] = (changed, images)
    return assembled(records)


def repaired_index(rng: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """Numbers of the index rewritten, its checksum right; or its length, or what follows it."""
    records = records_of(data)
    numbers = [len(records)]
    for record, images in records:
        numbers += [images, len(record)]
    for _ in range(int(rng.integers(0, 3))):
        at = int(rng.integers(len(numbers)))
        near = (0, 1, numbers[at] - 1, numbers[at] + 1, 2 * numbers[at], 65537, 2**32 - 1, len(data))
        numbers[at] = max(int(rng.choice(near)), 0)
    if rng.random() < 0.2:
        numbers += numbers[1:]
    index = sealed(b"I" + b"".join(varint(number) for number in numbers))
    length = len(index) + int(rng.choice((0, 0, 0, 1, -1, len(data), 2**31)))
    body = data[: sum(len(record) for record, _ in records) + 5]
    return body + index + length.to_bytes(4, "little") + b"VDMA" + bytes(int(rng.random() < 0.1))


def repaired_records(rng: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """Records dropped, doubled, turned round, put in out of another archive; a right index, or none."""
    records = records_of(data)
    others = records_of(seeds[int(rng.integers(len(seeds)))])
    at = int(rng.integers(len(records)))
    record, images = records[at]
    ways: list[Records] = [
        [*records[:at], *records[at + 1 :]],
        [*records, records[at]],
        records[::-1],
        [*records[:at], *others, *records[at:]],
        [*records[:at], (record, images + 1), *records[at + 1 :]],
        [*records[:at], (plain(rng, record, [record]), images), *records[at + 1 :]],
        [(model_record(rng.bytes(int(rng.integers(1, 99)))), 0) for _ in range(int(rng.choice((1, 70))))]
        + records,
    ]
    made = assembled(ways[int(rng.integers(len(ways)))])
    return made if rng.random() < 0.7 else made[: -int(rng.integers(1, 30))]


def repaired_head(rng: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """Numbers in the head of a group rewritten, its checksum and the index right."""

    def change(head: GroupHead, raw: bytes, payload: bytes) -> bytes:
        key = ("images", "raw", "stored", "payload")[int(rng.integers(4))]
        old = getattr(head, key)
        near = (0, 1, old - 1, old + 1, 2 * old, 65537, 2**24 + 1, 2**32 - 1)
        new = replace(head, **{key: max(int(rng.choice(near)), 0)})
        return new.pack() + group_record(head.images, raw, payload)[len(head.pack()) :]

    return _with_group(rng, data, change)


def repaired_directory(rng: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """Bytes of a directory altered."""

    def change(head: GroupHead, raw: bytes, payload: bytes) -> bytes:
        if rng.random() < 0.5:
            new = bytearray(raw)
            for _ in range(int(rng.integers(1, 4))):
                new[int(rng.integers(len(new)))] = int(rng.integers(256))
            return group_record(head.images, bytes(new), payload)
        return group_record(head.images, plain(rng, raw, [raw]) or b"\0", payload)

    return _with_group(rng, data, change)


def repaired_members(rng: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """Members with other names, sizes, modes, times or ways of coding, dropped or in another order."""

    def change(head: GroupHead, raw: bytes, payload: bytes) -> bytes:
        members = read_directory(raw, head.images)
        for _ in range(int(rng.integers(1, 3))):
            at = int(rng.integers(len(members)))
            one = members[at]
            sizes = (1, 2, one.width, one.height, one.width + 1, 500, 2**14, 2**32 - 1)
            changes: list[dict[str, Any]] = [
                {"name": str(rng.choice(NAMES))},
                {"name": members[0].name},
                {"name": members[0].name + "/below"},
                {"width": int(rng.choice(sizes)), "height": int(rng.choice(sizes))},
                {"mode": Mode(int(rng.choice(list(Mode)))), "depth": int(rng.choice((1, 2, 8, 8, 16)))},
                {"single": not one.single},
                {"modified": int(rng.choice((-(2**63), 2**62, 2**40, -1, 0)))},
                {"permissions": int(rng.choice((0, 0o777, 0o4755, 65535)))},
            ]
            members[at] = replace(one, **changes[int(rng.integers(len(changes)))])
        orders: tuple[list[Member], ...] = (members, members, members[::-1], members[1:], [*members, one])
        members = orders[int(rng.integers(len(orders)))] or members
        times = all(member.modified is not None for member in members)
        members = [m if times else replace(m, modified=None) for m in members]
        return group_record(len(members), pack_directory(members), payload)

    return _with_group(rng, data, change)


def repaired_stream(rng: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """A directory, or metadata, whose stream lies about its length, or swells thousands of times."""

    def section(raw: bytes) -> tuple[int, bytes]:
        size = int(rng.choice((1, 100, 2**12, 2**16, 2**20, 2**22)))
        text = (bytes(size), raw + bytes(size), b"teXt\0" * (size // 5), raw)[int(rng.integers(4))] or b"\0"
        kind = {"id": lzma.FILTER_LZMA2, "lc": 3, "lp": 0, "pb": 0, "dict_size": 1 << 22}
        stream = lzma.compress(text, lzma.FORMAT_RAW, filters=[kind])
        near = (len(text), len(text), len(text) - 1, len(text) + 1, len(raw), size, 2**24, 2**24 + 1, 2**25)
        stream = plain(rng, stream, [stream]) if rng.random() < 0.2 else stream
        return max(int(rng.choice(near)), 1), stream

    def change(head: GroupHead, raw: bytes, payload: bytes) -> bytes:
        claimed, stream = section(raw)
        if rng.random() < 0.5:
            new = replace(head, raw=claimed, stored=len(stream))
            return new.pack() + sealed(stream) + sealed(payload)
        reader = Reader(memoryview(payload), 4)
        if reader.varint():
            reader.take(reader.varint())
        lying = payload[:4] + varint(claimed) + varint(len(stream)) + stream + payload[reader.at :]
        return group_record(head.images, raw, lying)

    return _with_group(rng, data, change)


def repaired_payload(rng: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """Bytes of a payload altered: a few bits, its numbers, or as a disk would."""

    def change(head: GroupHead, raw: bytes, payload: bytes) -> bytes:
        way = int(rng.integers(3))
        if way == 0:
            new = flip_bits(rng, payload, [])
        elif way == 1:
            numbers = bytearray(payload)
            for _ in range(int(rng.integers(1, 4))):
                numbers[int(rng.integers(min(FRONT_BYTES, len(numbers))))] = int(rng.integers(256))
            new = bytes(numbers)
        else:
            new = plain(rng, payload, [payload])
        return group_record(head.images, raw, new)

    return _with_group(rng, data, change)


def repaired_parts(rng: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """Model, plan, lanes, alpha planes, metadata or singles altered, all lengths right."""
    records = records_of(data)
    at = _some_group(rng, records)
    parts = unpack_group(records[at][0], Limits())
    try:
        new = pack_group(_altered(rng, parts))
    except VdmError:  # beyond what a group may hold
        return repaired_payload(rng, data, seeds)
    records[at] = (new, records[at][1])
    return assembled(records)


def _altered(rng: Random, parts: GroupParts) -> GroupParts:
    """One to two parts of a group altered."""
    for _ in range(int(rng.integers(1, 3))):
        ways: list[GroupParts] = [replace(parts, pixel_crc=parts.pixel_crc ^ 1)]
        if parts.coded is not None:
            ways += _coded(rng, parts, parts.coded) * 2
        if parts.singles:
            at = int(rng.integers(len(parts.singles)))
            for change in (plain, mutate.repaired_header, mutate.repaired_lanes, mutate.repaired_fields):
                single = change(rng, parts.singles[at], parts.singles)
                ways.append(replace(parts, singles=[*parts.singles[:at], single, *parts.singles[at + 1 :]]))
            ways.append(replace(parts, singles=parts.singles[::-1]))
        if parts.alphas:
            kind, plane = parts.alphas[0]
            other = (Kind(3 - kind), plane)
            ways.append(replace(parts, alphas=[other, *parts.alphas[1:]]))
            ways.append(replace(parts, alphas=[(kind, plain(rng, plane, [plane])), *parts.alphas[1:]]))
        if parts.chunks:
            texts = (Chunk(b"tEXt", rng.bytes(9)), Chunk(b"PLTE", bytes(9)), Chunk(b"tRNS", bytes(6)))
            chunk = texts[int(rng.integers(3))]
            ways.append(replace(parts, chunks=[(chunk,), *parts.chunks[1:]]))
            ways.append(replace(parts, chunks=[()] * len(parts.chunks)))
        parts = ways[int(rng.integers(len(ways)))]
    return parts


def _coded(rng: Random, parts: GroupParts, coded: Coded) -> list[GroupParts]:
    """What diffusion made, altered in several ways."""
    lanes = list(coded.lanes)
    at = int(rng.integers(len(lanes)))
    half = int(rng.integers(len(lanes[at]) + 1))
    changed = [
        replace(coded, model=rng.bytes(8)),
        replace(coded, plan=int(rng.choice((0, 1, 2, 3, 4, 5, 15, 17, 20, 21, 2**32 - 1)))),
        replace(coded, lanes=[*lanes[:at], flip_bits(rng, lanes[at] or b"\0", []), *lanes[at + 1 :]]),
        replace(coded, lanes=[*lanes[:at], plain(rng, lanes[at] or b"\0", lanes), *lanes[at + 1 :]]),
        replace(coded, lanes=[*lanes[:at], lanes[at][:half], lanes[at][half:], *lanes[at + 1 :]]),
    ]
    return [replace(parts, coded=one) for one in changed]


REPAIRED: tuple[Change, ...] = (
    repaired_index,
    repaired_records,
    repaired_head,
    repaired_directory,
    repaired_members,
    repaired_members,
    repaired_stream,
    repaired_payload,
    repaired_payload,
    repaired_parts,
    repaired_parts,
)


def repaired(rng: np.random.Generator, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """One mutation with index, lengths and checksums repaired."""
    return REPAIRED[int(rng.integers(len(REPAIRED)))](rng, data, seeds)
