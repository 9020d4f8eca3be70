"""Size against speed: vdmc at its efforts beside WebP and JPEG XL at theirs, by `vdmc bench`.

    python -m benchmarks.efforts FOLDER [--name NAME] [--limit N] [--repeats N] [--plot FILE.svg]

The figures go to benchmarks/results/efforts-NAME.json and from there into the README
(`python -m benchmarks.readme_table`).
"""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.kodak import RESULTS, measured, parse
from cli.bench import write_record
from cli.measure_tables import print_bench
from vdmcompress.measure.formats import all_names


def main(arguments: Sequence[str]) -> int:
    """Measure, write the JSON file, print the table, draw the plot."""
    options = parse(arguments, "python -m benchmarks.efforts")
    if options.plot:
        importlib.import_module("matplotlib")  # missing, it is missed before minutes of measuring
    result = measured(options, all_names())
    if result is None:
        return 2
    write_record(RESULTS / f"efforts-{result['name']}.json", result)
    print_bench(result)
    if options.plot:
        draw(result, options.plot)
    return 0


def draw(result: dict[str, Any], path: Path) -> None:
    """Bits per dimension against encoding speed, one line a family of coders."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    families: dict[str, list[tuple[float, float, str]]] = {}
    for title, f in result["totals"]["formats"].items():
        form = result["formats"][title]
        point = (f["encode_mpx_s"], f["bpd"], form["setting"])
        families.setdefault(form["family"], []).append(point)
    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for family, points in families.items():
        points.sort()
        axes.plot([p[0] for p in points], [p[1] for p in points], "o-", label=family)
        for x, y, text in points:
            axes.annotate(text, (x, y), textcoords="offset points", xytext=(5, 5), fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("encoding, Mpx/s")
    axes.set_ylabel("bits per dimension")
    axes.set_title(f"{result['name']}: lower and further right is better")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
