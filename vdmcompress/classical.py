"""Classical coding for what diffusion does not serve: the best of WebP lossless and PNG.

A WebP payload is the bare VP8L bitstream; its RIFF wrapping (20 bytes) is put back for decoding.
"""

import io
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, WebPImagePlugin

from vdmcompress.container import Header, Kind
from vdmcompress.errors import damaged
from vdmcompress.image_io import DECODER_ERRORS, WEBP_SIDE

__all__ = ["decode_classical", "encode_classical", "may_beat"]

Pixels: TypeAlias = NDArray[np.uint8]

_RIFF_BYTES: Final = 20
_VP8L_SIGNATURE: Final = 0x2F
_PNG_IHDR: Final = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"

SMALL_PIXELS: Final = 1 << 12
"""Up to here full effort takes milliseconds, and no screen is asked."""

SAMPLE_PIXELS: Final = 1 << 19
SAMPLE_SHARE: Final = 16
SAMPLE_STRIPS: Final = 8
"""The slower trials see so many pixels, or one of so many if that is more, in strips from top to bottom."""

PHOTO_BPD: Final = 1.5
PHOTO_COPIES: Final = 0.25
"""A photograph takes more bits a value, and repeats a smaller share of its runs exactly, than these."""

PHOTO_MARGIN: Final = 1.05
FINE_MARGIN: Final = 1.03
OTHER_MARGIN: Final = 1.6
SLACK_BYTES: Final = 64
"""Full effort is taken to gain at most this on the estimates: factors (see docs/format.md) and bytes."""

RUN_VALUES: Final = 24
_HASH_SEED: Final = 0x9E3779B97F4A7C15


def encode_classical(pixels: Pixels) -> tuple[Kind, bytes]:
    """Kind and payload: the smaller of WebP (lossless, method 6, quality 100, exact) and PNG.

    pixels: uint8 (H, W) or (H, W, 3).  Beyond 16383 pixels a side it is PNG.  Takes 20 to 40 seconds a
    megapixel on photographs, less on others.
    """
    candidates = [(Kind.PNG, _png(pixels))]
    if max(pixels.shape[:2]) <= WEBP_SIDE:
        candidates += [(Kind.WEBP, _webp(pixels, method)) for method in (6, 2)]
    return min(candidates, key=lambda candidate: len(candidate[1]))


def may_beat(pixels: Pixels, size: int, *, careful: bool = True, threads: int = 1) -> bool:
    """Whether encode_classical may give fewer than size bytes: a cheap screen, false only by a safe margin.

    On photographs full effort (method 6, quality 100) mostly gains by predictions without the subtraction of
    green, which lesser effort chooses too seldom. Adding green beforehand undoes the subtraction: the better
    of both comes within 2.4 % of full effort at method 4, within 1.5 % at method 6 and quality 75 (grey
    images too). The margins are twice that. What is not clearly a photograph gets a wide one.

    Without care the screen is a glance: method 0, some 10 % above full effort on photographs, is asked only.
    """
    height, width = pixels.shape[:2]
    if height * width <= SMALL_PIXELS:
        return True
    if max(height, width) > WEBP_SIDE:
        return len(_png(pixels)) < size
    if not careful:
        return len(_webp(pixels, 0, 0)) < size
    whole = len(_webp(pixels, 2, 75))
    if size > whole:
        return True
    copies = _copies(pixels)
    if copies > PHOTO_COPIES or 8 * whole < PHOTO_BPD * pixels.size:
        return size * OTHER_MARGIN + SLACK_BYTES > whole
    part = _sample(pixels)
    variants, efforts = [part], [(6, FINE_MARGIN)]
    if part.ndim == 3:
        variants, efforts = [part, _add_green(part)], [(4, PHOTO_MARGIN), *efforts]
    with ThreadPoolExecutor(threads) as pool:
        reference = whole if part is pixels else pool.submit(_size, part, 2).result()
        for method, margin in efforts:
            least = min(reference, *pool.map(_size, variants, [method] * len(variants)))
            if size * (margin + copies) + SLACK_BYTES <= whole * least / reference:
                return False
    return True


