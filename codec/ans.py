"""The stack: range asymmetric numeral systems (rANS) in independent lanes.

A lane is one integer, kept as a 64-bit head in [2^32, 2^64) and a pile of 32-bit words below it. Pushing a
symbol whose interval is [start, start + freq) out of 2^28 multiplies that integer by 2^28 / freq; popping
divides again, exactly (Duda, arXiv:1311.2540; Giesen, arXiv:1402.3392). The loops are in `kernels.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import BinsError, ShortStackError, StackFormatError
from .kernels import DONE

INITIAL_HEAD = 1 << 32
MAX_LANES = 1 << 16
LEAST_HEAD_BYTES = 5
WORD_BYTES = 4
THREAD_SHARE = 2048  # pushes or pops below which a second thread costs more than it brings


@dataclass(eq=False)
class Stack:
    """L lanes: `heads` uint64 (L,), `words` uint32 (L, capacity), `sizes` int64 (L,) words in use."""

    heads: npt.NDArray[np.uint64]
    words: npt.NDArray[np.uint32]
    sizes: npt.NDArray[np.int64]

    @classmethod
    def empty(cls, lanes: int) -> Stack:
        """A stack of 1 to 65536 lanes in its initial state: every head 2^32, no words.

        Raises:
            BinsError: the number of lanes is outside that range.
        """
        _check_lanes(lanes, BinsError)
        heads = np.full(lanes, INITIAL_HEAD, dtype=np.uint64)
        return cls(heads, np.zeros((lanes, 0), dtype=np.uint32), np.zeros(lanes, dtype=np.int64))

    @classmethod
    def from_lanes(cls, lanes: Sequence[bytes | memoryview]) -> Stack:
        """The stack that `to_lanes` wrote, one bytes-like object for each lane.

        Raises:
            StackFormatError: no lanes, a lane of fewer than 5 bytes, or one whose head has a leading zero.
        """
        _check_lanes(len(lanes), StackFormatError)
        parts = [bytes(lane) for lane in lanes]
        sizes = np.array([(len(part) - LEAST_HEAD_BYTES) // WORD_BYTES for part in parts], dtype=np.int64)
        words = np.zeros((len(parts), max(int(sizes.max()), 0)), dtype=np.uint32)
        heads = np.zeros(len(parts), dtype=np.uint64)
        for index, part in enumerate(parts):
            start = WORD_BYTES * int(sizes[index])
            if start < 0 or part[-1] == 0:
                ending = part[-1:].hex() or "nothing"
                raise StackFormatError(
                    f"lane {index} has {len(part)} bytes and ends with {ending}; a lane has 5 or more and "
                    "does not end with 00; the data are damaged, get them again"
                )
            words[index, : sizes[index]] = np.frombuffer(part, dtype="<u4", count=int(sizes[index]))
            heads[index] = int.from_bytes(part[start:], "little")
        return cls(heads, words, sizes)

    def to_lanes(self) -> list[bytes]:
        """One bytes object for each lane: words bottom to top, then the 5 to 8 bytes of its head that are not
        leading zeros, all little-endian; the length of the whole tells which."""
        return [
            self.words[lane, : self.sizes[lane]].astype("<u4").tobytes() + _shortest(int(self.heads[lane]))
            for lane in range(self.lanes)
        ]

    @property
    def lanes(self) -> int:
        """Number of lanes L."""
        return len(self.heads)

    @property
    def bits(self) -> float:
        """Content in bits, the sum over lanes of 32 * size + log2(head) - 32; 0 for an empty stack."""
        heads = np.log2(self.heads.astype(np.float64)) - 32.0
        return float(32 * int(self.sizes.sum()) + heads.sum())

    def is_initial(self) -> bool:
        """Whether every lane is as `empty` made it, which the end of a decoding must find."""
        return bool((self.sizes == 0).all() and (self.heads == np.uint64(INITIAL_HEAD)).all())

    def reserve(self, words_per_lane: int) -> None:
        """Makes room for that many further words on every lane; a push adds one word at most."""
        need = int(self.sizes.max()) + words_per_lane
        capacity = self.words.shape[1]
        if need > capacity:
            grown = np.zeros((self.lanes, max(need, capacity + capacity // 2)), dtype=np.uint32)
            grown[:, :capacity] = self.words
            self.words = grown

    def copy(self) -> Stack:
        """An independent stack with the same content."""
        used = int(self.sizes.max())
        return Stack(self.heads.copy(), self.words[:, :used].copy(), self.sizes.copy())


def over_lanes(stack: Stack, pushes_or_pops: int, threads: int, work: Callable[[int, int], Any]) -> None:
    """Runs the kernel call `work(first, last)` on disjoint ranges of lanes, in up to `threads` threads.

    The result does not depend on `threads`. The threads live for this call only: nothing is left behind that
    a fork could find broken.

    Raises:
        BinsError: `threads` is below 1.
        ShortStackError: a lane ran out of bits.
    """
    if threads < 1:
        raise BinsError(f"threads is {threads}, the least is 1")
    shares = max(1, min(threads, stack.lanes, pushes_or_pops // THREAD_SHARE))
    edges = [stack.lanes * share // shares for share in range(shares + 1)]
    status = [DONE] * shares
    failed: list[BaseException] = []

    def run(share: int) -> None:
        try:
            status[share] = int(work(edges[share], edges[share + 1]))
        except BaseException as error:  # handed to the caller below
            failed.append(error)

    others = [threading.Thread(target=run, args=(share,)) for share in range(1, shares)]
    for other in others:
        other.start()
    run(0)
    for other in others:
        other.join()
    if failed:
        raise failed[0]
    if any(code != DONE for code in status):
        raise ShortStackError(
            "a pop needs more bits than the stack holds; in decoding the data are damaged, "
            "in encoding use a plan with fewer latents"
        )


def _shortest(head: int) -> bytes:
    """A number without leading zeros, little-endian."""
    return head.to_bytes((head.bit_length() + 7) // 8, "little")


def _check_lanes(lanes: int, error: type[BinsError] | type[StackFormatError]) -> None:
    if not 1 <= lanes <= MAX_LANES:
        raise error(f"a stack has 1 to {MAX_LANES} lanes, not {lanes}")
