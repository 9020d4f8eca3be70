"""Which files a command works on: those named, those in folders (-r), those in a list (--files-from).

A folder is taken with -r only; commands that measure take the files right in it without.  Of what it holds,
files with the command's suffixes are taken, in the order of their names; hidden files and folders, symbolic
links and anything that is no regular file are left out.
What the user names himself is taken as it is, links included.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click

STREAM: Final = Path("-")
"""Standard input or output in place of a file."""

CODED_SUFFIXES: Final = (".vdm",)
IMAGE_SUFFIXES: Final = (
    ".bmp", ".dib", ".gif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".tif",
    ".tiff", ".webp",
)  # fmt: skip
"""Suffixes of the files that are taken from a folder, in upper or lower case."""


@dataclass(frozen=True)
class Source:
    """One input.  below: its folder, relative to the named folder that held it; "." for named files."""

    path: Path
    below: Path = Path()


@dataclass(frozen=True)
class Sources:
    """All inputs of a command.

    unread: folders that could not be listed, and why.  left_out: how many files of folders were left out for
    their kind or suffix.  many: the user asked for a batch, however many files were found.
    """

    files: tuple[Source, ...]
    unread: tuple[tuple[Path, OSError], ...] = ()
    left_out: int = 0
    many: bool = False

    @property
    def total(self) -> int:
        """How many things the command has to account for."""
        return len(self.files) + len(self.unread)


@dataclass(frozen=True)
class Selection:
    """What the user named: arguments, -r, --files-from and -0."""

    inputs: Sequence[Path] = ()
    recursive: bool = False
    files_from: Path | None = None
    null: bool = False

    def find(self, suffixes: Sequence[str], repeats: bool = False, folders: bool = False) -> Sources:
        """The inputs, each once unless repeats are wanted.

        folders: a named folder stands for the files in it without -r too, but not for folders within it.

        Raises click.UsageError where nothing is named, or standard input is named for two things.
        """
        named = self.named()
        walk = _Walk(tuple(suffixes))
        found = list(self._each(named, walk, folders))
        if not repeats:
            first: dict[str, Source] = {}
            for source in found:
                first.setdefault(os.path.abspath(source.path), source)
            found = list(first.values())
        many = self.recursive or self.files_from is not None or len(named) > 1 or len(found) > 1
        return Sources(tuple(found), tuple(walk.unread), walk.left_out, many)

    def named(self) -> list[Path]:
        """What the user named; the list of --files-from is read.  Raises as `find`."""
        named = list(self.inputs)
        if self.files_from is not None:
            if self.files_from == STREAM and STREAM in named:
                raise click.UsageError("standard input cannot be both an image and the list of --files-from")
            named += _listed(self.files_from, self.null)
        elif self.null:
            raise click.UsageError("-0 says how --files-from is written: give --files-from FILE")
        elif not named:
            raise click.UsageError("no input: name files, folders with -r, or a list with --files-from")
        return named

    def each(self, named: Sequence[Path], suffixes: Sequence[str]) -> Iterator[Source]:
        """The inputs one by one, as often as named; folders that cannot be listed are passed over."""
        return self._each(named, _Walk(tuple(suffixes)))

    def _each(self, named: Sequence[Path], walk: "_Walk", folders: bool = False) -> Iterator[Source]:
        for path in named:
            if (self.recursive or folders) and path != STREAM and os.path.isdir(path):
                yield from walk.folder(path, Path(), self.recursive)
            else:
                yield Source(path)


@dataclass
class _Walk:
    """Goes through folders; collects what could not be listed and counts what was left out."""

    suffixes: tuple[str, ...]
    unread: list[tuple[Path, OSError]] = field(default_factory=list)
    left_out: int = 0

    def folder(self, folder: Path, below: Path, deep: bool = True) -> Iterator[Source]:
        try:
            with os.scandir(folder) as entries:
                found = sorted(entries, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            self.unread.append((folder, error))
            return
        for entry in found:
            if entry.name.startswith("."):
                continue
            if deep and entry.is_dir(follow_symlinks=False):
                yield from self.folder(folder / entry.name, below / entry.name)
            elif entry.is_file(follow_symlinks=False) and entry.name.lower().endswith(self.suffixes):
                yield Source(folder / entry.name, below)
            else:
                self.left_out += 1


def _listed(file: Path, null: bool) -> list[Path]:
    """Names in a list: one a line, or each ended by a NUL byte; empty ones are passed over."""
    try:
        data = sys.stdin.buffer.read() if file == STREAM else file.read_bytes()
    except OSError as error:
        raise click.UsageError(f"--files-from {file}: {error.strerror}") from error
    names = data.split(b"\0" if null else b"\n")
    if not null and b"\0" in data:
        raise click.UsageError(f"--files-from {file}: holds NUL bytes; is it a list for -0?")
    return [Path(os.fsdecode(name)) for name in names if name]
