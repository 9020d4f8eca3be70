"""Strips made before their turn: what they are, in which order, how many at once, and what fails when."""

import threading

import numpy as np
import pytest

from codec import adaptive
from codec.ahead import DEPTH, Ahead
from codec.ans import Stack
from codec.bits_back import decode, encode
from codec.errors import ValueOutOfRange
from tests.test_codec_bits_back import AdaptingChain, GaussianChain


class Counting(AdaptingChain):
    """Counts the strips that it was asked for; fails at one of them."""

    asked = 0
    fails = -1

    def likelihood(self, k, z_k, rows):
        self.asked += 1
        if rows.start == self.fails:
            raise ValueOutOfRange("as wanted")
        return super().likelihood(k, z_k, rows)


def test_strips_come_in_order_as_refined():
    bands = [(chain := AdaptingChain(1, height=4 * (2 + n)), chain.data(n)) for n in range(3)]
    with Ahead(2) as ahead:
        met = list(ahead.tops(bands))
    want = [(chain, z, strip) for chain, z in bands for strip in chain.strips]
    assert len(met) == len(want)
    for (x, bins), (chain, z, strip) in zip(met, want, strict=True):
        np.testing.assert_array_equal(x, chain.gather(z, strip))
        plain = adaptive.refine(x, chain.likelihood(1, None, strip), chain.width)
        np.testing.assert_array_equal(bins.mean, plain.mean)
        np.testing.assert_array_equal(bins.scale, plain.scale)
    assert any((bins.scale != 64).any() for _, bins in met)


def test_statistics_that_do_not_adapt_stay_as_they_are():
    chain = GaussianChain(1)
    with Ahead(2) as ahead:
        for _, bins in ahead.tops([(chain, chain.data())]):
            assert (bins.scale == 64).all()


@pytest.mark.parametrize(("threads", "most"), [(1, 0), (2, DEPTH), (8, DEPTH)])
def test_only_a_few_strips_are_made_before_their_turn(threads, most):
    """Memory does not grow with the image; one thread makes nothing before its turn."""
    chain = Counting(1, height=80)
    with Ahead(threads) as ahead:
        tops = ahead.tops([(chain, chain.data())])
        for taken, _ in enumerate(tops, 1):
            assert chain.asked <= taken + most
    assert chain.asked == 20


def test_the_next_strip_is_made_while_one_is_pushed():
    """The second strip is asked for though nobody has taken it yet."""
    asked = threading.Event()

    class Telling(AdaptingChain):
        def likelihood(self, k, z_k, rows):
            if rows.start == self.strip_rows:
                asked.set()
            return super().likelihood(k, z_k, rows)

    chain = Telling(1)
    with Ahead(2) as ahead:
        next(ahead.tops([(chain, chain.data())]))
        assert asked.wait(60)


def test_failures_come_at_their_turn():
    chain = Counting(1, height=40)
    chain.fails = 12
    met = 0
    with pytest.raises(ValueOutOfRange, match="as wanted"), Ahead(2) as ahead:
        for _ in ahead.tops([(chain, chain.data())]):
            met += 1
    assert met == 3


def test_leaving_early_ends_the_threads():
    before = set(threading.enumerate())
    chain = AdaptingChain(1, height=200)
    with Ahead(2) as ahead:
        next(ahead.tops([(chain, chain.data())]))
    assert not set(threading.enumerate()) - before


@pytest.mark.parametrize("strip_rows", [4, 5, 12])
def test_bands_share_what_is_made_ahead(strip_rows):
    """Bands that are pushed with one iterator give the bytes of each with its own, and come back."""
    bands = [(chain := AdaptingChain(1, strip_rows=strip_rows), chain.data(n)) for n in range(3)]
    together, alone = Stack.empty(2), Stack.empty(2)
    with Ahead(2) as ahead:
        tops = ahead.tops(bands)
        for chain, z in bands:
            encode(together, z, chain, tops=tops)
    for chain, z in bands:
        encode(alone, z, chain)
    assert together.to_lanes() == alone.to_lanes()
    for chain, z in reversed(bands):
        np.testing.assert_array_equal(decode(together, chain), z)
