"""Groups as tasks on a Ray cluster: our code maps, Ray schedules, retries and moves data.

A task that is lost with its node is run again on another one.  Needs `pip install vdmcompress[cluster]` here
and on the nodes, and on these the models (in the package, or in folders of VDMC_MODEL_PATH).
"""

from __future__ import annotations

import logging
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any

from vdmcompress.errors import UsageError, VdmError

__all__ = ["Cluster"]


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster as a `runners.Runner`.

    address: of its head ("auto", "host:port" or "ray://host:port").  num_cpus, num_gpus: what each task
    takes.  retries: how often a task is run again whose node or process is lost.
    """

    address: str
    num_cpus: int = 1
    num_gpus: float = 0
    retries: int = 5

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Generator[Any]:
        """See `runners.Runner`; at most two items for each processor of the cluster are under way."""
        ray = _ray()
        ours = not ray.is_initialized()
        if ours:
            self._connect(ray)
        try:
            task = ray.remote(_call).options(
                num_cpus=self.num_cpus, num_gpus=self.num_gpus, max_retries=self.retries
            )
            under_way: deque[Any] = deque()
            for item in items:
                under_way.append(task.remote(function, item))
                window = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)) // self.num_cpus)
                while len(under_way) >= window:
                    yield self._result(ray, under_way.popleft())
            while under_way:
                yield self._result(ray, under_way.popleft())
        finally:
            if ours:
                ray.shutdown()

    def _connect(self, ray: Any) -> None:
        """Join the cluster as a driver; what SIGTERM does stays as it is, which Ray would change."""
        main = threading.current_thread() is threading.main_thread()
        before = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(address=self.address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UsageError(f"no Ray cluster answers at {self.address!r}: {error}") from error
        finally:
            if main and before is not None:
                signal.signal(signal.SIGTERM, before)

    def _result(self, ray: Any, reference: Any) -> Any:
        try:
            return ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, Exception):
                raise error.cause from None
            raise
        except ray.exceptions.RayError as error:
            raise VdmError(
                f"the cluster lost a group {self.retries + 1} times: {' '.join(str(error).split())[:300]}"
            ) from error


def _call(function: Callable[[Any], Any], item: Any) -> Any:
    """What a task runs: a function, which comes to the node as an argument, on an item."""
    return function(item)


def _ray() -> Any:
    """The library, which nothing else needs."""
    try:
        import ray
    except ImportError as error:
        raise UsageError("--cluster needs Ray: pip install 'vdmcompress[cluster]'") from error
    return ray
