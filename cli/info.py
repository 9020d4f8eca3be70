"""`vdmc info`: what a file's header says."""

from functools import cache
from pathlib import Path
from typing import Any

import click

from cli import options
from cli.batch import tell_sources
from cli.report import Report, bpd, printable, shape
from cli.sources import CODED_SUFFIXES, Selection
from cli.streams import read_coded


@click.command(short_help="Show what the headers of files say.")
@options.selection(".vdm files")
@options.max_pixels
@options.reporting
def info(selection: Selection, max_pixels: int | None, as_json: bool, quiet: bool, verbose: bool) -> None:
    """Show what compressed files say of themselves; nothing is decoded."""
    from vdmcompress.chunks import describe_chunks
    from vdmcompress.container import peek
    from vdmcompress.header import Header
    from vdmcompress.model_search import list_models

    names = cache(lambda: {found.hash: found.name for found in list_models()})

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
            "model_name": names().get(header.model.hex()) if header.model else None,
            "plan": header.plan if header.model else None,
            "lanes": header.lanes,
            "pixel_crc32": f"{header.pixel_crc:08x}",
            "bytes": size,
            "bpd": bpd(size, header.width, header.height, header.channels),
        }

    limits = options.limits(max_pixels)
    sources = selection.find(CODED_SUFFIXES)
    report = Report(sources.total, as_json, quiet, verbose)
    tell_sources(report, sources, ".vdm files")
    for source in sources.files:
        with report.file(source.path):
            data = read_coded(source.path, limits)
            report.line(*describe(record(source.path, len(data), peek(data, limits))))
    report.finish("read")


def describe(record: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The lines for people, and the record itself."""
    coding = record["kind"]
    if record["model"]:
        name = record["model_name"]
        called = f"{printable(name)} ({record['model']})" if name else f"{record['model']} (not found here)"
        coding += f", model {called}, plan {record['plan']}, lanes {record['lanes']}"
    if record["alpha"]:
        coding += f"; alpha {record['alpha']}"
    lines = [
        printable(record["file"]),
        f"  image   {shape(record)}, {record['bits']} bit{'s' * (record['bits'] > 1)}, lossless",
        f"  coding  {coding}",
        f"  size    {record['bytes']:,} bytes, {record['bpd']:.3f} bpd",
        f"  CRC-32  {record['pixel_crc32']} of the pixels",
        f"  format  {record['format_version']}",
    ]
    lines += [f"  keeps   {printable(kept['name'])}, {kept['bytes']:,} bytes" for kept in record["metadata"]]
    return "\n".join(lines), record
