"""A CUDA device beside the CPU: whole images by turns, seconds of all and of the networks, equal bytes.

    python -m benchmarks.devices IMAGE... [--model NAME] [--threads N] [--repeats N] [--json]
                                 [--baseline cpu] [--device cuda]

Each image is coded once on each device to warm up, then by turns; the least time of the repeats counts, so
that starting CUDA is no part of it.  Where there is no CUDA device one line says so.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from benchmarks.stages import measure
from vdmcompress.engine import BACKENDS, CUDA_BACKENDS, cuda_available, default_threads

CHOICES = ("cpu", "cuda", *BACKENDS)


def compare(
    path: Path, devices: tuple[str, str], threads: int, repeats: int, model: str | None
) -> list[dict[str, Any]]:
    """For encoding and for decoding: least seconds, whole and of the networks, on both devices; the ratio.

    Raises ClickException where the devices give different bytes.
    """
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for _ in range(repeats):
        for device in devices:
            for record in measure(path, threads, device, model):
                key = (record["direction"], device)
                if key not in best or record["seconds"] < best[key]["seconds"]:
                    best[key] = record
    if len({record["crc"] for record in best.values()}) > 1:
        raise click.ClickException(f"{path}: {devices[0]} and {devices[1]} give different bytes")
    result = []
    for direction in ("encode", "decode"):
        pair = [best[direction, device] for device in devices]
        found = {"file": path.name, "direction": direction, "megapixels": pair[0]["megapixels"]}
        for part in ("seconds", "network"):
            found |= {f"{part} {device}": record[part] for device, record in zip(devices, pair, strict=True)}
            found[f"{part} ratio"] = pair[0][part] / pair[1][part]
        result.append(found)
    return result


@click.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("-T", "--threads", type=click.IntRange(min=1), default=None)
@click.option("-m", "--model", default=None)
@click.option("--repeats", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--baseline", type=click.Choice(CHOICES), default="cpu", show_default=True)
@click.option("--device", type=click.Choice(CHOICES), default="cuda", show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(
    images: tuple[Path, ...],
    threads: int | None,
    model: str | None,
    repeats: int,
    baseline: str,
    device: str,
    as_json: bool,
) -> None:
    """Print seconds on both devices and their ratio for IMAGES."""
    if {baseline, device} & {"cuda", *CUDA_BACKENDS} and not cuda_available():
        click.echo("torch finds no CUDA device: nothing was measured")
        return
    count, devices = threads or default_threads(), (baseline, device)
    records = [record for path in images for record in compare(path, devices, count, repeats, model)]
    if as_json:
        for record in records:
            click.echo(json.dumps(record))
        return
    names = [f"{part} {column}" for part in ("seconds", "network") for column in (*devices, "ratio")]
    table = Table(title=f"{count} threads, {device} beside {baseline}")
    for name in ("file", "", "Mpx", *names):
        table.add_column(name.replace(" ", "\n"), justify="left" if name in ("file", "") else "right")
    for record in records:
        figures = [f"{record[name]:.2f}" for name in names]
        table.add_row(record["file"], record["direction"], f"{record['megapixels']:.2f}", *figures)
    Console().print(table)


if __name__ == "__main__":
    main()
