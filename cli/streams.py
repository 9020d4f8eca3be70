"""Whole files in, whole files out; - is standard input or output."""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from cli.report import silence
from cli.sources import STREAM
from cli.targets import Target
from vdmcompress.container import longest
from vdmcompress.errors import LimitError, UsageError, VdmError
from vdmcompress.header import DEFAULT_LIMITS, Limits

IS_FOLDER: Final = "is a folder; -r takes the files in it"
"""Said of an input that is one, where -r was not given."""

START_BYTES: Final = 1 << 25
"""So much of a compressed file is read before its beginning is asked whether there can be more."""


def read_bytes(path: Path) -> bytes:
    """All bytes of a file or of standard input."""
    with _opened(path) as file:
        return file.read()


def read_coded(path: Path, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """All bytes of a compressed file or stream; one that is too long for what it says is not read to its end.

    Raises DamagedFileError and LimitError like `container.unpack`, OSError where the file cannot be opened.
    """
    with _opened(path) as file:
        start = file.read(START_BYTES)
        if len(start) < START_BYTES:
            return start
        most = longest(start, limits)
        size = os.fstat(file.fileno()).st_size if path != STREAM else 0
        rest = file.read(max(0, most + 1 - len(start))) if size <= most else b""
        if max(size, len(start) + len(rest)) > most:
            raise LimitError(
                f"file of more than {most} bytes, the most that an image of its size can take; "
                "not read any further; get another copy of it"
            )
        return start + rest


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    if path == STREAM:
        if sys.stdin is None:
            raise UsageError("standard input is closed; name a file")
        yield sys.stdin.buffer
        return
    if path.is_dir():
        raise UsageError(IS_FOLDER)
    with path.open("rb") as file:
        yield file


def check_target(target: Target, force: bool) -> None:
    """Raise UsageError where write_target would refuse, before any work is done."""
    if target.output == STREAM:
        if sys.stdout is None:
            raise UsageError("standard output is closed; use -o FILE")
        return
    from vdmcompress.files import check_output

    if target.output.is_file() and not force and not target.output.is_symlink():
        raise UsageError(f"{target.output} exists; -f replaces it")
    check_output(target.output, force=force, inputs=_sources(target), root=target.root)


def write_target(target: Target, data: bytes, force: bool) -> None:
    """Write the output, whole or not at all, with the permissions and times of the input."""
    if target.output == STREAM:
        try:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            silence(sys.stdout)
            raise
        return
    from vdmcompress.files import write_file

    sources = _sources(target)
    like = next((source for source in sources if source.is_file()), None)
    write_file(target.output, data, force=force, inputs=sources, root=target.root, like=like)


def _sources(target: Target) -> list[Path]:
    return [] if target.source == STREAM else [target.source]


@dataclass(frozen=True)
class Original:
    """An input that is to be removed, as it was before it was read."""

    path: Path
    state: tuple[int, int, int, int]

    @classmethod
    def of(cls, path: Path) -> "Original":
        """Raises UsageError for anything but a regular file: a link or a device is not removed."""
        if path.is_symlink() or not path.is_file():
            raise UsageError("is no regular file (a link?), and --rm removes regular files only")
        return cls(path, _state(path))

    def remove(self, output: Path, data: bytes) -> None:
        """Remove it; VdmError where it has changed since, or where output does not hold data."""
        if self.path.is_symlink() or _state(self.path) != self.state:
            raise VdmError(f"changed while it was encoded; it is kept, and {output} holds what it was")
        if output.read_bytes() != data:
            raise VdmError(f"{output} does not hold what was written to it; the input is kept")
        self.path.unlink()


def _state(path: Path) -> tuple[int, int, int, int]:
    found = os.stat(path, follow_symlinks=False)
    if not stat.S_ISREG(found.st_mode):
        raise UsageError("is no regular file any more; it is kept")
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
