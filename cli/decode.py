"""`vdmc decode`: compressed files to images."""

import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from cli import options
from cli.batch import Batch, Coded, Writing, tell_sources
from cli.progress import Progress
from cli.report import Report, printable, shape
from cli.sources import CODED_SUFFIXES, STREAM, Selection
from cli.streams import read_coded
from cli.targets import Target, image_name, plan
from vdmcompress.files import IMAGE_FORMATS

SCALES = {"1/2": 2, "1/4": 4, "1/8": 8}
ADVICE = "use a run with another -O for one of them, or -o"


@dataclass(frozen=True)
class DecodeSettings:
    """What decides how a file is decoded; the same for all files of a command.

    kind: format of the images, None where the outputs' names say it.
    """

    kind: str | None
    scale: int
    device: str
    threads: int | None
    max_pixels: int | None
    max_memory: int | None = None


@click.command(short_help="Decode compressed files to images.")
@options.selection(".vdm files")
@options.output
@options.stdout
@options.output_dir
@click.option(
    "--format",
    "kind",
    type=click.Choice(["png", "webp", "ppm"]),
    help="Format of the image (all lossless); the default follows from the output's name, else png.",
)
@click.option("--scale", type=click.Choice(list(SCALES)), help="A smaller picture, from coarse scales only.")
@options.device
@options.threads
@options.jobs
@options.max_pixels
@options.max_memory
@options.force
@options.skip_existing
@options.keep
@options.dry_run
@options.reporting
def decode(
    selection: Selection,
    output: Path | None,
    stdout: bool,
    output_dir: Path | None,
    kind: str | None,
    scale: str | None,
    device: str,
    threads: int,
    jobs: int,
    max_pixels: int | None,
    max_memory: int | None,
    force: bool,
    skip_existing: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Decode compressed files to images. The output lies beside the input, as PNG unless told otherwise.

    IN is a file, a folder with -r, or - for standard input. photo.vdm becomes photo.png, and photo.webp.vdm
    photo.webp. What fails does not stop the others; name collisions are found before any work.

    PNG holds everything: mode, depth, palette, metadata. WebP holds 8-bit grey and RGB with and without
    alpha, with ICC profile, EXIF and XMP; PPM holds grey and RGB. What cannot be held is refused; metadata
    that is left out is named.
    """
    output = options.output_path(output, stdout)
    writing = Writing(force, skip_existing)
    if output is not None:
        kind = kind or _kind_of(output)
    sources = selection.find(CODED_SUFFIXES)
    targets = plan(
        sources.files, output, output_dir, partial(image_name, formats=IMAGE_FORMATS, kind=kind), ADVICE
    )
    to_stdout = any(target.output == STREAM for target in targets)
    if to_stdout and as_json:
        raise click.UsageError("--json and data on standard output exclude each other: use -o FILE")
    report = Report(sources.total, as_json, quiet, verbose, to_stderr=to_stdout)
    tell_sources(report, sources, ".vdm files")
    factor = SCALES[scale] if scale else 1
    settings = DecodeSettings(
        kind, factor, device, options.thread_count(threads, jobs), max_pixels, max_memory
    )
    if dry_run:
        from cli import estimate

        estimator = partial(estimate.estimate_decode, settings)
        estimate.dry_run(targets, writing, report, estimator, jobs, "at most")
        return
    Batch(targets, writing, report, "decoded", _line).run(partial(_decode_one, settings), jobs)


def _kind_of(output: Path) -> str:
    if output == STREAM:
        return "png"
    if output.suffix.lower() not in IMAGE_FORMATS:
        raise click.UsageError(
            f"{output}: the suffix names no format: use {', '.join(IMAGE_FORMATS)}, or say --format"
        )
    return IMAGE_FORMATS[output.suffix.lower()]


def _decode_one(settings: DecodeSettings, target: Target, progress: Progress | None = None) -> Coded:
    from vdmcompress import api
    from vdmcompress.image_output import check_format, check_suffix, ppm_suffix, write_picture
    from vdmcompress.picture import array_picture

    start = time.perf_counter()
    limits = options.limits(settings.max_pixels)
    data = read_coded(target.source, limits)
    header = api.peek(data, limits)
    kind = settings.kind or IMAGE_FORMATS.get(target.output.suffix.lower(), "png")
    whole = settings.scale == 1
    if settings.kind == "ppm" and not target.named and target.output != STREAM:
        suffix = ppm_suffix(header.mode, header.depth if whole else 8)
        target = replace(target, output=target.output.with_suffix(suffix))
    how: dict[str, Any] = {
        "threads": settings.threads,
        "device": settings.device,
        "progress": progress,
        **options.limits_given(settings.max_pixels, settings.max_memory),
    }
    if whole:
        check_format(header, kind)
    if kind == "ppm":
        check_suffix(target.output.suffix, header.mode, header.depth if whole else 8)
    if whole:
        picture = api.decode_picture(data, **how)
    else:
        picture = array_picture(api.decode(data, scale=settings.scale, **how))
    image, lost = write_picture(picture, kind)
    record = {
        "file": str(target.source),
        "output": str(target.output),
        "width": picture.width,
        "height": picture.height,
        "channels": picture.mode.channels,
        "bits": picture.depth,
        "mode": picture.mode.name.lower(),
        "scale": settings.scale,
        "bytes_in": len(data),
        "bytes_out": len(image),
        "seconds": time.perf_counter() - start,
    }
    notes = tuple(f"not written, {kind} cannot hold it: {name}" for name in lost)
    return Coded(image, record, target, notes)


def _line(record: dict[str, Any]) -> str:
    size = shape(record)
    scaled = f" (scale 1/{record['scale']})" if record["scale"] > 1 else ""
    return (
        f"{printable(record['file'])}: {size}{scaled}, "
        f"{record['bytes_in']:,} -> {record['bytes_out']:,} bytes, {record['seconds']:.1f} s"
    )
