"""Rows I3, I7 to I9: schedules and steps of Improved DDPM, on data whose mse(gamma) is known exactly."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from vdmcompress.lab.finding import Curve, Finding, Plot, Setting
from vdmcompress.lab.lattice import Array, few, grey_reconstruction, photograph
from vdmcompress.lab.rows_iddpm import IDDPM_ROWS
from vdmcompress.vdm32 import objective
from vdmcompress.vdm32 import steps as plans
from vdmcompress.vdm32.checkpoint import load
from vdmcompress.vdm32.data import load_images, spread
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


def trained(setting: Setting, points: int) -> tuple[Tensor, Tensor, Tensor] | None:
    """gammas and the errors of a trained vdm32 on two halves of some images, (M,); None without images."""
    if setting.images is None:
        return None
    model = load(setting.checkpoint)
    images = spread(load_images(setting.images), setting.times(32, 4))
    with torch.no_grad():
        ends = model.schedule.gamma(torch.tensor([0.0, 1.0])).tolist()
    gammas = torch.linspace(ends[0], ends[1], points)
    halves = []
    for half in (images[::2], images[1::2]):
        draw = torch.Generator().manual_seed(setting.seed)  # common noise, else chosen levels fit the noise
        halves.append(objective.error_curve(model.denoiser, half, gammas, draw).double())
    return gammas.double(), halves[0], halves[1]


PRICES: tuple[plans.Price, ...] = ("lower", "scalar")
COUNTS = (5, 10, 25, 50)


def chosen_and_even(
    gammas: Tensor, choosing: Tensor, scoring: Tensor
) -> dict[tuple[plans.Price, int], tuple[float, float]]:
    """Cost of K even levels and of K chosen ones, by price and K: chosen on one curve, scored on another."""
    table: dict[tuple[plans.Price, int], tuple[float, float]] = {}
    for price in PRICES:
        best = plans.cheapest(gammas, choosing, max(COUNTS), price)
        for k in COUNTS:
            even = torch.linspace(0, len(gammas) - 1, k + 1).round().long()
            at = best[k - 1]
            table[price, k] = (
                plans.cost(gammas[even], scoring[even], price),
                plans.cost(gammas[at], scoring[at], price),
            )
    return table


def i8(setting: Setting) -> Finding:
    """Chosen against even levels with both variances: exact denoiser, and a trained network where given."""
    gammas, mse = _curve(201)
    tables = {"exact": chosen_and_even(gammas, mse, mse)}
    network = trained(setting, 61)
    if network is not None:
        tables["vdm32"] = chosen_and_even(*network)
    parts = [
        f"{name}, {', '.join(map(str, COUNTS))} steps, best variances: even "
        + ", ".join(f"{table['scalar', k][0]:.3f}" for k in COUNTS)
        + ", chosen "
        + ", ".join(f"{table['scalar', k][1]:.3f}" for k in COUNTS)
        for name, table in tables.items()
    ]
    return _finding(
        "I8",
        "diffusion loss in bits a value. " + "; ".join(parts),
        all(chosen < even for table in tables.values() for even, chosen in table.values()),
        {f"{source}, {price}, {name}, {k} steps": value for source, table in tables.items()
         for (price, k), pair in table.items() for name, value in zip(("even", "chosen"), pair, strict=True)},
        *(Plot(f"Chosen and even levels, {source}", "steps K", "diffusion loss, bits a value", tuple(
            Curve(f"{name}, {'fixed' if price == 'lower' else 'best'} variance", tuple(map(float, COUNTS)),
                  tuple(table[price, k][i] for k in COUNTS))
            for price in PRICES for i, name in enumerate(("even", "chosen"))), log_x=True, log_y=True)
          for source, table in tables.items()),
    )  # fmt: skip


def hundred(gammas: Tensor, choosing: Tensor, scoring: Tensor) -> dict[str, float]:
    """Costs of 100 and of 1000 steps, the curve taken as linear between its points."""
    fine = torch.linspace(float(gammas[0]), float(gammas[-1]), 1001, dtype=gammas.dtype)
    curves = [torch.from_numpy(np.interp(fine, gammas, curve)) for curve in (choosing, scoring)]
    at = plans.cheapest(fine[::5], curves[0][::5], 100, "scalar")[-1]
    return {
        "100 chosen, best": plans.cost(fine[::5][at], curves[1][::5][at], "scalar"),
        "100 even, fixed": plans.cost(fine[::10], curves[1][::10]),
        "1000 even, fixed": plans.cost(fine, curves[1]),
        "1000 even, best": plans.cost(fine, curves[1], "scalar"),
    }


def i9(setting: Setting) -> Finding:
    """100 chosen steps with the best variances against 1000 of VDM's own."""
    gammas, mse = _curve(1001)
    found = {"exact": hundred(gammas, mse, mse)}
    network = trained(setting, 61)
    if network is not None:
        found["vdm32"] = hundred(*network)
    parts = [
        f"{name}: 100 chosen steps with the best variances {cost['100 chosen, best']:.3f} bits a value, "
        f"1000 even "
        f"ones {cost['1000 even, fixed']:.3f} with the posterior's variance and "
        f"{cost['1000 even, best']:.3f} with "
        f"the best; 100 even ones with the posterior's {cost['100 even, fixed']:.3f}"
        for name, cost in found.items()
    ]
    return _finding(
        "I9",
        "; ".join(parts),
        all(cost["100 chosen, best"] - cost["1000 even, fixed"] < 0.05 for cost in found.values()),
        {f"{name}, {key}": value for name, cost in found.items() for key, value in cost.items()},
    )
