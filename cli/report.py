"""What a command says about each file, and the exit code that follows.

    0 all done                        1 some of several failed, or pixels differ
    2 usage, or unsupported image     3 damaged file
    4 model missing or wrong          5 limit
    6 this machine computes differently
    130 interrupted

A single file that fails gives its own code.  Lines about files go to stdout, unless that carries the data
itself; notes and errors go to stderr.
"""

import json
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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


def message(error: BaseException) -> str:
    """One line for one error."""
    if isinstance(error, VdmError):
        return " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return "not enough memory for this image"
    if isinstance(error, OSError) and error.strerror:
        place = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror}{place}"
    return f"internal error: {type(error).__name__}: {' '.join(str(error).split())} (-v shows where)"


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

    def line(self, text: str, record: dict[str, Any]) -> None:
        """Say that a file went well: a line for people, or the record as JSON."""
        if self.as_json:
            click.echo(json.dumps({**record, "status": "ok"}))
        elif not self.quiet:
            click.echo(text, err=self.to_stderr)

    def note(self, text: str) -> None:
        """Say something that is no failure, on stderr."""
        if not self.quiet:
            click.echo(f"vdmc: {text}", err=True)

    def detail(self, text: str) -> None:
        """Say something that only -v shows, on stderr."""
        if self.verbose:
            click.echo(f"vdmc: {text}", err=True)

    @contextmanager
    def file(self, path: Path) -> Iterator[None]:
        """Run the work on one file; an error is reported and the next file can go on."""
        try:
            yield
        except click.ClickException:
            raise
        except Exception as error:
            code = exit_code(error)
            self.codes.append(code)
            if self.as_json:
                record = {"file": str(path), "status": "error", "error": message(error), "exit_code": code}
                click.echo(json.dumps(record))
            click.echo(f"vdmc: {path}: {message(error)}", err=True)
            if self.verbose and not isinstance(error, VdmError | OSError):
                click.echo(traceback.format_exc(), err=True)
        else:
            self.codes.append(0)

    @property
    def exit_code(self) -> int:
        """The command's exit code."""
        failed = [code for code in self.codes if code]
        if not failed:
            return 0
        return failed[0] if self.total == 1 else FAILED

    def finish(self, done: str) -> None:
        """Sum up where several files were given (``done``: "encoded"), and leave with the exit code."""
        failed = sum(code != 0 for code in self.codes)
        if self.total > 1 and (failed or self.verbose):
            self.note(f"{len(self.codes) - failed} {done}, {failed} failed")
        if self.exit_code:
            raise click.exceptions.Exit(self.exit_code)


def bpd(size: float, width: int, height: int, channels: int) -> float:
    """Bits per dimension of ``size`` bytes."""
    return 8 * size / (width * height * channels)


def shape(record: dict[str, Any]) -> str:
    """Size and mode of a record's image as people write it."""
    from vdmcompress.picture import Mode, mode_name, mode_of

    mode = Mode[record["mode"].upper()] if "mode" in record else mode_of(record["channels"])
    return f"{record['width']}x{record['height']} {mode_name(mode, record.get('bits', 8))}"
