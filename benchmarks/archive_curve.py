"""Rate of an archive against the number of its images, and what else an archive of small images must show.

    python -m benchmarks.archive_curve MOSAIC... [-m MODEL] [--name NAME] [--counts 1,10] [--parts rates,vlb]

The images are the tiles of mosaics (`benchmarks/mosaics.py`).  The parts are

    rates    for each count: bytes of the whole archive, bits by the coder's own count, bits per dimension
    single   bits per dimension of the first 20 images as files of their own
    mosaics  WebP and JPEG XL of the mosaics
    vlb      the VLB of all that diffusion codes in the largest archive, and how far the file is above it
    names    500 images extracted by name, equal in all that an image is, and how much was decoded for it
    damage   one byte of one group altered: `vdmc archive extract` loses this group only, exit code 3

The last three are asked of one archive of all images (the largest count) in --groups groups, which is kept,
as the archives of `rates`, in --folder; or of --archive FILE, which may be one made by `vdmc archive create`.
Each figure is written as soon as it is there (the VLB band by band), to benchmarks/results/archive-NAME.json;
a run that was cut off goes on where it was, with the same images and models.  --again PART,...
measures these anew; --replot draws and prints what is there.
"""

import argparse
import json
import sys
import time
import zlib
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import archive_checks
from benchmarks.kodak import RESULTS
from benchmarks.mosaics import named_tiles
from benchmarks.resumable import Progress, Record
from vdmcompress import api
from vdmcompress.archive.create import create
from vdmcompress.archive.grouping import DEFAULT_GROUP, GroupSize
from vdmcompress.archive.reader import Archive
from vdmcompress.measure.formats import Pixels, available, find_format, read_pixels
from vdmcompress.model_search import file_hash, model_paths

COUNTS = (1, 10, 100, 1000, 2000)
SINGLES = 20
PARTS = ("rates", "single", "mosaics", "vlb", "names", "damage")
Named = list[tuple[str, Pixels]]


@dataclass(frozen=True)
class Told:
    """Codes groups in this process, as `runners.Serial`, and tells how far each is."""

    label: str

    def map(self, function: Callable[..., Any], items: Iterable[Any]) -> Generator[Any]:
        """See `runners.Runner`."""
        for number, item in enumerate(items):
            yield function(item, progress=Progress(f"{self.label}, group {number}"))


def main(arguments: Sequence[str]) -> int:
    """Measure, write the JSON file, print, draw."""
    options = parse(arguments)
    file = RESULTS / f"archive-{options.name}.json"
    if not options.replot:
        measure(options, file)
    result = json.loads(file.read_text())
    tell(options.name, result)
    if options.plot:
        draw(options.name, result, options.plot)
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.archive_curve")
    parser.add_argument("mosaics", nargs="*", type=Path)
    parser.add_argument("-m", "--model", help="name or file of a model (default: as vdmc archive create)")
    parser.add_argument("--name", default="cifar10")
    parser.add_argument("--counts", default=",".join(map(str, COUNTS)), help="numbers of images")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {','.join(PARTS)} (default: all)")
    parser.add_argument("--skip", default="", help="parts that are left out")
    parser.add_argument("--again", default="", help="parts that are measured anew")
    parser.add_argument("--groups", type=int, default=4, help="groups of the archive that is checked")
    parser.add_argument("--folder", type=Path, default=Path("build/archives"), help="where archives are kept")
    parser.add_argument("--archive", type=Path, help="check this archive of the images")
    parser.add_argument("--plot", type=Path, help="draw the curve (needs matplotlib)")
    parser.add_argument("--replot", action="store_true", help="print and draw the figures that are there")
    options = parser.parse_args(arguments)
    for key in ("parts", "skip", "again"):
        setattr(options, key, [part for part in getattr(options, key).split(",") if part])
        if set(getattr(options, key)) - set(PARTS):
            parser.error(f"--{key}: allowed are {', '.join(PARTS)}")
    options.counts = sorted({int(text) for text in options.counts.split(",")})
    if not options.replot and not options.mosaics:
        parser.error("say which mosaics")
    return options


def measure(options: argparse.Namespace, file: Path) -> None:
    """All figures that are asked for and not there yet."""
    images = list(named_tiles(options.mosaics))
    options.counts = [count for count in options.counts if count <= len(images)] or [len(images)]
    record = Record(file, settings(images, options))
    images = images[: options.counts[-1]]
    wanted = [part for part in PARTS if part in options.parts and part not in options.skip]
    record.forget(options.again)
    if "rates" in wanted:
        for count in options.counts:
            record.once(f"rates {count}", partial(rate, images[:count], options))
    if "single" in wanted:
        record.once("single", lambda: single_files(images[:SINGLES], options.model))
    if "mosaics" in wanted:
        record.once("mosaics", lambda: mosaics(options.mosaics))
    if not {"vlb", "names", "damage"} & set(wanted):
        return
    path = options.archive or options.folder / f"{options.name}-{len(images)}-in-{options.groups}.vdma"
    digest = checked(path, images, options)
    if record.figures.get("checked") != digest:
        record.forget(("vlb", "names", "damage"))
        record.put("checked", digest)
    if "vlb" in wanted:
        record.once("vlb", lambda: archive_checks.bound(path, images, record, Progress("VLB")))
    if "names" in wanted:
        record.once("names", lambda: archive_checks.by_name(path, images))
    if "damage" in wanted:
        record.once("damage", lambda: archive_checks.damaged(path, images, options.folder))


