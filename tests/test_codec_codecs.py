"""Combinators and plain integers: round trips, rates, order, errors."""

import ast
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from roundtrip import check_codec, random_stack

import codec
from codec.ans import Stack
from codec.codecs import bits_back, categorical, gaussian, repeat, serial, substack, uniform
from codec.errors import BinsError, ShortStackError, ValueOutOfRange
from codec.gaussian import Bins


def gaussian_around(mean, scale=40, low=-100, count=201):
    """Codec of int32 (n, 1) around means in bins."""
    mean = np.asarray(mean, np.int32).reshape(-1, 1) * np.int32(64)
    return gaussian(
        Bins.ranged(
            mean, np.full_like(mean, scale, np.uint8), np.array([low], np.int32), np.array([count], np.int32)
        )
    )


def test_the_package_imports_numpy_and_numba_only():
    allowed = {"numpy", "numba"} | set(sys.stdlib_module_names)
    for path in Path(codec.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert {name.name.split(".")[0] for name in node.names} <= allowed
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                assert node.module.split(".")[0] in allowed


@given(
    low=st.integers(-1000, 1000), count=st.integers(1, 5000), lanes=st.integers(1, 5),
    shape=st.lists(st.integers(0, 4), max_size=3).map(tuple), seed=st.integers(0, 1000),
)  # fmt: skip
def test_uniform(low, count, lanes, shape, seed):
    values = np.random.default_rng(seed).integers(low, low + count, shape).astype(np.int32)
    bits = check_codec(uniform(low, count, shape), values, lanes)
    assert bits == pytest.approx(values.size * np.log2(count), rel=1e-4, abs=0.2)


def test_uniform_keeps_type_and_shape_and_checks_values():
    codec = uniform(-2, 5, (2, 3))
    _, symbol = codec.pop(random_stack(1, 3))
    assert symbol.dtype == np.int32
    assert symbol.shape == (2, 3)
    for bad in (-3, 3):
        with pytest.raises(ValueOutOfRange, match="within -2 to 2"):
            codec.push(Stack.empty(1), np.full((2, 3), bad))
    with pytest.raises(BinsError):
        codec.push(Stack.empty(1), np.zeros((3, 2), int))
    with pytest.raises(BinsError):
        codec.push(Stack.empty(1), np.zeros((2, 3)))
    for count in (0, (1 << 20) + 1):
        with pytest.raises(BinsError, match=str(count)):
            uniform(0, count, (1,))


@given(
    weights=st.lists(st.integers(0, 1 << 20), min_size=1, max_size=40).filter(any),
    n=st.integers(0, 60), seed=st.integers(0, 1000), lanes=st.integers(1, 4),
)  # fmt: skip
def test_categorical(weights, n, seed, lanes):
    values = np.random.default_rng(seed).integers(0, len(weights), (n,))
    check_codec(categorical(np.array(weights), (n,)), values, lanes)
    rows = np.maximum(
        np.random.default_rng(seed).integers(0, 9, (n, len(weights))), np.arange(len(weights)) == 0
    )
    check_codec(categorical(rows, (n,)), values, lanes)


def test_categorical_rate_is_the_entropy():
    weights = np.array([1, 2, 5, 100, 20000, 0])
    chances = weights / weights.sum()
    values = np.random.default_rng(0).choice(6, 20000, p=chances)
    bits = check_codec(categorical(weights, (20000,)), values)
    assert bits == pytest.approx(-np.log2(chances[values]).sum(), rel=1e-4)


@pytest.mark.parametrize(
    "weights",
    [
        np.zeros(3, int),
        np.array([2, -1]),
        np.array([0.5, 0.5]),
        np.ones((2, 3), int),
        np.array([1 << 35]),
        np.array([], int),
    ],
)
def test_bad_weights_are_refused(weights):
    with pytest.raises(BinsError):
        categorical(weights, (4,))


def test_serial_and_repeat():
    codec = serial(
        [uniform(0, 7, (3,)), repeat(categorical(np.array([3, 1]), (2,)), 4), gaussian_around([1, 2])]
    )
    repeated = [np.array(v) for v in ([0, 1], [1, 1], [0, 0], [1, 0])]
    symbol = [np.array([6, 0, 3]), repeated, np.array([[-3], [5]], np.int32)]
    check_codec(codec, symbol)
    with pytest.raises(BinsError, match="2 symbols for 3 codecs"):
        codec.push(Stack.empty(1), symbol[:2])


def test_serial_pops_first_to_last():
    first, second = uniform(0, 100, (1,)), uniform(0, 1000, (1,))
    stack = serial([first, second]).push(Stack.empty(1), [np.array([42]), np.array([777])])
    stack, one = first.pop(stack)
    stack, two = second.pop(stack)
    assert (one[0], two[0]) == (42, 777)
    assert stack.is_initial()


def test_substack_leaves_the_other_lanes_alone():
    codec = substack(uniform(0, 1 << 20, (300,)), slice(1, 3))
    values = np.random.default_rng(0).integers(0, 1 << 20, 300)
    check_codec(codec, values, lanes=5)
    stack = random_stack(5, 4)
    before = stack.to_lanes()
    after = codec.push(stack, values).to_lanes()
    assert [one == other for one, other in zip(before, after, strict=True)] == [
        True,
        False,
        False,
        True,
        True,
    ]
    with pytest.raises(BinsError, match="none of the stack's 5 lanes"):
        substack(codec, slice(9, 12)).pop(stack)


def latent_model(n):
    """z ~ N(0, 16^2), x | z ~ N(z, 16^2): z | x ~ N(x / 2, 2^3.5), all on the grid of scales."""
    prior = gaussian_around(np.zeros(n), 64, -300, 601)

    def posterior(x):
        mean = x * np.int32(32)
        limits = np.array([-300], np.int32), np.array([601], np.int32)
        return gaussian(Bins.ranged(mean, np.full_like(mean, 60, np.uint8), *limits))

    return prior, lambda z: gaussian_around(z, 64, -300, 601), posterior


def test_bits_back_codes_at_the_marginal_rate():
    """With the exact posterior the cost of x is -log2 p(x), whatever z was."""
    n = 4000
    codec = bits_back(*latent_model(n))
    x = np.clip(np.rint(np.random.default_rng(0).normal(0, 16 * 2**0.5, (n, 1))), -300, 300).astype(np.int32)
    bits = check_codec(codec, x, words=1000)
    marginal = check_codec(gaussian_around(np.zeros(n), 68, -300, 601), x)
    assert abs(bits - marginal) / n < 1e-3


def test_bits_back_needs_bits_to_borrow():
    with pytest.raises(ShortStackError):
        bits_back(*latent_model(50)).push(Stack.empty(2), np.zeros((50, 1), np.int32))
