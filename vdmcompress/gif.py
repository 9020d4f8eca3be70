"""What a still GIF says beside its indices: their place, the colours they stand for, comments, profiles."""

from dataclasses import dataclass
from typing import Final

__all__ = ["Still", "read_still"]

_SCREEN_END: Final = 13
_DEPTHS: Final = (1, 2, 4, 4, 8, 8, 8, 8)
_EXTENSION, _PICTURE, _END = 0x21, 0x2C, 0x3B
_PLAIN_TEXT, _CONTROL, _COMMENT, _APPLICATION = 0x01, 0xF9, 0xFE, 0xFF
_XMP, _ICC = b"XMP DataXMP", b"ICCRGBG1012"
_XMP_END: Final = bytes((1, *range(255, -1, -1), 0))
_LOOPS: Final = (b"NETSCAPE2.0", b"ANIMEXTS1.0")


@dataclass(frozen=True)
class Still:
    """The only picture of a GIF.

    place: left, top, width, height on the canvas.  palette: three bytes for each of 2 to 256 colours.
    depth: bits that a PNG needs for indices of such a palette.  comments: of the whole file.  profiles: XMP
    and ICC by their names in the info of a Pillow image.  lost: names of other extensions but those of
    animations.  end: the place behind all of it.
    """

    place: tuple[int, int, int, int]
    palette: bytes
    depth: int
    comments: tuple[bytes, ...]
    profiles: dict[str, bytes]
    lost: tuple[str, ...]
    end: int


def read_still(data: bytes) -> Still:
    """The first picture of a GIF; ValueError where there is none or it has no colours."""
    flags = data[10]
    palette = _table(data, _SCREEN_END, flags)
    extensions, at = _extensions(data, _SCREEN_END + len(palette))
    if data[at] != _PICTURE:
        raise ValueError("a GIF without a picture" if data[at] == _END else "an unknown block in a GIF")
    left, top, width, height = (int.from_bytes(data[at + i : at + i + 2], "little") for i in (1, 3, 5, 7))
    own = _table(data, at + 10, data[at + 9])
    palette = own or palette
    if not palette:
        raise ValueError("a GIF without colours")
    _, at = _blocks(data, at + 11 + len(own))
    later, at = _extensions(data, at)
    comments, profiles, lost = _sorted(extensions + later)
    depth = _DEPTHS[(len(palette) // 3).bit_length() - 2]
    end = at + (data[at : at + 1] == bytes((_END,)))
    return Still((left, top, width, height), palette, depth, comments, profiles, lost, end)


def _extensions(data: bytes, at: int) -> tuple[list[tuple[int, bytes, list[bytes]]], int]:
    """Label, whole content and blocks of each extension from a place on, and the place behind them.

    At the end of the file, which may lack its last byte, none.
    """
    found = []
    while data[at : at + 1] == bytes((_EXTENSION,)):
        label = data[at + 1]
        blocks, end = _blocks(data, at + 2)
        found.append((label, data[at + 2 : end], blocks))
        at = end
    return found, at


def _sorted(
    extensions: list[tuple[int, bytes, list[bytes]]],
) -> tuple[tuple[bytes, ...], dict[str, bytes], tuple[str, ...]]:
    """Comments, profiles, and names of what is not kept."""
    comments: list[bytes] = []
    profiles: dict[str, bytes] = {}
    lost: list[str] = []
    for label, content, blocks in extensions:
        name = blocks[0] if label == _APPLICATION and blocks else b""
        if label == _COMMENT:
            comments.append(b"".join(blocks))
        elif name == _XMP and content.endswith(_XMP_END) and "xmp" not in profiles:
            profiles["xmp"] = content[1 + len(_XMP) : -len(_XMP_END)]
        elif name == _ICC and "icc_profile" not in profiles:
            profiles["icc_profile"] = b"".join(blocks[1:])
        elif label == _PLAIN_TEXT:
            lost.append("GIF text over the picture")
        elif label != _CONTROL and name not in _LOOPS:
            lost.append(f"GIF extension {name.decode('latin-1') or label!r}")
    return tuple(comments), profiles, tuple(lost)


def _table(data: bytes, at: int, flags: int) -> bytes:
    """The table of colours at a place; none where the flags say so."""
    if not flags & 0x80:
        return b""
    length = 3 * (2 << (flags & 7))
    if at + length > len(data):
        raise ValueError("a GIF that is cut off")
    return data[at : at + length]


def _blocks(data: bytes, at: int) -> tuple[list[bytes], int]:
    """A chain of blocks, each with its length before it, that an empty one ends, and the place behind it."""
    found = []
    while length := data[at]:
        found.append(data[at + 1 : at + 1 + length])
        at += 1 + length
    return found, at + 1
