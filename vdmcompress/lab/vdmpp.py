"""Rows W1 to W3: weighted losses as mixtures of bounds, on data whose mse(gamma) is known exactly.

lambda = -gamma is the log-SNR; with mse the squared error of the noise, a weighted loss is
L_w = (1/2) integral of w(gamma) mse(gamma) d gamma.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from vdmcompress.lab.finding import Curve, Finding, Plot, Setting
from vdmcompress.lab.lattice import Array, few
from vdmcompress.lab.rows_vdmpp import VDMPP_ROWS
from vdmcompress.vdm32 import weighting
from vdmcompress.vdm32.parameterisation import error_weight

LOW, HIGH, POINTS = -16.0, 26.0, 4201
MONOTONE = {"uniform": True, "simple-cosine": False, "velocity-cosine": True, "min-snr": False, "edm": False,
            "edm-monotone": True, "sigmoid": True}  # fmt: skip
"""Whether each weighting never falls with gamma, by the paper's account."""


def _finding(row: str, measured: str, passed: bool, figures: dict[str, float], *plots: Plot) -> Finding:
    return Finding(row, VDMPP_ROWS[row].claim, measured, passed, figures, plots)


def curve() -> tuple[Array, Array]:
    """gammas (M,) and mse at them, for five uneven values."""
    gammas = np.linspace(LOW, HIGH, POINTS)
    return gammas, few().mses(gammas)


def weighted(name: str, gammas: Array, mse: Array) -> float:
    """L_w in nats a value, from the weighting of a name."""
    w = weighting.WEIGHTINGS[name](torch.from_numpy(gammas)).numpy()
    return float(np.trapezoid(0.5 * w * mse, gammas))


Direct = Callable[[Array, Array], float]


def simple_cosine(gammas: Array, mse: Array) -> float:
    """E over uniform t of the squared error of the noise, alpha = cos(pi t / 2): half of it, as in L_w."""
    t = np.linspace(1e-4, 1.0 - 1e-4, 20001)
    return float(np.trapezoid(0.5 * np.interp(_cosine(t), gammas, mse), t))


def velocity_cosine(gammas: Array, mse: Array) -> float:
    """The same of the squared error of the velocity."""
    t = np.linspace(1e-4, 1.0 - 1e-4, 20001)
    g = _cosine(t)
    factor = error_weight("velocity", torch.from_numpy(g)).numpy()  # noise error = factor * velocity error
    return float(np.trapezoid(0.5 * np.interp(g, gammas, mse) / factor, t))


def min_snr(gammas: Array, mse: Array) -> float:
    """The same of the squared error of x, times min(SNR, 5)."""
    t = np.linspace(1e-4, 1.0 - 1e-4, 20001)
    g = _cosine(t)
    image = np.interp(g, gammas, mse) / error_weight("image", torch.from_numpy(g)).numpy()
    return float(np.trapezoid(0.5 * image * np.minimum(np.exp(-g), 5.0), t))


def edm(gammas: Array, mse: Array) -> float:
    """EDM's own loss: log sigma ~ N(-1.2, 1.2), weight (sigma^2 + 0.5^2) / (0.5 sigma)^2, error of x.

    sigma = exp(gamma / 2). The weighting of that name is the same but for a constant factor, applied here.
    """
    log_sigma = np.linspace(-12.0, 12.0, 40001)
    density = np.exp(-0.5 * ((log_sigma + 1.2) / 1.2) ** 2) / (1.2 * math.sqrt(2 * math.pi))
    variance = np.exp(2 * log_sigma)
    image = np.interp(2 * log_sigma, gammas, mse) * variance
    loss = np.trapezoid(0.5 * density * (variance + 0.25) / (0.25 * variance) * image, log_sigma)
    return float(loss * 0.25 * 2.4 * math.sqrt(2 * math.pi))


def _cosine(t: Array) -> Array:
    return np.asarray(2.0 * np.log(np.tan(0.5 * np.pi * t)))


DIRECT: dict[str, Direct] = {
    "simple-cosine": simple_cosine,
    "velocity-cosine": velocity_cosine,
    "min-snr": min_snr,
    "edm": edm,
}


def w1(setting: Setting) -> Finding:
    """Four objectives, each as its paper writes it and as half of an integral with its w."""
    gammas, mse = curve()
    figures, off = {}, 0.0
    for name, direct in DIRECT.items():
        one, other = direct(gammas, mse), weighted(name, gammas, mse)
        figures[f"{name}, as published"], figures[f"{name}, by w"] = one, other
        off = max(off, abs(one / other - 1.0))
    at = torch.linspace(-12.0, 8.0, 201, dtype=torch.float64)
    shapes = {n: w(at) for n, w in weighting.WEIGHTINGS.items()}
    return _finding(
        "W1",
        f"{len(DIRECT)} objectives computed both ways, in nats a value: they differ by {100 * off:.2f} % at "
        f"most",
        off < 0.005,
        figures,
        Plot("Weightings of the noise levels", "gamma = -lambda", "w, largest = 1", tuple(
            Curve(n, tuple(at.tolist()), tuple((w / w.max()).tolist())) for n, w in shapes.items())),
    )  # fmt: skip


