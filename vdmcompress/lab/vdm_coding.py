"""V14, V15, V19: bits-back coding against the bound, rate against T_eval, ancestral sampling."""

from __future__ import annotations

import numpy as np
import torch

from vdmcompress.lab.finding import Curve, Finding, Plot, Setting
from vdmcompress.lab.rows_vdm import VDM_ROWS
from vdmcompress.lab.t_eval import Rate, code, rates
from vdmcompress.vdm32 import ancestral, checkpoint, objective, steps, toys
from vdmcompress.vdm32.chain import ChainCoder, Order
from vdmcompress.vdm32.data import load_images, spread
from vdmcompress.vdm32.parameterisation import Prediction
from vdmcompress.vdm32.schedule import Linear

SHAPE = (3, 8, 8)
LOW = -6.0
ORDERS: tuple[Order, ...] = ("bottom-up", "top-down")


def v14(setting: Setting) -> Finding:
    """Both orders on an exact denoiser, T = 100: net length against the bound, and back again."""
    generator = torch.Generator().manual_seed(setting.seed)
    toy = toys.two_humps(8)
    levels = toy.sample((setting.times(48, 16), *SHAPE), generator)
    gammas = steps.even(Linear(LOW), 100)
    vlb = torch.cat([objective.evaluate(toy, levels, gammas, generator).total for _ in range(4)])
    figures = {"vlb": float(vlb.mean())}
    off: list[float] = []
    for order in ORDERS:
        coder = ChainCoder(toy, gammas, order, shape=SHAPE, dtype=torch.float64)
        coded, _, _ = code(coder, levels, len(levels), setting.seed, check=True)
        dimensions = levels[0].numel()
        net, own = float(coded.net.mean()) / dimensions, float(coded.vlb.mean()) / dimensions
        off.append(net / figures["vlb"] - 1.0)
        figures |= {
            f"net {order}": net,
            f"vlb of its latents {order}": own,
            f"initial {order}": float(coded.initial.mean()) / dimensions,
        }
    return Finding(
        "V14",
        VDM_ROWS["V14"].claim,
        f"T = 100, {len(levels)} images, all decoded exactly and every borrowed bit given back: bound "
        f"{figures['vlb']:.3f}, net {figures['net bottom-up']:.3f} bottom-up and "
        f"{figures['net top-down']:.3f} "
        f"top-down bits a dimension; initial bits {figures['initial bottom-up']:.1f} and "
        f"{figures['initial top-down']:.0f}",
        all(abs(o) < 0.01 for o in off) and figures["initial bottom-up"] < 0.1 * figures["initial top-down"],
        figures,
    )


def v15(setting: Setting) -> Finding:
    """The table of T_eval on a trained network and real images."""
    if setting.images is None:  # `lab.run` has said so already
        raise ValueError("row V15 needs images")
    model = checkpoint.load(setting.checkpoint)
    levels = spread(load_images(setting.images), setting.times(64, 4))
    counts = (10, 25, 50, 100, 250, 500) if setting.scale >= 1 else (10, 25, 50)
    found = list(rates(model, levels, counts, setting.times(16, 4), seed=setting.seed))
    return summary(found)


def summary(found: list[Rate]) -> Finding:
    """The finding of a table."""
    up = [r for r in found if r.order == "bottom-up"]
    figures: dict[str, float] = {}
    for r in found:
        name = f"T {r.steps} {r.order}"
        figures |= {
            f"{name}, vlb": r.vlb.mean,
            f"{name}, net": r.net.mean,
            f"{name}, initial": r.initial.mean,
        }
    falls = all(a.vlb.mean > b.vlb.mean for a, b in zip(up, up[1:], strict=False))
    off = [r.net.mean / r.vlb_coded.mean - 1.0 for r in found if r.steps <= 250]
    x = tuple(float(r.steps) for r in up)
    curves = tuple(
        Curve(name, x, tuple(getattr(r, name).mean for r in up), tuple(getattr(r, name).error for r in up))
        for name in ("vlb", "net", "initial")
    )
    listed = "; ".join(f"T {r.steps}: {r.vlb.mean:.3f}, {r.net.mean:.3f}, {r.initial.mean:.1f}" for r in up)
    return Finding(
        "V15",
        VDM_ROWS["V15"].claim,
        f"bound, net and initial bits a dimension, bottom-up: {listed}; up to T = 250 the net rate is "
        f"{100 * min(off):+.2f} to {100 * max(off):+.2f} % from the bound of the same latents (below at few "
        "steps, since no value costs more than 28 bits)",
        falls and max(off) < 0.01,
        figures,
        (Plot("Rate against T_eval", "T", "bits a dimension", curves, log_x=True),),
    )


def v19(setting: Setting) -> Finding:
    """Histogram of samples against the data's, and the same with the sign of the noise wrong."""
    generator = torch.Generator().manual_seed(setting.seed)
    toy = toys.two_humps(8)
    gammas = steps.even(Linear(), setting.times(200, 100))
    shape = (setting.times(48, 24), *SHAPE)
    drawn = ancestral.sample(toy, gammas, shape, generator)

    def wrong(z: torch.Tensor, gamma: torch.Tensor) -> Prediction:
        return Prediction(-toy(z, gamma).noise)

    def distance(levels: torch.Tensor) -> float:
        """Half the sum of differences of the histograms, in cells of 16 levels."""
        counts = np.bincount(levels.reshape(-1).numpy() // 16, minlength=16) / levels.numel()
        data = toy.histogram.reshape(16, 16).sum(1).numpy()
        return float(0.5 * np.abs(counts - data).sum())

    good, bad = distance(drawn), distance(ancestral.sample(wrong, gammas, shape, generator))
    mean, data_mean = float(drawn.double().mean()), float((toy.histogram * torch.arange(256)).sum())
    spacing = float((toy.histogram[drawn] > 0).double().mean())
    return Finding(
        "V19",
        VDM_ROWS["V19"].claim,
        f"histograms of samples and data differ by {100 * good:.1f} % (wrong sign of the noise: "
        f"{100 * bad:.0f} %), "
        f"means {mean:.1f} and {data_mean:.1f}; {100 * spacing:.1f} % of values are levels that the data "
        "have",
        good < 0.05 < bad and abs(mean - data_mean) < 3.0 and spacing > 0.9,
        {"distance": good, "wrong_sign": bad, "mean": mean, "data_mean": data_mean, "on_levels": spacing},
    )
