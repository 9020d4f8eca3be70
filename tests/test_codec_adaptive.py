"""Statistics that adapt while coding: the twin, round trips, what they gain and what they cost, errors."""

import hashlib

import numpy as np
import pytest
from adaptive_twin import refine as twin
from coder_cases import COUNT, LOW, band
from hypothesis import given, settings
from hypothesis import strategies as st
from roundtrip import random_stack

from codec import gaussian
from codec.adaptive import pop, push, refine
from codec.ans import Stack
from codec.errors import BinsError, ShortStackError, ValueOutOfRange
from codec.gaussian import Bins, code_length


@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (60, 1), (30, 2), (40, 7)])
def test_the_kernel_is_its_twin(rows, columns, components, extreme):
    x, bins = band(rows, columns, components, rows + columns, extreme)
    refined = assert_twin(x, bins, columns)
    assert rows * columns < 60 or (refined.mean != bins.mean).any()


def plain_bins(mean, index):
    """Uncoupled Gaussians of one scale with the range LOW..LOW+COUNT-1."""
    components = mean.shape[1]
    ends = np.full(components, LOW, np.int32), np.full(components, COUNT, np.int32)
    return Bins.ranged(mean.astype(np.int32), np.full(mean.shape, index, np.uint8), *ends)


def assert_twin(x, bins, columns):
    """The refined distributions, which are the twin's."""
    refined = refine(x, bins, columns)
    mean, scale = twin(x.tolist(), bins, columns)
    assert refined.mean.tolist() == mean
    assert refined.scale.tolist() == scale
    return refined


def test_all_rates_of_a_long_strip_are_the_twins():
    """More than 32768 positions, from which on every rate has its last value."""
    mean = np.random.default_rng(2).integers(-200, 200, (256 * 130, 1))
    x = np.rint(mean / 64 + 4 * noise(256, 130, 0.5)).astype(np.int32)
    assert_twin(x, plain_bins(mean, 48), 130)


def test_predictions_stop_at_four_sigma():
    """Residuals of five sigma everywhere: they are clipped to four, and so is what is predicted of them."""
    x = np.tile(np.array([[40, -40, 40]], np.int32), (3000, 1))
    refined = assert_twin(x, plain_bins(np.zeros((3000, 3)), 56), 50)
    moves = np.abs(refined.mean)
    assert moves.max(axis=0).tolist() == [4 * 8 * 64] * 3
    assert (moves == 4 * 8 * 64).any(axis=1).mean() > 0.5


def test_offsets_of_scales_stop_at_three_octaves_each():
    """Zeros where sigma 2^(78/8) is expected: the scale falls by 24 + 24 eighths of an octave, no further."""
    refined = assert_twin(np.zeros((4000, 1), np.int32), plain_bins(np.zeros((4000, 1)), 110), 40)
    assert refined.scale.min() == 110 - 48
    assert np.median(refined.scale) == 110 - 48


def test_tails_are_the_twins():
    """Values out to eight sigma, where the CDF has few counts or none, among values at the mean."""
    rng = np.random.default_rng(3)
    far = rng.integers(-1020, 1021, (3000, 1)) * (rng.random((3000, 1)) < 0.15)
    assert_twin(far.astype(np.int32), plain_bins(np.zeros((3000, 1)), 88), 60)


@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.parametrize("lanes", [1, 3, 16])
def test_pop_inverts_push(components, lanes, extreme):
    x, bins = band(33, 11, components, lanes, extreme)
    stack = Stack.empty(lanes)
    push(stack, x, bins, 11)
    stack = Stack.from_lanes(stack.to_lanes())
    np.testing.assert_array_equal(pop(stack, bins, 11), x)
    assert stack.is_initial()


def test_values_may_be_read_only():
    x, bins = band(4, 5, 3, 2)
    x.setflags(write=False)
    stack = Stack.empty(1)
    push(stack, x, bins, 5)
    np.testing.assert_array_equal(pop(stack, bins, 5), x)


def test_threads_do_not_change_the_bits():
    x, bins = band(100, 40, 3, 5)
    stacks = [random_stack(4, 10) for _ in range(2)]
    for threads, stack in enumerate(stacks, 1):
        push(stack, x, bins, 40, threads)
    assert stacks[0].to_lanes() == stacks[1].to_lanes()


@pytest.mark.parametrize("lanes", [1, 3, 16])
def test_the_bits_are_those_of_the_refined_distributions(lanes):
    """Both ways: what `push` leaves, and what `pop` takes off a stack with more below."""
    x, bins = band(80, 40, 3, 6)
    refined = refine(x, bins, 40)
    stack, plain = random_stack(lanes, 5), random_stack(lanes, 5)
    before = stack.bits
    push(stack, x, bins, 40)
    gaussian.push(plain, x, refined)
    assert stack.to_lanes() == plain.to_lanes()
    assert stack.bits - before == pytest.approx(code_length(x, refined), rel=1e-4)
    assert code_length(x, refined) < code_length(x, bins) - 100

    popped = pop(stack, bins, 40)
    np.testing.assert_array_equal(popped, gaussian.pop(plain, refined))
    np.testing.assert_array_equal(popped, x)
    assert stack.to_lanes() == plain.to_lanes() == random_stack(lanes, 5).to_lanes()


def noise(rows, columns, neighbour, seed=1):
    """Gaussian residuals of variance 1, autoregressive along rows and columns; in raster order (n, 1)."""
    e = np.random.default_rng(seed).standard_normal((rows, columns))
    for along in (e, e.T):
        for i in range(1, len(along)):
            along[i] = neighbour * along[i - 1] + np.sqrt(1 - neighbour**2) * along[i]
    return e.reshape(-1, 1)


