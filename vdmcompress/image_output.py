"""Pictures out to PNG, WebP and PPM; what a format cannot hold is refused, and dropped metadata is named."""

import io
from typing import Final

import numpy as np
from PIL import Image

from vdmcompress.chunks import find_chunk
from vdmcompress.classical import WEBP_SIDE
from vdmcompress.errors import LimitError, UnsupportedImageError, UsageError
from vdmcompress.metadata import exif_of, icc_of, xmp_of
from vdmcompress.picture import Mode, Picture
from vdmcompress.png import packed_rows, write_png

__all__ = ["OUTPUT_FORMATS", "ppm_suffix", "write_picture"]

OUTPUT_FORMATS: Final = ("png", "webp", "ppm")


def write_picture(picture: Picture, format: str) -> tuple[bytes, tuple[str, ...]]:
    """(file, names of the metadata that it does not hold) of a picture, losslessly.

    format: "png", which holds everything; "webp", 8-bit grey and RGB with and without alpha (grey as RGB with
    equal channels), with ICC, EXIF and XMP; "ppm", grey (PBM or PGM) and RGB without alpha.
    Raises UnsupportedImageError for a picture that the format cannot hold, LimitError for one that is too
    large for it, UsageError for another format.
    """
    if format == "png":
        return write_png(picture), ()
    if format == "webp":
        return _webp(picture)
    if format == "ppm":
        return _ppm(picture), tuple(chunk.name for chunk in picture.chunks)
    raise UsageError(f"format {format!r} is not written; allowed are {', '.join(OUTPUT_FORMATS)}")


def ppm_suffix(picture: Picture) -> str:
    """The usual suffix of a picture's PPM file: .pbm for 1 bit, .pgm for grey, .ppm for RGB."""
    if picture.mode is not Mode.GREY:
        return ".ppm"
    return ".pbm" if picture.depth == 1 else ".pgm"


def _webp(picture: Picture) -> tuple[bytes, tuple[str, ...]]:
    if picture.mode is Mode.PALETTE or picture.depth != 8:
        raise _cannot_hold("WebP", picture.name)
    if find_chunk(picture.chunks, b"tRNS") is not None:
        raise _cannot_hold("WebP", "a transparent colour (tRNS)")
    if max(picture.width, picture.height) > WEBP_SIDE:
        raise LimitError(
            f"image of {picture.width}x{picture.height}, WebP allows {WEBP_SIDE} a side; write a PNG"
        )
    blocks = {
        "icc_profile": (b"iCCP", icc_of(picture.chunks)),
        "exif": (b"eXIf", exif_of(picture.chunks)),
        "xmp": (b"iTXt", xmp_of(picture.chunks)),
    }
    held = {name: block for name, (_, block) in blocks.items() if block}
    out = io.BytesIO()
    Image.fromarray(picture.pixels).save(out, "WEBP", lossless=True, exact=True, **held)
    kinds = {kind for kind, block in blocks.values() if block}
    lost = (c.name for c in picture.chunks if c.kind not in kinds or (c.kind == b"iTXt" and c.name != "XMP"))
    return out.getvalue(), tuple(lost)


def _ppm(picture: Picture) -> bytes:
    mode, depth = picture.mode, picture.depth
    if mode not in (Mode.GREY, Mode.RGB):
        raise _cannot_hold("PPM", picture.name)
    if find_chunk(picture.chunks, b"tRNS") is not None:
        raise _cannot_hold("PPM", "a transparent colour (tRNS)")
    size = f"{picture.width} {picture.height}"
    if depth == 1:  # in a PBM black is 1
        rows = packed_rows(np.uint8(1) - picture.pixels, 1)
        return f"P4\n{size}\n".encode() + rows.tobytes()
    samples = picture.pixels.astype(">u2") if depth == 16 else picture.pixels
    magic = "P6" if mode is Mode.RGB else "P5"
    return f"{magic}\n{size}\n{2**depth - 1}\n".encode() + samples.tobytes()


def _cannot_hold(format: str, name: str) -> UnsupportedImageError:
    return UnsupportedImageError(f"{format} cannot hold {name}; write a PNG (--format png), which holds all")
