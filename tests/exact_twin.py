"""Twin of the exact networks in numpy integers, from the definition; adversarial networks and inputs."""

import numpy as np

from vdmcompress.exact import FEATURES, LINEAR_INPUTS, ExactEvaluation, Layer


def half_even(value, bits):
    """value / 2**bits, ties to even, in integers."""
    if bits == 0:
        return value
    quotient, rest = value >> bits, value & ((1 << bits) - 1)
    half = 1 << (bits - 1)
    return quotient + ((rest > half) | ((rest == half) & (quotient & 1 == 1)))


def sums(layer, u):
    """Sums of products and bias, int64 (h, w, out); zeros outside."""
    weights = layer.weights.astype(np.int64)
    size = weights.shape[2]
    h, w, _ = u.shape
    padded = np.pad(u.astype(np.int64), ((size // 2,) * 2, (size // 2,) * 2, (0, 0)))
    total = np.zeros((h, w, len(weights)), np.int64) + layer.bias
    for i in range(size):
        for j in range(size):
            total += padded[i : i + h, j : j + w] @ weights[:, :, i, j].T
    return total


def requantise(layer, total, shift):
    """sum * 2**(shift - exponent) rounded, by channel."""
    out = np.empty_like(total)
    for c, e in enumerate(layer.exponents.astype(int)):
        out[..., c] = half_even(total[..., c] << max(shift - e, 0), max(e - shift, 0))
    return out


def run(evaluation, u):
    """Head sums int64 (h, w, 24) for inputs u8 (h, w, 30)."""
    stream = np.clip(requantise(evaluation.stem, sums(evaluation.stem, u), 4), -32768, 32767)
    for a, b in evaluation.blocks:
        t = np.clip(requantise(a, sums(a, activation(stream)), 0), 0, 255)
        stream = np.clip(stream + requantise(b, sums(b, t), 3), -32768, 32767)
    return sums(evaluation.head, activation(stream))


def activation(stream):
    """The stream (1/256) as u8 (1/32)."""
    return np.clip(half_even(stream, 3), 0, 255)


def layer(weights, bias, exponents):
    """A layer from anything that broadcasts."""
    weights = np.ascontiguousarray(weights, np.int8)
    n = len(weights)
    return Layer(weights, np.full(n, bias, np.int32), np.full(n, exponents, np.int8))


def network(kind, width, blocks, seed=0):
    """A network that provokes one thing: random, aligned (extreme sums), ties, saturation, sparse."""
    rng = np.random.default_rng(seed)

    def make(out, inputs, size):
        shape = (out, inputs, size, size)
        if kind == "random":
            w = rng.integers(-63, 64, shape)
            return layer(w, rng.integers(-90000, 90000, out), rng.integers(5, 13, out))
        if kind == "aligned":
            # neighbours of one sign: a pair of products reaches 2 * 63 * 255; half the biases fill the bound
            channel = np.arange(out)
            sign = np.where(channel % 2 == 0, 1, -1)
            room = (1 << 24) - 1 - 63 * 255 * inputs * size * size
            return layer(np.full(shape, 63) * sign.reshape(-1, 1, 1, 1), room * sign * (channel % 4 > 1), 15)
        if kind == "ties":
            w = rng.choice([-1, 0, 0, 1], shape)
            return layer(w, rng.integers(-3, 40, out), rng.integers(0, 5, out))
        if kind == "saturation":
            w = rng.choice([-63, 63], shape)
            return layer(w, rng.integers(-(1 << 20), 1 << 20, out), rng.integers(0, 4, out))
        w = np.where(rng.random(shape) < 0.03, rng.integers(-63, 64, shape), 0)
        return layer(w, 0, rng.integers(0, 8, out))

    return ExactEvaluation(
        make(width, FEATURES, 3),
        tuple((make(width, width, 3), make(width, width, 3)) for _ in range(blocks)),
        make(24, width, 1),
        np.zeros((6, LINEAR_INPUTS, 3, 3), np.int32),
    )


KINDS = ("random", "aligned", "ties", "saturation", "sparse")


def inputs(kind, height, width, seed=0):
    """u8 (height, width, 30): all 255, extremes, ramps, noise."""
    rng = np.random.default_rng(seed)
    shape = (height, width, FEATURES)
    if kind == "full":
        return np.full(shape, 255, np.uint8)
    if kind == "extremes":
        return rng.choice(np.array([0, 255], np.uint8), shape)
    if kind == "ramp":
        return (np.arange(height * width * FEATURES).reshape(shape) % 256).astype(np.uint8)
    return rng.integers(0, 256, shape, dtype=np.uint8)


def check(backend, evaluation, sizes):
    """A backend's sums are the twin's on every kind of inputs, for bands (height, width) of all sizes."""
    prepared, distinct = backend.prepare(evaluation), set()
    for number, (height, width) in enumerate(sizes):
        for kind in ("full", "extremes", "ramp", "noise"):
            u = inputs(kind, height, width, seed=number)
            got, want = backend.run(prepared, u), run(evaluation, u)
            assert got.dtype == np.int32
            np.testing.assert_array_equal(got, want)
            distinct.update(np.unique(want).tolist())
    # a network that has died would compare nothing
    assert len(distinct) > 10
