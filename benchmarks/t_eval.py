"""Rate against the number of steps: the isotropic model of the papers beside the cascade, on the same images.

    python -m benchmarks.t_eval MOSAICS [--images N] [--coded N] [--steps 10,25,50] [--checkpoint FILE]
                                [--model NAME] [--cascade-images N] [--name NAME]

MOSAICS is a file or folder of 32x32 images (`vdmcompress.vdm32.data`); N of them, evenly spread, are scored
and the first of those coded.  For each T: the bound, the net rate, the initial bits, the total for one image
alone and for each of all in one chain, seconds an image; below the cascade with a model found by name.  The
figures go to benchmarks/results/t_eval.json, or t_eval-NAME.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.kodak import RESULTS
from vdmcompress.evaluate import evaluate
from vdmcompress.lab.t_eval import T_EVAL, Measured, rates
from vdmcompress.measure.machine import machine, versions
from vdmcompress.model_search import load_model
from vdmcompress.vdm32 import checkpoint, objective, steps
from vdmcompress.vdm32.data import load_images, spread


def cascade(name: str, images: torch.Tensor, threads: int = 1) -> dict[str, Any]:
    """The row of a cascade, by name or path, for images uint8 (N, 3, 32, 32): bound, coded bits, payload."""
    model = load_model(name)
    rows: list[tuple[float, float, float]] = []
    started = time.perf_counter()
    for image in images:
        pixels = image.permute(1, 2, 0).contiguous().numpy().astype("uint8")
        found = evaluate(pixels, model, threads, "cpu")
        bits = (found["vlb_bits"], found["coded_bits"], 8.0 * found["payload_bytes"])
        rows.append((bits[0] / pixels.size, bits[1] / pixels.size, bits[2] / pixels.size))
    vlb, net, total = (Measured.of(torch.tensor(column)) for column in zip(*rows, strict=True))
    return {
        "model": model.name,
        "images": len(images),
        "vlb": vars(vlb),
        "net": vars(net),
        "total": vars(total),
        "seconds": (time.perf_counter() - started) / len(images),
    }


def line(*cells: Any) -> str:
    """A row of the printed table."""
    return "  ".join(f"{cell:>10}" if isinstance(cell, str) else f"{cell:10.4f}" for cell in cells)


def show(result: dict[str, Any]) -> str:
    """The table as text."""
    lines = [
        line("T", "order", "variance", "VLB", "+-", "net", "initial", "one alone", "in a chain", "s/image")
    ]
    for row in result["rates"]:
        means = (row["vlb"]["mean"], row["vlb"]["error"], row["net"]["mean"], row["initial"]["mean"])
        cells = (*means, row["total"], row["chain_total"], row["seconds"])
        lines.append(line(str(row["steps"]), row["order"], row["variance"], *cells))
    for row in result["cascade"]:
        net, total = row["net"]["mean"], row["total"]["mean"]
        cells = (row["vlb"]["mean"], row["vlb"]["error"], net, total - net, total, net, row["seconds"])
        lines.append(line(row["model"], "", "", *cells))
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Measure, write the JSON file, print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.t_eval")
    parser.add_argument("mosaics", type=Path)
    parser.add_argument("--images", type=int, default=256, help="images that the bound is scored on")
    parser.add_argument("--coded", type=int, default=16, help="images coded at small T")
    parser.add_argument("--steps", default=",".join(map(str, T_EVAL)))
    parser.add_argument("--checkpoint", type=Path, help="a vdm32 (default: the package's)")
    parser.add_argument("--fitted", action="store_true", help="also p with one fitted variance a step")
    parser.add_argument("--model", action="append", default=[], help="of the cascade; may be given again")
    parser.add_argument("--cascade-images", type=int, default=2000)
    parser.add_argument("--name", default="", help="of the results' file")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # a chain decodes in the process that made it, with the same sums
    everything = load_images(options.mosaics)
    levels = spread(everything, options.images)
    model = checkpoint.load(options.checkpoint)
    found: list[dict[str, Any]] = []
    for count in map(int, options.steps.split(",")):
        for row in rates(model, levels, (count,), options.coded):
            found.append(row.plain())
            print(f"T {count} {row.order}: net {row.net.mean:.4f}", file=sys.stderr)
        if options.fitted:
            gammas = steps.even(model.schedule, count).float()
            generator = torch.Generator().manual_seed(7)
            chosen_on = spread(everything[: len(everything) // 2], 16)
            mse = objective.error_curve(model.denoiser, chosen_on, gammas[1:], generator).double()
            others = spread(everything[len(everything) // 2 :], options.images)
            found += [row.plain() for row in rates(model, others, (count,), options.coded, "scalar", mse)]
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "versions": versions(),
        "notes": model.notes,
        "rates": found,
        "cascade": [cascade(name, spread(everything, options.cascade_images)) for name in options.model],
    }
    RESULTS.mkdir(exist_ok=True)
    suffix = f"-{options.name}" if options.name else ""
    (RESULTS / f"t_eval{suffix}.json").write_text(json.dumps(result, indent=1) + "\n")
    print(show(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