def decode_classical(kind: Kind, data: bytes | memoryview, header: Header) -> Pixels:
    """Pixels uint8 (H, W) or (H, W, 3) of a classical payload.

    Raises DamagedFileError unless it decodes to the header's size and channels; the size in the payload is
    checked before anything is allocated for it.
    """
    data = bytes(data)
    size = _webp_size(data) if kind is Kind.WEBP else _png_size(data)
    if size != (header.width, header.height):
        raise damaged(
            f"{kind.name} payload of {size[0]}x{size[1]}, header says {header.width}x{header.height}"
        )
    try:
        if kind is Kind.WEBP:
            image: Image.Image = WebPImagePlugin.WebPImageFile(io.BytesIO(_wrap(data)))
        else:
            image = PngImagePlugin.PngImageFile(io.BytesIO(data))
        with image:
            image.load()
            pixels = np.array(image)
    except DECODER_ERRORS as error:
        raise damaged(f"{kind.name} payload: {error}") from error
    if kind is Kind.WEBP and header.channels == 1 and pixels.ndim == 3:
        pixels = np.ascontiguousarray(pixels[:, :, 0])
    shape = (header.height, header.width) if header.channels == 1 else (header.height, header.width, 3)
    if pixels.dtype != np.uint8 or pixels.shape != shape:
        raise damaged(f"{kind.name} payload holds {pixels.dtype} {pixels.shape}, header says {shape}")
    return pixels


def _webp(pixels: Pixels, method: int, quality: int = 100) -> bytes:
    """VP8L bitstream of pixels."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "WEBP", lossless=True, method=method, quality=quality, exact=True)
    data = out.getvalue()
    (length,) = struct.unpack_from("<I", data, _RIFF_BYTES - 4)
    return data[_RIFF_BYTES : _RIFF_BYTES + length]


def _size(pixels: Pixels, method: int) -> int:
    """Bytes at a method and quality 75."""
    return len(_webp(pixels, method, 75))


def _png(pixels: Pixels) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", optimize=True)
    return out.getvalue()


def _wrap(bitstream: bytes) -> bytes:
    """A WebP file around a VP8L bitstream, padded to an even length."""
    padded = bitstream + b"\0" * (len(bitstream) % 2)
    return struct.pack("<4sI4s4sI", b"RIFF", 12 + len(padded), b"WEBP", b"VP8L", len(bitstream)) + padded


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height that a VP8L bitstream states: 14 bits each, less one, after the signature."""
    if len(data) < 5 or data[0] != _VP8L_SIGNATURE:
        raise damaged("its payload is no VP8L bitstream")
    bits = int.from_bytes(data[1:5], "little")
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1


def _png_size(data: bytes) -> tuple[int, int]:
    """Width and height that a PNG states."""
    if len(data) < len(_PNG_IHDR) + 8 or not data.startswith(_PNG_IHDR):
        raise damaged("its payload is no PNG")
    width, height = struct.unpack_from(">II", data, len(_PNG_IHDR))
    return width, height


def _copies(pixels: Pixels) -> float:
    """Share of horizontal runs (8 RGB or 24 grey pixels) that occur elsewhere in the image too.

    Counted over the runs with a certain hash, about one of 64, so that both of a pair are counted or neither.
    """
    run = RUN_VALUES if pixels.ndim == 2 else RUN_VALUES // 3
    width = pixels.shape[1] - run + 1
    if width < 1:
        return 1.0
    factors = np.random.PCG64(_HASH_SEED).random_raw(run + 1) | np.uint64(1)
    kept = []
    for row in pixels:
        colours = row.astype(np.uint64) if row.ndim == 1 else row @ np.array([1 << 16, 1 << 8, 1], np.uint64)
        hashes = np.full(width, _HASH_SEED, np.uint64)
        for k in range(run):
            hashes += colours[k : k + width] * factors[k]
        hashes = (hashes ^ (hashes >> np.uint64(32))) * factors[run]
        kept.append(hashes[hashes >> np.uint64(58) == 0])
    found = np.concatenate(kept)
    return 1 - len(np.unique(found)) / len(found) if len(found) else 0.0


def _sample(pixels: Pixels) -> Pixels:
    """The pixels themselves, or strips of full width from top to bottom, one above the other."""
    height, width = pixels.shape[:2]
    wanted = max(SAMPLE_PIXELS, height * width // SAMPLE_SHARE)
    rows = max(1, wanted // (width * SAMPLE_STRIPS))
    if rows * SAMPLE_STRIPS >= height:
        return pixels
    starts = [(height - rows) * i // (SAMPLE_STRIPS - 1) for i in range(SAMPLE_STRIPS)]
    return np.concatenate([pixels[start : start + rows] for start in starts])


def _add_green(pixels: Pixels) -> Pixels:
    """Red and blue with green added, modulo 256; pixels (H, W, 3)."""
    added = pixels + pixels[:, :, 1:2]
    added[:, :, 1] = pixels[:, :, 1]
    return added
