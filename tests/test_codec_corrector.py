"""The corrector: its twin, round trips, what it may weigh, and that it moves what is coded."""

import hashlib

import numpy as np
import pytest
from adaptive_twin import refine as twin
from coder_cases import band
from hypothesis import given, settings
from hypothesis import strategies as st
from roundtrip import random_stack

from codec import adaptive, gaussian
from codec.ans import Stack
from codec.corrector import BIAS_LIMIT, INPUTS, OUTPUT_LIMIT, SUM_LIMIT, WEIGHT_LIMIT, WIDE, Corrector
from codec.errors import BinsError


def random_corrector(components, units, seed, extreme=False, last=0):
    """Weights of a size that moves means and scales; `extreme` ones are as large as allowed.

    last: units of the second layer.
    """
    rng = np.random.default_rng(seed)

    def draw(limit, usual, *shape):
        if extreme:
            return rng.choice([-limit, 0, limit], shape).astype(np.int32)
        return rng.integers(-usual, usual + 1, shape, dtype=np.int32)

    return Corrector(
        draw(WEIGHT_LIMIT, 300, components, WIDE if last else INPUTS, units),
        draw(BIAS_LIMIT, 1 << 18, components, units),
        draw(min(SUM_LIMIT // units, WEIGHT_LIMIT), 300, components, units, last),
        draw(BIAS_LIMIT, 1 << 20, components, last),
        draw(OUTPUT_LIMIT, 600, components, 2, last or units),
        draw(BIAS_LIMIT, 1 << 20, components, 2),
    )


def one_layer(hidden, hidden_bias, output, output_bias):
    """A corrector without a second layer."""
    components, _, units = hidden.shape
    none = np.zeros((components, units, 0), np.int32)
    return Corrector(hidden, hidden_bias, none, none[:, 0], output, output_bias)


def corrected(rows, columns, components, seed, units=5, extreme=False, last=0):
    """Values of a band and its distributions with a random corrector."""
    x, bins = band(rows, columns, components, seed, extreme)
    corrector = random_corrector(components, units, seed, extreme, last)
    return x, gaussian.Bins(**{**vars(bins), "corrector": corrector})


@pytest.mark.parametrize("last", [0, 3, 33])
@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.parametrize(("rows", "columns", "units"), [(1, 1, 1), (40, 1, 3), (20, 2, 16), (30, 7, 5)])
def test_the_kernel_is_its_twin(rows, columns, units, components, extreme, last):
    x, bins = corrected(rows, columns, components, rows + units, units, extreme, last)
    refined = adaptive.refine(x, bins, columns)
    mean, scale = twin(x.tolist(), bins, columns)
    assert refined.mean.tolist() == mean
    assert refined.scale.tolist() == scale


@pytest.mark.parametrize("last", [0, 4])
def test_it_moves_means_and_scales_of_every_component(last):
    x, bins = corrected(30, 7, 3, 4, last=last)
    alone = gaussian.Bins(**{**vars(bins), "corrector": None})
    with_it, without = adaptive.refine(x, bins, 7), adaptive.refine(x, alone, 7)
    assert (with_it.mean != without.mean).mean(0).min() > 0.5
    assert (with_it.scale != without.scale).mean(0).min() > 0.5


def test_without_units_nothing_changes():
    x, bins = band(30, 7, 3, 4)
    none = gaussian.Bins(**{**vars(bins), "corrector": Corrector.none(3)})
    with_it, without = adaptive.refine(x, none, 7), adaptive.refine(x, bins, 7)
    assert (with_it.mean == without.mean).all()
    assert (with_it.scale == without.scale).all()


def test_a_good_corrector_saves_what_it_promises():
    """Scales that are wrong by an octave where the left neighbour is far off: one unit tells."""
    rng = np.random.default_rng(3)
    n, columns = 40000, 200
    wild = np.repeat(rng.random(n // 8) < 0.3, 8)
    x = np.rint(rng.normal(0, np.where(wild, 32.0, 4.0), n)).astype(np.int32).reshape(-1, 1).clip(-255, 255)
    scale = np.full((n, 1), 48, np.uint8)
    ends = np.array([-255], np.int32), np.array([511], np.int32)
    hidden = np.zeros((1, INPUTS, 1), np.int32)
    hidden[0, 6, 0] = 1024  # the size of the left neighbour's error, in sigmas
    output = np.zeros((1, 2, 1), np.int32)
    output[0, 1, 0] = 2048  # half an octave a sigma
    bias = np.array([[0, -(1 << 20)]], np.int32)  # a quarter of an octave less where it is 0
    helper = one_layer(hidden, np.zeros((1, 1), np.int32), output, bias)
    costs = []
    for corrector in (None, helper):
        bins = gaussian.Bins.ranged(np.zeros((n, 1), np.int32), scale, *ends)
        bins = gaussian.Bins(**{**vars(bins), "corrector": corrector})
        costs.append(gaussian.code_length(x, adaptive.refine(x, bins, columns)) / n)
    assert costs[1] < costs[0] - 0.02


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 12), st.integers(1, 9), st.sampled_from([1, 3]), st.integers(0, 9), st.integers(1, 5),
    st.integers(1, 40), st.booleans(), st.integers(0, 40),
)  # fmt: skip
def test_pop_inverts_push(rows, columns, components, seed, lanes, units, extreme, last):
    x, bins = corrected(rows, columns, components, seed, units, extreme, last)
    stack = random_stack(lanes, 40, seed)
    before = stack.to_lanes()
    adaptive.push(stack, x, bins, columns)
    assert (adaptive.pop(stack, bins, columns) == x).all()
    assert stack.to_lanes() == before


def digest(corrector):
    """Of the lanes of ten rows of three components, coded with a corrector."""
    i = np.arange(300)[:, None] * np.array([3, 5, 7])
    mean = (i * 11 % 400 - 200).astype(np.int32)
    x = (i * i // 7 % 23 - 11 + mean // 64).astype(np.int32)
    ends = np.full(3, -300, np.int32), np.full(3, 601, np.int32)
    bins = gaussian.Bins.ranged(mean, (i % 30 + 25).astype(np.uint8), *ends)
    stack = Stack.empty(2)
    adaptive.push(stack, x, gaussian.Bins(**{**vars(bins), "corrector": corrector}), 30)
    return hashlib.sha256(b"|".join(stack.to_lanes())).hexdigest()[:16]


def test_golden_lanes():
    """The arithmetic of the corrector is a part of the format."""
    t = np.arange(3 * INPUTS * 4).reshape(3, INPUTS, 4)
    corrector = one_layer(
        (t * 37 % 501 - 250).astype(np.int32),
        (np.arange(12).reshape(3, 4) * 9001 - 50000).astype(np.int32),
        (np.arange(24).reshape(3, 2, 4) * 83 % 901 - 450).astype(np.int32),
        (np.arange(6).reshape(3, 2) * 100003 - 250000).astype(np.int32),
    )
    assert digest(corrector) == "06a2d61975ff7d5b"


def test_golden_lanes_of_two_layers():
    corrector = Corrector(
        (np.arange(3 * WIDE * 40).reshape(3, WIDE, 40) * 37 % 501 - 250).astype(np.int32),
        (np.arange(120).reshape(3, 40) * 9001 % 100000 - 50000).astype(np.int32),
        (np.arange(3 * 40 * 5).reshape(3, 40, 5) * 41 % 801 - 350).astype(np.int32),
        (np.arange(15).reshape(3, 5) * 70001 % 1000000 - 400000).astype(np.int32),
        (np.arange(30).reshape(3, 2, 5) * 83 % 901 - 450).astype(np.int32),
        (np.arange(6).reshape(3, 2) * 100003 - 250000).astype(np.int32),
    )
    assert digest(corrector) == "3b187c9d53b197f7"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden", np.full((3, INPUTS, 2), WEIGHT_LIMIT + 1, np.int32)),
        ("hidden", np.zeros((3, INPUTS, 2), np.int64)),
        ("hidden", np.zeros((3, INPUTS - 1, 2), np.int32)),
        ("hidden", np.zeros((3, INPUTS, 65), np.int32)),
        ("hidden", np.zeros((3, WIDE, 2), np.int32)),
        ("middle", np.zeros((3, 2, 2), np.int32)),
        ("middle", np.int32(0)),
        ("hidden_bias", np.full((3, 2), -BIAS_LIMIT - 1, np.int32)),
        ("output", np.full((3, 2, 2), OUTPUT_LIMIT + 1, np.int32)),
        ("output_bias", np.zeros((3, 3), np.int32)),
    ],
)
def test_what_does_not_fit_is_refused(name, value):
    good = random_corrector(3, 2, 1)
    with pytest.raises(BinsError, match="corrector"):
        Corrector(**{**vars(good), name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden", np.zeros((3, INPUTS, 5), np.int32)),
        ("middle", np.zeros((3, 5, 0), np.int32)),
        ("middle", np.zeros((3, 5, 65), np.int32)),
        ("middle", np.full((3, 5, 2), SUM_LIMIT // 5 + 1, np.int32)),
        ("middle_bias", np.zeros((3, 3), np.int32)),
        ("middle_bias", np.full((3, 2), BIAS_LIMIT + 1, np.int32)),
        ("output", np.zeros((3, 2, 5), np.int32)),
    ],
)
def test_what_does_not_fit_two_layers_is_refused(name, value):
    good = random_corrector(3, 5, 1, last=2)
    with pytest.raises(BinsError, match="corrector"):
        Corrector(**{**vars(good), name: value})


def test_another_number_of_components_is_refused():
    _, bins = band(3, 3, 3, 1)
    with pytest.raises(BinsError, match="corrector has 1 components"):
        gaussian.Bins(**{**vars(bins), "corrector": Corrector.none(1)})


def test_grey_images_take_the_first_component():
    first = random_corrector(3, 4, 2).first(1)
    assert first.components == 1
    assert (first.hidden == random_corrector(3, 4, 2).hidden[:1]).all()
