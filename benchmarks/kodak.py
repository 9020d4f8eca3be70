"""A folder of images through vdmc and through the formats that people use, every image checked both ways.

    python -m benchmarks.kodak FOLDER [--name NAME] [--model MODEL] [--threads N] [--limit N] [--verified]

vdmc encodes all images in one process and decodes them in another, through the command line, without the
check that encoding usually ends with; --verified measures it with that check as well.  The figures go to
benchmarks/results/NAME.json, a table to stdout.  Of vdmc's times the first image's include loading the model.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.formats import PNG, WEBP, Format, Pixels, jpeg_xl, measure, read_pixels
from benchmarks.process import Run, run_files

RESULTS = Path(__file__).resolve().parent / "results"
SUFFIXES = (".png", ".webp", ".ppm", ".pgm", ".bmp")


def main(arguments: Sequence[str]) -> int:
    """Measure, write the JSON file and print the table; 1 where vdmc gave other pixels back."""
    options = parse(arguments)
    paths = sorted(path for path in options.folder.iterdir() if path.suffix.lower() in SUFFIXES)
    paths = paths[: options.limit]
    if not paths:
        print(f"no images in {options.folder}", file=sys.stderr)
        return 2
    images = {path.stem: read_pixels(path) for path in paths}
    formats = [f for f in (PNG, WEBP, jpeg_xl(7), jpeg_xl(9)) if f is not None]
    rows = {name: {f.name: _measured(f, pixels) for f in formats} for name, pixels in images.items()}
    vdmc, equal = through_vdmc(images, paths, options)
    for name, figures in vdmc["images"].items():
        rows[name]["vdmc"] = figures
    result = {
        "name": options.name,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "versions": versions(),
        "images": [
            {"image": name, "width": p.shape[1], "height": p.shape[0], "channels": _channels(p)}
            | {"formats": rows[name]}
            for name, p in images.items()
        ],
        "totals": totals(images, rows),
        "vdmc": vdmc["process"],
    }
    print_table(options.name, result["totals"])
    if not equal:
        print("pixels differ; no results written", file=sys.stderr)
        return 1
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{options.name}.json").write_text(json.dumps(result, indent=1) + "\n")
    print("pixels equal")
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line of this benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kodak")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", help="name of the results (default: the folder's)")
    parser.add_argument("--model", help="model for vdmc (default: the shipped one)")
    parser.add_argument("--threads", type=int, default=0, help="threads for vdmc (default: all cores)")
    parser.add_argument("--limit", type=int, help="only the first images")
    parser.add_argument("--verified", action="store_true", help="measure encoding with its check as well")
    options = parser.parse_args(arguments)
    options.name = options.name or options.folder.resolve().name
    return options


def through_vdmc(
    images: dict[str, Pixels], paths: Sequence[Path], options: argparse.Namespace
) -> tuple[dict[str, Any], bool]:
    """Encode in one process, decode in another: figures by image and process; did all pixels come back?"""
    how = ["--threads", str(options.threads)]
    model = ["--model", options.model] if options.model else []
    with tempfile.TemporaryDirectory() as place:
        coded, decoded = Path(place, "coded"), Path(place, "decoded")
        encode, encoded = run_files(["encode", "--no-verify", *how, *model], paths, coded)
        files = [coded / f"{path.stem}.vdm" for path in paths]
        decode, pictures = run_files(["decode", *how], files, decoded)
        equal = all(
            np.array_equal(pixels, read_pixels(decoded / f"{name}.png")) for name, pixels in images.items()
        )
        process: dict[str, Any] = {"encode": _process(encode), "decode": _process(decode)}
        if options.verified:
            checked, _ = run_files(["encode", *how, *model], paths, Path(place, "checked"))
            process["encode_verified"] = _process(checked)
        figures = {
            name: {
                "bytes": (coded / f"{name}.vdm").stat().st_size,
                "encode_seconds": round(encoded[name]["seconds"], 4),
                "decode_seconds": round(pictures[name]["seconds"], 4),
                "kind": encoded[name]["kind"],
                "plan": encoded[name]["plan"],
            }
            for name in images
        }
    plans = Counter(str(f["plan"] if f["plan"] is not None else f["kind"]) for f in figures.values())
    process["plans"] = dict(sorted(plans.items()))
    process["models"] = sorted({r["model"] for r in encoded.values() if r["model"]})
    process["threads"] = options.threads or os.cpu_count()
    return {"images": figures, "process": process}, equal


def totals(images: dict[str, Pixels], rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Sums over the set by format: bytes, bits per dimension, megapixels a second each way."""
    mpx = sum(p.shape[0] * p.shape[1] for p in images.values()) / 1e6
    values = sum(p.size for p in images.values())
    formats = {}
    for name in next(iter(rows.values())):
        size = sum(row[name]["bytes"] for row in rows.values())
        formats[name] = {
            "bytes": size,
            "bpd": round(8 * size / values, 4),
            "encode_mpx_s": round(mpx / sum(row[name]["encode_seconds"] for row in rows.values()), 3),
            "decode_mpx_s": round(mpx / sum(row[name]["decode_seconds"] for row in rows.values()), 3),
        }
    return {"images": len(images), "mpx": round(mpx, 3), "values": values, "formats": formats}


def machine() -> dict[str, Any]:
    """What the figures were measured on: processor, cores, its fast integer instructions, system."""
    cpu, flags = platform.processor() or platform.machine(), ""
    info = Path("/proc/cpuinfo")
    if info.exists():
        fields = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
        fields = {key.strip(): value.strip() for key, value in fields.items()}
        cpu, flags = fields.get("model name", cpu), fields.get("flags", "")
    known = [flag for flag in ("avx2", "avx512f", "avx_vnni", "avx512_vnni") if flag in flags.split()]
    return {"cpu": cpu, "cores": os.cpu_count(), "isa": known, "system": platform.system()}


def versions() -> dict[str, str]:
    """Versions of vdmc and of what it was measured with."""
    found = {"python": platform.python_version()}
    for name in ("vdmcompress", "numpy", "numba", "torch", "pillow", "imagecodecs"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def print_table(name: str, total: dict[str, Any]) -> None:
    """Totals of a set by format."""
    table = Table(title=f"{name}: {total['images']} images, {total['mpx']:.2f} Mpx")
    for heading in ("format", "bytes", "bpd", "encode Mpx/s", "decode Mpx/s"):
        table.add_column(heading, justify="left" if heading == "format" else "right")
    for name, f in total["formats"].items():
        cells = (f"{f['bytes']:,}", f"{f['bpd']:.4f}", f"{f['encode_mpx_s']:.2f}", f"{f['decode_mpx_s']:.2f}")
        table.add_row(name, *cells)
    Console().print(table)


def _measured(format: Format, pixels: Pixels) -> dict[str, Any]:
    m = measure(format, pixels)
    return {
        "bytes": m.size,
        "encode_seconds": round(m.encode_seconds, 4),
        "decode_seconds": round(m.decode_seconds, 4),
    }


def _process(run: Run) -> dict[str, float]:
    files = sum(record["seconds"] for record in run.records)
    return {
        "seconds": round(run.seconds, 2),
        "files_seconds": round(files, 2),
        "peak_mib": round(run.peak_mib),
    }


def _channels(pixels: Pixels) -> int:
    return 1 if pixels.ndim == 2 else pixels.shape[2]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
