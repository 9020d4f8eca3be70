"""JPEG, WebP, TIFF, BMP, PPM, QOI and still GIF files as pictures; what Pillow would alter is refused.

Pillow narrows, expands, turns or drops without a word: what it met in the file is asked for, not only the
mode that it makes of it.
"""

import io
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from PIL import Image, ImageFile

from vdmcompress import tiff
from vdmcompress.chunks import Chunk
from vdmcompress.errors import UnsupportedImageError
from vdmcompress.gif import read_still
from vdmcompress.leftovers import leftover
from vdmcompress.metadata import comment_chunk, profile_chunk, resolution_chunk, standard_chunks
from vdmcompress.picture import Mode, Picture, Samples

__all__ = ["FORMATS", "picture_of_file", "samples_of", "unsupported"]

_FURTHER: Final = re.compile(rb"P[1-6]")
_PPM_COMMENT: Final = re.compile(rb"#([^\r\n]*)")
LOSSY_NOTE: Final = "the pixels are kept, not the lossy file that they came in; the result may be larger"

_ALLOWED: Final = (
    "allowed are grey and RGB of 8 and 16 bits, with and without alpha, palettes, and grey of 1, 2 and 4 "
    "bits, one picture a file; convert it, e.g. to PNG"
)
_MODES: Final = {
    "PA": "palette with alpha",
    "La": "grey with premultiplied alpha",
    "RGBa": "RGB with premultiplied alpha",
    "RGBX": "RGB with a fourth channel",
    "CMYK": "CMYK",
    "YCbCr": "YCbCr",
    "LAB": "CIE Lab",
    "HSV": "HSV",
    "I": "integers of more than 16 bits or signed",
    "F": "floating point",
}
_OF_PILLOW: Final = {
    "1": Mode.GREY,
    "L": Mode.GREY,
    "I": Mode.GREY,
    "P": Mode.PALETTE,
    "LA": Mode.GREY_ALPHA,
    "RGB": Mode.RGB,
    "RGBA": Mode.RGBA,
}


@dataclass
class _Found:
    """What a file says before its pixels are loaded.  lost: names of what is not kept."""

    depth: int = 8
    chunks: list[Chunk] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    lossy: bool = False


def unsupported(met: str) -> UnsupportedImageError:
    """The error of an image of a kind that cannot be kept exactly."""
    return UnsupportedImageError(f"unsupported image: {met}; {_ALLOWED}")


def picture_of_file(image: ImageFile.ImageFile, data: bytes) -> Picture:
    """The picture of an opened file of one of FORMATS; data: all its bytes.

    Raises UnsupportedImageError, and any of DECODER_ERRORS for damaged files.
    """
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise unsupported(f"{frames} frames or pages")
    if image.mode not in _OF_PILLOW and not image.mode.startswith("I;16"):
        raise unsupported(_MODES.get(image.mode, f"mode {image.mode}"))
    found = FORMATS[str(image.format)](image, data)
    rest = leftover(image, data)
    if image.format == "PPM" and _FURTHER.match(rest):
        raise unsupported("further pictures behind the first")
    if rest:
        found.lost.append(f"{len(rest)} bytes behind the picture")
    mode = _OF_PILLOW.get(image.mode, Mode.GREY)
    if image.format == "GIF":
        mode = Mode.PALETTE
    pixels = _pixels(image, data, found.depth)
    notes = (f"{image.format}: {LOSSY_NOTE}",) if found.lossy else ()
    return Picture(mode, found.depth, pixels, tuple(found.chunks), notes, tuple(dict.fromkeys(found.lost)))


def _pixels(image: ImageFile.ImageFile, data: bytes, depth: int) -> Samples:
    """Samples of a file, read past Pillow where it would turn or narrow them."""
    deep = depth == 16 and image.mode in ("RGB", "RGBA")
    if image.format == "PPM" and deep:
        return _deep_ppm(image, data)
    if image.format != "TIFF":
        image.load()
        return samples_of(image, depth)
    with Image.open(io.BytesIO(tiff.upright(data))) as upright:
        upright.load()
        pixels = samples_of(upright, 8 if deep else depth)
    return tiff.deep_samples(data, pixels) if deep else pixels


