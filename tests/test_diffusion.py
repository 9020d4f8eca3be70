"""Closed forms of the bound against numeric integration, Monte Carlo and the coder's integer tables."""

import math

import numpy as np
import pytest
import torch

from codec.gaussian import Bins, code_lengths, gaussian_table, shape_table
from vdmcompress.diffusion import (
    FACTORS16,
    WIDE_WEIGHT,
    coupled,
    gaussian_kl,
    mixture_code_length,
    mixture_weights,
)

CASES = [
    # error (Y, Co, Cg), variance of q, log2 scales of p, couplings
    ((0.3, -0.8, 1.1), 0.6, (0.1, -0.4, 0.7), (0.5, -0.9, 1.3)),
    ((-2.0, 1.0, 0.0), 2.5, (1.0, 0.5, 0.0), (-1.9, 0.4, -0.6)),
    ((0.0, 0.0, 0.0), 1.0, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
]


def column(values):
    return torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1)


def closed(case):
    error, variance, log2_scale, coupling = case
    return gaussian_kl(column(error), variance, column(log2_scale), column(coupling)).flatten().tolist()


def joint(case):
    """Covariance S = L D L^T of p over the three components: the coupling written as a matrix."""
    _, _, log2_scale, (a, b, c) = case
    # x_Co - m_Co = a (x_Y - m_Y) + n_Co;  x_Cg - m_Cg = b (x_Y - m_Y) + c (x_Co - m_Co) + n_Cg
    whiten = np.array([[1, 0, 0], [-a, 1, 0], [-b, -c, 1]], float)
    mix = np.linalg.inv(whiten)
    return mix @ np.diag(4.0 ** np.array(log2_scale)) @ mix.T


