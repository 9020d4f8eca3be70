"""What other formats hold beyond what is kept is named, or refused where it is a picture."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from vdmcompress.errors import DamagedFileError, UnsupportedImageError
from vdmcompress.image_io import read_picture
from vdmcompress.metadata import icc_of, xmp_of

SAMPLES = np.random.default_rng(1).integers(0, 256, (6, 5, 3), dtype=np.uint8)
IMAGE = Image.fromarray(SAMPLES)
XMP_MAGIC = bytes((1, *range(255, -1, -1), 0))


def saved(image=IMAGE, *, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def read(data):
    return read_picture(io.BytesIO(data))


def qoi():
    """Every pixel in full: 0xFE and its colours."""
    pixels = b"".join(b"\xfe" + bytes(p) for p in SAMPLES.reshape(-1, 3))
    return b"qoif" + struct.pack(">IIBB", 5, 6, 3, 0) + pixels + bytes(7) + b"\1"


def plain():
    values = SAMPLES.reshape(-1).astype(int)
    return f"P3 5 6 255\n# Anna's\n{' '.join(map(str, values))}\n".encode()


FILES = {
    "jpeg": saved(form="JPEG"),
    "jpeg with a thumbnail": saved(form="JPEG", exif=b"Exif\0\0" + saved(form="JPEG")),
    "progressive jpeg": saved(form="JPEG", progressive=True),
    "webp": saved(form="WEBP", lossless=True),
    "bmp": saved(form="BMP"),
    "bmp of indices": saved(IMAGE.quantize(9), form="BMP"),
    "bmp of bits": saved(IMAGE.convert("1"), form="BMP"),
    "ppm": saved(form="PPM"),
    "pgm": saved(IMAGE.convert("L"), form="PPM"),
    "pgm of 16 bits": b"P5 3 1 65535\n" + bytes(range(6)),
    "ppm of 16 bits": b"P6 1 1 65535\n" + bytes(range(6)),
    "pgm of 4 bits": b"P5 3 1 15\n" + bytes(range(3)),
    "pbm": saved(IMAGE.convert("1"), form="PPM"),
    "plain ppm": plain(),
    "plain pbm": b"P1 3 2\n010 1 1 0\n",
    "qoi": qoi(),
    "gif": saved(IMAGE.quantize(9), form="GIF"),
}


@pytest.mark.parametrize("name", sorted(FILES.keys() - {"plain pbm"}))
def test_bytes_behind_the_picture_are_named(name):
    data = FILES[name]
    whole = read(data)
    assert whole.lost == ()
    assert read(data + b"\0\0\n").lost == ()
    followed = read(data + b"\nsecret")
    assert np.array_equal(followed.pixels, whole.pixels)
    assert followed.lost == ("6 bytes behind the picture",)


def test_plain_bits_are_followed_by_nothing_else():
    with pytest.raises(DamagedFileError):
        read(FILES["plain pbm"] + b"\nsecret")


@pytest.mark.parametrize("name", [n for n in FILES if "p" in n and FILES[n].startswith(b"P")])
def test_further_ppm_pictures_are_refused(name):
    with pytest.raises(UnsupportedImageError, match="further pictures behind the first"):
        read(FILES[name] + FILES["pgm"])


def test_ppm_comments_are_kept():
    picture = read(b"P5 # by hand\n#second\n 1 1 255\n\7")
    assert [c.data for c in picture.chunks] == [b"Comment\0by hand", b"Comment\0second"]
    assert picture.pixels.tolist() == [[7]]


def gif(*extensions, late=b""):
    data = FILES["gif"]
    at = data.index(b"\x2c\0\0\0\0")
    return data[:at] + b"".join(extensions) + data[at:-1] + late + b";"


def test_gif_profiles_and_all_comments_are_kept():
    comments = b"\x21\xfe\5first\0", b"\x21\xfe\6second\0"
    xmp, icc = b"\x21\xff\x0bXMP DataXMP<x/>" + XMP_MAGIC, b"\x21\xff\x0bICCRGBG1012\3abc\2de\0"
    picture = read(gif(*comments, xmp, late=icc + b"\x21\xfe\5after\0"))
    texts = [c.data for c in picture.chunks if c.kind == b"tEXt"]
    assert texts == [b"Comment\0first", b"Comment\0second", b"Comment\0after"]
    assert xmp_of(picture.chunks) == b"<x/>"
    assert icc_of(picture.chunks) == b"abcde"
    assert picture.lost == ()


def test_other_gif_extensions_are_named():
    text = b"\x21\x01\x0c" + bytes(12) + b"\5hello\0"
    unknown = b"\x21\xff\x0bFRACTINT001\1a\0"
    loops = b"\x21\xff\x0bNETSCAPE2.0\3\1\0\0\0"
    assert read(gif(text, unknown, loops)).lost == (
        "GIF text over the picture",
        "GIF extension 'FRACTINT001'",
    )


def segment(marker, block):
    return bytes((0xFF, marker)) + struct.pack(">H", len(block) + 2) + block


@pytest.mark.parametrize(
    "segments, lost",
    [
        (segment(0xE2, b"ICC_PROFILE\0\1\2" + b"x" * 99), "ICC profile of which parts are missing"),
        (2 * segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<a/>"), "JPEG segment APP1 'http://ns.ad'"),
        (segment(0xE0, b"JFXX\0\x13\1\1abc"), "JPEG segment APP0 'JFXX'"),
    ],
)
def test_jpeg_segments_that_nobody_reads_are_named(segments, lost):
    data = FILES["jpeg"]
    assert read(data[:2] + segments + data[2:]).lost == (lost,)


def test_fourth_bytes_of_bmp_pixels_are_named():
    head = struct.pack("<IiiHHIIiiII", 40, 2, 1, 1, 32, 0, 8, 0, 0, 0, 0)
    head = b"BM" + struct.pack("<IHHI", 62, 0, 0, 54) + head
    assert read(head + b"abc\0def\0").lost == ()
    assert read(head + b"abc\0def\1").lost == ("fourth bytes of the pixels",)


def tiff(reduced, with_sub=True):
    """A grey TIFF of 2x2, perhaps with another of 3x3 in a SubIFD."""

    def directory(side, at, more=()):
        tags = [(256, side), (257, side), (258, 8), (259, 1), (262, 1), (273, at), (277, 1), (278, side)]
        tags = sorted([*tags, (279, side * side), *more])
        return (
            struct.pack("<H", len(tags))
            + b"".join(struct.pack("<HHII", t, 4, 1, v) for t, v in tags)
            + bytes(4)
        )

    more = [(254, 1)] if reduced else []
    first = 8 + 4 + 9
    second = first + len(directory(2, 8, [*more, (330, 0)]))
    own = directory(2, 8, [*more, (330, second)] if with_sub else more)
    return (
        b"II*\0" + struct.pack("<I", first) + bytes(range(13)) + own + (directory(3, 12) if with_sub else b"")
    )


def test_a_preview_is_not_taken_for_the_picture():
    with pytest.raises(UnsupportedImageError, match="SubIFD"):
        read(tiff(reduced=True))
    assert read(tiff(reduced=False)).lost == ("TIFF tag 330",)
    assert read(tiff(reduced=True, with_sub=False)).lost == ()
