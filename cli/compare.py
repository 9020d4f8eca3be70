"""`vdmc compare`: the quick table for a few images, in this process."""

from __future__ import annotations

import json
from typing import Any

import click

from cli import options
from cli.batch import tell_sources
from cli.progress import progress_bar
from cli.report import Report, printable, shape
from cli.sources import IMAGE_SUFFIXES, Selection

QUICK = "png,webp4,jls,jxl7,vdmc1,vdmc7"


@click.command(short_help="Compare an image's size in vdmc and other formats.")
@options.selection("images")
@click.option(
    "--formats",
    metavar="LIST",
    default=QUICK,
    show_default=True,
    help="Formats, with commas; `vdmc bench --help` names them.",
)
@options.threads
@options.reporting
def compare(
    selection: Selection, formats: str, threads: int, as_json: bool, quiet: bool, verbose: bool
) -> None:
    """Compare what images take in vdmc and in other formats: bytes, bits per dimension, seconds each way.

    Each image is coded once in each format and compared with what came back. `vdmc bench` measures speed with
    care: turn by turn, repeatedly, with peak memory.
    """
    from cli.bench import settings_of
    from vdmcompress.errors import UsageError
    from vdmcompress.measure.formats import available, find_format, measure, read_pixels, warm_up

    sources = selection.find(IMAGE_SUFFIXES, repeats=True, folders=True)
    report = Report(sources.total, as_json, quiet, verbose)
    tell_sources(report, sources, "images")
    settings = settings_of(formats, threads, 1)
    names, missing = available(settings.names, settings.thread_count)
    for name, reason in missing.items():
        report.note(f"{name} is not measured here: {printable(reason)}")
    if not names:
        raise UsageError("no format to compare with; name some with --formats")
    forms = [find_format(name, settings.thread_count) for name in names]
    for form in forms:
        warm_up(form)
    records: list[dict[str, Any]] = []
    for path in (source.path for source in sources.files):
        with report.file(path):
            pixels = read_pixels(path)
            height, width = pixels.shape[:2]
            record: dict[str, Any] = {
                "file": str(path), "width": width, "height": height,
                "channels": 1 if pixels.ndim == 2 else pixels.shape[2], "formats": {},
            }  # fmt: skip
            with progress_bar(printable(path.name), quiet=quiet) as progress:
                for index, form in enumerate(forms):
                    if progress is not None:
                        progress(index, len(forms), form.title)
                    m = measure(form, pixels)
                    record["formats"][form.title] = {
                        "bytes": m.size,
                        "bpd": 8 * m.size / pixels.size,
                        "encode_seconds": round(m.encode_seconds, 4),
                        "decode_seconds": round(m.decode_seconds, 4),
                    }
            records.append(record)
            _tell(record, f"{printable(path)}: {shape(record)}", report)
    if len(records) > 1:
        _tell(_sum(records), f"{len(records)} images", report, "total")
    report.finish("compared")


def _sum(records: list[dict[str, Any]]) -> dict[str, Any]:
    values = sum(r["width"] * r["height"] * r["channels"] for r in records)
    formats = {}
    for title in records[0]["formats"]:
        rows = [r["formats"][title] for r in records]
        found = {key: sum(row[key] for row in rows) for key in rows[0] if key != "bpd"}
        formats[title] = {**found, "bpd": 8 * found["bytes"] / values}
    return {"files": len(records), "formats": formats}


def _tell(record: dict[str, Any], title: str, report: Report, status: str = "ok") -> None:
    if report.as_json:
        click.echo(json.dumps({"status": status, **record}))
    elif not report.quiet:
        from cli.measure_tables import print_table

        smallest = min(f["bytes"] for f in record["formats"].values())
        rows = [
            (
                name + (" *" if f["bytes"] == smallest else ""),
                f"{f['bytes']:,}",
                f"{f['bpd']:.4f}",
                f"{100 * f['bytes'] / smallest - 100:+.1f} %",
                f"{f['encode_seconds']:.2f}",
                f"{f['decode_seconds']:.2f}",
            )
            for name, f in record["formats"].items()
        ]
        headings = ("format", "bytes", "bpd", "over smallest", "encode s", "decode s")
        print_table(title, headings, rows, ["*: fewest bytes."])
