"""`vdmc train`: make a model from a configuration file and folders of images."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import click

from cli import options
from cli.progress import Progress, progress_bar
from cli.report import Report

QUIET_SECONDS = 10.0
"""Where no bar is drawn, at most one line of progress in this time."""


def configuration(name: str) -> Path:
    """The file of a configuration: a path, or the name of one that comes with the package.

    Raises click.UsageError that lists the names where there is none.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = {
        Path(entry.name).stem: Path(str(entry))
        for entry in resources.files("vdmcompress").joinpath("configs").iterdir()
        if entry.name.endswith(".toml")
    }
    if name in shipped:
        return shipped[name]
    names = ", ".join(sorted(shipped))
    raise click.UsageError(f"no configuration {name}: give a TOML file or one of {names}")


def by_band(terms: Mapping[str, float], bands: Sequence[str]) -> dict[str, float]:
    """Loss in bpd of the whole image by scale and band, "0 HL" and so on.

    terms: bits a coefficient, keys "s<scale>.<slot>" (other keys are left out); a band of scale s holds
    4**-(s+1) of the image's values.  bands: the band of each slot.
    """
    sums: dict[str, float] = {}
    for key, bits in sorted(terms.items()):
        scale, _, slot = key.removeprefix("s").partition(".")
        if not (scale.isdigit() and slot.isdigit()):
            continue
        name = f"{scale} {bands[int(slot)]}"
        sums[name] = sums.get(name, 0.0) + bits * 4.0 ** -(int(scale) + 1)
    return sums


def show(entry: Mapping[str, Any], bands: Sequence[str]) -> str:
    """One line for one entry of the training log."""
    parts = ", ".join(f"{name} {value:.3f}" for name, value in by_band(entry["terms"], bands).items())
    if "validation" in entry:
        return f"step {entry['step']}: {entry['validation']} {entry['bpd']:.4f} bpd ({parts})"
    minutes = entry["eta_seconds"] / 60
    return (
        f"step {entry['step']}/{entry['steps']}: {entry['bpd']:.4f} bpd ({parts}), "
        f"{entry['mpx_per_second']:.2f} Mpx/s, {minutes:.0f} min to go"
    )


def follow(
    bar: Progress | None, bands: Sequence[str], trained: Sequence[str], as_json: bool = False
) -> Callable[[Mapping[str, Any]], None]:
    """What takes the entries of the training log: text and validation to stdout, progress to bar or stderr.

    bands, trained: the band of each slot in validation and in training.  as_json: every entry is an object on
    stdout, as it stands in the log.
    """
    shown = -QUIET_SECONDS

    def take(entry: Mapping[str, Any]) -> None:
        nonlocal shown
        if as_json:
            click.echo(json.dumps(entry))
        elif "text" in entry:
            click.echo(entry["text"])
        elif "validation" in entry:
            click.echo(show(entry, bands))
        elif bar is not None:
            bar(entry["step"], entry["steps"], f"{entry['bpd']:.4f} bpd, {entry['mpx_per_second']:.2f} Mpx/s")
        elif time.monotonic() - shown >= QUIET_SECONDS or entry["step"] == entry["steps"]:
            shown = time.monotonic()
            click.echo(show(entry, trained), err=True)

    return take


@click.command(short_help="Train a model.")
@click.argument("config")
@click.option(
    "--data",
    "data_dirs",
    metavar="DIR",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of training images; may be given several times.",
)
@click.option(
    "--valid",
    "valid_dirs",
    metavar="DIR",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of images for validation; may be given several times.",
)
@click.option(
    "--out",
    required=True,
    metavar="RUN",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for checkpoints and the log.",
)
@click.option(
    "--phase",
    type=click.Choice(["belief", "grid", "direct", "experts", "rounding", "correct"]),
    default="direct",
    show_default=True,
    help="What to do: train a belief, choose levels by it, train in direct form, split, round, correct.",
)
@click.option(
    "--from",
    "start",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Checkpoint of another phase to begin with, where it is not the one in --out.",
)
@click.option("--export-only", is_flag=True, help="Only write the model file of the checkpoint.")
@click.option("--resume", is_flag=True, help="Go on exactly where the run in --out stopped.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Stop after this time.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where to train; auto takes a GPU where there is one.",
)
@click.option(
    "--workers",
    metavar="N",
    type=click.IntRange(min=0),
    help="Processes that make batches, or augment photographs beside a GPU; 0: a thread does. Without it a "
    "thread beside a CPU, all processors but one beside a GPU.",
)
@options.json_lines
@options.verbose
def train(
    config: str,
    data_dirs: Sequence[Path],
    valid_dirs: Sequence[Path],
    out: Path,
    phase: str,
    start: Path | None,
    export_only: bool,
    resume: bool,
    minutes: float | None,
    device: str,
    workers: int | None,
    as_json: bool,
    verbose: bool,
) -> None:
    """Train the model of CONFIG (a TOML file, or the name of one that comes with the package)."""
    path = configuration(config)
    if not data_dirs and not export_only and not (phase == "grid" and valid_dirs):
        raise click.UsageError("no images to train on: give folders with --data")
    report = Report(1, as_json, verbose=verbose)
    with report.file(path):
        from vdmcompress.path import BANDS
        from vdmcompress.train import phases
        from vdmcompress.train.config import load_config
        from vdmcompress.train.run import Job

        if export_only:
            made = phases.export_checkpoint(path, out, start)
            record = {"model": made.name, "hash": made.hash8.hex()}
            report.line(f"{made.name}  {made.hash8.hex()}", record)
        else:
            bands = [BANDS[step.band] for step in load_config(path).network.path.steps]
            with progress_bar(out.name, quiet=False) as bar:
                shown = follow(bar, bands, BANDS if phase == "belief" else bands, as_json)
                given, valid = tuple(data_dirs), tuple(valid_dirs)
                job = Job(given, out, resume, minutes, device, valid, shown, start, workers)
                phases.PHASES[phase](path, job)
    report.finish("trained")
