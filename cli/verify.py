"""`vdmc verify`: do compressed files decode, and to the right pixels?"""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click

from cli import options
from cli.batch import Batch, Coded, tell_sources
from cli.progress import Progress
from cli.report import Report, printable, shape
from cli.sources import CODED_SUFFIXES, Selection
from cli.streams import read_coded
from cli.targets import Target
from vdmcompress.errors import VdmError


class DifferentPicture(VdmError):
    """A sound file that holds another picture than the one it is compared with."""


@dataclass(frozen=True)
class VerifySettings:
    """What decides how a file is checked.  against: image that it must hold."""

    against: Path | None
    device: str
    threads: int | None
    max_pixels: int | None
    max_memory: int | None = None


@click.command(short_help="Decode without writing; compare with an image.")
@options.selection(".vdm files")
@click.option(
    "--against",
    metavar="IMG",
    type=click.Path(path_type=Path),
    help="Compare with this image: pixels, mode, depth and metadata.",
)
@options.device
@options.threads
@options.jobs
@options.max_pixels
@options.max_memory
@options.reporting
def verify(
    selection: Selection,
    against: Path | None,
    device: str,
    threads: int,
    jobs: int,
    max_pixels: int | None,
    max_memory: int | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Decode files without writing anything; the checksum of the pixels must hold.

    Exit code 3 says that a file is damaged, 1 that it is sound but differs from --against.
    """
    sources = selection.find(CODED_SUFFIXES)
    if against is not None and (sources.many or sources.total > 1):
        raise click.UsageError("--against compares one file: name one, without -r or --files-from")
    report = Report(sources.total, as_json, quiet, verbose)
    tell_sources(report, sources, ".vdm files")
    settings = VerifySettings(against, device, options.thread_count(threads, jobs), max_pixels, max_memory)
    targets = [Target(source.path, source.path) for source in sources.files]
    Batch(targets, None, report, "verified", _line).run(partial(_verify_one, settings), jobs)


def _verify_one(settings: VerifySettings, target: Target, progress: Progress | None = None) -> Coded:
    from vdmcompress import api
    from vdmcompress.image_io import read_picture
    from vdmcompress.picture import difference

    start = time.perf_counter()
    limits = options.limits(settings.max_pixels)
    against = settings.against
    expected = None
    if against is not None:
        try:
            expected = read_picture(against, limits)
        except VdmError as error:
            raise type(error)(f"not compared, --against {against}: {error}") from error
    picture = api.decode_picture(
        read_coded(target.source, limits),
        threads=settings.threads,
        device=settings.device,
        progress=progress,
        **options.limits_given(settings.max_pixels, settings.max_memory),
    )
    differs = None if expected is None else difference(picture, expected)
    if differs is not None:
        raise DifferentPicture(f"differs from {against}: {differs}")
    record = {
        "file": str(target.source),
        "against": str(against) if against else None,
        "width": picture.width,
        "height": picture.height,
        "channels": picture.mode.channels,
        "bits": picture.depth,
        "mode": picture.mode.name.lower(),
        "seconds": time.perf_counter() - start,
    }
    return Coded(b"", record, target)


def _line(record: dict[str, Any]) -> str:
    same = f", same as {printable(record['against'])}" if record["against"] else ""
    size = shape(record)
    return f"{printable(record['file'])}: ok, {size}{same}, {record['seconds']:.1f} s"
