"""Rows T1 to T6: the diffusion model as a hierarchy of latent variables, on data with exact denoisers."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from vdmcompress.lab import derivation
from vdmcompress.lab.coding_order import initial_bits, net_bits
from vdmcompress.lab.finding import Curve, Finding, Plot, Setting
from vdmcompress.lab.hierarchy import bound, diffusion, gaussian_nats, ladder
from vdmcompress.lab.lattice import photograph
from vdmcompress.lab.rows_demystify import DEMYSTIFY_ROWS
from vdmcompress.vdm32.decoder import code_length, nearest
from vdmcompress.vdm32.parameterisation import OUTPUTS, convert, error_weight, from_noise
from vdmcompress.vdm32.process import LN2, Step, alpha, diffuse, sigma
from vdmcompress.vdm32.schedule import GAMMA_MAX, GAMMA_MIN
from vdmcompress.vdm32.toys import two_humps


def _finding(row: str, measured: str, passed: bool, figures: dict[str, float], *plots: Plot) -> Finding:
    return Finding(row, DEMYSTIFY_ROWS[row].claim, measured, passed, figures, plots)


def even(steps: int) -> Tensor:
    """Levels gamma_0..gamma_T, even in gamma, float64 (T + 1,)."""
    return torch.linspace(GAMMA_MIN, GAMMA_MAX, steps + 1, dtype=torch.float64)


def t1(setting: Setting) -> Finding:
    """One routine, two models: a VAE against its evidence, a diffusion model against the steps' KLs."""
    draw = torch.Generator().manual_seed(setting.seed)
    x = torch.randn((64, 1, 1, 5), dtype=torch.float64, generator=draw) * 1.5
    evidence = gaussian_nats(x, 0.0, 1.75).flatten(1).sum(1)
    scored = bound(ladder(1.0, 0.5, 0.25), x, draw)
    vae_error = float((scored.sampled - evidence).abs().max())
    difference = scored.total - evidence
    closed = float(difference.mean().abs() / (difference.std() / len(x) ** 0.5))

    gammas, toy = even(20), two_humps()
    levels = toy.sample((8, 3, 4, 4), draw)
    x = (2.0 * levels.double() + 1.0) / 256 - 1.0
    model = diffusion(gammas, toy, lambda x, z: code_length(nearest(x), z, gammas[0]).flatten(1).sum(1))
    got = bound(model, x, draw)
    direct = []
    for t in reversed(range(1, len(gammas))):
        step, z_t = Step(gammas[t - 1], gammas[t]), got.latents[len(gammas) - 1 - t]
        eps = (z_t - alpha(step.gamma_t) * x) / sigma(step.gamma_t)
        error = (eps - toy(z_t, step.gamma_t.expand(len(z_t))).noise) ** 2
        direct.append(0.5 * step.gain * error.flatten(1).sum(1))
    diffusion_error = float(((got.kl[1:] - torch.stack(direct)).abs() / got.kl[1:].clamp(min=1.0)).max())
    bits = float(got.total.mean()) / (x[0].numel() * LN2)
    return _finding(
        "T1",
        f"VAE: bound and evidence differ by {vae_error:.1e} nats at most (with KLs in closed form by "
        f"{closed:.1f} standard errors); diffusion model, 20 steps: "
        f"the same routine and half the gain times the squared error differ by {diffusion_error:.1e} "
        f"relative",
        vae_error < 1e-10 and closed < 4.0 and diffusion_error < 1e-8,
        {"VAE nats off": vae_error, "diffusion relative": diffusion_error, "diffusion bound bpd": bits},
    )


def joint_bottom_up(gammas: Tensor, x: float) -> tuple[Tensor, Tensor]:
    """Mean (T + 1,) and covariance (T + 1, T + 1) of z_0..z_T given x: q(z_0 | x) prod q(z_t | z_s)."""
    count = len(gammas)
    mean, maps = torch.zeros(count, dtype=gammas.dtype), torch.zeros((count, count), dtype=gammas.dtype)
    mean[0], maps[0, 0] = alpha(gammas[0]) * x, sigma(gammas[0])
    for t in range(1, count):
        step = Step(gammas[t - 1], gammas[t])
        mean[t], maps[t] = step.shrink * mean[t - 1], step.shrink * maps[t - 1]
        maps[t, t] = torch.sqrt(step.forward_variance)
    return mean, maps @ maps.T


def joint_top_down(gammas: Tensor, x: float) -> tuple[Tensor, Tensor]:
    """The same of q(z_T | x) prod q(z_s | z_t, x)."""
    count = len(gammas)
    mean, maps = torch.zeros(count, dtype=gammas.dtype), torch.zeros((count, count), dtype=gammas.dtype)
    mean[-1], maps[-1, -1] = alpha(gammas[-1]) * x, sigma(gammas[-1])
    for s in reversed(range(count - 1)):
        step = Step(gammas[s], gammas[s + 1])
        zero = step.posterior(torch.zeros((), dtype=gammas.dtype), torch.tensor(x, dtype=gammas.dtype)).mean
        slope = step.posterior(torch.ones((), dtype=gammas.dtype), torch.zeros((), dtype=gammas.dtype)).mean
        mean[s], maps[s] = zero + slope * mean[s + 1], slope * maps[s + 1]
        maps[s, s] = torch.sqrt(step.posterior_variance)
    return mean, maps @ maps.T


