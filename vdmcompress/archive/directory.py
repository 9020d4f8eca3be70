"""What a group says of its members, in columns: kinds and sizes, names, times, permissions.

    flags | runs | names | [times] | [permissions]

Members stand in the order in which they are coded.  The columns compress to about a byte a member where
names are numbered and sizes equal, which matters beside images of a thousand bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vdmcompress.archive.names import MAX_NAME, decode_name, encode_name, name_fault
from vdmcompress.errors import damaged
from vdmcompress.picture import DEPTHS, Mode, mode_name
from vdmcompress.wire import Reader, varint

__all__ = ["MAX_IMAGES", "MAX_NAMES", "MAX_RAW", "Member", "pack_directory", "read_directory"]

MAX_IMAGES: Final = 1 << 16
"""Most members of a group."""

MAX_RAW: Final = 1 << 24
"""Most bytes of a directory, uncompressed."""

MAX_NAMES: Final = 1 << 22
"""Most bytes of all names of a group: those that share their beginnings take many times what is stored."""

_TIMES: Final = 0x01
_PERMISSIONS: Final = 0x02
_LAYOUT_BITS: Final = 0x3F
_SINGLE_BIT: Final = 0x40
_DEPTH_SHIFT: Final = 3
_MODE_BITS: Final = 0x07
_MOST_PERMISSIONS: Final = 0o777


@dataclass(frozen=True)
class Member:
    """An image of an archive, as `list` tells it.

    name: a relative path.  width, height: pixels.  mode, depth: of the picture.  single: it is coded as a
    whole `.vdm` file of its own, not together with others.  modified: seconds since 1970, None if not kept;
    permissions: the nine bits of a file's mode, None if not kept.
    """

    name: str
    width: int
    height: int
    mode: Mode
    depth: int
    single: bool = False
    modified: int | None = None
    permissions: int | None = None

    @property
    def values(self) -> int:
        """Samples of the picture."""
        return self.width * self.height * self.mode.channels

    @property
    def batch_channels(self) -> int:
        """Channels that are coded by diffusion where the member is no single: those without alpha."""
        return 3 if self.mode in (Mode.RGB, Mode.RGBA) else 1

    @property
    def has_alpha(self) -> bool:
        """The mode has an alpha channel."""
        return self.mode in (Mode.GREY_ALPHA, Mode.RGBA)

    @property
    def run(self) -> tuple[int, int, int]:
        """What neighbours in a run have in common: layout and coding, width, height."""
        layout = self.mode | (self.depth.bit_length() - 1) << _DEPTH_SHIFT
        return layout | (_SINGLE_BIT if self.single else 0), self.width, self.height


def pack_directory(members: Sequence[Member]) -> bytes:
    """The directory, uncompressed, of sound members; times and permissions where all have them."""
    times = all(member.modified is not None for member in members)
    permissions = all(member.permissions is not None for member in members)
    parts = [bytes(((_TIMES if times else 0) | (_PERMISSIONS if permissions else 0),))]
    runs: list[list[Any]] = []
    for member in members:
        if runs and runs[-1][0] == member.run:
            runs[-1][1] += 1
        else:
            runs.append([member.run, 1])
    parts.append(varint(len(runs)))
    for (layout, width, height), count in runs:
        parts += [varint(count), bytes((layout,)), varint(width), varint(height)]
    parts += _pack_names([encode_name(member.name) for member in members])
    if times:
        seconds = np.array([member.modified for member in members], "<i8")
        parts.append(_columns(np.diff(seconds, prepend=np.zeros(1, "<i8"))))
    if permissions:
        parts.append(_columns(np.array([member.permissions for member in members], "<u2")))
    return b"".join(parts)


def read_directory(raw: bytes, count: int) -> list[Member]:
    """Members of a directory, ``count`` of them; DamagedFileError for anything but a sound one."""
    if not 1 <= count <= MAX_IMAGES:
        raise damaged(f"a group of {count} images, allowed are 1 to {MAX_IMAGES}")
    reader = Reader(memoryview(raw), where="directory")
    flags = reader.byte()
    if flags & ~(_TIMES | _PERMISSIONS):
        raise damaged(f"flags {flags:#04x} in a directory")
    runs = _read_runs(reader, count)
    names = _read_names(reader, count)
    times: Sequence[int | None] = [None] * count
    permissions: Sequence[int | None] = [None] * count
    if flags & _TIMES:
        with np.errstate(over="ignore"):
            times = np.cumsum(_read_columns(reader, "<i8", count), dtype="<i8").tolist()
    if flags & _PERMISSIONS:
        permissions = _read_columns(reader, "<u2", count).tolist()
        if any(p is not None and p > _MOST_PERMISSIONS for p in permissions):
            raise damaged("permissions beyond nine bits in a directory")
    if reader.left:
        raise damaged(f"{reader.left} bytes left over in a directory")
    members: list[Member] = []
    for (layout, width, height), number in runs:
        mode, depth, single = Mode(layout & _MODE_BITS), 1 << ((layout & _LAYOUT_BITS) >> 3), layout >> 6
        for _ in range(number):
            i = len(members)
            members.append(
                Member(names[i], width, height, mode, depth, bool(single), times[i], permissions[i])
            )
    return members


def _read_runs(reader: Reader, count: int) -> list[tuple[tuple[int, int, int], int]]:
    number = reader.varint()
    if not 1 <= number <= count:
        raise damaged(f"{number} runs of {count} images in a directory")
    runs = []
    for _ in range(number):
        length, layout = reader.varint(), reader.byte()
        width, height = reader.varint(), reader.varint()
        sound = layout & _MODE_BITS in Mode.__members__.values() and layout <= _SINGLE_BIT | _LAYOUT_BITS
        depth = 1 << ((layout & _LAYOUT_BITS) >> _DEPTH_SHIFT)
        if not sound or depth not in DEPTHS[Mode(layout & _MODE_BITS)]:
            raise damaged(f"layout {layout:#04x} in a directory does not exist")
        mode = Mode(layout & _MODE_BITS)
        if not layout & _SINGLE_BIT and (depth != 8 or mode is Mode.PALETTE):
            raise damaged(f"{mode_name(mode, depth)} coded by diffusion")
        if not width or not height:
            raise damaged(f"an image of {width}x{height} in a directory")
        runs.append(((layout, width, height), length))
    if sum(length for _, length in runs) != count or not all(length for _, length in runs):
        raise damaged(f"runs of {sum(length for _, length in runs)} images where there are {count}")
    return runs


def _pack_names(names: Sequence[bytes]) -> list[bytes]:
    """The end that all names share, once; then for each how many bytes it shares with the one before."""
    ending = names[0][::-1] if len(names) > 1 else b""
    for name in names:
        ending = ending[: _shared(ending, name[::-1])]
    ending = ending[::-1]
    shared, own = [], []
    before = b""
    for name in names:
        stem = name[: len(name) - len(ending)]
        common = _shared(before, stem)
        shared.append(common)
        own.append(stem[common:])
        before = stem
    lengths = [len(part) for part in own]
    return [
        varint(len(ending)),
        ending,
        _columns(np.array(shared, "<u2")),
        _columns(np.array(lengths, "<u2")),
        *own,
    ]


def _shared(one: bytes, other: bytes) -> int:
    """How many bytes two names have in common at their start."""
    return next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def _read_names(reader: Reader, count: int) -> list[str]:
    ending = reader.take(reader.varint())
    shared = _read_columns(reader, "<u2", count).tolist()
    lengths = _read_columns(reader, "<u2", count).tolist()
    names = []
    before = b""
    total = 0
    for common, length in zip(shared, lengths, strict=True):
        if common > len(before) or common + length + len(ending) > MAX_NAME:
            raise damaged("names in a directory do not follow from one another")
        total += common + length + len(ending)
        if total > MAX_NAMES:
            raise damaged(f"names of more than {MAX_NAMES} bytes in a directory")
        before = before[:common] + reader.take(length)
        name = decode_name(before + ending)
        fault = name_fault(name)
        if fault is not None:
            raise damaged(f"a member's name {name[:100]!r} has {fault}")
        names.append(name)
    if len(set(names)) != count:
        raise damaged("two members of a group have the same name")
    return names


def _columns(values: NDArray[Any]) -> bytes:
    """All first bytes, then all second bytes, ...; little-endian."""
    return values.view(np.uint8).reshape(len(values), -1).T.tobytes()


def _read_columns(reader: Reader, kind: str, count: int) -> NDArray[Any]:
    size = np.dtype(kind).itemsize
    data = np.frombuffer(reader.take(size * count), np.uint8).reshape(size, count)
    return np.ascontiguousarray(data.T).view(kind).reshape(count)
