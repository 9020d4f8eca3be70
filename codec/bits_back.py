"""Bits-back coding of a chain of latents, strip by strip: encode and decode are mirror images, line by line.

    z_0 <- z_1 <- ... <- z_(K-1)     p, learned: every z is pushed with it, and popped again in decoding
    z_0 -> z_1 -> ... -> z_(K-1)     q, fixed: a latent is *popped* from it, its bits are borrowed

The encoder pays -log2 p and gets -log2 q back, which in expectation is the negative evidence bound (Townsend
et al. 2019, "Practical lossless compression with latent variables using bits back coding"; Kingma et al.
2019, "Bit-Swap", for the order of a chain: no step needs more than two levels). Here a latent is also
borrowed a strip of rows at a time: z_k of strip i+1 is popped, then z_(k-1) of strip i is pushed, so that two
strips are owed at most. Hence p(z_(k-1) | z_k) of a strip may read z_k in that strip and in the strips next
to it, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from . import adaptive
from .ahead import Ahead, Ready, columns, refined
from .ans import Stack
from .gaussian import Bins, pop, push

Array = npt.NDArray[np.int32]
Band = npt.NDArray[np.signedinteger[Any]]
Kind = Literal["q", "p"]


class Chain(Protocol):
    """What the coder needs to know of the diffusion model of one band; arrays z are integers (C, h, w)."""

    @property
    def levels(self) -> int:
        """K >= 1, the number of evaluations of the model; there are K - 1 latents."""

    @property
    def adapts(self) -> bool:
        """Whether the statistics of p adapt within a strip (`adaptive.py`); the rows of a strip then have
        equally many positions, in raster order.
        """

    @property
    def strips(self) -> Sequence[slice]:
        """The rows of the band, top to bottom, in strips that follow one another; empty for an empty band."""

    def posterior(self, k: int, z_below: Band, rows: slice) -> Bins:
        """q(z_k | z_(k-1)) of these rows, k = 1..K-1, from z_(k-1) of the same rows."""

    def likelihood(self, k: int, z_k: Band | None, rows: slice) -> Bins:
        """p(z_(k-1) | z_k, ctx) of these rows, k = 1..K-1; for k = K the top, p(z_(K-1) | ctx) with z_k None.

        z_k is right in these rows and in the strips next to them; nothing else of it may be read.
        """

    def gather(self, z: Band, rows: slice) -> Array:
        """The positions of these rows that are coded, int32 (n, C), C-contiguous."""

    def scatter(self, z: Band, rows: slice, x: Array) -> None:
        """Writes x (n, C) to the places where `gather` reads, in place."""

    def blank(self) -> Band:
        """Zeros of the band's shape."""


@dataclass
class Ledger:
    """What each step put on a stack, in bits by (label, k, 'q' | 'p'): pushes count up, pops count down.

    The entries sum to the change of `Stack.bits`, up to the rounding of the sum. For a decoding they are the
    negatives of those of its encoding.
    """

    entries: dict[tuple[str, int, Kind], float] = field(default_factory=dict)
    label: str = ""

    def scope(self, label: str) -> Ledger:
        """A ledger with another label that writes to the same entries."""
        return Ledger(self.entries, label)

    @contextmanager
    def entry(self, stack: Stack, k: int, kind: Kind) -> Iterator[None]:
        """Adds the stack's growth within the `with` block to the entry (label, k, kind)."""
        before = stack.bits
        yield
        key = (self.label, k, kind)
        self.entries[key] = self.entries.get(key, 0.0) + stack.bits - before

    @property
    def bits(self) -> float:
        """The sum of all entries."""
        return sum(self.entries.values())


def encode(
    stack: Stack,
    z_0: Band,
    chain: Chain,
    ledger: Ledger | None = None,
    threads: int = 1,
    tops: Iterator[Ready] | None = None,
) -> None:
    """Pushes a band z_0, integers (C, h, w), with its chain.

    tops: where a caller makes them ahead (`Ahead.tops`), for a band without latents; it takes its own.

    Raises:
        ShortStackError: the stack does not hold the bits to borrow; its content is undefined then.
        ValueOutOfRange: a value is outside the range of its distribution.
    """
    step = _Step(stack, chain, ledger or Ledger(), threads)
    z_below = z_0
    for k in range(1, chain.levels):
        z_k = chain.blank()
        for strip in chain.strips[:1]:
            step.pop_q(k, z_k, z_below, strip)
        for strip, following in _with_following(chain.strips):
            if following is not None:
                step.pop_q(k, z_k, z_below, following)
            step.push_p(k, z_below, z_k, strip)
        z_below = z_k
    if tops is not None:
        step.push_tops(tops)
        return
    with Ahead(threads) as ahead:
        step.push_tops(ahead.tops([(chain, z_below)]))


