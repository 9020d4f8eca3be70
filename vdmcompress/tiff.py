"""TIFF files that hold one picture: samples as stored, orientation not applied, descriptive tags as EXIF."""

import struct
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from PIL import Image, TiffImagePlugin

from vdmcompress.chunks import Chunk
from vdmcompress.errors import UnsupportedImageError
from vdmcompress.metadata import exif_chunk, icc_chunk, profile_chunk, resolution_chunk, xmp_chunk
from vdmcompress.picture import Samples

__all__ = [
    "deep_samples",
    "is_jpeg",
    "is_reduced",
    "lost_tags",
    "tiff_chunks",
    "tiff_depth",
    "tiff_palette",
    "upright",
]

_SUBFILE, _SUB_IFDS = 254, 330
_BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION, _SAMPLES = 258, 259, 262, 274, 277
_X, _Y, _UNIT, _COLOUR_MAP, _EXTRA, _FORMAT = 282, 283, 296, 320, 338, 339
_XMP, _IPTC, _PHOTOSHOP, _ICC = 700, 33723, 34377, 34675
_IFDS: Final = (34665, 34853)
_WHITE_IS_ZERO: Final = 0
_UNASSOCIATED: Final = (2,)
_UNSIGNED: Final = {1}
_JPEG: Final = (6, 7, 34892)

_DESCRIPTIVE: Final = (269, 270, 271, 272, 274, 282, 283, 285, 296, 305, 306, 315, 316, 318, 319, 33432)
"""Tags that say something about the picture and not how it is stored: kept as EXIF."""

_STRUCTURAL: Final = frozenset(
    (*range(254, 260), 262, 263, 264, 265, 266, 273, *range(277, 282), 284, 286, 287, 292, 293, 297, 317, 320)
    + (*range(321, 326), 332, 336, 338, 339, 340, 341, 347, *range(512, 522), *range(529, 533))
)
"""Tags that say how a picture is stored: they are of no use to another file."""


def upright(data: bytes) -> bytes:
    """The file with its orientation set to 1, so that Pillow does not turn the pixels."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 16:
        return data
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    count_format, entry_bytes, value_at = ("Q", 20, 12) if big else ("H", 12, 8)
    (start,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    count_bytes = struct.calcsize(count_format)
    if start + count_bytes > len(data):
        return data
    (count,) = struct.unpack_from(order + count_format, data, start)
    first = start + count_bytes
    for at in range(first, min(first + count * entry_bytes, len(data) - entry_bytes + 1), entry_bytes):
        if struct.unpack_from(order + "H", data, at)[0] == _ORIENTATION:
            place = at + value_at
            return data[:place] + struct.pack(order + "H", 1) + data[place + 2 :]
    return data


def is_jpeg(image: TiffImagePlugin.TiffImageFile) -> bool:
    """Whether the pixels were stored with losses."""
    return image.tag_v2.get(_COMPRESSION) in _JPEG


def is_reduced(image: TiffImagePlugin.TiffImageFile) -> bool:
    """Whether the picture is a preview of one in a SubIFD, as in DNG and other camera files."""
    return bool(int(image.tag_v2.get(_SUBFILE, 0)) & 1) and _SUB_IFDS in image.tag_v2


def tiff_depth(image: TiffImagePlugin.TiffImageFile) -> int | str:
    """Bits of a sample; or what is met, in words, where Pillow does not give the samples as stored."""
    tags = image.tag_v2
    bits, samples = set(tags.get(_BITS, (1,))), tags.get(_SAMPLES, 1)
    extra = tuple(tags.get(_EXTRA, ()))
    if len(bits) != 1:
        return f"samples of {'/'.join(map(str, tags[_BITS]))} bits"
    if not set(tags.get(_FORMAT, (1,))) <= _UNSIGNED:
        return "signed or floating-point samples"
    if samples != len(image.getbands()):
        return f"{samples} samples a pixel"
    if extra != (_UNASSOCIATED if image.mode in ("LA", "RGBA") else ()):
        return f"extra samples of kind {extra or 'unknown'} (only unassociated alpha is kept exactly)"
    depth = int(bits.pop())
    if depth == 16 and tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        return "16 bits with white as zero"
    return depth


def deep_samples(data: bytes, narrow: Samples) -> Samples:
    """16-bit RGB or RGBA samples, which Pillow narrows; narrow: what it makes of them, for comparison."""
    import imagecodecs

    samples = np.asarray(imagecodecs.tiff_decode(data))
    if (
        samples.dtype != np.uint16
        or samples.shape != narrow.shape
        or not np.array_equal(samples >> 8, narrow)
    ):
        raise UnsupportedImageError(
            "unsupported image: 16-bit TIFF that two libraries read differently; convert it to a 16-bit PNG"
        )
    return samples


def tiff_palette(image: TiffImagePlugin.TiffImageFile) -> Chunk | str:
    """PLTE of the colour map; or what is met where it has more than 8 bits."""
    flat = np.asarray(image.tag_v2.get(_COLOUR_MAP, ()), np.int64)
    if flat.size == 0 or flat.size % 3:
        return "a palette without its colours"
    colours = flat.reshape(3, -1).T
    high, low = colours >> 8, colours & 0xFF
    if not (np.array_equal(high, low) or not low.any()):
        return "a palette of 16-bit colours"
    return Chunk(b"PLTE", high.astype(np.uint8).tobytes())


def tiff_chunks(image: TiffImagePlugin.TiffImageFile) -> list[Chunk]:
    """Metadata; the image has not been loaded yet, because loading drops the orientation."""
    tags: Mapping[int, Any] = image.tag_v2
    made = Image.Exif()
    for tag in _DESCRIPTIVE:
        if tag in tags:
            made[tag] = _as_stored(tags[tag])
    exif = image.getexif()
    for tag in _IFDS:
        made.get_ifd(tag).update({key: _as_stored(value) for key, value in exif.get_ifd(tag).items()})
    chunks = []
    if isinstance(profile := tags.get(_ICC), bytes):
        chunks.append(icc_chunk(profile))
    if _X in tags and _Y in tags:
        unit = {2: "inch", 3: "centimetre"}.get(tags.get(_UNIT, 2), "")
        chunks.append(resolution_chunk(float(tags[_X]), float(tags[_Y]), unit))
    if len(made) or any(made.get_ifd(tag) for tag in _IFDS):
        chunks.append(exif_chunk(made.tobytes()))
    if isinstance(packet := tags.get(_XMP), bytes):
        chunks.append(xmp_chunk(packet))
    for tag, kind in ((_PHOTOSHOP, "8bim"), (_IPTC, "iptc")):
        if isinstance(block := tags.get(tag), bytes):
            chunks.append(profile_chunk(kind, block))
    return chunks


def _as_stored(value: Any) -> Any:
    """Bytes of a text, which Pillow reads as Latin-1 but would write as ASCII; anything else as it is."""
    return value.encode("latin-1", "replace") if isinstance(value, str) else value


def lost_tags(image: TiffImagePlugin.TiffImageFile) -> list[str]:
    """What is not kept, by name."""
    kept = _STRUCTURAL | {*_DESCRIPTIVE, *_IFDS, _XMP, _PHOTOSHOP, _ICC, _IPTC}
    return [f"TIFF tag {tag}" for tag in image.tag_v2 if tag not in kept]
