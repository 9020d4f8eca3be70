"""The equations of docs/papers.md, from hierarchical latents to the length of a file, both sides as numbers.

Each function returns the two sides of the equation of its number, computed in different ways on models where
that can be done exactly.  tests/test_lab_derivation.py has a test for each, which the document names.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vdmcompress.lab.coding_order import popped, pushed
from vdmcompress.lab.lattice import few, grey_reconstruction, photograph, sigmoid
from vdmcompress.vdm32.process import Normal, Step, alpha, sigma
from vdmcompress.vdm32.schedule import GAMMA_MAX, GAMMA_MIN, Cosine, Rescaled

LN2 = math.log(2.0)


@dataclass(frozen=True)
class Sides:
    """left and right of an equation, and how far apart they may be (absolute)."""

    left: float
    right: float
    tolerance: float

    @property
    def off(self) -> float:
        """Their distance."""
        return abs(self.left - self.right)

    @property
    def holds(self) -> bool:
        """Within tolerance."""
        return self.off <= self.tolerance


def _double(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


# A chain z_2 -> z_1 -> x of Gaussians: variances of p(z_2), p(z_1 | z_2), p(x | z_1), and an encoder that is
# deliberately not the posterior: q(z_2 | x) = N(.3 x, .4), q(z_1 | z_2, x) = N(.5 z_2 + .4 x, .2).
_P = np.array([0.5, 1.0, 0.25])
_X = 0.8


def _joint_p() -> np.ndarray:
    """Covariance of (z_2, z_1, x) under p."""
    a, b, c = _P
    return np.array([[a, a, a], [a, a + b, a + b], [a, a + b, a + b + c]])


def _joint_q() -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of (z_2, z_1) under q, given x."""
    mean_2 = 0.3 * _X
    mean = np.array([mean_2, 0.5 * mean_2 + 0.4 * _X])
    return mean, np.array([[0.4, 0.2], [0.2, 0.25 * 0.4 + 0.2]])


def _gaussian_cross(mean: np.ndarray, cov: np.ndarray, mean_p: np.ndarray, cov_p: np.ndarray) -> float:
    """E_q -log p of two Gaussians, nats."""
    inverse, off = np.linalg.inv(cov_p), mean - mean_p
    _, logdet = np.linalg.slogdet(2 * np.pi * cov_p)
    return float(0.5 * (logdet + np.trace(inverse @ cov) + off @ inverse @ off))


def _bound_whole() -> float:
    """E_q [log q(z | x) - log p(x, z)] from the joint distributions."""
    mean, cov = _joint_q()
    full, spread = np.append(mean, _X), np.zeros((3, 3))
    spread[:2, :2] = cov
    return _gaussian_cross(full, spread, np.zeros(3), _joint_p()) - _gaussian_cross(mean, cov, mean, cov)


def bound_and_gap() -> Sides:
    """(1) The bound is -log p(x) plus the KL from the encoder to the true posterior."""
    p = _joint_p()
    evidence = 0.5 * (math.log(2 * math.pi * p[2, 2]) + _X**2 / p[2, 2])
    mean, cov = _joint_q()
    mean_post = p[:2, 2] / p[2, 2] * _X
    cov_post = p[:2, :2] - np.outer(p[:2, 2], p[:2, 2]) / p[2, 2]
    gap = _gaussian_cross(mean, cov, mean_post, cov_post) - _gaussian_cross(mean, cov, mean, cov)
    return Sides(_bound_whole(), evidence + gap, 1e-12)


def bound_by_levels() -> Sides:
    """(2) The bound splits into one KL a level and the reconstruction."""
    mean, cov = _joint_q()
    top = float(Normal(_double(mean[0]), _double(0.4)).kl(Normal(_double(0.0), _double(_P[0]))))
    # KL of N(.5 z_2 + .4 x, .2) from N(z_2, 1), averaged over z_2
    apart = (0.5 * mean[0] - 0.4 * _X) ** 2 + 0.25 * cov[0, 0]
    level = 0.5 * (math.log(_P[1] / 0.2) + (0.2 + apart) / _P[1] - 1.0)
    error = (_X - mean[1]) ** 2 + cov[1, 1]
    reconstruction = 0.5 * (math.log(2 * math.pi * _P[2]) + error / _P[2])
    return Sides(_bound_whole(), top + level + reconstruction, 1e-12)