def samples_of(image: Image.Image, depth: int) -> Samples:
    """Samples of a loaded image: Pillow's values, those of 2 and 4 bits without its scaling to 0..255."""
    if depth == 16:
        return np.asarray(image).astype(np.uint16)
    pixels = np.array(image, np.uint8)
    if image.mode == "L" and depth < 8:
        step = np.uint8(255 // (2**depth - 1))
        if (pixels % step).any():
            raise unsupported(f"{depth}-bit grey that Pillow reads as other values")
        pixels //= step
    return pixels


def _jpeg(image: Any, _data: bytes) -> _Found:
    found = _Found(lossy=True)
    if image.mode not in ("L", "RGB"):
        raise unsupported(f"JPEG of mode {image.mode}")
    found.chunks += standard_chunks(image.info)
    photoshop, seen = b"", set()
    for name, block in image.applist:
        kind = next((start for start in _KNOWN_SEGMENTS.get(name, ()) if block.startswith(start)), None)
        if name == "COM":
            found.chunks.append(comment_chunk(block))
        elif name == "APP13" and block.startswith(b"Photoshop 3.0\0"):
            photoshop += block[len(b"Photoshop 3.0\0") :]
        elif kind is None or (name in _ONCE and kind in seen):
            found.lost.append(f"JPEG segment {name} {block[:12].split(bytes(1))[0].decode('latin-1')!r}")
        seen.add(kind)
    if _ICC_SEGMENT in seen and not image.info.get("icc_profile"):
        found.lost.append("ICC profile of which parts are missing")
    if photoshop:
        found.chunks.append(profile_chunk("8bim", photoshop))
    x, y = image.info.get("jfif_density", (1, 1))
    unit = {1: "inch", 2: "centimetre"}.get(image.info.get("jfif_unit"), "")
    if x and y and (unit or x != y):
        found.chunks.append(resolution_chunk(x, y, unit))
    return found


_ICC_SEGMENT: Final = b"ICC_PROFILE\0"
_KNOWN_SEGMENTS: Final = {
    "APP0": (b"JFIF\0",),
    "APP1": (b"Exif\0", b"http://ns.adobe.com/xap/1.0/\0"),
    "APP2": (_ICC_SEGMENT,),
    "APP14": (b"Adobe",),
}
_ONCE: Final = ("APP0", "APP1")
"""Segments of which Pillow reads one of a kind."""


def _webp(image: Any, data: bytes) -> _Found:
    found = _Found()
    found.chunks += standard_chunks(image.info)
    at, end = 12, min(8 + int.from_bytes(data[4:8], "little"), len(data))
    while at + 8 <= end:
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        found.lossy |= kind == b"VP8 "
        if kind not in (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ICCP", b"EXIF", b"XMP "):
            found.lost.append(f"WebP chunk {kind.decode('latin-1')!r}")
        at += 8 + length + length % 2
    return found


def _tiff(image: Any, data: bytes) -> _Found:
    depth = tiff.tiff_depth(image)
    if isinstance(depth, str):
        raise unsupported(depth)
    allowed = {"1": (1,), "L": (2, 4, 8), "P": (1, 2, 4, 8), "LA": (8,), "RGB": (8, 16), "RGBA": (8, 16)}
    if depth not in allowed.get(image.mode, (16,)):
        raise unsupported(f"samples of {depth} bits")
    if tiff.is_reduced(image):
        raise unsupported("a reduced picture before the one in full size (TIFF with SubIFDs)")
    found = _Found(depth, tiff.tiff_chunks(image), tiff.lost_tags(image), tiff.is_jpeg(image))
    if image.mode == "P":
        palette = tiff.tiff_palette(image)
        if isinstance(palette, str):
            raise unsupported(palette)
        found.chunks.append(palette)
    return found


_FOURTH: Final = {"BGRX": 3, "XBGR": 0, "BGXR": 2}
"""Where a BMP's pixels have a byte that stands for nothing."""


def _bmp(image: Any, data: bytes) -> _Found:
    (header_bytes,) = struct.unpack_from("<I", data, 14)
    (bits,) = struct.unpack_from("<H", data, 24 if header_bytes == 12 else 28)
    raw = image.tile[0][3][0]
    if image.tile[0][0] == "bmp_rle" and raw == "P" and bits == 4:
        raw = "P;4"
    plain = {"BGR", "BGRX", "XBGR", "BGXR", "RGBA", "BGRA", "ABGR", "BGAR"}
    indices = {"1": (1,), "L": (8,), "P": (8,), "P;1": (1,), "P;4": (4,)}
    if raw not in plain and bits not in indices.get(raw, ()):
        raise unsupported(f"BMP of {bits} bits ({raw})")
    found = _Found(bits if raw in indices else 8)
    fourth = (
        data[image.tile[0][2] + _FOURTH[raw] :: 4][: image.width * image.height] if raw in _FOURTH else b""
    )
    if fourth.strip(b"\0"):
        found.lost.append("fourth bytes of the pixels")
    if image.mode == "P":
        found.chunks.append(_palette_chunk(image))
    if header_bytes >= 40:
        x, y = struct.unpack_from("<ii", data, 38)
        if x > 0 and y > 0:
            found.chunks.append(resolution_chunk(x, y, "metre"))
    if header_bytes >= 124 and struct.unpack_from("<I", data, 14 + 112)[0]:
        found.lost.append("ICC profile of the BMP")
    return found


def _ppm(image: Any, data: bytes) -> _Found:
    comments = [comment_chunk(text.strip()) for text in _PPM_COMMENT.findall(data[: image.tile[0][2]])]
    raw, *rest = image.tile[0][3] if isinstance(image.tile[0][3], tuple) else (image.tile[0][3],)
    if raw == "1;I":
        return _Found(1, comments)
    most = rest[0] if rest else 65535 if raw == "I;16B" else 255
    depth = {1: 1, 3: 2, 15: 4, 255: 8, 65535: 16}.get(most)
    if depth is None or (image.mode == "RGB" and depth < 8) or image.mode not in ("L", "I", "RGB"):
        raise unsupported(f"PPM of mode {image.mode}, samples of 0..{most}")
    return _Found(depth, comments)


def _deep_ppm(image: ImageFile.ImageFile, data: bytes) -> Samples:
    """16-bit RGB of a PPM, which Pillow narrows."""
    codec, _, start, _ = image.tile[0]
    if codec == "ppm_plain":
        raise unsupported("16-bit RGB in a PPM of plain text")
    shape = (image.height, image.width, 3)
    return np.frombuffer(data, ">u2", 3 * image.width * image.height, start).reshape(shape).astype(np.uint16)


def _qoi(image: Any, _data: bytes) -> _Found:
    return _Found()


def _gif(image: Any, data: bytes) -> _Found:
    still = read_still(data)
    if still.place != (0, 0, image.width, image.height):
        raise unsupported("GIF whose picture does not fill its canvas")
    found = _Found(still.depth, [Chunk(b"PLTE", still.palette)])
    index = image.info.get("transparency")
    if index is not None:
        found.chunks.append(Chunk(b"tRNS", b"\xff" * index + b"\0"))
    found.chunks += [comment_chunk(comment) for comment in still.comments]
    found.chunks += standard_chunks(still.profiles)
    found.lost += still.lost
    return found


def _palette_chunk(image: Any) -> Chunk:
    """PLTE of a palette image."""
    colours = image.getpalette("RGB") or []
    return Chunk(b"PLTE", bytes(colours[:768]))


FORMATS: Final[dict[str, Callable[[Any, bytes], _Found]]] = {
    "BMP": _bmp,
    "GIF": _gif,
    "JPEG": _jpeg,
    "MPO": _jpeg,
    "PPM": _ppm,
    "QOI": _qoi,
    "TIFF": _tiff,
    "WEBP": _webp,
}
"""How each format is looked at before its pixels are loaded, by Pillow's name."""
