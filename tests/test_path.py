"""The noise path: the integer chain has the variances that it promises, its posterior is Bayes', plans."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from codec.ans import Stack
from codec.gaussian import pop
from tests.model_support import load_tiny
from vdmcompress.conditionals import Conditionals
from vdmcompress.path import ORDERS, PLANS, BandPath, Level, NoisePath
from vdmcompress.train.objective import draw_chain

LISTS = [[[[0, 32], [3, 33]], [[1, 35]], []], [[[1, 36], [3, 39]], [[2, 32]], []]]
PATHS = [
    BandPath((Level(0, 32), Level(3, 33))),
    BandPath((Level(1, 36), Level(3, 39))),
    BandPath((Level(2, 40), Level(2, 32), Level(4, 36))),
]
N = 400_000


def through_chain(path, k, count=N, value=5, seed=3):
    """z_k of a constant band, drawn as in training, in grey levels."""
    generator = torch.Generator().manual_seed(seed)
    return (
        draw_chain(torch.full((1, 1, 1, count), value, dtype=torch.int32), path, k, generator).numpy().ravel()
    )


def within_sampling(variance, samples):
    """Relative error of a variance from samples, five standard errors, and the rounding's small error."""
    return 5 * math.sqrt(2 / samples) + 0.003


@pytest.mark.parametrize("path", PATHS)
def test_integer_chain_has_the_variance_of_the_path(path):
    for k in range(1, path.evaluations):
        z = through_chain(path, k)
        assert (z % path.delta(k) == 0).all()
        assert z.mean() == pytest.approx(5, abs=5 * math.sqrt(path.variance(k) / N))
        assert z.var() == pytest.approx(path.variance(k), rel=within_sampling(path.variance(k), N))


@pytest.mark.parametrize("path", PATHS)
def test_popped_latents_have_the_variance_of_the_path(path):
    """The same through the coder: z_k popped from random bits with the bins of q, level after level."""
    conditionals = Conditionals(load_tiny(), 1)
    rng = np.random.default_rng(8)
    n = 60_000
    stack = Stack(
        rng.integers(1 << 32, 1 << 64, 4, dtype=np.uint64),
        rng.integers(0, 1 << 32, (4, n), dtype=np.uint32),
        np.full(4, n, np.int64),
    )
    z = np.full((n, 1), 5, np.int32)
    for k in range(1, path.evaluations):
        bins = pop(stack, conditionals.posterior(path, k, z))
        window = path.window(k)
        assert np.abs(bins * path.delta(k) - z).max() <= (window + 1) * path.delta(k)
        z = bins * np.int32(path.delta(k))
        assert z.mean() == pytest.approx(5, abs=5 * math.sqrt(path.variance(k) / n))
        assert z.var() == pytest.approx(path.variance(k), rel=within_sampling(path.variance(k), n))


def test_variance_of_a_level_counts_its_own_grid():
    path = BandPath((Level(1, 32), Level(3, 40)))
    assert path.variance(0) == 0
    assert path.variance(1) == pytest.approx(4 + 4 / 12)
    assert path.variance(2) == pytest.approx(4 + 4 / 12 + 256 + 64 / 12)
    assert Level(3, 40).own_sigma == pytest.approx(16)


@pytest.mark.parametrize("path", PATHS)
def test_posterior_is_bayes(path):
    """q(z_{k-1} | z_k, d) by brute force on a line, with q(z_{k-1} | d) and q(z_k | z_{k-1}) as Gaussians."""
    d = 3.7
    for k in range(2, path.evaluations):
        below, above = path.variance(k - 1), path.variance(k)
        r = path.retention(k)
        line = np.linspace(d - 12 * math.sqrt(below), d + 12 * math.sqrt(below), 20001)
        for z_k in (d - 2.3 * math.sqrt(above), d + 0.4 * math.sqrt(above)):
            weight = np.exp(-((line - d) ** 2) / (2 * below) - (z_k - line) ** 2 / (2 * (above - below)))
            weight /= weight.sum()
            mean = (weight * line).sum()
            assert mean == pytest.approx(r * z_k + (1 - r) * d, abs=1e-9 * above)
            assert (weight * (line - mean) ** 2).sum() == pytest.approx(below * (1 - r), rel=1e-9)


def test_posterior_agrees_with_the_integer_chain():
    """Bayes on samples of the chain itself: mean and variance of z_1 among all draws with the same z_2."""
    path = PATHS[0]
    generator = torch.Generator().manual_seed(11)
    d = torch.zeros((1, 1, 1, 2_000_000), dtype=torch.int32)
    z_1 = draw_chain(d, BandPath(path.levels[:1]), 1, generator)
    z_2 = draw_chain(z_1, BandPath(path.levels[1:]), 1, generator)
    r, below = path.retention(2), path.variance(1)
    for value in (-8, 0, 8, 16):
        met = z_1[z_2 == value].to(torch.float64)
        assert float(met.mean()) == pytest.approx(r * value, abs=0.02)
        # a coarse z_2 tells no more than its bin: the variance lies between the posterior's and z_1's own
        assert below * (1 - r) * 0.985 < float(met.var()) < below * 1.01


def test_lists_make_the_same_path_again():
    path = NoisePath.from_lists(LISTS)
    assert path.to_lists() == LISTS
    assert path.band(0, 0) == PATHS[0]
    assert path.band(7, 0) == PATHS[1]
    assert [(s.band, s.k, s.slot, s.top) for s in path.steps] == [
        (0, 1, 0, False), (0, 2, 1, False), (0, 3, 2, True),
        (1, 1, 3, False), (1, 2, 4, True), (2, 1, 5, True),
    ]  # fmt: skip
    assert path.step(1, 2).slot == 4


def test_scales_with_other_numbers_of_levels_are_refused():
    with pytest.raises(ValueError, match="different numbers of levels"):
        NoisePath.from_lists([LISTS[0], [[[1, 36]], [[2, 32]], []]])


def test_latents_of_hh_are_refused():
    with pytest.raises(ValueError, match="HH"):
        NoisePath.from_lists([[[[0, 32]], [], [[0, 32]]]])


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_plans_borrow_less_and_less(order):
    """Later plans of an order have no latent that an earlier one lacks; the last has none and always fits."""
    used = [
        {(s, b) for s in range(12) for b in range(3) if PLANS[index].has_latents(s, b)} for index in order
    ]
    for earlier, later in pairwise(used):
        assert later <= earlier
    assert not used[-1]


def test_orders_mean_what_they_say():
    latents = {name: PLANS[order[0]] for name, order in ORDERS.items()}
    assert [latents["all"].has_latents(s, b) for s in (0, 1) for b in range(3)] == [True, True, False] * 2
    one = [[latents["one"].has_latents(s, b) for b in range(3)] for s in range(5)]
    assert one == [[False] * 3] * 3 + [[True, True, False], [False] * 3]
    assert all(256 % plan.strip == 0 for plan in PLANS)
