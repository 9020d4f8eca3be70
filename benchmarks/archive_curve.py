"""Rate of an archive against the number of its images, and what else an archive of small images must show.

    python -m benchmarks.archive_curve MOSAIC... [-m MODEL] [--name NAME] [--counts 1,10] [--plot FILE.svg]

The images are the tiles of mosaics (`benchmarks/mosaics.py`).  For each count: bytes of the whole archive,
bits by the coder's own count, and bits per dimension.  For the largest: the VLB of what is coded by diffusion
and how far the archive is above it; 500 images extracted by name and compared; one group damaged and all
others extracted; WebP and JPEG XL of the mosaics.  The figures go to benchmarks/results/archive-NAME.json;
--replot draws them again without measuring.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.kodak import RESULTS
from benchmarks.mosaics import named_tiles
from vdmcompress import api
from vdmcompress.archive.create import create
from vdmcompress.archive.group import unpack_group
from vdmcompress.archive.grouping import GroupSize
from vdmcompress.archive.reader import Archive
from vdmcompress.batch_evaluate import batch_vlb
from vdmcompress.container import Limits
from vdmcompress.engine import Engine, default_threads
from vdmcompress.errors import DamagedFileError
from vdmcompress.measure.formats import Pixels, available, find_format, read_pixels
from vdmcompress.measure.machine import machine, versions
from vdmcompress.model_file import find_model

COUNTS = (1, 10, 100, 1000, 2000)
BY_NAME = 500
Named = list[tuple[str, Pixels]]


def main(arguments: Sequence[str]) -> int:
    """Measure, write the JSON file, print, draw."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.archive_curve")
    parser.add_argument("mosaics", nargs="*", type=Path)
    parser.add_argument("-m", "--model", help="name or file of a model (default: as vdmc archive create)")
    parser.add_argument("--name", default="cifar10")
    parser.add_argument("--counts", default=",".join(map(str, COUNTS)))
    parser.add_argument("--plot", type=Path, help="draw the curve (needs matplotlib)")
    parser.add_argument("--replot", action="store_true", help="draw the figures that are there")
    options = parser.parse_args(arguments)
    file = RESULTS / f"archive-{options.name}.json"
    if not options.replot:
        if not options.mosaics:
            parser.error("say which mosaics")
        result = measure(list(named_tiles(options.mosaics)), options)
        result["mosaics"] = mosaics(options.mosaics)
        RESULTS.mkdir(exist_ok=True)
        file.write_text(json.dumps(result, indent=1) + "\n")
    result = json.loads(file.read_text())
    tell(result)
    if options.plot:
        draw(result, options.plot)
    return 0


