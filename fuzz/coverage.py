"""The targets under atheris, which follows the coverage of the code: `pip install vdmcompress[fuzz]`.

    python -m fuzz.coverage --target container NEW tests/data/corpus/sound -max_total_time=600

container: checksum repaired, then peek; header: a sound payload behind a header made of the input; directory:
that of a group of an archive, after two bytes that say of how many images; decode: checksum repaired, then
decode.  All further arguments are libFuzzer's: folders (what is new is written to
the first, NEW, which must not be the corpus itself), and limits.  An exception ends the run and leaves its
input behind.  Only our own Python code is followed, and not what numba compiles.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable


def container_target(data: bytes) -> None:
    """The reader of the container, behind its checksum."""
    from fuzz import corpus
    from fuzz.targets import LIMITS
    from vdmcompress.container import peek
    from vdmcompress.errors import VdmError

    for whole in (data, corpus.sealed(data), corpus.sealed(data[:-4])):
        try:
            peek(whole, LIMITS)
        except VdmError:
            continue


def header_target(data: bytes) -> None:
    """A sound payload behind any header."""
    from fuzz import corpus
    from fuzz.targets import LIMITS
    from vdmcompress.container import peek
    from vdmcompress.errors import VdmError
    from vdmcompress.header import MAGIC

    sound = corpus.load("sound")["rgb-17x12"]
    try:
        peek(corpus.sealed(MAGIC + data + sound[30:-4]), LIMITS)
    except VdmError:
        return


def directory_target(data: bytes) -> None:
    """The directory of a group, behind checksum and compression."""
    from vdmcompress.archive.directory import read_directory
    from vdmcompress.errors import VdmError

    try:
        read_directory(data[2:], int.from_bytes(data[:2], "little") + 1)
    except VdmError:
        return


def decode_target() -> Callable[[bytes], None]:
    """decode behind the checksum; see `fuzz.targets.FileTarget` for what must not come of it."""
    from fuzz import corpus, worker

    target = worker.cases("file").target

    def run(data: bytes) -> None:
        target(corpus.sealed(data[:-4]), 1)

    return run


def main() -> None:
    """Run atheris."""
    parser = argparse.ArgumentParser(description="Coverage-guided fuzzing; needs atheris.")
    parser.add_argument("--target", choices=("container", "header", "directory", "decode"), default="decode")
    given, others = parser.parse_known_args()
    try:
        import atheris
    except ImportError:
        parser.exit(2, "atheris is not installed here: pip install vdmcompress[fuzz], or use fuzz.drive\n")
    with atheris.instrument_imports(include=["vdmcompress"], exclude=["vdmcompress.kernels"]):
        from fuzz import corpus

        os.environ["VDMC_MODEL_PATH"] = str(corpus.DATA)
        if given.target == "decode":
            target = decode_target()
        else:
            named = {"container": container_target, "header": header_target, "directory": directory_target}
            target = named[given.target]
            target(b"")  # imports what it needs
    atheris.Setup([sys.argv[0], *others], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
