"""Reading an archive: its members as a stream, one picture by name, or all of them.

Nothing is held of an archive but where its groups are, the members of one group, and the pictures of the
group that was decoded last.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from vdmcompress.archive.directory import Member
from vdmcompress.archive.group import read_members
from vdmcompress.archive.records import (
    HEAD,
    MAX_MODELS,
    Record,
    check_head,
    read_group_head,
    read_index,
    read_record,
    read_records,
    total,
    unpack_model,
)
from vdmcompress.archive.settings import GroupSettings
from vdmcompress.errors import DamagedFileError, LimitError, UsageError, VdmError, damaged
from vdmcompress.files import PathLike
from vdmcompress.header import DEFAULT_LIMITS, Limits
from vdmcompress.picture import Picture

__all__ = ["Archive"]


class Archive:
    """An archive that is open for reading; a context manager.

    path: of the file.  threads, device, memory, limits: as in `vdmcompress.decode`; the limits hold for each
    image and for each group.  records: groups and models of the file, as another call has found them
    (`groups`, `models`), where they are not to be looked for again.

    An archive whose index is damaged is opened all the same, with the groups that are found from its front;
    `damage` then says what was met.  Raises DamagedFileError where nothing is found, UnsupportedImageError
    for another format version, LimitError for an index that does not fit into memory, OSError where the file
    cannot be opened.
    """

    def __init__(
        self,
        path: PathLike,
        *,
        threads: int | None = None,
        device: str = "auto",
        memory: int | None = None,
        limits: Limits = DEFAULT_LIMITS,
        records: Sequence[Record] | None = None,
    ) -> None:
        self.path = Path(path)
        self.damage: DamagedFileError | None = None
        self._settings = GroupSettings(threads=threads, device=device, memory=memory)
        self._limits = limits
        self._decoded: tuple[int, dict[str, Picture | VdmError]] | None = None
        self._places: dict[str, int] | None = None
        self._model: tuple[bytes, bytes] | None = None
        self._hashes: dict[int, bytes] = {}
        self._file: BinaryIO = open(self.path, "rb")  # noqa: SIM115 - closed by close
        try:
            self.size = os.fstat(self._file.fileno()).st_size
            found = self._find() if records is None else records
        except MemoryError as error:
            self._file.close()
            raise LimitError(f"not enough memory for the index of {self.path}; free some") from error
        except BaseException:
            self._file.close()
            raise
        self.groups: list[Record] = [record for record in found if record.images]
        self.models: list[Record] = list(islice((r for r in found if not r.images), MAX_MODELS))

    def _find(self) -> list[Record]:
        check_head(self._file.read(len(HEAD)))
        try:
            return read_index(self._file, self.size)
        except DamagedFileError as error:
            found = list(read_records(self._file, self.size))
            if not found:
                raise
            self.damage = error
            return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __len__(self) -> int:
        """Number of images, as the index has it."""
        return total(self.groups)

    def __iter__(self) -> Iterator[str]:
        """Names, in the order of the archive."""
        return (member.name for member in self.members())

    def __contains__(self, name: object) -> bool:
        return name in self._where()

    @property
    def names(self) -> list[str]:
        """All names; `members` gives them one by one."""
        return list(self)

    def members(self) -> Iterator[Member]:
        """Name, size and mode of every image, in the order of the archive.

        Raises DamagedFileError at a group whose directory is damaged.
        """
        for number in range(len(self.groups)):
            yield from self.group_members(number)

    def group_members(self, number: int) -> list[Member]:
        """Members of a group; DamagedFileError where its directory is damaged."""
        record = self.groups[number]
        self._file.seek(record.offset)
        start = self._file.read(min(32, record.length))
        if start[:1] != b"G":
            raise damaged(f"no group begins at byte {record.offset}")
        head = read_group_head(start)
        if (head.length, head.images) != (record.length, record.images):
            raise damaged(f"a group of {head.length} bytes that the index has with {record.length}")
        self._file.seek(record.offset)
        return read_members(self._file.read(head.length - head.payload - 4))[1]

    def group_record(self, number: int) -> bytes:
        """All bytes of a group."""
        record = self.groups[number]
        self._file.seek(record.offset)
        return self._file.read(record.length)

    def embedded(self) -> Iterator[bytes]:
        """The model files in the archive, one by one; damaged ones are left out."""
        for record in self.models:
            data = self._embedded_model(record)
            if data is not None:
                yield data

    def damaged_models(self) -> list[Record]:
        """Where embedded models are that cannot be read; groups decode where the models are installed."""
        return [record for record in self.models if self._embedded_model(record) is None]

    def model_file(self, hash8: bytes) -> bytes | None:
        """The embedded model file whose SHA-256 begins with these 8 bytes; None where there is none."""
        if self._model is not None and self._model[0] == hash8:
            return self._model[1]
        for record in self.models:
            if self._hashes.get(record.offset, hash8) != hash8:
                continue
            data = self._embedded_model(record)
            met = b"" if data is None else sha256(data).digest()[:8]
            self._hashes[record.offset] = met
            if data is not None and met == hash8:
                self._model = (hash8, data)
                return data
        return None

    def _embedded_model(self, record: Record) -> bytes | None:
        """The model file of a record; None where the record is damaged, or is not what the index says."""
        try:
            if read_record(self._file, record.offset, record.offset + record.length) != record:
                return None
            self._file.seek(record.offset)
            return unpack_model(self._file.read(record.length))
        except DamagedFileError:
            return None

    def decode(self, number: int) -> dict[str, Picture | VdmError]:
        """Pictures of a group by name, or what is wrong with one; DamagedFileError where the group is."""
        if self._decoded is None or self._decoded[0] != number:
            from vdmcompress.archive.coder import decode_group

            self.group_members(number)
            found = decode_group(
                self.group_record(number),
                settings=self._settings,
                embedded=self.model_file,
                limits=self._limits,
            )
            self._decoded = (number, {member.name: picture for member, picture in found})
        return self._decoded[1]

    def _where(self) -> dict[str, int]:
        """Group of each name, made on first use; groups with damaged directories are passed over."""
        if self._places is None:
            self._places = {}
            for number in range(len(self.groups)):
                try:
                    members = self.group_members(number)
                except DamagedFileError:
                    continue
                self._places |= {member.name: number for member in members}
        return self._places

    def info(self, name: str) -> Member:
        """Size, mode and the like of an image, by name; UsageError where there is none."""
        return next(member for member in self.group_members(self._number(name)) if member.name == name)

    def read(self, name: str) -> Picture:
        """One picture by name; only its group is decoded.

        Raises UsageError where there is none of that name, and as `vdmcompress.decode_picture`.
        """
        found = self.decode(self._number(name))[name]
        if isinstance(found, VdmError):
            raise found
        return found

    def _number(self, name: str) -> int:
        where = self._where()
        if name not in where:
            raise UsageError(f"no image {name!r} in {self.path}; 'vdmc archive list' shows the names")
        return where[name]

    def pictures(self, names: Iterable[str] | None = None) -> Iterator[tuple[str, Picture]]:
        """Names and pictures, of all images or of those named, in the order of the archive.

        Raises as `read` where the first damaged group or picture is met.
        """
        wanted: dict[int, set[str]] | None = None
        if names is not None:
            wanted = {}
            for name in names:
                wanted.setdefault(self._number(name), set()).add(name)
        for number in range(len(self.groups)) if wanted is None else sorted(wanted):
            for name, picture in self.decode(number).items():
                if wanted is not None and name not in wanted[number]:
                    continue
                if isinstance(picture, VdmError):
                    raise picture
                yield name, picture
