"""Mutations of files, each a function of a random generator and the seeds alone.

Half of them are plain: bytes are altered as a disk or a transfer would.  The other half alter a part of a
compressed file, header, metadata, alpha plane or lanes, and repair lengths and checksum of the file, so that
the mutation reaches what lies behind them: header checks, coder, network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fuzz.corpus import compressed_section, sealed, with_section
from vdmcompress.chunks import Chunk
from vdmcompress.container import pack, unpack
from vdmcompress.errors import VdmError
from vdmcompress.header import MAX_LANES, Header, Kind
from vdmcompress.wire import varint

Random = np.random.Generator
HEADER_BYTES = 40
"""Mutations that aim at the header alter bytes up to here."""


def flip_bits(rng: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """One to eight bits flipped, more often near one of the two ends."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        at = int(len(out) * rng.random() ** float(rng.choice([1, 3])))
        out[-1 - at if rng.random() < 0.5 else at] ^= 1 << int(rng.integers(8))
    return bytes(out)


def set_run(rng: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """A run of bytes set to 0, to 255 or to noise."""
    start, stop = sorted(int(v) for v in rng.integers(0, len(data) + 1, 2))
    length = min(stop - start, 64) or 1
    run = [bytes(length), b"\xff" * length, rng.bytes(length)][int(rng.integers(3))]
    return data[:start] + run + data[start + length :]


def truncate(rng: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """Cut at the end, at the start, or in the middle."""
    start, stop = sorted(int(v) for v in rng.integers(0, len(data) + 1, 2))
    return [data[:stop], data[start:], data[:start] + data[stop:]][int(rng.integers(3))]


def grow(rng: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """Bytes after the end, or put in: noise, zeros, a part of the file once more."""
    start, stop = sorted(int(v) for v in rng.integers(0, len(data) + 1, 2))
    count = int(rng.integers(1, 65))
    piece = [rng.bytes(count), bytes(count), data[start:stop]][int(rng.integers(3))]
    at = len(data) if rng.random() < 0.5 else start
    return data[:at] + piece + data[at:]


def splice(rng: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """The beginning of one file, the end of another."""
    other = seeds[int(rng.integers(len(seeds)))]
    return data[: int(rng.integers(len(data) + 1))] + other[int(rng.integers(len(other) + 1)) :]


def noise(rng: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """Noise of the file's length, or the file's first bytes followed by noise."""
    keep = int(rng.choice([0, 4, 6, HEADER_BYTES]))
    return data[:keep] + rng.bytes(max(len(data) - keep, 1))


Change = Callable[[Random, bytes, Sequence[bytes]], bytes]
PLAIN: tuple[Change, ...] = (flip_bits, set_run, truncate, grow, splice, noise)


def plain(rng: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """One to three plain mutations."""
    for _ in range(int(rng.integers(1, 4))):
        data = PLAIN[int(rng.integers(len(PLAIN)))](rng, data or b"\0", seeds)
    return data


def repaired_header(rng: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """Bytes of the header altered, the file's checksum made right again."""
    body = bytearray(data[:-4])
    for _ in range(int(rng.integers(1, 4))):
        body[int(rng.integers(4, min(HEADER_BYTES, len(body))))] = int(rng.integers(256))
    return sealed(bytes(body))


def repaired_fields(rng: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """Fields of the header rewritten with values that are allowed; lengths and checksum right."""
    header, views = unpack(data)
    lanes = [bytes(view) for view in views]
    other, _ = unpack(seeds[int(rng.integers(len(seeds)))])
    size = (1, 2, 3, header.height, header.width, header.width + 1, 2 * header.width, 500, 2**14, 2**32 - 1)
    number = (0, 1, 2, 3, 4, 5, 6, 7, 15, 17, 20, 21, 2**16, 2**32 - 1)
    changes: list[dict[str, Any]] = [
        {"width": int(rng.choice(size))},
        {"height": int(rng.choice(size))},
        {"width": header.height, "height": header.width},
        {"channels": 4 - header.channels},
        {"plan": int(rng.choice(number))},
        {"model": other.model or rng.bytes(8)},
        {"kind": Kind(int(rng.integers(3))), "model": b"", "plan": 0},
        {"pixel_crc": other.pixel_crc},
        {"width": other.width, "height": other.height, "channels": other.channels},
        {"channels": int(rng.integers(1, 5))},
        {"depth": int(rng.choice((1, 2, 4, 8, 16)))},
        {"indexed": not header.indexed},
        {"channels": other.channels, "depth": other.depth, "indexed": other.indexed},
    ]
    for _ in range(int(rng.integers(1, 3))):
        header = replace(header, **changes[int(rng.integers(len(changes)))])
    return _packed(header, lanes, data)


def repaired_lanes(rng: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """Bytes of one lane altered; lengths and checksum right."""
    header, views = unpack(data)
    lanes = [bytes(view) for view in views]
    at = int(rng.integers(len(lanes)))
    others = [bytes(view) for view in unpack(seeds[int(rng.integers(len(seeds)))])[1]]
    lanes[at] = plain(rng, lanes[at], others)
    if lanes[at] and rng.random() < 0.5:  # a head without a leading zero byte passes the first check
        lanes[at] = lanes[at][:-1] + bytes([lanes[at][-1] | 1])
    return _packed(header, lanes, data)


def repaired_few_bits(rng: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """A few bits of the lanes flipped, so that most of the picture decodes as it was."""
    header, views = unpack(data)
    lanes = [bytearray(view) for view in views]
    for _ in range(int(rng.integers(1, 4))):
        lane = lanes[int(rng.integers(len(lanes)))]
        if lane:
            lane[int(len(lane) * rng.random())] ^= 1 << int(rng.integers(8))
    return _packed(header, [bytes(lane) for lane in lanes], data)


def repaired_number_of_lanes(rng: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """Lanes cut in two, dropped, doubled or put in another order."""
    header, views = unpack(data)
    lanes = [bytes(view) for view in views]
    at = int(rng.integers(len(lanes)))
    half = int(rng.integers(len(lanes[at]) + 1))
    lanes = [
        [*lanes[:at], lanes[at][:half], lanes[at][half:], *lanes[at + 1 :]],
        [*lanes[:at], *lanes[at + 1 :]],
        [*lanes, lanes[at]],
        lanes[::-1],
        (lanes * MAX_LANES)[: int(rng.integers(1, MAX_LANES + 2))],
    ][int(rng.integers(5))]
    return _packed(replace(header, lanes=len(lanes) - (header.alpha is not None)), lanes, data)


def repaired_alpha(rng: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """The alpha plane altered, exchanged, left out, put in, or said to be of the other kind."""
    header, views = unpack(data)
    parts = [bytes(view) for view in views]
    with_alpha = [seed for seed in seeds if unpack(seed)[0].alpha is not None]
    plane = bytes(unpack(with_alpha[int(rng.integers(len(with_alpha)))])[1][0])
    kind = Kind(int(rng.integers(1, 3)))
    if header.alpha is None:
        changed = replace(header, channels=header.channels + 1, alpha=kind)
        return _packed(changed, [plane if rng.random() < 0.5 else plain(rng, plane, [plane]), *parts], data)
    headers = (header, header, replace(header, alpha=kind), replace(header, channels=header.channels - 1))
    altered = (plain(rng, parts[0], [plane]), plane, parts[0], None)
    way = int(rng.integers(4))
    if altered[way] is None:
        return _packed(replace(headers[way], alpha=None), parts[1:], data)
    return _packed(headers[way], [altered[way] or b"", *parts[1:]], data)


def repaired_chunks(rng: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """Chunks dropped, doubled, renamed, altered, put in another place or taken from another file."""
    header, views = unpack(data)
    chunks = list(header.chunks)
    others = [chunk for seed in seeds for chunk in unpack(seed)[0].chunks]
    for _ in range(int(rng.integers(1, 3))):
        at = int(rng.integers(len(chunks) + 1))
        other = others[int(rng.integers(len(others)))]
        if at == len(chunks) or rng.random() < 0.3:
            chunks.insert(at, other)
            continue
        chunk = chunks[at]
        name = (b"PLTE", b"tRNS", b"IEND", b"tEXt", other.kind)[int(rng.integers(5))]
        changed: tuple[list[Chunk], ...] = (
            [],
            [chunk, chunk],
            [replace(chunk, kind=name)],
            [replace(chunk, data=plain(rng, chunk.data, [other.data]))],
            [replace(chunk, late=not chunk.late)],
        )
        chunks[at : at + 1] = changed[int(rng.integers(len(changed)))]
    return _packed(replace(header, chunks=tuple(chunks)), [bytes(view) for view in views], data)


def repaired_section(rng: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """A section of metadata that lies: its lengths, its compression, its list; some swell a thousandfold."""
    kinds = [chunk.kind for chunk in unpack(data)[0].chunks] or [b"teXt"]
    kind = kinds[int(rng.integers(len(kinds)))]
    size = int(rng.choice((1, 100, 2**12, 2**16, 2**20, 2**22)))
    raw = (
        kind + varint(size) + bytes(size),
        (kind + b"\0") * (size // 5 + 1),
        plain(rng, kind + varint(9) + rng.bytes(9), [bytes(5)]),
    )[int(rng.integers(3))]
    near = (len(raw), len(raw) - 1, len(raw) + 1, size)
    claimed = int(rng.choice((*near, 0, 5, 2**24, 2**24 + 1, 2**32 - 1)))
    section = compressed_section(raw, max(claimed, 0) if rng.random() < 0.6 else None)
    if rng.random() < 0.3 and len(raw) < 200:
        section = varint(len(raw)) * 2 + raw
    if rng.random() < 0.3:
        section = plain(rng, section, [raw[:200]])
    return with_section(data, section)


REPAIRED: tuple[Change, ...] = (
    repaired_header,
    repaired_fields,
    repaired_lanes,
    repaired_lanes,
    repaired_few_bits,
    repaired_few_bits,
    repaired_number_of_lanes,
    repaired_alpha,
    repaired_chunks,
    repaired_section,
)


def repaired(rng: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """One mutation with lengths and checksum repaired."""
    return REPAIRED[int(rng.integers(len(REPAIRED)))](rng, data, seeds)


def _packed(header: Header, lanes: list[bytes], before: bytes) -> bytes:
    """The file; where the format cannot hold that, a byte of the header is altered instead."""
    try:
        return pack(header, lanes)
    except VdmError:
        return repaired_header(np.random.default_rng(len(before)), before, [before])
