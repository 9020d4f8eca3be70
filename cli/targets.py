"""Which file each input is written to; impossible requests are refused before any work starts."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

STREAM = Path("-")
"""Standard input or output in place of a file."""


@dataclass(frozen=True)
class Target:
    """One input and its output.

    named: the user gave the output's name, so that its suffix stands as it is.
    """

    source: Path
    output: Path
    named: bool = False


def plan(inputs: Sequence[Path], output: Path | None, output_dir: Path | None, suffix: str) -> list[Target]:
    """Outputs of all inputs: -o, or the input's name with ``suffix`` beside it or in the folder of -O.

    The folder of -O is made where it is missing.  Raises click.UsageError for -o with several inputs or with
    -O, for two inputs with the same output, for an output that is an input, and for data that would go to a
    terminal.
    """
    if output is not None and output_dir is not None:
        raise click.UsageError("-o and -O exclude each other: name a file or a folder")
    if output is not None and len(inputs) > 1:
        raise click.UsageError(f"-o names one file, but there are {len(inputs)} inputs: use -O FOLDER")
    if len(inputs) > 1 and STREAM in inputs:
        raise click.UsageError("- (standard input) must be the only input")
    if output_dir is not None and STREAM in inputs:
        raise click.UsageError("- (standard input) has no name to use in a folder: use -o FILE")
    targets = [_target(source, output, output_dir, suffix) for source in inputs]
    _refuse_collisions(targets)
    if any(t.output == STREAM for t in targets) and sys.stdout.isatty():
        raise click.UsageError("compressed or image data would go to the terminal: use -o FILE or redirect")
    if output_dir is not None:
        output_dir.mkdir(parents=True, exist_ok=True)
    return targets


def _target(source: Path, output: Path | None, output_dir: Path | None, suffix: str) -> Target:
    if output is not None:
        return Target(source, output, named=True)
    if source == STREAM:
        return Target(source, STREAM)
    folder = source.parent if output_dir is None else output_dir
    return Target(source, folder / f"{source.stem}{suffix}")


def _refuse_collisions(targets: Sequence[Target]) -> None:
    seen: dict[str, Path] = {}
    sources = {os.path.abspath(target.source) for target in targets if target.source != STREAM}
    for target in targets:
        if target.output == STREAM:
            continue
        key = os.path.abspath(target.output)
        if key in sources:
            raise click.UsageError(f"{target.output} is an input and would be replaced: name another output")
        if key in seen:
            raise click.UsageError(
                f"{seen[key]} and {target.source} would both be written to {target.output}: "
                "give them one by one with -o"
            )
        seen[key] = target.source
