"""PNG taken apart and put together: every sample as it is stored, every chunk verbatim.

Pillow and imagecodecs see nothing but IHDR and IDAT, so that no chunk makes them narrow, expand or convert.
All functions raise ValueError (or another of DECODER_ERRORS) for what is no sound PNG.
"""

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from vdmcompress.chunks import Chunk
from vdmcompress.picture import DEPTHS, Mode, Picture, Samples

__all__ = [
    "SIGNATURE",
    "PngFile",
    "packed_rows",
    "parse_png",
    "png_of",
    "png_samples",
    "png_size",
    "write_png",
]

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"

_IHDR: Final = struct.Struct(">IIBBBBB")
_IHDR_AT: Final = len(SIGNATURE) + 8
_START: Final = SIGNATURE + b"\0\0\0\rIHDR"
_MAX_SIDE: Final = 2**31 - 1
_MAX_CHUNK: Final = 2**30
_LEVEL: Final = 9
_ONE_PASS: Final = ((0, 0, 1, 1),)
_ADAM7: Final = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2),
)  # fmt: skip
"""Left, top, step across and step down of the passes of a PNG, without and with interlacing."""


@dataclass(frozen=True)
class PngFile:
    """The parts of a PNG.  idat: data of all IDAT chunks.  chunks: all others but IHDR and IEND, in order."""

    width: int
    height: int
    depth: int
    mode: Mode
    interlaced: bool
    idat: bytes
    chunks: tuple[Chunk, ...]


def png_size(data: bytes) -> tuple[int, int]:
    """Width and height that a PNG states."""
    if len(data) < _IHDR_AT + _IHDR.size or not data.startswith(_START):
        raise ValueError("it does not begin as a PNG does")
    width, height = struct.unpack_from(">II", data, _IHDR_AT)
    return width, height


def parse_png(data: bytes) -> PngFile:
    """The parts of a PNG whose chunks all have the right CRC-32.

    Bytes after the end are kept as a chunk IEND. Unknown critical chunks stay among the others.
    """
    width, height = png_size(data)
    if not (1 <= width <= _MAX_SIDE and 1 <= height <= _MAX_SIDE):
        raise ValueError(f"size {width}x{height}")
    view = memoryview(data)
    pixels: list[memoryview] = []
    chunks: list[Chunk] = []
    at = len(SIGNATURE)
    while True:
        kind, content = _chunk_at(view, at)
        at += 12 + len(content)
        if kind == b"IEND":
            break
        if kind == b"IDAT":
            if chunks and chunks[-1].late:
                raise ValueError("pixels in two places")
            pixels.append(content)
        elif kind != b"IHDR":
            chunks.append(Chunk(kind, bytes(content), late=bool(pixels)))
    if not pixels:
        raise ValueError("no pixels")
    if at < len(view):
        chunks.append(Chunk(b"IEND", bytes(view[at:]), late=True))
    _, _, depth, number, packing, filtering, interlaced = _IHDR.unpack_from(data, _IHDR_AT)
    if number not in Mode.__members__.values() or depth not in DEPTHS[Mode(number)]:
        raise ValueError(f"{depth} bits of colour type {number}")
    if packing or filtering or interlaced > 1:
        raise ValueError(f"compression {packing}, filter {filtering}, interlacing {interlaced}")
    return PngFile(width, height, depth, Mode(number), bool(interlaced), b"".join(pixels), tuple(chunks))


