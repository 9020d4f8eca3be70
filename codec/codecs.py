"""Codecs as pairs of functions, and the ways to make larger ones from smaller ones.

A codec is a pair

    push(stack, symbol) -> stack            puts a symbol on the stack
    pop(stack) -> (stack, symbol)           takes it off again: pop(push(stack, symbol)) == (stack, symbol)

in the sense of craystack (Townsend et al. 2020, "HiLLoC"). The stack is changed in place and handed back, so
that codecs chain. All sequences are given in the order in which they are *popped*; pushes run through them
backwards. Every distribution cuts [0, 2^28) into one interval for each symbol, drawn here for the symbols a,
b, c, d:

    0                                                              2^28
    |    a              !b!                 c               d        |
    |----------|---------------------|------------|------------------|
               |<------- freq ------>|
             start

A push of b costs 28 - log2(freq) bits, and freq is never 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import bits_back as chains
from . import gaussian as gaussians
from . import kernels
from .ans import Stack, over_lanes
from .errors import BinsError, ValueOutOfRange
from .gaussian import Bins
from .kernels import PRECISION

MAX_SYMBOLS = 1 << 20
WEIGHT_LIMIT = 1 << 34  # most that weights sum to, so that 64 bits hold a weight times 2^28


class Codec(NamedTuple):
    """A pair push(stack, symbol) -> stack, pop(stack) -> (stack, symbol), each the inverse of the other."""

    push: Callable[[Stack, Any], Stack]
    pop: Callable[[Stack], tuple[Stack, Any]]


def serial(codecs: Sequence[Codec]) -> Codec:
    """One codec after the other; the symbol is a sequence with one symbol for each, popped first to last."""
    codecs = tuple(codecs)

    def push(stack: Stack, symbols: Sequence[Any]) -> Stack:
        if len(symbols) != len(codecs):
            raise BinsError(f"there are {len(symbols)} symbols for {len(codecs)} codecs; give one for each")
        for codec, symbol in reversed(list(zip(codecs, symbols, strict=True))):
            stack = codec.push(stack, symbol)
        return stack

    def pop(stack: Stack) -> tuple[Stack, list[Any]]:
        symbols = []
        for codec in codecs:
            stack, symbol = codec.pop(stack)
            symbols.append(symbol)
        return stack, symbols

    return Codec(push, pop)


def repeat(codec: Codec, n: int) -> Codec:
    """The same codec n times; the symbol is a sequence of n symbols."""
    return serial([codec] * n)


def substack(codec: Codec, lanes: slice) -> Codec:
    """A codec on some lanes of the stack only, such as slice(0, 4); the others stay as they are.

        lanes   0   1   2   3   4   5   6   7
                |<- codec ->|   .   .   .   .

    Raises (when used):
        BinsError: the slice holds no lane of the stack.
    """

    def split(stack: Stack) -> Stack:
        if not len(stack.heads[lanes]):
            raise BinsError(f"{lanes} holds none of the stack's {stack.lanes} lanes")
        return Stack(stack.heads[lanes], stack.words[lanes], stack.sizes[lanes]).copy()

    def join(stack: Stack, part: Stack) -> Stack:
        stack.reserve(max(0, int(part.sizes.max()) - int(stack.sizes.max())))
        used = int(part.sizes.max())
        stack.heads[lanes], stack.sizes[lanes] = part.heads, part.sizes
        stack.words[lanes, :used] = part.words[:, :used]
        return stack

    def push(stack: Stack, symbol: Any) -> Stack:
        return join(stack, codec.push(split(stack), symbol))

    def pop(stack: Stack) -> tuple[Stack, Any]:
        part, symbol = codec.pop(split(stack))
        return join(stack, part), symbol

    return Codec(push, pop)


def uniform(low: int, count: int, shape: tuple[int, ...]) -> Codec:
    """Integer arrays int32 of a shape, each value one of low..low+count-1 and as likely as the others.

        0        2^28/count  2 2^28/count                  2^28
        |    low    |   low + 1  |      ...     low+count-1  |

    Raises:
        BinsError: count is outside 1..2^20.
    """
    _check_symbols(count)
    below = (np.arange(count + 1, dtype=np.int64) << PRECISION) // count
    return _table(below[None, :], low, shape)


def categorical(weights: npt.NDArray[Any], shape: tuple[int, ...]) -> Codec:
    """Integer arrays int32 of a shape, of symbols 0..M-1 with probabilities in proportion to integer weights.

    Every symbol has one count of 2^28 before the rest is dealt by weight, so a weight of 0 costs at most 28
    bits.

    Args:
        weights: integers >= 0 with a sum of 1..2^34, (M,) for all values or (n, M) for n values in C order.
        shape: of the symbol; n is its product.

    Raises:
        BinsError: other weights.
    """
    weights = np.asarray(weights)
    values = int(np.prod(shape, dtype=np.int64))
    rows = weights[None, :] if weights.ndim == 1 else weights
    if rows.ndim != 2 or rows.dtype.kind not in "iu" or (weights.ndim == 2 and len(rows) != values):
        raise BinsError(
            f"weights are {weights.dtype} {weights.shape}, they must be integers (M,) or ({values}, M)"
        )
    _check_symbols(rows.shape[1])
    rows = rows.astype(np.int64)
    below = np.concatenate([np.zeros((len(rows), 1), np.int64), np.cumsum(rows, axis=1)], axis=1)
    if rows.size and (rows.min() < 0 or below[:, -1].min() < 1 or below[:, -1].max() > WEIGHT_LIMIT):
        raise BinsError(f"weights must be 0 or more and sum to 1..{WEIGHT_LIMIT}; scale them")
    symbols = rows.shape[1]
    below = below * ((1 << PRECISION) - symbols) // below[:, -1:] + np.arange(symbols + 1)
    return _table(below, 0, shape)


def gaussian(bins: Bins, threads: int = 1) -> Codec:
    """Values int32 (n, C) of discretised Gaussians, see `codec.gaussian`."""

    def push(stack: Stack, x: npt.NDArray[np.int32]) -> Stack:
        gaussians.push(stack, x, bins, threads)
        return stack

    def pop(stack: Stack) -> tuple[Stack, npt.NDArray[np.int32]]:
        return stack, gaussians.pop(stack, bins, threads)

    return Codec(push, pop)


def bits_back(prior: Codec, likelihood: Callable[[Any], Codec], posterior: Callable[[Any], Codec]) -> Codec:
    """Data x with a latent z, by p(z), p(x | z) and q(z | x): BB-ANS (Townsend et al. 2019, table 1).

        push x:  1. pop  z from q(z | x)        pop x:  3. push z with q(z | x)
                 2. push x with p(x | z)                2. pop  x from p(x | z)
                 3. push z with p(z)                    1. pop  z from p(z)

    In expectation x costs its negative evidence bound. The stack must hold the bits that step 1 borrows.
    """

    def push(stack: Stack, x: Any) -> Stack:
        stack, z = posterior(x).pop(stack)
        stack = likelihood(z).push(stack, x)
        return prior.push(stack, z)

    def pop(stack: Stack) -> tuple[Stack, Any]:
        stack, z = prior.pop(stack)
        stack, x = likelihood(z).pop(stack)
        stack = posterior(x).push(stack, z)
        return stack, x

    return Codec(push, pop)


def diffusion(chain: chains.Chain, threads: int = 1) -> Codec:
    """A band int32 (C, h, w) by its chain of latents, strip by strip, see `codec.bits_back`."""

    def push(stack: Stack, z_0: npt.NDArray[np.int32]) -> Stack:
        chains.encode(stack, z_0, chain, threads=threads)
        return stack

    def pop(stack: Stack) -> tuple[Stack, npt.NDArray[np.int32]]:
        return stack, chains.decode(stack, chain, threads=threads)

    return Codec(push, pop)


def _table(below: npt.NDArray[np.int64], low: int, shape: tuple[int, ...]) -> Codec:
    """Values int32 of a shape, value low + j with the interval from below[., j] to below[., j + 1]."""
    count = below.shape[1] - 1
    values = int(np.prod(shape, dtype=np.int64))

    def push(stack: Stack, symbol: npt.NDArray[Any]) -> Stack:
        symbol = np.asarray(symbol)
        if symbol.shape != shape or symbol.dtype.kind not in "iu":
            raise BinsError(f"the symbol is {symbol.dtype} {symbol.shape}, it must be integers {shape}")
        index = symbol.astype(np.int64).ravel() - low
        if index.size and (index.min() < 0 or index.max() >= count):
            raise ValueOutOfRange(
                f"values run from {symbol.min()} to {symbol.max()}, "
                f"they must be within {low} to {low + count - 1}"
            )
        stack.reserve(-(-values // stack.lanes))
        over_lanes(
            stack, values, 1,
            lambda first, last: kernels.push_table(
                stack.heads, stack.words, stack.sizes, first, last, index, below
            ),
        )  # fmt: skip
        return stack

    def pop(stack: Stack) -> tuple[Stack, npt.NDArray[np.int32]]:
        index = np.empty(values, dtype=np.int64)
        over_lanes(
            stack, values, 1,
            lambda first, last: kernels.pop_table(
                stack.heads, stack.words, stack.sizes, first, last, index, below
            ),
        )  # fmt: skip
        return stack, (index + low).astype(np.int32).reshape(shape)

    return Codec(push, pop)


def _check_symbols(count: int) -> None:
    if not 1 <= count <= MAX_SYMBOLS:
        raise BinsError(f"a distribution has 1 to {MAX_SYMBOLS} symbols, not {count}")