def settings(images: Named, options: argparse.Namespace) -> dict[str, Any]:
    """What decides the figures: images, and the models that there are."""
    crc = 0
    for name, pixels in images:
        crc = zlib.crc32(pixels.tobytes(), zlib.crc32(name.encode(), crc))
    given = Path(options.model or "")
    models = [given] if given.is_file() else model_paths()
    return {
        "images": len(images),
        "crc": f"{crc:08x}",
        "model": options.model,
        "models": sorted(file_hash(path).hex() for path in models),
    }


def rate(images: Named, options: argparse.Namespace) -> dict[str, Any]:
    """An archive of images, made as `vdmc archive create` makes it."""
    options.folder.mkdir(parents=True, exist_ok=True)
    target = options.folder / f"{options.name}-{len(images)}.vdma"
    return made(target, images, options.model, DEFAULT_GROUP)


def made(target: Path, images: Named, model: str | None, group: GroupSize) -> dict[str, Any]:
    """Make an archive, or go on with one that was cut off after some groups; what it takes."""
    start = time.perf_counter()
    target.unlink(missing_ok=True)
    runner = Told(f"{len(images)} images")
    found = create(target, images, model=model, verify=False, group=group, runner=runner, resume=True)
    return {
        "images": len(images),
        "bytes": found.size,
        "coded_bits": None if found.resumed else round(found.bound),
        "bpd": 8 * found.size / found.values,
        "groups": found.groups,
        "seconds": round(time.perf_counter() - start, 1),
    }


def checked(path: Path, images: Named, options: argparse.Namespace) -> str:
    """Make the archive for the checks unless it is there; its CRC.  ValueError for one of other images."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        made(path, images, options.model, GroupSize(images=-(-len(images) // options.groups)))
    with Archive(path) as archive:
        names = set(archive)
    if names != {name for name, _ in images}:
        raise ValueError(f"{path} holds {len(names)} images, not the {len(images)} that are asked for")
    return f"{zlib.crc32(path.read_bytes()):08x}"


def single_files(images: Named, model: str | None) -> float:
    """Bits per dimension of some images as files of their own."""
    size = sum(len(api.encode(pixels, model=model, verify=False)) for _, pixels in images)
    return 8 * size / sum(pixels.size for _, pixels in images)


def mosaics(paths: Sequence[Path]) -> dict[str, float]:
    """Bits per dimension of the mosaics as images, by the formats that one would take else."""
    whole = [read_pixels(path) for path in paths]
    values = sum(pixels.size for pixels in whole)
    formats = [find_format(name) for name in available(("webp", "jxl7", "jxl9"))[0]]
    return {form.name: 8 * sum(len(form.encode(p)) for p in whole) / values for form in formats}


def rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The rates, by number of images."""
    found = [value for key, value in result.items() if key.startswith("rates ")]
    return sorted(found, key=lambda row: int(row["images"]))


def tell(name: str, result: dict[str, Any]) -> None:
    """Print the figures."""
    print(f"{name}, {result['date']}")
    for row in rows(result):
        print(f"{row['images']:6} images {row['bytes']:11,} bytes {row['bpd']:.4f} bpd {row['seconds']} s")
    if "single" in result:
        print(f"files of their own: {result['single']:.4f} bpd")
    if "mosaics" in result:
        print("mosaics: " + ", ".join(f"{key} {value:.4f} bpd" for key, value in result["mosaics"].items()))
    for part in ("vlb", "names", "damage"):
        if part in result:
            print(archive_checks.told(part, result[part]))


def draw(name: str, result: dict[str, Any], path: Path) -> None:
    """Bits per dimension against the number of images."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    found = rows(result)
    counts = [row["images"] for row in found]
    axes.plot(counts, [row["bpd"] for row in found], "o-", color="C0", label="archive, whole file")
    lines = {"files of their own": result["single"]} if "single" in result else {}
    lines |= {"VLB": result["vlb"]["vlb_bpd"]} if "vlb" in result else {}
    lines |= {f"{form} of the mosaics": value for form, value in result.get("mosaics", {}).items()}
    for index, (label, value) in enumerate(lines.items(), 1):
        axes.axhline(value, color=f"C{index}", linestyle="--", linewidth=1, label=f"{label}: {value:.3f}")
    for row in found:
        place = (row["images"], row["bpd"])
        axes.annotate(f"{row['bpd']:.3f}", place, textcoords="offset points", xytext=(4, 6), fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("images in the archive")
    axes.set_ylabel("bits per dimension")
    axes.set_title(f"{name}: archives of 32x32 images")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
