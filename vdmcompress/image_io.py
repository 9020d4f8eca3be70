"""Images in and out: 8-bit grey and RGB are read, everything else is refused by name, never converted.

Pillow narrows, expands or drops without a word (16-bit RGB to 8 bits, 2-bit grey to 8, tRNS, further frames):
what it met in the file is asked for, not only the mode that it makes of it.
"""

import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from vdmcompress.container import DEFAULT_LIMITS, Limits
from vdmcompress.errors import DamagedFileError, LimitError, UnsupportedImageError, UsageError, VdmError

__all__ = ["DECODER_ERRORS", "WEBP_SIDE", "describe_metadata", "image_pixels", "read_image", "write_image"]

Pixels: TypeAlias = NDArray[np.uint8]
Source: TypeAlias = str | os.PathLike[str] | BinaryIO

WEBP_SIDE: Final = 16383
"""Most pixels that a WebP has on a side."""

DECODER_ERRORS: Final = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    EOFError,
    struct.error,
    zlib.error,
)
"""What Pillow raises on damaged input."""

_FORMATS: Final = ("BMP", "JPEG", "PNG", "PPM", "QOI", "TIFF", "WEBP")
_ALLOWED: Final = (
    "allowed are 8-bit grey and 8-bit RGB without transparency; convert it, e.g. to an 8-bit PNG"
)
_MODES: Final = {
    "1": "1-bit",
    "P": "palette",
    "PA": "palette with alpha",
    "LA": "grey with alpha",
    "RGBA": "RGB with alpha",
    "CMYK": "CMYK",
    "YCbCr": "YCbCr",
    "LAB": "CIE Lab",
    "HSV": "HSV",
    "I": "16-bit or 32-bit integer",
    "F": "floating point",
}
_TIFF_BITS, _TIFF_SAMPLES, _TIFF_EXTRA = 258, 277, 338
_EXIF_ORIENTATION = 274
_UPRIGHT = 1
_USUAL_DPI = (1, 72, 96)


def read_image(source: Source, limits: Limits = DEFAULT_LIMITS) -> Pixels:
    """Pixels uint8 (H, W) or (H, W, 3) of a still 8-bit grey or RGB image, exactly as the file holds them.

    Raises UnsupportedImageError for every other kind, DamagedFileError for an image that cannot be decoded
    whole, LimitError for one beyond the limits (or Pillow's own), OSError where the file cannot be opened.
    """
    with _opened(source) as image:
        _check_size(image.size, limits)
        _refuse(image)
        image.load()
        return np.array(image)


def image_pixels(image: Image.Image) -> Pixels:
    """Pixels uint8 (H, W) or (H, W, 3) of a Pillow image; UnsupportedImageError for modes but L and RGB."""
    if image.mode not in ("L", "RGB") or "transparency" in image.info:
        raise _unsupported("a transparent colour" if image.mode in ("L", "RGB") else _kind_of_mode(image))
    return np.array(image)


def write_image(pixels: Pixels, fp: BinaryIO, format: str) -> None:
    """Write pixels uint8 (H, W) or (H, W, 3) losslessly as "png", "webp" or "ppm" (grey: a PGM).

    Raises UsageError for another format, LimitError for an image that the format cannot hold.
    """
    image = Image.fromarray(pixels)
    if format == "png":
        image.save(fp, "PNG")
    elif format == "webp":
        if max(image.size) > WEBP_SIDE:
            raise LimitError(
                f"image of {image.width}x{image.height}, WebP allows {WEBP_SIDE} a side; write a PNG"
            )
        image.save(fp, "WEBP", lossless=True, exact=True)
    elif format == "ppm":
        image.save(fp, "PPM")
    else:
        raise UsageError(f"format {format!r} is not written; allowed are png, webp and ppm")


def describe_metadata(source: Source) -> tuple[str, ...]:
    """What an image carries beside its pixels, by name, in a few words each; none of it is kept yet.

    Raises like read_image for files that are no images.
    """
    with _opened(source) as image:
        found = list(_png_chunks(image)) if image.format == "PNG" else list(_info(image))
        orientation = _orientation(image)
        if orientation != _UPRIGHT:
            found.append(f"EXIF orientation {orientation} (viewers will show the picture turned or mirrored)")
        return tuple(dict.fromkeys(found))


@contextmanager
def _opened(source: Source) -> Iterator[Image.Image]:
    """The image of a path or of a binary file, with Pillow's errors turned into ours."""
    if isinstance(source, str | os.PathLike):
        with open(source, "rb") as file, _opened(file) as image:
            yield image
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # of sizes, which are checked here, and of metadata, which are not kept
            with Image.open(source) as image:
                yield image
    except VdmError:
        raise
    except Image.DecompressionBombError as error:
        raise LimitError(f"image too large: {error}; cut it into parts") from error
    except UnidentifiedImageError as error:
        raise UnsupportedImageError(
            f"no readable image (unknown, empty or broken at its start); read are {', '.join(_FORMATS)}"
        ) from error
    except DECODER_ERRORS as error:
        raise DamagedFileError(f"damaged image: {error}; get another copy of it") from error


