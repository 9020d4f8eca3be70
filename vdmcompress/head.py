"""What outputs of the head say: the parameters of one conditional, directly or through Bayes' rule, in float.

The integer form of the same, which decides the bitstream, is `conditionals.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from vdmcompress.path import BandPath

COUPLING_LIMIT = 1.98
"""Couplings are clamped to +-127/64."""


@dataclass(frozen=True)
class Belief:
    """Parameters of one conditional, in bins of the level that it predicts; tensors (N, 3, h, w).

    mean; log2_scale (of the conditional standard deviation); coupling (Co on Y, Cg on Y, Cg on Co).
    """

    mean: torch.Tensor
    log2_scale: torch.Tensor
    coupling: torch.Tensor


MEAN_UNIT = 4.0
"""Grey levels of mean for one unit of the head."""

SCALE_CENTRE = 2.0
"""log2 of the scale in grey levels for a head output 0."""

SCALE_UNIT = 2.0
"""Octaves of scale for one unit of the head."""

LOG2_SCALE_RANGE = (-4.0, 11.875)


def direct_belief(outputs: torch.Tensor, delta: int) -> Belief:
    """Conditional of a top, p(z_{K-1} | ctx) or p(d | ctx), from a part (N, 12, h, w) of the head."""
    return Belief(
        outputs[:, 0:3] * (MEAN_UNIT / delta),
        (outputs[:, 3:6] * SCALE_UNIT + (SCALE_CENTRE - math.log2(delta))).clamp(*LOG2_SCALE_RANGE),
        outputs[:, 6:9].clamp(-COUPLING_LIMIT, COUPLING_LIMIT),
    )


def fuse(outputs: torch.Tensor, z: torch.Tensor, noise: float, below: float, r: float, delta: int) -> Belief:
    """Bayes' rule: the network's prior of d, N(m, s^2), met with z = d + noise.

        w = s^2 / (s^2 + sigma_k^2),  d | z_k ~ N(m + w (z_k - m), w sigma_k^2)
        z_{k-1} | z_k ~ N(m + omega (z_k - m), (1-r)^2 w sigma_k^2 + (1-r) sigma_{k-1}^2)
        omega = r + (1-r) w

    The network corrects the scale by `correction` octaves; what it learns of d from z_k's neighbours is in m
    and s.  outputs (N, 12, h, w); z float (N, 3, h, w) and noise = sigma_k^2, below = sigma_{k-1}^2 in grey
    levels; r = below / noise; delta: grey levels of a bin of the result.
    """
    m = outputs[:, 0:3] * MEAN_UNIT
    log2_prior = (outputs[:, 3:6] * SCALE_UNIT + SCALE_CENTRE).clamp(*LOG2_SCALE_RANGE)
    w = torch.sigmoid((2.0 * log2_prior - math.log2(noise)) * math.log(2.0))
    omega = r + (1 - r) * w
    variance = (1 - r) ** 2 * w * noise + (1 - r) * below
    log2_scale = 0.5 * torch.log2(variance) - math.log2(delta) + outputs[:, 9:12]
    return Belief(
        (m + omega * (z - m)) / delta,
        log2_scale.clamp(*LOG2_SCALE_RANGE),
        outputs[:, 6:9].clamp(-COUPLING_LIMIT, COUPLING_LIMIT),
    )


def fused_belief(outputs: torch.Tensor, path: BandPath, k: int, z_k: torch.Tensor) -> Belief:
    """Conditional p(z_{k-1} | z_k, ctx) from a part (N, 12, h, w) of the head, in bins; see `fuse`."""
    noise, below = path.variance(k), path.variance(k - 1)
    return fuse(outputs, z_k, noise, below, path.retention(k), path.delta(k - 1))
