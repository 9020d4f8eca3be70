"""`vdmc archive list`, `extract` and `verify`."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import options
from cli.archive_output import Writing
from cli.archive_report import (
    Wanted,
    described,
    leave,
    price_in,
    sound_members,
    tell_damage,
    tell_group,
    tell_loss,
    tell_missing,
    tell_models,
)
from cli.archive_task import Lost, Outcome, Reading, Task, decode_task
from cli.progress import progress_bar
from cli.report import Report, printable

if TYPE_CHECKING:
    from vdmcompress.archive.reader import Archive

file_argument = click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
names_argument = click.argument("names", metavar="[NAME...]", nargs=-1)


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
        tell_damage(report, archive)
        values = 0
        for number in range(len(archive.groups)):
            members = sound_members(report, archive, number)
            values += sum(member.values for member in members)
            if by_group:
                tell_group(report, archive, number, members)
                continue
            for member in members:
                if wanted(member.name):
                    report.line(*described(member, number))
        tell_missing(report, wanted)
        if not as_json:
            price = sum(price_in(archive, number) for number in range(len(archive.groups)))
            report.line(
                f"{len(archive):,} images in {len(archive.groups)} group{'s' * (len(archive.groups) != 1)}, "
                f"{archive.size:,} bytes, {8 * archive.size / max(values, 1):.3f} bpd; "
                f"being groups costs {price:,} bytes ({100 * price / archive.size:.2f} %)",
                {},
            )
    leave(report)


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
    writing = Writing(output_dir or Path(), force, skip_existing, report)
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


def _settings(threads: int, jobs: int, device: str, max_memory: int | None) -> dict[str, Any]:
    return {"threads": options.thread_count(threads, jobs), "device": device, "memory": max_memory}


def _run(
    reading: Reading, report: Report, wanted: Wanted, jobs: int, writing: Writing | None, word: str
) -> None:
    """Decode the groups of what is wanted, write or verify; the loss is said, and decides the exit code."""
    from vdmcompress.archive.reader import Archive
    from vdmcompress.archive.runners import Processes, Runner, Serial

    start = time.perf_counter()
    images = size = 0
    with Archive(reading.file, limits=reading.limits) as archive:
        tell_damage(report, archive)
        if writing is None:
            tell_models(report, archive)
        tasks = list(_tasks(archive, reading, report, wanted, writing))
        tell_missing(report, wanted)
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
                    tell_loss(report, task.number, task.names, found.error)
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
    leave(report)


def _tasks(
    archive: "Archive", reading: Reading, report: Report, wanted: Wanted, writing: Writing | None
) -> Iterator[Task]:
    for number in range(len(archive.groups)):
        names = []
        for member in sound_members(report, archive, number):
            if wanted(member.name):
                with report.file(Path(member.name)):
                    if writing is None or writing.check(member.name, reading.kind):
                        names.append(member.name)
        if names:
            records = (archive.groups[number], *archive.models)
            yield Task(reading, number, records, tuple(names), writing is not None)


def _tell_image(report: Report, outcome: Outcome, writing: Writing | None, word: str) -> None:
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
