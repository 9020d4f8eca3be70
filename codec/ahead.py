"""What an encoder does before a strip's turn on the stack comes: its distributions, ready to be pushed.

At the top of a chain, p(z_(K-1) | ctx), nothing waits for the stack: the values are known, and statistics
that adapt learn from the values alone. Two threads make strip after strip in order, one asks the chain (whose
network has threads of its own), one learns, while the caller pushes what is ready. Bands without latents are
nothing but tops, so that this goes on from band to band. A decoder cannot: it learns as it pops.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import numpy.typing as npt

from .adaptive import refine
from .gaussian import Bins

if TYPE_CHECKING:
    from .bits_back import Band, Chain

Ready = tuple[npt.NDArray[np.int32], Bins]
"""Values int32 (n, C) of a strip and the distributions that `gaussian.push` takes."""

DEPTH: Final = 2
"""Strips that are made beside the one that is pushed."""


class Ahead:
    """Makes the tops of strips ahead; use as a context manager.

    threads: that the caller may use; with 1, nothing is made before its turn.
    """

    def __init__(self, threads: int) -> None:
        self._asking, self._learning = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        self._depth = DEPTH if threads > 1 else 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pool in (self._asking, self._learning):
            pool.shutdown(wait=True, cancel_futures=True)

    def tops(self, bands: Iterable[tuple[Chain, Band]]) -> Iterator[Ready]:
        """The top of each strip of the bands, in order, for z_(K-1) as it is given with each chain.

        Raises what `Chain.likelihood` and `adaptive.refine` do, when the strip's turn comes.
        """
        waiting: deque[Future[Ready]] = deque()
        for chain, z in bands:
            for strip in chain.strips:
                bins = self._asking.submit(chain.likelihood, chain.levels, None, strip)
                waiting.append(self._learning.submit(_ready, chain, z, strip, bins))
                if len(waiting) > self._depth:
                    yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _ready(chain: Chain, z: Band, strip: slice, asked: Future[Bins]) -> Ready:
    bins, x = asked.result(), chain.gather(z, strip)
    return x, refined(chain, x, bins, strip)


def refined(chain: Chain, x: npt.NDArray[Any], bins: Bins, rows: slice) -> Bins:
    """Distributions of a strip's values x (n, C) after its statistics have adapted, where they do."""
    return refine(x, bins, columns(bins, rows)) if chain.adapts else bins


def columns(bins: Bins, rows: slice) -> int:
    """Positions in each of these rows."""
    return bins.shape[0] // len(range(rows.start, rows.stop))
