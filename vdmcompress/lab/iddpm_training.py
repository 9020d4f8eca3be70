"""Rows I1, I2, I5, I6 and I10: Improved DDPM's losses, their gradients, and averaged weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from vdmcompress.lab.finding import Curve, Finding, Plot, Setting
from vdmcompress.lab.rows_iddpm import IDDPM_ROWS
from vdmcompress.lab.small import (
    HELD_BACK,
    NETWORK,
    TRAIN,
    Plan,
    Run,
    gradient,
    noise_scale,
    pictures,
    score,
    train,
)
from vdmcompress.vdm32 import objective
from vdmcompress.vdm32.config import Objective
from vdmcompress.vdm32.parameterisation import Denoise, Prediction
from vdmcompress.vdm32.process import Step, diffuse, per_image
from vdmcompress.vdm32.schedule import Cosine, Linear
from vdmcompress.vdm32.times import NoiseSampler, Rule
from vdmcompress.vdm32.train import Trainer
from vdmcompress.vdm32.variance import VarianceKind

STEPS = 50
"""T of the discrete chains that are trained."""

CHAIN = Cosine()
"""The paper's schedule, on which gradients are compared; the network is told gamma, so that any will do."""

BOTH = replace(NETWORK, learned_variance=True)
KINDS: tuple[VarianceKind, ...] = ("lower", "upper", "learned", "scalar")


def plan(objective_name: Objective, sampler: Rule | Literal[""] = "") -> Plan:
    """A run on the chain of T steps with a variance output: 'hybrid', 'vlb', 'simple'."""
    return Plan(replace(TRAIN, objective=objective_name, timesteps=STEPS, sampler=sampler), BOTH)


def _finding(row: str, measured: str, passed: bool, figures: dict[str, float], *plots: Plot) -> Finding:
    return Finding(row, IDDPM_ROWS[row].claim, measured, passed, figures, plots)


def chain_bpd(setting: Setting, denoise: Denoise, steps: int, kind: VarianceKind, images: int = 32) -> float:
    """Bound of held-back pictures over a chain of `steps` even steps, bits per dimension.

    'scalar' fits its variances to the errors of training pictures.
    """
    training, valid = pictures(setting.images, setting.seed)
    gammas = Linear().levels(steps)
    mse = None
    if kind == "scalar":
        draw = torch.Generator().manual_seed(setting.seed + 1)
        mse = objective.error_curve(denoise, training[:images].long(), gammas[1:], draw)
    draw = torch.Generator().manual_seed(setting.seed)  # the same noise for all kinds
    return float(objective.evaluate(denoise, valid[:images], gammas, draw, kind, mse).total.mean())


def i1(setting: Setting) -> Finding:
    """One network trained by the hybrid loss, its bound with four variances at four numbers of steps."""
    denoise, counts = train(setting, plan("hybrid")).averaged, (10, 25, 50)
    bpd = {(kind, k): chain_bpd(setting, denoise, k, kind) for k in counts for kind in KINDS}
    gain = {k: min(bpd["lower", k], bpd["upper", k]) - bpd["learned", k] for k in counts}
    return _finding(
        "I1",
        "bpd at 10, 25, 50 steps: "
        + "; ".join(f"{kind} " + ", ".join(f"{bpd[kind, k]:.3f}" for k in counts) for kind in KINDS),
        all(g > 0 for g in gain.values()) and gain[10] > gain[50],
        {f"{kind}, {k} steps": value for (kind, k), value in bpd.items()},
        Plot("Variances of p", "steps K", "bound, bpd", tuple(
            Curve(kind, tuple(map(float, counts)), tuple(bpd[kind, k] for k in counts)) for kind in KINDS),
            log_x=True),
    )  # fmt: skip


def mean_gradients_differ(seed: int = 0) -> float:
    """Largest difference of the gradients that L_hybrid and L_simple give to the predicted noise."""
    draw = torch.Generator().manual_seed(seed)
    eps, noise, value = (torch.randn((4, 3, 8, 8), generator=draw) for _ in range(3))
    step = Step(torch.full((4, 1, 1, 1), -4.0), torch.full((4, 1, 1, 1), -3.8))
    grads = []
    for with_bound in (True, False):
        leaf = noise.clone().requires_grad_()
        if with_bound:
            prediction = Prediction(leaf, value.clone().requires_grad_())
            loss = objective.hybrid(prediction, eps, step, STEPS).sum()
        else:
            loss = ((eps - leaf) ** 2).flatten(1).mean(1).sum()
        grads.append(torch.autograd.grad(loss, leaf)[0])
    return float((grads[0] - grads[1]).abs().max())


