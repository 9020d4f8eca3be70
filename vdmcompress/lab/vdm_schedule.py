"""V7, V8, V11: learned ends, learned inside, low-discrepancy times, on data with an exact denoiser."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vdmcompress.lab.finding import Curve, Finding, Plot, Setting
from vdmcompress.lab.rows_vdm import VDM_ROWS
from vdmcompress.lab.vdm_bound import LOW, even_times, schedules
from vdmcompress.vdm32 import objective, times, toys
from vdmcompress.vdm32.schedule import LearnedScalar, Linear, MonotoneNetwork, Schedule

SHAPE = (3, 8, 8)


def _bound(toy: toys.IndependentPixels, levels: Tensor, schedule: Schedule, seed: int) -> float:
    """The continuous bound of images, all in float32, with noise that depends on the seed alone."""
    generator = torch.Generator().manual_seed(seed)
    t = even_times(16, len(levels), generator).float()
    return float(objective.evaluate_continuous(toy, levels, schedule, t, generator).total.mean())


def v7(setting: Setting) -> Finding:
    """gamma_0 = -8 and gamma_1 = 2 are a poor start, and learn from the bound.

    The data have every eighth level only, which the denoiser knows and p(x | z_0) does not: as with
    photographs, what is left to the decoder is dear.
    """
    generator = torch.Generator().manual_seed(setting.seed)
    toy = toys.two_humps(8)
    held_out = toy.sample((24, *SHAPE), generator)
    schedule = LearnedScalar(-8.0, 2.0)
    optimiser = torch.optim.Adam(schedule.parameters(), lr=0.25, betas=(0.9, 0.95))
    before = _bound(toy, held_out, schedule, 1)
    path: list[tuple[float, float]] = []
    for _ in range(setting.times(60, 60)):
        levels = toy.sample((8, *SHAPE), generator)
        x = objective.signal(levels)
        optimiser.zero_grad()
        t = times.low_discrepancy(len(x), generator)
        gamma = schedule.gamma(t)
        loss = objective.continuous(
            toy, x, gamma, schedule.rate(t), torch.randn(x.shape, generator=generator)
        )
        ends = schedule.gamma(torch.tensor([0.0, 1.0]))
        eps = torch.randn(x.shape, generator=generator)
        total = loss + objective.prior(x, ends[1]) + objective.reconstruction(levels, ends[0], eps)
        total.mean().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        path.append((float(ends[0].detach()), float(ends[1].detach())))
    after = _bound(toy, held_out, schedule, 1)
    gamma_0, gamma_1 = float(schedule.end(0.0).detach()), float(schedule.end(1.0).detach())
    step = tuple(float(i) for i in range(len(path)))
    return Finding(
        "V7",
        VDM_ROWS["V7"].claim,
        f"from (-8, 2) to ({gamma_0:.1f}, {gamma_1:.1f}); held-out bound {before:.3f} with the ends "
        f"frozen, {after:.3f} "
        f"with them learned (entropy {toy.entropy:.3f})",
        gamma_0 < -10.0 and after < before - 0.5,
        {"frozen": before, "learned": after, "gamma_0": gamma_0, "gamma_1": gamma_1, "entropy": toy.entropy},
        (
            Plot(
                "Ends against optimiser steps", "step", "gamma",
                (
                    Curve("gamma_0", step, tuple(p[0] for p in path)),
                    Curve("gamma_1", step, tuple(p[1] for p in path)),
                ),
            ),
        ),
    )  # fmt: skip


def learn_inside(
    toy: toys.IndependentPixels, schedule: MonotoneNetwork, updates: int, generator: torch.Generator
) -> None:
    """Trains the inside of a schedule on the variance of the bound's estimator; the ends stay."""
    optimiser = torch.optim.Adam(schedule.inside(), lr=0.15)
    for parameter in (schedule.gamma_0, schedule.gamma_1):
        parameter.requires_grad_(False)
    for _ in range(updates):
        x = objective.signal(toy.sample((64, *SHAPE), generator))
        t = times.low_discrepancy(len(x), generator)
        gamma, rate = schedule.gamma(t), schedule.rate(t)
        leaf, slope = gamma.detach().requires_grad_(), rate.detach().requires_grad_()
        loss = objective.continuous(toy, x, leaf, slope, torch.randn(x.shape, generator=generator))
        loss.mean().backward()  # type: ignore[no-untyped-call]
        optimiser.zero_grad()
        if leaf.grad is not None and slope.grad is not None:
            objective.schedule_gradients(schedule, gamma, rate, (leaf.grad, slope.grad), loss)
        optimiser.step()
    for parameter in (schedule.gamma_0, schedule.gamma_1):
        parameter.requires_grad_(True)


