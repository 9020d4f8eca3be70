"""Which images form a group: a stream of entries in, groups out, with one group of each kind in memory.

Images for which the same models are tried go together, in the order in which they come; a group is full when
it has so many images, or so many bytes of pixels.  What groups come out, and in which order, follows from the
entries alone, so that leaving out those of the first groups leaves the later groups as they were (resuming).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from vdmcompress.archive.directory import MAX_IMAGES, MAX_NAMES
from vdmcompress.archive.names import encode_name
from vdmcompress.archive.settings import Entry, GroupSettings
from vdmcompress.errors import UsageError

__all__ = ["DEFAULT_GROUP", "GroupSize", "groups_of"]

_MOST_METADATA: Final = 1 << 24
_MOST_CHUNKS: Final = 1 << 16
_MOST_BYTES: Final = 1 << 28


@dataclass(frozen=True)
class GroupSize:
    """When a group is full: at so many images, or before it has more bytes of pixels than this.

    At most 65536 images and 256 MiB: a group is coded in memory, and readers refuse more.
    """

    images: int = MAX_IMAGES
    bytes: int = _MOST_BYTES

    def __post_init__(self) -> None:
        if not 1 <= self.images <= MAX_IMAGES:
            raise UsageError(f"groups of {self.images} images, allowed are 1 to {MAX_IMAGES}")
        if not 1 <= self.bytes <= _MOST_BYTES:
            raise UsageError(f"groups of {self.bytes} bytes, allowed are 1 to {_MOST_BYTES}")


DEFAULT_GROUP: Final = GroupSize(bytes=8 << 20)
"""2,730 images of 32x32, or seven photographs of 768x512: smaller ones cost more, larger ones more memory."""


@dataclass
class _Open:
    """A group that is not full yet."""

    entries: list[Entry] = field(default_factory=list)
    bytes: int = 0
    metadata: int = 0
    chunks: int = 0
    names: int = 0

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)
        self.bytes += entry.picture.pixels.nbytes
        self.metadata += _metadata(entry)
        self.chunks += len(entry.picture.chunks)
        self.names += len(encode_name(entry.name))

    def takes(self, entry: Entry, size: GroupSize) -> bool:
        """Whether there is room for another."""
        return (
            len(self.entries) < size.images
            and self.bytes + entry.picture.pixels.nbytes <= size.bytes
            and self.metadata + _metadata(entry) <= _MOST_METADATA
            and self.chunks + len(entry.picture.chunks) <= _MOST_CHUNKS
            and self.names + len(encode_name(entry.name)) <= MAX_NAMES
        )


def _metadata(entry: Entry) -> int:
    return sum(len(chunk.data) + 16 for chunk in entry.picture.chunks)


def groups_of(entries: Iterable[Entry], size: GroupSize, settings: GroupSettings) -> Iterator[list[Entry]]:
    """The groups, each as soon as the entry after it is known; at the end those that are not full."""
    kinds: dict[tuple[str, ...], _Open] = {}
    for entry in entries:
        kind = settings.models(entry.picture) or settings.large_models
        group = kinds.setdefault(kind, _Open())
        if group.entries and not group.takes(entry, size):
            yield group.entries
            kinds[kind] = group = _Open()
        group.add(entry)
    for kind in sorted(kinds):
        if kinds[kind].entries:
            yield kinds[kind].entries