def mixture(name: str, gammas: Array, mse: Array) -> tuple[float, Array]:
    """L_w as a mixture of bounds, and its weights: w(low) L(low) + sum of dw(gamma) L(gamma).

    L(gamma) = (1/2) integral of mse from gamma up: the bound of z_gamma, without its constant.
    """
    w = weighting.WEIGHTINGS[name](torch.from_numpy(gammas)).numpy()
    pieces = 0.25 * (mse[1:] + mse[:-1]) * np.diff(gammas)
    above = np.append(np.cumsum(pieces[::-1])[::-1], 0.0)
    increments = np.diff(w)
    middle = 0.5 * (above[1:] + above[:-1])
    return float(w[0] * above[0] + increments @ middle), increments


def w2(setting: Setting) -> Finding:
    """The identity for every weighting, among them some with negative mixture weights."""
    gammas, mse = curve()
    figures, off, negative = {}, 0.0, []
    for name in weighting.WEIGHTINGS:
        total, increments = mixture(name, gammas, mse)
        direct = weighted(name, gammas, mse)
        figures[f"{name}, mixture"], figures[f"{name}, direct"] = total, direct
        off = max(off, abs(total / direct - 1.0))
        if increments.min() < -1e-6 * np.abs(increments).max():
            negative.append(name)
    return _finding(
        "W2",
        f"{len(weighting.WEIGHTINGS)} weightings: loss and mixture of bounds differ by {off:.1e} relative "
        f"at most; "
        f"{len(negative)} have negative mixture weights ({', '.join(negative)})",
        off < 1e-4 and bool(negative),
        figures,
    )


def noisy_bound(name: str, count: int, seed: int) -> tuple[float, float]:
    """Draw a level with the increments of w, draw its z, score z by its own bound: mean and standard error,
    nats.

    The bound of z_g is half of the integral of mse from g up, estimated at one level drawn above g with noise
    added to z_g itself, never to x.
    """
    toy, rng = few(), np.random.default_rng(seed)
    gammas = np.linspace(-12.0, 8.0, 801)
    w = weighting.WEIGHTINGS[name](torch.from_numpy(gammas)).numpy()
    weights = np.append(w[0], np.diff(w))
    level = gammas[rng.choice(len(gammas), count, p=weights / weights.sum())]
    x = toy.sample(rng, (count,))
    z = x + np.exp(level / 2) * rng.standard_normal(count)  # z_g / alpha_g, the augmented datum
    above = rng.uniform(level, gammas[-1])
    u = z + np.sqrt(np.exp(above) - np.exp(level)) * rng.standard_normal(count)
    f_hat = np.array([toy.image(u[i : i + 1], above[i])[0] for i in range(count)])
    error = (x - f_hat) ** 2 * np.exp(-above)
    value = 0.5 * (gammas[-1] - level) * error * weights.sum()
    return float(value.mean()), float(value.std() / math.sqrt(count))


def w3(setting: Setting) -> Finding:
    """Sampled augmentation for the monotone weightings, and the classification of all."""
    gammas = np.linspace(-12.0, 8.0, 801)
    mse, names = few().mses(gammas), ("sigmoid", "edm-monotone")
    figures: dict[str, float] = {}
    deviations = []
    for name in names:
        mean, error = noisy_bound(name, setting.times(6000, 500), setting.seed)
        direct = weighted(name, gammas, mse)
        figures |= {f"{name}, sampled": mean, f"{name}, error": error, f"{name}, direct": direct}
        deviations.append(abs(mean - direct) / error)
    classes = {n: weighting.is_monotone(w) for n, w in weighting.WEIGHTINGS.items()}
    wrong = [n for n, monotone in classes.items() if MONOTONE[n] is not monotone]
    return _finding(
        "W3",
        f"noise added to the data by the increments of w, each scored by its own bound: off by "
        f"{max(deviations):.1f} standard errors at most ({', '.join(names)}); "
        f"{sum(classes.values())} of {len(classes)} weightings are monotone"
        + (f", unlike expected: {', '.join(wrong)}" if wrong else ", as the paper says"),
        max(deviations) < 4.0 and not wrong,
        figures,
    )