def i2(setting: Setting) -> Finding:
    """The gradient of the mean, and networks trained by L_simple and by L_hybrid."""
    off = mean_gradients_differ(setting.seed)
    simple, hybrid = train(setting, plan("simple")).averaged, train(setting, plan("hybrid")).averaged
    fixed = {kind: chain_bpd(setting, simple, STEPS, kind) for kind in KINDS[:2]}
    learned = chain_bpd(setting, hybrid, STEPS, "learned")
    return _finding(
        "I2",
        f"gradients of the mean differ by {off:.1e}; {STEPS} steps: L_simple {fixed['lower']:.3f} and "
        f"{fixed['upper']:.3f} bpd with the lower and the upper variance, L_hybrid {learned:.3f}",
        off == 0.0 and learned < min(fixed.values()),
        {"gradient off by": off, "simple, lower": fixed["lower"], "simple, upper": fixed["upper"],
         "hybrid, learned": learned},
    )  # fmt: skip


Loss = Callable[[Tensor, torch.Generator], Tensor]


def losses(run: Run, sampler: NoiseSampler | None = None) -> dict[str, Loss]:
    """L_vlb and L_hybrid of a network as functions of a batch; with the times of a sampler, weighted back."""
    trainer: Trainer = run.trainer

    def parts(levels: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        u = torch.rand(len(levels), generator=draw)
        t, weights = sampler.draw(u) if sampler else (u, torch.ones(len(levels)))
        t = torch.ceil(t * STEPS).clamp_min(1.0) / STEPS
        x = objective.signal(levels)
        eps = torch.randn(x.shape, generator=draw)
        gamma = CHAIN.gamma(t)
        step = Step(per_image(CHAIN.gamma(t - 1.0 / STEPS)), per_image(gamma))
        prediction = trainer.denoiser(diffuse(x, per_image(gamma), eps), gamma)
        bound = STEPS * objective.bpd(objective.step_nats(prediction, eps, step, "learned"))
        return weights * bound, weights * objective.hybrid(prediction, eps, step, STEPS)

    return {"vlb": lambda levels, draw: parts(levels, draw)[0],
            "hybrid": lambda levels, draw: parts(levels, draw)[1]}  # fmt: skip


def gradients(setting: Setting, run: Run, loss: Loss, batches: int) -> list[Tensor]:
    """Gradients of a loss over as many minibatches of 8 training pictures."""
    images, _ = pictures(setting.images, setting.seed)
    return [gradient(run.trainer, loss, images, 8, 1000 + i) for i in range(batches)]


def i5(setting: Setting) -> Finding:
    """Gradient noise scale of both losses at one network."""
    run, batches = train(setting, plan("hybrid")), setting.times(24, 6)
    scale = {name: noise_scale(gradients(setting, run, loss, batches)) for name, loss in losses(run).items()}
    return _finding(
        "I5",
        f"variance of the gradient over the square of its mean, cosine chain, minibatches of 8: L_vlb "
        f"{scale['vlb']:.2f}, "
        f"L_hybrid {scale['hybrid']:.2f} ({batches} minibatches)",
        scale["vlb"] > scale["hybrid"],
        {f"noise scale, {name}": value for name, value in scale.items()},
    )


def filled_sampler(setting: Setting, run: Run) -> NoiseSampler:
    """The importance rule's table after enough losses of one network at every level."""
    sampler, images = NoiseSampler("importance", bins=20), pictures(setting.images, setting.seed)[0]
    draw = torch.Generator().manual_seed(setting.seed)
    with torch.no_grad():
        for i in range(200):
            t = (torch.rand(20, generator=draw) + torch.arange(20)) / 20
            levels = images[20 * i % 2000 : 20 * i % 2000 + 20].long()
            x = objective.signal(levels)
            eps = torch.randn(x.shape, generator=draw)
            gamma = CHAIN.gamma(t)
            step = Step(per_image(CHAIN.gamma((t - 1 / STEPS).clamp_min(0))), per_image(gamma))
            prediction = run.trainer.denoiser(diffuse(x, per_image(gamma), eps), gamma)
            sampler.update(t, STEPS * objective.bpd(objective.step_nats(prediction, eps, step, "learned")))
            if int(sampler.count.min()) >= 10:
                break
    return sampler


def i6(setting: Setting) -> Finding:
    """Mean and noise of importance-sampled L_vlb at one network; the bound of four runs."""
    run, batches = train(setting, plan("hybrid")), setting.times(24, 6)
    images, _ = pictures(setting.images, setting.seed)
    sampler = filled_sampler(setting, run)
    value: dict[str, tuple[float, float]] = {}
    noise: dict[str, float] = {}
    for name, used in (("uniform", None), ("importance", sampler)):
        loss = losses(run, used)["vlb"]
        with torch.no_grad():
            draw = torch.Generator().manual_seed(setting.seed)
            drawn = torch.cat([loss(images[i * 128 : i * 128 + 128].long(), draw) for i in range(8)])
        value[name] = float(drawn.mean()), float(drawn.std() / len(drawn) ** 0.5)
        noise[name] = noise_scale(gradients(setting, run, loss, batches))
    off = abs(value["uniform"][0] - value["importance"][0])
    error = (value["uniform"][1] ** 2 + value["importance"][1] ** 2) ** 0.5
    plans = {"simple": plan("simple"), "hybrid": plan("hybrid"), "vlb": plan("vlb"),
             "vlb, importance": plan("vlb", "importance")}  # fmt: skip
    bpd = {
        name: min(chain_bpd(setting, train(setting, p).averaged, STEPS, kind)
                  for kind in (KINDS[:2] if name == "simple" else KINDS[2:3]))
        for name, p in plans.items()
    }  # fmt: skip
    ordered = bpd["vlb, importance"] < bpd["hybrid"] < bpd["simple"]
    return _finding(
        "I6",
        f"mean {value['uniform'][0]:.3f} uniform, {value['importance'][0]:.3f} importance bpd, "
        f"{off / error:.1f} "
        f"standard errors apart; noise scale of the gradient {noise['uniform']:.2f} and "
        f"{noise['importance']:.2f}; "
        f"trained: " + ", ".join(f"{n} {b:.3f}" for n, b in bpd.items())
        + ("" if ordered else " (not in the paper's order)"),
        off < 4 * error and noise["importance"] < noise["uniform"] and ordered,
        {"mean, uniform": value["uniform"][0], "mean, importance": value["importance"][0],
         "noise scale, uniform": noise["uniform"], "noise scale, importance": noise["importance"],
         **{f"bound, {n}": b for n, b in bpd.items()}},
    )  # fmt: skip


def i10(setting: Setting) -> Finding:
    """Averaged against raw weights, and the gap between training and held-back pictures."""
    constant = replace(TRAIN, cooldown=0.001)  # averaging pays while the learning rate has not fallen
    run = train(setting, Plan(constant))
    small = train(setting, Plan(constant, few=32))
    raw, averaged = score(setting, run.trainer.denoiser.eval())[0], score(setting, run.averaged)[0]
    training = pictures(setting.images, setting.seed)[0]
    gap = score(setting, run.averaged)[0] - score(setting, run.averaged, held_back=False)[0]
    repeated = training[:32].repeat(HELD_BACK // 32, 1, 1, 1).long()
    from vdmcompress.vdm32.train import validate

    seen = validate(small.averaged, Linear(), repeated, draws=setting.times(4, 2))[0]
    small_gap = score(setting, small.averaged)[0] - seen
    return _finding(
        "I10",
        f"held back: {averaged:.3f} bpd averaged, {raw:.3f} raw weights; held back minus training "
        f"{gap:+.3f} with "
        f"{len(training)} pictures, {small_gap:+.3f} with 32",
        averaged < raw and small_gap > gap,
        {"averaged": averaged, "raw": raw, "gap, all pictures": gap, "gap, 32 pictures": small_gap},
    )  # fmt: skip