def _check_size(size: tuple[int, int], limits: Limits) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        raise LimitError(
            f"image of {width}x{height} pixels, allowed are {limits.max_pixels} in all; cut it into parts"
        )


def _refuse(image: Image.Image) -> None:
    """Raise UnsupportedImageError unless every sample of the file is 8 bits of a grey or RGB pixel."""
    if image.format not in _FORMATS:
        raise UnsupportedImageError(
            f"unsupported image: format {image.format}; read are {', '.join(_FORMATS)}; convert it to PNG"
        )
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise _unsupported(f"{frames} frames or pages")
    if image.mode not in ("L", "RGB"):
        raise _unsupported(_kind_of_mode(image))
    if "transparency" in image.info:
        raise _unsupported("a transparent colour (tRNS)")
    stored = _stored_otherwise(image)
    if stored is not None:
        raise _unsupported(stored)


def _kind_of_mode(image: Image.Image) -> str:
    if image.mode.startswith("I;16"):
        return "16-bit grey"
    return _MODES.get(image.mode, f"mode {image.mode}")


def _stored_otherwise(image: Image.Image) -> str | None:
    """How the file stores samples that are not whole 8-bit values of Pillow's mode; None where they are."""
    if image.format == "TIFF":
        tags = getattr(image, "tag_v2", {})
        bits, samples = tuple(tags.get(_TIFF_BITS, (1,))), tags.get(_TIFF_SAMPLES, 1)
        if set(bits) != {8}:
            return f"samples of {'/'.join(map(str, bits))} bits"
        if samples != len(image.getbands()) or _TIFF_EXTRA in tags:
            return f"{samples} samples a pixel"
        return None
    if image.format not in ("PNG", "BMP", "PPM"):  # the others' decoders know 8-bit samples only
        return None
    sound = {"PNG": ("L", "RGB"), "PPM": ("L", "RGB"), "BMP": ("L", "BGR", "BGRX")}[image.format]
    for tile in getattr(image, "tile", []):
        raw, *rest = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        if raw not in sound:
            return f"samples that are not 8 bits ({raw})"
        if tile[0].startswith("ppm") and rest != [255]:
            return f"samples of 0..{rest[0]}"
    return None


def _unsupported(met: str) -> UnsupportedImageError:
    return UnsupportedImageError(f"unsupported image: {met}; {_ALLOWED}")


_CHUNKS: Final = {
    b"iCCP": "ICC profile",
    b"eXIf": "EXIF",
    b"gAMA": "gamma",
    b"cHRM": "chromaticities",
    b"sRGB": "sRGB intent",
    b"cICP": "colour space code (cICP)",
    b"pHYs": "resolution",
    b"tIME": "modification time",
    b"bKGD": "background colour",
    b"sBIT": "significant bits",
}
_TEXT_CHUNKS: Final = (b"tEXt", b"zTXt", b"iTXt")
_PNG_SIGNATURE_BYTES = 8
_XMP_KEYWORD = "XML:com.adobe.xmp"


def _png_chunks(image: Image.Image) -> Iterator[str]:
    """Names of the ancillary chunks, those after the pixels and unknown ones included."""
    file = image.fp if isinstance(image, ImageFile.ImageFile) else None
    if file is None:
        return
    file.seek(_PNG_SIGNATURE_BYTES)
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        after = file.tell() + length + 4
        if kind in _TEXT_CHUNKS:
            keyword = file.read(min(length, 79)).split(b"\0")[0].decode("latin-1")
            yield "XMP" if keyword == _XMP_KEYWORD else f"text {keyword!r}"
        elif kind in _CHUNKS:
            yield _CHUNKS[kind]
        elif kind[0] & 0x20 and kind.isalpha() and kind != b"tRNS":
            yield f"chunk {kind.decode('ascii')}"
        elif kind == b"IEND":
            return
        file.seek(after)


def _info(image: Image.Image) -> Iterator[str]:
    """Names of what Pillow found in a file of another format."""
    for key, name in (
        ("icc_profile", "ICC profile"),
        ("exif", "EXIF"),
        ("xmp", "XMP"),
        ("photoshop", "Photoshop or IPTC resources"),
        ("comment", "comment"),
    ):
        if image.info.get(key):
            yield name
    dpi = image.info.get("dpi", _USUAL_DPI[:1])
    if any(round(float(value)) not in _USUAL_DPI for value in dpi):
        yield f"resolution {'x'.join(f'{float(value):g}' for value in dpi)} dpi"


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 (upright) where there is none or it is broken."""
    exif = image.info.get("exif")
    if not exif:
        return _UPRIGHT
    try:
        parsed = Image.Exif()
        parsed.load(exif)
        value = parsed.get(_EXIF_ORIENTATION, _UPRIGHT)
    except DECODER_ERRORS:
        return _UPRIGHT
    return value if isinstance(value, int) and 2 <= value <= 8 else _UPRIGHT
