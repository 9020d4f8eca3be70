"""What a command says about each file, and the exit code that follows.

    0 all done                        1 some of several failed, or pixels differ
    2 usage, or unsupported image     3 damaged file
    4 model missing or wrong          5 limit
    6 this machine computes differently
    130 interrupted

A single file that fails gives its own code.  Lines about files go to stdout, unless that carries the data
itself; notes, errors and the summary go to stderr.
"""

import json
import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import click

from vdmcompress.errors import LimitError, UsageError, VdmError

FAILED = 1
INTERRUPTED = 130

PRE_RELEASE = "pre-release format: a later version may not decode files made by this one; keep your originals"


def exit_code(error: BaseException) -> int:
    """Exit code of one error."""
    if isinstance(error, VdmError):
        return error.exit_code
    if isinstance(error, MemoryError):
        return LimitError.exit_code
    if isinstance(
        error, (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError)
    ):
        return UsageError.exit_code
    return FAILED


def message(error: BaseException, path: Path | None = None) -> str:
    """One line for one error.  path: the file that is named before it, which is not named again."""
    if isinstance(error, VdmError):
        return printable(" ".join(str(error).split()))
    if isinstance(error, MemoryError):
        return "not enough memory for this image"
    if isinstance(error, OSError) and error.strerror:
        known = not error.filename or (path is not None and str(error.filename) == str(path))
        place = "" if known else f" ({printable(error.filename)})"
        return f"{error.strerror}{place}"
    return f"internal error: {type(error).__name__}: {' '.join(str(error).split())} (-v shows where)"


def printable(text: object) -> str:
    """Text on one line that does nothing to a terminal, whatever name of a file it holds.

    Control characters and the like, and bytes that are no UTF-8, are escaped.
    """
    return "".join(c if c.isprintable() else _escaped(c) for c in str(text))


def _escaped(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # how Python holds a byte that is no UTF-8
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode()


def silence(stream: TextIO) -> None:
    """Let what is still to be written to a stream go nowhere, because its reader has gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


@dataclass
class Report:
    """Collects the outcomes of one command's files.

    total: how many files the command was given.  as_json: records instead of lines.  quiet: errors only.
    to_stderr: stdout carries data, so that lines go to stderr.
    """

    total: int
    as_json: bool = False
    quiet: bool = False
    verbose: bool = False
    to_stderr: bool = False
    codes: list[int] = field(default_factory=list)
    skipped: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    began: float = field(default_factory=time.perf_counter)

    def line(self, text: str, record: dict[str, Any]) -> None:
        """Say that a file went well: a line for people, or the record as JSON."""
        self.bytes_in += record.get("bytes_in", 0)
        self.bytes_out += record.get("bytes_out", 0)
        if self.as_json:
            self._echo(json.dumps({"status": "ok", **record}))
        elif not self.quiet:
            self._echo(text, err=self.to_stderr)

    def skip(self, path: Path, why: str) -> None:
        """Say that nothing was done for a file, and that this is right; lines for people with -v only."""
        self.skipped += 1
        if self.as_json:
            self._echo(json.dumps({"file": str(path), "status": "skipped", "reason": why}))
        self.detail(f"{printable(path)}: skipped, {why}")

    def note(self, text: str) -> None:
        """Say something that is no failure, on stderr."""
        if not self.quiet:
            self._echo(f"vdmc: {text}", err=True)

    def detail(self, text: str) -> None:
        """Say something that only -v shows, on stderr."""
        if self.verbose:
            self._echo(f"vdmc: {text}", err=True)

    def _echo(self, text: str, err: bool = False) -> None:
        """Print; once nobody reads what is said, go on with the work in silence."""
        try:
            click.echo(text, err=err)
        except BrokenPipeError:
            silence(sys.stderr if err else sys.stdout)

    @contextmanager
    def file(self, path: Path) -> Iterator[None]:
        """Run the work on one file; an error is reported and the next file can go on."""
        try:
            yield
        except click.ClickException:
            raise
        except Exception as error:
            code, said = exit_code(error), message(error, path)
            self.codes.append(code)
            if self.as_json:
                record = {"file": str(path), "status": "error", "error": said, "exit_code": code}
                self._echo(json.dumps(record))
            self._echo(f"vdmc: {printable(path)}: {said}", err=True)
            if self.verbose and not isinstance(error, VdmError | OSError):
                self._echo(traceback.format_exc(), err=True)
        else:
            self.codes.append(0)

    @property
    def exit_code(self) -> int:
        """The command's exit code."""
        failed = [code for code in self.codes if code]
        if not failed:
            return 0
        return failed[0] if self.total == 1 else FAILED

    def finish(self, done: str, always: bool = False) -> None:
        """Sum up where several files were given (``done``: "encoded"), and leave with the exit code.

        Where all went well, only with always or -v.
        """
        if self.total > 1 and (always or self.verbose or self.exit_code):
            self.note(self.summary(done))
        if self.exit_code:
            raise click.exceptions.Exit(self.exit_code)

    def summary(self, done: str) -> str:
        """Counts, bytes in and out, and the time so far, on one line."""
        failed = sum(code != 0 for code in self.codes)
        parts = [f"{len(self.codes) - failed - self.skipped} {done}"]
        parts += [f"{self.skipped} skipped"] if self.skipped else []
        parts += [f"{failed} failed"]
        left = self.total - len(self.codes)
        parts += [f"{left} not done"] if left else []
        text = ", ".join(parts)
        if self.bytes_in and self.bytes_out:
            percent = 100 * self.bytes_out / self.bytes_in
            text += f"; {self.bytes_in:,} -> {self.bytes_out:,} bytes, {percent:.1f} %"
        return f"{text}; {time.perf_counter() - self.began:.1f} s"


def bpd(size: float, width: int, height: int, channels: int) -> float:
    """Bits per dimension of ``size`` bytes."""
    return 8 * size / (width * height * channels)


def shape(record: dict[str, Any]) -> str:
    """Size and mode of a record's image as people write it."""
    from vdmcompress.picture import Mode, mode_name, mode_of

    mode = Mode[record["mode"].upper()] if "mode" in record else mode_of(record["channels"])
    return f"{record['width']}x{record['height']} {mode_name(mode, record.get('bits', 8))}"
