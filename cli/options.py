"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

inputs = click.argument("inputs", metavar="IN...", nargs=-1, required=True, type=click.Path(path_type=Path))

output = click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Write to this file (one IN only); - is stdout."
)
output_dir = click.option(
    "-O", "--output-dir", type=click.Path(file_okay=False, path_type=Path), help="Write into this folder."
)
force = click.option("-f", "--force", is_flag=True, help="Replace files that exist.")
model = click.option("-m", "--model", help="Model: a name, a hash or a file (see `vdmc models`).")
device = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where the networks run; the file is the same.",
)
latents = click.option(
    "--latents",
    type=click.Choice(["one", "all", "none"]),
    default="one",
    show_default=True,
    help="Scales that are coded with chains of latents: one is the second-finest.",
)
threads = click.option(
    "-T",
    "--threads",
    type=click.IntRange(0),
    default=0,
    help="Threads; 0 takes all cores. The file is the same.",
)
json_lines = click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
quiet = click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
verbose = click.option("-v", "--verbose", is_flag=True, help="Say more; tracebacks of internal errors.")


def reporting(command: F) -> F:
    """Add --json, -q and -v."""
    return json_lines(quiet(verbose(command)))


def thread_count(threads: int) -> int | None:
    """What the library takes: None for all cores."""
    return threads or None
