"""Images are read as they are or refused by name; what Pillow narrows, turns or drops is made by hand."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.image_files import GREY, RGB, RNG, animation, bmp, chunk, png, saved, tiff
from vdmcompress.chunks import Chunk, describe_chunks
from vdmcompress.errors import DamagedFileError, LimitError, UnsupportedImageError
from vdmcompress.header import Limits
from vdmcompress.image_io import image_picture, read_image, read_picture
from vdmcompress.metadata import exif_of, icc_of, xmp_of
from vdmcompress.picture import Mode

ALPHA = np.dstack((RGB, RNG.integers(0, 256, (7, 5)).astype(np.uint8)))
GREY_ALPHA = ALPHA[..., 2:]
DEEP = RNG.integers(0, 65536, (3, 2, 3)).astype(np.uint16)
INDEXED = Image.fromarray(RGB).quantize(5)
PLTE = chunk(b"PLTE", bytes(range(12)))
DEEP_ROWS = [row.astype(">u2").tobytes() for row in DEEP]


def interlaced_deep():
    """A 16-bit RGB PNG of 2x3 pixels with Adam7 interlacing: passes 1, 5 and 7 hold its rows in parts."""
    values = DEEP.astype(">u2")
    passes = [values[0:1, 0:1], values[0:1, 1:2], values[2:3, 0:1], values[2:3, 1:2], values[1:2, :]]
    raw = b"".join(b"\0" + part.tobytes() for part in (passes[0], passes[2], passes[1], passes[3], passes[4]))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 3, 16, 2, 0, 0, 1))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def ppm(magic, maximum, samples):
    return (
        f"{magic}\n# made here\n{samples.shape[1]} {samples.shape[0]}\n{maximum}\n".encode()
        + samples.tobytes()
    )


READ = {
    "PNG": (saved(RGB, "PNG"), Mode.RGB, 8, RGB),
    "grey PNG": (saved(GREY, "PNG"), Mode.GREY, 8, GREY),
    "PNG by hand": (png(8, 0, [bytes(row) for row in GREY]), Mode.GREY, 8, GREY),
    "alpha": (saved(ALPHA, "PNG"), Mode.RGBA, 8, ALPHA),
    "grey alpha": (saved(GREY_ALPHA, "PNG"), Mode.GREY_ALPHA, 8, GREY_ALPHA),
    "palette": (saved(INDEXED, "PNG"), Mode.PALETTE, 4, np.asarray(INDEXED)),
    "palette of 1 bit": (png(1, 3, [b"\x55"], PLTE), Mode.PALETTE, 1, np.array([[0, 1] * 4], np.uint8)),
    "1 bit": (png(1, 0, [b"\xa0"]), Mode.GREY, 1, np.array([[1, 0, 1, 0, 0, 0, 0, 0]], np.uint8)),
    "2 bits": (png(2, 0, [b"\x1b"]), Mode.GREY, 2, np.array([[0, 1, 2, 3]], np.uint8)),
    "4 bits": (png(4, 0, [b"\x1f"]), Mode.GREY, 4, np.array([[1, 15]], np.uint8)),
    "16-bit grey": (png(16, 0, [b"abcd"]), Mode.GREY, 16, np.array([[0x6162, 0x6364]], np.uint16)),
    "16-bit RGB": (png(16, 2, DEEP_ROWS), Mode.RGB, 16, DEEP),
    "16-bit RGB, interlaced": (interlaced_deep(), Mode.RGB, 16, DEEP),
    "16-bit grey with alpha": (
        png(16, 4, [b"abcd"]),
        Mode.GREY_ALPHA,
        16,
        np.array([[[0x6162, 0x6364]]], np.uint16),
    ),
    "WebP": (saved(RGB, "WEBP", lossless=True, exact=True), Mode.RGB, 8, RGB),
    "WebP with alpha": (saved(ALPHA, "WEBP", lossless=True, exact=True), Mode.RGBA, 8, ALPHA),
    "PPM": (saved(RGB, "PPM"), Mode.RGB, 8, RGB),
    "PGM": (saved(GREY, "PPM"), Mode.GREY, 8, GREY),
    "plain PGM": (b"P2 3 1 255 0 7 255", Mode.GREY, 8, np.array([[0, 7, 255]], np.uint8)),
    "PGM of 4 bits": (ppm("P5", 15, GREY % 16), Mode.GREY, 4, GREY % 16),
    "PGM of 16 bits": (ppm("P5", 65535, DEEP[..., 0].astype(">u2")), Mode.GREY, 16, DEEP[..., 0]),
    "PPM of 16 bits": (ppm("P6", 65535, DEEP.astype(">u2")), Mode.RGB, 16, DEEP),
    "PBM": (b"P4 8 1\n\xa0", Mode.GREY, 1, np.array([[0, 1, 0, 1, 1, 1, 1, 1]], np.uint8)),
    "BMP": (saved(RGB, "BMP"), Mode.RGB, 8, RGB),
    "grey BMP": (saved(GREY, "BMP"), Mode.GREY, 8, GREY),
    "palette BMP": (saved(INDEXED, "BMP"), Mode.PALETTE, 8, np.asarray(INDEXED)),
    "TIFF": (saved(RGB, "TIFF"), Mode.RGB, 8, RGB),
    "TIFF by hand": (
        tiff(8, 3, b"abcdef", 2),
        Mode.RGB,
        8,
        np.frombuffer(b"abcdef", np.uint8).reshape(1, 2, 3),
    ),
    "grey TIFF": (saved(GREY, "TIFF"), Mode.GREY, 8, GREY),
    "4-bit TIFF": (tiff(4, 1, b"\x12", 1), Mode.GREY, 4, np.array([[1, 2]], np.uint8)),
    "1-bit TIFF": (
        saved(Image.fromarray(GREY > 99), "TIFF", compression="group4"),
        Mode.GREY,
        1,
        (GREY > 99) * np.uint8(1),
    ),
    "16-bit RGB TIFF": (
        tiff(16, 3, b"abcdefghijkl", 2),
        Mode.RGB,
        16,
        np.frombuffer(b"abcdefghijkl", "<u2").astype(np.uint16).reshape(1, 2, 3),
    ),
    "TIFF with alpha": (saved(ALPHA, "TIFF"), Mode.RGBA, 8, ALPHA),
    "palette TIFF": (saved(INDEXED, "TIFF"), Mode.PALETTE, 8, np.asarray(INDEXED)),
    "QOI": (saved(RGB, "QOI"), Mode.RGB, 8, RGB),
    "GIF": (saved(INDEXED, "GIF"), Mode.PALETTE, 4, None),
    "grey GIF": (saved(GREY, "GIF"), Mode.PALETTE, 8, None),
}

REFUSED = {
    "APNG": (animation("PNG"), r"2 frames \(APNG\)"),
    "animated WebP": (animation("WEBP"), "2 frames"),
    "pages": (animation("TIFF"), "2 frames or pages"),
    "premultiplied alpha": (
        saved(ALPHA, "TIFF").replace(b"\x52\1\3\0\1\0\0\0\2\0", b"\x52\1\3\0\1\0\0\0\1\0"),
        "extra samples of kind",
    ),
    "critical chunk": (png(8, 0, [b"a"], chunk(b"CgBI", b"")), "unknown critical chunk CgBI"),
    "TGA": (saved(RGB, "TGA"), "format TGA"),
    "CMYK": (saved(Image.new("CMYK", (3, 2)), "TIFF"), "CMYK"),
    "CMYK JPEG": (saved(Image.new("CMYK", (3, 2)), "JPEG"), "CMYK"),
    "float TIFF": (saved(Image.new("F", (3, 2)), "TIFF"), "floating point"),
    "32-bit TIFF": (saved(Image.new("I", (3, 2)), "TIFF"), "signed"),
    "Lab": (saved(Image.new("LAB", (3, 2)), "TIFF"), "CIE Lab"),
    "unknown fourth sample": (tiff(8, 4, bytes(8), 2), "4 samples a pixel"),
    "PPM of few levels": (b"P6 1 1 15 \0\1\2", r"0\.\.15"),
    "PGM of odd levels": (b"P5 1 1 100 \0", r"0\.\.100"),
    "plain PPM of 16 bits": (b"P3 1 1 65535 1 2 3", "plain text"),
    "565 BMP": (bmp(16, (0xF800, 0x7E0, 0x1F), b"\x12\x34\x56\x78"), "BMP of 16 bits"),
    "JPEG XL": (b"\xff\x0a" + bytes(20), "JPEG XL"),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
    "text": (b"this is no image", "no readable image"),
    "nothing": (b"", "the file is empty"),
}


@pytest.mark.parametrize("name", READ)
def test_reads_exactly(name, tmp_path):
    data, mode, depth, expected = READ[name]
    (tmp_path / "image").write_bytes(data)
    for source in (io.BytesIO(data), tmp_path / "image", str(tmp_path / "image")):
        picture = read_picture(source)
        assert (picture.mode, picture.depth) == (mode, depth)
        assert picture.notes == ()
        if expected is not None:
            assert picture.pixels.dtype == expected.dtype
            assert np.array_equal(picture.pixels, expected)
        else:
            with Image.open(io.BytesIO(data)) as image:
                assert np.array_equal(picture.array(), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_by_name(name):
    data, words = REFUSED[name]
    with pytest.raises(UnsupportedImageError, match=words) as caught:
        read_picture(io.BytesIO(data))
    assert caught.value.exit_code == 2
    assert name == "nothing" or "convert it" in str(caught.value)


def test_palettes_come_with_their_colours():
    for name in ("palette", "palette BMP", "palette TIFF", "GIF"):
        picture = read_picture(io.BytesIO(READ[name][0]))
        assert np.array_equal(picture.array(), np.asarray(INDEXED.convert("RGB"))), name


def test_a_still_gif_keeps_transparency_and_comment():
    data = saved(INDEXED, "GIF", transparency=3, comment=b"mine")
    picture = read_picture(io.BytesIO(data))
    assert picture.chunks[1:] == (Chunk(b"tRNS", b"\xff\xff\xff\0"), Chunk(b"tEXt", b"Comment\0mine"))
    with Image.open(io.BytesIO(data)) as image:
        alpha = np.asarray(image.convert("RGBA"))[..., 3]
    assert np.array_equal(picture.array()[..., 3], alpha)


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_orientation_is_kept_and_never_applied(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    for format in ("TIFF", "JPEG", "WEBP", "PNG"):
        picture = read_picture(io.BytesIO(saved(RGB, format, exif=exif)))
        assert picture.pixels.shape == RGB.shape, format
        if format in ("TIFF", "PNG"):
            assert np.array_equal(picture.pixels, RGB), format
        found = Image.Exif()
        found.load(exif_of(picture.chunks))
        assert found[274] == orientation, format


def test_reads_jpeg_as_decoded_and_says_so():
    data = saved(RGB, "JPEG")
    picture = read_picture(io.BytesIO(data))
    assert np.array_equal(picture.pixels, np.asarray(Image.open(io.BytesIO(data))))
    (note,) = picture.notes
    assert "the pixels are kept, not the lossy file" in note
    assert "lossy" in read_picture(io.BytesIO(saved(RGB, "WEBP"))).notes[0]


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "BMP", "JPEG", "PPM", "GIF"])
def test_cut_images_are_damaged(format):
    data = saved(RNG.integers(0, 256, (40, 40, 3)).astype(np.uint8), format)
    with pytest.raises((DamagedFileError, UnsupportedImageError)):
        read_picture(io.BytesIO(data[: len(data) * 2 // 3]))
    if format == "PNG":
        with pytest.raises(DamagedFileError, match="damaged image"):
            read_picture(io.BytesIO(data[: len(data) * 2 // 3]))


def test_missing_files_are_the_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_picture(tmp_path / "missing.png")


def test_limits():
    data = saved(RGB, "PNG")
    assert read_image(io.BytesIO(data), Limits(max_pixels=35)).shape == (7, 5, 3)
    for format in ("PNG", "BMP"):
        with pytest.raises(LimitError, match="5x7 pixels, allowed are 34"):
            read_picture(io.BytesIO(saved(RGB, format)), Limits(max_pixels=34))
    bomb = png(8, 0, [b"a"]).replace(struct.pack(">II", 1, 1), struct.pack(">II", 2**20, 2**20))
    bomb = bomb[:29] + struct.pack(">I", zlib.crc32(bomb[12:29])) + bomb[33:]
    with pytest.raises(LimitError, match="too large"):
        read_picture(io.BytesIO(bomb))


def test_too_much_metadata_is_beyond_a_limit():
    data = png(8, 0, [b"a"], *[chunk(b"prVt", bytes(2**22))] * 4, chunk(b"tEXt", b"a\0b"))
    with pytest.raises(LimitError, match="metadata of 16777219 bytes"):
        read_picture(io.BytesIO(data))


def test_read_image_takes_plain_pixels_only():
    assert np.array_equal(read_image(io.BytesIO(saved(RGB, "PNG"))), RGB)
    transparent = png(8, 2, [b"abc"], chunk(b"tRNS", b"\0a\0b\0c"))
    for data, words in (
        (saved(ALPHA, "PNG"), "with alpha"),
        (transparent, "tRNS"),
        (READ["4 bits"][0], "4-bit grey"),
    ):
        with pytest.raises(UnsupportedImageError, match=words):
            read_image(io.BytesIO(data))


def test_metadata_of_others_is_kept():
    exif = Image.Exif()
    exif[306] = "2026:01:02 03:04:05"
    how = {"icc_profile": b"profile" * 20000, "exif": exif, "xmp": b"<x/>"}
    for format in ("JPEG", "WEBP", "PNG"):
        options = {"dpi": (300, 300), "comment": b"caf\xc3\xa9"} if format == "JPEG" else {}
        how["icc_profile"] = b"profile" * (2000 if format == "JPEG" else 20000)
        with io.BytesIO(saved(RGB, format, **how, **options)) as file:
            picture = read_picture(file)
        if format != "PNG":
            assert icc_of(picture.chunks) == how["icc_profile"], format
            assert xmp_of(picture.chunks) == b"<x/>", format
        assert exif_of(picture.chunks) == exif.tobytes().removeprefix(b"Exif\0\0"), format
        names = dict(describe_chunks(picture.chunks))
        assert ("resolution" in names and "text 'Comment'" in names) == (format == "JPEG")
    tags = {270: "a title\xa8", 282: 72.5, 283: 72.5, 296: 2}
    picture = read_picture(
        io.BytesIO(saved(RGB, "TIFF", tiffinfo=tags | {270: b"a title\xa8"}, icc_profile=b"profile"))
    )
    found = Image.Exif()
    found.load(exif_of(picture.chunks))
    assert {tag: found[tag] for tag in tags} == tags
    assert icc_of(picture.chunks) == b"profile"
    assert Chunk(b"pHYs", struct.pack(">IIB", 2854, 2854, 1)) in picture.chunks


def test_broken_exif_is_kept_as_it_is():
    data = saved(RGB, "JPEG", exif=b"Exif\0\0garbage that is no TIFF")
    assert exif_of(read_picture(io.BytesIO(data)).chunks) == b"garbage that is no TIFF"


def test_chunks_are_kept_in_order_with_what_follows():
    early = [(b"gAMA", b"\0\0\xb1\x8f"), (b"prVt", b""), (b"tRNS", b"\0a\0b\0c"), (b"tEXt", b"A\0b")]
    late = [(b"tIME", b"1234567"), (b"tEXt", b"A\0b")]
    data = png(8, 2, [b"abc"], *(chunk(*c) for c in early), after=[chunk(*c) for c in late]) + b"tail"
    expected = [Chunk(*c) for c in early] + [Chunk(*c, late=True) for c in (*late, (b"IEND", b"tail"))]
    assert read_picture(io.BytesIO(data)).chunks == tuple(expected)


def test_pillow_images():
    for source in (RGB, GREY, ALPHA, GREY_ALPHA):
        assert np.array_equal(image_picture(Image.fromarray(source)).pixels, source)
    deep = image_picture(Image.fromarray(DEEP[..., 0]))
    assert (deep.depth, deep.fault()) == (16, None)
    assert np.array_equal(deep.pixels, DEEP[..., 0])
    bits = image_picture(Image.fromarray(GREY > 99))
    assert (bits.depth, bits.pixels.max()) == (1, 1)
    indexed = INDEXED.copy()
    indexed.info = {"transparency": 1, "icc_profile": b"profile", "dpi": (72, 72)}
    picture = image_picture(indexed)
    assert picture.fault() is None
    assert np.array_equal(picture.array()[..., :3], RGB_OF_INDEXED)
    assert picture.array()[..., 3].min() == 0
    assert icc_of(picture.chunks) == b"profile"
    transparent = Image.fromarray(RGB)
    transparent.info["transparency"] = (1, 2, 3)
    assert image_picture(transparent).chunks == (Chunk(b"tRNS", b"\0\1\0\2\0\3"),)
    for mode in ("CMYK", "F", "I", "YCbCr"):
        with pytest.raises(UnsupportedImageError, match=f"mode {mode}"):
            image_picture(Image.new(mode, (2, 2)))


RGB_OF_INDEXED = np.asarray(INDEXED.convert("RGB"))
