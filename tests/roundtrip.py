"""The round trip that every codec must make, and stacks to make it on."""

from typing import Any

import numpy as np

from codec.ans import Stack
from codec.codecs import Codec


def random_stack(lanes: int, words: int, seed: int = 0) -> Stack:
    """A stack with random heads and `words` random words on every lane."""
    rng = np.random.default_rng(seed)
    heads = rng.integers(1 << 32, 1 << 64, lanes, dtype=np.uint64)
    content = rng.integers(0, 1 << 32, (lanes, words), dtype=np.uint32)
    return Stack(heads, content, np.full(lanes, words, dtype=np.int64))


def assert_same_symbol(met: Any, wanted: Any) -> None:
    """Equal arrays, or sequences of such, to any depth."""
    if isinstance(wanted, (list, tuple)):
        assert len(met) == len(wanted)
        for one, other in zip(met, wanted, strict=True):
            assert_same_symbol(one, other)
    else:
        np.testing.assert_array_equal(met, wanted)


def check_codec(codec: Codec, symbol: Any, lanes: int = 3, words: int = 40) -> float:
    """Push and pop, then pop and push, on random stacks: same symbol, same stack. Returns the push's bits."""
    stack = random_stack(lanes, words)
    before, bits = stack.to_lanes(), stack.bits
    stack = codec.push(stack, symbol)
    grown = stack.bits - bits
    stack, popped = codec.pop(stack)
    assert_same_symbol(popped, symbol)
    assert stack.to_lanes() == before

    plenty = random_stack(lanes, 4000, seed=1)
    before = plenty.to_lanes()
    plenty, sample = codec.pop(plenty)
    assert codec.push(plenty, sample).to_lanes() == before
    return grown
