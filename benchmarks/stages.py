"""Where the time goes: network, coder and the rest of encoding and decoding, and peak memory.

    python -m benchmarks.stages IMAGE... [--threads N] [--device DEVICE] [--json]

Each image is encoded once to warm up, then encoded and decoded once counted; shares are of the wall time.
The classical screen and verification are not part of it (`benchmarks.kodak` measures whole commands).
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zlib import crc32

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from codec import adaptive, bits_back
from vdmcompress.cascade import decode_pixels, encode_pixels
from vdmcompress.engine import Engine, default_threads
from vdmcompress.image_io import read_image
from vdmcompress.model_search import load_model

STAGES: tuple[tuple[str, Any, str], ...] = (
    ("network", Engine, "evaluate"),
    ("coder", bits_back, "push"),
    ("coder", adaptive, "push"),
    ("coder", adaptive, "pop"),
    ("coder", bits_back, "pop"),
)


@contextmanager
def stopwatches() -> Iterator[dict[str, float]]:
    """Seconds spent in each stage while the context lasts."""
    spent = {"network": 0.0, "coder": 0.0}
    originals = [(owner, name, getattr(owner, name)) for _, owner, name in STAGES]

    def timed(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent[stage] += time.perf_counter() - began

        return call

    for (stage, owner, name), (_, _, function) in zip(STAGES, originals, strict=True):
        setattr(owner, name, timed(stage, function))
    try:
        yield spent
    finally:
        for owner, name, function in originals:
            setattr(owner, name, function)


def measure(path: Path, threads: int, device: str, model_name: str | None) -> list[dict[str, Any]]:
    """One record for encoding and one for decoding of an image."""
    pixels, model = read_image(path), load_model(model_name)
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else 3
    encode_pixels(pixels, model, threads, None, device)
    records = []
    with stopwatches() as spent:
        began = time.perf_counter()
        encoded = encode_pixels(pixels, model, threads, None, device)
        records.append({"direction": "encode", "seconds": time.perf_counter() - began, **spent})
    with stopwatches() as spent:
        began = time.perf_counter()
        found = decode_pixels(
            encoded.lanes, height, width, channels, encoded.plan, model, threads, 1, None, device
        )
        records.append({"direction": "decode", "seconds": time.perf_counter() - began, **spent})
    if not np.array_equal(found, pixels):
        raise click.ClickException(f"{path}: decoded pixels differ")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    for record in records:
        record |= {"file": path.name, "megapixels": height * width / 1e6, "threads": threads}
        record |= {"mpx_per_second": height * width / 1e6 / record["seconds"], "peak_mib": peak}
        record |= {"bpd": 8 * sum(map(len, encoded.lanes)) / pixels.size, "plan": encoded.plan}
        record |= {"crc": crc32(b"".join(encoded.lanes))}
    return records


@click.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("-T", "--threads", type=click.IntRange(min=1), default=None)
@click.option("--device", default="auto", show_default=True)
@click.option("-m", "--model", default=None)
@click.option("--json", "as_json", is_flag=True)
def main(
    images: tuple[Path, ...], threads: int | None, device: str, model: str | None, as_json: bool
) -> None:
    """Print seconds and shares by stage for IMAGES."""
    count = threads or default_threads()
    records = [record for path in images for record in measure(path, count, device, model)]
    if as_json:
        for record in records:
            click.echo(json.dumps(record))
        return
    table = Table(title=f"{count} threads, device {device}")
    for name in ("file", "", "Mpx", "seconds", "Mpx/s", "network", "coder", "rest", "peak MiB"):
        table.add_column(name, justify="left" if name in ("file", "") else "right")
    for r in records:
        network, coder = r["network"] / r["seconds"], r["coder"] / r["seconds"]
        table.add_row(
            r["file"],
            r["direction"],
            f"{r['megapixels']:.2f}",
            f"{r['seconds']:.2f}",
            f"{r['mpx_per_second']:.3f}",
            f"{network:.0%}",
            f"{coder:.0%}",
            f"{1 - network - coder:.0%}",
            f"{r['peak_mib']:.0f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
