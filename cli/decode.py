"""`vdmc decode`: compressed files to images."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from cli import options
from cli.progress import progress_bar
from cli.report import Report, shape
from cli.streams import check_target, read_bytes, write_target
from cli.targets import STREAM, Target, plan

SUFFIXES = {".png": "png", ".webp": "webp", ".ppm": "ppm", ".pgm": "ppm", ".pbm": "ppm"}
"""Suffixes of outputs and the formats that they stand for."""

SCALES = {"1/2": 2, "1/4": 4, "1/8": 8}


@click.command()
@options.inputs
@options.output
@options.output_dir
@click.option(
    "--format",
    "kind",
    type=click.Choice(["png", "webp", "ppm"]),
    help="Format of the image (all lossless); the default follows from -o, else png.",
)
@click.option("--scale", type=click.Choice(list(SCALES)), help="A smaller picture, from coarse scales only.")
@options.device
@options.threads
@options.force
@options.reporting
def decode(
    inputs: Sequence[Path],
    output: Path | None,
    output_dir: Path | None,
    kind: str | None,
    scale: str | None,
    device: str,
    threads: int,
    force: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Decode compressed files to images. The output lies beside the input, as PNG unless told otherwise.

    PNG holds everything: mode, depth, palette, metadata. WebP holds 8-bit grey and RGB with and without
    alpha, with ICC profile, EXIF and XMP; PPM holds grey and RGB. What cannot be held is refused; metadata
    that is left out is named.
    """
    kind = kind or _kind_of(output)
    targets = plan(inputs, output, output_dir, f".{kind}")
    to_stdout = targets[0].output == STREAM
    if to_stdout and as_json:
        raise click.UsageError("--json and data on standard output exclude each other: use -o FILE")
    report = Report(len(targets), as_json, quiet, verbose, to_stderr=to_stdout)
    for target in targets:
        with report.file(target.source):
            record = _decode_one(target, kind, SCALES[scale] if scale else 1, device, threads, force, report)
            report.line(_line(record), record)
    report.finish("decoded")


def _kind_of(output: Path | None) -> str:
    if output is None or output == STREAM:
        return "png"
    if output.suffix.lower() not in SUFFIXES:
        raise click.UsageError(
            f"{output}: the suffix names no format: use {', '.join(SUFFIXES)}, or say --format"
        )
    return SUFFIXES[output.suffix.lower()]


def _decode_one(
    target: Target, kind: str, scale: int, device: str, threads: int, force: bool, report: Report
) -> dict[str, Any]:
    from vdmcompress import api
    from vdmcompress.image_output import check_format, ppm_suffix, write_picture
    from vdmcompress.picture import array_picture

    start = time.perf_counter()
    data = read_bytes(target.source)
    header = api.peek(data)
    if kind == "ppm" and not target.named and target.output != STREAM:
        bits = header.depth if scale == 1 else 8
        target = Target(target.source, target.output.with_suffix(ppm_suffix(header.mode, bits)))
    check_target(target, force)
    if scale == 1:
        check_format(header, kind)
    with progress_bar(target.source.name, quiet=report.quiet) as progress:
        count = options.thread_count(threads)
        if scale == 1:
            picture = api.decode_picture(data, threads=count, device=device, progress=progress)
        else:
            preview = api.decode(data, scale=scale, threads=count, device=device, progress=progress)
            picture = array_picture(preview)
    image, lost = write_picture(picture, kind)
    for name in lost:
        report.note(f"{target.source}: not written, {kind} cannot hold it: {name}")
    write_target(target, image, force)
    return {
        "file": str(target.source),
        "output": str(target.output),
        "width": picture.width,
        "height": picture.height,
        "channels": picture.mode.channels,
        "bits": picture.depth,
        "mode": picture.mode.name.lower(),
        "scale": scale,
        "bytes_in": len(data),
        "bytes_out": len(image),
        "seconds": time.perf_counter() - start,
    }


def _line(record: dict[str, Any]) -> str:
    size = shape(record)
    scaled = f" (scale 1/{record['scale']})" if record["scale"] > 1 else ""
    return (
        f"{record['file']}: {size}{scaled}, {record['bytes_in']:,} -> {record['bytes_out']:,} bytes, "
        f"{record['seconds']:.1f} s"
    )
