"""The file of an archive while it grows: beside its target, group after group, renamed when all is there.

The partial file carries the settings in its name, so that only a run that would go on in the same way finds
it.  Of what is in it, the whole and unaltered records from the front on count.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self, cast

from vdmcompress.archive.directory import Member
from vdmcompress.archive.group import read_members
from vdmcompress.archive.records import (
    HEAD,
    MODEL,
    Record,
    model_record,
    pack_index,
    read_group_head,
    read_records,
    unpack_model,
    unseal,
)
from vdmcompress.errors import DamagedFileError, UsageError
from vdmcompress.files import PathLike, check_output, publish

__all__ = ["ArchiveWriter"]

_SUFFIX: Final = ".part"
_DIGEST: Final = re.compile("[0-9a-f]{12}")


class ArchiveWriter:
    """Writes an archive; a context manager.  Left without `finish`, a partial file with groups stays.

    settings: text of all that decides the bytes.  resume: go on with a partial file of the same settings; any
    other of this target is removed.
    """

    def __init__(self, target: PathLike, settings: str, *, resume: bool = False, force: bool = False) -> None:
        check_output(target, force=force)
        self._target, self._force = Path(target), force
        place = self._target.resolve() if force else self._target
        digest = sha256(settings.encode()).hexdigest()[:12]
        self.part = place.with_name(f".{place.name}.{digest}{_SUFFIX}")
        for other in place.parent.glob(f".{_escaped(place.name)}.*{_SUFFIX}"):
            if not _DIGEST.fullmatch(other.name.removeprefix(f".{place.name}.").removesuffix(_SUFFIX)):
                continue  # of another archive, whose name begins with this one's
            if not (resume and other == self.part and not other.is_symlink()):
                _remove(other)
        self.records: list[Record] = []
        how = "r+b" if self.part.exists() else "x+b"
        self._file = cast(BinaryIO, open(self.part, how))  # noqa: SIM115 - closed by finish or __exit__
        _lock(self._file, self.part)
        self._recover()

    def _recover(self) -> None:
        """Find the records that count, and cut the file behind them."""
        size = os.fstat(self._file.fileno()).st_size
        self._file.seek(0)
        if self._file.read(len(HEAD)) == HEAD:
            for record in read_records(self._file, size):
                if not self._sound(record):
                    break
                self.records.append(record)
        self._end = self.records[-1].offset + self.records[-1].length if self.records else len(HEAD)
        self._file.truncate(self._end)
        self._file.seek(0)
        self._file.write(HEAD)
        self._file.seek(self._end)

    def _read(self, record: Record) -> bytes:
        self._file.seek(record.offset)
        return self._file.read(record.length)

    def _sound(self, record: Record) -> bool:
        try:
            data = self._read(record)
            if data[:1] == MODEL:
                unpack_model(data)
            else:
                read_members(data)
                unseal(memoryview(data)[-(read_group_head(data[:32]).payload + 4) :], "a group")
        except DamagedFileError:
            return False
        return True

    def members(self) -> Iterator[Member]:
        """Members of the groups that are in the file already."""
        for record in self.records:
            if record.images:
                yield from read_members(self._read(record))[1]
        self._file.seek(self._end)

    def models(self) -> set[bytes]:
        """The first eight bytes of the hashes of the models that are in the file already."""
        found = {sha256(unpack_model(self._read(r))).digest()[:8] for r in self.records if not r.images}
        self._file.seek(self._end)
        return found

    def add_model(self, data: bytes) -> None:
        """Write a model file."""
        self._add(model_record(data), 0)

    def add_group(self, record: bytes, images: int) -> None:
        """Write a group, and bring it to disk."""
        self._add(record, images)

    def _add(self, data: bytes, images: int) -> None:
        self._file.write(data)
        self._file.flush()
        os.fsync(self._file.fileno())
        self.records.append(Record(self._end, len(data), images))
        self._end += len(data)

    def finish(self) -> int:
        """Write the index and give the file its name; gives its size."""
        index = pack_index(self.records)
        self._file.write(index)
        self._file.close()
        publish(self.part, self._target, force=self._force)
        return self._end + len(index)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if not any(record.images for record in self.records):
            self.part.unlink(missing_ok=True)


def _remove(part: Path) -> None:
    """Remove a partial file, unless a run is writing it."""
    if not part.is_symlink():
        with open(part, "rb") as file:
            _lock(file, part)
    part.unlink()


def _escaped(name: str) -> str:
    """A name as a glob pattern that fits only itself."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)


def _lock(file: BinaryIO, path: Path) -> None:
    """Keep other runs out of the partial file, where the system can."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise UsageError(f"{path} is being written by another run; wait, or name another archive") from error
