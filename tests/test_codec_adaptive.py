"""Statistics that adapt while coding: the twin, round trips, what they gain and what they cost, errors."""

import hashlib

import numpy as np
import pytest
from adaptive_twin import refine as twin
from hypothesis import given, settings
from hypothesis import strategies as st
from roundtrip import random_stack

from codec.adaptive import pop, push, refine
from codec.ans import Stack
from codec.errors import BinsError, ShortStackError, ValueOutOfRange
from codec.gaussian import Bins, code_length, gaussian_table, shape_table

LOW, COUNT = -1020, 2041


def band(rows, columns, components, seed, extreme=False):
    """Values and distributions of a band; `extreme` ones are as wild as `Bins` allows."""
    rng = np.random.default_rng(seed)
    n = rows * columns
    if extreme:
        mean = rng.choice([-(1 << 24), -7000, 0, 31, 65280, 1 << 24], (n, components)).astype(np.int32)
        scale = rng.choice([0, 1, 17, 18, 32, 90, 126, 127], (n, components)).astype(np.uint8)
        coupling = rng.choice([-127, 0, 127], (n, 3)).astype(np.int16)
        x = rng.choice([LOW, LOW + 1, 0, LOW + COUNT - 1], (n, components)).astype(np.int32)
    else:
        mean = rng.integers(-3000, 3000, (n, components), dtype=np.int32)
        scale = rng.integers(16, 56, (n, components), dtype=np.uint8)
        coupling = rng.integers(-60, 60, (n, 3), dtype=np.int16)
        x = np.rint(mean / 64 + rng.normal(0, 3, (n, components))).astype(np.int32).clip(LOW, -LOW)
    ends = np.full(components, LOW, np.int32), np.full(components, COUNT, np.int32)
    mixture = shape_table(np.array([40000, 25536]), np.array([10, 48]))
    tables = np.stack([mixture, gaussian_table(), mixture][:components]).astype(np.int32)
    return x, Bins.ranged(mean, scale, *ends, coupling=coupling, tables=tables)


@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (60, 1), (30, 2), (40, 7)])
def test_the_kernel_is_its_twin(rows, columns, components, extreme):
    x, bins = band(rows, columns, components, rows + columns, extreme)
    refined = refine(x, bins, columns)
    mean, scale = twin(x.tolist(), bins, columns)
    assert refined.mean.tolist() == mean
    assert refined.scale.tolist() == scale
    assert rows * columns < 60 or (refined.mean != bins.mean).any()


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


def test_threads_do_not_change_the_bits():
    x, bins = band(100, 40, 3, 5)
    stacks = [random_stack(4, 10) for _ in range(2)]
    for threads, stack in enumerate(stacks, 1):
        push(stack, x, bins, 40, threads)
    assert stacks[0].to_lanes() == stacks[1].to_lanes()


def test_the_bits_are_those_of_the_refined_distributions():
    x, bins = band(80, 40, 3, 6)
    stack = Stack.empty(2)
    push(stack, x, bins, 40)
    assert stack.bits == pytest.approx(code_length(x, refine(x, bins, 40)), abs=1)


def noise(rows, columns, neighbour, seed=1):
    """Gaussian residuals of variance 1, correlated with the neighbours to the left and above."""
    rng = np.random.default_rng(seed)
    e = rng.standard_normal((rows, columns))
    for y in range(rows):
        for x in range(columns):
            near = (e[y - 1, x] if y else 0.0) + (e[y, x - 1] if x else 0.0)
            e[y, x] = neighbour * near + e[y, x] * np.sqrt(1 - 2 * neighbour**2)
    return e.reshape(-1, 1)


def rates(residuals, sigma, index, columns):
    """Bits a value without and with adaptation, of residuals scaled by sigma under scale index `index`."""
    x = np.rint(sigma * residuals).astype(np.int32)
    mean, scale = np.zeros_like(x), np.full(x.shape, index, np.uint8)
    bins = Bins.ranged(mean, scale, np.array([LOW], np.int32), np.array([COUNT], np.int32))
    return code_length(x, bins) / x.size, code_length(x, refine(x, bins, columns)) / x.size


def test_correlated_residuals_get_cheaper():
    """A correlation of .4 with two neighbours is worth .28 bits; most of it is found in 20,000 values."""
    plain, adapted = rates(noise(100, 200, 0.4), 4.0, 48, 200)
    assert plain - adapted > 0.15


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


def test_errors():
    x, bins = band(4, 5, 1, 0)
    with pytest.raises(BinsError, match="20 positions are not rows of 3 columns"):
        refine(x, bins, 3)
    with pytest.raises(BinsError, match="0 columns"):
        refine(x, bins, 0)
    with pytest.raises(BinsError, match="window is 9"):
        refine(x, Bins.windowed(64 * x, bins.scale, 9), 5)
    with pytest.raises(ValueOutOfRange, match="x\\[3, 0\\] is 3000"):
        changed = x.copy()
        changed[3] = 3000
        push(Stack.empty(1), changed, bins, 5)
    with pytest.raises(ShortStackError):
        pop(Stack.empty(1), bins, 5)


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
    assert hashlib.sha256(b"|".join(stack.to_lanes())).hexdigest()[:16] == "ef5fb88657724dd3"
