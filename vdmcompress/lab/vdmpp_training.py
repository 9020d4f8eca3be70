"""Rows W4 and W5: networks trained under other weightings and with adaptive noise levels."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from vdmcompress.lab.finding import Curve, Finding, Plot, Setting
from vdmcompress.lab.rows_vdmpp import VDMPP_ROWS
from vdmcompress.lab.small import TRAIN, Plan, Run, loss_deviation, pictures, score, train
from vdmcompress.vdm32 import times
from vdmcompress.vdm32.times import Rule

RULES: dict[str, Rule | Literal[""]] = {"uniform": "", **{rule: rule for rule in times.RULES}}
"""What draws the noise levels."""


def smoothed(run: Run, width: int = 10) -> Curve:
    """The bound of the batches, averaged over a few steps, as points of a curve."""
    values = [r["bpd"] for r in run.records]
    means = [sum(values[i : i + width]) / len(values[i : i + width]) for i in range(0, len(values), width)]
    return Curve("", tuple(float(i * width) for i in range(len(means))), tuple(means))


def weightings() -> dict[str, Plan]:
    """Plans by the name of the weighting; the last begins with one and ends with the bound's."""

    def plan(name: str, last: float = 0.0) -> Plan:
        return Plan(replace(TRAIN, objective="weighted", weighting=name, uniform_last=last))

    return {"uniform": Plan(), "sigmoid": plan("sigmoid"), "edm-monotone": plan("edm-monotone"),
            "simple-cosine": plan("simple-cosine"),
            "sigmoid, then uniform": plan("sigmoid", 1 / 3)}  # fmt: skip


def w4(setting: Setting) -> Finding:
    """Held-back bound of networks trained under five weightings."""
    runs = {name: train(setting, plan) for name, plan in weightings().items()}
    bpd = {name: score(setting, run.averaged) for name, run in runs.items()}
    best = min(bpd, key=lambda name: bpd[name][0])
    error = bpd["uniform"][1]
    wins = all(bpd["uniform"][0] <= value + error for name, (value, _) in bpd.items() if name in RIVALS)
    return Finding(
        "W4",
        VDMPP_ROWS["W4"].claim,
        "held-back bound in bpd: " + ", ".join(f"{n} {v:.3f}" for n, (v, _) in bpd.items())
        + f" (standard error over images {error:.3f}); lowest: {best}",
        wins,
        {name: value for name, (value, _) in bpd.items()} | {"standard error": error},
        (Plot("Bound while training", "step", "bound of the batches, bpd",
              tuple(replace(smoothed(run), name=name) for name, run in runs.items())),),
    )  # fmt: skip


RIVALS = ("sigmoid", "edm-monotone", "simple-cosine")
"""Weightings that the uniform one should beat or tie with; the mixed plan is asked about, not claimed."""


def w5(setting: Setting) -> Finding:
    """Spread of single losses, and the bound, with noise levels drawn by three rules and evenly."""
    _, valid = pictures(setting.images, setting.seed)
    runs = {name: train(setting, Plan(replace(TRAIN, sampler=rule))) for name, rule in RULES.items()}
    network = runs["uniform"].trainer
    spread: dict[str, float] = {}
    mean: dict[str, float] = {}
    for name, run in runs.items():
        sampler = network.sampler
        network.sampler = run.trainer.sampler  # one network, the levels that each rule has come to
        mean[name], spread[name] = loss_deviation(network, valid, setting.times(8, 2), setting.seed)
        network.sampler = sampler
    bpd = {name: score(setting, run.averaged)[0] for name, run in runs.items()}
    ratio = {name: (spread[name] / spread["uniform"]) ** 2 for name in runs}
    return Finding(
        "W5",
        VDMPP_ROWS["W5"].claim,
        f"variance of single losses of one network against levels even in gamma: adaptive "
        f"{ratio['adaptive']:.2f}, "
        f"by squared loss {ratio['variance']:.2f}, Improved DDPM's {ratio['importance']:.2f}; held-back "
        f"bound "
        f"{bpd['uniform']:.3f} even, {bpd['adaptive']:.3f}, {bpd['variance']:.3f}, {bpd['importance']:.3f} "
        f"bpd",
        ratio["adaptive"] < 1.0,
        {**{f"variance against even, {n}": v for n, v in ratio.items()},
         **{f"mean loss, {n}": v for n, v in mean.items()}, **{f"bound, {n}": v for n, v in bpd.items()}},
        (Plot("Bound while training", "step", "bound of the batches, bpd",
              tuple(replace(smoothed(run), name=name) for name, run in runs.items())),),
    )  # fmt: skip
