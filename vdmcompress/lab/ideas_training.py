"""Rows X1 and X2: experts by range of noise, and training from easy to hard."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from vdmcompress.lab.finding import Curve, Finding, Plot, Setting
from vdmcompress.lab.rows_ideas import IDEA_ROWS
from vdmcompress.lab.small import TRAIN, Plan, score, train
from vdmcompress.lab.vdmpp_training import smoothed
from vdmcompress.vdm32.parameterisation import Denoise, Prediction
from vdmcompress.vdm32.schedule import Linear

MARGIN = 0.02
"""Bits per dimension; a smaller gain at this scale is none."""

SPLIT = 0.4
"""t below which the low-noise expert works: gamma = -6 of the linear schedule."""


def joined(low: Denoise, high: Denoise, split: float) -> Denoise:
    """Two experts as one denoiser; gamma below `split` goes to `low`."""

    def denoise(z: Tensor, gamma: Tensor) -> Prediction:
        below = gamma < split
        noise = torch.empty_like(z)
        for part, expert in ((below, low), (~below, high)):
            if bool(part.any()):
                noise[part] = expert(z[part], gamma[part]).noise
        return Prediction(noise)

    return denoise


def x1(setting: Setting) -> Finding:
    """A shared network, then two experts of half of the remaining steps each, against going on with one."""
    half = TRAIN.steps // 2
    shared = train(setting, Plan(replace(TRAIN, steps=half, cooldown=0.001)))
    rest = replace(TRAIN, steps=half)
    one = train(setting, Plan(rest), shared)
    part = replace(TRAIN, steps=half // 2)
    low = train(setting, Plan(part, high=SPLIT), shared)
    high = train(setting, Plan(part, low=SPLIT), shared)
    split = float(Linear().gamma(torch.tensor(SPLIT)))
    longer = joined(
        train(setting, Plan(rest, high=SPLIT), shared).averaged,
        train(setting, Plan(rest, low=SPLIT), shared).averaged,
        split,
    )
    single, error = score(setting, one.averaged)
    experts, _ = score(setting, joined(low.averaged, high.averaged, split))
    twice, _ = score(setting, longer)
    return Finding(
        "X1",
        IDEA_ROWS["X1"].claim,
        f"held-back bound {single:.3f} bpd with one network, {experts:.3f} with two experts of equal steps "
        f"together, "
        f"{twice:.3f} with twice the steps and so twice the training and twice the model (standard error "
        f"over images "
        f"{error:.3f})",
        single - experts > MARGIN,
        {"one network": single, "two experts, equal steps": experts, "two experts, equal steps each": twice,
         "standard error": error},
    )  # fmt: skip


def x2(setting: Setting) -> Finding:
    """Levels from high noise to low over the first half of the steps, against all levels throughout."""
    plain, easy = train(setting, Plan()), train(setting, Plan(curriculum=0.5))
    bpd = {"all levels": score(setting, plain.averaged), "high noise first": score(setting, easy.averaged)}
    return Finding(
        "X2",
        IDEA_ROWS["X2"].claim,
        f"held-back bound {bpd['all levels'][0]:.3f} bpd with all levels throughout, "
        f"{bpd['high noise first'][0]:.3f} with high noise first (standard error over images "
        f"{bpd['all levels'][1]:.3f})",
        bpd["all levels"][0] - bpd["high noise first"][0] > MARGIN,
        {name: value for name, (value, _) in bpd.items()},
        (Plot("Training from easy to hard", "step", "loss over the levels drawn, bpd",
              tuple(Curve(n, c.x, c.y) for n, c in
                    (("all levels", smoothed(plain)), ("high noise first", smoothed(easy))))),),
    )  # fmt: skip
