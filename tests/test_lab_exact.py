"""Exact denoisers and ideal code lengths: what the rows of the lab compute with."""

import math

import numpy as np
import pytest
import torch

from vdmcompress.lab.coding_order import grids, initial_bits, net_bits, popped, pushed
from vdmcompress.lab.demystify import joint_bottom_up, joint_top_down
from vdmcompress.lab.hierarchy import Hierarchy, bound, gaussian_nats, ladder
from vdmcompress.lab.ideas import row_of_pixels, staggered, staggered_bits
from vdmcompress.lab.lattice import Lattice, few, grey_reconstruction, photograph, sigmoid
from vdmcompress.lab.pairs import chain_of, draw, neighbours
from vdmcompress.lab.pictures import dead_leaves
from vdmcompress.vdm32.process import Normal


@pytest.mark.parametrize("gamma", [-9.0, -4.0, 0.0, 3.0])
def test_error_of_a_lattice_is_that_of_its_denoiser(gamma):
    toy, rng = photograph(32), np.random.default_rng(0)
    f, eps = toy.sample(rng, (20000,)), rng.standard_normal(20000)
    z = np.sqrt(sigmoid(-gamma)) * f + np.sqrt(sigmoid(gamma)) * eps
    errors = (eps - toy.noise(z, gamma)) ** 2
    assert abs(errors.mean() - toy.mse(gamma)) < 5 * errors.std() / 141 + 1e-9


def test_information_is_half_of_the_integral_of_the_error():
    toy, gammas = few(), np.linspace(-14.0, 6.0, 401)
    integral = np.trapezoid(0.5 * toy.mses(gammas), gammas) / math.log(2)
    assert integral == pytest.approx(toy.information(-14.0) - toy.information(6.0), abs=1e-5)
    assert toy.information(-14.0) == pytest.approx(toy.entropy, abs=1e-6)
    assert toy.information(30.0) == pytest.approx(0.0, abs=1e-6)


def test_error_without_structure_is_that_of_a_gaussian():
    """Where the noise hides the spacing, many bell-shaped levels are a Gaussian: v SNR / (1 + v SNR)."""
    x = np.linspace(-1.0, 1.0, 129)
    p = np.exp(-0.5 * (x / 0.2) ** 2)
    toy = Lattice(x, p / p.sum())
    for gamma in (-5.0, -2.0, 1.0):
        assert toy.mse(gamma) == pytest.approx(float(sigmoid(math.log(toy.variance) - gamma)), rel=1e-3)


@pytest.mark.parametrize("values", [[0.0, 0.0], [1.0, 0.0]])
def test_values_must_rise(values):
    with pytest.raises(ValueError, match="must rise"):
        Lattice(np.array(values), np.array([0.5, 0.5]))


def test_reconstruction_is_what_sampling_gives():
    rng = np.random.default_rng(0)
    s = math.exp(-10.0 / 2)
    off = np.arange(-20, 21) / 128 / s
    eps = rng.standard_normal(20000)
    log = -0.5 * (eps[:, None] - off) ** 2
    cost = (np.log(np.exp(log).sum(1)) + 0.5 * eps**2) / math.log(2)
    assert abs(cost.mean() - grey_reconstruction(-10.0)) < 5 * cost.std() / 141
    assert grey_reconstruction(-13.3) < 0.02 < grey_reconstruction(-12.0)


def test_both_orders_pop_and_push_alike():
    levels = np.linspace(-13.3, 5.0, 31)
    mse = photograph(64).mses(levels[1:])
    up, down = popped(levels, "bottom-up").sum(), popped(levels, "top-down").sum()
    assert up == pytest.approx(down, abs=1e-9)
    assert net_bits(levels, mse, "bottom-up", 0.25) == pytest.approx(
        net_bits(levels, mse, "top-down"), abs=1e-9
    )
    assert pushed(levels, mse).sum() > up


def test_initial_bits_are_the_deepest_debt():
    levels = np.linspace(-13.3, 5.0, 4)
    pops, pushes = popped(levels, "bottom-up"), popped(levels, "top-down")
    debts = [pops[0], pops[0] + pops[1], pops[0] + pops[1] + pops[2] - pushes[0]]
    debts.append(debts[2] + pops[3] - pushes[1])
    assert initial_bits(levels, "bottom-up") == pytest.approx(max(debts))
    assert initial_bits(levels, "bottom-up", data=1.0) <= initial_bits(levels, "bottom-up")
    assert initial_bits(levels, "top-down") == pytest.approx(pushes.sum())
    assert (np.diff(grids(levels)[:-1]) > 0).all()


