"""The same symbols by craystack and by our coder: equal lengths; our codecs under its combinators.

craystack is on no package index; these tests run where a checkout of it can be imported.
"""

import warnings

import numpy as np
import pytest
from roundtrip import random_stack

from codec import codecs
from codec.craystack_adapter import over_message, over_stack
from codec.errors import BinsError
from codec.gaussian import Bins, push

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    cs = pytest.importorskip("craystack")
    rans = pytest.importorskip("craystack.rans")
    bb_ans = pytest.importorskip("craystack.bb_ans")

LOW, COUNT = -127, 255
STEPS, LANES = 60, 200


def message_bits(message):
    head, tail = message
    words = 0
    while tail:
        array, tail = tail
        words += len(array)
    return 32 * words + float(np.log2(head.astype(np.float64)).sum())


def steps():
    """Means, scales and symbols of STEPS codings of LANES values each."""
    rng = np.random.default_rng(0)
    for _ in range(STEPS):
        mean = rng.integers(-1000, 1000, (LANES, 1)).astype(np.int32)
        scale = rng.integers(24, 64, (LANES, 1)).astype(np.uint8)
        sigma = 2.0 ** ((scale.astype(float) - 32) / 8)
        x = np.clip(np.rint(mean / 64 + sigma * rng.standard_normal((LANES, 1))), LOW, LOW + COUNT - 1)
        yield mean, scale, sigma, x.astype(np.int32)


def same_start():
    """The same random heads as a stack and as a message; craystack's heads are in [2^31, 2^63)."""
    stack = random_stack(LANES, 0)
    stack.heads >>= np.uint64(1)
    stack.heads |= np.uint64(1 << 40)
    return stack, (stack.heads.reshape(LANES, 1).copy(), ())


def our_bins(mean, scale):
    return Bins.ranged(mean, scale, np.array([LOW], np.int32), np.array([COUNT], np.int32))


def test_lengths_are_within_a_hundredth_of_a_per_cent():
    """craystack codes the same Gaussians, cut into the same bins, with its own float tables."""
    stack, message = same_start()
    ours, theirs = -stack.bits, -message_bits(message)
    for mean, scale, sigma, x in steps():
        push(stack, x, our_bins(mean, scale))
        its = cs.DiagGaussian_UnifBins(mean / 64, sigma, LOW - 0.5, LOW + COUNT - 0.5, 27, COUNT + 1)
        (message,) = its.push(message, (x - LOW).astype(np.uint64))
    ours += stack.bits
    theirs += message_bits(message)
    assert ours == pytest.approx(theirs, rel=1e-4)


def test_our_intervals_on_its_message_are_our_length_and_come_back():
    stack, message = same_start()
    start, ours, theirs = message, -stack.bits, -message_bits(message)
    pairs = [(over_message(our_bins(mean, scale), rans), x) for mean, scale, _, x in steps()]
    for (mean, scale, _, x), (pair, _) in zip(steps(), pairs, strict=True):
        push(stack, x, our_bins(mean, scale))
        (message,) = pair.push(message, x)
    assert ours + stack.bits == pytest.approx(theirs + message_bits(message), rel=1e-4)
    for pair, x in reversed(pairs):
        message, popped = pair.pop(message)
        assert (popped == x).all()
    assert rans.message_equal(message, start)


def test_our_gaussians_work_in_its_combinators():
    mean, scale, _, x = next(steps())
    ours = over_message(our_bins(mean, scale), rans)
    codec = cs.substack(cs.from_iterable([cs.Uniform(8), ours, cs.Uniform(12)]), lambda head: head[:LANES])
    message = cs.base_message((LANES + 5, 1), randomize=True)
    symbol = [np.full((LANES, 1), 200, np.uint64), x, np.full((LANES, 1), 4000, np.uint64)]
    (pushed,) = codec.push(message, symbol)
    popped_message, popped = codec.pop(pushed)
    for one, other in zip(popped, symbol, strict=True):
        assert (one == other).all()
    assert rans.message_equal(popped_message, message)


def test_three_components_on_its_message():
    rng = np.random.default_rng(1)
    mean = rng.integers(-1000, 1000, (50, 3)).astype(np.int32)
    limits = np.full(3, LOW, np.int32), np.full(3, COUNT, np.int32)
    bins = Bins.ranged(mean, rng.integers(20, 60, (50, 3)).astype(np.uint8), *limits)
    pair = over_message(bins, rans)
    x = (mean >> 6) + rng.integers(-2, 3, (50, 3)).astype(np.int32)
    (message,) = pair.push(cs.base_message((50, 3), randomize=True), x)
    assert (pair.pop(message)[1] == x).all()
    coupled = Bins.ranged(mean, bins.scale, *limits, coupling=np.ones((50, 3), np.int16))
    with pytest.raises(BinsError, match="coupled"):
        over_message(coupled, rans)


def test_a_stack_is_a_message_for_its_combinators():
    mean, scale, _, x = next(steps())
    pair = over_stack(codecs.gaussian(our_bins(mean, scale)))
    plain = over_stack(codecs.uniform(0, 10, (5,)))
    codec = cs.from_iterable([pair, cs.repeat(plain, 3)])
    message = random_stack(3, 200)
    before = message.to_lanes()
    symbol = [x, [np.full(5, v) for v in (1, 9, 0)]]
    (pushed,) = codec.push(message, symbol)
    assert message.to_lanes() == before
    popped_message, popped = codec.pop(pushed)
    assert (popped[0] == x).all()
    assert [list(v) for v in popped[1]] == [[1] * 5, [9] * 5, [0] * 5]
    assert popped_message.to_lanes() == before


def test_its_bits_back_runs_on_our_codecs():
    n = 60
    limits = np.array([-300], np.int32), np.array([601], np.int32)

    def around(mean64, scale):
        return over_stack(
            codecs.gaussian(Bins.ranged(mean64, np.full_like(mean64, scale, np.uint8), *limits))
        )

    zeros = np.zeros((n, 1), np.int32)
    codec = bb_ans.BBANS(
        around(zeros, 64), lambda z: around(z * np.int32(64), 64), lambda x: around(x * np.int32(32), 60)
    )
    message = random_stack(2, 100)
    x = np.arange(-30, 30, dtype=np.int32)[:, None]
    (pushed,) = codec.push(message, x)
    popped_message, popped = codec.pop(pushed)
    assert (popped == x).all()
    assert popped_message.to_lanes() == message.to_lanes()
