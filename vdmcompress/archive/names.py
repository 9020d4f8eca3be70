"""Names of members: relative paths with "/", which lead nowhere but below the folder they are put in."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import PurePosixPath
from typing import Final

import numpy as np

from vdmcompress.errors import UsageError

__all__ = ["MAX_NAME", "NameCheck", "check_name", "decode_name", "encode_name", "member_name", "name_fault"]

MAX_NAME: Final = 4096
"""Most bytes of a name."""

_MAX_PART: Final = 255


def name_fault(name: str) -> str | None:
    """What is wrong with the name of a member, in words; None for a sound one.

    A sound name is relative, without empty parts, "." and "..", control characters, backslashes and drive
    letters, at most 4096 bytes long and each part at most 255.
    """
    data = _bytes(name)
    if not data or len(data) > MAX_NAME:
        return f"a name of {len(data)} bytes, allowed are 1 to {MAX_NAME}"
    parts = name.split("/")
    if name.startswith("/") or name[1:2] == ":":
        return "an absolute path"
    if any(part in ("", ".", "..") for part in parts):
        return "empty parts, '.' or '..'"
    if "\\" in name or any(unicodedata.category(char) in ("Cc", "Zl", "Zp") for char in name):
        return "control characters or backslashes"
    longest = max(len(encode_name(part)) for part in parts)
    return None if longest <= _MAX_PART else f"a part of {longest} bytes, allowed are {_MAX_PART}"


def check_name(name: str) -> None:
    """Raise UsageError unless the name is sound."""
    fault = name_fault(name)
    if fault is not None:
        raise UsageError(f"name {name[:200]!r} cannot be a member's: {fault}; rename it")


def member_name(path: str | os.PathLike[str]) -> str:
    """The name of a file in an archive: its path as given, without what leads to the root or upwards.

    /a/b.png and ../a/b.png become a/b.png.  Raises UsageError where no sound name is left.
    """
    parts = PurePosixPath(os.path.normpath(os.fspath(path)).replace(os.sep, "/")).parts
    while parts and parts[0] in ("/", "//", "..", "."):
        parts = parts[1:]
    name = "/".join(parts)
    check_name(name)
    return name


class NameCheck:
    """Finds names that occur twice, or as a folder and as a member, with a few bytes of memory for each.

    Kept are 64-bit hashes; what they say is certain where they differ, and where they agree the names are the
    same but for one chance in 2**64 for each pair.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._members = np.zeros(0, np.uint64)
        self._folders: set[int] = set()
        self._fresh: set[int] = set()
        for name in names:
            self.add(name)

    def add(self, name: str) -> str | None:
        """Take a name; gives what is wrong with it in this company, in words."""
        key = _hash(name)
        if key in self._fresh or self._holds(key):
            return f"{name!r} occurs twice"
        if key in self._folders:
            return f"{name!r} is a folder of other members"
        above = name
        while "/" in above:
            above = above.rpartition("/")[0]
            folder = _hash(above)
            if folder in self._folders:
                break
            if folder in self._fresh or self._holds(folder):
                return f"{above!r} is a member and the folder of {name!r}"
            self._folders.add(folder)
        self._fresh.add(key)
        if len(self._fresh) >= 1 << 14:
            fresh = np.fromiter(self._fresh, np.uint64, len(self._fresh))
            self._members = np.sort(np.concatenate((self._members, fresh)))
            self._fresh.clear()
        return None

    def _holds(self, key: int) -> bool:
        at = int(np.searchsorted(self._members, np.uint64(key)))
        return at < len(self._members) and int(self._members[at]) == key


def _hash(name: str) -> int:
    return int.from_bytes(blake2b(encode_name(name), digest_size=8).digest(), "little")


def encode_name(name: str) -> bytes:
    """UTF-8; what a file system gave that is none comes back as it was."""
    return name.encode("utf-8", "surrogateescape")


def decode_name(data: bytes) -> str:
    """The inverse of `encode_name`."""
    return data.decode("utf-8", "surrogateescape")


def _bytes(name: str) -> bytes:
    """Empty for what no file system gives: halves of surrogate pairs."""
    try:
        return encode_name(name)
    except UnicodeEncodeError:
        return b""
