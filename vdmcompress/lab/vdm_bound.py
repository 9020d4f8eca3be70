"""V3 to V6 and V17: the bound in discrete and continuous time, and what it does not depend on.

All but the last lines of V3 run on data whose best denoiser is known exactly, so that a difference is a fault
of the bound and not of a network.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vdmcompress.lab.finding import Curve, Finding, Plot, Setting
from vdmcompress.lab.rows_vdm import VDM_ROWS
from vdmcompress.vdm32 import objective, steps, times, toys
from vdmcompress.vdm32.parameterisation import Denoise, Prediction
from vdmcompress.vdm32.process import LN2, Step, alpha, per_image, sigma
from vdmcompress.vdm32.schedule import (
    GAMMA_MAX,
    GAMMA_MIN,
    BetaLinear,
    Cosine,
    Linear,
    Rescaled,
    Schedule,
    Tabulated,
)

F64 = torch.float64
SHAPE = (3, 8, 8)
LOW = -6.0
"""gamma_0 on the toy, whose 32 levels are as far apart as 1.25 sigma there: the end matters."""


def _data(setting: Setting, images: int) -> tuple[toys.IndependentPixels, Tensor, torch.Generator]:
    """The toy, images of it and the generator of a row."""
    generator = torch.Generator().manual_seed(setting.seed)
    toy = toys.two_humps(8)
    return toy, toy.sample((images, *SHAPE), generator), generator


def mean_and_error(values: Tensor) -> tuple[float, float]:
    """Mean of independent values and its standard error."""
    return float(values.mean()), float(values.std() / math.sqrt(values.numel()))


def _integral(values: Tensor, at: Tensor) -> float:
    return float(torch.trapezoid(values, at))


def v3(setting: Setting) -> Finding:
    """Random steps against all steps, and T = 8, 16, .. 256."""
    toy, levels, generator = _data(setting, setting.times(64, 16))
    gammas = steps.even(Linear(LOW), 50)
    every, noise = mean_and_error(
        torch.cat([objective.evaluate(toy, levels, gammas, generator).diffusion for _ in range(4)])
    )
    x = objective.signal(levels, F64)
    draws = []
    for _ in range(setting.times(100, 25)):
        index = torch.randint(1, 51, (len(x),), generator=generator)
        eps = torch.randn(x.shape, dtype=F64, generator=generator)
        draws.append(objective.discrete(toy, x, gammas, index, eps))
    random, error = mean_and_error(torch.cat(draws))
    off = abs(random - every) / math.hypot(error, noise)
    by_steps = [
        float(objective.evaluate(toy, levels, steps.even(Linear(LOW), t), generator).total.mean())
        for t in (8, 16, 32, 64, 128, 256)
    ]
    falls = all(a > b for a, b in zip(by_steps, by_steps[1:], strict=False))
    return Finding(
        "V3",
        VDM_ROWS["V3"].claim,
        f"T = 50: all steps {every:.3f}, random steps {random:.3f} +- {error:.3f} ({off:.1f} standard "
        "errors); "
        f"T = 8 to 256: {', '.join(f'{b:.2f}' for b in by_steps)} bits a dimension (entropy "
        f"{toy.entropy:.2f})",
        off < 3.5 and falls,
        {"all_steps": every, "random_steps": random, "error": error, "T 256": by_steps[-1]},
    )


def v4(setting: Setting) -> Finding:
    """The gap between the discrete and the continuous bound, in closed form on Gaussian data."""
    toy = toys.GaussianData(0.4)
    counts = [2**i for i in range(3, 13)]
    limit = math.log1p(toy.deviation**2 * math.exp(-GAMMA_MIN)) - math.log1p(
        toy.deviation**2 * math.exp(-GAMMA_MAX)
    )
    limit *= 0.5 / LN2
    gaps = []
    for count in counts:
        gammas = steps.even(Linear(), count)
        gaps.append(steps.cost(gammas, toy.mse(gammas)) - limit)
    slopes = [math.log2(a / b) for a, b in zip(gaps, gaps[1:], strict=False)]

    pixels = Linear(LOW)
    bits, levels, generator = _data(setting, setting.times(16, 4))
    t = torch.stack([times.low_discrepancy(len(levels), generator).double() for _ in range(64)])
    t = t[:, torch.randperm(len(levels), generator=generator)]
    estimate, error = mean_and_error(
        objective.evaluate_continuous(bits, levels, pixels, t, generator).diffusion
    )
    fine = float(objective.evaluate(bits, levels, steps.even(pixels, 800), generator).diffusion.mean())
    passed = (
        abs(slopes[-1] - 1.0) < 0.02 and fine > estimate - 4 * error and fine - estimate < 0.1 + 4 * error
    )
    return Finding(
        "V4",
        VDM_ROWS["V4"].claim,
        f"Gaussian data, exact: T = 8 is {gaps[0]:.2f} bits above the limit, T = 4096 {gaps[-1]:.4f}; "
        "halving the "
        f"steps' size divides the gap by {2 ** slopes[-1]:.3f}. Pixels: continuous {estimate:.3f} +- "
        f"{error:.3f}, "
        f"T = 800 {fine:.3f}",
        passed,
        {"limit": limit, "gap T 8": gaps[0], "gap T 4096": gaps[-1], "order": slopes[-1]},
        (
            Plot(
                "Discrete above continuous bound", "T", "bits a dimension",
                (
                    Curve("gap", tuple(map(float, counts)), tuple(gaps)),
                    Curve(
                        "1 / T", tuple(map(float, counts)), tuple(gaps[-1] * counts[-1] / c for c in counts)
                    ),
                ),
                True, True,
            ),
        ),
    )  # fmt: skip


def v5(setting: Setting) -> Finding:
    """The loss integrated over gamma, over SNR and over t of a curved schedule."""
    toy, levels, generator = _data(setting, setting.times(8, 4))
    gammas = torch.linspace(LOW, GAMMA_MAX, 161, dtype=F64)
    mse = objective.error_curve(toy, levels, gammas, generator)
    over_gamma = _integral(0.5 * mse / LN2, gammas)
    snr = torch.exp(-gammas)
    image_mse = mse / snr
    # In SNR the curve spans eight decades: the trapezoid rule on the logarithm of each interval.
    weights = snr[:-1] - snr[1:]
    mean = (image_mse[1:] - image_mse[:-1]) / torch.log(image_mse[1:] / image_mse[:-1])
    over_snr = float((0.5 * weights * mean).sum() / LN2)
    curved = Rescaled(Cosine(), LOW, GAMMA_MAX)
    t = torch.linspace(0.0, 1.0, 4001, dtype=F64)
    at = curved.gamma(t)
    index = torch.searchsorted(gammas, at.clamp(LOW, GAMMA_MAX)).clamp(1, len(gammas) - 1)
    share = (at - gammas[index - 1]) / (gammas[index] - gammas[index - 1])
    on_t = mse[index - 1] + share * (mse[index] - mse[index - 1])
    over_t = _integral(0.5 * curved.rate(t) * on_t / LN2, t)
    spread = max(over_gamma, over_snr, over_t) - min(over_gamma, over_snr, over_t)
    return Finding(
        "V5",
        VDM_ROWS["V5"].claim,
        f"over gamma {over_gamma:.3f}, over SNR {over_snr:.3f}, over t {over_t:.3f} bits a dimension",
        spread < 0.01 * over_gamma,
        {"over_gamma": over_gamma, "over_snr": over_snr, "over_t": over_t},
    )


def schedules(seed: int, gamma_0: float = LOW, gamma_1: float = GAMMA_MAX) -> dict[str, Schedule]:
    """Four schedules between the same ends; the last is a polygon with 24 random rises."""
    generator = torch.Generator().manual_seed(seed + 100)
    rises = 0.15 + torch.rand(24, dtype=F64, generator=generator) ** 2
    heights = torch.cat((torch.zeros(1, dtype=F64), torch.cumsum(rises, 0) / rises.sum()))
    return {
        "linear": Linear(gamma_0, gamma_1),
        "cosine": Rescaled(Cosine(), gamma_0, gamma_1),
        "beta-linear": Rescaled(BetaLinear(), gamma_0, gamma_1),
        "polygon": Tabulated(gamma_0 + (gamma_1 - gamma_0) * heights),
    }


def even_times(rows: int, images: int, generator: torch.Generator) -> Tensor:
    """rows x images times on one even grid with one offset, dealt at random, float64."""
    count = rows * images
    grid = (torch.rand(1, dtype=F64, generator=generator) + torch.arange(count, dtype=F64)) / count % 1.0
    return grid[torch.randperm(count, generator=generator)].reshape(rows, images)


def v6(setting: Setting) -> Finding:
    """Four schedules with the same ends; other ends, and T = 10, as controls."""
    toy, levels, generator = _data(setting, setting.times(64, 16))
    figures: dict[str, float] = {}
    errors = []
    for name, schedule in schedules(setting.seed).items():
        runs = [
            objective.evaluate_continuous(
                toy, levels, schedule, even_times(8, len(levels), generator), generator
            ).diffusion.mean()
            for _ in range(8)
        ]
        figures[name], error = mean_and_error(torch.stack(runs))
        errors.append(error)
    moved = Linear(LOW + 1.0, GAMMA_MAX)
    t = even_times(64, len(levels), generator)
    figures["end moved"] = float(
        objective.evaluate_continuous(toy, levels, moved, t, generator).diffusion.mean()
    )
    coarse = {
        name: float(objective.evaluate(toy, levels, steps.even(s, 10), generator).diffusion.mean())
        for name, s in schedules(setting.seed).items()
    }
    figures |= {f"{name}, T 10": value for name, value in coarse.items()}
    four = [figures[name] for name in schedules(0)]
    spread, error = max(four) - min(four), max(errors)
    passed = (
        spread < 5.0 * error + 0.005 * figures["linear"]
        and figures["linear"] - figures["end moved"] > 5 * error
        and max(coarse.values()) > 1.1 * min(coarse.values())
    )
    listed = ", ".join(f"{name} {figures[name]:.3f}" for name in schedules(0))
    return Finding(
        "V6",
        VDM_ROWS["V6"].claim,
        f"{listed} bits a dimension, +- {error:.3f}; with gamma_0 moved by 1 {figures['end moved']:.3f}; "
        "at T = 10 "
        f"{min(coarse.values()):.1f} to {max(coarse.values()):.1f}",
        passed,
        {**figures, "error": error},
    )


def variance_exploding(denoise: Denoise) -> Denoise:
    """The same model for z = x + s eps with s = exp(gamma / 2): z is scaled by alpha before the network."""

    def wrapped(z: Tensor, gamma: Tensor) -> Prediction:
        return denoise(alpha(per_image(gamma)) * z, gamma)

    return wrapped


def sub_vp(denoise: Denoise) -> Denoise:
    """The same model for z' = alpha' x + sigma' eps with sigma'^2 = (1 - alpha'^2)^2 of Song et al. 2021.

    Its SNR at gamma is that of another alpha', and z is alpha / alpha' times z'.
    """

    def wrapped(z: Tensor, gamma: Tensor) -> Prediction:
        g = per_image(gamma)
        return denoise(z * alpha(g) / sub_vp_alpha(g), gamma)

    return wrapped


def sub_vp_alpha(gamma: Tensor) -> Tensor:
    """alpha' of a sub-VP process with SNR exp(-gamma): alpha' / (1 - alpha'^2) = exp(-gamma / 2)."""
    root = torch.exp(0.5 * gamma)
    return 2.0 / (root + torch.sqrt(root**2 + 4.0))


def _rescaled_bound(denoise: Denoise, x: Tensor, gammas: Tensor, scale: Tensor, noises: Tensor) -> Tensor:
    """The diffusion term as Gaussian KLs of a process z' = scale_t z, (N,): none of VDM's formulas is
    used."""
    a, s = scale * alpha(gammas), scale * sigma(gammas)
    total = torch.zeros(len(x), dtype=x.dtype)
    for i in range(1, len(gammas)):
        ratio = a[i] / a[i - 1]
        forward = s[i] ** 2 - ratio**2 * s[i - 1] ** 2
        z = a[i] * x + s[i] * noises[i]
        guess = (z - s[i] * denoise(z, gammas[i].expand(len(x))).noise) / a[i]
        variance = forward * s[i - 1] ** 2 / s[i] ** 2
        gap = a[i - 1] * forward / s[i] ** 2 * (x - guess)
        total += objective.bpd(0.5 * gap**2 / variance)
    return total


def v17(setting: Setting) -> Finding:
    """Variance exploding and sub-VP processes round the same denoiser, steps even in gamma."""
    toy, levels, generator = _data(setting, setting.times(8, 4))
    x = objective.signal(levels, F64)
    gammas = steps.even(Linear(LOW), 60)
    noises = torch.randn((61, *x.shape), dtype=F64, generator=generator)
    own = torch.zeros(len(x), dtype=F64)
    for i in range(1, 61):
        step = Step(gammas[i - 1].expand(len(x)), gammas[i].expand(len(x)))
        own += objective.step_bits(toy, x, step, noises[i])
    exploding = _rescaled_bound(variance_exploding(toy), x, gammas, 1.0 / alpha(gammas), noises)
    below = _rescaled_bound(sub_vp(toy), x, gammas, sub_vp_alpha(gammas) / alpha(gammas), noises)
    figures = {name: float(v.mean()) for name, v in (("vp", own), ("ve", exploding), ("sub-vp", below))}
    worst = max(float((v / own - 1.0).abs().max()) for v in (exploding, below))
    return Finding(
        "V17",
        VDM_ROWS["V17"].claim,
        f"variance preserving {figures['vp']:.4f}, exploding {figures['ve']:.4f}, sub-VP "
        f"{figures['sub-vp']:.4f} "
        f"bits a dimension; relative difference {worst:.0e}",
        worst < 1e-6,
        {**figures, "relative": worst},
    )
