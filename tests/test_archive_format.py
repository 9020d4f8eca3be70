"""Archives as bytes: names, directories, records, groups; what is hostile is refused before work."""

import io
import lzma
import struct
import sys
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdmcompress.archive import compact
from vdmcompress.archive.compact import MOST_TIMES, compacted, expanded
from vdmcompress.archive.directory import MAX_NAMES, MAX_RAW, Member, pack_directory, read_directory
from vdmcompress.archive.group import Coded, GroupParts, batches_of, pack_group, price_of, unpack_group
from vdmcompress.archive.names import NameCheck, check_name, member_name, name_fault
from vdmcompress.archive.records import (
    HEAD,
    GroupHead,
    Record,
    check_head,
    model_record,
    pack_index,
    read_group_head,
    read_index,
    read_records,
    unpack_model,
)
from vdmcompress.chunks import Chunk
from vdmcompress.errors import DamagedFileError, LimitError, UnsupportedImageError, UsageError
from vdmcompress.header import Kind, Limits
from vdmcompress.path import BatchShape
from vdmcompress.picture import Mode
from vdmcompress.wire import varint

BAD_NAMES = [
    "", "/a", "a//b", "a/", "../a", "a/../b", ".", "..", "./a", "a/./b", "C:/a", "c:a", "a\\b", "a\0b",
    "a\nb", "a\x7fb", "\x85", "a\u2028b", "x" * 256, "a/" * 2100 + "b", "\ud800",
]  # fmt: skip
GOOD_NAMES = ["a.png", "a/b.png", "...", ".hidden", "ä/ö.png", "a b", "x" * 255, "\udcff.png", "-", "ab:c"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_lead_elsewhere_are_refused(name):
    assert name_fault(name)
    with pytest.raises(UsageError, match="cannot be a member's"):
        check_name(name)


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_sound_names(name):
    assert name_fault(name) is None


def test_paths_become_names():
    for path in ("/a/b.png", "../../a/b.png", "./a//c/../b.png"):
        assert member_name(path) == "a/b.png"
    for path in ("..", "/", "a\nb"):
        with pytest.raises(UsageError):
            member_name(path)


def test_collisions_of_names(monkeypatch):
    check = NameCheck(["a/b", "c"])
    assert check.add("d/e/f") is None
    assert "occurs twice" in check.add("c")
    assert "is a folder" in check.add("d/e")
    assert "is a member and the folder" in check.add("a/b/x")
    many = NameCheck()
    for i in range(1 << 15):
        assert many.add(f"f/{i}") is None
    assert "occurs twice" in many.add("f/7")
    assert "is a member" in many.add("f/9/x")
    assert many.add("f/x/9") is None


def member(name, width=8, height=8, mode=Mode.RGB, depth=8, single=False, modified=None, permissions=None):
    return Member(name, width, height, mode, depth, single, modified, permissions)


MIXED = [
    member("a/1.png", 30, 20, modified=5, permissions=0o644),
    member("a/2.png", 30, 20, Mode.RGBA, modified=-7, permissions=0),
    member("b.png", 3, 20, Mode.GREY, modified=1 << 40, permissions=0o777),
    member("\udcff.png", 1, 1, Mode.PALETTE, 4, True, 1, 0o600),
    member("z", 70000, 1, Mode.RGB, 16, True, 0, 0o400),
]


def test_directories_there_and_back():
    assert read_directory(pack_directory(MIXED), len(MIXED)) == MIXED
    without = [member("x"), member("y", modified=3)]
    assert read_directory(pack_directory(without), 2) == [member("x"), member("y")]


@given(st.lists(st.text("ab./é", min_size=1, max_size=9), min_size=1, max_size=30, unique=True))
def test_any_names(texts):
    members = [member(text) for text in texts if name_fault(text) is None]
    if members:
        assert read_directory(pack_directory(members), len(members)) == members


def test_numbered_names_take_about_a_bit():
    members = [member(f"cifar/img_{i:05}.png", 32, 32, modified=1_700_000_000 + i // 90) for i in range(2000)]
    assert len(compacted(pack_directory(members))) < 0.15 * 2000


@pytest.mark.parametrize("name", [name for name in BAD_NAMES if name != "\ud800"])
def test_hostile_names_in_a_directory(name):
    with pytest.raises(DamagedFileError):
        read_directory(pack_directory([member("sound.png"), member(name)]), 2)


def test_hostile_directories():
    raw = pack_directory(MIXED)
    for count in (0, 1, 4, 6, 1 << 17):
        with pytest.raises(DamagedFileError):
            read_directory(raw, count)
    for end in range(len(raw)):
        with pytest.raises(DamagedFileError):
            read_directory(raw[:end], len(MIXED))
    with pytest.raises(DamagedFileError, match="left over"):
        read_directory(raw + b"x", len(MIXED))
    bad = (member("x", 0), member("x", mode=Mode.PALETTE), member("x", depth=16), member("x", depth=2))
    for one in bad:
        with pytest.raises(DamagedFileError):
            read_directory(pack_directory([one]), 1)
    twice = pack_directory([member("a"), member("b")]).replace(b"ab", b"aa")
    with pytest.raises(DamagedFileError, match="same name"):
        read_directory(twice, 2)


@given(st.binary(max_size=60), st.integers(1, 70000))
def test_noise_is_no_directory(data, count):
    try:
        members = read_directory(data, count)
    except DamagedFileError:
        return
    assert len(members) == count


def lanes_for(pixels):
    return [bytes(pixels // 64) + b"\1"]


def parts(members=MIXED, chunks=None, lanes=None, singles=None):
    together = [m for m in members if not m.single]
    pixels = sum(m.width * m.height for m in together)
    return GroupParts(
        list(members),
        7,
        Coded(b"modelmod", 2, lanes or lanes_for(pixels)) if together else None,
        chunks or [()] * len(together),
        [(Kind.PNG, b"alpha")] * sum(m.has_alpha for m in together),
        singles or [b"single", b"other"][: len(members) - len(together)],
    )


ICC = (Chunk(b"iCCP", b"x" * 3000), Chunk(b"tEXt", b"late", True))


def test_groups_there_and_back():
    group = parts(chunks=[ICC, (), ICC])
    record = pack_group(group)
    assert unpack_group(record, Limits()) == group
    assert record.count(b"modelmod") == 1
    assert len(pack_group(parts(chunks=[ICC, (), ()]))) - len(record) in range(-2, 3)
    alone = parts(MIXED[3:])
    assert unpack_group(pack_group(alone), Limits()) == alone
    shapes = [shape for shape, _ in batches_of(MIXED)]
    assert shapes == [BatchShape(2, 20, 30, 3), BatchShape(1, 20, 3, 1)]


def test_every_altered_byte_of_a_group_is_noticed():
    record = pack_group(parts(chunks=[ICC, (), ()], lanes=[b"0123456789abcdefgh"]))
    for at in range(1, len(record)):
        bad = bytearray(record)
        bad[at] ^= 0x41
        with pytest.raises(DamagedFileError):
            unpack_group(bad, Limits())
    for end in range(len(record)):
        with pytest.raises(DamagedFileError):
            unpack_group(record[:end], Limits())


def test_limits_come_before_work():
    record = pack_group(parts())
    with pytest.raises(LimitError, match="71261"):
        unpack_group(record, Limits(69999))
    many = [member(f"{i}", 100, 100) for i in range(9)]
    with pytest.raises(LimitError, match="90000"):
        unpack_group(pack_group(parts(many)), Limits(80000))


def test_few_bytes_stand_for_few_pixels():
    many = [member(f"{i}", 100, 100) for i in range(9)]
    with pytest.raises(DamagedFileError, match="for 90000 pixels"):
        unpack_group(pack_group(parts(many, lanes=[bytes(1300)])), Limits())


def resealed(record, change):
    """The record with its payload changed and all checksums right."""
    head = read_group_head(record[:32])
    start = len(head.pack())
    directory = record[start : start + head.stored + 4]
    payload = change(record[-(head.payload + 4) : -4])
    new = GroupHead(head.images, head.raw, head.stored, len(payload))
    return new.pack() + directory + payload + struct.pack("<I", zlib.crc32(payload))


def test_hostile_payloads_with_right_checksums():
    record = pack_group(parts(chunks=[ICC, (), ()]))
    rng = np.random.default_rng(0)
    for _ in range(300):
        at, bit = int(rng.integers(60)), 1 << int(rng.integers(8))

        def flip(payload, at=at, bit=bit):
            return payload[:at] + bytes((payload[at] ^ bit,)) + payload[at + 1 :]

        with suppress(DamagedFileError, LimitError):
            unpack_group(resealed(record, flip), Limits())
    for change in (lambda p: p + b"x", lambda p: p[:-1], lambda p: b""):
        with pytest.raises(DamagedFileError):
            unpack_group(resealed(record, change), Limits())


def test_swollen_metadata_are_refused():
    section = varint(1 << 26) + varint(1 << 15) + bytes(1 << 15)
    record = pack_group(parts())
    with pytest.raises(DamagedFileError, match="allowed are"):
        unpack_group(resealed(record, lambda p: p[:4] + section + p[5:]), Limits())
    chunks = tuple(Chunk(b"abCd", b"") for _ in range(1 << 16))
    members = [member(f"{i}") for i in range(3)]
    own = [(*chunks, Chunk(b"abCd", bytes((i,))))[1:] for i in range(3)]
    with pytest.raises(LimitError, match="chunks"):
        unpack_group(pack_group(parts(members, own)), Limits())


def test_swollen_directories_are_refused():
    head = GroupHead(1, MAX_RAW + 1, 10, 5).pack()
    with pytest.raises(DamagedFileError):
        unpack_group(head + bytes(30), Limits())
    stream = compacted(bytes(range(256)) * 2048)
    assert len(stream) < 400
    for claimed in (len(stream) + 1, (1 << 19) - 1, (1 << 19) + 1):
        lying = GroupHead(1, claimed, len(stream), 5).pack()
        lying += stream + struct.pack("<I", zlib.crc32(stream))
        with pytest.raises(DamagedFileError, match="the directory of a group: "):
            unpack_group(lying, Limits())


def test_streams_end_where_they_say():
    raw = b"some text, some more text, " * 40 + bytes(range(200))
    stream = compacted(raw)
    assert len(stream) < 300
    assert expanded(stream, len(raw), "it") == raw
    for length in (len(raw) - 1, len(raw) + 1):
        with pytest.raises(DamagedFileError, match="it: "):
            expanded(stream, length, "it")
    for bad in (stream + b"x", stream[:-1], b"", bytes(len(stream)), b"\xff" + stream[1:]):
        with pytest.raises(DamagedFileError, match="it: "):
            expanded(bad, len(raw), "it")
    assert compacted(b"short") == expanded(b"short", 5, "it") == b"short"


def test_streams_look_back_far():
    """Beyond the 32 kB of zlib: a profile that comes again behind another image's metadata."""
    profile = np.random.default_rng(0).bytes(100_000)
    assert len(compacted(profile + profile[::-1] + profile)) < 201_500


def test_what_a_byte_of_a_stream_stands_for_is_bounded(monkeypatch):
    """Before anything is unpacked; what would be beyond the bound is stored as it is."""
    most = bytes(MOST_TIMES * 600)
    stream = lzma.compress(most, lzma.FORMAT_RAW, filters=compact._filters(lzma, len(most)))
    assert len(stream) < 600
    assert compacted(most) == most
    monkeypatch.setattr(lzma, "LZMADecompressor", None)
    with pytest.raises(DamagedFileError, match="times as many"):
        expanded(stream, len(most), "it")


def test_a_python_without_lzma(monkeypatch):
    monkeypatch.setitem(sys.modules, "lzma", None)
    with pytest.raises(UnsupportedImageError, match="without lzma"):
        compacted(b"text")


def test_models_there_and_back():
    data = bytes(range(256)) * 5
    record = model_record(data)
    assert unpack_model(record) == data
    for at in range(1, len(record), 7):
        bad = bytearray(record)
        bad[at] ^= 1
        with pytest.raises(DamagedFileError):
            unpack_model(bytes(bad))


def file_of(*records):
    places, offset = [], len(HEAD)
    for data, images in records:
        places.append(Record(offset, len(data), images))
        offset += len(data)
    return HEAD + b"".join(data for data, _ in records) + pack_index(places), places


def test_index_and_front_agree():
    data, places = file_of(
        (pack_group(parts()), 5), (model_record(b"m"), 0), (pack_group(parts(MIXED[3:])), 2)
    )
    file = io.BytesIO(data)
    assert read_index(file, len(data)) == places
    assert list(read_records(file, len(data))) == places


def test_hostile_indexes():
    data, places = file_of((pack_group(parts()), 5), (pack_group(parts(MIXED[3:])), 2))
    start = len(data) - int.from_bytes(data[-8:-4], "little") - 8
    for at in range(start, len(data)):
        bad = bytearray(data)
        bad[at] ^= 0x55
        with pytest.raises(DamagedFileError):
            read_index(io.BytesIO(bad), len(bad))
    for end in range(len(data)):
        with pytest.raises(DamagedFileError):
            read_index(io.BytesIO(data[:end]), end)
    wrong = [
        [],
        [Record(5, 0, 1), *places],
        [Record(5, places[0].length + 1, 1), places[1]],
        [Record(5, places[0].length, 1 << 20), places[1]],
    ]
    for records in wrong:
        bad = data[:start] + pack_index(records)
        with pytest.raises(DamagedFileError):
            read_index(io.BytesIO(bad), len(bad))
    body = b"I" + varint((1 << 32) - 1) + b"\1\1"
    index = body + struct.pack("<I", zlib.crc32(body))
    bad = data[:start] + index + struct.pack("<I", len(index)) + b"VDMA"
    with pytest.raises(DamagedFileError, match="4294967295 records"):
        read_index(io.BytesIO(bad), len(bad))


def test_heads():
    check_head(HEAD)
    with pytest.raises(UnsupportedImageError, match="version 3"):
        check_head(HEAD[:4] + b"\3")
    for bad in (b"", HEAD[:4], b"PK\3\4\0"):
        with pytest.raises(DamagedFileError):
            check_head(bad)


def test_price_grows_with_lanes():
    small, large = [member("a", 32, 32)], [member(f"{i}", 512, 512) for i in range(3)]
    assert 0 < price_of([member("a", single=True)]) < price_of(small) < price_of(large) < 300


def test_singles_count_towards_the_limit():
    """Each of them is within it; all of them together are decoded at once."""
    many = [member(f"{i}", 100, 100, single=True) for i in range(9)]
    record = pack_group(parts(many, singles=[b"single"] * 9))
    assert len(unpack_group(record, Limits(90000)).singles) == 9
    with pytest.raises(LimitError, match="90000 pixels"):
        unpack_group(record, Limits(89999))


def test_names_that_share_all_but_a_byte_are_bounded(monkeypatch):
    """Few stored bytes that stand for many: refused before the name is made that goes beyond."""
    from vdmcompress.archive import directory

    stem = "/".join(["x" * 250] * 16)
    members = [member(f"{stem}/{i:05}") for i in range(MAX_NAMES // (len(stem) + 6) + 1)]
    decoded = []
    decode = directory.decode_name
    monkeypatch.setattr(directory, "decode_name", lambda data: decoded.append(len(data)) or decode(data))
    assert len(read_directory(pack_directory(members[:-1]), len(members) - 1)) == len(members) - 1
    decoded.clear()
    with pytest.raises(DamagedFileError, match="names of more than"):
        read_directory(pack_directory(members), len(members))
    assert len(decoded) == len(members) - 1
    with pytest.raises(LimitError, match="smaller groups"):
        pack_group(parts(members))


def test_lists_of_metadata_are_counted_once_each(monkeypatch):
    from vdmcompress.archive import group

    asked = []

    class Counted(tuple):
        __slots__ = ()

        def __len__(self):
            asked.append(1)
            return super().__len__()

    read = group.read_list
    monkeypatch.setattr(group, "read_list", lambda raw: Counted(read(raw)))
    members = [member(f"{i}") for i in range(100)]
    record = pack_group(parts(members, [(Chunk(b"abCd", bytes((i,))),) for i in range(100)]))
    assert len(unpack_group(record, Limits()).chunks) == 100
    assert len(asked) < 1000


def test_many_batches_take_many_bytes():
    """As many batches as pixels: each costs the time of hundreds of pixels."""
    many = [member(f"{i}", 1 + i % 2, 1) for i in range(1000)]
    with pytest.raises(DamagedFileError, match="1500 pixels in 1000 batches"):
        unpack_group(pack_group(parts(many, lanes=[bytes(3900)])), Limits())
    assert len(unpack_group(pack_group(parts(many, lanes=[bytes(4000)])), Limits()).shapes) == 1000
    assert len(unpack_group(pack_group(parts(many[:15], lanes=[b"\1"])), Limits()).shapes) == 15


def with_index(*records):
    """A file of empty bytes with an index, sound but for what it says; and the file's size."""
    data = HEAD + bytes(200) + pack_index([Record(0, length, images) for length, images in records])
    return io.BytesIO(data), len(data)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([(9, 0), (191, 1)], "a record of 9 bytes and 0 images at byte 5"),
        ([(17, 1), (183, 1)], "a record of 17 bytes and 1 images at byte 5"),
        ([(100, 1), (101, 1)], "a record of 101 bytes and 1 images at byte 105"),
        ([(200, 65537)], "65537 images at byte 5"),
        ([(5, 0)] * 40, "an index of 40 records"),
        ([(100, 1)], "do not fill"),
    ],
)
def test_records_that_cannot_be_are_met_in_the_index(records, message):
    with pytest.raises(DamagedFileError, match=message):
        read_index(*with_index(*records))
    assert len(read_index(*with_index((10, 0), (18, 1), (172, 65536)))) == 3
