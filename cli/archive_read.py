"""`vdmc archive list`, `extract` and `verify`."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from cli import options
from cli.archive_task import Lost, Outcome, Reading, Task, decode_task, output_name
from cli.progress import progress_bar
from cli.report import Report, printable
from vdmcompress.errors import UsageError, VdmError, damaged
from vdmcompress.files import check_output, write_file
from vdmcompress.picture import mode_name

if TYPE_CHECKING:
    from vdmcompress.archive.directory import Member
    from vdmcompress.archive.reader import Archive

file_argument = click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
names_argument = click.argument("names", metavar="[NAME...]", nargs=-1)

_OWNER: Final = 0o600
"""Permissions that the owner of an extracted file has whatever the archive says."""


@click.command("list", short_help="List the images of an archive.")
@file_argument
@names_argument
@click.option("--groups", "by_group", is_flag=True, help="List the groups instead, and what each costs.")
@options.reporting
def list_(
    file: Path, names: tuple[str, ...], by_group: bool, as_json: bool, quiet: bool, verbose: bool
) -> None:
    """List name, size and mode of the images of an archive; nothing is decoded.

    NAME is a name, a folder of names, or a pattern (*, ?). The last line tells what the groups cost: bytes
    that one large group would not have.
    """
    from vdmcompress.archive.reader import Archive

    report = Report(1, as_json, quiet, verbose)
    wanted = Wanted(names)
    with Archive(file) as archive:
        _tell_damage(report, archive)
        values = 0
        for number in range(len(archive.groups)):
            members = _members(report, archive, number)
            values += sum(member.values for member in members)
            if by_group:
                _tell_group(report, archive, number, members)
                continue
            for member in members:
                if wanted(member.name):
                    report.line(*_described(member, number))
        _tell_missing(report, wanted)
        if not as_json:
            price = sum(_price(archive, number) for number in range(len(archive.groups)))
            report.line(
                f"{len(archive):,} images in {len(archive.groups)} group{'s' * (len(archive.groups) != 1)}, "
                f"{archive.size:,} bytes, {8 * archive.size / max(values, 1):.3f} bpd; "
                f"being groups costs {price:,} bytes ({100 * price / archive.size:.2f} %)",
                {},
            )
    _leave(report)


@click.command(short_help="Write images of an archive to files.")
@file_argument
@names_argument
@options.output_dir
@click.option(
    "--format",
    "kind",
    type=click.Choice(["png", "webp", "ppm"]),
    help="Format of the images (all lossless); the default follows from their names, else png.",
)
@options.device
@options.threads
@options.jobs
@options.max_pixels
@options.max_memory
@options.force
@options.skip_existing
@options.reporting
def extract(
    file: Path,
    names: tuple[str, ...],
    output_dir: Path | None,
    kind: str | None,
    device: str,
    threads: int,
    jobs: int,
    max_pixels: int | None,
    max_memory: int | None,
    force: bool,
    skip_existing: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Write the images of an archive, or those named, below the current folder or that of -O.

    NAME is a name, a folder of names, or a pattern (*, ?). Only the groups of what is wanted are decoded.
    Damaged groups are said and make the exit code 3; all others are written.
    """
    if force and skip_existing:
        raise click.UsageError("-f replaces what --skip-existing passes over: choose one")
    report = Report(1, as_json, quiet, verbose)
    settings = _settings(threads, jobs, device, max_memory)
    reading = Reading(file, settings, options.limits(max_pixels), kind)
    writing = _Writing(output_dir or Path(), force, skip_existing, report)
    _run(reading, report, Wanted(names), jobs, writing, "extracted")


