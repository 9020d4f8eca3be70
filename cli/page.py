"""`vdmc report`: a measurement as one HTML page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import options
from cli.bench import measure_set, measuring, set_name, settings_of
from cli.progress import progress_bar
from cli.report import Report, printable
from cli.sources import IMAGE_SUFFIXES, Selection

if TYPE_CHECKING:
    from vdmcompress.measure.page import Content


@click.command("report", short_help="Measure images and write a page to look at.")
@options.selection("images")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="The page, an HTML file that needs nothing else.",
)
@click.option(
    "--bench",
    "kept",
    metavar="FILE.json",
    type=click.Path(path_type=Path),
    help="Take sizes and speeds from a record of `vdmc bench -o` instead of measuring them.",
)
@click.option("--image", help="Name of the image that is looked at (default: the one of median bits).")
@options.effort
@measuring
@click.option("--name", help="Name of the set (default: that of the folder).")
@options.device
@options.force
@options.reporting
def page(
    selection: Selection,
    output: Path,
    kept: Path | None,
    image: str | None,
    effort: int,
    formats: str | None,
    threads: int,
    limit: int | None,
    repeats: int,
    name: str | None,
    device: str,
    force: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Measure the images of a folder as bench and eval do; write one page of tables, plots and pictures.

    The page has no scripts and loads nothing. Of one image it shows where its bits go, and what the model
    sees and expects from the coarsest scale to the finest.
    """
    from vdmcompress.errors import UsageError
    from vdmcompress.files import check_output, write_file
    from vdmcompress.measure.baseline import read_record
    from vdmcompress.measure.bench import SCHEMA, image_names
    from vdmcompress.measure.methods import default_title
    from vdmcompress.measure.page import render
    from vdmcompress.measure.summary import counted

    check_output(output, force=force)
    if output.exists() and not force:
        raise UsageError(f"{output} exists; -f replaces it")
    sources = selection.find(IMAGE_SUFFIXES, folders=True)
    report = Report(sources.total, as_json, quiet, verbose)
    if kept is not None:
        result = read_record(kept)
        if result.get("schema") != SCHEMA:
            raise UsageError(f"{kept}: a record without what a page needs; make one with vdmc bench -o FILE")
        result["name"] = name or result["name"]
        report.total = len(result["images"])
        report.codes = [0] * report.total
    else:
        settings = settings_of(formats, threads, repeats)
        result = measure_set(sources, report, settings, limit, name or set_name(selection), selection)
    title = default_title(list(result["totals"]["formats"]), effort)
    if title is None:
        raise UsageError("the page is about vdmc: name an effort of it among the formats, for example vdmc7")
    names = image_names([source.path for source in sources.files][:limit])
    paths = {called: path for path, called in names.items()}
    content = gather(result, title, paths, image, effort, device, threads, report)
    data = render(content).encode()
    write_file(output, data, force=force)
    text = f"{printable(output)}: {len(data):,} bytes, {counted(result['totals']['images'])}"
    record = {"output": str(output), "bytes": len(data), "images": result["totals"]["images"]}
    if as_json:
        click.echo(json.dumps({"status": "ok", **record}))
    elif not quiet:
        click.echo(text)
    report.finish("measured")


def gather(
    result: dict[str, Any],
    title: str,
    paths: dict[str, Path],
    image: str | None,
    effort: int,
    device: str,
    threads: int,
    report: Report,
) -> Content:
    """Evaluate all images that were measured, and look at one of them."""
    import numpy as np

    from vdmcompress.efforts import effort_of
    from vdmcompress.engine import default_threads
    from vdmcompress.errors import UsageError
    from vdmcompress.image_io import read_picture
    from vdmcompress.measure.chosen import Chooser, models_in_words, served
    from vdmcompress.measure.evaluation import totals
    from vdmcompress.measure.methods import classical_images
    from vdmcompress.measure.page import Content
    from vdmcompress.measure.page_views import Sample
    from vdmcompress.measure.views import look

    names = [each["image"] for each in result["images"] if each["image"] in paths]
    if not names:
        raise UsageError("none of the images that were measured is among those named")
    if image is not None and Path(image).stem not in names:
        raise UsageError(f"image {image!r} was not measured; some that were: {', '.join(names[:5])}")
    wanted, count = effort_of(effort), threads or default_threads()
    chooser, records, models = Chooser(wanted), {}, {}
    with progress_bar("evaluating", quiet=report.quiet) as progress:
        for done, each in enumerate(names):

            def show(share: float, done: int = done, each: str = each) -> None:
                if progress is not None:
                    progress(done + share, len(names) + 1, printable(each))

            show(0.0)
            picture = read_picture(paths[each]).stripped()
            records[each], models[each] = chooser.evaluate(picture, device, threads, wanted.latents, show)
        if progress is not None:
            progress(len(names), len(names) + 1, "looking at one")
        by_bits = sorted(names, key=lambda name: records[name]["vlb_bpd"])
        chosen = Path(image).stem if image is not None else by_bits[len(by_bits) // 2]
        pixels = np.asarray(read_picture(paths[chosen]).colour, np.uint8)
        views = look(pixels, records[chosen]["plan"], models[chosen], device, count)
    return Content(
        result,
        title,
        totals(list(records.values())),
        Sample(chosen, pixels, views),
        classical_images(result, title, records),
        f"Effort {effort}, {models_in_words(served(list(records.values())))}.",
    )
