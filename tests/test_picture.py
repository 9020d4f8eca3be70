"""Pictures: what is sound, the arrays that programs expect, what two of them differ in."""

import re
import zlib
from dataclasses import replace

import numpy as np
import pytest

from vdmcompress.chunks import Chunk
from vdmcompress.errors import UnsupportedImageError
from vdmcompress.picture import DEPTHS, Mode, Picture, array_picture, difference, mode_name, pixel_crc

PLTE = Chunk(b"PLTE", bytes(range(12)))
INDICES = np.array([[0, 1, 2], [3, 2, 1]], np.uint8)
PALETTE = Picture(Mode.PALETTE, 2, INDICES, (PLTE,))
RGB = array_picture(np.arange(24, dtype=np.uint8).reshape(2, 4, 3))


def test_colour_and_alpha_are_the_channels():
    for channels in (2, 4):
        pixels = np.arange(6 * channels, dtype=np.uint8).reshape(2, 3, channels)
        picture = array_picture(pixels)
        assert np.array_equal(picture.alpha, pixels[..., -1])
        assert np.array_equal(picture.colour, pixels[..., 0] if channels == 2 else pixels[..., :3])
    assert RGB.alpha is None
    assert np.array_equal(RGB.colour, RGB.pixels)


@pytest.mark.parametrize("dtype, depth", [(np.uint8, 8), (np.uint16, 16), (np.dtype(">u2"), 16)])
@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 2), (2, 3, 3), (2, 3, 4)])
def test_arrays_become_sound_pictures(dtype, depth, shape):
    pixels = np.full(shape, 200, dtype)
    picture = array_picture(pixels)
    assert picture.fault() is None
    assert picture.depth == depth
    assert picture.mode.channels == (1 if len(shape) == 2 else shape[2])
    assert np.array_equal(picture.array(), pixels)


@pytest.mark.parametrize("pixels", [np.zeros((2, 2), np.int32), np.zeros((2, 2, 1), np.uint8), [[1]]])
def test_other_arrays_are_refused(pixels):
    with pytest.raises(UnsupportedImageError, match="allowed are"):
        array_picture(pixels)


@pytest.mark.parametrize(
    "picture, words",
    [
        (replace(RGB, depth=4), "4-bit RGB, allowed 8, 16 bits"),
        (replace(RGB, depth=16), "pixels uint8"),
        (replace(RGB, mode=Mode.GREY), r"pixels uint8 \(2, 4, 3\) for grey"),
        (replace(PALETTE, chunks=()), "0 palettes"),
        (replace(PALETTE, chunks=(PLTE, PLTE)), "2 palettes"),
        (replace(PALETTE, chunks=(Chunk(b"PLTE", b"1234"),)), "palette of 4 bytes"),
        (replace(PALETTE, chunks=(replace(PLTE, late=True),)), "behind the pixels"),
        (replace(PALETTE, depth=1), r"value 3 in 1-bit palette, allowed 0\.\.1"),
        (replace(RGB, chunks=(Chunk(b"IDAT", b""),)), "IDAT"),
        (replace(RGB, chunks=(Chunk(b"te t", b""),)), "te t"),
        (replace(RGB, chunks=(Chunk(b"IEND", b"", True), Chunk(b"tEXt", b"", True))), "not the last"),
        (replace(RGB, chunks=(Chunk(b"tEXt", b"", True), Chunk(b"gAMA", b""))), "behind and before"),
    ],
)
def test_contradictions_are_named(picture, words):
    assert re.search(words, picture.fault() or "")


def test_palettes_become_colours_and_alpha():
    assert PALETTE.fault() is None
    assert np.array_equal(PALETTE.array()[0, 1], [3, 4, 5])
    clear = replace(PALETTE, chunks=(PLTE, Chunk(b"tRNS", b"\x07\x08")))
    assert np.array_equal(clear.array()[0], [[0, 1, 2, 7], [3, 4, 5, 8], [6, 7, 8, 255]])
    short = replace(PALETTE, chunks=(Chunk(b"PLTE", b"abc"),))
    assert np.array_equal(short.array()[0, 1], [0, 0, 0])


@pytest.mark.parametrize("depth, top", [(1, 1), (2, 3), (4, 15)])
def test_few_bits_are_scaled_to_the_whole_range(depth, top):
    picture = Picture(Mode.GREY, depth, np.array([[0, top]], np.uint8))
    assert np.array_equal(picture.array(), [[0, 255]])


def test_the_checksum_covers_all_that_is_the_picture():
    other = replace(PALETTE, chunks=(Chunk(b"PLTE", bytes(range(1, 13))),))
    assert pixel_crc(other) != pixel_crc(PALETTE)
    deep = array_picture(np.array([[256, 1]], np.uint16))
    assert pixel_crc(deep) != pixel_crc(array_picture(np.array([[256, 2]], np.uint16)))
    assert pixel_crc(deep) == zlib.crc32(b"\0\x10\1\0\0\1")
    assert pixel_crc(RGB) == zlib.crc32(RGB.pixels.tobytes())
    clear = Chunk(b"tRNS", b"\7")
    assert pixel_crc(replace(RGB, chunks=(clear,))) != pixel_crc(RGB)
    assert pixel_crc(replace(PALETTE, chunks=(PLTE, clear))) != pixel_crc(PALETTE)
    assert pixel_crc(replace(PALETTE, depth=4)) != pixel_crc(PALETTE)
    assert pixel_crc(replace(RGB, chunks=(Chunk(b"gAMA", b""),))) == pixel_crc(RGB)
    with_alpha = np.dstack((RGB.pixels, np.full((2, 4), 9, np.uint8)))
    changed = with_alpha.copy()
    changed[1, 3, 3] = 8
    assert pixel_crc(array_picture(with_alpha)) != pixel_crc(array_picture(changed))


def test_stripping_keeps_what_belongs_to_the_picture():
    text, trns = Chunk(b"tEXt", b"a\0b"), Chunk(b"tRNS", b"\0")
    assert replace(PALETTE, chunks=(PLTE, trns, text)).stripped().chunks == (PLTE, trns)
    assert replace(RGB, chunks=(PLTE, trns, text)).stripped().chunks == (trns,)


def test_differences_are_told():
    gamma, text = Chunk(b"gAMA", b"1234"), Chunk(b"tEXt", b"Title\0x")
    rich = replace(RGB, chunks=(gamma, text))
    assert difference(rich, replace(rich, notes=("anything",))) is None
    for other, words in [
        (replace(rich, pixels=RGB.pixels.transpose(1, 0, 2)), "size 2x4, not 4x2"),
        (Picture(Mode.GREY, 8, RGB.pixels[..., 0]), "mode grey, not RGB"),
        (replace(rich, pixels=RGB.pixels + np.uint8(1)), "other pixels"),
        (replace(rich, chunks=(text,)), "metadata: lacks gamma"),
        (replace(rich, chunks=(gamma, text, Chunk(b"sRGB", b"\0"))), "metadata: has besides sRGB intent"),
        (replace(rich, chunks=(text, gamma)), "metadata: another order"),
    ]:
        assert difference(other, rich) == words


def test_names_of_modes():
    assert mode_name(Mode.RGB, 8) == "RGB"
    assert mode_name(Mode.GREY_ALPHA, 16) == "16-bit grey with alpha"
    assert {mode.channels for mode in DEPTHS} == {1, 2, 3, 4}
