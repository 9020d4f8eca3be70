"""Which file each input is written to; impossible requests are refused before any work starts.

encode   photo.png -> photo.vdm       with --full-name   photo.png -> photo.png.vdm
decode   photo.vdm -> photo.png       photo.webp.vdm -> photo.webp       photo.jpg.vdm -> photo.jpg.png
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import click

from cli.sources import CODED_SUFFIXES, STREAM, Source

Naming: TypeAlias = Callable[[str], str]
"""From the name of an input, without its folder, to the name of its output."""

SHOWN_COLLISIONS = 3


@dataclass(frozen=True)
class Target:
    """One input and its output.

    named: the user gave the output's name, so that its suffix stands as it is.  root: the folder of -O, which
    may be made, as may folders in it.
    """

    source: Path
    output: Path
    named: bool = False
    root: Path | None = None


def coded_name(name: str, full: bool = False) -> str:
    """Name of a compressed file: the suffix replaced by .vdm or, with full, .vdm added to it."""
    return (name if full else Path(name).stem) + CODED_SUFFIXES[0]


def image_name(name: str, formats: Mapping[str, str], kind: str | None = None) -> str:
    """Name of the image of a compressed file: without .vdm, and with the suffix of a format.

    formats: what each suffix that can be written stands for.  A name that has one of them under its .vdm
    keeps it, unless another kind is wanted; any other name gets that of the kind, else .png.
    """
    path = Path(name)
    inner = formats.get(Path(path.stem).suffix.lower())
    if path.suffix.lower() in CODED_SUFFIXES and inner is not None and kind in (None, inner):
        return path.stem
    return f"{path.stem}.{kind or 'png'}"


def plan(
    sources: Sequence[Source], output: Path | None, output_dir: Path | None, naming: Naming, advice: str = ""
) -> list[Target]:
    """Outputs of all inputs: -o, or the name that ``naming`` makes, beside it or in the folder of -O.

    Below -O the folders in which inputs were found (-r) are mirrored.  Raises click.UsageError for -o with
    several inputs or with -O, for two inputs with the same output (``advice``: what to do then), for an
    output that is an input, and for data that would go to a terminal.
    """
    if output is not None and output_dir is not None:
        raise click.UsageError("-o and -O exclude each other: name a file or a folder")
    if output is not None and len(sources) > 1:
        raise click.UsageError(f"-o names one file, but there are {len(sources)} inputs: use -O FOLDER")
    streams = [source for source in sources if source.path == STREAM]
    if streams and len(sources) > 1:
        raise click.UsageError("- (standard input) must be the only input")
    if streams and output_dir is not None:
        raise click.UsageError("- (standard input) has no name to use in a folder: use -o FILE")
    targets = [_target(source, output, output_dir, naming) for source in sources]
    _refuse_collisions(targets, advice)
    if any(t.output == STREAM for t in targets) and sys.stdout is not None and sys.stdout.isatty():
        raise click.UsageError("compressed or image data would go to the terminal: use -o FILE or redirect")
    return targets


def _target(source: Source, output: Path | None, output_dir: Path | None, naming: Naming) -> Target:
    if output is not None:
        return Target(source.path, output, named=True)
    if source.path == STREAM:
        return Target(source.path, STREAM)
    name = naming(source.path.name)
    if output_dir is None:
        return Target(source.path, source.path.with_name(name))
    return Target(source.path, output_dir / source.below / name, root=output_dir)


def _refuse_collisions(targets: Sequence[Target], advice: str) -> None:
    """Raise click.UsageError for outputs that are inputs, and for outputs that would be the same file.

    Outputs whose names differ only in case are the same file where the output's folder ignores case.
    """
    place = _Places()
    sources = {place(target.source) for target in targets if target.source != STREAM}
    files = [target for target in targets if target.output != STREAM]
    for target in files:
        if place(target.output) in sources:
            raise click.UsageError(f"{target.output} is an input and would be replaced: name another output")
    pairs = _pairs(files, place) or _case_pairs(files, place)
    if not pairs:
        return
    lines = [
        f"{one.source} and {other.source} would both be written to {other.output}"
        for one, other in pairs[:SHOWN_COLLISIONS]
    ]
    if len(pairs) > SHOWN_COLLISIONS:
        lines.append(f"and {len(pairs) - SHOWN_COLLISIONS} more")
    raise click.UsageError("; ".join(lines) + f": {advice or 'give them one by one with -o'}")


def _pairs(targets: Sequence[Target], key: Callable[[Path], str]) -> list[tuple[Target, Target]]:
    """Targets whose outputs have the key of an earlier one, each with that one."""
    first: dict[str, Target] = {}
    found = []
    for target in targets:
        earlier = first.setdefault(key(target.output), target)
        if earlier is not target:
            found.append((earlier, target))
    return found


def _case_pairs(targets: Sequence[Target], place: Callable[[Path], str]) -> list[tuple[Target, Target]]:
    pairs = _pairs(targets, lambda path: place(path).casefold())
    if not pairs:
        return []
    from vdmcompress.files import ignores_case

    ignoring = {folder for folder in {other.output.parent for _, other in pairs} if ignores_case(folder)}
    return [(one, other) for one, other in pairs if other.output.parent in ignoring]


class _Places:
    """The same string for all names of a file: links, on the way to it and itself, are followed."""

    def __init__(self) -> None:
        self._folders: dict[Path, str] = {}

    def __call__(self, path: Path) -> str:
        if path.is_symlink():
            return os.path.realpath(path)
        if path.parent not in self._folders:
            self._folders[path.parent] = os.path.realpath(path.parent)
        return os.path.join(self._folders[path.parent], path.name)
