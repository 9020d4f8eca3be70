"""The honest number: VLB, coded bits and file bytes of an image side by side.

The VLB is the closed form with continuous q and p in float64, from the exported integer network's outputs,
with z_k drawn as N(d, sigma_k^2) by a seeded generator, for the plan that the file uses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from codec import adaptive
from codec.ahead import columns
from vdmcompress.band_chain import BandChain
from vdmcompress.batch_chain import BatchChain
from vdmcompress.cascade import Cascade, Encoded, encode_pixels
from vdmcompress.colour import Colour, colour_bits, to_planes
from vdmcompress.conditionals import band_name
from vdmcompress.diffusion import FACTORS16, gaussian_kl, mixture_code_length
from vdmcompress.engine import Engine
from vdmcompress.model_file import Model
from vdmcompress.path import PLANS, BandPath
from vdmcompress.pyramid import Planes, split
from vdmcompress.transform import low_range, pyramid_shapes

Band = NDArray[np.int16]


def draw_latent(z_below: Band, path: BandPath, k: int, rng: np.random.Generator) -> Band:
    """z_k given z_{k-1}, both in bins of their grids, int16: so that z_k given d is N(d, sigma_k**2)."""
    noise = path.levels[k - 1].own_sigma * rng.standard_normal(z_below.shape)
    grey = z_below * float(path.delta(k - 1)) + noise
    return np.rint(grey / path.delta(k)).astype(np.int16)


@dataclass(frozen=True)
class Term:
    """What one strip of a level costs, and what is seen there; float64 (C, h, w) of existing positions.

    level: of what is coded, 0 for the data.  rows: of the band.  bits: the closed-form term of each value;
    couplings make those of Co and Cg include what they take from the components before them.  value, mean,
    scale: what is coded (z_k as it was drawn), the distribution's mean before coupling and its standard
    deviation (level 0: of the mixture), in grey levels.  squared: expected squared residual of the first
    component over its variance; network_squared: the same before statistics have adapted.
    """

    level: int
    rows: slice
    bits: NDArray[np.float64]
    value: NDArray[np.float64]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    squared: NDArray[np.float64]
    network_squared: NDArray[np.float64]


def band_terms(chain: BandChain | BatchChain, d: Band, rng: np.random.Generator) -> Iterator[Term]:
    """The terms of a band, level by level from the data to the top, strip by strip.

    Statistics adapt along the z_{k-1} that was drawn; given its past, each value's term is in closed form.
    """
    z_below = d
    for k in range(1, chain.levels + 1):
        z_k = None if k == chain.levels else draw_latent(z_below, chain.path, k, rng)
        for strip in chain.strips:
            yield _term(chain, k, d, z_below, z_k, strip)
        if z_k is not None:
            z_below = z_k


def _term(
    chain: BandChain | BatchChain, k: int, d: Band, z_below: Band, z_k: Band | None, strip: slice
) -> Term:
    """The term of z_{k-1} given z_k in a strip."""
    path, top = chain.path, k == chain.levels
    level = k - 1
    own = chain.likelihood(k, z_k, strip)
    bins = own
    if chain.adapts:
        bins = adaptive.refine(chain.gather(z_below, strip), own, columns(own, strip))
    h, w = strip.stop - strip.start, chain.shape[1]

    def plane(x: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(x.astype(np.float64).T.reshape(1, -1, h, w))

    mean, coupling, log2_scale = (
        plane(bins.mean) / 64,
        plane(bins.coupling) / 64,
        (plane(bins.scale) - 32) / 8,
    )
    clean = plane(chain.gather(d, strip))
    delta, spread, variance = 1, torch.ones(1, dtype=torch.float64), 0.0
    if level == 0:
        step = chain.model.path.step(chain.band, path.evaluations if top else k)
        weights = chain.model.mixture(chain.model.row(chain.scale, step.slot), chain.direct)
        mixture = torch.from_numpy(weights[: chain.components].astype(np.float64) / 65536)[None]
        bits = mixture_code_length(clean - mean, log2_scale, coupling, mixture)
        factors = torch.tensor(FACTORS16, dtype=torch.float64) / 16
        spread = (mixture * factors**2).sum(-1)[..., None, None]
        centre = clean
    else:
        delta = path.delta(level)
        r = 0.0 if top else path.retention(k)
        noisy = 0.0 if z_k is None else plane(chain.gather(z_k, strip)) * path.delta(k)
        centre = (r * noisy + (1 - r) * clean) / delta
        variance = path.variance(level) * (1 - r) / delta**2
        bits = gaussian_kl(centre - mean, variance, log2_scale, coupling)

    def squared(mean: torch.Tensor, log2_scale: torch.Tensor) -> NDArray[np.float64]:
        found = ((centre - mean) ** 2 + variance) / (torch.exp2(2 * log2_scale) * spread)
        return np.asarray(found[0, 0].numpy())

    return Term(
        k - 1,
        strip,
        bits[0].numpy(),
        plane(chain.gather(z_below, strip))[0].numpy() * delta,
        (mean * delta)[0].numpy(),
        (torch.exp2(log2_scale) * torch.sqrt(spread) * delta)[0].numpy(),
        squared(mean, log2_scale),
        squared(plane(own.mean) / 64, (plane(own.scale) - 32) / 8),
    )


def band_vlb(chain: BandChain | BatchChain, d: Band, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Bits of each level of a band: the step's closed-form term, and its calibration.

    calibration: mean squared normalised residual of the first component under the distributions that code, 1
    expected (level 0: over the mixture's own variance).  network_calibration: under those of the network,
    before statistics adapt, so that a network whose scales are wrong is seen although they repair it.
    """
    rows: list[dict[str, Any]] = [
        {"level": k, "vlb_bits": 0.0, "squares": 0.0, "network_squares": 0.0, "positions": 0}
        for k in range(chain.levels)
    ]
    for term in band_terms(chain, d, rng):
        row = rows[term.level]
        row["vlb_bits"] += float(term.bits.sum())
        row["squares"] += float(term.squared.sum())
        row["network_squares"] += float(term.network_squared.sum())
        row["positions"] += term.squared.size
    found: list[dict[str, Any]] = []
    for row in rows:
        n = row["positions"]
        calibrations = {f"{key}calibration": row.pop(f"{key}squares") for key in ("", "network_")}
        found.append(row | {key: total / n if n else None for key, total in calibrations.items()})
    return found


