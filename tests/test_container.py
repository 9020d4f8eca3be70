"""The file format: golden bytes, round trip, and that no altered or cut file is taken for a sound one."""

import struct
import subprocess
import sys
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdmcompress.archive import records
from vdmcompress.chunks import Chunk
from vdmcompress.container import (
    ARCHIVE_MAGIC,
    FREE_PIXELS,
    PIXELS_PER_BYTE,
    file_length,
    file_lengths,
    holds,
    longest,
    pack,
    peek,
    unpack,
)
from vdmcompress.errors import DamagedFileError, LimitError, UnsupportedImageError, UsageError
from vdmcompress.header import MAGIC, MAX_LANES, Header, Kind, Limits

MODEL = bytes(range(0xA0, 0xA8))
DIFFUSION = Header(Kind.DIFFUSION, 32, 32, 3, 0x12345678, MODEL, plan=2, lanes=1)
LANES = Header(Kind.DIFFUSION, 300, 2, 1, 0xFFFFFFFF, MODEL, plan=0, lanes=3)
WEBP = Header(Kind.WEBP, 1, 70000, 1, 0)

FILES = {
    "diffusion": pack(DIFFUSION, [b"payload!"]),
    "lanes": pack(LANES, [b"ab", b"", b"c" * 130]),
    "webp": pack(WEBP, [b"\x2f" + bytes(9)]),
    "empty": pack(Header(Kind.PNG, 1, 1, 3, 7), [b""]),
}


def sealed(body):
    """A body with the right checksum, whatever it says."""
    return body + struct.pack("<I", zlib.crc32(body))


def diffusion(*, version=0, mode=4, size=b"\x20\x20", plan=b"\x00", lanes=b"\x01", rest=b"\0\0\0\0payload"):
    return sealed(MAGIC + bytes((version, mode)) + size + MODEL + plan + lanes + rest)


