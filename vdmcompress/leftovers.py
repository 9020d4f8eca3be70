"""Bytes of a file behind its picture, which readers pass over: a video, an archive, one more picture."""

import re
from collections.abc import Callable
from typing import Any, Final

from vdmcompress.gif import read_still

__all__ = ["leftover"]

_QOI_END: Final = bytes(7) + b"\x01"
_MARKER: Final = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
_START, _END, _SCAN, _ALONE = 0xD8, 0xD9, 0xDA, 0x01
_COMMENT: Final = re.compile(rb"#[^\r\n]*")
_NO_NUMBER: Final = re.compile(rb"[^0-9\s]")


def leftover(image: Any, data: bytes) -> bytes:
    """What follows the picture of an opened file; nothing where those are zeros or blanks, as padding is.

    TIFF is not looked at, in which anything may lie anywhere.  Raises IndexError or ValueError for a file
    that is cut off.
    """
    find = _ENDS.get(str(image.format))
    end = len(data) if find is None else find(image, data)
    return b"" if end is None else data[end:].strip(b"\0\t\n\r ")


def _jpeg(_image: Any, data: bytes) -> int | None:
    """Behind the EOI that ends the picture; those of thumbnails lie within segments."""
    at = 2
    while (found := _MARKER.search(data, at)) is not None:
        marker, at = data[found.end() - 1], found.end()
        if marker == _END:
            return at
        if marker not in (_START, _ALONE):
            at += int.from_bytes(data[at : at + 2], "big")
    return None


def _webp(_image: Any, data: bytes) -> int:
    size = int.from_bytes(data[4:8], "little")
    return 8 + size + size % 2


def _bmp(image: Any, data: bytes) -> int | None:
    """Behind rows of whole words; run lengths say their own end, which the header gives."""
    start, header = (int.from_bytes(data[at : at + 4], "little") for at in (10, 14))
    if header == 12:
        bits, packed, size = int.from_bytes(data[24:26], "little"), 0, 0
    else:
        bits = int.from_bytes(data[28:30], "little")
        packed, size = (int.from_bytes(data[at : at + 4], "little") for at in (30, 34))
    if packed in (1, 2):
        return start + size if size else None
    end = start + (bits * int(image.width) + 31) // 32 * 4 * int(image.height)
    if header >= 124:
        profile, length = (int.from_bytes(data[at : at + 4], "little") for at in (126, 130))
        end = max(end, 14 + profile + length if profile else 0)
    return end


def _ppm(image: Any, data: bytes) -> int:
    codec, _, start, arguments = image.tile[0]
    samples = image.width * image.height * len(image.getbands())
    if codec == "ppm_plain":
        return _plain_end(data, start)
    raw = arguments[0] if isinstance(arguments, tuple) else arguments
    if raw == "1;I":
        return int(start + (image.width + 7) // 8 * image.height)
    wide = raw == "I;16B" or (isinstance(arguments, tuple) and len(arguments) > 1 and arguments[-1] > 255)
    return int(start + samples * (2 if wide else 1))


def _plain_end(data: bytes, start: int) -> int:
    """Before the first sign of a plain file that is neither digit nor blank, outside of comments."""
    numbers = _COMMENT.sub(lambda met: b" " * len(met[0]), data[start:])
    found = _NO_NUMBER.search(numbers)
    return len(data) if found is None else start + found.start()


def _qoi(_image: Any, data: bytes) -> int:
    """Behind the mark that no run of operations holds."""
    return data.index(_QOI_END, 14) + len(_QOI_END)


def _gif(_image: Any, data: bytes) -> int:
    return read_still(data).end


_ENDS: Final[dict[str, Callable[[Any, bytes], int | None]]] = {
    "BMP": _bmp,
    "GIF": _gif,
    "JPEG": _jpeg,
    "MPO": _jpeg,
    "PPM": _ppm,
    "QOI": _qoi,
    "WEBP": _webp,
}
"""Where the picture of each format ends, by Pillow's name; None where it does not say."""
