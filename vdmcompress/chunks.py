"""Metadata as PNG chunks, whatever file they came from: names, the section of a file that holds them.

    raw length | stored length | list, compressed with zlib where the stored length is smaller

The list has, for each chunk, its four letters, the length of its data and the data. An empty IDAT stands
where the pixels are, unless nothing follows them; IEND holds bytes that followed the end of the PNG.
"""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from vdmcompress.errors import LimitError, damaged
from vdmcompress.wire import Reader, varint

__all__ = [
    "MAX_CHUNKS",
    "MAX_METADATA",
    "Chunk",
    "chunk_fault",
    "decompress",
    "describe_chunks",
    "find_chunk",
    "pack_list",
    "pack_section",
    "palette_of",
    "read_list",
    "read_section",
    "strip_chunks",
]

MAX_METADATA: Final = 2**24
"""Most bytes of all chunks of a picture together, 16 MiB: what a file may make a reader allocate for them."""

MAX_CHUNKS: Final = 2**16
"""Most chunks of a picture: a list of empty ones takes many times its bytes as objects."""

_LETTERS_BYTES: Final = 4
_MOST_ENTRIES: Final = 256
_ZLIB_LEVEL: Final = 9
_PIXELS: Final = (b"IHDR", b"IDAT")

_NAMES: Final = {
    b"PLTE": "palette",
    b"tRNS": "transparency",
    b"bKGD": "background colour",
    b"iCCP": "ICC profile",
    b"eXIf": "EXIF",
    b"gAMA": "gamma",
    b"cHRM": "chromaticities",
    b"sRGB": "sRGB intent",
    b"cICP": "colour space code (cICP)",
    b"pHYs": "resolution",
    b"tIME": "modification time",
    b"sBIT": "significant bits",
    b"hIST": "histogram",
    b"sPLT": "suggested palette",
    b"IEND": "bytes after the end",
}
_TEXT: Final = (b"tEXt", b"zTXt", b"iTXt")
_KEYWORD_BYTES: Final = 79
_KEYWORDS: Final = {"XML:com.adobe.xmp": "XMP", "Raw profile type 8bim": "Photoshop or IPTC resources"}


@dataclass(frozen=True)
class Chunk:
    """A chunk of a PNG as it stands there: four letters and data.  late: it follows the pixels."""

    kind: bytes
    data: bytes
    late: bool = False

    @property
    def name(self) -> str:
        """What it is, in a few words."""
        if self.kind in _TEXT:
            keyword = self.data[:_KEYWORD_BYTES].split(b"\0")[0].decode("latin-1")
            return _KEYWORDS.get(keyword, f"text {keyword!r}")
        return _NAMES.get(self.kind, f"chunk {self.kind.decode('ascii', 'replace')}")


def describe_chunks(chunks: Iterable[Chunk]) -> tuple[tuple[str, int], ...]:
    """Name and bytes of each chunk."""
    return tuple((chunk.name, len(chunk.data)) for chunk in chunks)


def find_chunk(chunks: Iterable[Chunk], kind: bytes) -> bytes | None:
    """Data of the first chunk of a kind."""
    return next((chunk.data for chunk in chunks if chunk.kind == kind), None)


def palette_of(chunks: Iterable[Chunk]) -> bytes:
    """Three bytes for each entry of the palette; none where there is no palette."""
    return find_chunk(chunks, b"PLTE") or b""


def strip_chunks(chunks: Iterable[Chunk], indexed: bool) -> tuple[Chunk, ...]:
    """What is left without metadata: what belongs to the picture: transparency, the palette it needs."""
    kept = (b"tRNS", b"PLTE") if indexed else (b"tRNS",)
    return tuple(chunk for chunk in chunks if chunk.kind in kept)