def chain_of_steps() -> Sides:
    """(3) Fifty steps of q(z_t | z_s) give q(z_T | x) = N(alpha_T x, sigma_T^2)."""
    levels = torch.linspace(GAMMA_MIN, GAMMA_MAX, 51, dtype=torch.float64)
    scale, variance = alpha(levels[0]), sigma(levels[0]) ** 2
    for s in range(50):
        step = Step(levels[s], levels[s + 1])
        scale, variance = step.shrink * scale, step.shrink**2 * variance + step.forward_variance
    return Sides(float(scale + variance), float(alpha(levels[-1]) + sigma(levels[-1]) ** 2), 1e-12)


def posterior_by_bayes() -> Sides:
    """(4) q(z_s | z_t, x) is q(z_t | z_s) q(z_s | x) / q(z_t | x): mean and variance from a sum over z_s."""
    step, x, z_t = Step(_double(-2.0), _double(0.5)), 0.6, -0.4
    grid = torch.linspace(-12.0, 12.0, 200001, dtype=torch.float64)
    below = ((grid - alpha(step.gamma_s) * x) / sigma(step.gamma_s)) ** 2
    forward = (z_t - step.shrink * grid) ** 2 / step.forward_variance
    weight = torch.softmax(-0.5 * (below + forward), 0)
    mean = (weight * grid).sum()
    variance = (weight * (grid - mean) ** 2).sum()
    exact = step.posterior(_double(z_t), _double(x))
    return Sides(float(mean + variance), float(exact.mean + exact.variance), 1e-9)


def kl_of_a_step() -> Sides:
    """(5) The KL of a step is half of expm1(gamma_t - gamma_s) times the squared error of the noise."""
    step, x, noise, guess = Step(_double(-3.0), _double(-2.2)), _double(0.3), _double(0.7), _double(0.4)
    z_t = alpha(step.gamma_t) * x + sigma(step.gamma_t) * noise
    kl = step.posterior(z_t, x).kl(step.reverse(z_t, guess))
    return Sides(float(kl), 0.5 * math.expm1(0.8) * 0.3**2, 1e-12)


def bound_of_diffusion() -> Sides:
    """(6) Prior, reconstruction and T steps: for the exact denoiser no less than the entropy.

    left: the bound in bits a value, its steps so many that their sum is an integral (equation 8); right: the
    entropy.  What remains is that p(x | z_0) and the prior do not know the data.
    """
    gammas = np.linspace(GAMMA_MIN, GAMMA_MAX, 301)
    steps = float(np.trapezoid(0.5 * photograph().mses(gammas), gammas)) / LN2
    return Sides(_prior_bits() + grey_reconstruction(GAMMA_MIN) + steps, photograph().entropy, 0.005)


def _prior_bits() -> float:
    toy = photograph()
    second = toy.variance + float(toy.probabilities @ toy.values) ** 2
    keep, noise = float(sigmoid(-GAMMA_MAX)), float(sigmoid(GAMMA_MAX))
    return 0.5 * (keep * second + noise - math.log(noise) - 1.0) / LN2


def random_step() -> Sides:
    """(7) T times the mean over a uniformly drawn step is the sum over all steps."""
    levels = np.linspace(GAMMA_MIN, GAMMA_MAX, 65)
    terms = 0.5 * np.expm1(np.diff(levels)) * few().mses(levels[1:])
    drawn = np.concatenate([np.random.default_rng(i).permutation(64)[:16] for i in range(400)])
    return Sides(64 * float(terms[drawn].mean()), float(terms.sum()), 6 * 64 * float(terms.std()) / 80)


