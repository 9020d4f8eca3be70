"""Transforms against a scalar twin, at every small size, and the ranges that valid images have."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vdmcompress import transform
from vdmcompress.errors import DamagedFileError, UnsupportedImageError
from vdmcompress.transform import (
    BANDS,
    Bands,
    check_range,
    detail_range,
    detail_shape,
    forward_colour,
    haar_forward,
    haar_inverse,
    inverse_colour,
    low_range,
    pyramid_shapes,
)

SIZES = [(1, 1), (1, 2), (2, 1), (1, 7), (7, 1), (2, 2), (3, 5), (4, 4), (5, 3), (8, 9), (63, 65)]

sides = st.integers(1, 9)
extreme = st.one_of(st.sampled_from([0, 255]), st.integers(0, 255))
images = st.tuples(sides, sides, st.sampled_from([(), (3,)])).flatmap(
    lambda size: hnp.arrays(np.uint8, (*size[:2], *size[2]), elements=extreme)
)


def noise(height, width, channels=3, seed=0):
    shape = (height, width) if channels == 1 else (height, width, 3)
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def split(values):
    """The S-transform of a list, in plain Python: (low, high), both of length ceil(n/2)."""
    pairs = [(values[i], values[i + 1]) for i in range(0, len(values) - 1, 2)]
    low = [(a + b) >> 1 for a, b in pairs] + values[2 * len(pairs) :]
    return low, [a - b for a, b in pairs] + [0] * (len(low) - len(pairs))


def twin(plane):
    """haar_forward of one plane (a list of rows), in plain Python: LL, HL, LH, HH."""
    halves = [split(row) for row in plane]
    bands = []
    for rows in ([low for low, _ in halves], [high for _, high in halves]):
        columns = [split(list(column)) for column in zip(*rows, strict=True)]
        bands += [list(zip(*(c[i] for c in columns), strict=True)) for i in (0, 1)]
    ll, lh, hl, hh = bands
    return ll, hl, lh, hh


@given(images)
def test_round_trip(pixels):
    planes = forward_colour(pixels)
    check_range(planes)
    assert np.array_equal(inverse_colour(planes), pixels)
    shapes = pyramid_shapes(*pixels.shape[:2])
    pyramid = []
    for _ in shapes[1:]:
        pyramid.append(haar_forward(planes))
        planes = pyramid[-1].ll
        check_range(planes)
    for bands, shape in zip(reversed(pyramid), reversed(shapes[:-1]), strict=True):
        for band in BANDS:
            check_range(getattr(bands, band), band)
        planes = haar_inverse(Bands(planes, bands.hl, bands.lh, bands.hh), *shape)
    assert np.array_equal(inverse_colour(planes), pixels)


@pytest.mark.parametrize("height, width", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_haar_is_that_of_the_twin(height, width, channels):
    planes = forward_colour(noise(height, width, channels))
    bands = haar_forward(planes)
    for component, plane in enumerate(planes):
        for name, expected in zip(("ll", "hl", "lh", "hh"), twin(plane.tolist()), strict=True):
            found = getattr(bands, name)[component]
            assert found.dtype == np.int16
            assert np.array_equal(found, np.array(expected)), name


def test_colour_is_ycocg_r():
    pixels = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [200, 100, 51]]], np.uint8)
    expected = []
    for r, g, b in pixels[0].tolist():
        co = r - b
        t = b + (co >> 1)
        cg = g - t
        expected.append((t + (cg >> 1), co, cg))
    assert forward_colour(pixels)[:, 0].T.tolist() == [list(triple) for triple in expected]
    assert expected[0] == (63, 255, -127)


def test_bands_have_the_published_directions():
    vertical_edge = np.tile(np.array([10, 200], np.uint8), (4, 2))
    bands = haar_forward(forward_colour(vertical_edge))
    assert (bands.hl == -190).all()
    assert not bands.lh.any()
    assert not bands.hh.any()
    turned = haar_forward(forward_colour(np.ascontiguousarray(vertical_edge.T)))
    assert (turned.lh == -190).all()
    assert not turned.hl.any()


@pytest.mark.parametrize("height, width", SIZES)
def test_positions_that_do_not_exist_are_zero(height, width):
    bands = haar_forward(forward_colour(noise(height, width, seed=1)))
    for band in BANDS:
        values = getattr(bands, band)
        assert values.shape == bands.ll.shape == (3, -(-height // 2), -(-width // 2))
        rows, columns = detail_shape(band, height, width)
        assert not values[:, rows:].any()
        assert not values[:, :, columns:].any()
    existing = sum(np.prod(detail_shape(band, height, width)) for band in BANDS)
    assert existing + bands.ll[0].size == height * width


def test_chunks_do_not_matter(monkeypatch):
    pixels = noise(37, 22)
    whole = haar_forward(forward_colour(pixels))
    monkeypatch.setattr(transform, "_CHUNK", 150)
    planes = forward_colour(pixels)
    bands = haar_forward(planes)
    for name in ("ll", "hl", "lh", "hh"):
        assert np.array_equal(getattr(bands, name), getattr(whole, name))
    assert np.array_equal(haar_inverse(bands, 37, 22), planes)
    assert np.array_equal(inverse_colour(planes), pixels)


def test_ranges_are_reached():
    assert [low_range(c) for c in range(3)] == [(0, 256), (-255, 511), (-255, 511)]
    board = (np.indices((4, 4)).sum(axis=0) % 2 * 255).astype(np.uint8)
    for sign, pixels in ((-1, board), (1, 255 - board)):
        low, count = detail_range("hh", 0)
        assert haar_forward(forward_colour(pixels)).hh[0, 0, 0] == sign * 510
        assert (low, low + count - 1) == (-510, 510)
    red_blue = np.zeros((2, 2, 3), np.uint8)
    red_blue[[0, 1], [0, 1], 0] = red_blue[[0, 1], [1, 0], 2] = 255
    assert haar_forward(forward_colour(red_blue)).hh[1, 0, 0] == 1020 == sum(detail_range("hh", 1)) - 1
    assert detail_range("hl", 0) == (-255, 511)
    assert detail_range("lh", 2) == (-510, 1021)


@pytest.mark.parametrize("band", ["ll", *BANDS])
@pytest.mark.parametrize("component", [0, 1, 2])
@pytest.mark.parametrize("side", ["below", "above"])
def test_out_of_range_is_damage(band, component, side):
    low, count = low_range(component) if band == "ll" else detail_range(band, component)
    values = np.zeros((3, 2, 3), np.int32)
    values[component, 1, 2] = low if side == "below" else low + count - 1
    check_range(values, band)
    values[component, 1, 2] += -1 if side == "below" else 1
    with pytest.raises(DamagedFileError, match=f"component {component} of {band.upper()}"):
        check_range(values, band)


def test_empty_band_is_in_range():
    check_range(np.empty((3, 0, 4), np.int32), "lh")


@pytest.mark.parametrize("planes", [[[[256]]], [[[-1]]], [[[255]], [[10]], [[0]]]])
def test_impossible_pixels_are_damage_or_clipped(planes):
    planes = np.array(planes, np.int32)
    with pytest.raises(DamagedFileError, match=r"0\.\.255"):
        inverse_colour(planes)
    clipped = inverse_colour(planes, clip=True)
    assert clipped.dtype == np.uint8
    assert clipped.max() == 255 or clipped.min() == 0


def test_pyramid_shapes():
    assert pyramid_shapes(1, 1) == [(1, 1)]
    assert pyramid_shapes(2, 2) == [(2, 2)]
    assert pyramid_shapes(1, 9) == [(1, 9), (1, 5), (1, 3)]
    assert pyramid_shapes(3, 5) == [(3, 5), (2, 3), (1, 2)]
    shapes = pyramid_shapes(512, 768)
    assert shapes[4] == (32, 48)
    assert shapes[-1] == (1, 2)


@pytest.mark.parametrize("shape, dtype", [((2, 2, 4), np.uint8), ((2,), np.uint8), ((2, 2), np.uint16)])
def test_other_arrays_are_refused(shape, dtype):
    with pytest.raises(UnsupportedImageError, match="allowed are uint8"):
        forward_colour(np.zeros(shape, dtype))
