"""The section of metadata: round trip, what it costs, and that nothing large or false is believed."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdmcompress import chunks as module
from vdmcompress.chunks import (
    MAX_METADATA,
    Chunk,
    chunk_fault,
    describe_chunks,
    pack_section,
    read_section,
)
from vdmcompress.errors import DamagedFileError, LimitError
from vdmcompress.wire import Reader, varint

KINDS = st.sampled_from([b"tEXt", b"gAMA", b"iCCP", b"prVt", b"eXIf"])


@st.composite
def chunk_lists(draw):
    """Sound lists: early ones, late ones, sometimes bytes after the end."""
    drawn = draw(st.lists(st.tuples(KINDS, st.binary(max_size=200), st.booleans()), min_size=1, max_size=8))
    found = sorted((Chunk(*values) for values in drawn), key=lambda chunk: chunk.late)
    if draw(st.booleans()):
        found.append(Chunk(b"IEND", draw(st.binary(min_size=1, max_size=20)), late=True))
    return tuple(found)


def read(data):
    return read_section(Reader(memoryview(data)))


def section(raw, stored=None, length=None):
    stored = zlib.compress(raw) if stored is None else stored
    return varint(len(raw) if length is None else length) + varint(len(stored)) + stored


@given(chunk_lists())
def test_round_trip(found):
    assert chunk_fault(found, indexed=False) is None
    data = pack_section(found)
    assert read(data) == found
    assert read_section(reader := Reader(memoryview(data + b"rest"))) == found
    assert reader.left == 4


def test_compressed_only_where_that_is_smaller():
    small = pack_section((Chunk(b"gAMA", b"\0\0\xb1\x8f"),))
    assert small == b"\x09\x09gAMA\x04\0\0\xb1\x8f"
    large = pack_section((Chunk(b"tEXt", b"Comment\0" + b"word " * 200),))
    assert len(large) < 60


def test_bombs_are_refused_before_they_are_unpacked(monkeypatch):
    bomb = section(b"tEXt" + varint(MAX_METADATA) + bytes(MAX_METADATA))
    assert len(bomb) < 20000
    monkeypatch.setattr(module.zlib, "decompressobj", None)
    with pytest.raises(LimitError, match=f"allowed are {MAX_METADATA}"):
        read(bomb)


def test_a_bomb_that_lies_about_its_length_is_not_unpacked_whole(monkeypatch):
    """One that says it is small gives no more than it says and one byte."""
    given_out = []

    class Recorder:
        def __init__(self):
            self.inner = inner()

        def decompress(self, data, most):
            given_out.append(len(out := self.inner.decompress(data, most)))
            return out

        eof = unused_data = b""

    inner = zlib.decompressobj
    monkeypatch.setattr(module.zlib, "decompressobj", Recorder)
    lying = zlib.compress(bytes(10**7), 9)
    with pytest.raises(DamagedFileError, match="do not decompress to 20000 bytes"):
        read(section(b"", lying, length=20000))
    assert given_out == [20001]


def test_too_much_is_not_written():
    with pytest.raises(LimitError, match="--strip"):
        pack_section((Chunk(b"tEXt", bytes(MAX_METADATA)),))


LIST = b"gAMA\x041234"


@pytest.mark.parametrize(
    "data, words",
    [
        (b"", "ends within its header"),
        (varint(9) + varint(0), "9 bytes in 0"),
        (varint(3) + varint(9) + LIST, "3 bytes in 9"),
        (varint(9) + varint(9) + LIST[:-1], "ends within"),
        (section(LIST * 9, zlib.compress(LIST * 9)[:-1]), "do not decompress"),
        (section(LIST * 9, zlib.compress(LIST * 9) + b"x"), "do not decompress"),
        (section(LIST * 9, length=100), "do not decompress"),
        (section(LIST * 9, length=80), "do not decompress"),
        (section(LIST * 9, b"\x78\x9cgarbage"), "metadata: "),
        (section(b"", LIST + b"tEX", 12), "ends within its metadata"),
        (section(b"", LIST + b"tEXt\x05abc", 17), "ends within its metadata"),
        (section(b"", LIST + b"tEXt\x80\x00", 15), "canonical"),
        (section(b"", LIST + b"IDAT\x00", 14), "place of the pixels"),
        (section(b"", b"IDAT\x01x" + LIST, 15), "place of the pixels"),
        (section(b"", b"IDAT\x00IDAT\x00" + LIST, 19), "place of the pixels"),
    ],
)
def test_damage_is_named(data, words):
    with pytest.raises(DamagedFileError, match=words):
        read(data)


@given(st.binary(max_size=60))
def test_garbage_is_damage_or_a_list(data):
    try:
        found = read(data)
    except (DamagedFileError, LimitError):
        return
    if found and chunk_fault(found, indexed=False) is None:
        assert read(pack_section(found)) == found


def test_names():
    found = [
        Chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x/>"),
        Chunk(b"tEXt", b"Title\0x"),
        Chunk(b"prVt", b"12"),
        Chunk(b"IEND", b"123", late=True),
    ]
    assert describe_chunks(found) == (
        ("XMP", 26),
        ("text 'Title'", 7),
        ("chunk prVt", 2),
        ("bytes after the end", 3),
    )


def test_many_small_chunks_are_refused_while_they_are_read(monkeypatch):
    """A list of 16 MiB compresses to 24 kB, and would be three million objects."""
    monkeypatch.setattr(module, "MAX_CHUNKS", 5)
    chunks = tuple(Chunk(b"teXt", b"") for _ in range(6))
    assert read(section(b"teXt\0" * 5)) == chunks[:5]
    with pytest.raises(LimitError, match="more than 5 chunks"):
        read(section(b"teXt\0" * 6 + b"cut"))
    with pytest.raises(LimitError, match=r"metadata of 6 chunks, allowed are 5; .*--strip"):
        pack_section(chunks)
    assert read(pack_section(chunks[:5])) == chunks[:5]
