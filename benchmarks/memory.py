"""Peak memory and time of encoding and decoding large images, with and without a limit, beside the estimate.

    python -m benchmarks.memory IMAGE [--megapixels 12,24] [--threads N]

The image is enlarged and mirrored to the sizes asked for.  Each figure comes from a process of its own.
"""

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from vdmcompress.measure.formats import read_pixels

WIDTH_TO_HEIGHT = 4 / 3


def enlarged(pixels: NDArray[np.uint8], megapixels: float) -> NDArray[np.uint8]:
    """An image of 4:3 and the size asked for: the pixels beside their mirror images, as often as it takes."""
    height = round(math.sqrt(megapixels * 1e6 / WIDTH_TO_HEIGHT))
    width = round(height * WIDTH_TO_HEIGHT)
    pair = np.concatenate((pixels, pixels[:, ::-1]), 1)
    block = np.concatenate((pair, pair[::-1]), 0)
    times = (-(-height // block.shape[0]), -(-width // block.shape[1]))
    return np.tile(block, (*times, *(1,) * (block.ndim - 2)))[:height, :width]


def work(direction: str, source: Path, target: Path, threads: int | None, limit: int | None) -> None:
    """Encode an array or decode a file, in a process of its own; prints its record."""
    from vdmcompress import api
    from vdmcompress.engine import default_threads
    from vdmcompress.memory import choose_tile, memory_needed
    from vdmcompress.model_search import load_model

    start = time.perf_counter()
    if direction == "encode":
        pixels = np.load(source)
        target.write_bytes(api.encode(pixels, threads=threads, memory=limit, verify=False))
    else:
        pixels = api.decode(source.read_bytes(), threads=threads, memory=limit)
        np.save(target, pixels)
    seconds = time.perf_counter() - start
    height, width = pixels.shape[:2]
    image = (height, width, 1 if pixels.ndim == 2 else 3)
    model, count = load_model(None), threads or default_threads()
    tile = choose_tile(*image, model, count, limit)
    estimate = memory_needed(*image, model, count, tile)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    record = {"direction": direction, "seconds": seconds, "peak": peak, "tile": tile}
    print(json.dumps(record | {"estimate": estimate}))


def main(arguments: Sequence[str]) -> int:
    """Measure and print the table; 1 where decoding gave other pixels or a limit gave other bytes."""
    if arguments and arguments[0] == "--work":
        way, given, to, *numbers = arguments[1:]
        work(way, Path(given), Path(to), *(int(number) or None for number in numbers))
        return 0
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory")
    parser.add_argument("image", type=Path)
    parser.add_argument("--megapixels", default="12", help="sizes, with commas")
    parser.add_argument("--threads", type=int, default=0, help="threads (default: all cores)")
    options = parser.parse_args(arguments)
    pixels = read_pixels(options.image)
    table = Table(title="peak memory of a process, MiB")
    for heading in ("Mpx", "", "limit", "tile", "estimate", "peak", "seconds"):
        table.add_column(heading, justify="right")
    equal = True
    with tempfile.TemporaryDirectory() as place:
        source, back = Path(place, "pixels.npy"), Path(place, "back.npy")
        for megapixels in map(float, options.megapixels.split(",")):
            large = enlarged(pixels, megapixels)
            np.save(source, large)
            files = [Path(place, name) for name in ("free.vdm", "tight.vdm")]
            limit = 0
            for file in files:
                for direction, start, made in (("encode", source, file), ("decode", file, back)):
                    record = _run(direction, start, made, options.threads, limit)
                    mib = [f"{record[key] / 2**20:.0f}" for key in ("estimate", "peak")]
                    shown = [f"{megapixels:g}", direction, f"{limit / 2**20:.0f}" if limit else "none"]
                    table.add_row(*shown, str(record["tile"]), *mib, f"{record['seconds']:.1f}")
                equal = equal and np.array_equal(np.load(back), large)
                limit = limit or int(record["estimate"]) - 1
            equal = equal and files[0].read_bytes() == files[1].read_bytes()
    Console().print(table)
    print("pixels and bytes equal" if equal else "pixels or bytes differ")
    return 0 if equal else 1


def _run(direction: str, source: Path, target: Path, threads: int, limit: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.memory", "--work", direction, str(source), str(target)]
    done = subprocess.run([*command, str(threads), str(limit)], capture_output=True, text=True, check=True)
    record: dict[str, Any] = json.loads(done.stdout)
    return record


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
