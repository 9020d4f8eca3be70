"""Two dependent values, the smallest picture: the exact denoiser sums over all their combinations.

Samples are drawn once and keep their noise at every level (common noise), so that curves over levels are
smooth and differences between models are not those of the draw.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vdmcompress.lab.lattice import Array, sigmoid


@dataclass(frozen=True, eq=False)
class Pairs:
    """values (m,), even and rising; joint (m, m), the probability of (x_1, x_2)."""

    values: Array
    joint: Array

    @property
    def entropy(self) -> float:
        """Bits a value, half of those of a pair."""
        p = self.joint[self.joint > 0]
        return float(-(p * np.log2(p)).sum() / 2)

    def independent(self) -> Pairs:
        """The same two histograms without the dependence."""
        return Pairs(self.values, np.outer(self.joint.sum(1), self.joint.sum(0)))

    def code_length(self, index: NDArray[np.int64]) -> float:
        """Mean -log2 p of pairs (n, 2), bits a value."""
        return float(-np.log2(self.joint[index[:, 0], index[:, 1]]).mean() / 2)

    @property
    def marginal_entropy(self) -> float:
        """Bits a value where each is coded without the other."""
        total = 0.0
        for p in (self.joint.sum(0), self.joint.sum(1)):
            total -= float((p[p > 0] * np.log2(p[p > 0])).sum())
        return total / 2


def neighbours(levels: int = 24) -> Pairs:
    """Two neighbouring pixels of few levels: an uneven histogram, a Laplace difference, a share of edges."""
    k = np.arange(levels)
    marginal = np.exp(-0.5 * ((k - 0.35 * levels) / (0.2 * levels)) ** 2) + 0.3 * np.exp(
        -0.5 * ((k - 0.75 * levels) / (0.08 * levels)) ** 2
    )
    marginal /= marginal.sum()
    near = np.exp(-np.abs(k[:, None] - k[None, :]) / 1.2)
    joint = 0.9 * near * np.sqrt(np.outer(marginal, marginal)) / near.sum() * levels + 0.1 * np.outer(
        marginal, marginal
    )
    return Pairs((2.0 * k + 1.0) / levels - 1.0, joint / joint.sum())


@dataclass(frozen=True, eq=False)
class Draws:
    """n pairs: index (n, 2) of the values, int64, and their noise eps (n, 2)."""

    toy: Pairs
    index: NDArray[np.int64]
    eps: Array
    grid: Array = field(init=False)
    f: Array = field(init=False)

    def __post_init__(self) -> None:
        m = len(self.toy.values)
        grid = np.stack(np.meshgrid(self.toy.values, self.toy.values, indexing="ij"), -1).reshape(m * m, 2)
        object.__setattr__(self, "grid", grid)
        object.__setattr__(self, "f", self.toy.values[self.index])

    def posterior(self, u: Array, gamma: float) -> Array:
        """p(x_1, x_2 | u), (n, m, m)."""
        with np.errstate(divide="ignore"):
            log = np.log(self.toy.joint.ravel())[None] - np.zeros((len(u), 1))
        for i in range(2):
            log -= 0.5 * (u[:, i, None] - self.grid[:, i]) ** 2 * np.exp(-gamma)
        p = np.exp(log - log.max(1, keepdims=True))
        m = len(self.toy.values)
        return np.asarray((p / p.sum(1, keepdims=True)).reshape(-1, m, m))

    def error(self, u: Array, gamma: float) -> float:
        """Mean squared error of the noise in u."""
        p = self.posterior(u, gamma).reshape(len(self.f), -1)
        return float((((p @ self.grid - self.f) * np.exp(-gamma / 2)) ** 2).mean())


def draw(toy: Pairs, count: int, seed: int) -> Draws:
    """`count` pairs and their noise."""
    rng = np.random.default_rng(seed)
    m = len(toy.values)
    flat = rng.choice(m * m, count, p=toy.joint.ravel())
    return Draws(toy, np.stack(np.divmod(flat, m), -1), rng.standard_normal((count, 2)))


def chain_of(draws: Draws, gammas: Array, seed: int) -> Array:
    """z_0..z_T of q for each draw, (T + 1, n, 2): one trajectory of the forward process."""
    rng = np.random.default_rng(seed)
    z = np.sqrt(sigmoid(-gammas[0])) * draws.f + np.sqrt(sigmoid(gammas[0])) * draws.eps
    chain = [z]
    for s, t in zip(gammas[:-1], gammas[1:], strict=True):
        shrink = np.sqrt(sigmoid(-t) / sigmoid(-s))
        noise = np.sqrt(sigmoid(t) * -np.expm1(s - t))
        z = shrink * z + noise * rng.standard_normal(z.shape)
        chain.append(z)
    return np.stack(chain)
