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


class DifferentPixels(VdmError):
    """A sound file that holds another picture than the one it is compared with."""


@click.command(short_help="Decode without writing; compare pixels.")
@click.argument("inputs", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--against", metavar="IMG", type=click.Path(path_type=Path), help="Compare with the pixels of this image."
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

    Exit code 3 says that a file is damaged, 1 that it is sound but holds other pixels than --against.
    """
    if against is not None and len(inputs) > 1:
        raise click.UsageError(f"--against compares one file, but there are {len(inputs)}")
    report = Report(len(inputs), as_json, quiet, verbose)
    for path in inputs:
        with report.file(path):
            record = _verify_one(path, against, device, threads, quiet)
            same = f", same pixels as {against}" if against else ""
            size = shape(record["width"], record["height"], record["channels"])
            report.line(f"{path}: ok, {size}{same}, {record['seconds']:.1f} s", record)
    report.finish("verified")


def _verify_one(path: Path, against: Path | None, device: str, threads: int, quiet: bool) -> dict[str, Any]:
    import numpy as np

    from vdmcompress import api
    from vdmcompress.image_io import read_image

    start = time.perf_counter()
    expected = read_image(against) if against else None
    with progress_bar(path.name, quiet=quiet) as progress:
        pixels = api.decode(
            read_bytes(path), threads=options.thread_count(threads), device=device, progress=progress
        )
    if expected is not None and not np.array_equal(pixels, expected):
        raise DifferentPixels(_difference(pixels.shape, expected.shape, against))
    return {
        "file": str(path),
        "against": str(against) if against else None,
        "width": pixels.shape[1],
        "height": pixels.shape[0],
        "channels": 1 if pixels.ndim == 2 else pixels.shape[2],
        "seconds": time.perf_counter() - start,
    }


def _difference(found: tuple[int, ...], expected: tuple[int, ...], against: Path | None) -> str:
    if found != expected:
        return f"holds an image of shape {found}, {against} has {expected}"
    return f"holds other pixels than {against}"
