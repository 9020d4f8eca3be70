"""What correctors learn from: bands as they are coded directly, with statistics that adapt.

`corrector_inputs` is the float twin of what the coder's loop puts together in integers; `strips` gives every
band of the images as a file would code it, or an archive: whole small images one below the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codec import adaptive, corrector, gaussian
from codec.corrector_kernels import NO_INDEX
from codec.gaussian import Bins
from vdmcompress import evaluate
from vdmcompress.band_chain import BandChain
from vdmcompress.colour import YCOCG, Colour
from vdmcompress.engine import Engine
from vdmcompress.path import ORDERS
from vdmcompress.pyramid import Planes
from vdmcompress.train.config import CorrectConfig
from vdmcompress.transform import forward_colour

Integers = NDArray[np.int32]
Image = NDArray[np.uint8] | tuple[Planes, Colour]
_ABOUT = ((0, -2), (0, -1), *((dy, dx) for dy in (-1, -2) for dx in range(-2, 4)))
_AROUND = tuple((dy, dx) for dy in (-1, 0, 1) for dx in range(-1, 3))
_NEAR = ((0, -1), (-1, 0), (-1, -1), (-1, 1))
_REACH = 3
_FLOOR = 18


@dataclass(frozen=True)
class Samples:
    """Positions of one component.

    z: inputs int16 (n, INPUTS or WIDE).  error: in bins, log2_scale: log2 of sigma, float32 (n,).
    """

    z: NDArray[np.int16]
    error: NDArray[np.float32]
    log2_scale: NDArray[np.float32]


def coupled_means(mean: Integers, coupling: NDArray[np.int16], x: Integers) -> NDArray[np.float64]:
    """Means after coupling, in bins, float64 (n, C), for values x."""
    m, k = mean / 64.0, coupling / 64.0
    residual = x - m
    moves = [np.zeros(len(m))]
    if m.shape[1] == 3:
        moves += [k[:, 0] * residual[:, 0], k[:, 1] * residual[:, 0] + k[:, 2] * residual[:, 1]]
    result: NDArray[np.float64] = m + np.stack(moves, 1)
    return result


def corrector_inputs(
    x: Integers, bins: Bins, adapted: Bins, columns: int, wide: bool = True
) -> list[Samples]:
    """What a corrector of two layers (`wide`) or of one meets at every position, by component.

    x int32 (n, C); bins: as the model gives them; adapted: refined without a corrector. The float twin of the
    coder's integers, up to roundings of the couplings.
    """
    n, components = x.shape
    rows = n // columns
    index, before = adapted.scale.astype(np.int64), bins.scale.astype(np.int64)
    sigma = np.exp2((np.maximum(index, _FLOOR) - 32) / 8)
    mean = coupled_means(adapted.mean, adapted.coupling, x)
    move = mean - coupled_means(bins.mean, bins.coupling, x)
    error = x - mean

    def fixed(values: NDArray[Any]) -> NDArray[np.int16]:
        limit = corrector.INPUT_LIMIT
        result: NDArray[np.int16] = np.floor(values).clip(-limit, limit).astype(np.int16)
        return result

    def around(values: NDArray[Any], outside: int, dy: int, dx: int) -> NDArray[Any]:
        """Of each position, the values (n, C) at another place."""
        widths = ((_REACH, _REACH), (_REACH, _REACH), (0, 0))
        padded = np.pad(values.reshape(rows, columns, components), widths, constant_values=outside)
        y, x = _REACH + dy, _REACH + dx
        return padded[y : y + rows, x : x + columns].reshape(n, components)

    unit = 1 << corrector.INPUT_BITS
    errors = fixed(error / sigma * unit)
    about = np.stack([around(errors, 0, *place) for place in _ABOUT], 1)
    states = [fixed((index - NO_INDEX) * 16), fixed(mean / sigma * unit), fixed(move / sigma * unit)]
    states.append(fixed((index - before) * 32))
    state = np.stack(states, 1)
    first = 16 if wide else 12
    found = []
    for c in range(components):
        z = np.zeros((n, corrector.WIDE if wide else corrector.INPUTS), np.int16)
        for j in range(c + 1):
            z[:, first + 4 * j : first + 4 * j + 4] = state[:, :, j]
        if wide:
            z[:, :14], z[:, 14 : 14 + c] = about[:, :, c], errors[:, :c]
            for t, place in enumerate(_AROUND):
                z[:, 28 + t] = fixed(around(bins.mean, 0, *place)[:, c] / 64 / sigma[:, c] * unit)
                z[:, 40 + t] = fixed((around(before, NO_INDEX, *place)[:, c] - index[:, c]) * 32)
        else:
            z[:, :4], z[:, 4 : 4 + c] = about[:, [_ABOUT.index(p) for p in _NEAR], c], errors[:, :c]
            z[:, 6:12] = abs(z[:, :6])
        log2_scale = ((index[:, c] - 32) / 8).astype(np.float32)
        found.append(Samples(z, error[:, c].astype(np.float32), log2_scale))
    return found


def chains(
    images: Sequence[Image], engine: Engine, scales: int
) -> Iterator[tuple[BandChain, int, NDArray[np.int16]]]:
    """Every band of the images as it is coded directly: its chain, its row and its coefficients."""
    model, plan = engine.model, ORDERS["none"][0]
    for image in images:
        found = image if isinstance(image, tuple) else (Planes(forward_colour(image)), YCOCG)
        for chain, d, _ in evaluate.chains(found, plan, engine, engine.threads):
            if chain.scale >= scales:
                break
            step = next(s for s in model.path.steps if s.band == chain.band and s.top)
            yield chain, model.row(chain.scale, step.slot), d


@dataclass(frozen=True)
class Strip:
    """A strip of a band as it is coded directly: row of the model, values x int32 (n, C), columns, bins."""

    row: int
    x: Integers
    columns: int
    bins: Bins


def strips(images: Sequence[Image], engine: Engine, scales: int) -> Iterator[Strip]:
    """Every strip of images, pixels (H, W, 3) or planes, and of groups (n, S, S, 3) of whole small images.

    The network sees each small image alone; its bands lie one below the other, so that statistics that adapt
    go on from image to image.
    """
    for image in images:
        if not isinstance(image, tuple) and image.ndim == 4:
            alone = [list(strips([small], engine, scales)) for small in image]
            yield from (joined(parts) for parts in zip(*alone, strict=True))
            continue
        for chain, row, d in chains([image], engine, scales):
            for part in chain.strips:
                x = chain.gather(d, part)
                if len(x):
                    yield Strip(row, x, chain.shape[1], chain.likelihood(chain.levels, None, part))


def joined(parts: Sequence[Strip]) -> Strip:
    """Strips of equal columns and the same row, one below the other."""
    bins = replace(
        parts[0].bins,
        mean=np.concatenate([part.bins.mean for part in parts]),
        scale=np.concatenate([part.bins.scale for part in parts]),
        coupling=np.concatenate([part.bins.coupling for part in parts]),
    )
    x = np.concatenate([part.x for part in parts])
    return Strip(parts[0].row, x, parts[0].columns, bins)


def collect(images: Sequence[Image], engine: Engine, config: CorrectConfig) -> dict[int, list[list[Samples]]]:
    """Samples by row, then image, then component: at most `config.positions` of each band."""
    rng = np.random.default_rng(config.seed)
    found: dict[int, list[list[Samples]]] = {}
    for strip in strips(images, engine, config.scales):
        x, bins = strip.x, replace(strip.bins, corrector=None)
        every = corrector_inputs(
            x, bins, adaptive.refine(x, bins, strip.columns), strip.columns, config.last > 0
        )
        chosen = rng.permutation(len(x))[: config.positions]
        found.setdefault(strip.row, []).append(
            [Samples(s.z[chosen], s.error[chosen], s.log2_scale[chosen]) for s in every]
        )
    return found


def measure(images: Sequence[Image], engine: Engine, scales: int) -> dict[int, tuple[float, float, int]]:
    """Of each row: code length in bits without and with its corrector, as coded, and the number of values."""
    found: dict[int, tuple[float, float, int]] = {}
    for strip in strips(images, engine, scales):
        lengths = [
            gaussian.code_length(strip.x, adaptive.refine(strip.x, bins, strip.columns))
            for bins in (replace(strip.bins, corrector=None), strip.bins)
        ]
        before = found.get(strip.row, (0.0, 0.0, 0))
        found[strip.row] = (before[0] + lengths[0], before[1] + lengths[1], before[2] + strip.x.size)
    return found
