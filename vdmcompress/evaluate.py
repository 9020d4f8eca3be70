"""The honest number: VLB, coded bits and file bytes of an image side by side.

The VLB is the closed form with continuous q and p in float64, from the exported integer network's outputs,
with z_k drawn as N(d, sigma_k^2) by a seeded generator, for the plan that the file uses.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from codec import adaptive
from codec.bits_back import columns
from vdmcompress.batch import BatchChain
from vdmcompress.cascade import BandChain, Cascade, Encoded, encode_pixels
from vdmcompress.conditionals import BAND_KEYS, Conditionals, band_name
from vdmcompress.diffusion import FACTORS16, gaussian_kl, mixture_code_length
from vdmcompress.engine import Engine
from vdmcompress.model_file import Model
from vdmcompress.path import PLANS, BandPath
from vdmcompress.transform import detail_shape, forward_colour, haar_forward, low_range, pyramid_shapes

Band = NDArray[np.int16]


def draw_latent(z_below: Band, path: BandPath, k: int, rng: np.random.Generator) -> Band:
    """z_k given z_{k-1}, both in bins of their grids, int16: so that z_k given d is N(d, sigma_k**2)."""
    noise = path.levels[k - 1].own_sigma * rng.standard_normal(z_below.shape)
    grey = z_below * float(path.delta(k - 1)) + noise
    return np.rint(grey / path.delta(k)).astype(np.int16)


def band_vlb(chain: BandChain | BatchChain, d: Band, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Bits of each level of a band: the step's closed-form term, and its calibration.

    Statistics adapt along the z_{k-1} that was drawn; given its past, each value's term is in closed form.
    calibration: mean squared normalised residual, 1 expected (level 0: over the mixture's own variance).
    """
    path, components = chain.path, chain.components
    rows, z_below = [], d
    for k in range(1, chain.levels + 1):
        top = k == chain.levels
        z_k = None if top else draw_latent(z_below, path, k, rng)
        bits, squares, count = 0.0, 0.0, 0
        for strip in chain.strips:
            bins = chain.likelihood(k, z_k, strip)
            if chain.adapts:
                bins = adaptive.refine(chain.gather(z_below, strip), bins, columns(bins, strip))
            h, w = strip.stop - strip.start, chain.shape[1]

            def plane(x: NDArray[Any], h: int = h, w: int = w) -> torch.Tensor:
                return torch.from_numpy(x.astype(np.float64).T.reshape(1, -1, h, w))

            mean, coupling = plane(bins.mean) / 64, plane(bins.coupling) / 64
            log2_scale = (plane(bins.scale) - 32) / 8
            clean = plane(chain.gather(d, strip))
            level = 0 if chain.direct else k - 1
            if level == 0:
                step = chain.model.path.step(chain.band, path.evaluations if top else k)
                weights = chain.model.mixture(chain.model.row(chain.scale, step.slot), chain.direct)[
                    :components
                ]
                mixture = torch.from_numpy(weights.astype(np.float64) / 65536)[None]
                value = mixture_code_length(clean - mean, log2_scale, coupling, mixture)
                factors = torch.tensor(FACTORS16, dtype=torch.float64) / 16
                spread = (mixture * factors**2).sum(-1)[..., None, None]
                squared = (clean - mean) ** 2 / (torch.exp2(2 * log2_scale) * spread)
            else:
                delta, variance = path.delta(level), path.variance(level)
                r = 0.0 if top else path.retention(k)
                noisy = 0.0 if z_k is None else plane(chain.gather(z_k, strip)) * path.delta(k)
                centre = (r * noisy + (1 - r) * clean) / delta
                own = variance * (1 - r) / delta**2
                value = gaussian_kl(centre - mean, own, log2_scale, coupling)
                squared = ((centre - mean) ** 2 + own) / torch.exp2(2 * log2_scale)
            bits += float(value.sum())
            squares += float(squared[:, 0].sum())
            count += squared[:, 0].numel()
        if z_k is not None:
            z_below = z_k
        rows.append({"level": k - 1, "vlb_bits": bits, "calibration": squares / count if count else None})
    return rows


def vlb_rows(
    pixels: NDArray[np.uint8], plan: int, engine: Engine, threads: int, seed: int = 0
) -> list[dict[str, Any]]:
    """VLB by scale, band and level, in bits; the few values on top of the pyramid are the last row."""
    planes = forward_colour(pixels)
    cascade = Cascade(engine, Conditionals(engine.model, planes.shape[0]), PLANS[plan], threads)
    rows: list[dict[str, Any]] = []
    for scale in range(len(pyramid_shapes(*planes.shape[1:])) - 1):
        size = planes.shape[1:]
        bands = haar_forward(planes)
        details = (bands.hl, bands.lh, bands.hh)
        for band in range(3):
            chain = cascade.chain(scale, band, (bands.ll, *details[:band]), size)
            rng = np.random.default_rng((seed, scale, band))
            values = 3 if planes.shape[0] == 3 else 1
            n = int(np.prod(detail_shape(BAND_KEYS[band], *size))) * values
            for row in band_vlb(chain, details[band], rng):
                rows.append({"scale": scale, "band": band_name(scale, band)[-2:], "values": n} | row)
        planes = bands.ll
    top = sum(p.size * math.log2(low_range(c)[1]) for c, p in enumerate(planes))
    rows.append(
        {
            "scale": None,
            "band": "top",
            "level": 0,
            "values": planes.size,
            "vlb_bits": top,
            "calibration": None,
        }
    )
    return rows


def evaluate(
    pixels: NDArray[np.uint8],
    model: Model,
    threads: int,
    device: str = "auto",
    encoded: Encoded | None = None,
) -> dict[str, Any]:
    """VLB, coded bits by the coder's ledger and payload bytes of one image, coded with the diffusion model.

    vlb_bits, coded_bits in bits; head_bits: what the stack's heads hold beyond their information; rows: by
    scale, band and level; payload_bytes: all lanes.  coded_bits + head_bits == 8 * payload_bytes, to the bit.
    """
    if encoded is None:
        encoded = encode_pixels(pixels, model, threads, None, device)
    ledger = encoded.ledger
    with Engine(model, threads, device) as engine:
        rows = vlb_rows(pixels, encoded.plan, engine, threads)
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
        "vlb_bits": sum(r["vlb_bits"] for r in rows),
        "coded_bits": ledger.bits,
        "head_bits": 8 * payload - ledger.bits,
        "payload_bytes": payload,
        "lanes": len(encoded.lanes),
        "rows": rows,
    }
