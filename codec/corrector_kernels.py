"""The corrector's arithmetic, to be compiled into the loop of `adaptive_kernels.py`; see `corrector.py`."""

from __future__ import annotations

from typing import Any

import numpy as np

from .corrector import INPUT_BITS, OUTPUT_BITS, UNIT_BITS, UNIT_LIMIT, WEIGHT_BITS
from .kernels import _inlined

_UNIT_SHIFT = INPUT_BITS + WEIGHT_BITS - UNIT_BITS
_ROUND = 1 << (OUTPUT_BITS - 1)


@_inlined
def _outputs(c: Any, z: Any, units: Any, hidden: Any, hidden_bias: Any, output: Any, output_bias: Any) -> Any:
    """s and o with 10 fractional bits, not yet clipped; z int32 (INPUTS,), units int32 (H,) is written."""
    count = len(units)
    for j in range(count):
        units[j] = hidden_bias[c, j]
    for t in range(len(z)):
        v = z[t]
        if v == 0:  # as all of components that come later are
            continue
        for j in range(count):
            units[j] = np.int32(units[j] + np.int32(hidden[c, t, j] * v))
    s, o = np.int64(output_bias[c, 0]), np.int64(output_bias[c, 1])
    for j in range(count):
        h = np.int64(min(max(units[j] >> np.int32(_UNIT_SHIFT), np.int32(0)), np.int32(UNIT_LIMIT)))
        s += h * np.int64(output[c, 0, j])
        o += h * np.int64(output[c, 1, j])
    return (s + np.int64(_ROUND)) >> np.int64(OUTPUT_BITS), (o + np.int64(_ROUND)) >> np.int64(OUTPUT_BITS)
