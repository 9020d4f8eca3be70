"""`vdmc encode`: images to compressed files."""

import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from cli import options
from cli.progress import progress_bar
from cli.report import PRE_RELEASE, Report, bpd, shape
from cli.streams import check_target, read_bytes, write_target
from cli.targets import STREAM, Target, plan

SUFFIX = ".vdm"


@click.command()
@options.inputs
@options.output
@options.output_dir
@options.model
@options.device
@options.threads
@options.latents
@options.force
@click.option(
    "--strip", is_flag=True, help="Leave out metadata; transparency stays, it is part of the picture."
)
@click.option("--no-verify", is_flag=True, help="Skip the check that decodes each file before it is written.")
@options.reporting
def encode(
    inputs: Sequence[Path],
    output: Path | None,
    output_dir: Path | None,
    model: str | None,
    device: str,
    threads: int,
    latents: str,
    force: bool,
    strip: bool,
    no_verify: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Compress images, losslessly. The output lies beside the input, with the suffix .vdm.

    Each file is decoded again and compared before it is written.
    """
    targets = plan(inputs, output, output_dir, SUFFIX)
    to_stdout = targets[0].output == STREAM
    if to_stdout and as_json:
        raise click.UsageError("--json and data on standard output exclude each other: use -o FILE")
    report = Report(len(targets), as_json, quiet, verbose, to_stderr=to_stdout)
    report.note(PRE_RELEASE)
    for target in targets:
        with report.file(target.source):
            check_target(target, force)
            record = _encode_one(target, model, device, threads, latents, force, strip, not no_verify, report)
            report.line(_line(record), record)
    report.finish("encoded")


def _encode_one(
    target: Target,
    model: str | None,
    device: str,
    threads: int,
    latents: str,
    force: bool,
    strip: bool,
    verify: bool,
    report: Report,
) -> dict[str, Any]:
    from vdmcompress import api
    from vdmcompress.image_io import read_picture

    start = time.perf_counter()
    original = read_bytes(target.source)
    picture = read_picture(io.BytesIO(original))
    for note in picture.notes:
        report.note(f"{target.source}: {note}")
    if strip:
        picture = picture.stripped()
    quiet = report.quiet
    with progress_bar(target.source.name, quiet=quiet) as progress:
        data = api.encode(
            picture,
            model=model,
            threads=options.thread_count(threads),
            device=device,
            latents=latents,
            verify=verify,
            progress=progress,
        )
    write_target(target, data, force)
    seconds = time.perf_counter() - start
    header = api.peek(data)
    checked = "verified" if verify else "not verified"
    coding = f"model {header.model.hex()}, plan {header.plan}" if header.model else header.kind.name.lower()
    report.detail(
        f"{target.source}: {coding}, {header.lanes} lanes, CRC-32 {header.pixel_crc:08x}, {checked}"
    )
    return {
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
        "verified": verify,
        "seconds": seconds,
    }


def _line(record: dict[str, Any]) -> str:
    size = shape(record)
    kind = "" if record["model"] else f" ({record['kind']})"
    return (
        f"{record['file']}: {size}, {record['bytes_in']:,} -> {record['bytes_out']:,} bytes{kind}, "
        f"{100 * record['bytes_out'] / record['bytes_in']:.1f} %, {record['bpd']:.3f} bpd, "
        f"{record['seconds']:.1f} s"
    )
