"""Options that several commands share."""

import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from cli.sources import STREAM, Selection
from vdmcompress.efforts import DEFAULT_EFFORT, EFFORTS
from vdmcompress.header import DEFAULT_LIMITS, Limits

F = TypeVar("F", bound=Callable[..., Any])


class ByteSize(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.5 on
    """A number of bytes: 2000000, 512MiB, 1.5GiB, 2G; K, M, G and KiB, MiB, GiB are powers of 1024."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Bytes, at least 1; a usage error for anything else."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?)(?:iB|B)?", str(value), re.IGNORECASE)
        size = int(float(found[1]) * 1024 ** " KMG".index(found[2].upper() or " ")) if found else 0
        if size < 1:
            self.fail(f"{value!r} is no size; give bytes, or a number with KiB, MiB or GiB", param, ctx)
        return size


def selection(kind: str) -> Callable[[F], F]:
    """Add IN..., -r, --files-from and -0 as the argument ``selection`` (sources.Selection).

    kind: what is taken from folders, in words.
    """
    parts = (
        click.argument("inputs", metavar="[IN...]", nargs=-1, type=click.Path(path_type=Path)),
        click.option(
            "-r", "--recursive", is_flag=True, help=f"Take the {kind} in folders, and in folders within them."
        ),
        click.option(
            "--files-from",
            metavar="FILE",
            type=click.Path(path_type=Path),
            help="Take the names in FILE too, one a line; - is stdin.",
        ),
        click.option(
            "-0", "--null", is_flag=True, help="Names of --files-from end with NUL, as of find -print0."
        ),
    )

    def add(command: F) -> F:
        @wraps(command)
        def selected(
            inputs: tuple[Path, ...], recursive: bool, files_from: Path | None, null: bool, **rest: Any
        ) -> Any:
            return command(selection=Selection(inputs, recursive, files_from, null), **rest)

        for part in reversed(parts):
            selected = part(selected)
        return cast(F, selected)

    return add


output = click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Write to this file (one IN only); - is stdout."
)
stdout = click.option("-c", "--stdout", is_flag=True, help="Write to standard output, as -o - does.")
output_dir = click.option(
    "-O",
    "--output-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write into this folder, with the folders that -r finds inside it.",
)
force = click.option(
    "-f", "--force", is_flag=True, help="Replace files that exist; write through symbolic links."
)
keep = click.option(
    "-k", "--keep", is_flag=True, expose_value=False, help="Keep the inputs, which is the default."
)
skip_existing = click.option("--skip-existing", is_flag=True, help="Pass over inputs whose output exists.")
dry_run = click.option(
    "-n", "--dry-run", is_flag=True, help="Write nothing; say what would be done, with estimates."
)
jobs = click.option(
    "-j",
    "--jobs",
    metavar="N",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Processes, each working on a file of its own; they share the cores unless -T says otherwise.",
)
max_pixels = click.option(
    "--max-pixels",
    metavar="N",
    type=click.IntRange(1),
    show_default=str(DEFAULT_LIMITS.max_pixels),
    help="Refuse images of more pixels than this.",
)
max_memory = click.option(
    "--max-memory",
    metavar="SIZE",
    type=ByteSize(),
    help="Keep each process below this (512MiB, 2G); slower where it is tight. The file is the same.",
)
effort = click.option(
    "-e",
    "--effort",
    metavar="N",
    type=click.IntRange(1, len(EFFORTS)),
    default=DEFAULT_EFFORT,
    show_default=True,
    help="1 (fastest) to 9 (smallest); decides model and latents where these are not given.",
)
model = click.option(
    "-m",
    "--model",
    show_default="auto, by size and effort",
    help="Model: a name, a hash or a file (see `vdmc models`).",
)
device = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    envvar="VDMC_DEVICE",
    show_envvar=True,
    help="Where the networks run; the file is the same.",
)
latents = click.option(
    "--latents",
    type=click.Choice(["one", "all", "none"]),
    help="Scales that are coded with chains of latents; one is the fourth-finest (efforts 4 to 8).",
)
colour = click.option(
    "--colour",
    type=click.Choice(["auto", "rgb"]),
    default="auto",
    show_default=True,
    help="auto finds pixels that were YCC, as out of a JPEG, and codes that; rgb does not look.",
)
threads = click.option(
    "-T",
    "--threads",
    metavar="N",
    type=click.IntRange(0),
    default=0,
    envvar="VDMC_THREADS",
    show_envvar=True,
    help="Threads of each process; 0 takes all cores. The file is the same.",
)
json_lines = click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
quiet = click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
verbose = click.option("-v", "--verbose", is_flag=True, help="Say more; tracebacks of internal errors.")


def reporting(command: F) -> F:
    """Add --json, -q and -v."""
    return json_lines(quiet(verbose(command)))


def output_path(output: Path | None, stdout: bool) -> Path | None:
    """The file of -o, or standard output for -c; click.UsageError where both are given."""
    if stdout and output is not None:
        raise click.UsageError("-c and -o exclude each other")
    return STREAM if stdout else output


def thread_count(threads: int, jobs: int = 1) -> int | None:
    """What the library takes: None for all cores, which several processes share."""
    if threads or jobs == 1:
        return threads or None
    from vdmcompress.workers import processors

    return max(1, processors() // jobs)


def limits(max_pixels: int | None) -> Limits:
    """Limits of the library, or those that the user asked for."""
    return DEFAULT_LIMITS if max_pixels is None else Limits(max_pixels)


def limits_given(max_pixels: int | None, max_memory: int | None) -> dict[str, Any]:
    """The keywords that hand them to the library, where the user asked for some."""
    asked = {} if max_pixels is None else {"limits": limits(max_pixels)}
    return asked if max_memory is None else {**asked, "memory": max_memory}
