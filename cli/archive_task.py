"""What a process does that decodes a group of an archive: its task, and what comes of it."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.targets import image_name
from vdmcompress.errors import VdmError
from vdmcompress.files import IMAGE_FORMATS
from vdmcompress.header import Limits

if TYPE_CHECKING:
    from vdmcompress.archive.directory import Member
    from vdmcompress.archive.records import Record


@dataclass(frozen=True)
class Reading:
    """How groups are decoded; goes to worker processes.  kind: format of images, None by their names."""

    file: Path
    settings: dict[str, Any]
    limits: Limits
    kind: str | None


@dataclass(frozen=True)
class Task:
    """A group to decode.  records: its own and those of models, so that nobody looks for them again.  names:
    of the images that are wanted; render: make files of them.
    """

    reading: Reading
    number: int
    records: "tuple[Record, ...]"
    names: tuple[str, ...]
    render: bool


@dataclass(frozen=True)
class Outcome:
    """An image of a decoded group.  name: in the archive.  data: its file.  lost: metadata not in it."""

    name: str
    output: str
    data: bytes = b""
    lost: tuple[str, ...] = ()
    modified: int | None = None
    permissions: int | None = None
    error: Exception | None = None


@dataclass(frozen=True)
class Lost:
    """What a group gives that is lost: why.  No exception itself, which a runner would raise."""

    error: VdmError


def decode_task(task: Task) -> list[Outcome] | Lost:
    """The wanted images of a group, or what is wrong with all of it."""
    from vdmcompress.archive.reader import Archive

    try:
        with Archive(
            task.reading.file, limits=task.reading.limits, records=task.records, **task.reading.settings
        ) as archive:
            members = {member.name: member for member in archive.group_members(0)}
            pictures = archive.decode(0)
    except VdmError as error:
        return Lost(error)
    return [_outcome(task, members[name], pictures[name]) for name in task.names]


def _outcome(task: Task, member: "Member", picture: Any) -> Outcome:
    from vdmcompress.image_output import write_picture

    output = output_name(member.name, task.reading.kind)
    try:
        if isinstance(picture, VdmError):
            raise picture
        data = b""
        lost: tuple[str, ...] = ()
        if task.render:
            kind = task.reading.kind or IMAGE_FORMATS.get(Path(output).suffix.lower(), "png")
            data, lost = write_picture(picture, kind)
        return Outcome(member.name, output, data, lost, member.modified, member.permissions)
    except VdmError as error:
        return Outcome(member.name, output, error=error)


def output_name(name: str, kind: str | None) -> str:
    """Path of an image's file below the output folder: the name, with another suffix where that is needed."""
    folder, _, last = name.rpartition("/")
    return os.path.join(folder, image_name(f"{last}.vdm", IMAGE_FORMATS, kind))
