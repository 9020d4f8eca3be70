"""PNG taken apart: chunks and samples as stored, damage never taken for a picture."""

import numpy as np
import pytest

from tests.image_files import GREY, RGB, chunk, png, saved
from vdmcompress.errors import DECODER_ERRORS
from vdmcompress.picture import Mode, Picture
from vdmcompress.png import SIGNATURE, packed_rows, parse_png, png_of, png_samples, png_size, write_png


def test_parts():
    data = png(8, 2, [b"abcdef"], chunk(b"gAMA", b"1234"), after=[chunk(b"tEXt", b"a\0b")]) + b"more"
    found = parse_png(data)
    assert (found.width, found.height, found.depth, found.mode, found.interlaced) == (
        2,
        1,
        8,
        Mode.RGB,
        False,
    )
    assert [(c.kind, c.data, c.late) for c in found.chunks] == [
        (b"gAMA", b"1234", False),
        (b"tEXt", b"a\0b", True),
        (b"IEND", b"more", True),
    ]
    assert write_png(Picture(Mode.RGB, 8, png_samples(found), found.chunks))[-4:] == b"more"


@pytest.mark.parametrize(
    "data, words",
    [
        (b"", "does not begin"),
        (SIGNATURE + bytes(30), "does not begin"),
        (saved(RGB, "PNG")[:-1], "cut off"),
        (saved(RGB, "PNG")[:50], "cut off within b'IDAT'"),
        (saved(RGB, "PNG").replace(b"IEND", b"IENd"), "CRC-32 of chunk IENd"),
        (png(8, 2, [b"abc"], chunk(b"gA\0A", b"")), "a chunk"),
        (png(8, 2, [b"abc"], after=[chunk(b"gAMA", b""), chunk(b"IDAT", b"")]), "pixels in two places"),
        (SIGNATURE + saved(RGB, "PNG")[8:33] + chunk(b"IEND", b""), "no pixels"),
        (png(8, 2, [b"abc"]).replace(b"\x08\x02\0\0\0", b"\x04\x02\0\0\0"), "CRC-32 of chunk IHDR"),
    ],
)
def test_damage_is_named(data, words):
    with pytest.raises(ValueError, match=words):
        parse_png(data)


@pytest.mark.parametrize("depth, mode", [(1, 0), (4, 0), (16, 0), (8, 2), (16, 2), (8, 3), (16, 6)])
def test_changed_bytes_are_noticed(depth, mode):
    channels = Mode(mode).channels
    pixels = np.random.default_rng(1).integers(0, 2**depth, (4, 5, channels))
    pixels = pixels.astype(np.uint16 if depth == 16 else np.uint8)
    data = png_of(pixels[..., 0] if channels == 1 else pixels, Mode(mode), depth)
    for place in range(8, len(data)):
        changed = data[:place] + bytes((data[place] ^ 0x41,)) + data[place + 1 :]
        with pytest.raises(DECODER_ERRORS):
            png_samples(parse_png(changed))


@pytest.mark.parametrize("depth", [8, 16])
def test_too_few_pixels_are_damage(depth):
    rows = [bytes(6 * depth // 8)] * 3
    whole, short = png(depth, 2, rows), png(depth, 2, rows[:2])
    assert parse_png(whole).height == 3
    start = whole.index(b"IHDR") - 4
    mixed = whole[: start + 25] + short[start + 25 :]
    assert png_size(mixed) == (2, 3)
    with pytest.raises(DECODER_ERRORS):
        png_samples(parse_png(mixed))


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_packed_rows_are_those_of_the_format(depth):
    pixels = GREY & np.uint8(2**depth - 1)
    rows = packed_rows(pixels, depth)
    assert rows.shape == (5, -(-6 * depth // 8))
    bits = np.unpackbits(rows, axis=1)[:, : 6 * depth].reshape(5, 6, depth)
    assert np.array_equal(bits @ (1 << np.arange(depth)[::-1]), pixels)
