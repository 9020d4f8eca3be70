"""Data whose best denoiser is known exactly: one value out of finitely many, alone or in dependent pairs.

With z_t = alpha_t f + sigma_t eps the posterior of f is a softmax over the values, so that the least error
mse(gamma) = E (eps - eps_hat)^2, the entropy and every term of the bound are integrals over one variable.
What holds for diffusion models in general must hold here without sampling error.

    u = z_t / alpha_t = f + exp(gamma / 2) eps,  eps - eps_hat = (f_hat - f) exp(-gamma / 2)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

GREY_LEVELS = 256
REACH = 9.0
"""Standard deviations of noise that an integral runs over on each side."""

CHUNK = 1 << 14
"""Points of an integral that are evaluated at once."""


@dataclass(frozen=True, eq=False)
class Lattice:
    """Independent values f with probabilities; both (n,), the values rising.

    Raises ValueError where they are no distribution.
    """

    values: Array
    probabilities: Array

    def __post_init__(self) -> None:
        if self.values.shape != self.probabilities.shape or self.values.ndim != 1:
            raise ValueError("values and probabilities must be two rows of equal length")
        if (np.diff(self.values) <= 0).any() or abs(self.probabilities.sum() - 1) > 1e-9:
            raise ValueError("values must rise and probabilities sum to 1")

    @cached_property
    def entropy(self) -> float:
        """Bits a value."""
        p = self.probabilities[self.probabilities > 0]
        return float(-(p * np.log2(p)).sum())

    @cached_property
    def variance(self) -> float:
        """Variance of f."""
        mean = self.probabilities @ self.values
        return float(self.probabilities @ (self.values - mean) ** 2)

    @cached_property
    def spacing(self) -> float:
        """Least distance of two values."""
        return float(np.diff(self.values).min()) if self.values.size > 1 else 1.0

    def posterior(self, u: Array, gamma: float) -> Array:
        """p(f | u), shape u.shape + (n,); u = z_t / alpha_t."""
        with np.errstate(divide="ignore"):
            prior = np.log(self.probabilities)
        joint = prior - 0.5 * (u[..., None] - self.values) ** 2 * np.exp(-gamma)
        joint = np.exp(joint - joint.max(-1, keepdims=True))
        return np.asarray(joint / joint.sum(-1, keepdims=True))

    def image(self, u: Array, gamma: float) -> Array:
        """f_hat = E[f | u], of the shape of u."""
        return np.asarray(self.posterior(u, gamma) @ self.values)

    def noise(self, z_t: Array, gamma: float) -> Array:
        """eps_hat = (z_t - alpha_t f_hat) / sigma_t, the best prediction of the noise in z_t."""
        alpha, sigma = np.sqrt(sigmoid(-gamma)), np.sqrt(sigmoid(gamma))
        return np.asarray((z_t - alpha * self.image(z_t / alpha, gamma)) / sigma)

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Draws of f."""
        return np.asarray(rng.choice(self.values, shape, p=self.probabilities))

    def mse(self, gamma: float) -> float:
        """E (eps - eps_hat)^2 of the exact denoiser."""
        return self._integrals(float(gamma))[0]

    def information(self, gamma: float) -> float:
        """I(f; z_t) in bits: what z_t tells of f."""
        return self._integrals(float(gamma))[1]

    def _integrals(self, gamma: float) -> tuple[float, float]:
        return _integrate(self, gamma)

    def mses(self, gammas: Array) -> Array:
        """`mse` of each gamma, the same shape."""
        return np.array([self.mse(g) for g in np.ravel(gammas)]).reshape(np.shape(gammas))


