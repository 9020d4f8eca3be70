"""Which levels of noise a chain visits: even, strided, or chosen by dynamic programming.

Any step set costs the sum of its steps, and a step's expected KL needs nothing but mse(gamma_t), the mean
squared error of the noise there:  expm1(gamma_t - gamma_s) mse / 2 with the posterior's own variance, and
log(1 + expm1(gamma_t - gamma_s) mse) / 2 with the best scalar variance.  So one measured curve prices every
set.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from vdmcompress.vdm32.process import LN2
from vdmcompress.vdm32.schedule import Schedule

Price = Literal["lower", "scalar"]


def even(schedule: Schedule, steps: int) -> Tensor:
    """gamma at t = 0, 1/T, .. 1, float64 (T + 1,)."""
    with torch.no_grad():
        return schedule.levels(steps).double()


def strided(gammas: Tensor, steps: int) -> Tensor:
    """K of the T steps of a chain, evenly spaced, ends kept: (T + 1,) -> (K + 1,) (Improved DDPM section 4).

    Raises:
        ValueError: K is not within 1 to T.
    """
    last = len(gammas) - 1
    if not 1 <= steps <= last:
        raise ValueError(f"{steps} of {last} steps; allowed are 1 to {last}")
    return gammas[torch.linspace(0, last, steps + 1, dtype=torch.float64).round().long()]


def prices(gammas: Tensor, mse: Tensor, price: Price = "lower") -> Tensor:
    """Bits of a value of the step from level i to level j > i, (M + 1, M + 1), infinite elsewhere."""
    gain = torch.expm1(gammas[None, :] - gammas[:, None])
    nats = 0.5 * gain * mse[None, :] if price == "lower" else 0.5 * torch.log1p(gain * mse[None, :])
    later = torch.arange(len(gammas))
    return torch.where(later[None, :] > later[:, None], nats / LN2, torch.inf)


def cost(gammas: Tensor, mse: Tensor, price: Price = "lower") -> float:
    """Bits of a value of the chain through these levels, mse (M + 1,) at each of them."""
    return float(prices(gammas, mse, price).diagonal(1).sum())


def cheapest(gammas: Tensor, mse: Tensor, most: int, price: Price = "lower") -> list[Tensor]:
    """For K = 1 .. `most` the cheapest chain of K steps through candidate levels: indices (K + 1,) each.

    gammas, mse: rising candidates (M + 1,); both ends are always visited.  Watson et al. 2021 choose sampling
    steps this way.  Choose on one set of images and score on another: a noisy curve flatters its own choice.
    """
    table = prices(gammas, mse, price)
    best = torch.full((len(gammas),), torch.inf, dtype=table.dtype)
    best[0] = 0.0
    choices: list[Tensor] = []
    chains: list[Tensor] = []
    for _ in range(most):
        best, came = (best[:, None] + table).min(0)
        choices.append(came)
        at = len(gammas) - 1
        path = [at]
        for choice in reversed(choices):
            at = int(choice[at])
            path.append(at)
        chains.append(torch.tensor(path[::-1]))
    return chains
