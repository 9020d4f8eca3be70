"""The bound of batches beside what they were coded with: `evaluate.py` for images that are coded together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from codec import adaptive
from codec.gaussian import code_length
from vdmcompress.batch import planes_of, shape_of, split, top_bins, top_parts
from vdmcompress.batch_chain import BatchChain
from vdmcompress.conditionals import Conditionals
from vdmcompress.engine import Engine
from vdmcompress.evaluate import band_vlb
from vdmcompress.path import PLANS

__all__ = ["batch_vlb"]


def batch_vlb(batches: Sequence[NDArray[np.uint8]], plan: int, engine: Engine, seed: int = 0) -> float:
    """VLB in bits of batches uint8 (n, H, W) or (n, H, W, 3) for the plan that codes them.

    In closed form with continuous q and p, z drawn by a seeded generator, as `evaluate.vlb_rows`; statistics
    adapt as they do in coding.  The last values of the pyramids count what their distributions say.
    """
    bits = 0.0
    for number, pixels in enumerate(batches):
        planes = planes_of(pixels)
        conditionals = Conditionals(engine.model, planes.shape[1])
        shape = shape_of(pixels)
        for scale in range(len(shape.pyramid) - 1):
            bands = split(planes)
            details = (bands.hl, bands.lh, bands.hh)
            for band in range(3):
                ctx = (bands.ll, *details[:band])
                chain = BatchChain(engine, conditionals, shape, scale, band, ctx, PLANS[plan])
                rng = np.random.default_rng((seed, number, scale, band))
                bits += sum(row["vlb_bits"] for row in band_vlb(chain, details[band], rng))
            planes = bands.ll
        for rows, columns in top_parts(len(planes)):
            bins = top_bins(rows.stop - rows.start, planes.shape[1])
            x = np.ascontiguousarray(planes[rows, :, 0, 0], np.int32)
            bits += code_length(x, adaptive.refine(x, bins, columns))
    return bits
