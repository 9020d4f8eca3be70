"""Writing a file so that it is there whole or not at all."""

import errno
import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from vdmcompress.errors import UsageError

__all__ = ["check_output", "write_file"]

PathLike: TypeAlias = str | os.PathLike[str]

_PERMISSIONS = 0o777
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


def check_output(path: PathLike, *, force: bool = False, inputs: Iterable[PathLike] = ()) -> None:
    """Raise UsageError where write_file would refuse, so that no work is done in vain.

    Refused always: a missing folder, anything that is no regular file, a file that is one of the inputs (by
    another name or link too). Refused without force: an existing file, a symbolic link.
    """
    path = Path(path)
    folder = path.parent
    if not folder.is_dir():
        raise UsageError(f"folder {folder} of output {path.name} does not exist; make it first")
    if path.is_symlink() and not force:
        raise UsageError(f"output {path} is a symbolic link; name its target, or force writing through it")
    if not path.exists():
        return
    if not path.is_file():
        raise UsageError(f"output {path} is no regular file; name another one")
    for source in inputs:
        if Path(source).exists() and path.samefile(source):
            raise UsageError(f"output {path} is the input {source}; name another file")
    if not force:
        raise UsageError(f"output {path} exists; name another file, or force replacing it")


def write_file(
    path: PathLike,
    data: bytes | memoryview,
    *,
    force: bool = False,
    inputs: Iterable[PathLike] = (),
    like: PathLike | None = None,
) -> None:
    """Write all of data to path by way of a temporary file in its folder: synced, renamed, folder synced.

    With force an existing file is replaced and keeps its permissions, and a symbolic link keeps pointing to
    what is replaced. like: a file whose permissions and times the new one gets instead. Whatever goes wrong,
    an interrupt included, leaves no temporary file and the old file as it was. Raises UsageError like
    check_output, OSError where the system refuses.
    """
    check_output(path, force=force, inputs=inputs)
    target = Path(path).resolve() if force else Path(path)
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


def _sync_folder(folder: Path) -> None:
    """Bring the folder's entry to disk, where the system can open folders."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
