"""Images are read as they are or refused by name; what Pillow narrows or drops unnoticed is made by hand."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from vdmcompress.container import Limits
from vdmcompress.errors import DamagedFileError, LimitError, UnsupportedImageError, UsageError
from vdmcompress.image_io import describe_metadata, image_pixels, read_image, write_image

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (7, 5, 3)).astype(np.uint8)
GREY = RNG.integers(0, 256, (5, 6)).astype(np.uint8)


def saved(image, format, **options):
    out = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(out, format, **options)
    return out.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(depth, colour, rows, *chunks, after=()):
    """A PNG of raw rows (without filter bytes); chunks go before the pixels."""
    width = len(rows[0]) * 8 // (depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour])
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)),
            *chunks,
            chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))),
            *after,
            chunk(b"IEND", b""),
        )
    )


def tiff(bits, samples, data, photometric):
    """An uncompressed little-endian TIFF of one 2x1 strip."""
    entries = [
        (256, 3, 1, 2),
        (257, 3, 1, 1),
        (259, 3, 1, 1),
        (262, 3, 1, photometric),
        (273, 4, 1, 8),
        (277, 3, 1, samples),
        (278, 3, 1, 1),
        (279, 4, 1, len(data)),
    ]
    extra = 8 + len(data)
    entries.insert(
        2, (258, 3, samples, extra if samples > 2 else bits | bits << 16 if samples == 2 else bits)
    )
    if samples in (2, 4):
        entries.append((338, 3, 1, 0))
    table = extra + 2 * samples
    body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<I", table) + data + struct.pack("<H", bits) * samples + body + bytes(4)


def bmp(bits, masks, data):
    """A bottom-up BMP of 2x1 pixels with bit masks."""
    header = struct.pack("<IiiHHIIiiII", 40, 2, 1, 1, bits, 3, len(data), 0, 0, 0, 0)
    start = 14 + len(header) + 4 * len(masks)
    head = b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start)
    return head + header + struct.pack(f"<{len(masks)}I", *masks) + data


def animation(format):
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    return saved(frames[0], format, save_all=True, append_images=frames[1:], lossless=True)


READ = {
    "PNG": (saved(RGB, "PNG"), RGB),
    "grey PNG": (saved(GREY, "PNG"), GREY),
    "PNG by hand": (png(8, 0, [bytes(row) for row in GREY]), GREY),
    "WebP": (saved(RGB, "WEBP", lossless=True, exact=True), RGB),
    "PPM": (saved(RGB, "PPM"), RGB),
    "PGM": (saved(GREY, "PPM"), GREY),
    "plain PGM": (b"P2 3 1 255 0 7 255", np.array([[0, 7, 255]], np.uint8)),
    "BMP": (saved(RGB, "BMP"), RGB),
    "grey BMP": (saved(GREY, "BMP"), GREY),
    "TIFF": (saved(RGB, "TIFF"), RGB),
    "TIFF by hand": (tiff(8, 3, b"abcdef", 2), np.frombuffer(b"abcdef", np.uint8).reshape(1, 2, 3)),
    "grey TIFF": (saved(GREY, "TIFF"), GREY),
    "QOI": (saved(RGB, "QOI"), RGB),
}

REFUSED = {
    "1 bit": (saved(Image.new("1", (3, 2)), "PNG"), "1-bit"),
    "palette": (saved(Image.fromarray(RGB).quantize(4), "PNG"), "palette"),
    "grey alpha": (saved(Image.new("LA", (3, 2)), "PNG"), "grey with alpha"),
    "alpha": (saved(Image.new("RGBA", (3, 2)), "PNG"), "RGB with alpha"),
    "opaque alpha": (saved(Image.new("RGBA", (3, 2), "red"), "PNG"), "RGB with alpha"),
    "alpha in WebP": (
        saved(Image.new("RGBA", (3, 2), (1, 2, 3, 4)), "WEBP", lossless=True),
        "RGB with alpha",
    ),
    "16-bit grey": (saved(Image.new("I;16", (3, 2)), "PNG"), "16-bit grey"),
    "16-bit RGB": (png(16, 2, [bytes(12)]), r"not 8 bits \(RGB;16B\)"),
    "2-bit grey": (png(2, 0, [b"\x1b"]), r"not 8 bits \(L;2\)"),
    "4-bit grey": (png(4, 0, [b"\x1b"]), r"not 8 bits \(L;4\)"),
    "transparent colour": (png(8, 2, [b"abc"], chunk(b"tRNS", b"\0a\0b\0c")), "tRNS"),
    "transparent grey": (png(8, 0, [b"abc"], chunk(b"tRNS", b"\0a")), "tRNS"),
    "APNG": (animation("PNG"), "2 frames"),
    "animated WebP": (animation("WEBP"), "2 frames"),
    "pages": (animation("TIFF"), "2 frames or pages"),
    "GIF": (saved(GREY, "GIF"), "format GIF"),
    "CMYK": (saved(Image.new("CMYK", (3, 2)), "TIFF"), "CMYK"),
    "16-bit RGB TIFF": (tiff(16, 3, bytes(12), 2), "16/16/16 bits"),
    "4-bit TIFF": (tiff(4, 1, b"\x12", 1), "4 bits"),
    "float TIFF": (saved(Image.new("F", (3, 2)), "TIFF"), "floating point"),
    "PPM of 16 bits": (b"P6 1 1 65535 abcdef", r"0\.\.65535"),
    "PPM of few levels": (b"P6 1 1 15 \0\1\2", r"0\.\.15"),
    "PGM of 16 bits": (b"P5 1 1 65535 ab", "integer"),
    "plain PGM of few levels": (b"P2 2 1 7 0 7", r"0\.\.7"),
    "565 BMP": (bmp(16, (0xF800, 0x7E0, 0x1F), b"\x12\x34\x56\x78"), "BGR;16"),
    "text": (b"this is no image", "no readable image"),
    "nothing": (b"", "no readable image"),
}


@pytest.mark.parametrize("name", READ)
def test_reads_exactly(name, tmp_path):
    data, expected = READ[name]
    (tmp_path / "image").write_bytes(data)
    for source in (io.BytesIO(data), tmp_path / "image", str(tmp_path / "image")):
        pixels = read_image(source)
        assert pixels.dtype == np.uint8
        assert pixels.shape == expected.shape
        assert np.array_equal(pixels, expected)
    assert describe_metadata(io.BytesIO(data)) == ()


def test_reads_jpeg_as_decoded():
    data = saved(RGB, "JPEG")
    assert np.array_equal(read_image(io.BytesIO(data)), np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_by_name(name):
    data, words = REFUSED[name]
    with pytest.raises(UnsupportedImageError, match=words) as caught:
        read_image(io.BytesIO(data))
    assert "read are" in str(caught.value) or "allowed are" in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "BMP", "JPEG", "PPM"])
def test_cut_images_are_damaged(format):
    data = saved(RNG.integers(0, 256, (40, 40, 3)).astype(np.uint8), format)
    with pytest.raises((DamagedFileError, UnsupportedImageError)):
        read_image(io.BytesIO(data[: len(data) * 2 // 3]))
    if format == "PNG":
        with pytest.raises(DamagedFileError, match="damaged image"):
            read_image(io.BytesIO(data[: len(data) * 2 // 3]))


def test_missing_files_are_the_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "missing.png")


def test_limits():
    data = saved(RGB, "PNG")
    assert read_image(io.BytesIO(data), Limits(max_pixels=35)).shape == (7, 5, 3)
    with pytest.raises(LimitError, match="5x7 pixels, allowed are 34"):
        read_image(io.BytesIO(data), Limits(max_pixels=34))
    bomb = png(8, 0, [b"a"]).replace(struct.pack(">II", 1, 1), struct.pack(">II", 2**20, 2**20))
    bomb = bomb[:29] + struct.pack(">I", zlib.crc32(bomb[12:29])) + bomb[33:]
    with pytest.raises(LimitError, match="too large"):
        read_image(io.BytesIO(bomb))


def test_pillow_images():
    assert np.array_equal(image_pixels(Image.fromarray(RGB)), RGB)
    assert np.array_equal(image_pixels(Image.fromarray(GREY)), GREY)
    for mode, words in (("P", "palette"), ("RGBA", "alpha"), ("I;16", "16-bit")):
        with pytest.raises(UnsupportedImageError, match=words):
            image_pixels(Image.new(mode, (2, 2)))
    transparent = Image.open(io.BytesIO(REFUSED["transparent colour"][0]))
    with pytest.raises(UnsupportedImageError, match="transparent colour"):
        image_pixels(transparent)


@pytest.mark.parametrize("pixels", [RGB, GREY], ids=["RGB", "grey"])
@pytest.mark.parametrize("format", ["png", "webp", "ppm"])
def test_written_images_read_the_same(pixels, format):
    out = io.BytesIO()
    write_image(pixels, out, format)
    out.seek(0)
    found = read_image(out)
    if format == "webp" and pixels.ndim == 2:  # WebP knows no grey
        found = found[:, :, 0]
    assert np.array_equal(found, pixels)


def test_netpbm_kinds():
    for pixels, magic in ((RGB, b"P6"), (GREY, b"P5")):
        out = io.BytesIO()
        write_image(pixels, out, "ppm")
        assert out.getvalue().startswith(magic)


def test_formats_that_are_not_written():
    with pytest.raises(UsageError, match="allowed are png, webp and ppm"):
        write_image(RGB, io.BytesIO(), "jpeg")
    with pytest.raises(LimitError, match="16383 a side"):
        write_image(np.zeros((1, 16384), np.uint8), io.BytesIO(), "webp")


def test_metadata_of_png_by_name():
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "a")
    info.add_itxt("XML:com.adobe.xmp", "<x/>")
    exif = Image.Exif()
    exif[274] = 6
    data = saved(RGB, "PNG", pnginfo=info, icc_profile=b"profile", exif=exif, dpi=(300, 300))
    assert set(describe_metadata(io.BytesIO(data))) == {
        "ICC profile",
        "text 'Title'",
        "XMP",
        "EXIF",
        "resolution",
        "EXIF orientation 6 (viewers will show the picture turned or mirrored)",
    }
    late = png(
        8, 2, [b"abc"], chunk(b"cICP", b"\1\2\0\1"), after=[chunk(b"tEXt", b"Late\0x"), chunk(b"prVt", b"")]
    )
    assert describe_metadata(io.BytesIO(late)) == ("colour space code (cICP)", "text 'Late'", "chunk prVt")


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
def test_metadata_of_others_by_name(format):
    exif = Image.Exif()
    exif[274] = 3
    options = {"dpi": (300, 300)} if format == "JPEG" else {}
    found = describe_metadata(
        io.BytesIO(saved(RGB, format, icc_profile=b"profile", exif=exif, xmp=b"<x/>", **options))
    )
    assert {"ICC profile", "EXIF", "XMP"} <= set(found)
    assert any("orientation 3" in name for name in found)
    assert ("resolution 300x300 dpi" in found) == (format == "JPEG")


def test_broken_exif_is_only_named():
    data = saved(RGB, "JPEG", exif=b"Exif\0\0garbage that is no TIFF")
    assert describe_metadata(io.BytesIO(data)) == ("EXIF",)
    assert read_image(io.BytesIO(data)).shape == RGB.shape
