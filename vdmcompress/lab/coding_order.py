"""Ideal code lengths of a chain of latents in its two orders, on grids that do not depend on the data.

Top-down (every latent popped before anything is pushed):      z_T, then each z_s given z_t and x.
Bottom-up (Bit-Swap; Kingma et al. 2019): z_0 given x, push x; then pop z_t given z_s, push z_s, and so on.

A grid is `width` conditional standard deviations sigma_s sqrt(c) of its level, the top as wide as the one
below. Popping a Gaussian of deviation s from a grid of width d takes log2(s / d) + log2(2 pi e) / 2 bits, as
long as d is not much more than s.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from vdmcompress.lab.lattice import Array, sigmoid

Order = Literal["bottom-up", "top-down"]
HALF_LOG_2PIE = 0.5 * float(np.log2(2 * np.pi * np.e))


def grids(levels: Array, width: float = 1.0) -> Array:
    """Width of the grid of each level, (T + 1,); levels: gamma_0..gamma_T."""
    c = -np.expm1(levels[:-1] - levels[1:])
    below = np.sqrt(sigmoid(levels[:-1]) * c)
    return np.asarray(width * np.append(below, np.sqrt(sigmoid(levels[-1]) * c[-1])))


def popped(levels: Array, order: Order, width: float = 1.0) -> Array:
    """Bits that each pop of q takes, (T + 1,), level 0 first."""
    c = -np.expm1(levels[:-1] - levels[1:])
    if order == "top-down":
        deviation = np.append(sigmoid(levels[:-1]) * c, sigmoid(levels[-1])) ** 0.5
    else:
        deviation = np.append(sigmoid(levels[0]), sigmoid(levels[1:]) * c) ** 0.5
    return np.asarray(np.log2(deviation / grids(levels, width)) + HALF_LOG_2PIE)


def pushed(levels: Array, mse: Array, width: float = 1.0) -> Array:
    """Bits that each push of p gives, (T + 1,), level 0 first and the prior last, p with its best variance.

    mse: error of the noise at levels 1..T.  The prior is N(0, 1), and z_T has unit variance.
    """
    gain = np.expm1(np.diff(levels))
    c = -np.expm1(levels[:-1] - levels[1:])
    deviation = np.append(sigmoid(levels[:-1]) * c * (1.0 + gain * mse), 1.0) ** 0.5
    return np.asarray(np.log2(deviation / grids(levels, width)) + HALF_LOG_2PIE)


def net_bits(levels: Array, mse: Array, order: Order, width: float = 1.0) -> float:
    """Pushed minus popped; reconstruction left out."""
    return float(pushed(levels, mse, width).sum() - popped(levels, order, width).sum())


def initial_bits(levels: Array, order: Order, width: float = 1.0, data: float = 0.0) -> float:
    """Depth that the stack has to have before the first pop, bits a value.

    data: bits that pushing x gives, close to 0 where z_0 tells x.
    """
    pops = popped(levels, order, width)
    if order == "top-down":
        return float(pops.sum())
    # before z_t is popped, x and z_0..z_(t-2) are pushed; a push gives at least the posterior's bits
    pushes = popped(levels, "top-down", width)[: len(levels) - 2]
    returned = np.cumsum(np.concatenate(([0.0, data], pushes)))
    return float((np.cumsum(pops) - returned).max())
