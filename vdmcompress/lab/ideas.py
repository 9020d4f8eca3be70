"""Rows X3 to X8: ideas about schedules, ends, steps and grids, on data with exact denoisers."""

from __future__ import annotations

import math

import numpy as np
import torch

from vdmcompress.lab.coding_order import grids, initial_bits
from vdmcompress.lab.finding import Curve, Finding, Plot, Setting
from vdmcompress.lab.lattice import Array, Lattice, grey_reconstruction, photograph, sigmoid
from vdmcompress.lab.pairs import Draws, chain_of, draw, neighbours
from vdmcompress.lab.rows_ideas import IDEA_ROWS
from vdmcompress.vdm32 import steps as plans
from vdmcompress.vdm32.schedule import GAMMA_MAX, GAMMA_MIN

LN2 = math.log(2.0)


def _finding(row: str, measured: str, passed: bool, figures: dict[str, float], *plots: Plot) -> Finding:
    return Finding(row, IDEA_ROWS[row].claim, measured, passed, figures, plots)


def row_of_pixels(pixels: int = 8, correlation: float = 0.95, variance: float = 0.25) -> tuple[Array, Array]:
    """Haar coefficients of a row of correlated Gaussian pixels: covariance (n, n), and the band of each.

    Band 0 is the mean of all, the last band the differences of neighbours.
    """
    place = np.arange(pixels)
    covariance = variance * correlation ** np.abs(place[:, None] - place[None, :])
    rows, bands = [np.full(pixels, pixels**-0.5)], [0]
    for band in range(1, pixels.bit_length()):
        length = pixels >> (band - 1)
        for first in range(0, pixels, length):
            row = np.zeros(pixels)
            row[first : first + length // 2], row[first + length // 2 : first + length] = 1.0, -1.0
            rows.append(row / length**0.5)
            bands.append(band)
    haar = np.array(rows)
    return haar @ covariance @ haar.T, np.array(bands)


def staggered(steps: int, lead: float, bands: Array) -> Array:
    """gamma of every coefficient at each level, (T + 1, n), rising.

    lead: 0 gives all bands the same levels; 1 finishes a band before the next finer one begins (the
    cascade); -1 the same from fine to coarse.
    """
    last = int(bands.max())
    width = 1.0 / (1.0 + last * abs(lead))
    # noise reaches the finest band first, so that on the way back the coarsest is clean first
    order = last - bands if lead >= 0 else bands
    first = (1.0 - width) * order / last
    t = np.linspace(0.0, 1.0, steps + 1)[:, None]
    return np.asarray(GAMMA_MIN + (GAMMA_MAX - GAMMA_MIN) * np.clip((t - first) / width, 0.0, 1.0))


def staggered_bits(covariance: Array, bands: Array, levels: Array, sees_finer: bool = True) -> float:
    """Diffusion loss of a chain of Gaussian steps with their best variances, bits a value; exact.

    sees_finer: whether the denoiser of a band is given the noisy coefficients of finer bands.
    """
    total = 0.0
    for below, above in zip(levels[:-1], levels[1:], strict=True):
        for band in range(int(bands.max()) + 1):
            used = np.ones(len(bands), bool) if sees_finer else bands <= band
            own = (bands == band)[used]
            precision = np.linalg.inv(covariance[np.ix_(used, used)]) + np.diag(np.exp(-above[used]))
            error = np.diag(np.linalg.inv(precision))[own] * np.exp(-above[used][own])
            total += float(np.log1p(np.expm1((above - below)[used][own]) * error).sum())
    return total / (2 * LN2 * len(bands))


def x3(setting: Setting) -> Finding:
    """Coefficients with schedules of their own; correlated Gaussian pixels, where all of it is exact."""
    covariance, bands = row_of_pixels()
    leads, counts = {"shared": 0.0, "coarse first": 1.0, "fine first": -1.0}, (8, 16, 32, 64, 512)
    full, narrow = (
        {(name, k): staggered_bits(covariance, bands, staggered(k, lead, bands), sees)
         for name, lead in leads.items() for k in counts}
        for sees in (True, False)
    )  # fmt: skip
    fine = [full[name, 512] for name in leads]
    broken = narrow["shared", 512] - narrow["coarse first", 512]
    spread = max(fine) - min(fine)
    return _finding(
        "X3",
        f"exact denoiser, 512 steps: within {spread:.3f} bits a value whatever the schedule; 16 steps: "
        f"{full['shared', 16]:.3f} shared, {full['coarse first', 16]:.3f} coarse first. A denoiser that "
        f"sees no "
        f"finer band, as the cascade's: {narrow['shared', 512]:.3f} shared, "
        f"{narrow['coarse first', 512]:.3f} "
        f"coarse first, {narrow['fine first', 512]:.3f} fine first",
        broken > 3 * spread,
        {**{f"{n}, {k} steps": bits for (n, k), bits in full.items()},
         **{f"{n}, {k} steps, no finer band": bits for (n, k), bits in narrow.items()}},
        Plot("Schedules by band", "steps", "diffusion loss, bits a value", tuple(
            Curve(n + suffix, tuple(map(float, counts)), tuple(table[n, k] for k in counts))
            for n in leads for table, suffix in ((full, ""), (narrow, ", no finer band"))), log_x=True),
    )  # fmt: skip


def prior_excess(toy: Lattice, gamma_1: float) -> tuple[float, float]:
    """E KL(q(z_1 | x) || p(z_1)) above I(x; z_1), bits a value: p = N(0, 1), p fitted to z_1's moments."""
    keep, noise = float(sigmoid(-gamma_1)), float(sigmoid(gamma_1))
    second = toy.variance + float(toy.probabilities @ toy.values) ** 2
    unit = 0.5 * (keep * second + noise - 1.0 - math.log(noise)) / LN2
    fitted = 0.5 * math.log1p(toy.variance * math.exp(-gamma_1)) / LN2
    information = toy.information(gamma_1)
    return unit - information, fitted - information


def x4(setting: Setting) -> Finding:
    """How early the diffusion can end, with the prior N(0, I) and with a fitted Gaussian."""
    toy = photograph()
    ends = [5.0, 4.0, 3.0, 2.0, 1.0, 0.0, -1.0, -2.0, -3.0]
    excess = {end: prior_excess(toy, end) for end in ends}
    within = [min((e for e in ends if excess[e][i] < 0.01), default=GAMMA_MAX) for i in range(2)]
    saved = [(GAMMA_MAX - end) / (GAMMA_MAX - GAMMA_MIN) for end in within]
    return _finding(
        "X4",
        f"within 0.01 bits a value N(0, 1) allows gamma_1 = {within[0]:g} ({100 * saved[0]:.0f} % of the "
        f"levels "
        f"saved), a fitted Gaussian {within[1]:g} ({100 * saved[1]:.0f} %); at gamma_1 = 0 they cost "
        f"{excess[0.0][0]:.4f} and {excess[0.0][1]:.4f}",
        within[1] < within[0] and all(e[1] <= e[0] + 1e-9 for e in excess.values()),
        {f"{name}, gamma_1 {end:g}": excess[end][i] for i, name in enumerate(("N(0, 1)", "fitted"))
         for end in ends},
        Plot("Cost of ending early", "gamma_1", "bits a value above the whole diffusion", tuple(
            Curve(name, tuple(ends), tuple(max(excess[e][i], 1e-6) for e in ends))
            for i, name in enumerate(("N(0, 1)", "fitted Gaussian"))), log_y=True),
    )  # fmt: skip


def categorical_bits(draws: Draws, gammas: Array, seed: int) -> float:
    """Bits a value, ends included, with p(z_s | z_t) = sum over x of p(x_i | z_t) q(z_s | z_t, x_i = x)."""
    chain, values = chain_of(draws, gammas, seed), draws.toy.values
    total = 0.0
    for s in range(len(gammas) - 1):
        g_s, g_t = float(gammas[s]), float(gammas[s + 1])
        z_s, z_t = chain[s], chain[s + 1]
        both = draws.posterior(z_t / np.sqrt(sigmoid(-g_t)), g_t)
        c = -np.expm1(g_s - g_t)
        shrink = np.sqrt(sigmoid(-g_t) / sigmoid(-g_s))
        variance = sigmoid(g_s) * c
        for i in range(2):
            p = both.sum(2 - i)  # over the other value
            mean = np.exp(g_s - g_t) / shrink * z_t[:, i, None] + np.sqrt(sigmoid(-g_s)) * c * values
            log_q = -0.5 * (z_s[:, i, None] - mean) ** 2 / variance
            own = log_q[np.arange(len(p)), draws.index[:, i]]
            top = log_q.max(1)
            total += float((own - top - np.log((p * np.exp(log_q - top[:, None])).sum(1) + 1e-300)).mean())
    return (total + _chain_ends(draws, chain, gammas, categorical=True)) / (2 * LN2)


def _chain_ends(draws: Draws, chain: Array, gammas: Array, categorical: bool) -> float:
    """Nats of a pair: log q(z_T | x) / N(z_T; 0, 1), and -log p(x_i | z_0), by the head or by distance."""
    z, gamma = chain[-1], float(gammas[-1])
    off = (z - np.sqrt(sigmoid(-gamma)) * draws.f) ** 2 / sigmoid(gamma)
    total = float((0.5 * (z**2 - off) - 0.5 * np.log(sigmoid(gamma))).sum(1).mean())
    gamma = float(gammas[0])
    u = chain[0] / np.sqrt(sigmoid(-gamma))
    both = draws.posterior(u, gamma) if categorical else None
    for i in range(2):
        if both is None:
            log = -0.5 * (u[:, i, None] - draws.toy.values) ** 2 * np.exp(-gamma)
            p = np.exp(log - log.max(1, keepdims=True))
            p /= p.sum(1, keepdims=True)
        else:
            p = both.sum(2 - i)
        total -= float(np.log(p[np.arange(len(p)), draws.index[:, i]] + 1e-300).mean())
    return total


def errors_along(draws: Draws, chain: Array, gammas: Array) -> Array:
    """Mean squared errors of the noise at levels 1..T of a chain, (T,)."""
    scaled = [z / np.sqrt(sigmoid(-g)) for z, g in zip(chain[1:], gammas[1:], strict=True)]
    return np.array([draws.error(u, float(g)) for u, g in zip(scaled, gammas[1:], strict=True)])


def gaussian_bits(draws: Draws, gammas: Array, seed: int) -> float:
    """Bits a value, ends included, of a chain of Gaussian steps, variances best for the errors met."""
    chain = chain_of(draws, gammas, seed)
    excess = np.expm1(np.diff(gammas)) * errors_along(draws, chain, gammas)
    ends = _chain_ends(draws, chain, gammas, categorical=False)
    return float((0.5 * np.log1p(excess).sum() + ends / 2) / LN2)


def x5(setting: Setting) -> Finding:
    """Gaussian steps with the best variances and levels against categorical steps, for dependent pairs."""
    toy, count, seed = neighbours(), setting.times(400, 50), setting.seed
    spacing = float(toy.values[1] - toy.values[0])
    low, raised = 2.0 * math.log(spacing / 6), 2.0 * math.log(spacing / 2)
    candidates = np.linspace(low, GAMMA_MAX, 33)
    choosing, scoring = draw(toy, count, seed), draw(toy, count, seed + 1)
    mse = errors_along(choosing, chain_of(choosing, candidates, seed), candidates)
    mse = np.append(0.0, mse)  # the lowest level is never the upper end of a step
    chosen = plans.cheapest(torch.from_numpy(candidates), torch.from_numpy(mse), 25, "scalar")
    tables: dict[str, dict[int, float]] = {
        "Gaussian": {},
        "categorical": {},
        "categorical, gamma_0 raised": {},
    }
    for k in (2, 5, 10, 25):
        levels = candidates[chosen[k - 1].numpy()]
        tables["Gaussian"][k] = gaussian_bits(scoring, levels, seed)
        tables["categorical"][k] = categorical_bits(scoring, levels, seed)
        high = np.maximum(levels, raised + 0.01 * np.arange(len(levels)))
        tables["categorical, gamma_0 raised"][k] = categorical_bits(scoring, high, seed)
    ideal = toy.code_length(scoring.index)
    apart = draw(toy.independent(), count, seed + 2)
    exact = categorical_bits(apart, np.linspace(low, GAMMA_MAX, 4), seed) - apart.toy.code_length(apart.index)
    g, c = tables["Gaussian"], tables["categorical"]
    return _finding(
        "X5",
        f"2, 5, 10, 25 steps: Gaussian {g[2]:.3f}, {g[5]:.3f}, {g[10]:.3f}, {g[25]:.3f} bits a value, "
        f"categorical "
        f"{c[2]:.3f}, {c[5]:.3f}, {c[10]:.3f}, {c[25]:.3f}, ideal for these draws {ideal:.3f}; independent "
        f"values, "
        f"3 categorical steps: {exact:+.4f} above ideal",
        all(c[k] < g[k] for k in (2, 5, 10)) and abs(exact) < 0.02,
        {**{f"{name}, {k} steps": v for name, table in tables.items() for k, v in table.items()},
         "ideal": ideal, "entropy": toy.entropy, "marginal entropy": toy.marginal_entropy,
         "independent, above ideal": exact},
        Plot("Gaussian and categorical steps", "steps", "bits a value", tuple(
            Curve(name, tuple(map(float, table)), tuple(table.values())) for name, table in tables.items())),
    )  # fmt: skip


PUBLISHED_ORDER = {(10, 1.0): (4.3, 23.0), (100, 1.0): (5.4, 208.0), (500, 1.0): (6.6, 1028.0),
                   (500, 0.25): (10.5, 2030.0)}  # fmt: skip
"""Initial bits bottom-up and top-down by (steps, width of the bins), from a note on an earlier toy."""


def x6(setting: Setting) -> Finding:
    """Initial bits of the two orders, ideal code lengths."""
    figures, worst = {}, 0.0
    for (steps, width), known in PUBLISHED_ORDER.items():
        levels = np.linspace(GAMMA_MIN, GAMMA_MAX, steps + 1)
        got = initial_bits(levels, "bottom-up", width), initial_bits(levels, "top-down", width)
        for name, value, other in zip(("bottom-up", "top-down"), got, known, strict=True):
            figures[f"{name}, {steps} steps, bins {width:g}"] = value
            worst = max(worst, abs(value / other - 1.0))
    return _finding(
        "X6",
        f"500 steps, bins of a conditional standard deviation: "
        f"{figures['bottom-up, 500 steps, bins 1']:.1f} bits "
        f"a value bottom-up, {figures['top-down, 500 steps, bins 1']:.0f} top-down; within "
        f"{100 * worst:.1f} % of "
        "an earlier table throughout",
        worst < 0.03,
        figures,
    )


def coarse_net(toy: Lattice, steps: int, width: float, count: int, seed: int) -> float:
    """Net bits a value of the chain on grids of `width` conditional standard deviations, x included.

    All widths share their noise.  A grid adds d^2 / 12 to the variance of what is drawn on it, so that q is
    drawn with that much less (Sheppard's correction).  p is a Gaussian with the exact mean and the variance
    measured.
    """
    rng = np.random.default_rng(seed)
    gammas = np.linspace(2.0 * math.log(toy.spacing / 6), GAMMA_MAX, steps + 1)
    grid = grids(gammas, width)
    x = toy.sample(rng, (count,))

    def bits(z: Array, mean: Array, deviation: float | Array, d: float) -> float:
        upper, lower = (torch.from_numpy((z - mean + e) / deviation) for e in (d / 2, -d / 2))
        sign = torch.where(
            upper + lower > 0, -1.0, 1.0
        )  # both in the lower tail, where differences are exact
        high, low = (torch.special.ndtr(torch.where(sign < 0, a, b) * sign)
                     for a, b in ((lower, upper), (upper, lower)))  # fmt: skip
        return float(-torch.log2((high - low).clamp(min=1e-12)).mean())

    def pop(mean: Array, deviation: float, d: float) -> tuple[Array, float]:
        deviation = math.sqrt(deviation**2 - d**2 / 12)
        z = d * np.rint((mean + deviation * rng.standard_normal(count)) / d)
        return z, bits(z, mean, deviation, d)

    z, net = pop(np.sqrt(sigmoid(-gammas[0])) * x, float(np.sqrt(sigmoid(gammas[0]))), grid[0])
    log = -0.5 * (z[:, None] / np.sqrt(sigmoid(-gammas[0])) - toy.values) ** 2 * np.exp(-gammas[0])
    top = log.max(1)
    own = -0.5 * (z / np.sqrt(sigmoid(-gammas[0])) - x) ** 2 * np.exp(-gammas[0])
    net = -net + float((top + np.log(np.exp(log - top[:, None]).sum(1)) - own).mean()) / LN2
    for s in range(steps):
        g_s, g_t = gammas[s], gammas[s + 1]
        shrink = np.sqrt(sigmoid(-g_t) / sigmoid(-g_s))
        c = -np.expm1(g_s - g_t)
        z_t, popped = pop(shrink * z, float(np.sqrt(sigmoid(g_t) * c)), grid[s + 1])
        mean = (z_t - np.sqrt(sigmoid(g_t)) * c * toy.noise(z_t, float(g_t))) / shrink
        deviation = max(float((z - mean).std()), 0.3 * grid[s])
        net += bits(z, mean, deviation, grid[s]) - popped
        z = z_t
    return net + bits(z, np.zeros(count), 1.0, float(grid[-1]))


def x7(setting: Setting) -> Finding:
    """The price of coarse grids, with common noise."""
    toy, count, widths = photograph(64), setting.times(1000, 200), (0.25, 0.5, 1.0, 2.0)
    net = {(k, w): coarse_net(toy, k, w, count, setting.seed) for k in (10, 50) for w in widths}
    above = {key: bits - net[key[0], widths[0]] for key, bits in net.items()}
    one = max(above[k, 1.0] for k in (10, 50))
    two = max(above[k, 2.0] for k in (10, 50))
    return _finding(
        "X7",
        f"against bins of a quarter, bins of one standard deviation cost {one:+.3f} bits a value at most, "
        f"of two "
        f"{two:+.3f} (an earlier table has 0.00 to 0.04, and 0.1)",
        one < 0.1 and two > one,
        {f"{k} steps, bins {w:g}": bits for (k, w), bits in net.items()},
        Plot("Width of the bins", "bins, conditional standard deviations", "net bits a value", tuple(
            Curve(f"{k} steps", widths, tuple(net[k, w] for w in widths)) for k in (10, 50)), log_x=True),
    )  # fmt: skip


NOTED = {5: (67.5, 29.5, 8.05, 7.60), 10: (20.2, 14.0, 7.92, 7.42), 25: (10.5, 9.25, 7.56, 7.28),
         50: (8.64, 8.13, 7.37, 7.23), 100: (7.86, 7.64, 7.27, 7.20),
         200: (7.51, 7.41, 7.22, 7.20)}  # fmt: skip
"""Bits a value by K from the same note: even and chosen levels with fixed, then with the best variance."""


def x8(setting: Setting) -> Finding:
    """Diffusion loss of K steps: variance fixed or best, levels even or chosen."""
    toy = photograph()
    candidates = np.linspace(GAMMA_MIN, GAMMA_MAX, 401)
    gammas, mse = torch.from_numpy(candidates), torch.from_numpy(toy.mses(candidates))
    figures: dict[str, float] = {}
    table: dict[tuple[int, int], float] = {}
    names = ("fixed, even", "fixed, chosen", "best, even", "best, chosen")
    fixed: plans.Price = "lower"
    best: plans.Price = "scalar"
    chosen = {price: plans.cheapest(gammas, mse, 200, price) for price in (fixed, best)}
    for k in NOTED:
        index = torch.linspace(0, 400, k + 1).round().long()
        for column, (name, price, at) in enumerate((
            (names[0], fixed, index), (names[1], fixed, chosen[fixed][k - 1]),
            (names[2], best, index), (names[3], best, chosen[best][k - 1]),
        )):  # fmt: skip
            table[k, column] = plans.cost(gammas[at], mse[at], price)
            figures[f"{name}, {k} steps"] = table[k, column]
    off = max(abs(table[k, i] / NOTED[k][i] - 1.0) for k in NOTED for i in range(4))
    limit = toy.information(GAMMA_MIN) - toy.information(GAMMA_MAX)
    ordered = all(table[k, 0] > table[k, 1] > table[k, 2] > table[k, 3] for k in (5, 10, 25, 50, 100))
    return _finding(
        "X8",
        f"10 steps: {table[10, 0]:.2f} bits a value fixed and even, {table[10, 1]:.2f} chosen levels, "
        f"{table[10, 2]:.2f} best variance, {table[10, 3]:.2f} both; continuous {limit:.3f}, reconstruction "
        f"{grey_reconstruction(GAMMA_MIN):.3f}; within {100 * off:.1f} % of an earlier table",
        ordered and off < 0.05,
        figures,
        Plot("Variance and levels", "steps K", "diffusion loss, bits a value", tuple(
            Curve(n, tuple(map(float, NOTED)), tuple(table[k, i] for k in NOTED))
            for i, n in enumerate(names)), log_x=True, log_y=True),
    )  # fmt: skip
