"""The corrector's arithmetic, to be compiled into the loop of `adaptive_kernels.py`; see `corrector.py`."""

from __future__ import annotations

from typing import Any

import numpy as np

from .corrector import INPUT_BITS, OUTPUT_BITS, UNIT_BITS, WEIGHT_BITS
from .kernels import _inlined
from .vector_kernels import layer, weighed

_ROUND = 1 << (OUTPUT_BITS - 1)
_hidden_layer = layer(INPUT_BITS + WEIGHT_BITS - UNIT_BITS)


@_inlined
def _outputs(
    c: Any, z: Any, pairs: Any, units: Any, hidden: Any, hidden_bias: Any, output: Any, output_bias: Any
) -> Any:
    """s and o with 10 fractional bits, not yet clipped, of component c.

    z int32 (P,): pairs of inputs, of which the first `pairs` count; units int16 (16 G,) is written.  Weights
    as `Corrector.packed` has them.
    """
    groups, stride = np.int64(hidden.shape[1]), np.int64(hidden.shape[2])
    _hidden_layer(
        np.int64(z.ctypes.data), np.int64(pairs), np.int64(hidden[c].ctypes.data), stride,
        np.int64(hidden_bias[c].ctypes.data), groups, np.int64(units.ctypes.data),
    )  # fmt: skip
    here = np.int64(units.ctypes.data)
    s = np.int64(output_bias[c, 0]) + weighed(here, np.int64(output[c, 0].ctypes.data), groups)
    o = np.int64(output_bias[c, 1]) + weighed(here, np.int64(output[c, 1].ctypes.data), groups)
    return (s + np.int64(_ROUND)) >> np.int64(OUTPUT_BITS), (o + np.int64(_ROUND)) >> np.int64(OUTPUT_BITS)


@_inlined
def _pair(first: Any, second: Any) -> Any:
    """Two inputs as the layer reads them: int16 each, the first one in the lower half of an int32."""
    return np.int32((np.int64(first) & np.int64(0xFFFF)) | (np.int64(second) << np.int64(16)))
