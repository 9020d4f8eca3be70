"""`vdmc bench`: a folder of images through vdmc and through what people use, in size, time and memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import options
from cli.batch import tell_sources
from cli.progress import progress_bar
from cli.report import Report, printable
from cli.sources import IMAGE_SUFFIXES, Selection, Sources

if TYPE_CHECKING:
    from vdmcompress.measure.bench import Settings


def measuring(command: options.F) -> options.F:
    """Add the options that say what is measured and how often."""
    for part in (
        click.option(
            "--repeats",
            metavar="N",
            type=click.IntRange(1),
            default=3,
            show_default=True,
            help="Times that each image is coded; once where that takes more than 3 seconds.",
        ),
        click.option("--limit", metavar="N", type=click.IntRange(1), help="Take the first N images only."),
        options.threads,
        click.option(
            "--formats",
            metavar="LIST",
            help="Formats, with commas: png, webp, webp0-6, jxl1-9, jls, avif, vdmc1-9 (vdmc7+: with its "
            "check); or all. Default: the best of each, and every effort that differs.",
        ),
    ):
        command = part(command)
    return command


@click.command(short_help="Measure images in vdmc and other formats.")
@options.selection("images")
@measuring
@click.option("--name", help="Name of the set (default: that of the folder).")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Keep the figures in this JSON file, replacing it.",
)
@click.option(
    "--baseline",
    metavar="OLD.json",
    type=click.Path(path_type=Path),
    help="Say what moved since these figures were kept.",
)
@options.reporting
def bench(
    selection: Selection,
    formats: str | None,
    threads: int,
    limit: int | None,
    repeats: int,
    name: str | None,
    output: Path | None,
    baseline: Path | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Measure the images of a folder in vdmc and in other formats: bytes, speed each way, peak memory.

    The formats take turns on each image, each in a process of its own; every image is compared with what came
    back. --json prints all figures as one object. A run takes minutes: 24 photographs of 0.4 megapixels about
    fifteen on two cores.
    """
    from vdmcompress.measure import baseline as moved

    sources = selection.find(IMAGE_SUFFIXES, folders=True)
    report = Report(sources.total, as_json, quiet, verbose)
    old = moved.read_record(baseline) if baseline is not None else None
    result = measure_set(sources, report, settings_of(formats, threads, repeats), limit, name, selection)
    if output is not None:
        write_record(output, result)
    if old is not None:
        result = {**result, "moved": moved.compare(old, result)}
    if as_json:
        click.echo(json.dumps(result))
    elif not quiet:
        from cli.measure_tables import print_bench, print_moved

        print_bench(result)
        if old is not None:
            print_moved(result["moved"])
    report.finish("measured")


def settings_of(formats: str | None, threads: int, repeats: int) -> Settings:
    """What the options ask for; raises UsageError for formats that do not exist."""
    from vdmcompress.measure.bench import Settings
    from vdmcompress.measure.formats import all_names, usual_names

    names: tuple[str, ...] = usual_names()
    if formats is not None:
        parts = [part.strip().lower() for part in formats.split(",") if part.strip()]
        names = tuple(name for part in parts for name in (all_names() if part == "all" else (part,)))
    return Settings(names, threads, repeats)


def measure_set(
    sources: Sources,
    report: Report,
    settings: Settings,
    limit: int | None,
    name: str | None,
    selection: Selection,
) -> dict[str, Any]:
    """Run the measurement with a progress bar, and report every image."""
    from vdmcompress.measure.bench import run

    tell_sources(report, sources, "images")
    paths = [source.path for source in sources.files][:limit]
    report.total = len(paths) + len(sources.unread)
    label = name or set_name(selection)
    with progress_bar(printable(label), quiet=report.quiet) as progress:
        result = run(paths, label, settings, progress)
    for left_out in result["skipped"]:
        report.note(f"{printable(left_out['image'])}: {printable(left_out['reason'])}")
    for form, reason in result["missing"].items():
        report.note(f"{form} is not measured here: {printable(reason)}")
    report.codes += [0] * len(paths)
    return result


def set_name(selection: Selection) -> str:
    """A set is called after its folder, or else after its first image."""
    first = next(iter(selection.inputs), Path("images"))
    resolved = first.resolve()
    return resolved.name if resolved.is_dir() else resolved.stem


def write_record(path: Path, result: dict[str, Any]) -> None:
    """Keep a record of figures, whole or not at all."""
    from vdmcompress.files import write_file

    write_file(path, (json.dumps(result, indent=1) + "\n").encode(), force=True)
