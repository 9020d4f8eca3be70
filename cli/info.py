"""`vdmc info`: what a file's header says."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from cli import options
from cli.report import Report, bpd, shape
from cli.streams import read_bytes


@click.command(short_help="Show what the headers of files say.")
@options.inputs
@options.reporting
def info(inputs: Sequence[Path], as_json: bool, quiet: bool, verbose: bool) -> None:
    """Show what compressed files say of themselves; nothing is decoded."""
    from vdmcompress.chunks import describe_chunks
    from vdmcompress.container import Header, peek

    def record(path: Path, size: int, header: Header) -> dict[str, Any]:
        return {
            "file": str(path),
            "width": header.width,
            "height": header.height,
            "channels": header.channels,
            "bits": header.depth,
            "mode": header.mode.name.lower(),
            "lossless": True,
            "format_version": header.version,
            "kind": header.kind.name.lower(),
            "alpha": None if header.alpha is None else header.alpha.name.lower(),
            "metadata": [{"name": name, "bytes": length} for name, length in describe_chunks(header.chunks)],
            "model": header.model.hex() if header.model else None,
            "plan": header.plan if header.model else None,
            "lanes": header.lanes,
            "pixel_crc32": f"{header.pixel_crc:08x}",
            "bytes": size,
            "bpd": bpd(size, header.width, header.height, header.channels),
        }

    report = Report(len(inputs), as_json, quiet, verbose)
    for path in inputs:
        with report.file(path):
            data = read_bytes(path)
            report.line(*describe(record(path, len(data), peek(data))))
    report.finish("read")


def describe(record: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The lines for people, and the record itself."""
    coding = record["kind"]
    if record["model"]:
        coding += f", model {record['model']}, plan {record['plan']}, lanes {record['lanes']}"
    if record["alpha"]:
        coding += f"; alpha {record['alpha']}"
    lines = [
        record["file"],
        f"  image   {shape(record)}, {record['bits']} bit{'s' * (record['bits'] > 1)}, lossless",
        f"  coding  {coding}",
        f"  size    {record['bytes']:,} bytes, {record['bpd']:.3f} bpd",
        f"  CRC-32  {record['pixel_crc32']} of the pixels",
        f"  format  {record['format_version']}",
    ]
    lines += [f"  keeps   {kept['name']}, {kept['bytes']:,} bytes" for kept in record["metadata"]]
    return "\n".join(lines), record
