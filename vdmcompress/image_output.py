"""Pictures out to PNG, WebP and PPM; what a format cannot hold is refused, and dropped metadata is named."""

import io
from typing import Final

import numpy as np
from PIL import Image

from vdmcompress.chunks import find_chunk
from vdmcompress.classical import WEBP_SIDE
from vdmcompress.errors import LimitError, UnsupportedImageError, UsageError
from vdmcompress.header import Header
from vdmcompress.metadata import exif_of, icc_of, xmp_of
from vdmcompress.picture import Mode, Picture, mode_name
from vdmcompress.png import packed_rows, write_png

__all__ = ["OUTPUT_FORMATS", "check_format", "check_suffix", "ppm_suffix", "write_picture"]

OUTPUT_FORMATS: Final = ("png", "webp", "ppm")
_LEAST_FIRST: Final = (".pbm", ".pgm", ".ppm")
_NAMES: Final = {"webp": "WebP", "ppm": "PPM"}


def write_picture(picture: Picture, format: str) -> tuple[bytes, tuple[str, ...]]:
    """(file, names of the metadata that it does not hold) of a picture, losslessly.

    format: "png", which holds everything; "webp", 8-bit grey and RGB with and without alpha (grey as RGB with
    equal channels), with ICC, EXIF and XMP; "ppm", grey (PBM or PGM) and RGB without alpha.
    Raises as check_format.
    """
    check_format(picture, format)
    if format == "png":
        return write_png(picture), ()
    if format == "webp":
        return _webp(picture)
    return _ppm(picture), tuple(chunk.name for chunk in picture.chunks)


def check_format(described: Picture | Header, format: str) -> None:
    """Raise where write_picture would refuse a picture, or that of a file's header.

    UnsupportedImageError for what the format cannot hold, LimitError for what is too large for it, UsageError
    for another format.
    """
    if format not in OUTPUT_FORMATS:
        raise UsageError(f"format {format!r} is not written; allowed are {', '.join(OUTPUT_FORMATS)}")
    if format == "png":
        return
    mode, depth = described.mode, described.depth
    held = mode is not Mode.PALETTE and depth == 8 if format == "webp" else mode in (Mode.GREY, Mode.RGB)
    name = mode_name(mode, depth)
    if find_chunk(described.chunks, b"tRNS") is not None:
        held, name = False, f"{name} with a transparent colour (tRNS)"
    if not held:
        raise UnsupportedImageError(
            f"{_NAMES[format]} cannot hold {name}; write a PNG (--format png), which holds everything"
        )
    if format == "webp" and max(described.width, described.height) > WEBP_SIDE:
        size = f"{described.width}x{described.height}"
        raise LimitError(f"image of {size}, WebP allows {WEBP_SIDE} a side; write a PNG (--format png)")


def ppm_suffix(mode: Mode, depth: int) -> str:
    """The usual suffix of a PPM file: .pbm for 1 bit, .pgm for grey, .ppm for RGB."""
    if mode is not Mode.GREY:
        return ".ppm"
    return ".pbm" if depth == 1 else ".pgm"


def check_suffix(suffix: str, mode: Mode, depth: int) -> None:
    """UnsupportedImageError where a suffix promises less than the picture: grey by .pgm, 1 bit by .pbm."""
    usual, promised = ppm_suffix(mode, depth), suffix.lower()
    if promised in _LEAST_FIRST and _LEAST_FIRST.index(promised) < _LEAST_FIRST.index(usual):
        name = promised[1:].upper()
        raise UnsupportedImageError(f"{name} cannot hold {mode_name(mode, depth)}; name the file {usual}")


def _webp(picture: Picture) -> tuple[bytes, tuple[str, ...]]:
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
    size = f"{picture.width} {picture.height}"
    if depth == 1:  # in a PBM black is 1
        rows = packed_rows(np.uint8(1) - picture.pixels, 1)
        return f"P4\n{size}\n".encode() + rows.tobytes()
    samples = picture.pixels.astype(">u2") if depth == 16 else picture.pixels
    magic = "P6" if mode is Mode.RGB else "P5"
    return f"{magic}\n{size}\n{2**depth - 1}\n".encode() + samples.tobytes()
