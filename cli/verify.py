"""`vdmc verify`: do compressed files decode, and to the right pixels?"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from cli import options
from cli.progress import progress_bar
from cli.report import Report, shape
from cli.streams import read_bytes
from vdmcompress.errors import VdmError


class DifferentPicture(VdmError):
    """A sound file that holds another picture than the one it is compared with."""


@click.command(short_help="Decode without writing; compare pixels.")
@click.argument("inputs", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--against",
    metavar="IMG",
    type=click.Path(path_type=Path),
    help="Compare with this image: pixels, mode, depth and metadata.",
)
@options.device
@options.threads
@options.reporting
def verify(
    inputs: Sequence[Path],
    against: Path | None,
    device: str,
    threads: int,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Decode files without writing anything; the checksum of the pixels must hold.

    Exit code 3 says that a file is damaged, 1 that it is sound but differs from --against.
    """
    if against is not None and len(inputs) > 1:
        raise click.UsageError(f"--against compares one file, but there are {len(inputs)}")
    report = Report(len(inputs), as_json, quiet, verbose)
    for path in inputs:
        with report.file(path):
            record = _verify_one(path, against, device, threads, quiet)
            same = f", same pixels, mode and metadata as {against}" if against else ""
            report.line(f"{path}: ok, {shape(record)}{same}, {record['seconds']:.1f} s", record)
    report.finish("verified")


def _verify_one(path: Path, against: Path | None, device: str, threads: int, quiet: bool) -> dict[str, Any]:
    from vdmcompress import api
    from vdmcompress.image_io import read_picture
    from vdmcompress.picture import difference

    start = time.perf_counter()
    expected = read_picture(against) if against else None
    with progress_bar(path.name, quiet=quiet) as progress:
        picture = api.decode_picture(
            read_bytes(path), threads=options.thread_count(threads), device=device, progress=progress
        )
    differs = None if expected is None else difference(picture, expected)
    if differs is not None:
        raise DifferentPicture(f"differs from {against}: {differs}")
    return {
        "file": str(path),
        "against": str(against) if against else None,
        "width": picture.width,
        "height": picture.height,
        "channels": picture.mode.channels,
        "bits": picture.depth,
        "mode": picture.mode.name.lower(),
        "seconds": time.perf_counter() - start,
    }
