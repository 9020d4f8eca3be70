"""A format in a process of its own, so that its memory is its own and its threads meet nobody else's.

The process works only when it is asked to, so that several formats can take turns on one machine.
"""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

import numpy as np

from vdmcompress.errors import MachineError, VdmError
from vdmcompress.measure.formats import Pixels, find_format, same_pixels, warm_up
from vdmcompress.measure.machine import peak_bytes, reset_peak


@dataclass(frozen=True)
class Coded:
    """What encoding an image took.  peak: bytes of memory.  detail: of vdmc's files: kind, plan, model."""

    size: int
    seconds: float
    peak: int
    detail: dict[str, Any]


@dataclass(frozen=True)
class Decoded:
    """What decoding it took.  equal: whether the pixels came back."""

    seconds: float
    peak: int
    equal: bool


class FormatProcess:
    """A process that codes with one format; a context.  Everything is warmed up on entering."""

    def __init__(self, name: str, threads: int) -> None:
        context = get_context("spawn")
        self.name = name
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, name, threads), daemon=True)
        self._theirs = theirs

    def __enter__(self) -> Self:
        self._process.start()
        self._theirs.close()
        try:
            self._answer()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process, whatever it is doing: it writes nothing."""
        self._pipe.close()
        self._process.kill()
        self._process.join()

    def encode(self, pixels: Pixels) -> Coded:
        """Encode an image; the process keeps the file for `decode`."""
        found = self._ask(("encode", pixels))
        if not isinstance(found, Coded):
            raise VdmError(f"{self.name}: no file was made")
        return found

    def decode(self) -> Decoded:
        """Decode the last file; raises MachineError where other pixels came back."""
        found = self._ask(("decode", None))
        if not isinstance(found, Decoded) or not found.equal:
            raise MachineError(f"{self.name} gave other pixels back; nothing that it takes is a result")
        return found

    def _ask(self, question: tuple[str, Pixels | None]) -> object:
        with suppress(BrokenPipeError, ConnectionResetError):  # it has died, which _answer notices
            self._pipe.send(question)
        return self._answer()

    def _answer(self) -> object:
        try:
            found = self._pipe.recv()
        except (EOFError, ConnectionResetError) as error:
            self._process.join()
            raise VdmError(
                f"the process that measures {self.name} ended ({self._process.exitcode}); if memory ran out, "
                "measure smaller images or fewer formats at once"
            ) from error
        if isinstance(found, VdmError):
            raise found
        return found


def _serve(pipe: Connection, name: str, threads: int) -> None:
    """What the process does: questions in, answers or exceptions out, until the parent closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    data, pixels = b"", np.zeros((1, 1), np.uint8)
    try:
        form = find_format(name, threads)
        warm_up(form)
        answer: object = None
    except Exception as error:
        answer = _portable(error)
    while True:
        try:
            pipe.send(answer)
            question, given = pipe.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return
        try:
            reset_peak()
            start = time.perf_counter()
            if question == "encode":
                pixels, data = given, b""
                data = form.encode(pixels)
                seconds = time.perf_counter() - start
                answer = Coded(len(data), seconds, peak_bytes(), _detail(name, data))
            else:
                back = form.decode(data)
                seconds = time.perf_counter() - start
                peak = peak_bytes()
                answer = Decoded(seconds, peak, same_pixels(back, pixels))
        except Exception as error:
            answer = _portable(error)


def _detail(name: str, data: bytes) -> dict[str, Any]:
    if not name.startswith("vdmc"):
        return {}
    from vdmcompress.container import peek

    header = peek(data)
    plan = header.plan if header.model else None
    return {"kind": header.kind.name.lower(), "plan": plan, "model": header.model.hex() or None}


def _portable(error: Exception) -> VdmError:
    """The library's own errors, which their message makes again in the parent; the words of others."""
    return error if isinstance(error, VdmError) else VdmError(f"{type(error).__name__}: {error}")
