"""`make try`: the sample photographs through the installed tool, encoded and decoded in separate processes.

python -m benchmarks.try_it [FOLDER]
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.process import Run, run_files
from vdmcompress.measure.formats import Measured, Pixels, find_format, measure, read_pixels

SAMPLES = Path(__file__).resolve().parent.parent / "samples"


def main(arguments: Sequence[str]) -> int:
    """Encode, decode and compare a folder of PNG images; 0 where every pixel came back."""
    folder = Path(arguments[0]) if arguments else SAMPLES
    images = {path.stem: read_pixels(path) for path in sorted(folder.glob("*.png"))}
    if not images:
        print(f"no PNG images in {folder}", file=sys.stderr)
        return 2
    forms = (find_format("png"), find_format("webp"))
    others = {f.title: {name: measure(f, pixels) for name, pixels in images.items()} for f in forms}
    with tempfile.TemporaryDirectory() as place:
        coded, decoded = Path(place, "coded"), Path(place, "decoded")
        encode, _ = run_files(["encode"], [folder / f"{name}.png" for name in images], coded)
        decode, _ = run_files(["decode"], sorted(coded.glob("*.vdm")), decoded)
        sizes = {name: (coded / f"{name}.vdm").stat().st_size for name in images}
        different = [
            name
            for name, pixels in images.items()
            if not np.array_equal(pixels, read_pixels(decoded / f"{name}.png"))
        ]
    console = Console()
    console.print(size_table(images, others, sizes))
    console.print(time_table(images, others, encode, decode))
    if different:
        print(f"pixels differ: {', '.join(different)}")
        return 1
    print("pixels equal")
    return 0


def size_table(
    images: dict[str, Pixels], others: dict[str, dict[str, Measured]], sizes: dict[str, int]
) -> Table:
    """Bytes of each image in each format, vdmc's bits per dimension, and vdmc against WebP."""
    table = Table(title="bytes")
    for heading in ("image", "size", "PNG", "WebP", "vdmc", "vdmc bpd", "vdmc/WebP"):
        table.add_column(heading, justify="left" if heading == "image" else "right")

    def row(name: str, size: str, png: int, webp: int, vdmc: int, values: int) -> None:
        bpd, share = f"{8 * vdmc / values:.3f}", f"{100 * vdmc / webp:.1f} %"
        table.add_row(name, size, f"{png:,}", f"{webp:,}", f"{vdmc:,}", bpd, share)

    for name, pixels in images.items():
        size = f"{pixels.shape[1]}x{pixels.shape[0]}"
        row(name, size, others["PNG"][name].size, others["WebP"][name].size, sizes[name], pixels.size)
    table.add_section()
    png, webp = (sum(m.size for m in others[f].values()) for f in ("PNG", "WebP"))
    row("all", "", png, webp, sum(sizes.values()), sum(p.size for p in images.values()))
    return table


def time_table(
    images: dict[str, Pixels], others: dict[str, dict[str, Measured]], encode: Run, decode: Run
) -> Table:
    """Seconds for all images together; vdmc's with the check by decoding before a file is written."""
    mpx = sum(p.shape[0] * p.shape[1] for p in images.values()) / 1e6
    table = Table(title=f"seconds for {mpx:.2f} Mpx")
    for heading in ("", "encode", "decode", "note"):
        table.add_column(heading, justify="right" if heading in ("encode", "decode") else "left")
    for name, measured in others.items():
        table.add_row(
            name,
            f"{sum(m.encode_seconds for m in measured.values()):.1f}",
            f"{sum(m.decode_seconds for m in measured.values()):.2f}",
        )
    table.add_row(
        "vdmc",
        *(f"{sum(r['seconds'] for r in run.records):.1f}" for run in (encode, decode)),
        "with its check by decoding",
    )
    table.add_row(
        "vdmc, whole process",
        f"{encode.seconds:.1f}",
        f"{decode.seconds:.1f}",
        "first run: compiles the coder",
    )
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
