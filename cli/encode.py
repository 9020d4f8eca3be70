"""`vdmc encode`: images to compressed files."""

import io
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click

from cli import options
from cli.batch import Batch, Coded, Writing, tell_sources
from cli.progress import Progress
from cli.report import PRE_RELEASE, Report, bpd, printable, shape
from cli.sources import IMAGE_SUFFIXES, STREAM, Selection
from cli.streams import read_bytes
from cli.targets import Target, coded_name, plan
from vdmcompress.efforts import DEFAULT_EFFORT

ADVICE = "use --full-name (a.png -> a.png.vdm), or a run with another -O for one of them"


@dataclass(frozen=True)
class EncodeSettings:
    """What decides how an image is encoded; the same for all files of a command."""

    model: str | None
    device: str
    threads: int | None
    latents: str | None
    verify: bool
    max_pixels: int | None
    max_memory: int | None = None
    effort: int = DEFAULT_EFFORT
    strip: bool = False
    colour: str = "auto"


@click.command(short_help="Compress images, losslessly.")
@options.selection("images")
@options.output
@options.stdout
@options.output_dir
@click.option("--full-name", is_flag=True, help="Keep the suffix of the image: a.png -> a.png.vdm.")
@options.effort
@options.model
@options.latents
@options.colour
@options.device
@options.threads
@options.jobs
@options.max_pixels
@options.max_memory
@options.force
@options.skip_existing
@options.keep
@click.option("--rm", "remove", is_flag=True, help="Remove each image once its verified file is on disk.")
@click.option("--strip", is_flag=True, help="Leave metadata out; transparency is none, and stays.")
@click.option("--no-verify", is_flag=True, help="Skip the check that decodes each file before it is written.")
@options.dry_run
@options.reporting
def encode(
    selection: Selection,
    output: Path | None,
    stdout: bool,
    output_dir: Path | None,
    full_name: bool,
    model: str | None,
    device: str,
    threads: int,
    jobs: int,
    effort: int,
    latents: str | None,
    colour: str,
    max_pixels: int | None,
    max_memory: int | None,
    force: bool,
    skip_existing: bool,
    remove: bool,
    strip: bool,
    no_verify: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Compress images, losslessly. The output lies beside the input, with the suffix .vdm.

    Each file is decoded again and compared before it is written. IN is a file, a folder with -r, or - for
    standard input. What fails does not stop the others; name collisions are found before any work.
    """
    output = options.output_path(output, stdout)
    writing = Writing(force, skip_existing, remove)
    sources = selection.find(IMAGE_SUFFIXES)
    targets = plan(sources.files, output, output_dir, partial(coded_name, full=full_name), ADVICE)
    to_stdout = any(target.output == STREAM for target in targets)
    if to_stdout and as_json:
        raise click.UsageError("--json and data on standard output exclude each other: use -o FILE")
    if remove and no_verify:
        raise click.UsageError("--rm removes verified images only: leave --no-verify out")
    if remove and any(STREAM in (target.source, target.output) for target in targets):
        raise click.UsageError("--rm goes from files to files: with - nothing could be removed safely")
    report = Report(sources.total, as_json, quiet, verbose, to_stderr=to_stdout)
    tell_sources(report, sources, "images")
    settings = EncodeSettings(
        model,
        device,
        options.thread_count(threads, jobs),
        latents,
        not no_verify,
        max_pixels,
        max_memory,
        effort,
        strip,
        colour,
    )
    if dry_run:
        from cli import estimate

        estimator = partial(estimate.estimate_encode, settings)
        estimate.dry_run(targets, writing, report, estimator, jobs, "about")
        return
    batch = Batch(targets, writing, report, "encoded", _line, PRE_RELEASE)
    batch.run(partial(_encode_one, settings), jobs)


def _encode_one(settings: EncodeSettings, target: Target, progress: Progress | None = None) -> Coded:
    from vdmcompress import api
    from vdmcompress.image_io import read_picture

    start = time.perf_counter()
    original = read_bytes(target.source)
    limits = options.limits(settings.max_pixels)
    picture = read_picture(io.BytesIO(original), limits)
    data = api.encode(
        picture.stripped() if settings.strip else picture,
        effort=settings.effort,
        model=settings.model,
        threads=settings.threads,
        device=settings.device,
        latents=settings.latents,
        colour=settings.colour,
        verify=settings.verify,
        progress=progress,
        **options.limits_given(settings.max_pixels, settings.max_memory),
    )
    header = api.peek(data, limits)
    checked = "verified" if settings.verify else "not verified"
    coding = f"model {header.model.hex()}, plan {header.plan}" if header.model else header.kind.name.lower()
    record = {
        "file": str(target.source),
        "output": str(target.output),
        "width": header.width,
        "height": header.height,
        "channels": header.channels,
        "bits": header.depth,
        "mode": header.mode.name.lower(),
        "bytes_in": len(original),
        "bytes_out": len(data),
        "bpd": bpd(len(data), header.width, header.height, header.channels),
        "kind": header.kind.name.lower(),
        "model": header.model.hex() if header.model else None,
        "plan": header.plan if header.model else None,
        "verified": settings.verify,
        "seconds": time.perf_counter() - start,
    }
    return Coded(
        data,
        record,
        target,
        notes=(*(f"not kept: {name}" for name in picture.lost), *picture.notes),
        details=(f"{coding}, {header.lanes} lanes, CRC-32 {header.pixel_crc:08x}, {checked}",),
        complete=not picture.lost,
    )


def _line(record: dict[str, Any]) -> str:
    size = shape(record)
    kind = "" if record["model"] else f" ({record['kind']})"
    return (
        f"{printable(record['file'])}: {size}, "
        f"{record['bytes_in']:,} -> {record['bytes_out']:,} bytes{kind}, "
        f"{100 * record['bytes_out'] / record['bytes_in']:.1f} %, {record['bpd']:.3f} bpd, "
        f"{record['seconds']:.1f} s"
    )
