"""`vdmc archive`: many images in one file; this file has `create`, `cli/archive_read.py` the rest."""

import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import options
from cli.archive_read import extract, list_, verify
from cli.progress import progress_bar
from cli.report import PRE_RELEASE, Report, printable
from cli.sources import IMAGE_SUFFIXES, STREAM, Selection
from cli.streams import IS_FOLDER

if TYPE_CHECKING:
    from vdmcompress.archive.create import Source
    from vdmcompress.archive.grouping import GroupSize
    from vdmcompress.archive.runners import Runner


class GroupType(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.5 on
    """A number of images, or a size of their pixels with its unit: 500, 8MiB."""

    name = "group"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> "GroupSize":
        """A GroupSize; a usage error for anything else."""
        from vdmcompress.archive.grouping import GroupSize
        from vdmcompress.errors import UsageError

        try:
            if re.fullmatch(r"\d+", str(value)):
                return GroupSize(images=int(value))
            return GroupSize(bytes=options.ByteSize().convert(value, param, ctx))
        except UsageError as error:
            self.fail(str(error), param, ctx)


@click.group(short_help="Many images in one file.")
def archive() -> None:
    """Many images in one file: smaller than many files, above all where images are small.

    Images are coded in groups.  One image is had by decoding its group, and damage stays in its group.
    """


@archive.command(short_help="Make an archive of images.")
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@options.selection("images")
@click.option(
    "--group",
    metavar="N|SIZE",
    type=GroupType(),
    help="Images in a group, or the size of their pixels; smaller groups cost more.  [default: 8MiB]",
)
@options.effort
@options.model
@options.latents
@click.option("--embed-model", is_flag=True, help="Put the models that were used into the archive.")
@options.device
@options.threads
@options.jobs
@click.option("--cluster", metavar="ADDRESS", help="Code groups on the Ray cluster there; 'auto' finds it.")
@click.option(
    "--num-gpus",
    metavar="N",
    type=click.FloatRange(0),
    default=0,
    help="GPUs (or parts) that a group takes on the cluster.",
)
@options.max_pixels
@options.max_memory
@options.force
@click.option("--resume", is_flag=True, help="Go on with the groups that an interrupted run has finished.")
@click.option("--strip", is_flag=True, help="Leave metadata out; transparency is none, and stays.")
@click.option("--no-verify", is_flag=True, help="Skip the check that decodes each group.")
@options.reporting
def create(
    target: Path,
    selection: Selection,
    group: "GroupSize | None",
    effort: int,
    model: str | None,
    latents: str | None,
    embed_model: bool,
    device: str,
    threads: int,
    jobs: int,
    cluster: str | None,
    num_gpus: float,
    max_pixels: int | None,
    max_memory: int | None,
    force: bool,
    resume: bool,
    strip: bool,
    no_verify: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Make the archive OUT (.vdma) of images. Paths become names, without a leading / or ../.

    OUT appears when all is written. What an interrupted run has finished stays in a hidden file beside it,
    with which --resume goes on. Images that cannot be taken are left out, said, and make the exit code 1.
    """
    if cluster is None and num_gpus:
        raise click.UsageError("--num-gpus says what a group takes on a cluster: give --cluster ADDRESS")
    if cluster is not None and jobs > 1:
        raise click.UsageError("-j and --cluster exclude each other")
    named = selection.named()
    if STREAM in named:
        raise click.UsageError("an image on standard input has no name: name a file")
    count, size = _look(selection, named)
    report = Report(count, as_json, quiet, verbose)
    if not count:
        raise click.UsageError("no images found: nothing to put into an archive")
    from vdmcompress.archive import create as creation
    from vdmcompress.archive.grouping import DEFAULT_GROUP
    from vdmcompress.errors import UsageError

    start = time.perf_counter()

    def failed(name: str, error: Exception) -> None:
        with report.file(Path(name)):
            raise UsageError(IS_FOLDER) if isinstance(error, IsADirectoryError) else error

    def noted(name: str, text: str) -> None:
        report.note(f"{printable(name)}: {text}")

    how = options.limits_given(max_pixels, max_memory)
    with progress_bar(printable(target.name), quiet=quiet) as progress:
        made = creation.create(
            target,
            _sources(selection, named),
            effort=effort,
            model=model,
            latents=latents,
            threads=1 if cluster is not None and not threads else options.thread_count(threads, jobs),
            device=device,
            verify=not no_verify,
            strip=strip,
            group=group or DEFAULT_GROUP,
            jobs=jobs,
            runner=_runner(cluster, threads, num_gpus),
            embed_model=embed_model,
            resume=resume,
            force=force,
            progress=progress,
            total=count,
            failed=failed,
            noted=noted,
            **how,
        )
    record = {
        "file": str(target),
        "images": made.images,
        "groups": made.groups,
        "resumed": made.resumed,
        "bytes_in": size,
        "bytes_out": made.size,
        "bpd": 8 * made.size / made.values,
        "seconds": time.perf_counter() - start,
    }
    report.note(PRE_RELEASE)
    again = f" ({made.resumed} finished before)" if made.resumed else ""
    report.codes += [0] * made.images
    groups = f"{made.groups:,} group{'s' * (made.groups > 1)}"
    report.line(
        f"{printable(target)}: {made.images:,} images{again} in {groups}, "
        f"{size:,} -> {made.size:,} bytes, {record['bpd']:.3f} bpd, {record['seconds']:.1f} s",
        record,
    )
    report.finish("taken")


def _runner(cluster: str | None, threads: int, num_gpus: float) -> "Runner | None":
    if cluster is None:
        return None
    from vdmcompress.archive.cluster import Cluster

    return Cluster(cluster, num_cpus=max(1, threads), num_gpus=num_gpus)


def _look(selection: Selection, named: Sequence[Path]) -> tuple[int, int]:
    """Number of images and bytes of their files; names that cannot be, or occur twice, are refused here."""
    from vdmcompress.archive.names import NameCheck, member_name

    names = NameCheck()
    count = size = 0
    for source in selection.each(named, IMAGE_SUFFIXES):
        fault = names.add(member_name(source.path))
        if fault is not None:
            raise click.UsageError(f"{fault}: names in an archive differ, leave one out or rename it")
        count += 1
        try:
            size += os.stat(source.path).st_size
        except OSError:
            continue  # said when its turn comes
    return count, size


def _sources(selection: Selection, named: Sequence[Path]) -> "Iterator[Source]":
    from vdmcompress.archive.create import Source
    from vdmcompress.archive.names import member_name

    for source in selection.each(named, IMAGE_SUFFIXES):
        yield Source(member_name(source.path), source.path)


for command in (list_, extract, verify):
    archive.add_command(command)
