"""What `vdmc archive` says of an archive: images, groups and their price, damage, names that are missing."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.report import Report, printable
from vdmcompress.errors import UsageError, VdmError, damaged
from vdmcompress.picture import mode_name

if TYPE_CHECKING:
    from vdmcompress.archive.directory import Member
    from vdmcompress.archive.reader import Archive


@dataclass
class Wanted:
    """Which names the user asked for: all where there are none; remembers which of the patterns fitted."""

    patterns: Sequence[str]
    met: set[str] = field(default_factory=set)

    def __call__(self, name: str) -> bool:
        found = [pattern for pattern in self.patterns if _fits(name, pattern)]
        self.met.update(found)
        return bool(found) or not self.patterns


def _fits(name: str, pattern: str) -> bool:
    return name == pattern or name.startswith(pattern.rstrip("/") + "/") or fnmatchcase(name, pattern)


def tell_damage(report: Report, archive: "Archive") -> None:
    """Say that the index is damaged; what was found without it is used."""
    if archive.damage is not None:
        with report.file(archive.path):
            raise archive.damage


def tell_models(report: Report, archive: "Archive") -> None:
    """Say which embedded models are damaged: groups decode only where these models are installed."""
    for record in archive.damaged_models():
        text = f"an embedded model at byte {record.offset} does not agree with its CRC-32"
        tell_failure(report, archive.path, damaged(text))


def sound_members(report: Report, archive: "Archive", number: int) -> "list[Member]":
    """Members of a group; none, and the loss is said, where its directory is damaged."""
    try:
        return archive.group_members(number)
    except VdmError as error:
        count = archive.groups[number].images
        tell_loss(report, number, (), error, count)
        return []


def tell_loss(
    report: Report, number: int, names: Sequence[str], error: Exception, count: int | None = None
) -> None:
    """Say that a group is lost, and what was in it."""
    lost = len(names) if count is None else count
    tell_failure(report, Path(f"group {number}, {lost} images"), error)
    for name in names:
        report.note(f"lost: {printable(name)}")


def tell_failure(report: Report, place: Path, error: Exception) -> None:
    """Say what is wrong with a part of an archive."""
    with report.file(place):
        raise error


def tell_missing(report: Report, wanted: Wanted) -> None:
    """Say which of the names that the user gave are nobody's."""
    for pattern in wanted.patterns:
        if pattern not in wanted.met:
            with report.file(Path(pattern)):
                raise UsageError("no image of that name in the archive; 'vdmc archive list' shows the names")


def tell_group(report: Report, archive: "Archive", number: int, members: "Sequence[Member]") -> None:
    """Say what a group holds and takes."""
    group = archive.groups[number]
    values = sum(member.values for member in members)
    price = price_in(archive, number)
    singles = sum(member.single for member in members)
    record = {
        "group": number,
        "images": group.images,
        "singles": singles,
        "offset": group.offset,
        "bytes": group.length,
        "values": values,
        "price": price,
    }
    alone = f", {singles} coded alone" if singles else ""
    bits = f", {8 * group.length / values:.3f} bpd" if values else ""
    report.line(
        f"group {number}: {group.images:,} images{alone}, {group.length:,} bytes{bits}, "
        f"{price:,} for being a group",
        record,
    )


def price_in(archive: "Archive", number: int) -> int:
    """Bytes of a group that would not be there if its images were in another one; 0 for the first."""
    from vdmcompress.archive.group import price_of

    if number == 0:
        return 0
    try:
        return price_of(archive.group_members(number))
    except VdmError:
        return 0


def described(member: "Member", number: int) -> tuple[str, dict[str, Any]]:
    """A line on an image, and the same as a record."""
    record = {
        "file": member.name,
        "width": member.width,
        "height": member.height,
        "channels": member.mode.channels,
        "bits": member.depth,
        "mode": member.mode.name.lower(),
        "group": number,
        "single": member.single,
        "modified": member.modified,
        "permissions": None if member.permissions is None else f"{member.permissions:03o}",
    }
    size = f"{member.width}x{member.height}"
    when = ""
    if member.modified is not None:
        with suppress(OverflowError, ValueError, OSError):
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(member.modified))
    kind = mode_name(member.mode, member.depth)
    return f"{number:5}  {size:>11}  {kind:<14}  {when:16}  {printable(member.name)}", record


def leave(report: Report) -> None:
    """Leave with the exit code of the worst problem: damage before all others."""
    codes = sorted({code for code in report.codes if code}, key=lambda code: (code != 3, code))
    if codes:
        raise click.exceptions.Exit(codes[0])
