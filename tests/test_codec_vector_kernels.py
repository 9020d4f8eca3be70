"""Layers of small integer networks: numpy says what they compute, with AVX2 and without."""

import os
import subprocess
import sys

import numpy as np
import pytest
from numba import njit

from codec.corrector import LANES, UNIT_LIMIT
from codec.vector_kernels import layer, weighed

SHIFT = 8
_layer = layer(SHIFT)


@njit
def computed(inputs, pairs, weights, bias, units, output):
    """Units are written; their weighed sum."""
    groups = np.int64(weights.shape[0])
    _layer(
        np.int64(inputs.ctypes.data), np.int64(pairs), np.int64(weights.ctypes.data),
        np.int64(weights.shape[1]), np.int64(bias.ctypes.data), groups, np.int64(units.ctypes.data),
    )  # fmt: skip
    return weighed(np.int64(units.ctypes.data), np.int64(output.ctypes.data), groups)


def check(groups, pairs, stride, seed, largest):
    """The compiled layer against numpy's int64."""
    rng = np.random.default_rng(seed)
    inputs = rng.integers(-1024, 1025, 2 * stride, dtype=np.int16)
    weights = rng.integers(-largest, largest + 1, (groups, stride, LANES, 2), dtype=np.int16)
    bias = rng.integers(-(1 << 22), 1 << 22, groups * LANES, dtype=np.int32)
    output = rng.integers(-32767, 32768, groups * LANES, dtype=np.int16)
    units = np.full(groups * LANES, -1, np.int16)
    total = computed(inputs, pairs, weights, bias, units, output)
    used = inputs.reshape(stride, 2)[:pairs].astype(np.int64)
    sums = np.einsum("gpuk,pk->gu", weights[:, :pairs].astype(np.int64), used).reshape(-1) + bias
    expected = (sums >> SHIFT).clip(0, UNIT_LIMIT)
    assert 0 < (expected == 0).sum() < expected.size or groups == 1
    assert units.tolist() == expected.tolist()
    assert total == int((expected * output).sum())


@pytest.mark.parametrize("largest", [300, 8191])
@pytest.mark.parametrize(("groups", "pairs", "stride"), [(1, 1, 1), (1, 12, 12), (2, 6, 12), (4, 32, 32)])
def test_a_layer_is_its_twin(groups, pairs, stride, largest):
    for seed in range(5):
        check(groups, pairs, stride, seed, largest)


def test_the_same_without_vector_instructions():
    """Layers, and all that correctors do, where code may use no more than any x86 processor has."""
    environment = os.environ | {"NUMBA_CPU_NAME": "generic", "PYTHONPATH": os.pathsep.join(sys.path)}
    code = (
        "from codec import vector_kernels; assert not vector_kernels._has_avx2()\n"
        "from test_codec_vector_kernels import check; check(2, 6, 12, 3, 8191); check(1, 12, 12, 4, 300)\n"
        "from test_codec_corrector import test_golden_lanes, test_golden_lanes_of_two_layers\n"
        "test_golden_lanes(); test_golden_lanes_of_two_layers()"
    )
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=600)


def test_units_do_not_leave_sixteen_bits():
    """All inputs and weights at their limits: units are 0 or UNIT_LIMIT."""
    inputs = np.full(24, 1024, np.int16)
    weights = np.full((1, 12, LANES, 2), 8191, np.int16)
    weights[0, :, ::2] *= -1
    units = np.empty(LANES, np.int16)
    output = np.full(LANES, 32767, np.int16)
    bias = np.full(LANES, 1 << 28, np.int32)
    bias[::2] *= -1
    total = computed(inputs, 12, weights, bias, units, output)
    assert units.tolist() == [0, UNIT_LIMIT] * (LANES // 2)
    assert total == LANES // 2 * UNIT_LIMIT * 32767
