"""`-n`: what a command would do, without doing it. Sizes and times are estimates, and are called so.

Size of a compressed file: WebP at its least effort takes hundredths of a second a megapixel, and files of
the model `photo` are SHARE of its size on Kodak (0.80 to 0.90 on single images). Screenshots and the like may
come out much smaller. Size of a decoded image: what its pixels take uncompressed, which is about the most.
Times: those of the model card, for each core; a trial of WebP at full effort, which encoding makes where it
may win, comes on top.
"""

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import click

from cli import options
from cli.batch import Writing
from cli.report import Report, printable, shape
from cli.streams import Original, check_target, read_bytes, read_coded
from cli.targets import Target
from vdmcompress.workers import processors

if TYPE_CHECKING:
    from cli.decode import DecodeSettings
    from cli.encode import EncodeSettings
    from vdmcompress.header import Header
    from vdmcompress.picture import Picture

SHARE: Final = 0.86
STORED: Final = 0.65
"""Of that, where the pixels were YCC; 0.55 to 0.7 with chroma at half the resolution, 0.8 without."""

PIXELS_A_SECOND: Final = 150_000
"""Of one pass (encoding, or decoding, or the decoding that verifies) on one core."""

Estimator: TypeAlias = Callable[[Target], dict[str, Any]]


def estimate_encode(settings: "EncodeSettings", target: Target) -> dict[str, Any]:
    """Record of an image that would be encoded.  Raises what reading it raises."""
    from PIL import Image

    from vdmcompress.api import by_diffusion
    from vdmcompress.classical import WEBP_SIDE
    from vdmcompress.colour import likely
    from vdmcompress.image_io import read_picture
    from vdmcompress.picture import Mode

    data = read_bytes(target.source)
    picture = read_picture(io.BytesIO(data), options.limits(settings.max_pixels))
    height, width = picture.height, picture.width
    size = picture.pixels.nbytes
    if picture.depth <= 8 and max(height, width) <= WEBP_SIDE:
        quick = io.BytesIO()
        Image.fromarray(picture.pixels).save(quick, "WEBP", lossless=True, method=0, quality=0, exact=True)
        size = int(SHARE * len(quick.getvalue()))
        if settings.colour == "auto" and picture.mode in (Mode.RGB, Mode.RGBA) and picture.depth == 8:
            size = int(STORED * size) if likely(picture.colour.reshape(-1, 3)) else size
    passes = (2 if settings.verify else 1) if by_diffusion(picture) else 0
    seconds = _seconds(height * width, settings.threads) * passes
    return _record(target, width, height, picture, len(data), size, seconds)


def estimate_decode(settings: "DecodeSettings", target: Target) -> dict[str, Any]:
    """Record of a file that would be decoded.  Raises what opening it raises."""
    from vdmcompress.container import peek
    from vdmcompress.header import Kind

    limits = options.limits(settings.max_pixels)
    data = read_coded(target.source, limits)
    header = peek(data, limits)
    width, height = -(-header.width // settings.scale), -(-header.height // settings.scale)
    diffusion = header.kind is Kind.DIFFUSION
    seconds = _seconds(width * height, settings.threads) if diffusion else 0.0
    size = width * height * header.channels * (2 if header.depth == 16 else 1)
    return _record(target, width, height, header, len(data), size, seconds)


def _seconds(pixels: int, threads: int | None) -> float:
    return pixels / (PIXELS_A_SECOND * (threads or processors()))


def _record(
    target: Target,
    width: int,
    height: int,
    described: "Header | Picture",
    bytes_in: int,
    size: int,
    seconds: float,
) -> dict[str, Any]:
    return {
        "status": "estimate",
        "file": str(target.source),
        "output": str(target.output),
        "width": width,
        "height": height,
        "channels": described.mode.channels,
        "bits": described.depth,
        "mode": described.mode.name.lower(),
        "bytes_in": bytes_in,
        "bytes_out_estimate": size,
        "seconds_estimate": seconds,
    }


def dry_run(
    targets: Sequence[Target],
    writing: Writing,
    report: Report,
    estimator: Estimator,
    jobs: int,
    about: str,
) -> None:
    """Say what would be done for each file, sum up, and leave with the exit code of what would fail.

    about: the word before a size, "about" or "at most".
    """
    size_in = size_out = 0
    seconds = 0.0
    for target in targets:
        with report.file(target.source):
            if writing.skips(target):
                report.skip(target.source, f"{printable(target.output)} exists")
                continue
            check_target(target, writing.force)
            if writing.remove:
                Original.of(target.source)
            record = estimator(target)
            size_in += record["bytes_in"]
            size_out += record["bytes_out_estimate"]
            seconds += record["seconds_estimate"]
            report.line(_line(record, about, writing.remove), record)
    failing = sum(code != 0 for code in report.codes)
    report.note(
        f"dry run, nothing was written: {len(report.codes) - failing - report.skipped} to do, "
        f"{report.skipped} to skip, {failing} would fail; "
        f"{size_in:,} -> {about} {size_out:,} bytes, {_time(seconds / jobs)}; sizes and times are estimates"
    )
    if report.exit_code:
        raise click.exceptions.Exit(report.exit_code)


def _line(record: dict[str, Any], about: str, remove: bool) -> str:
    size = shape(record)
    return (
        f"{printable(record['file'])} -> {printable(record['output'])}: {size}, {record['bytes_in']:,} -> "
        f"{about} {record['bytes_out_estimate']:,} bytes, {_time(record['seconds_estimate'])}"
        f"{', then removed' if remove else ''}"
    )


def _time(seconds: float) -> str:
    if seconds < 1:
        return "under 1 s"
    if seconds < 120:
        return f"about {seconds:.0f} s"
    if seconds < 7200:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.1f} h"
