"""Chroma samples moved until clipped pixels have a luma: gaps, fewer exceptions, always the same samples."""

import itertools

import numpy as np
import pytest

from vdmcompress import clipped
from vdmcompress.clipped import gap, moves_of, settle
from vdmcompress.colour import KINDS, from_planes, to_planes
from vdmcompress.subsampling import FULL, half_shape, upsample
from vdmcompress.ycc import CONVERSIONS, fit_luma, to_rgb

HALVED = [number for number, (_, kind) in enumerate(KINDS) if kind is not FULL]


def bright(number, height=96, width=120, colourful=35):
    """RGB with large clipped areas, made of halved chroma, and the samples of C1 and C2."""
    conversion, kind = KINDS[number]
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    luma = 150 + 90 * np.sin(x / 19 + y / 27) + rng.normal(0, 3, (height, width))
    h, w = half_shape(kind, height, width)
    i, j = np.mgrid[:h, :w]
    waves = 128 + colourful * np.sin(i / 9 + j / 14), 128 + colourful * np.cos(j / 11 - i / 17)
    halves = [np.rint(wave + rng.normal(0, 1, (h, w))).astype(np.uint8) for wave in waves]
    planes = [np.rint(luma).clip(0, 255).astype(np.uint8)]
    planes += [upsample(half, kind, height, width) for half in halves]
    return to_rgb(np.stack(planes, 2).reshape(-1, 3), conversion).reshape(height, width, 3), halves


def unexplained(pixels, halves, conversion, kind):
    """Pixels that have no Y, by brute force."""
    size = pixels.shape[:2]
    chroma = [upsample(half, kind, *size).reshape(-1) for half in halves]
    missed = np.ones(pixels.shape[0] * pixels.shape[1], np.bool_)
    for y in range(256):
        ycc = np.stack((np.full_like(chroma[0], y), *chroma), 1)
        missed &= (to_rgb(ycc, conversion) != pixels.reshape(-1, 3)).any(1)
    return missed.reshape(size)


@pytest.mark.parametrize("conversion", CONVERSIONS, ids=lambda c: c.name)
def test_a_gap_is_none_where_there_is_a_luma(conversion):
    rng = np.random.default_rng(1)
    every = np.zeros((256, 3), np.uint8)
    every[:, 0] = np.arange(256)
    met = []
    for _ in range(400):
        c1, c2 = (int(v) for v in rng.integers(60, 200, 2))
        every[:, 1:] = c1, c2
        colours = to_rgb(every, conversion)
        colour = colours[rng.integers(256)].astype(int)
        if rng.random() < 0.6:
            colour = (colour + rng.integers(-2, 3, 3)).clip(0, 255)
        there = bool((colours == colour).all(1).any())
        found = gap(conversion.tables, conversion.divisor, *map(int, colour), c1, c2)
        assert (found == 0) == there
        met.append(there)
    assert 50 < sum(met) < 350


def test_a_gap_grows_with_the_distance():
    conversion = CONVERSIONS[0]
    grey = [gap(conversion.tables, conversion.divisor, 100, 100, 100 + away, 128, 128) for away in range(9)]
    assert grey == sorted(grey) and grey[0] == 0 and grey[8] == 8


@pytest.mark.parametrize("conversion", CONVERSIONS, ids=lambda c: c.name)
def test_long_moves_keep_two_colours(conversion):
    """Each of them but the unit steps: with the best Y two of R, G, B change by little."""
    rise = (conversion.tables[:, :, 255] - conversion.tables[:, :, 0]) / (255 * conversion.divisor)
    for one, two in moves_of(conversion):
        if max(abs(one), abs(two)) < 6:
            continue
        change = rise[:, 1] * one + rise[:, 2] * two
        spread = min(
            np.ptp((change + rise[:, 0] * y)[list(pair)]) / 2
            for pair in ((0, 1), (0, 2), (1, 2))
            for y in np.linspace(-20, 20, 401)
        )
        assert spread < 1.2, (one, two)