@lru_cache(maxsize=16384)
def _integrate(toy: Lattice, gamma: float) -> tuple[float, float]:
    """mse and mutual information by the trapezoid rule over u, to about 1e-8.

    The posterior turns from one value to the next within s^2 / spacing, the density within s.
    """
    s = float(np.exp(gamma / 2))
    spacing = toy.spacing
    step = s / 6 if s > spacing else min(s / 6, s * s / spacing / 2)
    if s < spacing / (2 * REACH):  # no two values can be mistaken for one another
        return 0.0, toy.entropy
    count = int((toy.values[-1] - toy.values[0] + 2 * REACH * s) / step) + 2
    grid = np.linspace(toy.values[0] - REACH * s, toy.values[-1] + REACH * s, count)
    reach = min(int(np.ceil(REACH * s / spacing)) + 1, toy.values.size)  # values farther off have no weight
    local = 2 * reach + 1 < toy.values.size
    offsets = np.arange(-reach, reach + 1)
    with np.errstate(divide="ignore"):
        prior = np.log(toy.probabilities)
    error = information = 0.0
    for first in range(0, count, CHUNK):
        u = grid[first : first + CHUNK, None]
        if local:
            index = np.searchsorted(toy.values, u) + offsets
            inside = (index >= 0) & (index < toy.values.size)
            index = np.where(inside, index, 0)
            values, weight = toy.values[index], np.where(inside, prior[index], -np.inf)
        else:
            values, weight = toy.values[None], prior[None]
        joint = weight - 0.5 * ((u - values) / s) ** 2
        top = np.maximum(joint.max(-1), -1e4)
        weights = np.exp(joint - top[:, None])
        total = np.maximum(weights.sum(-1), 1e-300)
        mean = (weights * values).sum(-1) / total
        second = (weights * values**2).sum(-1) / total
        log_density = top + np.log(total)  # of u, but for the factor 1 / (s sqrt(2 pi))
        density = np.exp(log_density)
        error += float((density * np.maximum(second - mean**2, 0.0)).sum())
        information += float((density * -log_density).sum())
    width = (grid[1] - grid[0]) / (s * np.sqrt(2 * np.pi))
    # h(u) - h(u | f), both without the shared constant; the noise has 1/2 of its exponent on average
    return error * width / (s * s), (information * width - 0.5) / np.log(2)


def sigmoid(x: float | Array) -> Array:
    """1 / (1 + exp(-x)) without overflow."""
    x = np.asarray(x, np.float64)
    return np.asarray(np.exp(-np.logaddexp(0.0, -x)))


def photograph(levels: int = GREY_LEVELS) -> Lattice:
    """Grey levels, a mixture of two bells: much as the pixels of a photograph are spread; 7.20 bits of 8."""
    x = (np.arange(levels) + 0.5) / levels
    dark = 0.65 / 20.6 * np.exp(-0.5 * ((x - 0.3535) / 0.0805) ** 2)
    light = 0.35 / 19.3 * np.exp(-0.5 * ((x - 0.6465) / 0.0754) ** 2)
    return Lattice(2.0 * x - 1.0, (dark + light) / (dark + light).sum())


def few(levels: int = 5) -> Lattice:
    """A few uneven values between -1 and 1: coarse enough that every regime of noise is cheap to reach."""
    values = np.linspace(-0.9, 0.9, levels)
    p = 1.0 + np.arange(levels) % 3
    return Lattice(values, p / p.sum())


def grey_reconstruction(gamma: float) -> float:
    """E -log2 p(x | z_0) of the softmax decoder over grey levels, away from black and white."""
    s = np.exp(gamma / 2)
    eps = np.linspace(-REACH, REACH, 8001)
    weight = np.exp(-0.5 * eps**2)
    near = min(GREY_LEVELS // 2, int(2 * REACH * s * GREY_LEVELS / 2) + 2)
    steps = np.arange(-near, near + 1) * (2.0 / GREY_LEVELS)
    exponent = 0.5 * eps[:, None] ** 2 - 0.5 * (eps[:, None] + steps / s) ** 2
    top = exponent.max(-1)
    cost = top + np.log(np.exp(exponent - top[:, None]).sum(-1))
    return float(weight @ cost / weight.sum() / np.log(2))
