"""The bound of batches beside what they were coded with: `evaluate.py` for images that are coded together."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from codec import adaptive
from codec.gaussian import code_length
from vdmcompress.batch import BatchCascade, top_bins, top_parts
from vdmcompress.batch_planes import alike, shape_of, split, split_all
from vdmcompress.colour import colour_bits, to_planes
from vdmcompress.conditionals import band_name
from vdmcompress.engine import Engine
from vdmcompress.evaluate import band_vlb
from vdmcompress.path import PLANS

__all__ = ["batch_vlb"]


def batch_vlb(
    batches: Sequence[NDArray[np.uint8]], plan: int, engine: Engine, seed: int = 0, done: Container[str] = ()
) -> Iterator[tuple[str, float, float]]:
    """VLB of batches uint8 (n, H, W) or (n, H, W, 3) for the plan that codes them, band by band.

    Gives for each band of each batch a label, its bits, and the share of all pixels so far; those whose
    label is in ``done`` are left out.  In closed form with continuous q and p, z drawn by a seeded generator,
    as `evaluate.vlb_rows`; statistics adapt as they do in coding.  The last values of the pyramids count what
    their distributions say, with the colours.
    """
    total = sum(shape_of(pixels).pixels for pixels in batches)
    seen = 0
    for number, pixels in enumerate(batches):
        found = [to_planes(image) for image in pixels]
        colours = [colour for _, colour in found]
        cascade = BatchCascade(engine, PLANS[plan], engine.threads)
        tops = colour_bits(colours, PLANS[plan]) if PLANS[plan].coloured else 0.0
        for part, places in enumerate(alike([colour.subsampling for colour in colours])):
            subsampling = colours[places[0]].subsampling
            shape = replace(shape_of(pixels), count=len(places))
            planes = np.stack([found[i][0].full for i in places])
            for scale in range(len(shape.pyramid) - 1):
                images = [found[i][0] for i in places]
                bands = split_all(images, subsampling) if scale == 0 else split(planes)
                details = (bands.hl, bands.lh, bands.hh)
                for band in range(3):
                    ctx = (bands.ll, *details[:band])
                    chain = cascade.chain(shape, subsampling, scale, band, ctx)
                    seen += shape.count * chain.shape[0] * chain.shape[1]
                    label = f"{number}{'abc'[part]}/{band_name(scale, band)}"
                    if label not in done:
                        rng = np.random.default_rng((seed, number, part, scale, band))
                        bits = sum(row["vlb_bits"] for row in band_vlb(chain, details[band], rng))
                        yield label, bits, seen / total
                planes = bands.ll
            seen += shape.count
            tops += _top_bits(planes)
        if f"{number}/top" not in done:
            yield f"{number}/top", tops, seen / total


def _top_bits(planes: NDArray[np.int16]) -> float:
    """Of the last values, int16 (n, C, 1, 1)."""
    bits = 0.0
    for rows, columns in top_parts(len(planes)):
        bins = top_bins(rows.stop - rows.start, planes.shape[1])
        x = np.ascontiguousarray(planes[rows, :, 0, 0], np.int32)
        bits += code_length(x, adaptive.refine(x, bins, columns))
    return bits
