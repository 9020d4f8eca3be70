"""Our codecs as craystack's (push, pop) pairs, in both ways that its combinators can use them.

craystack (github.com/j-towns/craystack) treats a message as a value, and its push gives back a one-tuple:

    push(message, symbol) -> (message,)
    pop(message) -> (message, symbol)

Nothing of it is imported here: `over_stack` needs none, `over_message` is handed its `rans` module.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .ans import Stack
from .codecs import Codec
from .errors import BinsError
from .gaussian import Bins, intervals, pop
from .kernels import PRECISION


class Pair(NamedTuple):
    """A codec by craystack's convention."""

    push: Any
    pop: Any


def over_stack(codec: Codec) -> Pair:
    """A codec whose message is a `Stack`, taken as a value: each push and pop works on a copy."""

    def push(message: Stack, symbol: Any) -> tuple[Stack]:
        return (codec.push(message.copy(), symbol),)

    def take(message: Stack) -> tuple[Stack, Any]:
        return codec.pop(message.copy())

    return Pair(push, take)


def over_message(bins: Bins, rans: Any) -> Pair:
    """Our Gaussian intervals on craystack's own message, whose head must have the shape (n, C) of the bins.

    Args:
        bins: without couplings, since craystack pops all of a head at once.
        rans: the module `craystack.rans`.

    Raises:
        BinsError: the bins are coupled.
    """
    if bins.shape[1] > 1 and bins.coupling.any():
        raise BinsError("the bins are coupled, craystack pops all components at once; set the couplings to 0")

    def push(message: Any, x: npt.NDArray[np.int32]) -> tuple[Any]:
        start, freq = intervals(x, bins)
        return (rans.push(message, start, freq, PRECISION),)

    def take(message: Any) -> tuple[Any, npt.NDArray[np.int32]]:
        slots, resume = rans.pop(message, PRECISION)
        x = _values_at(slots, bins)
        return resume(*intervals(x, bins)), x

    return Pair(push, take)


def _values_at(slots: npt.NDArray[np.uint64], bins: Bins) -> npt.NDArray[np.int32]:
    """The values whose intervals hold the slots, (n, C): popped off one-use lanes that are never short."""
    n, components = bins.shape
    x = np.empty((n, components), dtype=np.int32)
    for c in range(components):
        column = slice(c, c + 1)
        heads = slots[:, c].astype(np.uint64) | np.uint64(1 << 63)
        lanes = Stack(heads, np.zeros((n, 0), dtype=np.uint32), np.zeros(n, dtype=np.int64))
        mean = np.ascontiguousarray(bins.mean[:, column])
        scale = np.ascontiguousarray(bins.scale[:, column])
        rest = (bins.coupling, bins.low[column], bins.count[column], bins.window, bins.tables[column])
        x[:, column] = pop(lanes, Bins(mean, scale, *rest))
    return x
