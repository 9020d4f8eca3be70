"""`vdmc eval`: what the model's bound promises for an image, and what the coder makes of it."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import options
from cli.batch import tell_sources
from cli.progress import progress_bar
from cli.report import Report, printable, shape
from cli.sources import IMAGE_SUFFIXES, Selection

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vdmcompress.model_file import Model


@click.command("eval", short_help="Print the bound, coded bits and file size.")
@options.selection("images")
@options.model
@options.device
@options.threads
@options.latents
@options.reporting
def evaluate(
    selection: Selection,
    model: str | None,
    device: str,
    threads: int,
    latents: str | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Print the VLB by scale, band and level, the coded bits and the file size, in bits per dimension.

    The file is the one of the diffusion model, also where `vdmc encode` would take WebP or PNG.
    """
    sources = selection.find(IMAGE_SUFFIXES, repeats=True)
    report = Report(sources.total, as_json, quiet, verbose)
    tell_sources(report, sources, "images")
    loaded: Model | None = None
    records = []
    for path in (source.path for source in sources.files):
        with report.file(path):
            from vdmcompress.image_io import read_image
            from vdmcompress.model_file import load_model

            pixels = read_image(path)
            loaded = loaded or load_model(model)
            record = {
                "file": str(path),
                **_evaluate_one(path, pixels, loaded, device, threads, latents, quiet),
            }
            records.append(record)
            report.line(_show(record), record)
    if len(records) > 1 and not quiet:
        total = totals(records)
        click.echo(json.dumps({"status": "total", **total}) if as_json else _show_totals(total))
    report.finish("evaluated")


def _evaluate_one(
    path: Path,
    pixels: NDArray[np.uint8],
    model: Model,
    device: str,
    threads: int,
    latents: str | None,
    quiet: bool,
) -> dict[str, Any]:
    from vdmcompress.cascade import encode_pixels
    from vdmcompress.container import Header, Kind, file_length
    from vdmcompress.engine import default_threads
    from vdmcompress.evaluate import evaluate as run
    from vdmcompress.path import ORDERS

    count = threads or default_threads()
    with progress_bar(path.name, quiet=quiet) as progress:
        encoded = encode_pixels(pixels, model, count, progress, device, ORDERS[latents or "one"])
        result = run(pixels, model, count, device, encoded)
    height, width, channels = result["height"], result["width"], result["channels"]
    crc = zlib.crc32(pixels.tobytes())
    header = Header(
        Kind.DIFFUSION, width, height, channels, crc, model.hash8, encoded.plan, len(encoded.lanes)
    )
    size = file_length(header, encoded.lanes)
    extra = {"model": model.name, "file_bytes": size, "header_bytes": size - result["payload_bytes"]}
    return summarise({**extra, **result})


def summarise(record: dict[str, Any]) -> dict[str, Any]:
    """Add bits per dimension to bits and bytes, and how far the file is above the VLB in per cent."""
    values = record["width"] * record["height"] * record["channels"]
    rows = [
        {**row, "vlb_bpd": row["vlb_bits"] / values, "coded_bpd": row["coded_bits"] / values}
        for row in record["rows"]
    ]
    return {
        **record,
        "values": values,
        "vlb_bpd": record["vlb_bits"] / values,
        "coded_bpd": record["coded_bits"] / values,
        "file_bpd": 8 * record["file_bytes"] / values,
        "above_vlb_percent": _above(8 * record["file_bytes"], record["vlb_bits"]),
        "rows": rows,
    }


def totals(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The whole set: bits over values, by scale, band and level too, and how many images each plan served."""
    values = sum(r["values"] for r in records)
    vlb, coded = (sum(r[key] for r in records) for key in ("vlb_bits", "coded_bits"))
    size = sum(r["file_bytes"] for r in records)
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in (row for record in records for row in record["rows"]):
        key = (row["scale"], row["band"], row["level"])
        new = {"scale": key[0], "band": key[1], "level": key[2], "vlb_bpd": 0.0, "coded_bpd": 0.0}
        found = rows.setdefault(key, new)
        found["vlb_bpd"] += row["vlb_bits"] / values
        found["coded_bpd"] += row["coded_bits"] / values
    return {
        "files": len(records),
        "file_bytes": size,
        "vlb_bpd": vlb / values,
        "coded_bpd": coded / values,
        "file_bpd": 8 * size / values,
        "above_vlb_percent": _above(8 * size, vlb),
        "plans": {str(plan): count for plan, count in sorted(Counter(r["plan"] for r in records).items())},
        "rows": sorted(rows.values(), key=lambda row: (row["scale"] is None, row["scale"])),
    }


def _above(bits: float, vlb: float) -> float:
    return 100 * (bits / vlb - 1) if vlb > 0 else float("inf")


def _sum_line(record: dict[str, Any]) -> str:
    return (
        f"VLB {record['vlb_bpd']:.4f} bpd, coded {record['coded_bpd']:.4f}, "
        f"file {record['file_bpd']:.4f} ({record['file_bytes']:,} bytes), "
        f"{record['above_vlb_percent']:+.2f} % on the VLB"
    )


def _show(record: dict[str, Any]) -> str:
    size = shape(record)
    title = f"{printable(record['file'])}: {size}, model {record['model']}, plan {record['plan']}"
    return "\n".join([title, *_table(record["rows"]), f"  {_sum_line(record)}"])


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    lines = [
        f"  {'scale':>5} {'band':>5} {'level':>6} {'VLB bpd':>10} {'coded bpd':>10} {'calibration':>12}",
    ]
    for row in rows:
        scale = "-" if row["scale"] is None else row["scale"]
        known = row.get("calibration")
        calibration = "-" if known is None else f"{known:.3f}"
        figures = f"{row['vlb_bpd']:>10.4f} {row['coded_bpd']:>10.4f} {calibration:>12}"
        lines.append(f"  {scale:>5} {row['band']:>5} {row['level']:>6} {figures}")
    return lines


def _show_totals(total: dict[str, Any]) -> str:
    plans = ", ".join(f"plan {plan}: {count}" for plan, count in total["plans"].items())
    title = f"{total['files']} images ({plans})"
    return "\n".join([title, *_table(total["rows"]), f"  {_sum_line(total)}"])
