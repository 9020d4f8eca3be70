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


class DifferentPixels(VdmError):
    """A sound file that holds another picture than the one it is compared with."""


@dataclass(frozen=True)
class VerifySettings:
    """What decides how a file is checked.  against: image whose pixels it must have."""

    against: Path | None
    device: str
    threads: int | None
    max_pixels: int | None


@click.command(short_help="Decode without writing; compare pixels.")
@options.selection(".vdm files")
@click.option(
    "--against", metavar="IMG", type=click.Path(path_type=Path), help="Compare with the pixels of this image."
)
@options.device
@options.threads
@options.jobs
@options.max_pixels
@options.reporting
def verify(
    selection: Selection,
    against: Path | None,
    device: str,
    threads: int,
    jobs: int,
    max_pixels: int | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Decode files without writing anything; the checksum of the pixels must hold.

    Exit code 3 says that a file is damaged, 1 that it is sound but holds other pixels than --against.
    """
    sources = selection.find(CODED_SUFFIXES)
    if against is not None and (sources.many or sources.total > 1):
        raise click.UsageError("--against compares one file: name one, without -r or --files-from")
    report = Report(sources.total, as_json, quiet, verbose)
    tell_sources(report, sources, ".vdm files")
    settings = VerifySettings(against, device, options.thread_count(threads, jobs), max_pixels)
    targets = [Target(source.path, source.path) for source in sources.files]
    Batch(targets, None, report, "verified", _line).run(partial(_verify_one, settings), jobs)


def _verify_one(settings: VerifySettings, target: Target, progress: Progress | None = None) -> Coded:
    import numpy as np

    from vdmcompress import api
    from vdmcompress.image_io import read_image

    start = time.perf_counter()
    limits = options.limits(settings.max_pixels)
    against = settings.against
    expected = read_image(against, limits) if against else None
    pixels = api.decode(
        read_coded(target.source, limits),
        threads=settings.threads,
        device=settings.device,
        progress=progress,
        **options.limits_given(settings.max_pixels),
    )
    if expected is not None and not np.array_equal(pixels, expected):
        raise DifferentPixels(_difference(pixels.shape, expected.shape, against))
    record = {
        "file": str(target.source),
        "against": str(against) if against else None,
        "width": pixels.shape[1],
        "height": pixels.shape[0],
        "channels": 1 if pixels.ndim == 2 else pixels.shape[2],
        "seconds": time.perf_counter() - start,
    }
    return Coded(b"", record, target)


def _difference(found: tuple[int, ...], expected: tuple[int, ...], against: Path | None) -> str:
    if found != expected:
        return f"holds an image of shape {found}, {against} has {expected}"
    return f"holds other pixels than {against}"


def _line(record: dict[str, Any]) -> str:
    same = f", same pixels as {printable(record['against'])}" if record["against"] else ""
    size = shape(record["width"], record["height"], record["channels"])
    return f"{printable(record['file'])}: ok, {size}{same}, {record['seconds']:.1f} s"
