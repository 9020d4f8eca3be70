"""Directories and metadata of a group as they are stored: plain, or as an LZMA stream where that is smaller.

A window of megabytes, where zlib has 32 kB, finds what the metadata of different images have in common.  The
stream is raw LZMA2; its settings are part of the format, so that nothing in the file says how much memory
reading takes: the window has 4 MiB at most.
"""

from __future__ import annotations

from types import ModuleType
from typing import Final

from vdmcompress.errors import UnsupportedImageError, damaged

__all__ = ["MOST_TIMES", "compacted", "expanded"]

MOST_TIMES: Final = 4096
"""Most bytes that a byte of a stream stands for: it bounds the work by the size of the file."""

_LEAST_WINDOW: Final = 1 << 12
_MOST_WINDOW: Final = 1 << 22


def compacted(raw: bytes) -> bytes:
    """What is stored for the bytes: a stream that is shorter, or the bytes themselves."""
    lzma = _lzma()
    stored: bytes = lzma.compress(raw, lzma.FORMAT_RAW, filters=_filters(lzma, len(raw)))
    return stored if len(stored) < len(raw) <= MOST_TIMES * len(stored) else raw


def expanded(stored: bytes, length: int, what: str) -> bytes:
    """The inverse: exactly ``length`` bytes, of which a stream is shorter; DamagedFileError for any other."""
    if len(stored) == length:
        return stored
    if length > MOST_TIMES * len(stored):
        raise damaged(f"{what}: {length} bytes in {len(stored)}, allowed are {MOST_TIMES} times as many")
    lzma = _lzma()
    stream = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_filters(lzma, length))
    try:
        raw: bytes = stream.decompress(stored, length + 1)
    except lzma.LZMAError as error:
        raise damaged(f"{what}: {error}") from error
    if len(raw) != length or not stream.eof or stream.unused_data:
        raise damaged(f"{what}: a stream that does not end after {length} bytes")
    return raw


def _filters(lzma: ModuleType, length: int) -> list[dict[str, int]]:
    """Of the format are LZMA2, lc, lp, pb and the window; the rest is how hard the encoder tries."""
    window = min(max(length, _LEAST_WINDOW), _MOST_WINDOW)
    fixed = {"id": lzma.FILTER_LZMA2, "lc": 3, "lp": 0, "pb": 0, "dict_size": window}
    return [fixed | {"mode": lzma.MODE_NORMAL, "mf": lzma.MF_BT4, "nice_len": 273, "depth": 0}]


def _lzma() -> ModuleType:
    """The module, which a Python that was built without its library does not have."""
    try:
        import lzma
    except ImportError as error:
        raise UnsupportedImageError(
            "this Python was built without lzma, which archives are read and written with; use another one"
        ) from error
    return lzma
