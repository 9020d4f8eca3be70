"""`vdmc eval`: what the model's bound promises for an image, and what the coder makes of it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from cli import options
from cli.batch import tell_sources
from cli.progress import Progress, progress_bar
from cli.report import Report, printable, shape
from cli.sources import IMAGE_SUFFIXES, Selection
from vdmcompress.efforts import Effort, effort_of


@click.command("eval", short_help="Print the bound, coded bits and file size.")
@options.selection("images")
@options.effort
@options.model
@options.latents
@options.colour
@click.option(
    "--sweep",
    type=click.Choice(["efforts", "latents"]),
    help="Evaluate the set at every effort that differs, or with every set of latents; one line each.",
)
@click.option("--limit", metavar="N", type=click.IntRange(1), help="Take the first N images only.")
@options.device
@options.threads
@options.reporting
def evaluate(
    selection: Selection,
    effort: int,
    model: str | None,
    latents: str | None,
    colour: str,
    sweep: str | None,
    limit: int | None,
    device: str,
    threads: int,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Print the VLB by scale, band and level, the coded bits and the file size, in bits per dimension.

    Of several images, or a folder: the whole set with standard errors (each image with -v). What every part
    of the files takes is told to the last byte, and what is not as it should be in words. Calibrations are
    mean squared normalised residuals, 1 expected: of the network, and of what the coder used.

    The file is the one of the diffusion model, also where `vdmc encode` would take WebP or PNG. Without
    -m the model is the one that encode takes: for small images, of those tried the one of fewest bytes.
    """
    sources = selection.find(IMAGE_SUFFIXES, repeats=True, folders=True)
    paths = [source.path for source in sources.files][:limit]
    settings = [replace(each, colour=colour) for each in settings_of(sweep, effort, model, latents)]
    report = Report(len(paths) * len(settings) + len(sources.unread), as_json, quiet, verbose)
    tell_sources(report, sources, "images")
    swept: list[tuple[Setting, dict[str, Any]]] = []
    with progress_bar("eval", quiet=quiet) as progress:
        for index, setting in enumerate(settings):

            def show(done: float, total: float, what: str, first: int = index * len(paths)) -> None:
                if progress is not None:
                    progress(first + done, len(paths) * len(settings), what)

            total = _evaluate_set(paths, setting, device, threads, report, sweep is not None, show)
            if total is not None:
                swept.append((setting, total))
    if sweep is not None:
        _tell_sweep(swept, report)
    report.finish("evaluated")


@dataclass(frozen=True)
class Setting:
    """How a set is coded.

    model: the one that is wanted, None for what `choice.models_of` finds.  latents: keys of `path.ORDERS`,
    the smallest file of each image counts.
    """

    name: str
    effort: Effort
    model: str | None
    latents: tuple[str, ...]
    colour: str = "auto"


def settings_of(sweep: str | None, effort: int, model: str | None, latents: str | None) -> list[Setting]:
    """What the options ask for; raises click.UsageError where they contradict each other."""
    from vdmcompress.measure.formats import different_efforts
    from vdmcompress.path import ORDERS

    if sweep is not None and latents is not None:
        raise click.UsageError("--sweep goes through sets of latents: leave --latents out")
    if sweep == "efforts" and model is not None:
        raise click.UsageError("--sweep efforts goes through models: leave --model out")
    wanted = effort_of(effort)
    if sweep == "efforts":
        chosen = {f"-e {number}": effort_of(number) for number in different_efforts()}
        return [Setting(name, each, None, each.latents) for name, each in chosen.items()]
    if sweep == "latents":
        return [Setting(f"--latents {way}", wanted, model, (way,)) for way in ORDERS]
    return [Setting(f"-e {effort}", wanted, model, wanted.latents if latents is None else (latents,))]


def _evaluate_set(
    paths: Sequence[Path],
    setting: Setting,
    device: str,
    threads: int,
    report: Report,
    swept: bool,
    progress: Progress,
) -> dict[str, Any] | None:
    """Evaluate all images with one setting; the totals, which are told unless they are one of a sweep."""
    from vdmcompress.image_io import read_picture
    from vdmcompress.measure.chosen import Chooser, models_in_words, served
    from vdmcompress.measure.evaluation import totals

    records: list[dict[str, Any]] = []
    chooser = Chooser(setting.effort, setting.model)
    began = time.perf_counter()
    for done, path in enumerate(paths):
        with report.file(path):

            def show(share: float, done: int = done, path: Path = path) -> None:
                progress(done + share, len(paths), f"{setting.name} {printable(path.name)}")

            show(0.0)
            picture = read_picture(path)
            record, _ = chooser.evaluate(picture, device, threads, setting.latents, show, setting.colour)
            records.append({"file": str(path), **record})
            if report.as_json and not swept:
                click.echo(json.dumps({"status": "ok", **records[-1]}))
            elif not report.quiet and not swept and (len(paths) == 1 or report.verbose):
                how = f"{setting.name}, model {record['model']}, {record['colour']}"
                _show(f"{printable(path)}: {shape(record)}, {how}", records[-1])
    if not records:
        return None
    total = {**totals(records), "models": served(records), "seconds": round(time.perf_counter() - began, 2)}
    if len(records) > 1 and not swept and not report.quiet:
        if report.as_json:
            click.echo(json.dumps({"status": "total", **total}))
        else:
            size = f"{len(records)} images, {total['values'] / 1e6:.3g} million values"
            _show(f"{size}; {setting.name}, {models_in_words(total['models'])}", total)
    return total


def _show(title: str, found: Mapping[str, Any]) -> None:
    """An image or a set: table by scale, band and level, the way from VLB to file, what was found."""
    from cli.measure_tables import print_evaluation

    print_evaluation(title, found)


def _tell_sweep(swept: Sequence[tuple[Setting, dict[str, Any]]], report: Report) -> None:
    if report.as_json:
        for setting, total in swept:
            head = {"setting": setting.name, "model": ", ".join(total["models"]), "latents": setting.latents}
            click.echo(json.dumps({"status": "total", **head, **total}))
    elif swept and not report.quiet:
        from cli.measure_tables import print_sweep

        print_sweep([(setting.name, ", ".join(total["models"]), total) for setting, total in swept])