def cost_of_steps() -> Sides:
    """(8) The loss of T steps exceeds its limit by a term that halves as T doubles (Richardson)."""
    toy, limit = few(), few().information(GAMMA_MIN) - few().information(GAMMA_MAX)
    coarse, fine = (
        float((0.5 * np.expm1(np.diff(g)) * toy.mses(g[1:])).sum() / LN2)
        for g in (np.linspace(GAMMA_MIN, GAMMA_MAX, 801), np.linspace(GAMMA_MIN, GAMMA_MAX, 1601))
    )
    return Sides(2 * fine - coarse, limit, 1e-3)


def change_of_variable() -> Sides:
    """(9) Half of the integral of gamma'(t) mse over t is that of mse over gamma: only the ends matter."""
    toy, schedule = few(), Rescaled(Cosine(), GAMMA_MIN, GAMMA_MAX)
    t = torch.linspace(0.0, 1.0, 1001, dtype=torch.float64)
    gammas, rate = schedule.gamma(t).numpy(), schedule.rate(t).numpy()
    over_t = np.trapezoid(0.5 * rate * toy.mses(gammas), t.numpy())
    even = np.linspace(GAMMA_MIN, GAMMA_MAX, 1001)
    return Sides(float(over_t), float(np.trapezoid(0.5 * toy.mses(even), even)), 1e-4)


def integral_over_snr() -> Sides:
    """(10) In SNR and the error of the image: half of the integral of E (x - x_hat)^2 over SNR."""
    toy, gammas = few(), np.linspace(GAMMA_MIN, GAMMA_MAX, 1001)
    snr, image = np.exp(-gammas), toy.mses(gammas) * np.exp(gammas)
    over_snr = -np.trapezoid(0.5 * image, snr)
    return Sides(float(over_snr), float(np.trapezoid(0.5 * toy.mses(gammas), gammas)), 1e-4)


def information_of_levels() -> Sides:
    """(11) For the exact denoiser that integral is the information that z_0 has of x and z_T has not."""
    toy, gammas = few(), np.linspace(GAMMA_MIN, GAMMA_MAX, 1001)
    integral = float(np.trapezoid(0.5 * toy.mses(gammas), gammas)) / LN2
    return Sides(integral, toy.information(GAMMA_MIN) - toy.information(GAMMA_MAX), 1e-6)


def best_variance() -> Sides:
    """(12) The best variance of p makes a step cost log(1 + gain mse) / 2: found by search."""
    gain, mse = math.expm1(1.83), 0.4
    rho = np.exp(np.linspace(-1.0, 4.0, 2_000_001))
    cost = 0.5 * (np.log(rho) + (1.0 + gain * mse) / rho - 1.0)
    return Sides(float(cost.min()), 0.5 * math.log1p(gain * mse), 1e-9)


def bits_back() -> Sides:
    """(13) Pushed minus popped bits are the KLs of the levels, on whatever grid."""
    levels = np.linspace(GAMMA_MIN, GAMMA_MAX, 41)
    mse = photograph().mses(levels[1:])
    net = float(pushed(levels, mse, 0.5).sum() - popped(levels, "bottom-up", 0.5).sum())
    steps = float(0.5 * np.log1p(np.expm1(np.diff(levels)) * mse).sum()) / LN2
    # the prior as the coder sees it, z_T of unit variance
    top = -0.5 * math.log2(float(sigmoid(GAMMA_MAX)))
    return Sides(net, steps + top, 1e-9)


EQUATIONS: dict[str, Callable[[], Sides]] = {
    "1": bound_and_gap,
    "2": bound_by_levels,
    "3": chain_of_steps,
    "4": posterior_by_bayes,
    "5": kl_of_a_step,
    "6": bound_of_diffusion,
    "7": random_step,
    "8": cost_of_steps,
    "9": change_of_variable,
    "10": integral_over_snr,
    "11": information_of_levels,
    "12": best_variance,
    "13": bits_back,
}
"""By number, in the order of the document."""