def decode(stack: Stack, chain: Chain, ledger: Ledger | None = None, threads: int = 1) -> Band:
    """Pops the band that `encode` pushed, as `Chain.blank` made, and gives the borrowed bits back.

    Raises:
        ShortStackError: the stack does not hold the bits: the data are damaged.
        ValueOutOfRange: a latent is outside the range of its posterior: the data are damaged.
    """
    step = _Step(stack, chain, ledger or Ledger(), threads)
    z_below = chain.blank()
    for strip, bins in step.tops(chain.strips[::-1]):
        step.pop(chain.levels, z_below, bins, strip)
    for k in reversed(range(1, chain.levels)):
        z_k, z_below = z_below, chain.blank()
        for strip, following in reversed(_with_following(chain.strips)):
            step.pop_p(k, z_below, z_k, strip)
            if following is not None:
                step.push_q(k, z_k, z_below, following)
        for strip in chain.strips[:1]:
            step.push_q(k, z_k, z_below, strip)
    return z_below


@dataclass(frozen=True)
class _Step:
    """The four moves of a chain on one stack, each booked in the ledger."""

    stack: Stack
    chain: Chain
    ledger: Ledger
    threads: int

    def pop_q(self, k: int, z_k: Band, z_below: Band, rows: slice) -> None:
        bins = self.chain.posterior(k, z_below, rows)
        with self.ledger.entry(self.stack, k, "q"):
            self.chain.scatter(z_k, rows, pop(self.stack, bins, self.threads))

    def push_q(self, k: int, z_k: Band, z_below: Band, rows: slice) -> None:
        bins = self.chain.posterior(k, z_below, rows)
        with self.ledger.entry(self.stack, k, "q"):
            push(self.stack, self.chain.gather(z_k, rows), bins, self.threads)

    def push_p(self, k: int, z_below: Band, z_k: Band, rows: slice) -> None:
        x = self.chain.gather(z_below, rows)
        self.push(k, x, refined(self.chain, x, self.chain.likelihood(k, z_k, rows), rows))

    def pop_p(self, k: int, z_below: Band, z_k: Band, rows: slice) -> None:
        self.pop(k, z_below, self.chain.likelihood(k, z_k, rows), rows)

    def tops(self, strips: Sequence[slice]) -> Iterator[tuple[slice, Bins]]:
        """p(z_(K-1) | ctx) of each strip; it reads no latent, so the next is made while one is coded."""
        with ThreadPoolExecutor(1) as ahead:
            made = [
                ahead.submit(self.chain.likelihood, self.chain.levels, None, strip) for strip in strips[:1]
            ]
            for strip, following in _with_following(strips):
                bins = made.pop().result()
                if following is not None:
                    made.append(ahead.submit(self.chain.likelihood, self.chain.levels, None, following))
                yield strip, bins

    def push_tops(self, tops: Iterator[Ready]) -> None:
        for _ in self.chain.strips:
            self.push(self.chain.levels, *next(tops))

    def push(self, k: int, x: Array, bins: Bins) -> None:
        with self.ledger.entry(self.stack, k, "p"):
            push(self.stack, x, bins, self.threads)

    def pop(self, k: int, z_below: Band, bins: Bins, rows: slice) -> None:
        with self.ledger.entry(self.stack, k, "p"):
            if self.chain.adapts:
                x = adaptive.pop(self.stack, bins, columns(bins, rows))
            else:
                x = pop(self.stack, bins, self.threads)
        self.chain.scatter(z_below, rows, x)


def _with_following(strips: Sequence[slice]) -> list[tuple[slice, slice | None]]:
    """Each strip with the one below it, None for the last."""
    following: list[Any] = [*strips[1:], None]
    return list(zip(strips, following, strict=True)) if strips else []