def chunk_fault(chunks: Sequence[Chunk], indexed: bool) -> str | None:
    """What cannot be in the chunks of a picture, in words; None for sound ones.

    indexed: the picture needs a palette.
    """
    for chunk, following in zip_longest(chunks, chunks[1:]):
        kind = chunk.kind
        if len(kind) != _LETTERS_BYTES or not (kind.isalpha() and kind.isascii()) or kind in _PIXELS:
            return f"chunk kind {kind!r}, allowed four letters but IHDR and IDAT"
        if kind == b"IEND" and (following is not None or not chunk.late):
            return "chunk IEND that is not the last"
        if following is not None and chunk.late and not following.late:
            return f"chunk {kind.decode()} both behind and before the pixels"
        if kind == b"PLTE" and chunk.late:
            return "palette behind the pixels"
    palettes = [chunk.data for chunk in chunks if chunk.kind == b"PLTE"]
    if len(palettes) > 1 or (indexed and not palettes):
        return f"{len(palettes)} palettes"
    for data in palettes:
        if len(data) % 3 or not 3 <= len(data) <= 3 * _MOST_ENTRIES:
            return f"palette of {len(data)} bytes, allowed 3 for each of 1..{_MOST_ENTRIES} entries"
    return None


def pack_section(chunks: Sequence[Chunk]) -> bytes:
    """The section of sound chunks, at least one.  LimitError beyond MAX_METADATA or MAX_CHUNKS."""
    raw = pack_list(chunks)
    if len(raw) > MAX_METADATA:
        raise LimitError(
            f"metadata of {len(raw)} bytes, allowed are {MAX_METADATA}; leave it out (vdmc encode --strip)"
        )
    if len(chunks) > MAX_CHUNKS:
        raise LimitError(
            f"metadata of {len(chunks)} chunks, allowed are {MAX_CHUNKS}; leave it out (vdmc encode --strip)"
        )
    compressed = zlib.compress(raw, _ZLIB_LEVEL)
    stored = compressed if len(compressed) < len(raw) else raw
    return varint(len(raw)) + varint(len(stored)) + stored


def read_section(reader: Reader) -> tuple[Chunk, ...]:
    """Chunks of a section, at least one.

    Raises LimitError for a section that says it is beyond MAX_METADATA, before anything is allocated for it,
    and for more than MAX_CHUNKS, and DamagedFileError for one that holds more or less than it says or that is
    no list of chunks.
    """
    length, stored = reader.varint(), reader.varint()
    if length > MAX_METADATA:
        raise LimitError(f"metadata of {length} bytes, allowed are {MAX_METADATA}; the file may be a trap")
    if not 0 < stored <= length:
        raise damaged(f"metadata of {length} bytes in {stored}")
    data = reader.take(stored)
    return read_list(data if stored == length else decompress(data, length))


def decompress(data: bytes, length: int, where: str = "its metadata") -> bytes:
    """Exactly ``length`` bytes out of a zlib stream that ends there; DamagedFileError for any other."""
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(data, length + 1)
    except zlib.error as error:
        raise damaged(f"{where}: {error}") from error
    if len(raw) != length or not stream.eof or stream.unused_data:
        raise damaged(f"{where} do not decompress to {length} bytes")
    return raw


def pack_list(chunks: Sequence[Chunk]) -> bytes:
    """The list of sound chunks, as a section holds it."""
    parts, late = [], False
    for chunk in chunks:
        if chunk.late and not late:
            parts += [b"IDAT", varint(0)]
            late = True
        parts += [chunk.kind, varint(len(chunk.data)), chunk.data]
    return b"".join(parts)


def read_list(raw: bytes) -> tuple[Chunk, ...]:
    """Chunks of a list.  Raises like `read_section`."""
    reader = Reader(memoryview(raw), where="metadata")
    chunks: list[Chunk] = []
    late = False
    while reader.left:
        kind = reader.take(_LETTERS_BYTES)
        data = reader.take(reader.varint())
        if kind == b"IDAT":
            if late or data or not reader.left:
                raise damaged("the place of the pixels in its metadata")
            late = True
        elif len(chunks) == MAX_CHUNKS:
            raise LimitError(f"metadata of more than {MAX_CHUNKS} chunks; the file may be a trap")
        else:
            chunks.append(Chunk(kind, data, late))
    return tuple(chunks)
