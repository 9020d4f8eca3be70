"""Archives under mutation: the seeds, and what must never come of a mutated one.

A wrong picture is what `fuzz.targets` says: of a group the checksum over the pixels of all images in batches
stands for the checksum of the file, and the pictures of a seed's group with this checksum must come out in
their order; singles are files.  Names, times and metadata are covered by checksums that are repaired here:
they may differ, but names must be sound and differ within a group.

Three cases in ten are extracted by the command line.  Whatever is in them, nothing may appear but files below
the folder that was named, and the exit code must be one that says what was met.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from fuzz import corpus
from fuzz.targets import LIMITS, Broken, _named, _picture_difference
from vdmcompress.archive.coder import encode_group
from vdmcompress.archive.group import GroupParts, unpack_group
from vdmcompress.archive.names import name_fault
from vdmcompress.archive.reader import Archive
from vdmcompress.archive.records import HEAD, Record, model_record, pack_index
from vdmcompress.archive.settings import Entry, GroupSettings
from vdmcompress.container import peek
from vdmcompress.errors import VdmError
from vdmcompress.picture import Picture, array_picture

TOLD = (0, 2, 3, 4, 5)
"""Exit codes of `extract`: all well, usage (a name that cannot be written), damage, model, limit."""

SMALL_PIXELS = 1 << 12


def assembled(records: Sequence[tuple[bytes, int]]) -> bytes:
    """An archive of records, each with its number of images, and a right index."""
    places, at = [], len(HEAD)
    for data, images in records:
        places.append(Record(at, len(data), images))
        at += len(data)
    return b"".join((HEAD, *(data for data, _ in records), pack_index(places)))


def _group(entries: Sequence[Entry]) -> tuple[bytes, int]:
    settings = GroupSettings(model=str(corpus.TINY), threads=1, verify=False)
    return encode_group(entries, settings).record, len(entries)


def seeds() -> dict[str, bytes]:
    """Name -> archive: all kinds of pictures, small ones, an embedded model; times, permissions, folders."""
    from vdmcompress.api import decode_picture

    pictures = {name: decode_picture(data, threads=1) for name, data in corpus.load("sound").items()}
    mixed = [
        Entry(f"folder/{name[:3]}/{name}.png", picture, 1_700_000_000 + len(name), 0o644)
        for name, picture in pictures.items()
        if picture.width * picture.height <= SMALL_PIXELS
    ]
    small = [
        Entry(f"{i:02}.png", array_picture(corpus.picture(7 + i % 2, 8, 1 + 2 * (i % 3 > 0))))
        for i in range(12)
    ]
    alone = [replace(entry, modified=None) for entry in mixed if "bit" in entry.name]
    model = (model_record(corpus.TINY.read_bytes()), 0)
    return {
        "mixed": assembled([_group(mixed[first : first + 6]) for first in range(0, len(mixed), 6)]),
        "small": assembled([_group(small[:8]), _group(small[8:])]),
        "singles": assembled([_group(alone)]),
        "model": assembled([model, _group(small[3:5])]),
    }


def target(found: Mapping[str, bytes]) -> ArchiveTarget:
    """The target that knows the pictures of these seeds."""
    groups: dict[int, list[Picture]] = {}
    singles: dict[int, Picture] = {}
    with TemporaryDirectory() as folder:
        for name, data in found.items():
            path = Path(folder) / name
            path.write_bytes(data)
            with Archive(path, threads=1) as archive:
                for number in range(len(archive.groups)):
                    parts = unpack_group(archive.group_record(number), LIMITS)
                    pictures = [p for p in archive.decode(number).values() if isinstance(p, Picture)]
                    groups[parts.pixel_crc] = pictures[: len(parts.chunks)]
                    alone = zip(parts.singles, pictures[len(parts.chunks) :], strict=True)
                    singles |= {peek(file).pixel_crc: picture for file, picture in alone}
    return ArchiveTarget(groups, singles)


@dataclass(frozen=True)
class ArchiveTarget:
    """Opening, listing, decoding, extracting.

    groups: pictures in batches of the seeds, by the checksum over those of their pixels.  singles: by theirs.
    """

    groups: Mapping[int, Sequence[Picture]]
    singles: Mapping[int, Picture]

    def __call__(self, data: bytes, scale: int = 1) -> str:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "a.vdma"
            path.write_bytes(data)
            return extracted(path) if scale > 1 else self.read(path)

    def read(self, path: Path) -> str:
        """Open an archive and decode each of its groups."""
        try:
            archive = Archive(path, threads=1, limits=LIMITS)
        except VdmError as error:
            return _named("open", error)
        with archive:
            came = {self._group(archive, number) for number in range(len(archive.groups))}
            index = "" if archive.damage is None else "no index, "
        return index + (", ".join(sorted(came)) or "no groups")

    def _group(self, archive: Archive, number: int) -> str:
        try:
            names = [member.name for member in archive.group_members(number)]
        except VdmError as error:
            return _named("group", error)
        fault = next((fault for name in names if (fault := name_fault(name))), None)
        if fault is not None or len(set(names)) < len(names):
            raise Broken(f"group {number} has a name twice, or one with {fault}")
        try:
            found = archive.decode(number)
        except VdmError as error:
            return _named("group", error)
        parts = unpack_group(archive.group_record(number), LIMITS)
        return self._compared(parts, list(found.values()))

    def _compared(self, parts: GroupParts, found: Sequence[Picture | VdmError]) -> str:
        """Raise Broken unless the pictures are those that belong to the checksums."""
        together = len(parts.chunks)
        seed = self.groups.get(parts.pixel_crc, ())
        if len(seed) != together:
            raise Broken(f"wrong group: {together} images, pixel CRC {parts.pixel_crc:08x}")
        lost = False
        wanted: list[Picture | None] = [*seed]
        for file, met in zip(parts.singles, found[together:], strict=True):
            if isinstance(met, VdmError):
                lost = _named("single", met) != ""
                wanted.append(None)
            else:
                wanted.append(self.singles.get(peek(file).pixel_crc))
        for met, want in zip(found, wanted, strict=True):
            if isinstance(met, VdmError):
                continue
            wrong = "no seed's" if want is None else _picture_difference(met, want)
            if wrong is not None:
                raise Broken(f"wrong picture: {wrong}, {met.name} {met.pixels.shape}")
        return "singles lost" if lost else "same pictures"


def extracted(path: Path) -> str:
    """Extract an archive by the command line, into a folder beside it."""
    from cli.main import cli

    out, said = path.parent / "out", io.StringIO()
    options = ["-O", str(out), "-T", "1", "--max-pixels", str(LIMITS.max_pixels)]
    try:
        with redirect_stdout(said), redirect_stderr(said):
            code = cli(["archive", "extract", str(path), *options], standalone_mode=False)
    except VdmError as error:
        return _named("extract", error)
    except click.ClickException as error:
        raise Broken(f"extract: {error.format_message()}") from error
    if (code or 0) not in TOLD or "internal error" in said.getvalue() or "report it" in said.getvalue():
        raise Broken(f"extract: exit code {code}, {said.getvalue()[-300:]}")
    if {entry.name for entry in path.parent.iterdir()} - {path.name, out.name}:
        raise Broken("extract: something was written beside the folder")
    if any(entry.is_symlink() or not (entry.is_file() or entry.is_dir()) for entry in out.rglob("*")):
        raise Broken("extract: something was written that is neither file nor folder")
    if not code:
        with Archive(path) as archive:
            wanted, damage = len(archive), archive.damage
        written = sum(entry.is_file() for entry in out.rglob("*"))
        if damage is not None or written != wanted:
            raise Broken(f"extract: exit code 0, {written} of {wanted} images")
    return f"extract: exit code {code or 0}"
