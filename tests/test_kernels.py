"""The compiled loops around the network against twins in numpy and in plain Python integers."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
import torch

from tests import exact_twin
from vdmcompress import kernels, network
from vdmcompress.exact import LINEAR_LIMIT

SHAPES = [(1, 1), (1, 6), (5, 1), (2, 2), (7, 9), (17, 33)]


def integers(shape, low, high, seed=0):
    return np.random.default_rng(seed).integers(low, high + 1, shape).astype(np.int32)


def differences_twin(ll):
    out = np.zeros((2 * len(ll), *ll.shape[1:]), ll.dtype)
    channels, h, w = ll.shape
    for c in range(channels):
        for y in range(h):
            for x in range(w):
                if x > 0:
                    out[c, y, x] = int(ll[c, y, x]) - int(ll[c, y, x - 1])
                if y > 0:
                    out[channels + c, y, x] = int(ll[c, y, x]) - int(ll[c, y - 1, x])
    return out


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reach", [3, 255])
@pytest.mark.parametrize("channels", [1, 3])
def test_differences(shape, reach, channels):
    ll = integers((channels, *shape), -reach, reach).astype(np.int16)
    out = np.full((2 * channels, *shape), 99, np.int16)
    kernels.differences(ll, out)
    np.testing.assert_array_equal(out, differences_twin(ll))
    np.testing.assert_array_equal(out, network.differences(torch.from_numpy(ll)[None])[0].numpy())


@pytest.mark.parametrize("shape", SHAPES)
def test_pack_features(shape):
    h, w = shape
    raw = integers((15, h + 3, w + 2), -600, 600, seed=1).astype(np.int16)
    out = np.full((h, w, 30), 7, np.uint8)
    kernels.pack_features(raw, 2, 1, out)
    inner = raw[:, 2 : 2 + h, 1 : 1 + w]
    want = np.concatenate((inner.clip(0, 255), (-inner).clip(0, 255))).transpose(1, 2, 0)
    np.testing.assert_array_equal(out, want)
    split = network.split_signs(torch.from_numpy(np.ascontiguousarray(inner))[None])[0]
    np.testing.assert_array_equal(out, split.permute(1, 2, 0).numpy())


def linear_twin(raw, weights):
    """3x3 correlation of the first twelve planes, zeros outside, in 64 bits."""
    _, h, w = raw.shape
    padded = np.pad(raw[:12].astype(np.int64), ((0, 0), (1, 1), (1, 1)))
    total = np.zeros((len(weights), h, w), np.int64)
    for i in range(3):
        for j in range(3):
            total += np.einsum(
                "oc,chw->ohw", weights[:, :, i, j].astype(np.int64), padded[:, i : i + h, j : j + w]
            )
    return total


@pytest.mark.parametrize("shape", SHAPES)
def test_linear_predict(shape):
    raw = integers((15, *shape), -2047, 2047, seed=2).astype(np.int16)
    weights = integers((3, 12, 3, 3), -9000, 9000, seed=3)
    out = np.full((3, *shape), 99, np.int32)
    kernels.linear_predict(raw, weights, 0, 0, out)
    np.testing.assert_array_equal(out, linear_twin(raw, weights))


def test_linear_predict_of_a_part_sees_its_surroundings():
    raw = integers((15, 11, 13), -500, 500, seed=4).astype(np.int16)
    weights = integers((3, 12, 3, 3), -4000, 4000, seed=5)
    want = linear_twin(raw, weights)
    for top, left, rows, columns in ((0, 0, 4, 5), (3, 2, 5, 11), (10, 12, 1, 1)):
        out = np.empty((3, rows, columns), np.int32)
        kernels.linear_predict(raw, weights, top, left, out)
        np.testing.assert_array_equal(out, want[:, top : top + rows, left : left + columns])


def test_linear_predict_at_the_proven_bound():
    """Sums just below 2**30, the most that `ExactEvaluation.prove` lets through."""
    each = (LINEAR_LIMIT - 1) // 2047 // 108
    raw = np.full((15, 3, 3), 2047, np.int16)
    weights = np.full((2, 12, 3, 3), each, np.int32)
    weights[1] = -each
    out = np.empty((2, 3, 3), np.int32)
    kernels.linear_predict(raw, weights, 0, 0, out)
    np.testing.assert_array_equal(out, linear_twin(raw, weights))
    assert out[0, 1, 1] == 108 * each * 2047


def stream_twin(value):
    """Stream and activation of exact values in 1/256, as Python integers."""
    v = min(max(value, -32768), 32767)
    a = Fraction(v, 8)
    nearest = floor(a + Fraction(1, 2))
    if a + Fraction(1, 2) == nearest and nearest % 2:
        nearest -= 1
    return v, min(max(nearest, 0), 255)


def test_start_stream():
    """Every tie of the activation, both directions, both ends; values with a fraction round to even."""
    whole = np.concatenate((np.arange(-40, 2100), [-40000, -32768, 32767, 32768, 10**6, -(10**6)]))
    t = (whole / 256).astype(np.float32)
    stream, u = np.empty(t.size, np.int16), np.empty(t.size, np.uint8)
    kernels.start_stream(t, stream, u)
    want = [stream_twin(int(v)) for v in whole]
    np.testing.assert_array_equal(stream, [v for v, _ in want])
    np.testing.assert_array_equal(u, [a for _, a in want])

    halves = ((np.arange(-20, 20) + 0.5) / 256).astype(np.float32)
    stream, u = np.empty(halves.size, np.int16), np.empty(halves.size, np.uint8)
    kernels.start_stream(halves, stream, u)
    np.testing.assert_array_equal(stream, [round(Fraction(2 * i + 1, 2)) for i in range(-20, 20)])


def test_add_to_stream():
    rng = np.random.default_rng(6)
    before = np.concatenate((rng.integers(-32768, 32768, 3000), [-32768, 32767, 32767, -32768])).astype(
        np.int16
    )
    added = np.concatenate((rng.integers(-3000, 3000, 3000), [-1, 1, 10**6, -(10**6)]))
    stream, u = before.copy(), np.empty(before.size, np.uint8)
    kernels.add_to_stream((added / 256).astype(np.float32), stream, u)
    want = [stream_twin(int(b) + int(a)) for b, a in zip(before, added, strict=True)]
    np.testing.assert_array_equal(stream, [v for v, _ in want])
    np.testing.assert_array_equal(u, [a for _, a in want])
    np.testing.assert_array_equal(u, exact_twin.activation(stream.astype(np.int64)))


def rounded(x):
    """Half up."""
    return floor(x + Fraction(1, 2))


def clamped(x, low, high):
    return min(max(x, low), high)


def conditionals_twin(acc, linear, exponents, z_k, fusion, grid):
    """The formulas of `conditionals.py` in fractions, for one position."""
    y = [Fraction(int(s), 1 << (int(e) + 5)) for s, e in zip(acc, exponents, strict=True)]
    out = []
    for c in range(len(z_k)):
        m = 4 * y[c] + Fraction(4 * int(linear[c]), 1 << 12)  # a multiple of 2**-20
        index = 48 + rounded(16 * y[3 + c])
        if fusion is None:
            scale = index - 8 * grid
        else:
            index = clamped(index, 0, 127)
            moved = int(fusion[0, index]) * (int(z_k[c]) - m) / 65536
            m += Fraction(floor(moved * (1 << 20)), 1 << 20)
            # the correction is first rounded to 8 fractional bits
            scale = rounded(Fraction(int(fusion[1, index]) + rounded(256 * 8 * y[9 + c]), 256))
        mean = clamped(rounded(64 * m / (1 << grid)), -(1 << 24), 1 << 24)
        out.append((mean, clamped(scale, 0, 127)))
    return out, [clamped(rounded(64 * k), -127, 127) for k in y[6:9]]


@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("grid", [0, 3, 6])
def test_conditionals(components, fused, grid):
    rng = np.random.default_rng(grid + components)
    rows, width, columns = 4, 12, 11
    size = np.exp2(rng.uniform(0, 24, (rows, width, 12)))
    acc = (rng.choice([-1, 1], size.shape) * size).astype(np.int32)
    acc[0, 0] = ((1 << 24) - 1) * np.array([1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, 1])
    linear = integers((3, rows, width), -(1 << 20), 1 << 20, seed=7)
    linear[:, 1, 1] = [(1 << 31) - 1, -(1 << 31), 0]
    exponents = rng.permutation([0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 15]).astype(np.int64)
    z_k = integers((components, rows, width), -1500, 1500, seed=8).astype(np.int16)
    table = np.stack((integers(128, 0, 65536, seed=9), integers(128, -2000, 34000, seed=10)))
    fusion = table if fused else np.zeros((2, 0), np.int32)
    n = rows * columns
    mean, scale = np.empty((n, components), np.int32), np.empty((n, components), np.uint8)
    coupling = np.empty((n, 3), np.int16)
    kernels.conditionals(acc, linear, exponents, z_k, fusion, grid, mean, scale, coupling, 0, acc.shape[0])
    limits, indices = 0, set()
    for y in range(rows):
        for x in range(columns):
            i = y * columns + x
            values, couplings = conditionals_twin(
                acc[y, x], linear[:, y, x], exponents, z_k[:, y, x], table if fused else None, grid
            )
            assert list(zip(mean[i].tolist(), scale[i].tolist(), strict=True)) == values
            assert coupling[i].tolist() == couplings
            limits += sum(abs(k) == 127 for k in couplings)
            indices.update(s for _, s in values)
    assert 0 < limits < 3 * n
    assert {0, 127} < indices
    assert len(indices) > 5


def test_conditionals_round_half_up():
    """Exact halves in all outputs, of both signs."""
    acc = np.zeros((1, 4, 12), np.int32)
    acc[0, :, 3] = acc[0, :, 6] = acc[0, :, 9] = [1, 3, -1, -3]
    exponents = np.zeros(12, np.int64)
    exponents[6] = 2  # 64 s / 2**7
    mean, scale = np.empty((4, 1), np.int32), np.empty((4, 1), np.uint8)
    coupling = np.empty((4, 3), np.int16)
    z_k = np.array([[[1, 3, -1, -3]]], np.int16)
    linear = np.zeros((3, 1, 4), np.int32)
    kernels.conditionals(
        acc, linear, exponents, z_k, np.zeros((2, 0), np.int32), 0, mean, scale, coupling, 0, acc.shape[0]
    )
    assert scale[:, 0].tolist() == [48 + 1, 48 + 2, 48 + 0, 48 - 1]  # 16 s / 32
    assert coupling[:, 0].tolist() == [1, 2, 0, -1]
    fusion = np.zeros((2, 128), np.int32)
    fusion[0], fusion[1] = 512, 20 * 256 + 64  # omega 1/128, scale 20 1/4
    acc[0, :, 9] = [1, 3, -1, -3]  # 8 s / 32: quarters
    kernels.conditionals(acc, linear, exponents, z_k, fusion, 0, mean, scale, coupling, 0, acc.shape[0])
    assert mean[:, 0].tolist() == [1, 2, 0, -1]  # 64 z / 128
    assert scale[:, 0].tolist() == [21, 21, 20, 20]  # 20 1/2, 21, 20, 19 1/2
