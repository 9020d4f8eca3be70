"""Rows I3, I7 to I9: schedules and steps of Improved DDPM, on data whose mse(gamma) is known exactly."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from vdmcompress.lab.finding import Curve, Finding, Plot, Setting
from vdmcompress.lab.lattice import Array, few, grey_reconstruction, photograph
from vdmcompress.lab.rows_iddpm import IDDPM_ROWS
from vdmcompress.vdm32 import steps as plans
from vdmcompress.vdm32.process import LN2, Step
from vdmcompress.vdm32.schedule import GAMMA_MAX, GAMMA_MIN, Cosine

BETA_CAP = 0.999


def _finding(row: str, measured: str, passed: bool, figures: dict[str, float], *plots: Plot) -> Finding:
    return Finding(row, IDDPM_ROWS[row].claim, measured, passed, figures, plots)


def linear_chain(steps: int) -> Array:
    """gamma of DDPM's linear betas, 1e-4 to 0.02 at T = 1000 and scaled by 1000 / T, (T,)."""
    betas = np.linspace(1e-4, 0.02, steps) * 1000.0 / steps
    return gammas_of(betas)


def cosine_chain(steps: int, offset: float = 0.008) -> Array:
    """gamma of the cosine schedule: alpha_bar = cos^2 of an angle, betas at most 0.999, (T,)."""
    t = np.arange(steps + 1) / steps
    bar = np.cos((t + offset) / (1 + offset) * math.pi / 2) ** 2
    return gammas_of(np.minimum(1.0 - bar[1:] / bar[:-1], BETA_CAP))


def gammas_of(betas: Array) -> Array:
    """gamma = log((1 - alpha_bar) / alpha_bar) of a chain of betas, without 1 - alpha_bar."""
    log_bar = np.cumsum(np.log1p(-betas))
    return np.asarray(np.log(-np.expm1(log_bar)) - log_bar)


def betas_of(gammas: Array) -> Array:
    """The betas of a chain, the first from the clean data."""
    log_bar = -np.logaddexp(0.0, gammas)
    return np.asarray(-np.expm1(np.diff(log_bar, prepend=0.0)))


def i3(setting: Setting) -> Finding:
    """The formula, and what steps of either schedule cost for the exact denoiser, ends included."""
    t = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    ours = Cosine(last=1.0).gamma(t).numpy()
    formula = np.interp(t.numpy(), np.arange(1, 4001) / 4000, cosine_chain(4000))
    # the paper divides by f(0); the continuous form does not: the difference is a constant of alpha_bar
    start = math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    log_bar = -np.logaddexp(0.0, ours) - math.log(start)
    off = float(np.abs(np.log(-np.expm1(log_bar)) - log_bar - formula).max())
    toy = photograph()
    grid = np.linspace(-14.0, 14.0, 561)
    mse = toy.mses(grid)
    second = toy.variance + float(toy.probabilities @ toy.values) ** 2
    figures: dict[str, float] = {"off by, gamma": off}
    total: dict[tuple[str, int], float] = {}
    fixed: dict[tuple[str, int], float] = {}
    for steps in (100, 1000, 4000):
        for name, chain in (("linear", linear_chain(steps)), ("cosine", cosine_chain(steps))):
            gain = np.expm1(np.diff(chain))
            diffusion = float(0.5 * np.log1p(gain * np.interp(chain[1:], grid, mse)).sum()) / LN2
            keep, noise = 1 / (1 + math.exp(chain[-1])), 1 / (1 + math.exp(-chain[-1]))
            prior = 0.5 * (keep * second + noise - 1.0 - math.log(noise)) / LN2
            # the codec's own p(x | z_0): the first level is where the data are told
            last = grey_reconstruction(float(chain[0]))
            total[name, steps] = diffusion + prior + last
            plain = float(0.5 * (gain * np.interp(chain[1:], grid, mse)).sum()) / LN2
            fixed[name, steps] = plain + prior + last
            figures[f"{name}, {steps} steps, posterior's variance"] = fixed[name, steps]
            figures[f"{name}, {steps} steps"] = total[name, steps]
            figures[f"{name}, {steps} steps, reconstruction"] = last
    return _finding(
        "I3",
        f"the chain of betas and the closed form agree within {off:.1e} in gamma; with the posterior's "
        f"variance "
        f"4000 steps cost {fixed['cosine', 4000]:.3f} bits a value by cosine, {fixed['linear', 4000]:.3f} "
        f"by linear "
        f"betas (100 steps: {fixed['cosine', 100]:.2f} and {fixed['linear', 100]:.2f}), with the best "
        f"variances "
        f"{total['cosine', 4000]:.3f} and {total['linear', 4000]:.3f} (100 steps: "
        f"{total['cosine', 100]:.3f} and "
        f"{total['linear', 100]:.3f}); entropy {toy.entropy:.3f}",
        off < 2e-3 and fixed["cosine", 4000] < fixed["linear", 4000],
        figures,
        Plot("Levels of two schedules", "t", "gamma", tuple(
            Curve(n, tuple(np.arange(20, 1001, 20) / 1000), tuple(c[19::20]))
            for n, c in (("linear betas", linear_chain(1000)), ("cosine", cosine_chain(1000))))),
    )  # fmt: skip


