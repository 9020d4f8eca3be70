"""Image files in and out: what can be kept exactly becomes a picture, everything else is refused by name."""

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from vdmcompress.chunks import MAX_METADATA, Chunk, find_chunk
from vdmcompress.errors import (
    DECODER_ERRORS,
    DamagedFileError,
    LimitError,
    UnsupportedImageError,
    VdmError,
)
from vdmcompress.header import DEFAULT_LIMITS, Limits
from vdmcompress.metadata import resolution_chunk, standard_chunks
from vdmcompress.other_files import FORMATS, picture_of_file, samples_of, unsupported
from vdmcompress.picture import Mode, Picture
from vdmcompress.png import SIGNATURE, parse_png, png_samples, png_size

__all__ = ["image_picture", "read_image", "read_picture"]

Source: TypeAlias = str | os.PathLike[str] | BinaryIO

_PNG_CRITICAL: Final = (b"PLTE", b"IEND")
_FOREIGN: Final = {
    b"\xff\x0a": "format JPEG XL",
    b"\0\0\0\x0cJXL ": "format JPEG XL",
    b"<svg": "format SVG (not made of pixels)",
    b"<?xml": "format SVG (not made of pixels) or other XML",
    b"II*\0": "a TIFF of a kind that is not read (floating point, CMYK, broken, ...)",
    b"MM\0*": "a TIFF of a kind that is not read (floating point, CMYK, broken, ...)",
}
"""What files that Pillow does not know begin with."""


def read_picture(source: Source, limits: Limits = DEFAULT_LIMITS) -> Picture:
    """The picture of an image file: PNG, JPEG, WebP, TIFF, BMP, PPM, QOI or GIF, everything that is in it.

    Orientation is never applied. What is not kept is named in the picture's `lost`. Raises
    UnsupportedImageError for what cannot be kept exactly, DamagedFileError for an image that cannot be
    decoded whole, LimitError for one beyond the limits (or Pillow's own), OSError where the file cannot be
    opened.
    """
    if isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:
            data = file.read()
    else:
        data = source.read()
    with _our_errors():
        picture = _read_png(data, limits) if data.startswith(SIGNATURE) else _read_other(data, limits)
        fault = picture.fault()
        if fault is not None:
            raise ValueError(fault)
    return picture


def read_image(source: Source, limits: Limits = DEFAULT_LIMITS) -> NDArray[np.uint8]:
    """Pixels uint8 (H, W) or (H, W, 3) of a file that holds 8-bit grey or RGB without transparency.

    Raises like read_picture, and UnsupportedImageError for every other mode.
    """
    picture = read_picture(source, limits)
    transparent = find_chunk(picture.chunks, b"tRNS") is not None
    if picture.depth != 8 or picture.mode not in (Mode.GREY, Mode.RGB) or transparent:
        name = "a transparent colour (tRNS)" if transparent else picture.name
        raise UnsupportedImageError(
            f"unsupported image: {name}; allowed here are 8-bit grey and 8-bit RGB without transparency"
        )
    return picture.pixels


def image_picture(image: Image.Image) -> Picture:
    """The picture of a Pillow image of mode 1, L, LA, P, RGB, RGBA or I;16, with what its info says.

    Raises UnsupportedImageError for other modes and for images of several frames.
    """
    modes = {"1": Mode.GREY, "L": Mode.GREY, "LA": Mode.GREY_ALPHA, "P": Mode.PALETTE}
    modes |= {"RGB": Mode.RGB, "RGBA": Mode.RGBA, "I;16": Mode.GREY, "I;16L": Mode.GREY, "I;16B": Mode.GREY}
    mode = modes.get(image.mode)
    if mode is None:
        raise unsupported(f"Pillow image of mode {image.mode}")
    if getattr(image, "n_frames", 1) > 1:
        raise unsupported(f"{getattr(image, 'n_frames', 1)} frames or pages")
    depth = 1 if image.mode == "1" else 16 if image.mode.startswith("I;16") else 8
    image.load()
    chunks = standard_chunks(image.info)
    dpi = image.info.get("dpi")
    if dpi:
        chunks.append(resolution_chunk(float(dpi[0]), float(dpi[1]), "inch"))
    if mode is Mode.PALETTE:
        chunks.append(Chunk(b"PLTE", bytes((image.getpalette("RGB") or [])[:768])))
    transparency = _transparency(image)
    if transparency is not None:
        chunks.append(Chunk(b"tRNS", transparency))
    return Picture(mode, depth, samples_of(image, depth), tuple(chunks))


def _transparency(image: Image.Image) -> bytes | None:
    """tRNS of a Pillow image."""
    value = image.info.get("transparency")
    if value is None or image.mode in ("LA", "RGBA"):
        return None
    if image.mode == "P":
        return value if isinstance(value, bytes) else b"\xff" * value + b"\0"
    values = value if isinstance(value, tuple) else (value,)
    scaled = (bool(v) if image.mode == "1" else v for v in values)
    return b"".join(int(v).to_bytes(2, "big") for v in scaled)


@contextmanager
def _our_errors() -> Iterator[None]:
    """Turn the errors of libraries into ours; their warnings are of sizes and metadata, checked here."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except VdmError:
        raise
    except Image.DecompressionBombError as error:
        raise LimitError(f"image too large: {error}; cut it into parts") from error
    except DECODER_ERRORS as error:
        raise DamagedFileError(f"damaged image: {error}; get another copy of it") from error


def _check_size(size: tuple[int, int], limits: Limits) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        raise LimitError(
            f"image too large: {width}x{height} pixels, allowed are {limits.max_pixels}; cut it into parts"
        )


def _read_png(data: bytes, limits: Limits) -> Picture:
    _check_size(png_size(data), limits)
    png = parse_png(data)
    for chunk in png.chunks:
        if chunk.kind == b"acTL" and int.from_bytes(chunk.data[:4], "big") > 1:
            raise unsupported(f"{int.from_bytes(chunk.data[:4], 'big')} frames (APNG)")
        if chunk.kind == b"fdAT":
            raise unsupported("further frames (APNG)")
        if chunk.kind[:1].isupper() and chunk.kind not in _PNG_CRITICAL:
            raise unsupported(f"PNG with the unknown critical chunk {chunk.kind.decode('ascii')}")
    size = sum(len(chunk.data) for chunk in png.chunks)
    if size > MAX_METADATA:
        raise LimitError(f"metadata of {size} bytes, allowed are {MAX_METADATA}; remove them from the image")
    return Picture(png.mode, png.depth, png_samples(png), png.chunks)


def _read_other(data: bytes, limits: Limits) -> Picture:
    try:
        opened = Image.open(io.BytesIO(data))
    except UnidentifiedImageError as error:
        raise _unknown(data) from error
    with opened as image:
        if not isinstance(image, ImageFile.ImageFile) or image.format not in FORMATS:
            raise _not_read(f"format {image.format}")
        _check_size(image.size, limits)
        return picture_of_file(image, data)


def _unknown(data: bytes) -> VdmError:
    """The error of a file that Pillow does not know."""
    if not data:
        return UnsupportedImageError("no readable image: the file is empty")
    if data[1:4] == b"PNG":
        return DamagedFileError("damaged image: a PNG with altered first bytes; get another copy of it")
    for start, name in _FOREIGN.items():
        if data.startswith(start):
            return _not_read(name)
    return _not_read("no readable image (unknown, or broken at its start)")


def _not_read(met: str) -> UnsupportedImageError:
    return UnsupportedImageError(
        f"unsupported image: {met}; read are PNG, {', '.join(FORMATS)}; convert it to PNG"
    )
