"""A folder of images: `vdmc bench`, and the command line as a whole with the check that encoding ends with.

    python -m benchmarks.kodak FOLDER [--name NAME] [--threads N] [--limit N] [--repeats N] [--verified]

The figures go to benchmarks/results/NAME.json, a table to stdout.  --verified also encodes all images by one
call of the command, as a user would, start-up included.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.process import run_files
from cli.bench import write_record
from cli.measure_tables import print_bench
from cli.progress import progress_bar
from vdmcompress.efforts import DEFAULT_EFFORT
from vdmcompress.measure import bench
from vdmcompress.measure.formats import usual_names

RESULTS = Path(__file__).resolve().parent / "results"
SUFFIXES = (".png", ".webp", ".ppm", ".pgm", ".bmp")


def main(arguments: Sequence[str]) -> int:
    """Measure, write the JSON file and print the table."""
    options = parse(arguments, "python -m benchmarks.kodak")
    result = measured(options, (*usual_names(), f"vdmc{DEFAULT_EFFORT}rgb"))
    if result is None:
        return 2
    if options.verified:
        result["vdmc"] = {"encode_verified": checked(images(options), options.threads)}
    write_record(RESULTS / f"{result['name']}.json", result)
    print_bench(result)
    return 0


def parse(arguments: Sequence[str], program: str) -> argparse.Namespace:
    """The command line of the benchmarks of whole sets."""
    parser = argparse.ArgumentParser(prog=program)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", help="name of the results (default: the folder's)")
    parser.add_argument("--threads", type=int, default=0, help="threads (default: all cores)")
    parser.add_argument("--limit", type=int, help="only the first images")
    parser.add_argument("--repeats", type=int, default=3, help="times that each image is coded")
    parser.add_argument("--verified", action="store_true", help="measure the command with its check as well")
    parser.add_argument("--plot", type=Path, help="draw size against speed (needs matplotlib)")
    options = parser.parse_args(arguments)
    options.name = options.name or options.folder.resolve().name
    return options


def images(options: argparse.Namespace) -> list[Path]:
    """The image files of the folder, in the order of their names."""
    paths = sorted(path for path in options.folder.iterdir() if path.suffix.lower() in SUFFIXES)
    return paths[: options.limit]


def measured(options: argparse.Namespace, names: Sequence[str]) -> dict[str, Any] | None:
    """The record of `vdmc bench`; None, and a line on stderr, where there are no images."""
    paths = images(options)
    if not paths:
        print(f"no images in {options.folder}", file=sys.stderr)
        return None
    with progress_bar(options.name, quiet=False) as progress:
        settings = bench.Settings(names, options.threads, options.repeats)
        return bench.run(paths, options.name, settings, progress)


def checked(paths: Sequence[Path], threads: int) -> dict[str, float]:
    """Seconds and memory of one call of `vdmc encode` on all images, which decodes each file again."""
    with tempfile.TemporaryDirectory() as place:
        run, _ = run_files(["encode", "--threads", str(threads)], paths, Path(place))
    files = sum(record["seconds"] for record in run.records)
    return {
        "seconds": round(run.seconds, 2),
        "files_seconds": round(files, 2),
        "peak_mib": round(run.peak_mib),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