def single_draws(toy: toys.IndependentPixels, schedule: Schedule, draws: int, seed: int) -> Tensor:
    """Losses of one image at one uniform t each, bits a dimension, (draws,)."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    with torch.no_grad():
        for _ in range(-(-draws // 256)):
            x = objective.signal(toy.sample((256, *SHAPE), generator))
            t = times.iid(256, generator)
            eps = torch.randn(x.shape, generator=generator)
            parts.append(objective.continuous(toy, x, schedule.gamma(t), schedule.rate(t), eps))
    return torch.cat(parts)[:draws]


def bootstrap_ratio(
    a: Tensor, b: Tensor, generator: torch.Generator, rounds: int = 400
) -> tuple[float, float]:
    """Central 95 % of the ratio of the variances of a and b under resampling."""
    ratios = []
    for _ in range(rounds):
        ra = a[torch.randint(len(a), (len(a),), generator=generator)]
        rb = b[torch.randint(len(b), (len(b),), generator=generator)]
        ratios.append(float(ra.var() / rb.var()))
    ratios.sort()
    return ratios[round(0.025 * rounds)], ratios[round(0.975 * rounds) - 1]


def v8(setting: Setting) -> Finding:
    """Variance over single draws of t: learned, linear in gamma, beta-linear, cosine, with equal ends."""
    generator = torch.Generator().manual_seed(setting.seed)
    toy = toys.two_humps(8)
    learned = MonotoneNetwork(LOW, units=128)
    learn_inside(toy, learned, setting.times(600, 100), generator)
    kinds: dict[str, Schedule] = {"learned": learned}
    others = schedules(setting.seed)
    kinds |= {name: s for name, s in others.items() if name != "polygon"}
    draws = {
        name: single_draws(toy, s, setting.times(4096, 1024), setting.seed + 5) for name, s in kinds.items()
    }
    variances = {name: float(v.var()) for name, v in draws.items()}
    means = {name: float(v.mean()) for name, v in draws.items()}
    error = float(draws["linear"].std()) / math.sqrt(len(draws["linear"]))
    low, high = bootstrap_ratio(draws["learned"], draws["linear"], generator)
    ratio = variances["learned"] / variances["linear"]
    t = torch.linspace(0, 1, 101)
    with torch.no_grad():
        curves = tuple(
            Curve(name, tuple(t.tolist()), tuple(s.gamma(t.to(torch.float32)).tolist()))
            for name, s in kinds.items()
        )
    lowest = variances["learned"] < min(value for name, value in variances.items() if name != "learned")
    listed = ", ".join(f"{name} {value:.3g}" for name, value in variances.items())
    return Finding(
        "V8",
        VDM_ROWS["V8"].claim,
        f"variance of single draws: {listed}; learned is {ratio:.3f} of linear (95 %: {low:.3f} to "
        f"{high:.3f}); means "
        f"{means['learned']:.3f} and {means['linear']:.3f} +- {error:.3f}",
        lowest and high < 1.0 and abs(means["learned"] - means["linear"]) < 4 * error,
        {f"variance {k}": v for k, v in variances.items()}
        | {f"mean {k}": v for k, v in means.items()}
        | {"ratio": ratio, "low": low, "high": high, "error": error},
        (Plot("Schedules with equal ends", "t", "gamma", curves),),
    )


def v11(setting: Setting) -> Finding:
    """Batches of 16: variance of the batch's mean loss under both ways to draw times."""
    generator = torch.Generator().manual_seed(setting.seed)
    toy = toys.two_humps(8)
    batches: dict[str, list[float]] = {"iid": [], "low-discrepancy": []}
    schedule = Linear()
    for _ in range(setting.times(300, 150)):
        for name, draw in (("iid", times.iid), ("low-discrepancy", times.low_discrepancy)):
            x = objective.signal(toy.sample((16, *SHAPE), generator))
            t = draw(16, generator)
            eps = torch.randn(x.shape, generator=generator)
            loss = objective.continuous(toy, x, schedule.gamma(t), schedule.rate(t), eps)
            batches[name].append(float(loss.mean()))
    iid, even = (torch.tensor(batches[name]) for name in ("iid", "low-discrepancy"))
    error = math.hypot(float(iid.std()), float(even.std())) / math.sqrt(len(iid))
    gap = abs(float(iid.mean() - even.mean()))
    ratio = float(even.var() / iid.var())
    return Finding(
        "V11",
        VDM_ROWS["V11"].claim,
        f"variance of a batch's loss {float(iid.var()):.4f} with independent times, "
        f"{float(even.var()):.4f} with even "
        f"ones, a ratio of {ratio:.3f}; means {float(iid.mean()):.3f} and {float(even.mean()):.3f}",
        ratio < 0.5 and gap < 4 * error,
        {"iid": float(iid.var()), "low-discrepancy": float(even.var()), "ratio": ratio},
    )