def rates(residuals, sigma, index, columns):
    """Bits a value without and with adaptation, of residuals scaled by sigma under scale index `index`."""
    x = np.rint(sigma * residuals).astype(np.int32)
    bins = plain_bins(np.zeros_like(x), index)
    return code_length(x, bins) / x.size, code_length(x, refine(x, bins, columns)) / x.size


@pytest.mark.parametrize("misjudged", [1 / 1.5, 1.0, 1.5])
def test_correlated_residuals_get_cheaper(misjudged):
    """Correlations of a half along rows and columns, scales misjudged by a factor.

    The neighbours are worth log2(4 / 3) bits, the right scale f^2 / (2 ln 2) - log2 f - 1 / (2 ln 2); most of
    the sum is found within 20,000 values, and no more than the sum.
    """
    plain, adapted = rates(noise(100, 200, 0.5), 4.0 * misjudged, 48, 200)
    worth = np.log2(4 / 3) + (misjudged**2 - 1) / (2 * np.log(2)) - np.log2(misjudged)
    assert 0.8 * worth < plain - adapted < 1.02 * worth


@pytest.mark.parametrize(("index", "cost"), [(42, 0.15), (54, 0.1)])
def test_wrong_scales_are_put_right(index, cost):
    """Scales six eighths of an octave too small or too large."""
    right, _ = rates(noise(100, 200, 0.0), 4.0, 48, 200)
    plain, adapted = rates(noise(100, 200, 0.0), 4.0, index, 200)
    assert plain - right > cost
    assert adapted - right < 0.02


@pytest.mark.parametrize("sigma", [0.5, 2.0, 16.0])
def test_nothing_to_learn_costs_little(sigma):
    """The price of rates that stay high enough to follow an image."""
    index = round(32 + 8 * np.log2(sigma))
    plain, adapted = rates(noise(100, 200, 0.0), 2 ** ((index - 32) / 8), index, 200)
    assert adapted - plain < 0.01


def test_what_does_not_fit_is_refused():
    x, bins = band(4, 5, 1, 0)
    windowed = Bins.windowed(64 * x, bins.scale, 9)
    stack = random_stack(2, 40)
    before = stack.to_lanes()
    for given_bins, columns, why in (
        (bins, 3, "20 positions are not rows of 3 columns"),
        (bins, 0, "20 positions are not rows of 0 columns"),
        (windowed, 5, "window is 9, it must be 0"),
    ):
        with pytest.raises(BinsError, match=why):
            refine(x, given_bins, columns)
        with pytest.raises(BinsError, match=why):
            push(stack, x, given_bins, columns)
        with pytest.raises(BinsError, match=why):
            pop(stack, given_bins, columns)
    with pytest.raises(BinsError, match="x is int64"):
        refine(x.astype(np.int64), bins, 5)
    x[3] = LOW + COUNT
    with pytest.raises(ValueOutOfRange, match=r"x\[3, 0\] is 1021, its range is -1020 to 1020"):
        push(stack, x, bins, 5)
    assert stack.to_lanes() == before


def test_an_empty_stack_is_short():
    _, bins = band(40, 5, 3, 0)
    with pytest.raises(ShortStackError):
        pop(Stack.empty(1), bins, 5)


@pytest.mark.parametrize("lane", range(3))
@pytest.mark.parametrize("seed", range(4))
def test_a_stack_that_lacks_one_word_is_short(lane, seed):
    """The word at the bottom of a lane: all but the last values are found before it is missed."""
    x, bins = band(12, 5, 1, seed)
    stack = Stack.empty(3)
    push(stack, x, bins, 5)
    lanes = stack.to_lanes()
    lanes[lane] = lanes[lane][4:]
    with pytest.raises(ShortStackError):
        pop(Stack.from_lanes(lanes), bins, 5)


@pytest.mark.parametrize("components", [1, 3])
def test_a_strip_without_positions_pushes_nothing(components):
    x, bins = band(0, 5, components, 0)
    stack = random_stack(2, 3)
    push(stack, x, bins, 5)
    assert pop(stack, bins, 5).shape == (0, components)
    assert stack.to_lanes() == random_stack(2, 3).to_lanes()


@settings(max_examples=40)
@given(
    st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 3]), st.integers(0, 2**32), st.integers(1, 5)
)
def test_round_trip_of_anything(rows, columns, components, seed, lanes):
    x, bins = band(rows, columns, components, seed, extreme=bool(seed % 2))
    stack = random_stack(lanes, 20, seed % 1000)
    before = stack.to_lanes()
    push(stack, x, bins, columns)
    np.testing.assert_array_equal(pop(stack, bins, columns), x)
    assert stack.to_lanes() == before


def test_golden_lanes():
    """The rules as they stand; a change here is a change of the format."""
    i = np.arange(600 * 3, dtype=np.int32).reshape(600, 3)
    mean, scale = (i * 37) % 400 - 200, (20 + i % 29).astype(np.uint8)
    coupling = (i[:, :3] % 50 - 25).astype(np.int16)
    x = (i * i // 7 % 23 - 11 + mean // 64).astype(np.int32)
    ends = np.full(3, -300, np.int32), np.full(3, 601, np.int32)
    stack = Stack.empty(2)
    push(stack, x, Bins.ranged(mean.astype(np.int32), scale, *ends, coupling=coupling), 30)
    assert hashlib.sha256(b"|".join(stack.to_lanes())).hexdigest()[:16] == "84316c544135cd4c"