@pytest.mark.parametrize("number", HALVED)
def test_samples_settle(number):
    """From samples that are a little off under clipped pixels: many of these get a luma again."""
    conversion, kind = KINDS[number]
    pixels, halves = bright(number)
    assert not unexplained(pixels, halves, conversion, kind).any()
    clips = ((pixels == 0) | (pixels == 255)).any(2)
    assert 0.1 < clips.mean() < 0.9
    rng = np.random.default_rng(5)
    off = []
    for half in halves:
        h, w = half.shape
        own = clips[:: 2 if kind.rows else 1, ::2][:h, :w]
        off.append((half + own * rng.integers(-2, 3, half.shape)).astype(np.uint8))
    before = unexplained(pixels, off, conversion, kind)
    again = settle(pixels, before, (off[0].copy(), off[1].copy()), conversion, kind)
    after = unexplained(pixels, again, conversion, kind)
    assert before.mean() > 0.02
    assert after.sum() < 0.6 * before.sum()
    twice = settle(pixels, before, (off[0].copy(), off[1].copy()), conversion, kind)
    for one, other, given in zip(again, twice, halves, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.shape == given.shape and one.dtype == np.uint8


def test_what_is_explained_stays():
    conversion, kind = KINDS[2]
    pixels, halves = bright(2)
    none = np.zeros(pixels.shape[:2], np.bool_)
    again = settle(pixels, none, (halves[0], halves[1]), conversion, kind)
    for one, given in zip(again, halves, strict=True):
        np.testing.assert_array_equal(one, given)


def test_strips_leave_no_row_out():
    """Small strips and large ones; what lies between two strips is looked at too."""
    for rows in (1, 59, 60, 64, 65, 200):
        seen = np.zeros(rows, int)
        for strips in clipped._strips(rows):
            taken = np.zeros(rows, int)
            for top, bottom in strips:
                taken[top:bottom] += 1
            assert taken.max() <= 1
            for (_, bottom), (top, _) in itertools.pairwise(strips):
                assert top - bottom >= clipped.BETWEEN
            seen += taken
        assert seen.min() >= 1


@pytest.mark.parametrize(("number", "hurried"), [(2, 2), (28, 4), (6, 5)])
def test_clipped_pictures_come_back_with_few_exceptions(number, hurried):
    """A search in a hurry leaves more exceptions, or so many that chroma stays whole."""
    pixels, _ = bright(number, 160, 200, 12)
    planes, colour = to_planes(pixels)
    assert colour.number == number
    np.testing.assert_array_equal(from_planes(planes, colour), pixels)
    assert len(colour.exceptions) < 0.02 * pixels.size
    quick, found = to_planes(pixels, careful=False)
    np.testing.assert_array_equal(from_planes(quick, found), pixels)
    assert found.number == hurried
    if hurried == number:
        assert len(found.exceptions) > 2 * len(colour.exceptions)


def test_luma_is_found_with_settled_samples():
    """`fit_luma` finds the Y that a gap of 0 promises, wherever the guess is near it."""
    conversion, kind = KINDS[2]
    pixels, halves = bright(2, 64, 64, 12)
    size = pixels.shape[:2]
    chroma = [upsample(half, kind, *size).reshape(-1) for half in halves]
    luma = pixels.reshape(-1, 3).mean(1).astype(np.uint8)
    ycc = np.stack((luma, *chroma), 1)
    wrong = fit_luma(pixels.reshape(-1, 3), ycc, conversion, pixels.size)
    clips = ((pixels == 0) | (pixels == 255)).any(2).reshape(-1)
    assert wrong is not None and wrong[clips].mean() < 0.05
    np.testing.assert_array_equal(to_rgb(ycc, conversion)[~wrong], pixels.reshape(-1, 3)[~wrong])
