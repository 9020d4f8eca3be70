"""Whole files in, whole files out; - is standard input or output."""

import sys
from pathlib import Path

from cli.targets import STREAM, Target
from vdmcompress.errors import UsageError


def read_bytes(path: Path) -> bytes:
    """All bytes of a file or of standard input."""
    if path == STREAM:
        return sys.stdin.buffer.read()
    return path.read_bytes()


def check_target(target: Target, force: bool) -> None:
    """Raise UsageError where write_target would refuse, before any work is done."""
    if target.output == STREAM:
        return
    from vdmcompress.files import check_output

    if target.output.is_file() and not force and not target.output.is_symlink():
        raise UsageError(f"{target.output} exists; -f replaces it")
    check_output(target.output, force=force, inputs=_sources(target))


def write_target(target: Target, data: bytes, force: bool) -> None:
    """Write the output, whole or not at all, with the permissions and times of the input."""
    if target.output == STREAM:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    from vdmcompress.files import write_file

    sources = _sources(target)
    like = next((source for source in sources if source.is_file()), None)
    write_file(target.output, data, force=force, inputs=sources, like=like)


def _sources(target: Target) -> list[Path]:
    return [] if target.source == STREAM else [target.source]