def test_a_joint_that_forgets_its_shrinking_is_not_the_same():
    gammas = torch.linspace(-6.0, 4.0, 9, dtype=torch.float64)
    up, down = joint_bottom_up(gammas, 0.5), joint_top_down(gammas, 0.5)
    assert torch.allclose(up[1], down[1], atol=1e-12)
    other = joint_bottom_up(gammas + 0.1, 0.5)
    assert float((other[1] - down[1]).abs().max()) > 1e-3


def test_a_wrong_posterior_is_above_the_evidence():
    model = ladder(1.0, 0.5, 0.25)
    x = torch.linspace(-2.0, 2.0, 400, dtype=torch.float64).reshape(-1, 1)
    evidence = gaussian_nats(x, 0.0, 1.75).sum(1)
    right = bound(model, x, torch.Generator().manual_seed(0))
    assert torch.allclose(right.sampled, evidence)

    def shifted(z: torch.Tensor, x: torch.Tensor) -> Normal:
        q = model.levels[0][0](z, x)
        return Normal(q.mean + 0.5, q.variance)

    wrong = Hierarchy(model.top, [(shifted, model.levels[0][1])], model.cost)
    excess = bound(wrong, x, torch.Generator().manual_seed(0)).total - evidence
    gain = 1.0 / (1.0 + 0.25)
    assert float(excess.mean()) == pytest.approx(0.5**2 / (2 * gain * 0.25), rel=0.2)  # KL of the shift


def test_bands_of_a_row_of_pixels():
    covariance, bands = row_of_pixels(8)
    assert np.bincount(bands).tolist() == [1, 1, 2, 4]
    assert np.trace(covariance) == pytest.approx(8 * 0.25)
    power = [np.diag(covariance)[bands == b].mean() for b in range(4)]
    assert power == sorted(power, reverse=True)


def test_staggered_levels_clean_the_coarse_band_first():
    _, bands = row_of_pixels(8)
    levels = staggered(12, 1.0, bands)
    assert (np.diff(levels, axis=0) >= 0).all()
    middle = levels[6]
    assert middle[bands == 0][0] < middle[bands == 3][0]
    assert np.ptp(staggered(12, 0.0, bands), axis=1).max() == 0.0
    assert (levels[0] == -13.3).all()
    assert (levels[-1] == 5.0).all()


def test_one_uncorrelated_pixel_costs_its_information():
    bits = staggered_bits(np.array([[0.25]]), np.array([0]), np.linspace(-13.3, 5.0, 2001)[:, None])
    ends = [0.5 * math.log2(1 + 0.25 * math.exp(-g)) for g in (-13.3, 5.0)]
    assert bits == pytest.approx(ends[0] - ends[1], abs=0.01)


def test_pairs_are_dependent_and_chains_keep_their_marginals():
    toy = neighbours(12)
    assert toy.joint.sum() == pytest.approx(1.0)
    assert toy.entropy < toy.marginal_entropy - 0.2
    assert toy.independent().entropy == pytest.approx(toy.marginal_entropy)
    draws = draw(toy, 4000, 0)
    gammas = np.array([-8.0, -2.0, 1.0, 5.0])
    chain = chain_of(draws, gammas, 1)
    for g, z in zip(gammas, chain, strict=True):
        eps = (z - np.sqrt(sigmoid(-g)) * draws.f) / np.sqrt(sigmoid(g))
        assert abs(float(eps.std()) - 1.0) < 0.05
    assert toy.code_length(draws.index) == pytest.approx(toy.entropy, abs=0.1)


def test_dead_leaves_are_reproducible_and_smooth():
    one, two = dead_leaves(200, 8, seed=3), dead_leaves(200, 8, seed=3)
    assert one.shape == (200, 3, 8, 8)
    assert (one == two).all()
    x = one.astype(float)
    across = np.corrcoef(x[..., :-1].ravel(), x[..., 1:].ravel())[0, 1]
    assert 0.5 < across < 0.99
