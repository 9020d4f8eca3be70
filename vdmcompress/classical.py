"""Classical coding for what diffusion does not serve: the best of WebP lossless and PNG.

A WebP payload is the bare VP8L bitstream; its RIFF wrapping (20 bytes) is put back for decoding. Grey and
indices are stored in it as RGB with equal channels; alpha stays alpha.
"""

import io
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, WebPImagePlugin

from vdmcompress.errors import DECODER_ERRORS, damaged
from vdmcompress.header import Header, Kind
from vdmcompress.picture import Samples, mode_of
from vdmcompress.png import parse_png, png_of, png_samples, png_size

__all__ = ["WEBP_SIDE", "decode_classical", "encode_classical", "may_beat", "small_may_beat"]

Pixels: TypeAlias = NDArray[np.uint8]

_RIFF_BYTES: Final = 20
_VP8L_SIGNATURE: Final = 0x2F

WEBP_SIDE: Final = 16383
"""Most pixels that a WebP has on a side."""

SMALL_PIXELS: Final = 1 << 12
"""Up to here full effort takes milliseconds, and no screen is asked."""

SMALL_MARGINS: Final = ((3.0, 1.1), (1.5, 1.3), (0.0, 4.0))
SMALL_SLACK_BYTES: Final = 16
"""By the least bits a value that little effort takes for a small image: it takes at most so many times what
full effort does, and bytes.  Met were 1.08, 1.25 and 3.6 times, on 1,152 pieces of all kinds of pictures and
500 images of CIFAR-10."""

SAMPLE_PIXELS: Final = 1 << 19
SAMPLE_SHARE: Final = 16
SAMPLE_STRIPS: Final = 8
"""The slower trials see so many pixels, or one of so many if that is more, in strips from top to bottom."""

SLAB_PIXELS: Final = 1 << 22
"""Larger images are tried in slabs of so many: libwebp takes some 40 bytes a pixel."""

PHOTO_BPD: Final = 1.5
PHOTO_COPIES: Final = 0.25
"""A photograph takes more bits a value, and repeats a smaller share of its runs exactly, than these."""

GLANCE_MARGIN: Final = 1.5
"""Method 0 is at most that far above full effort on photographs in colour; met was 1.34."""

TRIAL_QUALITY: Final = 99
"""The most that does not try every transform; copies are looked for as far away as at full effort."""

QUICK_QUALITY: Final = 75
QUICK_MARGIN: Final = 1.1
PHOTO_MARGIN: Final = 1.05
FINE_MARGIN: Final = 1.016
OTHER_MARGIN: Final = 1.6
SLACK_BYTES: Final = 64
"""Full effort is taken to gain at most this on the estimates: factors (see docs/format.md) and bytes."""

RUN_VALUES: Final = 24
_HASH_SEED: Final = 0x9E3779B97F4A7C15


def encode_classical(pixels: Samples, depth: int = 8, indexed: bool = False) -> tuple[Kind, bytes]:
    """Kind and payload: the smaller of WebP (lossless, method 6, quality 100, exact) and PNG.

    pixels: uint8 or (depth 16) uint16, (H, W) or (H, W, 2..4); values below 2**depth.  indexed: they are
    indices of a palette.  16 bits, and more than 16383 pixels a side, are PNG.  Takes 20 to 40 seconds a
    megapixel on photographs, less on others.
    """
    candidates = [(Kind.PNG, _png(pixels, depth, indexed))]
    if depth <= 8 and max(pixels.shape[:2]) <= WEBP_SIDE:
        candidates += [(Kind.WEBP, _webp(pixels, method)) for method in (6, 2)]
    return min(candidates, key=lambda candidate: len(candidate[1]))


def may_beat(pixels: Pixels, size: int, *, careful: bool = True, threads: int = 1) -> bool:
    """Whether encode_classical may give fewer than size bytes: a cheap screen, false only by a safe margin.

    On photographs full effort (method 6, quality 100) mostly gains by predictions without the subtraction of
    green, which lesser effort chooses too seldom. Adding green beforehand undoes the subtraction: the better
    of both comes within 8 % of full effort at method 2 and quality 75, which decides for most photographs,
    within 3.2 % at method 4, within 0.8 % at method 6, both at quality 99 (grey images too). What is not
    clearly a photograph gets a wide margin.

    Without care the screen is a glance: method 0, some 14 % above full effort on photographs, is asked only.
    """
    height, width = pixels.shape[:2]
    if height * width <= SMALL_PIXELS:
        return True
    if max(height, width) > WEBP_SIDE:
        return len(_png(pixels)) < size
    with ThreadPoolExecutor(threads) as pool:
        glance = _slab_sizes(pixels, 0, 0, pool)
        if size > glance or not careful:
            return size > glance
        copies = _copies(pixels)
        if copies > PHOTO_COPIES:
            return _other(size, _slab_sizes(pixels, 2, QUICK_QUALITY, pool))
        photo = pixels.ndim == 3 and 8 * glance >= PHOTO_BPD * GLANCE_MARGIN * pixels.size
        if photo and size * (GLANCE_MARGIN + copies) + SLACK_BYTES <= glance:
            return False
        part, scale, unseen = _sample(pixels), 1.0, 0.0
        if part is not pixels:
            scale, unseen = _slab_sizes(pixels, 2, QUICK_QUALITY, pool), copies
            scale /= _slab_sizes(part, 2, QUICK_QUALITY, pool)
        variants, efforts = [part], [(6, TRIAL_QUALITY, FINE_MARGIN)]
        if part.ndim == 3:
            variants = [part, _add_green(part)]
            efforts = [(2, QUICK_QUALITY, QUICK_MARGIN), (4, TRIAL_QUALITY, PHOTO_MARGIN), *efforts]
        estimate = float(glance)
        for method, quality, margin in efforts:
            count = len(variants)
            sizes = pool.map(_size, variants, [method] * count, [quality] * count)
            estimate = min(estimate, scale * min(sizes))
            if 8 * estimate < PHOTO_BPD * margin * pixels.size:
                if quality == QUICK_QUALITY:
                    continue
                return _other(size, estimate)
            if size >= estimate:
                return True
            if size * (margin + unseen) + SLACK_BYTES <= estimate:
                return False
    return True


