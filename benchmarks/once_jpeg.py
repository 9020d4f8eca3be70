"""Photographs that were JPEGs: each image of a folder through a JPEG and back, and what formats make of it.

    python -m benchmarks.once_jpeg FOLDER [--quality 90] [--chroma 4:2:0] [--cut 3] [--name NAME] [--limit N]
    python -m benchmarks.once_jpeg FOLDER --format webp --quality 80

The figures go to benchmarks/results/NAME.json, a table to stdout.
"""

import argparse
import io
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from benchmarks.kodak import RESULTS, images, measured
from cli.bench import write_record
from cli.measure_tables import print_bench
from vdmcompress.efforts import DEFAULT_EFFORT

CHROMA = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}
NAMES = ("webp4", "jxl7", "jxl9", f"vdmc{DEFAULT_EFFORT}", f"vdmc{DEFAULT_EFFORT}rgb")


def main(arguments: Sequence[str]) -> int:
    """Make the PNGs in a folder for the time being, measure, write the JSON file and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.once_jpeg")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quality", type=int, default=90, help="of the JPEGs (default: 90)")
    parser.add_argument("--format", choices=("jpeg", "webp"), default="jpeg", help="what they were")
    parser.add_argument("--chroma", choices=CHROMA, default="4:2:0", help="of the JPEGs")
    parser.add_argument(
        "--cut", type=int, default=0, help="rows and columns to take off at each side afterwards"
    )
    parser.add_argument("--name", help="name of the results")
    parser.add_argument("--threads", type=int, default=0, help="threads (default: all cores)")
    parser.add_argument("--limit", type=int, help="only the first images")
    parser.add_argument("--repeats", type=int, default=1, help="times that each image is coded")
    options = parser.parse_args(arguments)
    kind = f"-{options.chroma.replace(':', '')}" if options.format == "jpeg" else ""
    options.name = options.name or f"{options.format}{options.quality}{kind}{'-cut' if options.cut else ''}"
    with tempfile.TemporaryDirectory() as place:
        for path in images(options):
            stream = io.BytesIO()
            with Image.open(path) as image:
                how = {"quality": options.quality}
                how |= {"subsampling": CHROMA[options.chroma]} if options.format == "jpeg" else {}
                image.convert("RGB").save(stream, options.format, **how)
            back = Image.open(stream).convert("RGB")
            box = (options.cut, options.cut, back.width - options.cut, back.height - options.cut)
            back.crop(box).save(Path(place) / f"{path.stem}.png", compress_level=1)
        options.folder, options.limit = Path(place), None
        result = measured(options, NAMES)
    if result is None:
        return 2
    chroma = f", {options.chroma}" if options.format == "jpeg" else ""
    cut = f", {options.cut} pixels cut off each side" if options.cut else ""
    result["made"] = f"{options.format.upper()}, quality {options.quality}{chroma}, by Pillow{cut}"
    write_record(RESULTS / f"{result['name']}.json", result)
    print_bench(result)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