def measure(images: Named, options: argparse.Namespace) -> dict[str, Any]:
    """All figures of the archive."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "a.vdma"
        for count in (int(text) for text in options.counts.split(",")):
            if count > len(images):
                continue
            start = time.perf_counter()
            made = create(target, images[:count], model=options.model, verify=False, force=True)
            seconds = time.perf_counter() - start
            rows.append(
                {
                    "images": count,
                    "bytes": made.size,
                    "coded_bits": round(made.bound),
                    "bpd": 8 * made.size / made.values,
                    "groups": made.groups,
                    "seconds": round(seconds, 1),
                }
            )
            print(f"{count} images: {made.size:,} bytes, {rows[-1]['bpd']:.4f} bpd", file=sys.stderr)
        found = images[: int(rows[-1]["images"])]
        return {
            "archive": options.name,
            "date": datetime.now(UTC).date().isoformat(),
            "machine": machine(),
            "versions": versions(),
            "rows": rows,
            "single_file_bpd": single_files(found[:20], options.model),
            "bound": bound(target),
            "by_name": by_name(target, found),
            "damaged": damaged(Path(folder), found, options.model),
        }


def single_files(images: Named, model: str | None) -> float:
    """Bits per dimension of some images as files of their own."""
    size = sum(len(api.encode(pixels, model=model, verify=False)) for _, pixels in images)
    return 8 * size / sum(pixels.size for _, pixels in images)


def bound(path: Path) -> dict[str, Any]:
    """VLB of what diffusion codes, its share of the file, and the whole file against it.

    What is coded by itself (singles) counts with its bytes on both sides.
    """
    bits, singles = 0.0, 0
    with Archive(path) as archive:
        for number in range(len(archive.groups)):
            parts = unpack_group(archive.group_record(number), Limits())
            singles += 8 * sum(map(len, parts.singles))
            if parts.coded is None:
                continue
            pictures = archive.decode(number)
            batches, at = [], 0
            for shape in parts.shapes:
                members = parts.members[at : at + shape.count]
                at += shape.count
                found = [pictures[member.name] for member in members]
                batches.append(np.stack([p.colour for p in found if not isinstance(p, Exception)]))
            model = find_model(parts.coded.model)
            with Engine(model, default_threads()) as engine:
                bits += batch_vlb(batches, parts.coded.plan, engine)
        size, values = archive.size, sum(member.values for member in archive.members())
        count = sum(member.single for member in archive.members())
    return {
        "vlb_bits": round(bits),
        "single_bits": singles,
        "singles": count,
        "vlb_bpd": (bits + singles) / values,
        "file_bpd": 8 * size / values,
        "above_percent": 100 * (8 * size / (bits + singles) - 1),
    }


def by_name(path: Path, images: Named) -> dict[str, Any]:
    """Some images by name, compared."""
    chosen = random.Random(0).sample(images, min(BY_NAME, len(images)))
    start = time.perf_counter()
    with Archive(path) as archive:
        pictures = dict(archive.pictures(name for name, _ in chosen))
    equal = sum(np.array_equal(pictures[name].pixels, pixels) for name, pixels in chosen)
    return {"images": len(chosen), "equal": equal, "seconds": round(time.perf_counter() - start, 1)}


def damaged(folder: Path, images: Named, model: str | None) -> dict[str, Any]:
    """An archive in four groups; one byte in the second altered; the images of the others, compared."""
    path = folder / "groups.vdma"
    size = GroupSize(images=-(-len(images) // 4))
    made = create(path, images, model=model, verify=False, group=size)
    with Archive(path) as archive:
        place = archive.groups[min(1, len(archive.groups) - 1)]
        price = made.size
    data = bytearray(path.read_bytes())
    data[place.offset + place.length // 2] ^= 1
    path.write_bytes(data)
    pixels, equal, lost = dict(images), 0, 0
    with Archive(path) as archive:
        for number, group in enumerate(archive.groups):
            try:
                found = archive.decode(number)
            except DamagedFileError:
                lost += group.images
                continue
            for name, picture in found.items():
                if not isinstance(picture, Exception):
                    equal += np.array_equal(picture.pixels, pixels[name])
    return {"groups": made.groups, "bytes": price, "lost": lost, "equal": int(equal), "images": len(images)}


def mosaics(paths: Sequence[Path]) -> dict[str, float]:
    """Bits per dimension of the mosaics as images, by the formats that one would take else."""
    whole = [read_pixels(path) for path in paths]
    values = sum(pixels.size for pixels in whole)
    formats = [find_format(name) for name in available(("webp", "jxl7", "jxl9"))[0]]
    return {form.name: 8 * sum(len(form.encode(p)) for p in whole) / values for form in formats}


def tell(result: dict[str, Any]) -> None:
    """Print the figures."""
    print(f"{result['archive']}, {result['date']}")
    for row in result["rows"]:
        print(f"{row['images']:6} images {row['bytes']:11,} bytes {row['bpd']:.4f} bpd {row['seconds']} s")
    own = result["bound"]
    print(f"files of their own: {result['single_file_bpd']:.4f} bpd")
    print(f"VLB {own['vlb_bpd']:.4f} bpd, file {own['file_bpd']:.4f}: {own['above_percent']:.2f} % above")
    named, lost = result["by_name"], result["damaged"]
    print(f"by name: {named['equal']} of {named['images']} equal, {named['seconds']} s")
    print(f"one of {lost['groups']} groups damaged: {lost['lost']} lost, {lost['equal']} equal")
    print("mosaics: " + ", ".join(f"{name} {value:.4f} bpd" for name, value in result["mosaics"].items()))


def draw(result: dict[str, Any], path: Path) -> None:
    """Bits per dimension against the number of images."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    counts = [row["images"] for row in result["rows"]]
    axes.plot(counts, [row["bpd"] for row in result["rows"]], "o-", color="C0", label="archive, whole file")
    lines = {"files of their own": result["single_file_bpd"], "VLB": result["bound"]["vlb_bpd"]}
    lines |= {f"{name} of the mosaics": value for name, value in result["mosaics"].items()}
    for index, (name, value) in enumerate(lines.items(), 1):
        axes.axhline(value, color=f"C{index}", linestyle="--", linewidth=1, label=f"{name}: {value:.3f}")
    for row in result["rows"]:
        place = (row["images"], row["bpd"])
        axes.annotate(f"{row['bpd']:.3f}", place, textcoords="offset points", xytext=(4, 6), fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("images in the archive")
    axes.set_ylabel("bits per dimension")
    axes.set_title(f"{result['archive']}: archives of 32x32 images")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