def _other(size: int, estimate: float) -> bool:
    """What `may_beat` says of an image that is no photograph."""
    return size * OTHER_MARGIN + SLACK_BYTES > estimate


def small_may_beat(pixels: Pixels, size: int) -> bool:
    """`may_beat` of images up to SMALL_PIXELS that are one of many, for which full effort takes too long."""
    quick = _size(pixels, 2, QUICK_QUALITY)
    margin = next(most for least, most in SMALL_MARGINS if 8 * quick >= least * pixels.size)
    return quick < margin * size + SMALL_SLACK_BYTES


def decode_classical(kind: Kind, data: bytes | memoryview, header: Header) -> Samples:
    """Samples of a classical payload: uint8 or (depth 16) uint16, (H, W) or (H, W, C) without an alpha apart.

    Raises DamagedFileError unless it decodes to the header's size, channels and depth; the size in the
    payload is checked before anything is allocated for it.
    """
    data = bytes(data)
    try:
        size = _webp_size(data) if kind is Kind.WEBP else png_size(data)
    except ValueError as error:
        raise damaged(f"its payload is no {'VP8L bitstream' if kind is Kind.WEBP else 'PNG'}") from error
    if size != (header.width, header.height):
        raise damaged(
            f"{kind.name} payload of {size[0]}x{size[1]}, header says {header.width}x{header.height}"
        )
    try:
        pixels = _webp_samples(data, header) if kind is Kind.WEBP else _png_samples(data, header)
    except DECODER_ERRORS as error:
        raise damaged(f"{kind.name} payload: {error}") from error
    shape = (header.height, header.width, header.payload_channels)[: 2 if header.payload_channels == 1 else 3]
    if pixels.dtype != (np.uint16 if header.depth == 16 else np.uint8) or pixels.shape != shape:
        raise damaged(f"{kind.name} payload holds {pixels.dtype} {pixels.shape}, header says {shape}")
    if header.depth < 8 and int(pixels.max()) >> header.depth:
        raise damaged(f"{kind.name} payload holds {pixels.max()} in {header.depth} bits")
    return pixels


def _webp_samples(data: bytes, header: Header) -> Pixels:
    """Samples of a VP8L bitstream, as many a pixel as the header says (alpha that it leaves out is 255)."""
    with WebPImagePlugin.WebPImageFile(io.BytesIO(_wrap(data))) as image:
        image.load()
        pixels = np.array(image)
    channels = header.payload_channels
    if channels in (1, 3):
        return np.ascontiguousarray(pixels[:, :, 0]) if channels == 1 else pixels
    if pixels.shape[2] == 3:
        pixels = np.dstack((pixels, np.full(pixels.shape[:2], 255, np.uint8)))
    return pixels if channels == 4 else np.ascontiguousarray(pixels[:, :, (0, 3)])


def _png_samples(data: bytes, header: Header) -> Samples:
    """Samples of a PNG, which must have the mode and depth of the header."""
    png = parse_png(data)
    mode = mode_of(header.payload_channels, header.indexed)
    if (png.mode, png.depth) != (mode, header.depth):
        raise ValueError(f"{png.depth} bits of {png.mode.name}, header says {header.depth} of {mode.name}")
    return png_samples(png)


def _webp(pixels: Samples, method: int, quality: int = 100) -> bytes:
    """VP8L bitstream of pixels."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "WEBP", lossless=True, method=method, quality=quality, exact=True)
    data = out.getvalue()
    (length,) = struct.unpack_from("<I", data, _RIFF_BYTES - 4)
    return data[_RIFF_BYTES : _RIFF_BYTES + length]


def _size(pixels: Pixels, method: int, quality: int) -> int:
    """Bytes at a method and quality."""
    return len(_webp(pixels, method, quality))


def _slab_sizes(pixels: Pixels, method: int, quality: int, pool: ThreadPoolExecutor) -> int:
    """Bytes at a method and quality, of slabs of rows where the image is large."""
    rows = max(1, SLAB_PIXELS // pixels.shape[1])
    slabs = [pixels[top : top + rows] for top in range(0, len(pixels), rows)]
    return sum(pool.map(_size, slabs, [method] * len(slabs), [quality] * len(slabs)))


def _png(pixels: Samples, depth: int = 8, indexed: bool = False) -> bytes:
    return png_of(pixels, mode_of(1 if pixels.ndim == 2 else pixels.shape[2], indexed), depth)


def _wrap(bitstream: bytes) -> bytes:
    """A WebP file around a VP8L bitstream, padded to an even length."""
    padded = bitstream + b"\0" * (len(bitstream) % 2)
    return struct.pack("<4sI4s4sI", b"RIFF", 12 + len(padded), b"WEBP", b"VP8L", len(bitstream)) + padded


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height that a VP8L bitstream states: 14 bits each, less one, after the signature."""
    if len(data) < 5 or data[0] != _VP8L_SIGNATURE:
        raise ValueError("no VP8L signature")
    bits = int.from_bytes(data[1:5], "little")
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1


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