def png_samples(png: PngFile) -> Samples:
    """Samples (H, W) or (H, W, C) as they are stored: uint8, or uint16 at 16 bits; indices of palettes."""
    passes = _ADAM7 if png.interlaced else _ONE_PASS
    sizes = [(-(-(png.width - x) // across), -(-(png.height - y) // down)) for x, y, across, down in passes]
    bits = png.mode.channels * png.depth
    lengths = [
        height * (1 + -(-width * bits // 8)) if width > 0 and height > 0 else 0 for width, height in sizes
    ]
    rows = zlib.decompressobj().decompress(png.idat, sum(lengths))
    if len(rows) < sum(lengths):
        raise ValueError("it holds too few pixels")
    if png.depth == 16:
        samples = _deep_samples(png, rows, lengths)
    else:
        bare = _assemble(png.width, png.height, png.depth, png.mode, png.interlaced, [_idat(png.idat)])
        with PngImagePlugin.PngImageFile(io.BytesIO(bare)) as image:
            image.load()
            samples = np.array(image, np.uint8)
        if png.mode is Mode.GREY and 1 < png.depth < 8:  # Pillow scales them to 0..255, and 1 bit to 0..1
            samples //= np.uint8(255 // (2**png.depth - 1))
    wanted = (png.height, png.width, png.mode.channels)[: 2 if png.mode.channels == 1 else 3]
    if png.depth == 16:
        samples = samples.reshape(wanted)
    if samples.shape != wanted or samples.dtype != (np.uint16 if png.depth == 16 else np.uint8):
        raise ValueError(f"samples {samples.dtype} {samples.shape}, wanted {wanted}")
    return samples


def _deep_samples(png: PngFile, rows: bytes, lengths: list[int]) -> Samples:
    """16-bit samples of all rows: each pass, of so many bytes, is read as an image of its own."""
    import imagecodecs

    channels = png.mode.channels
    whole = np.zeros((png.height, png.width, channels), np.uint16)
    passes = _ADAM7 if png.interlaced else _ONE_PASS
    views = [whole[top::down, left::across] for left, top, across, down in passes]
    at = 0
    for view, length in zip(views, lengths, strict=True):
        if length:
            height, width = view.shape[:2]
            body = [_idat(zlib.compress(rows[at : at + length], 0))]
            decoded = imagecodecs.png_decode(_assemble(width, height, 16, png.mode, False, body))
            view[:] = np.asarray(decoded).reshape(view.shape)
        at += length
    return whole[:, :, 0] if channels == 1 else whole


def png_of(pixels: Samples, mode: Mode, depth: int) -> bytes:
    """A PNG of samples alone, as small as can be had quickly; one of indices lacks its palette."""
    height, width = pixels.shape[:2]
    return _assemble(width, height, depth, mode, False, [_idat(_compress(pixels, mode, depth, small=True))])


def write_png(picture: Picture) -> bytes:
    """The PNG of a picture, with all its chunks where they were."""
    early = [_chunk(c.kind, c.data) for c in picture.chunks if not c.late]
    late = [_chunk(c.kind, c.data) for c in picture.chunks if c.late and c.kind != b"IEND"]
    tail = b"".join(c.data for c in picture.chunks if c.kind == b"IEND")
    idat = _idat(_compress(picture.pixels, picture.mode, picture.depth, small=False))
    body = [*early, idat, *late]
    return _assemble(picture.width, picture.height, picture.depth, picture.mode, False, body) + tail


def _chunk_at(view: memoryview, at: int) -> tuple[bytes, memoryview]:
    """Kind and data of the chunk at a place."""
    if at + 12 > len(view):
        raise ValueError("it is cut off")
    length, kind = struct.unpack_from(">I4s", view, at)
    content = view[at + 8 : at + 8 + length]
    if at + 12 + length > len(view):
        raise ValueError(f"it is cut off within {kind!r}")
    if not kind.isalpha():
        raise ValueError(f"a chunk {kind!r}")
    (stored,) = struct.unpack_from(">I", view, at + 8 + length)
    if zlib.crc32(content, zlib.crc32(kind)) != stored:
        raise ValueError(f"the CRC-32 of chunk {kind.decode('latin-1')} does not agree")
    return kind, content


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I4s", len(data), kind) + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


def _idat(data: bytes) -> bytes:
    """One chunk, or several where one cannot hold it."""
    pieces = [data[at : at + _MAX_CHUNK] for at in range(0, len(data), _MAX_CHUNK)]
    return b"".join(_chunk(b"IDAT", piece) for piece in pieces)


def _assemble(width: int, height: int, depth: int, mode: Mode, interlaced: bool, body: list[bytes]) -> bytes:
    start = _IHDR.pack(width, height, depth, mode, 0, 0, interlaced)
    return b"".join((SIGNATURE, _chunk(b"IHDR", start), *body, _chunk(b"IEND", b"")))


def _compress(pixels: Samples, mode: Mode, depth: int, small: bool) -> bytes:
    """Data of IDAT.  small: more effort."""
    if depth == 16:
        return _compress_deep(pixels, small)
    if depth < 8 or mode is Mode.PALETTE:
        rows = packed_rows(pixels, depth)
        unfiltered = np.hstack((np.zeros((len(rows), 1), np.uint8), rows))
        return zlib.compress(unfiltered.tobytes(), _LEVEL)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", optimize=small)
    return parse_png(out.getvalue()).idat


def _compress_deep(pixels: Samples, small: bool) -> bytes:
    """16-bit samples: filters as the library chooses them, or the smaller of that and none."""
    import imagecodecs

    filters = (None, imagecodecs.PNG.FILTER.NO) if small else (None,)
    made = (imagecodecs.png_encode(pixels, level=_LEVEL, filter=chosen) for chosen in filters)
    return min((parse_png(bytes(data)).idat for data in made), key=len)


def packed_rows(pixels: Samples, depth: int) -> NDArray[np.uint8]:
    """Rows of bytes (H, ceil(W * depth / 8)) of samples of 1, 2, 4 or 8 bits, the first in the high bits."""
    height, width = pixels.shape
    places = 8 // depth
    padded = np.zeros((height, -(-width // places) * places), np.uint8)
    padded[:, :width] = pixels
    shifts = np.arange(places - 1, -1, -1, dtype=np.uint8) * np.uint8(depth)
    grouped = padded.reshape(height, -1, places) << shifts
    packed: NDArray[np.uint8] = np.bitwise_or.reduce(grouped, axis=2, dtype=np.uint8)
    return packed
