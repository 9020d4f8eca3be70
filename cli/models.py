"""`vdmc models`: the models that encode and decode would find."""

from dataclasses import asdict
from pathlib import Path

import click

from cli import options
from cli.report import Report, printable


@click.command()
@options.reporting
def models(as_json: bool, quiet: bool, verbose: bool) -> None:
    """List the models: name, hash, size, and what the shipped ones are for.

    More are looked for in the folders of VDMC_MODEL_PATH.
    """
    from vdmcompress.choice import serves
    from vdmcompress.model_search import SEARCH_VARIABLE, list_models, shipped_folder

    report = Report(1, as_json, quiet, verbose)
    with report.file(Path("models")):
        found = list_models()
        name_width = max((len(printable(model.name)) for model in found), default=0)
        size_width = max((len(f"{model.bytes:,}") for model in found), default=0)
        for model in found:
            use = serves(model.name) if Path(model.path).parent == shipped_folder() else ""
            record = asdict(model) | {"serves": use or None}
            line = (
                f"{printable(model.name):{name_width}}  {model.hash}  {model.bytes:>{size_width},} bytes  "
                f"{printable(model.path)}"
            )
            report.line(f"{line}{f'  ({use})' if use else ''}", record)
        if not found:
            report.note(f"no models: the package holds none, and {SEARCH_VARIABLE} names no folder with one")
    report.finish("listed")
