"""Worker processes: one function over many items, results as they come.

The processes are spawned, compute only, and write nothing: they can be killed at any moment.  One that dies
(killed by the system for want of memory, say) fails its item and is replaced.
"""

import os
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from vdmcompress.errors import VdmError

T = TypeVar("T")
R = TypeVar("R")


class WorkerDied(VdmError):
    """The process that worked on an item ended without a result."""


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    item: int | None = None


class Workers(Generic[T, R]):
    """``count`` processes that call ``function``, which must be importable, as must its arguments; a context.

    Leaving the context ends the processes: kindly after the work, at once where an exception (Ctrl-C) passes.
    """

    def __init__(self, count: int, function: Callable[[T], R]) -> None:
        self._count = count
        self._function = function
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            if kind is not None:
                worker.process.kill()
            worker.pipe.close()
        for worker in self._workers:
            worker.process.join()

    def run(self, items: Iterable[T], window: int | None = None) -> Iterator[tuple[int, R | Exception]]:
        """Index of each item and what the function gave or raised for it, as they finish.

        window: an item is taken only when it is less than so many after the first one that is not finished,
        so that whoever puts the results in order has few of them waiting.
        """
        waiting = enumerate(items)
        following = next(waiting, None)
        open_items: set[int] = set()

        def may_begin() -> bool:
            return following is not None and (
                window is None or not open_items or following[0] - min(open_items) < window
            )

        while following is not None or open_items:
            idle = [worker for worker in self._workers if worker.item is None]
            while following is not None and may_begin() and (idle or len(self._workers) < self._count):
                open_items.add(following[0])
                self._give(idle.pop() if idle else self._start(), *following)
                following = next(waiting, None)
            busy = [worker for worker in self._workers if worker.item is not None]
            ready = connection.wait([worker.pipe for worker in busy])
            for worker in (worker for worker in busy if worker.pipe in ready):
                index, result = self._take(worker)
                open_items.discard(index)
                yield index, result

    def _start(self) -> _Worker:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self._function), daemon=True)
        with _interrupts_for_the_parent():
            process.start()
            worker = _Worker(process, ours)
            self._workers.append(worker)
        theirs.close()
        return worker

    def _give(self, worker: _Worker, index: int, item: T) -> None:
        worker.item = index
        try:
            worker.pipe.send(item)
        except (BrokenPipeError, ConnectionResetError):
            return  # it has died, which _take notices

    def _take(self, worker: _Worker) -> tuple[int, R | Exception]:
        index, worker.item = worker.item, None
        if index is None:
            raise RuntimeError("a worker without an item has answered")
        try:
            return index, worker.pipe.recv()
        except (EOFError, ConnectionResetError):
            worker.process.join()
            self._workers.remove(worker)
            worker.pipe.close()
            return index, WorkerDied(
                f"the process that worked on it ended ({_ending(worker.process.exitcode)}); "
                "if memory ran out, use fewer processes (-j)"
            )


@contextmanager
def _interrupts_for_the_parent() -> Iterator[None]:
    """Hold Ctrl-C back while a process starts: it inherits that and never sees one; the parent does later."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # its start, by the first process, would let interrupts through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"


def _serve(pipe: Connection, function: Callable[[Any], Any]) -> None:
    """What a worker does: items in, results or exceptions out, until the parent closes the pipe."""
    while True:
        try:
            item = pipe.recv()
        except (EOFError, ConnectionResetError):
            return
        try:
            result = function(item)
        except Exception as error:
            result = _portable(error)
        try:
            pipe.send(result)
        except (BrokenPipeError, ConnectionResetError):
            return


def _portable(error: Exception) -> Exception:
    """The error with its traceback as a note; as a RuntimeError where its arguments do not make it again."""
    try:
        made = type(error)(*error.args)
        found = error if str(made) == str(error) else RuntimeError(f"{type(error).__name__}: {error}")
    except Exception:
        found = RuntimeError(f"{type(error).__name__}: {error}")
    found.add_note("".join(traceback.format_exception(error)))
    return found