def chain_cost(gammas: Tensor, mse: Tensor) -> Tensor:
    """Bits of each step with the posterior's variance; mse (T,) of the steps' upper ends."""
    return 0.5 * Step(gammas[:-1], gammas[1:]).gain * mse / LN2


def i7(setting: Setting) -> Finding:
    """Steps of a strided chain against a chain built from recomputed betas."""
    toy, full = few(), cosine_chain(1000)
    figures, off = {}, 0.0
    for k in (10, 25, 100):
        kept = plans.strided(torch.from_numpy(full), k).numpy()
        rebuilt = gammas_of(betas_of(kept))
        mse = torch.from_numpy(toy.mses(kept[1:]))
        one, other = (chain_cost(torch.from_numpy(g), mse) for g in (kept, rebuilt))
        off = max(off, float((one - other).abs().max()))
        figures[f"{k} of 1000 steps"] = float(one.sum())
    return _finding(
        "I7",
        f"a strided chain and the chain of its recomputed betas cost the same within {off:.1e} bits a step; "
        f"{figures['10 of 1000 steps']:.2f}, {figures['25 of 1000 steps']:.2f}, "
        f"{figures['100 of 1000 steps']:.2f} bits a value at 10, 25, 100 steps",
        off < 1e-9,
        figures,
    )


def _curve(points: int) -> tuple[Tensor, Tensor]:
    gammas = np.linspace(GAMMA_MIN, GAMMA_MAX, points)
    return torch.from_numpy(gammas), torch.from_numpy(photograph().mses(gammas))


def i8(setting: Setting) -> Finding:
    """Chosen against even levels with the posterior's variance and with the best, without sampling error."""
    gammas, mse = _curve(201)
    table: dict[tuple[str, int], tuple[float, float]] = {}
    counts = (5, 10, 25, 50, 100)
    prices: tuple[plans.Price, ...] = ("lower", "scalar")
    for price in prices:
        chosen = plans.cheapest(gammas, mse, max(counts), price)
        for k in counts:
            even = torch.linspace(0, len(gammas) - 1, k + 1).round().long()
            table[price, k] = (
                plans.cost(gammas[even], mse[even], price),
                plans.cost(gammas[chosen[k - 1]], mse[chosen[k - 1]], price),
            )
    saved = {k: 1 - table["scalar", k][1] / table["scalar", k][0] for k in counts}
    return _finding(
        "I8",
        f"chosen levels cost less at every K from {counts[0]} to {counts[-1]}, by {100 * saved[5]:.1f} % at "
        f"5 steps "
        f"and {100 * saved[100]:.1f} % at 100 with the best variances",
        all(chosen < even for even, chosen in table.values()),
        {f"{price}, {name}, {k} steps": value for (price, k), pair in table.items()
         for name, value in zip(("even", "chosen"), pair, strict=True)},
        Plot("Chosen and even levels", "steps K", "diffusion loss, bits a value", tuple(
            Curve(f"{name}, {'fixed' if price == 'lower' else 'best'} variance", tuple(map(float, counts)),
                  tuple(table[price, k][i] for k in counts))
            for price in prices for i, name in enumerate(("even", "chosen"))), log_x=True, log_y=True),
    )  # fmt: skip


def i9(setting: Setting) -> Finding:
    """100 chosen steps with the best variances against 1000 of VDM's own."""
    gammas, mse = _curve(1001)
    thousand = plans.cost(gammas, mse)
    scalar = plans.cost(gammas, mse, "scalar")
    coarse, errors = gammas[::5], mse[::5]
    index = plans.cheapest(coarse, errors, 100, "scalar")[-1]
    hundred = plans.cost(coarse[index], errors[index], "scalar")
    even = plans.cost(gammas[::10], mse[::10])
    return _finding(
        "I9",
        f"100 chosen steps with the best variances: {hundred:.3f} bits a value; 1000 even steps: "
        f"{thousand:.3f} with "
        f"the posterior's variance, {scalar:.3f} with the best; 100 even steps with the posterior's: "
        f"{even:.3f}",
        hundred - thousand < 0.05,
        {"100 chosen, best": hundred, "100 even, fixed": even, "1000 even, fixed": thousand,
         "1000 even, best": scalar},
    )  # fmt: skip