headers = st.builds(
    lambda size, channels, crc, model, plan, lanes: (
        Header(Kind.DIFFUSION, *size, channels, crc, model, plan, len(lanes)),
        lanes,
    ),
    st.integers(1, FREE_PIXELS).flatmap(lambda w: st.tuples(st.just(w), st.integers(1, FREE_PIXELS // w))),
    st.sampled_from([1, 3]),
    st.integers(0, 2**32 - 1),
    st.binary(min_size=8, max_size=8),
    st.integers(0, 2**32 - 1),
    st.lists(st.binary(max_size=300), min_size=1, max_size=MAX_LANES),
)


@given(headers)
def test_round_trip(header_and_lanes):
    header, lanes = header_and_lanes
    data = pack(header, lanes)
    found, views = unpack(data)
    assert found == header == peek(data)
    assert [bytes(view) for view in views] == lanes
    assert file_lengths(data) == (len(data) - sum(map(len, lanes)), sum(map(len, lanes)))


@pytest.mark.parametrize("name", FILES)
def test_round_trip_of_examples(name):
    header, views = unpack(bytearray(FILES[name]))
    assert pack(header, views) == FILES[name]


def test_golden_bytes():
    assert FILES["diffusion"].hex(" ", -4) == (
        "8956444d 00042020 a0a1a2a3 a4a5a6a7 02017856 34127061 796c6f61 6421cc13 c928"
    )
    assert FILES["webp"][:-4].hex() == "8956444d" + "0001" + "01" + "f0a204" + "00000000" + "2f" + "00" * 9


def test_overhead():
    overhead, _ = file_lengths(FILES["diffusion"])
    assert overhead == 26
    assert file_lengths(FILES["empty"])[0] == 16


@pytest.mark.parametrize("name", FILES)
def test_every_changed_byte_is_damage(name):
    data = FILES[name]
    for place in range(len(data)):
        changed = bytearray(data)
        for value in range(256):
            if value == data[place]:
                continue
            changed[place] = value
            with pytest.raises(DamagedFileError):
                unpack(changed)


@pytest.mark.parametrize("name", FILES)
def test_every_truncation_and_addition_is_damage(name):
    data = FILES[name]
    for length in range(len(data)):
        with pytest.raises(DamagedFileError):
            unpack(data[:length])
    for tail in (b"\0", b"\n", data):
        with pytest.raises(DamagedFileError):
            unpack(data + tail)


@given(st.binary(max_size=60))
def test_sealed_garbage_is_refused_or_sound(rest):
    """With a right checksum a header may say anything: only our errors may come of it."""
    try:
        header, lanes = unpack(sealed(MAGIC + b"\0" + rest))
    except (DamagedFileError, LimitError):
        return
    assert pack(header, lanes) == sealed(MAGIC + b"\0" + rest)


@pytest.mark.parametrize(
    "data, words",
    [
        (diffusion(mode=3), "kind and mode 0x03"),
        (diffusion(mode=0x24), "kind and mode 0x24"),
        (diffusion(mode=0x84), "kind and mode 0x84"),
        (diffusion(size=b"\x00\x20"), "size 0x32"),
        (diffusion(size=b"\xa0\x00\x20"), "canonical"),
        (diffusion(size=b"\xff\xff\xff\xff\x10\x01"), "canonical"),
        (diffusion(size=b"\xff\xff\xff\xff\xff\x01\x01"), "canonical"),
        (diffusion(lanes=b"\x00"), "0 lanes"),
        (diffusion(lanes=b"\x41"), "65 lanes"),
        (diffusion(lanes=b"\x02", rest=b"\x06\0\0\0\0short"), "6 bytes in a payload of 5"),
        (diffusion(rest=b"\0\0\0"), "ends within its header"),
        (sealed(MAGIC + b"\0"), "ends within its header"),
    ],
)
def test_contradictions_are_named(data, words):
    with pytest.raises(DamagedFileError, match=words):
        unpack(data)


def test_text_and_nothing_are_not_ours():
    for data in (b"", b"\x89", b"\x89PNG\r\n\x1a\n", b"hello"):
        with pytest.raises(DamagedFileError, match="no vdmc file") as met:
            peek(data)
        assert met.value.exit_code == 3
        assert "b'" not in str(met.value)


def test_an_archive_is_called_one():
    assert records.MAGIC == ARCHIVE_MAGIC
    for read in (peek, unpack, longest):
        with pytest.raises(DamagedFileError, match="but an archive of many: use 'vdmc archive extract'"):
            read(records.HEAD + bytes(99))


def test_other_version_is_no_damage():
    with pytest.raises(UnsupportedImageError, match="format version 1, this program reads 0"):
        unpack(diffusion(version=1))


def test_limits():
    data = pack(Header(Kind.PNG, 2**14, 2**14, 3, 0), [b""])
    assert unpack(data)[0].width == 2**14
    with pytest.raises(LimitError, match="allowed are 268435455"):
        unpack(data, Limits(max_pixels=2**28 - 1))
    huge = pack(Header(Kind.PNG, 2**32 - 1, 2**32 - 1, 3, 0), [b""])
    with pytest.raises(LimitError, match="4294967295x4294967295"):
        peek(huge)
    with pytest.raises(LimitError, match="4294967295x4294967295"):
        peek(diffusion(size=b"\xff\xff\xff\xff\x0f" * 2))


def test_a_small_file_cannot_ask_for_much_work():
    """The bound ties pixels to bytes of payload: the last size that is allowed, and the one after it."""
    payload = b"1234567890"
    most = FREE_PIXELS + PIXELS_PER_BYTE * len(payload)
    header = Header(Kind.DIFFUSION, most, 1, 3, 0, MODEL)
    assert unpack(pack(header, [payload]))[0] == header
    more = Header(Kind.DIFFUSION, most + 1, 1, 3, 0, MODEL)
    assert not holds(more, len(payload))
    with pytest.raises(UsageError, match=f"10 bytes for {most + 1}x1 pixels, allowed are at most {most}"):
        pack(more, [payload])
    asking = sealed(pack(header, [payload])[:6] + b"\x81\x25\x01" + pack(header, [payload])[9:-4])
    assert most + 1 == 0x81 - 0x80 + (0x25 << 7)
    with pytest.raises(DamagedFileError, match=f"allowed are at most {most}"):
        peek(asking)
    assert holds(Header(Kind.WEBP, 2**14, 2**14, 3, 0), 20), "classical kinds have no such bound"


def test_length_of_a_file_that_may_not_be_written():
    assert file_length(LANES, [b"ab", b"", b"c" * 130]) == len(FILES["lanes"])


@pytest.mark.parametrize("data", ["text", 5, None, [1, 2], memoryview(bytes(8))[::2]])
def test_what_is_no_bytes_is_refused(data):
    with pytest.raises(UsageError, match="allowed are its bytes"):
        peek(data)


@pytest.mark.parametrize(
    "header, lanes, words",
    [
        (Header(Kind.WEBP, 0, 1, 3, 0), [b""], "size 0x1"),
        (Header(Kind.WEBP, 1, 1, 5, 0), [b""], "5 channels"),
        (Header(Kind.WEBP, 1, 1, 0, 0), [b""], "0 channels"),
        (Header(Kind.WEBP, 1, 1, 3, 0, indexed=True), [b""], "3 channels of indices"),
        (Header(Kind.WEBP, 1, 1, 3, 2**32), [b""], "pixel CRC"),
        (Header(Kind.WEBP, 1, 1, 3, 0, MODEL), [b""], "model hash of 8 bytes"),
        (Header(Kind.PNG, 1, 1, 3, 0, plan=1), [b""], "plan or lanes"),
        (Header(Kind.DIFFUSION, 1, 1, 3, 0), [b""], "model hash of 0 bytes"),
        (Header(Kind.DIFFUSION, 1, 1, 3, 0, MODEL, lanes=65), [b""] * 65, "65 lanes"),
        (Header(Kind.DIFFUSION, 1, 1, 3, 0, MODEL, lanes=2), [b""], "1 lanes of payload"),
        (Header(Kind.DIFFUSION, 1, 1, 3, 0, MODEL, version=1), [b""], "format version 1"),
    ],
)
def test_impossible_headers_are_not_written(header, lanes, words):
    with pytest.raises(UsageError, match=words):
        pack(header, lanes)


def test_header_is_read_without_heavy_imports():
    code = (
        "import sys, vdmcompress; vdmcompress.peek; import vdmcompress.container, vdmcompress.api\n"
        "sys.exit(' '.join(sorted({'torch', 'numba'} & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


PLTE = Chunk(b"PLTE", bytes(6))
TEXT = Chunk(b"tEXt", b"Title\0" + b"mine " * 30, late=True)
LAYOUTS = {
    "alpha apart": (replace(DIFFUSION, channels=4, alpha=Kind.PNG), [b"alpha", b"lane"]),
    "grey alpha apart": (replace(LANES, channels=2, alpha=Kind.WEBP), [b"", b"a", b"bc", b"d"]),
    "alpha within": (Header(Kind.WEBP, 3, 2, 4, 5), [b"payload"]),
    "palette": (Header(Kind.PNG, 3, 2, 1, 5, depth=2, indexed=True, chunks=(PLTE,)), [b"payload"]),
    "one bit": (Header(Kind.WEBP, 3, 2, 1, 5, depth=1), [b"payload"]),
    "16 bits": (Header(Kind.PNG, 3, 2, 3, 5, depth=16), [b"payload"]),
    "16 bits with alpha": (Header(Kind.PNG, 3, 2, 2, 5, depth=16), [b"payload"]),
    "metadata": (replace(DIFFUSION, chunks=(Chunk(b"gAMA", b"1234"), TEXT)), [b"payload"]),
    "all": (replace(LANES, channels=2, alpha=Kind.PNG, chunks=(TEXT,)), [b"", b"a", b"bc", b"d"]),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_round_trip_of_layouts(name):
    header, parts = LAYOUTS[name]
    data = pack(header, parts)
    found, views = unpack(data)
    assert found == header
    assert [bytes(view) for view in views] == parts
    assert found.mode is header.mode
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 0x10
        with pytest.raises(DamagedFileError):
            unpack(changed)


def test_golden_bytes_of_layouts():
    """Kind and mode, size, layout, model and lanes, alpha, pixel CRC, metadata; then the payload."""
    golden = {
        "palette": "1a 0302 0b 05000000 0b0b 504c5445 06 000000000000",
        "one bit": "09 0302 00 05000000",
        "16 bits": "0e 0302 22 05000000",
        "alpha within": "0d 0302 1e 05000000",
    }
    for name, start in golden.items():
        assert pack(*LAYOUTS[name])[5:-4].hex() == start.replace(" ", "") + b"payload".hex(), name
    apart = pack(*LAYOUTS["alpha apart"])[5:-4].hex()
    assert apart == "0c" + "2020" + "5e" + MODEL.hex() + "0201" + "0205" + "78563412" + b"alphalane".hex()


def test_what_layouts_cost():
    apart = pack(replace(DIFFUSION, channels=4, alpha=Kind.PNG), [b"", b"payload!"])
    assert len(apart) == len(FILES["diffusion"]) + 3
    assert len(pack(replace(WEBP, depth=4), [b"\x2f" + bytes(9)])) == len(FILES["webp"]) + 1


@given(
    st.sampled_from([Kind.WEBP, Kind.PNG]),
    st.sampled_from([1, 2, 3, 4]),
    st.sampled_from([1, 2, 4, 8, 16]),
    st.booleans(),
    st.sampled_from([None, Kind.PNG, Kind.WEBP]),
)
def test_every_layout_is_written_and_read_or_refused(kind, channels, depth, indexed, alpha):
    header = Header(kind, 3, 2, channels, 0, depth=depth, indexed=indexed, alpha=alpha)
    header = replace(header, chunks=(PLTE,) if indexed else ())
    parts = [b"payload"] if alpha is None else [b"alpha", b"payload"]
    if header.fault() is None:
        assert unpack(pack(header, parts))[0] == header
    else:
        with pytest.raises(UsageError):
            pack(header, parts)
        assert indexed or depth != 8 or alpha is not None


@pytest.mark.parametrize(
    "mode, layout, words",
    [
        (0x09, 0x18, "layout 0x18"),
        (0x0D, 0x1A, "layout 0x1a"),
        (0x09, 0x1E, "contradicts the mode"),
        (0x0D, 0x00, "contradicts the mode"),
        (0x09, 0x80, "layout 0x80"),
        (0x09, 0x01, "layout 0x01"),
        (0x09, 0x05, "layout 0x05"),
        (0x09, 0x28, "32-bit grey"),
        (0x09, 0x38, "128-bit grey"),
        (0x0A, 0x1B, "0 palettes"),
        (0x0A, 0x23, "16-bit palette"),
        (0x0E, 0x02, "1-bit RGB"),
        (0x09, 0x20, "kind WEBP for 16-bit grey"),
        (0x08, 0x00, "kind DIFFUSION for 1-bit grey"),
        (0x08, 0x1C, "kind DIFFUSION for grey with alpha"),
        (0x0E, 0x66, "an alpha plane in 16-bit RGB with alpha"),
        (0x0A, 0x40, "an alpha plane in 1-bit grey"),
    ],
)
def test_contradictory_layouts_are_named(mode, layout, words):
    diffusion_part = MODEL + b"\0\1" if mode & 3 == 0 else b""
    apart = b"\x02\0" if layout & 0x40 else b""
    body = (
        MAGIC
        + bytes((0, mode))
        + b"\x03\x02"
        + bytes((layout,))
        + diffusion_part
        + apart
        + bytes(4)
        + b"x" * 9
    )
    with pytest.raises(DamagedFileError, match=words):
        unpack(sealed(body))


@pytest.mark.parametrize("kind", [0, 3, 255])
def test_an_alpha_plane_has_a_classical_kind(kind):
    body = MAGIC + b"\0\x0d\x03\x02\x5e" + bytes((kind,)) + b"\0" + bytes(4) + b"payload"
    with pytest.raises(DamagedFileError, match=f"alpha plane of kind {kind}"):
        unpack(sealed(body))


def test_an_alpha_plane_ends_within_the_file():
    body = MAGIC + b"\0\x0d\x03\x02\x5e\x02\x63" + bytes(4) + b"payload"
    with pytest.raises(DamagedFileError, match="99 bytes in a payload of 7"):
        unpack(sealed(body))
