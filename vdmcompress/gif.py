"""What a still GIF says beside its indices: where they lie, and the colours that they stand for."""

from dataclasses import dataclass
from typing import Final

__all__ = ["Still", "read_still"]

_SCREEN_END: Final = 13
_DEPTHS: Final = (1, 2, 4, 4, 8, 8, 8, 8)
_EXTENSION, _PICTURE, _END = 0x21, 0x2C, 0x3B


@dataclass(frozen=True)
class Still:
    """The only picture of a GIF.

    place: left, top, width, height on the canvas.  palette: three bytes for each of 2 to 256 colours.
    depth: bits that a PNG needs for indices of such a palette.
    """

    place: tuple[int, int, int, int]
    palette: bytes
    depth: int


def read_still(data: bytes) -> Still:
    """The first picture of a GIF; ValueError where there is none or it has no colours."""
    flags = data[10]
    palette = _table(data, _SCREEN_END, flags)
    at = _SCREEN_END + len(palette)
    while data[at] == _EXTENSION:
        at = _after_blocks(data, at + 2)
    if data[at] != _PICTURE:
        raise ValueError("a GIF without a picture" if data[at] == _END else "an unknown block in a GIF")
    left, top, width, height = (int.from_bytes(data[at + i : at + i + 2], "little") for i in (1, 3, 5, 7))
    palette = _table(data, at + 10, data[at + 9]) or palette
    if not palette:
        raise ValueError("a GIF without colours")
    return Still((left, top, width, height), palette, _DEPTHS[(len(palette) // 3).bit_length() - 2])


def _table(data: bytes, at: int, flags: int) -> bytes:
    """The table of colours at a place; none where the flags say so."""
    if not flags & 0x80:
        return b""
    length = 3 * (2 << (flags & 7))
    if at + length > len(data):
        raise ValueError("a GIF that is cut off")
    return data[at : at + length]


def _after_blocks(data: bytes, at: int) -> int:
    """The place after a chain of blocks, each with its length before it, that an empty one ends."""
    while data[at]:
        at += 1 + data[at]
    return at + 1