@click.command(short_help="Decode an archive without writing.")
@file_argument
@options.device
@options.threads
@options.jobs
@options.max_pixels
@options.max_memory
@options.reporting
def verify(
    file: Path,
    device: str,
    threads: int,
    jobs: int,
    max_pixels: int | None,
    max_memory: int | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Decode all images of an archive without writing anything; the checksums of the pixels must hold.

    Exit code 3 says that a part is damaged; which images are lost is said.
    """
    report = Report(1, as_json, quiet, verbose)
    settings = _settings(threads, jobs, device, max_memory)
    reading = Reading(file, settings, options.limits(max_pixels), None)
    _run(reading, report, Wanted(()), jobs, None, "verified")


@dataclass
class Wanted:
    """Which names the user asked for: all where there are none; remembers which of the patterns fitted."""

    patterns: Sequence[str]
    met: set[str] = field(default_factory=set)

    def __call__(self, name: str) -> bool:
        found = [pattern for pattern in self.patterns if _fits(name, pattern)]
        self.met.update(found)
        return bool(found) or not self.patterns


def _fits(name: str, pattern: str) -> bool:
    return name == pattern or name.startswith(pattern.rstrip("/") + "/") or fnmatchcase(name, pattern)


@dataclass
class _Writing:
    """Writes extracted images; refuses two that would be one file."""

    folder: Path
    force: bool
    skip_existing: bool
    report: Report
    done: set[int] = field(default_factory=set)

    def check(self, name: str, kind: str | None) -> bool:
        """Whether an image is to be extracted; raises where its file could not be written."""
        path = self.folder / output_name(name, kind)
        if hash(os.fspath(path)) in self.done:
            raise UsageError(f"{path} has been written for another image already; extract this one by itself")
        if self.skip_existing and path.is_file():
            self.report.skip(Path(name), f"{printable(path)} exists")
            return False
        if path.is_file() and not self.force:
            raise UsageError(f"{path} exists; -f replaces it")
        check_output(path, force=self.force, root=self.folder)
        self.done.add(hash(os.fspath(path)))
        return True

    @staticmethod
    def allowed(permissions: int) -> int:
        """Permissions of a file that the archive has with these: the umask takes, the owner may write."""
        umask = os.umask(0o077)
        os.umask(umask)
        return permissions & ~umask | _OWNER

    def write(self, outcome: Outcome) -> Path:
        path = self.folder / outcome.output
        write_file(path, outcome.data, force=self.force, root=self.folder)
        if outcome.permissions is not None:
            os.chmod(path, self.allowed(outcome.permissions))
        if outcome.modified is not None:
            with suppress(OverflowError, OSError):  # a time that this file system does not know
                os.utime(path, (outcome.modified, outcome.modified))
        return path


def _settings(threads: int, jobs: int, device: str, max_memory: int | None) -> dict[str, Any]:
    return {"threads": options.thread_count(threads, jobs), "device": device, "memory": max_memory}


def _run(
    reading: Reading, report: Report, wanted: Wanted, jobs: int, writing: _Writing | None, word: str
) -> None:
    """Decode the groups of what is wanted, write or verify; the loss is said, and decides the exit code."""
    from vdmcompress.archive.reader import Archive
    from vdmcompress.archive.runners import Processes, Runner, Serial

    start = time.perf_counter()
    images = size = 0
    with Archive(reading.file, limits=reading.limits) as archive:
        _tell_damage(report, archive)
        if writing is None:
            _tell_models(report, archive)
        tasks = list(_tasks(archive, reading, report, wanted, writing))
        _tell_missing(report, wanted)
        total = sum(len(task.names) for task in tasks)
        runner: Runner = Serial() if jobs == 1 else Processes(min(jobs, max(1, len(tasks))), died=Lost)
        outcomes = runner.map(decode_task, tasks)
        done = 0
        with progress_bar(printable(reading.file.name), quiet=report.quiet) as progress, closing(outcomes):
            for task, found in zip(tasks, outcomes, strict=True):
                done += len(task.names)
                if progress is not None:
                    progress(done, total, word)
                if isinstance(found, Lost):
                    _tell_loss(report, task.number, task.names, found.error)
                    continue
                for outcome in found:
                    with report.file(Path(outcome.name)):
                        if outcome.error is not None:
                            raise outcome.error
                        size += len(outcome.data)
                        images += 1
                        _tell_image(report, outcome, writing, word)
    failed = sum(code != 0 for code in report.codes)
    bad = f", {failed} problem{'s' * (failed > 1)}" if failed else ""
    report.note(f"{images:,} images {word}{bad}; {time.perf_counter() - start:.1f} s")
    _leave(report)


def _tasks(
    archive: "Archive", reading: Reading, report: Report, wanted: Wanted, writing: _Writing | None
) -> Iterator[Task]:
    for number in range(len(archive.groups)):
        names = []
        for member in _members(report, archive, number):
            if wanted(member.name):
                with report.file(Path(member.name)):
                    if writing is None or writing.check(member.name, reading.kind):
                        names.append(member.name)
        if names:
            records = (archive.groups[number], *archive.models)
            yield Task(reading, number, records, tuple(names), writing is not None)


def _tell_image(report: Report, outcome: Outcome, writing: _Writing | None, word: str) -> None:
    record: dict[str, Any] = {"file": outcome.name}
    text = f"{printable(outcome.name)}: ok"
    if writing is not None:
        path = writing.write(outcome)
        for name in outcome.lost:
            report.note(f"{printable(outcome.name)}: not written, the format cannot hold it: {name}")
        record |= {"output": str(path), "bytes_out": len(outcome.data)}
        text = f"{printable(path)}: {len(outcome.data):,} bytes"
    if report.as_json:
        report.line(text, record)
    else:
        report.detail(text)


def _tell_damage(report: Report, archive: "Archive") -> None:
    """Say that the index is damaged; what was found without it is used."""
    if archive.damage is not None:
        with report.file(archive.path):
            raise archive.damage


def _tell_models(report: Report, archive: "Archive") -> None:
    """Say which embedded models are damaged: groups decode only where these models are installed."""
    for record in archive.damaged_models():
        text = f"an embedded model at byte {record.offset} does not agree with its CRC-32"
        _tell_failure(report, archive.path, damaged(text))


def _members(report: Report, archive: "Archive", number: int) -> "list[Member]":
    try:
        return archive.group_members(number)
    except VdmError as error:
        count = archive.groups[number].images
        _tell_loss(report, number, (), error, count)
        return []


def _tell_loss(
    report: Report, number: int, names: Sequence[str], error: Exception, count: int | None = None
) -> None:
    """Say that a group is lost, and what was in it."""
    lost = len(names) if count is None else count
    _tell_failure(report, Path(f"group {number}, {lost} images"), error)
    for name in names:
        report.note(f"lost: {printable(name)}")


def _tell_failure(report: Report, place: Path, error: Exception) -> None:
    with report.file(place):
        raise error


def _tell_missing(report: Report, wanted: Wanted) -> None:
    for pattern in wanted.patterns:
        if pattern not in wanted.met:
            with report.file(Path(pattern)):
                raise UsageError("no image of that name in the archive; 'vdmc archive list' shows the names")


def _tell_group(report: Report, archive: "Archive", number: int, members: "Sequence[Member]") -> None:
    group = archive.groups[number]
    values = sum(member.values for member in members)
    price = _price(archive, number)
    singles = sum(member.single for member in members)
    record = {
        "group": number,
        "images": group.images,
        "singles": singles,
        "offset": group.offset,
        "bytes": group.length,
        "values": values,
        "price": price,
    }
    alone = f", {singles} coded alone" if singles else ""
    bits = f", {8 * group.length / values:.3f} bpd" if values else ""
    report.line(
        f"group {number}: {group.images:,} images{alone}, {group.length:,} bytes{bits}, "
        f"{price:,} for being a group",
        record,
    )


def _price(archive: "Archive", number: int) -> int:
    """Bytes of a group that would not be there if its images were in another one; 0 for the first."""
    from vdmcompress.archive.group import price_of

    if number == 0:
        return 0
    try:
        return price_of(archive.group_members(number))
    except VdmError:
        return 0


def _described(member: "Member", number: int) -> tuple[str, dict[str, Any]]:
    record = {
        "file": member.name,
        "width": member.width,
        "height": member.height,
        "channels": member.mode.channels,
        "bits": member.depth,
        "mode": member.mode.name.lower(),
        "group": number,
        "single": member.single,
        "modified": member.modified,
        "permissions": None if member.permissions is None else f"{member.permissions:03o}",
    }
    size = f"{member.width}x{member.height}"
    when = ""
    if member.modified is not None:
        with suppress(OverflowError, ValueError, OSError):
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(member.modified))
    kind = mode_name(member.mode, member.depth)
    return f"{number:5}  {size:>11}  {kind:<14}  {when:16}  {printable(member.name)}", record


def _leave(report: Report) -> None:
    """Leave with the exit code of the worst problem: damage before all others."""
    codes = sorted({code for code in report.codes if code}, key=lambda code: (code != 3, code))
    if codes:
        raise click.exceptions.Exit(codes[0])