def t2(setting: Setting) -> Finding:
    """Both factorisations give one Gaussian; ideal code lengths of both coding orders."""
    gammas = even(50)
    (mean_up, cov_up), (mean_down, cov_down) = joint_bottom_up(gammas, 0.3), joint_top_down(gammas, 0.3)
    off = max(float((mean_up - mean_down).abs().max()), float((cov_up - cov_down).abs().max()))
    levels = gammas.numpy()
    up, down = initial_bits(levels, "bottom-up"), initial_bits(levels, "top-down")
    mse = photograph().mses(levels[1:])
    net_up, net_down = net_bits(levels, mse, "bottom-up"), net_bits(levels, mse, "top-down")
    return _finding(
        "T2",
        f"mean and covariance of z_0..z_50 differ by {off:.1e}; net {net_up:.4f} and {net_down:.4f} bits a "
        f"value, initial bits {up:.2f} bottom-up and {down:.1f} top-down",
        off < 1e-12 and abs(net_up - net_down) < 1e-9 and up < down / 10,
        {"joint off by": off, "net bottom-up": net_up, "net top-down": net_down,
         "initial bottom-up": up, "initial top-down": down},
    )  # fmt: skip


def t3(setting: Setting) -> Finding:
    """The bound of a given depth, without sampling error."""
    toy, depths = photograph(), [5, 10, 20, 40, 80, 160, 320]
    limit = toy.information(GAMMA_MIN) - toy.information(GAMMA_MAX)
    bits = []
    for depth in depths:
        levels = even(depth).numpy()
        bits.append(float((0.5 * np.expm1(np.diff(levels)) * toy.mses(levels[1:])).sum() / math.log(2)))
    gaps = np.array(bits) - limit
    order = float(np.log2(gaps[-2] / gaps[-1]))
    return _finding(
        "T3",
        f"diffusion loss {bits[0]:.2f} bits at depth {depths[0]}, {bits[-1]:.3f} at {depths[-1]}, limit "
        f"{limit:.3f}; from {depths[-2]} to {depths[-1]} the gap falls by 2^{order:.2f}",
        bool((np.diff(bits) < 0).all() and (gaps > 0).all() and 0.9 < order < 1.1),
        {**{f"depth {d}": b for d, b in zip(depths, bits, strict=True)}, "limit": limit, "order": order},
        Plot("Bound against depth", "depth T", "diffusion loss, bits a value",
             (Curve("T steps, even in gamma", tuple(map(float, depths)), tuple(bits)),
              Curve("continuous time", (depths[0], depths[-1]), (limit, limit))), log_x=True, log_y=True),
    )  # fmt: skip


def t4(setting: Setting) -> Finding:
    """What each of 40 levels tells of x, and what the top costs."""
    toy, levels = photograph(), even(40).numpy()
    bits = -np.diff([toy.information(float(g)) for g in levels])
    rates = 0.5 * np.expm1(np.diff(levels)) * toy.mses(levels[1:]) / math.log(2)
    g = even(1)[-1]
    second = toy.variance + float(toy.probabilities @ toy.values) ** 2
    top = 0.5 * (float(torch.sigmoid(-g)) * second + float(torch.sigmoid(g)) - 1.0)
    top = (top - 0.5 * float(torch.nn.functional.logsigmoid(g))) / math.log(2)
    low, high = 2.0 * math.log(toy.spacing), math.log(toy.variance)
    data_range = (levels[1:] > low) & (levels[1:] < high)
    least = float(bits[data_range].min())
    return _finding(
        "T4",
        f"{int(data_range.sum())} of 40 levels have noise between the spacing of grey levels and the spread "
        f"of "
        f"the data (gamma {low:.1f} to {high:.1f}); each carries {least:.3f} bits or more; the least noisy "
        f"of all "
        f"carries {float(bits[0]):.4f}, the prior {top:.4f}",
        least > 0.05 and bool((bits > 0).all()) and top < 0.005,
        {"least bits of a level in range": least, "prior": top, "sum of levels": float(bits.sum())},
        Plot("Bits by level", "gamma of the level", "bits a value",
             (Curve("information", tuple(levels[1:]), tuple(bits)),
              Curve("rate of 40 steps", tuple(levels[1:]), tuple(rates)))),
    )  # fmt: skip


def t5(setting: Setting) -> Finding:
    """All pairs of outputs there and back; their four losses."""
    draw = torch.Generator().manual_seed(setting.seed)
    x, eps, wrong = (torch.randn((512,), dtype=torch.float64, generator=draw) for _ in range(3))
    gamma = torch.linspace(GAMMA_MIN, GAMMA_MAX, 512, dtype=torch.float64)
    z = diffuse(x, gamma, eps)
    back = losses = 0.0
    for source in OUTPUTS:
        value = from_noise(source, eps, z, gamma)
        for target in OUTPUTS:
            there = convert(source, target, value, z, gamma)
            again = convert(target, source, there, z, gamma)
            back = max(back, float(((again - value).abs() / value.abs().clamp(min=1.0)).max()))
        error = (value - from_noise(source, eps + wrong, z, gamma)) ** 2 * error_weight(source, gamma)
        losses = max(losses, float((error / wrong**2 - 1.0).abs().max()))
    return _finding(
        "T5",
        f"16 conversions there and back are off by {back:.1e}; the four weighted losses by {losses:.1e}",
        back < 1e-8 and losses < 1e-6,
        {"there and back": back, "losses": losses},
    )


def t6(setting: Setting) -> Finding:
    """Every equation of docs/papers.md, both sides computed."""
    sides = {name: equation() for name, equation in derivation.EQUATIONS.items()}
    off = {name: side.off for name, side in sides.items()}
    worst = max(off, key=lambda name: off[name] / sides[name].tolerance)
    return _finding(
        "T6",
        f"{len(off)} equations; the one nearest to its tolerance, {worst}, is off by {off[worst]:.1e}",
        all(side.holds for side in sides.values()),
        off,
    )
