"""`vdmc lab`: the claims of the papers, row by row, each measured when it is asked for."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import options
from cli.progress import progress_bar
from cli.report import FAILED, Report
from vdmcompress.lab import ROWS, paper_of

if TYPE_CHECKING:
    from vdmcompress.lab.finding import Finding, Setting

TICK = 0.25
"""Seconds between two updates of the bar."""


def _complete(_ctx: click.Context, _option: click.Parameter, incomplete: str) -> list[str]:
    return [row for row in ROWS if row.startswith(incomplete.upper())]


@click.command(short_help="Run the papers' claims, row by row.")
@click.argument("rows", metavar="[ROW]...", nargs=-1, shell_complete=_complete)
@click.option("--all", "every", is_flag=True, help="Run all rows.")
@click.option("--fast", is_flag=True, help="Of the rows asked for, only those that are also tests.")
@click.option(
    "--images",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of images for the rows that train; the others need none.",
)
@click.option(
    "--checkpoint",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A trained vdm32, for the rows that score one.",
)
@click.option(
    "--scale",
    metavar="FACTOR",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Of the numbers of draws and of training steps; 1 is what docs/papers.md reports.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all that is drawn.")
@click.option(
    "--plot",
    metavar="FILE.svg",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw the curves of the rows into this file (needs matplotlib).",
)
@options.reporting
def lab(
    rows: tuple[str, ...],
    every: bool,
    fast: bool,
    images: Path | None,
    checkpoint: Path | None,
    scale: float,
    seed: int,
    plot: Path | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """List the claims of the papers, or run those named: what was claimed, what was measured, pass or fail.

    Exit code 1 where a row fails. docs/papers.md holds the figures and what the papers say.
    """
    if every and rows:
        raise click.UsageError("--all and rows exclude each other")
    chosen = [row.upper() for row in rows] if rows else list(ROWS)
    unknown = [row for row in chosen if row not in ROWS]
    if unknown:
        raise click.UsageError(f"no row {unknown[0]}; `vdmc lab` lists them")
    if fast:
        chosen = [row for row in chosen if ROWS[row].is_test]
    if not (rows or every):
        list_rows(chosen, as_json)
        return
    if plot is not None:
        require_matplotlib()
    from vdmcompress.lab import Setting

    report = Report(len(chosen), as_json, quiet, verbose)
    run_rows(chosen, Setting(images, checkpoint, scale, seed), report, plot)


def list_rows(chosen: Sequence[str], as_json: bool) -> None:
    """Print id, kind, rough time and title, by paper; or records."""
    paper = ""
    for name in chosen:
        row = ROWS[name]
        kind = "test" if row.is_test else "lab"
        if as_json:
            record = {"row": name, "paper": paper_of(name), "title": row.title, "claim": row.claim}
            more = {"kind": kind, "seconds": row.seconds, "needs": list(row.needs)}
            click.echo(json.dumps({**record, **more}))
            continue
        if paper_of(name) != paper:
            click.echo(("\n" if paper else "") + paper_of(name))
            paper = paper_of(name)
        needs = f"  (needs --{', --'.join(row.needs)})" if row.needs else ""
        click.echo(f"  {name:<4} {kind:<5} {row.seconds:>5.0f} s  {row.title}{needs}")
    if not as_json:
        click.echo("\ntest: also run by the test suite. `vdmc lab ROW` runs a row; times are rough.")


def run_rows(chosen: Sequence[str], setting: Setting, report: Report, plot: Path | None) -> None:
    """Run the rows, say what came out, draw their curves, and leave with exit code 1 where one failed."""
    from vdmcompress.lab import run

    findings = []
    for name in chosen:
        with report.file(Path(name)):
            began = time.perf_counter()
            with ticking(name, ROWS[name].seconds * setting.scale, report.quiet or report.as_json):
                finding = run(name, setting)
            findings.append(finding)
            seconds = time.perf_counter() - began
            report.line(show(finding, seconds), record(finding, seconds))
    if plot is not None:
        count = draw([f for f in findings if f.plots], plot)
        report.note(f"{count} plots in {plot}" if count else f"no row has curves: {plot} was not written")
    failed = [finding.row for finding in findings if not finding.passed]
    if len(chosen) > 1:
        report.note(
            f"{len(findings) - len(failed)} of {len(chosen)} rows hold"
            + (f"; not: {', '.join(failed)}" if failed else "")
        )
    if failed and not report.exit_code:
        raise click.exceptions.Exit(FAILED)
    report.finish("measured")


@contextmanager
def ticking(label: str, seconds: float, quiet: bool) -> Iterator[None]:
    """A bar that follows the clock against the rough time of a row, and waits at its end."""
    with progress_bar(label, quiet=quiet) as bar:
        if bar is None:
            yield
            return
        done = threading.Event()
        began = time.perf_counter()

        def tick() -> None:
            while not done.wait(TICK):
                bar(min(time.perf_counter() - began, 0.99 * seconds), seconds, "measuring")

        thread = threading.Thread(target=tick, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def show(finding: Finding, seconds: float) -> str:
    """A few lines for people."""
    row = ROWS[finding.row]
    lines = [
        f"{finding.row}  {row.title}: {'pass' if finding.passed else 'FAIL'} ({seconds:.1f} s)",
        f"  claimed   {finding.claim}",
        f"  measured  {finding.measured}",
    ]
    width = max((len(name) for name in finding.figures), default=0)
    lines += [f"    {name:<{width}}  {value:.6g}" for name, value in finding.figures.items()]
    return "\n".join(lines)


def record(finding: Finding, seconds: float) -> dict[str, Any]:
    """The same as an object."""
    made = asdict(finding)
    made["paper"], made["title"] = paper_of(finding.row), ROWS[finding.row].title
    return {**made, "seconds": round(seconds, 3)}


def require_matplotlib() -> None:
    """A usage error in plain words where matplotlib is missing."""
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise click.UsageError(
            "--plot needs matplotlib, which the extra `bench` brings; --json has the points"
        )


def draw(findings: Sequence[Finding], path: Path) -> int:
    """Draw all plots of the findings under one another; gives their number, writes nothing for none."""
    plots = [(finding.row, plot) for finding in findings for plot in finding.plots]
    if not plots:
        return 0
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        len(plots), 1, figsize=(7, 4.2 * len(plots)), layout="constrained", squeeze=False
    )
    for (row, plot), axis in zip(plots, axes[:, 0], strict=True):
        for curve in plot.curves:
            style = {"yerr": curve.error, "capsize": 2} if curve.error else {}
            marker = "o-" if len(curve.x) <= 16 else "-"
            axis.errorbar(curve.x, curve.y, fmt=marker, markersize=4, label=curve.name, **style)
        axis.set_xscale("log" if plot.log_x else "linear")
        axis.set_yscale("log" if plot.log_y else "linear")
        axis.set_xlabel(plot.x_label)
        axis.set_ylabel(plot.y_label)
        axis.set_title(f"{row}: {plot.title}")
        axis.grid(alpha=0.3)
        axis.legend()
    figure.savefig(path)
    pyplot.close(figure)
    return len(plots)
