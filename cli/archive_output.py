"""Where `vdmc archive extract` writes images: below one folder, each to a file of its own."""

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cli.archive_task import Outcome, output_name
from cli.report import Report, printable
from vdmcompress.errors import UsageError
from vdmcompress.files import check_output, write_file

_OWNER: Final = 0o600
"""Permissions that the owner of an extracted file has whatever the archive says."""


@dataclass
class Writing:
    """Writes extracted images; refuses two that would be one file.

    folder: below which.  force, skip_existing: whether files that are there are replaced, or passed over.
    """

    folder: Path
    force: bool
    skip_existing: bool
    report: Report
    done: set[int] = field(default_factory=set)

    def check(self, name: str, kind: str | None) -> bool:
        """Whether an image is to be extracted; raises where its file could not be written."""
        path = self.folder / output_name(name, kind)
        if hash(os.fspath(path)) in self.done:
            raise UsageError(f"{path} has been written for another image already; extract this one by itself")
        if self.skip_existing and path.is_file():
            self.report.skip(Path(name), f"{printable(path)} exists")
            return False
        if path.is_file() and not self.force:
            raise UsageError(f"{path} exists; -f replaces it")
        check_output(path, force=self.force, root=self.folder)
        self.done.add(hash(os.fspath(path)))
        return True

    @staticmethod
    def allowed(permissions: int) -> int:
        """Permissions of a file that the archive has with these: the umask takes, the owner may write."""
        umask = os.umask(0o077)
        os.umask(umask)
        return permissions & ~umask | _OWNER

    def write(self, outcome: Outcome) -> Path:
        """Write an image, with its time and permissions; gives its path."""
        path = self.folder / outcome.output
        write_file(path, outcome.data, force=self.force, root=self.folder)
        if outcome.permissions is not None:
            os.chmod(path, self.allowed(outcome.permissions))
        if outcome.modified is not None:
            with suppress(OverflowError, OSError):  # a time that this file system does not know
                os.utime(path, (outcome.modified, outcome.modified))
        return path
