"""Writing a file so that it is there whole or not at all."""

import errno
import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final, TypeAlias

from vdmcompress.errors import UsageError, WriteError

__all__ = ["IMAGE_FORMATS", "check_output", "ignores_case", "publish", "write_file"]

PathLike: TypeAlias = str | os.PathLike[str]

IMAGE_FORMATS: Final = {".png": "png", ".webp": "webp", ".ppm": "ppm", ".pgm": "ppm", ".pbm": "ppm"}
"""Suffixes of images that are written, and the formats that they stand for."""

_PERMISSIONS: Final = 0o777
_NO_HARD_LINKS: Final = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN: Final = {errno.EACCES, errno.EPERM, errno.EROFS}


def check_output(
    path: PathLike,
    *,
    force: bool = False,
    inputs: Iterable[PathLike] = (),
    root: PathLike | None = None,
) -> None:
    """Raise UsageError where write_file would refuse, so that no work is done in vain.

    Refused always: a missing folder (below root only a folder that cannot be made), one that must not be
    written to, anything that is no regular file, a file that is one of the inputs (by another name or link
    too). Refused without force: an existing file, a symbolic link, also one to a folder below root.
    """
    path = Path(path)
    if path.is_symlink() and not force:
        raise UsageError(f"output {path} is a symbolic link; name its target, or write through it with -f")
    _check_folder(path.resolve() if path.is_symlink() else path, None if root is None else Path(root), force)
    if not path.exists():
        return
    if not path.is_file():
        raise UsageError(f"output {path} is no regular file; name another one")
    for source in inputs:
        if Path(source).exists() and path.samefile(source):
            raise UsageError(f"output {path} is the input {source}; name another file")
    if not force:
        raise UsageError(f"output {path} exists; name another file, or replace it with -f")


def write_file(
    path: PathLike,
    data: bytes | memoryview,
    *,
    force: bool = False,
    inputs: Iterable[PathLike] = (),
    root: PathLike | None = None,
    like: PathLike | None = None,
) -> None:
    """Write all of data to path by way of a temporary file in its folder: synced, renamed, folder synced.

    With force an existing file is replaced and keeps its permissions, and a symbolic link keeps pointing to
    what is replaced. like: a file whose permissions and times the new one gets instead. Folders that are
    missing below root, and root itself, are made. Whatever goes wrong, an interrupt included, leaves no
    temporary file and the old file as it was; a process that is killed leaves the old file or the new one,
    and may leave a temporary file (hidden, with the suffix .part).

    Raises UsageError like check_output, WriteError where the system refuses.
    """
    check_output(path, force=force, inputs=inputs, root=root)
    target = Path(path).resolve() if force else Path(path)
    try:
        if root is not None:
            _make_folders(target.parent)
        _write(target, data, force, like)
    except OSError as error:
        if error.errno is None:
            raise
        raise _write_error(target, error) from error


def publish(part: Path, path: PathLike, *, force: bool = False) -> None:
    """Give a file that is complete its name, as `write_file` does with its temporary one; part is gone then.

    Raises UsageError like check_output, WriteError where the system refuses.
    """
    check_output(path, force=force)
    target = Path(path).resolve() if force else Path(path)
    try:
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        if force:
            if target.exists():
                os.chmod(part, stat.S_IMODE(target.stat().st_mode) & _PERMISSIONS)
            os.replace(part, target)
        else:
            _rename_new(part, target)
            part.unlink(missing_ok=True)
        _sync_folder(target.parent)
    except OSError as error:
        raise _write_error(target, error) from error


def ignores_case(folder: PathLike) -> bool:
    """Whether names that differ only in upper and lower case are one file there (tried with a hidden file).

    A folder that does not exist yet is asked for by the nearest one above it. False where nothing can be
    written.
    """
    token = secrets.token_hex(8)
    probe = _nearest(Path(folder)) / f".{token}A.part"
    try:
        probe.touch(exist_ok=False)
    except OSError:
        return False
    try:
        return probe.with_name(f".{token}a.part").exists()
    finally:
        probe.unlink()


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next((place for place in (folder, *folder.parents) if place.exists()), Path())


def _check_folder(target: Path, root: Path | None, force: bool) -> None:
    folder = target.parent
    if root is not None and (folder == root or root in folder.parents):
        below = [place for place in (folder, *folder.parents) if root in place.parents]
        link = next((place for place in below if place.is_symlink()), None)
        if link is not None and not force:
            raise UsageError(f"folder {link} of output {target.name} is a symbolic link; name another folder")
        folder = _nearest(folder)
    elif not folder.is_dir():
        raise UsageError(f"folder {folder} of output {target.name} does not exist; make it first")
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; name another one for output {target.name}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"folder {folder} of output {target.name} cannot be written to; name another one")


def _write(target: Path, data: bytes | memoryview, force: bool, like: PathLike | None) -> None:
    model = os.stat(like) if like is not None else target.stat() if target.exists() else None
    part = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with open(part, "xb", opener=_private if model is not None else None) as file:
            file.write(data)
            file.flush()
            if model is not None:
                os.chmod(part, stat.S_IMODE(model.st_mode) & _PERMISSIONS)
            if like is not None and model is not None:
                os.utime(part, ns=(model.st_atime_ns, model.st_mtime_ns))
            os.fsync(file.fileno())
        if force:
            os.replace(part, target)
        else:
            _rename_new(part, target)
        _sync_folder(target.parent)
    finally:
        part.unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    """Open a file that nobody else may read before it has its final permissions."""
    return os.open(path, flags, 0o600)


def _rename_new(part: Path, target: Path) -> None:
    """Give the temporary file its name, unless a file of that name has appeared in the meantime."""
    try:
        os.link(part, target)
    except FileExistsError as error:
        raise UsageError(f"output {target} has appeared while it was made; name another file") from error
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        check_output(target)
        os.replace(part, target)


def _make_folders(folder: Path) -> None:
    """Make what is missing, outermost first, each entry brought to disk."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    for place in reversed(missing):
        place.mkdir(exist_ok=True)
        _sync_folder(place.parent)


def _sync_folder(folder: Path) -> None:
    """Bring the folder's entries to disk, where the system can open folders."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_error(target: Path, error: OSError) -> WriteError:
    what = "write to another folder"
    if error.errno in _FULL:
        what = "make room, or write to another file system"
    elif error.errno in _FORBIDDEN:
        what = "write to a folder that is yours"
    return WriteError(f"output {target} cannot be written: {error.strerror}; {what}")
