"""Where groups are coded: in this process, in others on this machine, or on a Ray cluster (`cluster.py`).

A runner maps a function over items and gives the results in the order of the items, with few of either in
memory.  What a group becomes does not depend on the runner.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from vdmcompress.workers import WorkerDied, Workers

__all__ = ["Processes", "Runner", "Serial"]


class Runner(Protocol):
    """Maps a function, which must be importable elsewhere, over items; results in their order.

    The first exception of the function comes out, unless it is one of those that a runner tries again.
    """

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Generator[Any]: ...


class Serial:
    """In this process."""

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Generator[Any]:
        """See `Runner`."""
        yield from map(function, items)


@dataclass(frozen=True)
class Processes:
    """In so many processes of this machine; an item whose process dies is tried in this many more.

    died: makes the result of an item of which all of them died; without it `WorkerDied` is raised.
    """

    count: int
    retries: int = 1
    died: Callable[[WorkerDied], Any] | None = None

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Generator[Any]:
        """See `Runner`."""
        results: dict[int, Any] = {}
        told = 0
        call = _Patient(function, self.retries, self.died)
        with Workers[Any, Any](self.count, call.function) as workers:
            for index, result in workers.run(call.watch(items), window=2 * self.count):
                results[index] = call.settle(index, result)
                while told in results:
                    yield results.pop(told)
                    told += 1


@dataclass
class _Patient:
    """Keeps the items that are under way, and tries those again whose process has died."""

    function: Callable[[Any], Any]
    retries: int
    died: Callable[[WorkerDied], Any] | None

    def __post_init__(self) -> None:
        self._items: dict[int, Any] = {}

    def watch(self, items: Iterable[Any]) -> Iterator[Any]:
        for index, item in enumerate(items):
            self._items[index] = item
            yield item

    def settle(self, index: int, result: Any) -> Any:
        item = self._items.pop(index)
        for _ in range(self.retries):
            if not isinstance(result, WorkerDied):
                break
            with Workers[Any, Any](1, self.function) as workers:
                ((_, result),) = list(workers.run([item]))
        if isinstance(result, WorkerDied) and self.died is not None:
            return self.died(result)
        if isinstance(result, Exception):
            raise result
        return result