def planes_of(pixels: NDArray[np.uint8], plan: int, quick: bool = False) -> tuple[Planes, Colour]:
    """The planes of an image as a file with this plan has them; quick: as in `cascade.Encoded`."""
    return to_planes(pixels, PLANS[plan].coloured > 0, not quick)


def chains(
    found: tuple[Planes, Colour], plan: int, engine: Engine, threads: int, seed: int = 0
) -> Iterator[tuple[BandChain, Band, np.random.Generator]]:
    """The chain of each band with its data and a seeded generator: scale by scale, HL, LH, HH.

    found: what `planes_of` gives.
    """
    planes, colour = found
    cascade = Cascade(engine, planes.channels, PLANS[plan], threads, colour)
    for scale in range(len(pyramid_shapes(*planes.size)) - 1):
        size = planes.size
        bands = split(planes, colour.subsampling)
        details = (bands.hl, bands.lh, bands.hh)
        for band in range(3):
            chain = cascade.chain(scale, band, (bands.ll, *details[:band]), size)
            yield chain, details[band], np.random.default_rng((seed, scale, band))
        planes = Planes(bands.ll)


def vlb_rows(
    pixels: NDArray[np.uint8],
    plan: int,
    engine: Engine,
    threads: int,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
    quick: bool = False,
) -> list[dict[str, Any]]:
    """VLB by scale, band and level, in bits; the few values on top of the pyramid are the last row.

    progress: called with the share of the work that is done.  quick: as in `planes_of`.
    """
    rows: list[dict[str, Any]] = []
    done, whole = 0, math.prod(pixels.shape[:2])
    found = planes_of(pixels, plan, quick)
    for chain, d, rng in chains(found, plan, engine, threads, seed):
        name = band_name(chain.scale, chain.band)[-2:]
        n = math.prod(chain.shape) * chain.components
        head = {"scale": chain.scale, "band": name, "values": n, "drawn": chain.levels > 1}
        rows += [head | row for row in band_vlb(chain, d, rng)]
        done += math.prod(chain.shape)
        if progress is not None:
            progress(done / whole)
    channels = 1 if pixels.ndim == 2 else 3
    positions = math.prod(pyramid_shapes(*pixels.shape[:2])[-1])
    top = sum(positions * math.log2(low_range(c)[1]) for c in range(channels))
    if PLANS[plan].coloured:
        top += colour_bits([found[1]], PLANS[plan])
    row = {"scale": None, "band": "top", "level": 0, "values": channels * positions, "vlb_bits": top}
    row |= {"drawn": False}
    rows.append(row | {"positions": positions, "calibration": None, "network_calibration": None})
    return rows


def evaluate(
    pixels: NDArray[np.uint8],
    model: Model,
    threads: int,
    device: str = "auto",
    encoded: Encoded | None = None,
    progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """VLB, coded bits by the coder's ledger and payload bytes of one image, coded with the diffusion model.

    vlb_bits, coded_bits in bits; head_bits: what the stack's heads hold beyond their information; rows: by
    scale, band and level; payload_bytes: all lanes.  coded_bits + head_bits == 8 * payload_bytes, to the bit.
    progress: as in `vlb_rows`.
    """
    if encoded is None:
        encoded = encode_pixels(pixels, model, threads, None, device)
    ledger = encoded.ledger
    with Engine(model, threads, device) as engine:
        rows = vlb_rows(pixels, encoded.plan, engine, threads, 0, progress, encoded.quick)
    coded: dict[tuple[str, int], float] = {}
    for (label, k, kind), bits in ledger.entries.items():
        level = k if kind == "q" or label == "top" else k - 1
        coded[(label, level)] = coded.get((label, level), 0.0) + bits
    for row in rows:
        label = "top" if row["scale"] is None else f"{row['scale']}/{row['band']}"
        row["coded_bits"] = coded.get((label, row["level"]), 0.0)
    payload = sum(len(lane) for lane in encoded.lanes)
    channels = 1 if pixels.ndim == 2 else 3
    return {
        "width": pixels.shape[1],
        "height": pixels.shape[0],
        "channels": channels,
        "plan": encoded.plan,
        "colour": encoded.colour.name,
        "vlb_bits": sum(r["vlb_bits"] for r in rows),
        "coded_bits": ledger.bits,
        "head_bits": 8 * payload - ledger.bits,
        "payload_bytes": payload,
        "lanes": len(encoded.lanes),
        "rows": rows,
    }
