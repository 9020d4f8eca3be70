"""Size against speed: vdmc at its efforts beside WebP and JPEG XL at theirs, in one process.

    python -m benchmarks.efforts FOLDER [--name NAME] [--limit N] [--plot FILE.svg]

Each image is coded both ways by every coder before the next image, so that noise of the machine falls on all
alike; one image warms everything up beforehand.  vdmc encodes without its check, as the others do.  The
figures go to benchmarks/results/efforts-NAME.json and into the README (`python -m benchmarks.readme_table`).
"""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.formats import PNG, WEBP, Format, jpeg_xl, measure, read_pixels, webp
from benchmarks.kodak import RESULTS, SUFFIXES, machine, print_table, totals, versions
from vdmcompress import api
from vdmcompress.efforts import DEFAULT_EFFORT, EFFORTS


def vdmc(effort: int) -> Format:
    """vdmc at an effort, without the check by decoding."""
    return Format(
        f"vdmc -e {effort}", lambda pixels: api.encode(pixels, effort=effort, verify=False), api.decode
    )


def different_efforts() -> list[int]:
    """Of the efforts that do the same, the default or else the first."""
    chosen: dict[Any, int] = {}
    for number in (DEFAULT_EFFORT, *range(1, len(EFFORTS) + 1)):
        chosen.setdefault(EFFORTS[number - 1], number)
    return sorted(chosen.values())


def main(arguments: Sequence[str]) -> int:
    """Measure, write the JSON file, print the table, draw the plot."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.efforts")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", help="name of the results (default: the folder's)")
    parser.add_argument("--limit", type=int, help="only the first images")
    parser.add_argument("--plot", type=Path, help="draw size against speed (needs matplotlib)")
    options = parser.parse_args(arguments)
    name = options.name or options.folder.resolve().name
    paths = sorted(path for path in options.folder.iterdir() if path.suffix.lower() in SUFFIXES)
    images = {path.stem: read_pixels(path) for path in paths[: options.limit]}
    if not images:
        print(f"no images in {options.folder}", file=sys.stderr)
        return 2
    others = [
        PNG,
        *(webp(method) for method in (0, 4)),
        WEBP,
        *(jpeg_xl(effort) for effort in (1, 3, 5, 7, 9)),
    ]
    formats = [f for f in others if f is not None] + [vdmc(effort) for effort in different_efforts()]
    for form in formats:
        measure(form, next(iter(images.values()))[:256, :256])
    rows: dict[str, dict[str, Any]] = {}
    for image, pixels in images.items():
        rows[image] = {}
        for form in formats:
            m = measure(form, pixels)
            rows[image][form.name] = {
                "bytes": m.size,
                "encode_seconds": round(m.encode_seconds, 4),
                "decode_seconds": round(m.decode_seconds, 4),
            }
        print(f"{image} done", file=sys.stderr)
    result = {
        "efforts": name,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "versions": versions(),
        "sum": totals(images, rows),
        "images": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"efforts-{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    print_table(name, result["sum"])
    if options.plot:
        draw(result, options.plot)
    return 0


def draw(result: dict[str, Any], path: Path) -> None:
    """Bits per dimension against encoding speed, one line a family of coders."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    families: dict[str, list[tuple[float, float, str]]] = {}
    for name, f in result["sum"]["formats"].items():
        family = next((x for x in ("JPEG XL", "WebP", "vdmc") if name.startswith(x)), name)
        families.setdefault(family, []).append(
            (f["encode_mpx_s"], f["bpd"], name.removeprefix(family).strip())
        )
    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for family, points in families.items():
        points.sort()
        axes.plot([p[0] for p in points], [p[1] for p in points], "o-", label=family)
        for x, y, text in points:
            axes.annotate(text, (x, y), textcoords="offset points", xytext=(5, 5), fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("encoding, Mpx/s")
    axes.set_ylabel("bits per dimension")
    axes.set_title(f"{result['efforts']}: lower and further right is better")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
