"""Image files made by hand, of kinds that Pillow cannot write or would alter."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (7, 5, 3)).astype(np.uint8)
GREY = RNG.integers(0, 256, (5, 6)).astype(np.uint8)


def saved(image, format, **options):
    out = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(out, format, **options)
    return out.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(depth, colour, rows, *chunks, after=()):
    """A PNG of raw rows (without filter bytes); chunks go before the pixels."""
    width = len(rows[0]) * 8 // (depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour])
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)),
            *chunks,
            chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))),
            *after,
            chunk(b"IEND", b""),
        )
    )


def tiff(bits, samples, data, photometric):
    """An uncompressed little-endian TIFF of one 2x1 strip."""
    entries = [
        (256, 3, 1, 2),
        (257, 3, 1, 1),
        (259, 3, 1, 1),
        (262, 3, 1, photometric),
        (273, 4, 1, 8),
        (277, 3, 1, samples),
        (278, 3, 1, 1),
        (279, 4, 1, len(data)),
    ]
    extra = 8 + len(data)
    entries.insert(
        2, (258, 3, samples, extra if samples > 2 else bits | bits << 16 if samples == 2 else bits)
    )
    if samples in (2, 4):
        entries.append((338, 3, 1, 0))
    table = extra + 2 * samples
    body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<I", table) + data + struct.pack("<H", bits) * samples + body + bytes(4)


def bmp(bits, masks, data):
    """A bottom-up BMP of 2x1 pixels with bit masks."""
    header = struct.pack("<IiiHHIIiiII", 40, 2, 1, 1, bits, 3, len(data), 0, 0, 0, 0)
    start = 14 + len(header) + 4 * len(masks)
    head = b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start)
    return head + header + struct.pack(f"<{len(masks)}I", *masks) + data


def animation(format):
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    return saved(frames[0], format, save_all=True, append_images=frames[1:], lossless=True)
