"""Pictures are written so that they read the same, or refused by name; what is dropped is named."""

import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.image_files import GREY, RGB
from vdmcompress.chunks import Chunk
from vdmcompress.errors import LimitError, UnsupportedImageError, UsageError
from vdmcompress.image_io import read_picture
from vdmcompress.image_output import check_format, check_suffix, ppm_suffix, write_picture
from vdmcompress.metadata import exif_chunk, icc_chunk, xmp_chunk
from vdmcompress.picture import DEPTHS, Mode, Picture, array_picture, difference
from vdmcompress.png import png_of

PLTE = Chunk(b"PLTE", bytes(range(48)))
EXIF = b"II*\0\x08\0\0\0\0\0\0\0\0\0"
METADATA = (icc_chunk(b"profile"), exif_chunk(EXIF), xmp_chunk(b"<x/>"))
ALL = [(mode, depth) for mode, depths in DEPTHS.items() for depth in depths]


def picture_of(mode, depth, height=5, width=7, chunks=()):
    rng = np.random.default_rng(depth + mode)
    shape = (height, width, mode.channels)[: 2 if mode.channels == 1 else 3]
    pixels = rng.integers(0, min(2**depth, 16 if mode is Mode.PALETTE else 2**depth), shape)
    if mode is Mode.PALETTE:
        chunks = (PLTE, *chunks)
    return Picture(mode, depth, pixels.astype(np.uint16 if depth == 16 else np.uint8), tuple(chunks))


@pytest.mark.parametrize("mode, depth", ALL)
def test_png_holds_everything(mode, depth):
    late = Chunk(b"tEXt", b"a\0b", late=True)
    picture = picture_of(mode, depth, chunks=(Chunk(b"gAMA", b"1234"), *METADATA, late))
    assert picture.fault() is None
    data, lost = write_picture(picture, "png")
    assert lost == ()
    assert difference(read_picture(io.BytesIO(data)), picture) is None
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        assert image.info["icc_profile"] == b"profile"
        assert image.info["xmp"] == b"<x/>"
        if depth <= 8:
            assert np.array_equal(np.asarray(image.convert("RGB")), rgb_of(picture))


def rgb_of(picture):
    array = picture.array()
    if array.ndim == 2 or array.shape[2] == 2:
        return np.dstack([array if array.ndim == 2 else array[..., 0]] * 3)
    return array[..., :3]


@given(st.data())
def test_png_of_any_size(data):
    mode, depth = data.draw(st.sampled_from(ALL))
    picture = picture_of(mode, depth, data.draw(st.integers(1, 20)), data.draw(st.integers(1, 20)))
    written, _ = write_picture(picture, "png")
    assert difference(read_picture(io.BytesIO(written)), picture) is None
    assert len(png_of(picture.pixels, mode, depth)) <= len(written)


@pytest.mark.parametrize("mode", [Mode.GREY, Mode.RGB, Mode.GREY_ALPHA, Mode.RGBA])
def test_webp_holds_8_bits_and_three_blocks(mode):
    picture = picture_of(
        mode, 8, chunks=(Chunk(b"gAMA", b"1234"), *METADATA, Chunk(b"iTXt", b"t" + bytes(6)))
    )
    if mode in (Mode.GREY_ALPHA, Mode.RGBA):
        picture.pixels[0, :, -1] = 0
    data, lost = write_picture(picture, "webp")
    assert lost == ("gamma", "text 't'")
    found = read_picture(io.BytesIO(data))
    assert found.mode is (Mode.RGBA if mode in (Mode.GREY_ALPHA, Mode.RGBA) else Mode.RGB)
    assert np.array_equal(found.pixels[..., :3], rgb_of(picture))
    if mode in (Mode.GREY_ALPHA, Mode.RGBA):
        assert np.array_equal(found.pixels[..., 3], picture.pixels[..., -1])
    assert found.chunks == METADATA


@pytest.mark.parametrize(
    "mode, depth", [(Mode.GREY, d) for d in DEPTHS[Mode.GREY]] + [(Mode.RGB, 8), (Mode.RGB, 16)]
)
def test_ppm_holds_grey_and_rgb(mode, depth):
    picture = picture_of(mode, depth, chunks=METADATA)
    data, lost = write_picture(picture, "ppm")
    assert lost == ("ICC profile", "EXIF", "XMP")
    assert difference(read_picture(io.BytesIO(data)), replace(picture, chunks=())) is None
    assert data[:2] == {".pbm": b"P4", ".pgm": b"P5", ".ppm": b"P6"}[ppm_suffix(mode, depth)]


@pytest.mark.parametrize(
    "picture, format, words",
    [
        (picture_of(Mode.PALETTE, 8), "webp", "WebP cannot hold palette"),
        (picture_of(Mode.RGB, 16), "webp", "WebP cannot hold 16-bit RGB"),
        (picture_of(Mode.GREY, 1), "webp", "WebP cannot hold 1-bit grey"),
        (picture_of(Mode.RGB, 8, chunks=[Chunk(b"tRNS", bytes(6))]), "webp", "transparent colour"),
        (picture_of(Mode.PALETTE, 4), "ppm", "PPM cannot hold 4-bit palette"),
        (picture_of(Mode.RGBA, 8), "ppm", "PPM cannot hold RGB with alpha"),
        (picture_of(Mode.GREY, 8, chunks=[Chunk(b"tRNS", bytes(2))]), "ppm", "transparent colour"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(picture, format, words):
    for refuse in (check_format, write_picture):
        with pytest.raises(UnsupportedImageError, match=f"{words}.*write a PNG"):
            refuse(picture, format)


@pytest.mark.parametrize(
    "suffix, mode, depth, words",
    [
        (".pgm", Mode.RGB, 8, "PGM cannot hold RGB; name the file .ppm"),
        (".PBM", Mode.RGB, 16, "PBM cannot hold 16-bit RGB; name the file .ppm"),
        (".pbm", Mode.GREY, 8, "PBM cannot hold grey; name the file .pgm"),
    ],
)
def test_a_suffix_that_promises_less_is_refused(suffix, mode, depth, words):
    with pytest.raises(UnsupportedImageError, match=words):
        check_suffix(suffix, mode, depth)


@pytest.mark.parametrize(
    "suffix, mode, depth",
    [
        (".ppm", Mode.GREY, 1),
        (".pgm", Mode.GREY, 1),
        (".pgm", Mode.GREY, 16),
        (".pnm", Mode.RGB, 8),
        ("", Mode.RGB, 8),
    ],
)
def test_a_suffix_that_promises_more_is_taken(suffix, mode, depth):
    check_suffix(suffix, mode, depth)


def test_large_sides_and_unknown_formats_are_refused():
    wide = array_picture(np.zeros((1, 16384), np.uint8))
    with pytest.raises(LimitError, match="16384x1, WebP allows 16383"):
        write_picture(wide, "webp")
    assert write_picture(wide, "png")
    with pytest.raises(UsageError, match="'jpeg' is not written; allowed are png, webp, ppm"):
        write_picture(array_picture(RGB), "jpeg")


def test_grey_ppm_by_hand():
    data, _ = write_picture(array_picture(GREY), "ppm")
    assert data == b"P5\n6 5\n255\n" + GREY.tobytes()
