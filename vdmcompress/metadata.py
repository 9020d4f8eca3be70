"""ICC, EXIF, XMP, resolution, comments: into PNG chunks, in which a picture keeps them, and out again.

What is made here is stored without compression, so that it is the same bytes everywhere; the container
compresses the chunks.
"""

import struct
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

from vdmcompress.chunks import MAX_METADATA, Chunk, find_chunk

__all__ = [
    "comment_chunk",
    "exif_chunk",
    "exif_of",
    "icc_chunk",
    "icc_of",
    "profile_chunk",
    "resolution_chunk",
    "standard_chunks",
    "xmp_chunk",
    "xmp_of",
]

_EXIF_PREFIX: Final = b"Exif\0\0"
_XMP_KEYWORD: Final = b"XML:com.adobe.xmp"
_STORED_BLOCK: Final = 65535
_HEX_LINE: Final = 72
_METRE_IN_INCHES: Final = 1 / 0.0254


def standard_chunks(info: Mapping[Any, Any]) -> list[Chunk]:
    """ICC, EXIF and XMP of the info of a Pillow image."""
    made = (("icc_profile", icc_chunk), ("exif", exif_chunk), ("xmp", xmp_chunk))
    blocks = ((info.get(key), make) for key, make in made)
    return [make(block) for block, make in blocks if isinstance(block, bytes) and block]


def icc_chunk(profile: bytes) -> Chunk:
    """iCCP of a profile."""
    return Chunk(b"iCCP", b"ICC profile\0\0" + _stored(profile))


def icc_of(chunks: Iterable[Chunk]) -> bytes | None:
    """The ICC profile; None where there is none, or none that can be unpacked within MAX_METADATA."""
    data = find_chunk(chunks, b"iCCP")
    if data is None:
        return None
    stream = zlib.decompressobj()
    try:
        profile = stream.decompress(data[data.index(b"\0") + 2 :], MAX_METADATA)
    except (ValueError, zlib.error):
        return None
    return profile if stream.eof else None


def exif_chunk(exif: bytes) -> Chunk:
    """eXIf of an EXIF block, which may begin with the mark that JPEG puts before it."""
    return Chunk(b"eXIf", exif.removeprefix(_EXIF_PREFIX))


def exif_of(chunks: Iterable[Chunk]) -> bytes | None:
    """The EXIF block, without JPEG's mark."""
    return find_chunk(chunks, b"eXIf")


def xmp_chunk(packet: bytes) -> Chunk:
    """iTXt of an XMP packet."""
    return Chunk(b"iTXt", _XMP_KEYWORD + bytes(5) + packet)


def xmp_of(chunks: Iterable[Chunk]) -> bytes | None:
    """The XMP packet; None where there is none, or a broken one."""
    start = _XMP_KEYWORD + b"\0"
    data = next((c.data for c in chunks if c.kind == b"iTXt" and c.data.startswith(start)), None)
    if data is None:
        return None
    flags, *rest = data[len(start) : len(start) + 2], *data[len(start) + 2 :].split(b"\0", 2)
    if flags != b"\0\0" or len(rest) != 3:
        return None
    return rest[2]


def profile_chunk(kind: str, data: bytes) -> Chunk:
    """Text "Raw profile type ..." in hexadecimal digits, as ImageMagick writes and ExifTool reads it."""
    digits = data.hex()
    lines = [digits[at : at + _HEX_LINE] for at in range(0, len(digits), _HEX_LINE)]
    text = "\n".join(("", kind, f"{len(data):8d}", *lines, ""))
    return Chunk(b"tEXt", f"Raw profile type {kind}\0{text}".encode("ascii"))


def comment_chunk(comment: bytes) -> Chunk:
    """Text "Comment": UTF-8 where it is, else the bytes as they are."""
    try:
        unicode = not comment.decode("utf-8").isascii()
    except UnicodeDecodeError:
        unicode = False
    if unicode:
        return Chunk(b"iTXt", b"Comment" + bytes(5) + comment)
    return Chunk(b"tEXt", b"Comment\0" + comment)


def resolution_chunk(x: float, y: float, unit: str) -> Chunk:
    """pHYs.  x, y: pixels for each unit, "inch", "centimetre" or "metre"; with "" only their ratio counts."""
    factor = {"inch": _METRE_IN_INCHES, "centimetre": 100.0, "metre": 1.0, "": 1.0}[unit]
    values = (min(max(round(value * factor), 0), 2**31 - 1) for value in (x, y))
    return Chunk(b"pHYs", struct.pack(">IIB", *values, bool(unit)))


def _stored(data: bytes) -> bytes:
    """A zlib stream of stored blocks."""
    pieces = [data[at : at + _STORED_BLOCK] for at in range(0, len(data), _STORED_BLOCK)] or [b""]
    out = [b"\x78\x01"]
    for i, piece in enumerate(pieces):
        last = i == len(pieces) - 1
        out += [struct.pack("<BHH", last, len(piece), len(piece) ^ 0xFFFF), piece]
    return b"".join((*out, struct.pack(">I", zlib.adler32(data))))
