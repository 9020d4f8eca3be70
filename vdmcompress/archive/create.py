"""Images to an archive: read one by one, grouped, coded wherever the runner codes, written in order."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from PIL import Image

from vdmcompress.archive.grouping import DEFAULT_GROUP, GroupSize, groups_of
from vdmcompress.archive.names import NameCheck, check_name, member_name
from vdmcompress.archive.runners import Processes, Runner, Serial
from vdmcompress.archive.settings import Entry, GroupSettings, Made
from vdmcompress.archive.writer import ArchiveWriter
from vdmcompress.efforts import DEFAULT_EFFORT
from vdmcompress.errors import UsageError
from vdmcompress.files import PathLike
from vdmcompress.header import DEFAULT_LIMITS, Limits
from vdmcompress.image_io import image_picture, read_picture
from vdmcompress.model_search import file_hash, model_paths
from vdmcompress.picture import Picture, Samples, array_picture

__all__ = ["Created", "Failed", "Source", "create"]

Content: TypeAlias = PathLike | Samples | Image.Image | Picture
Progress: TypeAlias = Callable[[float, float, str], None]
Failed: TypeAlias = Callable[[str, Exception], None]
Noted: TypeAlias = Callable[[str, str], None]

_PERMISSIONS: Final = 0o777


@dataclass(frozen=True)
class Source:
    """An image that goes into an archive: its name there, and a path, array, Pillow image or Picture."""

    name: str
    content: Content

    @classmethod
    def of(cls, given: PathLike | tuple[str, Content] | Source) -> Source:
        """A path stands for its file, with `names.member_name` of it; a pair is name and content."""
        if isinstance(given, Source):
            return given
        if isinstance(given, tuple):
            return cls(*given)
        return cls(member_name(given), given)

    def modified(self) -> int | None:
        """Seconds since 1970 of a file, None for other content."""
        if isinstance(self.content, str | os.PathLike):
            return math.floor(os.stat(self.content).st_mtime)
        return None

    def entry(self, limits: Limits = DEFAULT_LIMITS, strip: bool = False) -> Entry:
        """The picture, read; strip: without metadata.  Raises as `image_io.read_picture`."""
        modified, permissions = None, None
        content = self.content
        if isinstance(content, str | os.PathLike):
            found = os.stat(content)
            modified = math.floor(found.st_mtime)
            permissions = stat.S_IMODE(found.st_mode) & _PERMISSIONS
            picture = read_picture(content, limits)
        elif isinstance(content, Picture):
            picture = content
        else:
            picture = image_picture(content) if isinstance(content, Image.Image) else array_picture(content)
        fault = picture.fault()
        if fault is not None:
            raise UsageError(f"{self.name}: {fault}; see vdmcompress.picture.Picture")
        return Entry(self.name, picture.stripped() if strip else picture, modified, permissions)


@dataclass(frozen=True)
class Created:
    """What `create` gives.

    images, values: coded now or found finished, and their samples.  groups: of them.  resumed: images that
    were in finished groups already.  size: bytes of the file.  bound: bits by the coder's count, of groups
    that were coded now.
    """

    images: int
    values: int
    groups: int
    resumed: int
    size: int
    bound: float


def create(
    target: PathLike,
    sources: Iterable[PathLike | tuple[str, Content] | Source],
    *,
    effort: int = DEFAULT_EFFORT,
    model: str | None = None,
    latents: str | None = None,
    threads: int | None = None,
    device: str = "auto",
    verify: bool = True,
    strip: bool = False,
    memory: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
    group: GroupSize = DEFAULT_GROUP,
    jobs: int = 1,
    runner: Runner | None = None,
    embed_model: bool = False,
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
    total: int | None = None,
    failed: Failed | None = None,
    noted: Noted | None = None,
) -> Created:
    """Make an archive of images; it appears whole, or not at all.

    sources: paths, or pairs of a name and a path, array, Pillow image or Picture; read one after the other,
    when their turn comes.  effort, model, latents, threads, device, verify, memory, limits: as in `encode`;
    without a model, `choice.models_of` says which are tried.  strip: leave metadata out.  group: when a
    group is full.  jobs: processes.  runner: where groups are coded instead, for example `cluster.Cluster`.
    embed_model: put the models that were used into the archive.  resume: go on with what an interrupted call
    with the same settings, `strip` and `verify` among them, has finished.  force: replace an existing file.
    progress: called with images done, ``total`` (0 for not known), and "archive".  failed: called with name
    and error of an image that cannot be taken, which is left out; without it the error is raised.  noted:
    called with name and text where something of a file is not kept, or is worth knowing.

    Whatever alters bytes is in settings and sources: jobs, runner, threads and device do not.  What finished
    groups take is written to a hidden file beside the target, which stays after an interruption.

    Raises UsageError for names that cannot be (`names.name_fault`) or occur twice, for an archive without
    images, and as `encode` and `files.check_output`.
    """
    from vdmcompress.archive.coder import encode_group

    settings = GroupSettings(effort, model, latents, threads, device, verify, memory)
    chosen: Runner = Serial() if jobs == 1 else Processes(jobs)
    decides = repr((effort, model, latents, group, embed_model, strip, verify))
    with ArchiveWriter(target, decides, resume=resume, force=force) as writer:
        finished = {member.name: member.modified for member in writer.members()} if resume else {}
        tally = _Tally(len(finished), total or 0, progress)
        tally.values = sum(member.values for member in writer.members()) if resume else 0
        embedded = writer.models() if embed_model else set()
        entries = _entries(map(Source.of, sources), finished, limits, strip, failed, noted)
        groups = groups_of(entries, group, settings)
        results = (runner or chosen).map(partial(encode_group, settings=settings), groups)
        with closing(results):
            for made in results:
                if embed_model and made.model and made.model not in embedded:
                    writer.add_model(_model_bytes(made.model, model))
                    embedded.add(made.model)
                writer.add_group(made.record, len(made.members))
                tally.add(made)
        if not tally.images:
            raise UsageError("no images: an archive holds one or more")
        groups_made = sum(record.images > 0 for record in writer.records)
        size = writer.finish()
    return Created(tally.images, tally.values, groups_made, len(finished), size, tally.bound)


@dataclass
class _Tally:
    """Counts what is in the file, and says so."""

    images: int
    total: int
    progress: Progress | None
    values: int = 0
    bound: float = 0.0

    def add(self, made: Made) -> None:
        self.images += len(made.members)
        self.values += sum(member.values for member in made.members)
        self.bound += made.bound
        if self.progress is not None:
            self.progress(self.images, max(self.total, self.images) if self.total else 0, "archive")


def _entries(
    sources: Iterable[Source],
    finished: dict[str, int | None],
    limits: Limits,
    strip: bool,
    failed: Failed | None,
    noted: Noted | None,
) -> Iterator[Entry]:
    """Entries of all sources that are not in finished groups."""
    names = NameCheck()
    for source in sources:
        try:
            check_name(source.name)
            fault = names.add(source.name)
            if fault is not None:
                raise UsageError(f"{fault}; names in an archive differ, rename one or leave it out")
            if source.name in finished:
                kept = finished[source.name]  # None too where a neighbour in its group had no time
                if kept is not None and source.modified() != kept:
                    raise UsageError(f"{source.name} has changed since it was coded; start without --resume")
                continue
            entry = source.entry(limits, strip)
        except Exception as error:
            if failed is None:
                raise
            failed(source.name, error)
        else:
            for text in (*(f"not kept: {lost}" for lost in entry.picture.lost), *entry.picture.notes):
                if noted is not None:
                    noted(source.name, text)
            yield entry


def _model_bytes(hash8: bytes, wanted: str | None) -> bytes:
    """The file of a model that has just been used."""
    paths = [*model_paths(), *([Path(wanted)] if wanted and Path(wanted).is_file() else [])]
    return next(path for path in paths if file_hash(path) == hash8).read_bytes()