@pytest.mark.parametrize("case", CASES)
def test_kl_equals_the_matrix_form(case):
    """KL( N(e, v I) || N(0, S) ) of the textbook, with the inverse and the determinant of S."""
    error, variance, _, _ = case
    e, s = np.array(error), joint(case)
    inverse = np.linalg.inv(s)
    nats = 0.5 * (
        variance * np.trace(inverse) + e @ inverse @ e - 3 + np.log(np.linalg.det(s)) - 3 * math.log(variance)
    )
    assert sum(closed(case)) == pytest.approx(nats / math.log(2), abs=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_kl_of_each_component_equals_numeric_integration(case):
    """Gauss-Hermite quadrature of log q - log p over the three components, one term for each."""
    error, variance, log2_scale, (a, b, c) = case
    nodes, weights = np.polynomial.hermite_e.hermegauss(6)
    grids = np.meshgrid(*([nodes] * 3), indexing="ij")
    w = np.einsum("i,j,k->ijk", weights, weights, weights) / (2 * math.pi) ** 1.5
    x = [e + math.sqrt(variance) * g for e, g in zip(error, grids, strict=True)]
    residual = [x[0], x[1] - a * x[0], x[2] - b * x[0] - c * x[1]]
    for i, value in enumerate(closed(case)):
        log_q = -0.5 * grids[i] ** 2 - 0.5 * math.log(2 * math.pi * variance)
        sigma = 2.0 ** log2_scale[i]
        log_p = -0.5 * (residual[i] / sigma) ** 2 - 0.5 * math.log(2 * math.pi * sigma**2)
        assert value == pytest.approx(float((w * (log_q - log_p)).sum()) / math.log(2), abs=1e-10)


def test_kl_equals_monte_carlo():
    case = CASES[0]
    error, variance, log2_scale, (a, b, c) = case
    rng = np.random.default_rng(2)
    noise = rng.standard_normal((400_000, 3))
    x = np.array(error) + math.sqrt(variance) * noise
    residual = np.stack((x[:, 0], x[:, 1] - a * x[:, 0], x[:, 2] - b * x[:, 0] - c * x[:, 1]), 1)
    sigma = 2.0 ** np.array(log2_scale)
    nats = 0.5 * (residual / sigma) ** 2 + np.log(sigma) - 0.5 * noise**2 - 0.5 * math.log(variance)
    bits = nats.mean(0) / math.log(2)
    spread = nats.std(0) / math.log(2) / math.sqrt(len(nats))
    assert (np.abs(bits - closed(case)) < 5 * spread).all()


def test_kl_of_equal_distributions_is_zero_and_of_others_positive():
    assert closed(CASES[2]) == pytest.approx([0, 0, 0], abs=1e-15)
    grey = gaussian_kl(column([0.0]), 4.0, column([1.0]), column([9.0, 9.0, 9.0]))
    assert float(grey) == pytest.approx(0, abs=1e-15)
    assert all(sum(closed(case)) > 0 for case in CASES[:2])


def test_kl_is_the_continuous_limit_of_coded_bits():
    """Bits of coding q's samples on a fine grid with p, less q's own bits: what bits-back pays."""
    grid, sigma_q, sigma_p, error = 1 / 64, 0.75, 1.25, 0.4
    x = np.arange(-20, 20, grid)

    def mass(mean, sigma):
        cdf = [0.5 * math.erfc(-(v - mean) / (sigma * math.sqrt(2))) for v in np.append(x, 20) - grid / 2]
        return np.maximum(np.diff(cdf), 1e-300)

    q, p = mass(error, sigma_q), mass(0.0, sigma_p)
    coded = float((q * np.log2(q / p)).sum())
    kl = gaussian_kl(column([error]), sigma_q**2, column([math.log2(sigma_p)]), torch.zeros(1, 3, 1, 1))
    assert coded == pytest.approx(float(kl), abs=1e-3)


def test_coupling_takes_the_earlier_residuals_off():
    r = column([2.0, -1.0, 0.5])
    k = column([0.5, 2.0, -3.0])
    assert coupled(r, k).flatten().tolist() == [2.0, -1.0 - 0.5 * 2, 0.5 - 2.0 * 2 - (-3.0) * -1.0]
    assert coupled(r[:, :1], k).flatten().tolist() == [2.0]


def test_mixture_weights_keep_a_wide_component():
    logits = torch.tensor([[9.0, 0.0, 0.0, 0.0, 0.0, -60.0], [0.0] * 6], dtype=torch.float64)
    weights = mixture_weights(logits)
    assert weights.sum(-1).tolist() == pytest.approx([1, 1], abs=1e-12)
    assert float(weights[0, -1]) == pytest.approx(WIDE_WEIGHT)
    assert (weights > 0).all()


WEIGHTS16 = np.array([3000, 9000, 30000, 15000, 6000, 2536])


@pytest.mark.parametrize("scale", [20, 32, 48, 61])
@pytest.mark.parametrize("mean64", [0, 29, -1234])
def test_mixture_code_length_sums_to_one(scale, mean64):
    x = torch.arange(-3000, 3001, dtype=torch.float64).view(1, 1, 1, -1)
    weights = torch.from_numpy(WEIGHTS16 / 65536)[None, None]
    log2_scale = torch.full_like(x, (scale - 32) / 8)
    bits = mixture_code_length(x - mean64 / 64, log2_scale, torch.zeros(1, 3, 1, 6001), weights)
    # the floor of 1e-12 in far bins adds 6001 of them at most
    assert float(torch.exp2(-bits).sum()) == pytest.approx(1, abs=1e-8)


@pytest.mark.parametrize("scale", [24, 32, 45, 60])
def test_mixture_code_length_equals_the_integer_tables(scale):
    """Within 0.01 bit of what the coder pays, wherever a value is not rarer than the coder's floor."""
    low, count = np.array([-255], np.int32), np.array([511], np.int32)
    x = np.arange(-255, 256, dtype=np.int32)[:, None]
    means = np.array([0, 17, -2000, 4000], np.int32)
    tables = shape_table(WEIGHTS16, np.array(FACTORS16))[None]
    weights = torch.from_numpy(WEIGHTS16 / 65536)[None, None]
    for mean in means:
        n = len(x)
        bins = Bins.ranged(
            np.full((n, 1), mean, np.int32), np.full((n, 1), scale, np.uint8), low, count, tables=tables
        )
        coded = code_lengths(x, bins)[1:-1, 0]  # both tails belong to the end bins
        residual = torch.from_numpy(x[1:-1, 0] - mean / 64).view(1, 1, 1, -1)
        log2_scale = torch.full_like(residual, (scale - 32) / 8)
        ideal = (
            mixture_code_length(residual, log2_scale, torch.zeros(1, 3, 1, 509), weights).flatten().numpy()
        )
        likely = ideal < 16
        assert likely.sum() > 10
        np.testing.assert_allclose(coded[likely], ideal[likely], atol=0.01)


def test_a_single_factor_of_one_is_the_gaussian():
    one = np.zeros(6, np.int64)
    one[FACTORS16.index(16)] = 65536
    np.testing.assert_array_equal(shape_table(one, np.array(FACTORS16)), gaussian_table())


def test_coupled_code_length_equals_the_integer_tables():
    """Three components at once: the coder's integer coupling against the float one."""
    rng = np.random.default_rng(4)
    n = 500
    mean = rng.integers(-1500, 1500, (n, 3)).astype(np.int32)
    scale = rng.integers(30, 50, (n, 3)).astype(np.uint8)
    coupling = rng.integers(-127, 128, (n, 3)).astype(np.int16)
    sigma = 2.0 ** ((scale.astype(float) - 32) / 8)
    r = rng.standard_normal((n, 3)) * sigma
    k = coupling / 64
    x = mean / 64 + r
    x[:, 1] += k[:, 0] * r[:, 0]
    x[:, 2] += k[:, 1] * r[:, 0] + k[:, 2] * (x[:, 1] - mean[:, 1] / 64)
    x = np.rint(x).astype(np.int32)
    low, count = np.full(3, -1000, np.int32), np.full(3, 2001, np.int32)
    tables = np.stack([shape_table(WEIGHTS16, np.array(FACTORS16))] * 3)
    coded = code_lengths(x, Bins(mean, scale, coupling, low, count, 0, tables))

    def planes(v):
        return torch.from_numpy(np.asarray(v, float)).T.reshape(1, 3, 1, n)

    weights = torch.from_numpy(WEIGHTS16 / 65536).expand(1, 3, 6)
    ideal = mixture_code_length(
        planes(x - mean / 64), planes((scale.astype(float) - 32) / 8), planes(k), weights
    )
    # the coupled mean is rounded down to 1/64 bin
    np.testing.assert_allclose(coded, ideal[0, :, 0].T.numpy(), atol=0.06)
    assert abs(coded.mean() - float(ideal.mean())) < 0.002
