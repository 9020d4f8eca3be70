"""Bands of values with their distributions, as statistics that adapt meet them."""

import numpy as np

from codec.gaussian import Bins, gaussian_table, shape_table

LOW, COUNT = -1020, 2041


def band(rows, columns, components, seed, extreme=False):
    """Values and distributions of a band; `extreme` ones are as wild as `Bins` allows."""
    rng = np.random.default_rng(seed)
    n = rows * columns
    if extreme:
        mean = rng.choice([-(1 << 24), -7000, 0, 31, 65280, 1 << 24], (n, components)).astype(np.int32)
        scale = rng.choice([0, 1, 17, 18, 32, 90, 126, 127], (n, components)).astype(np.uint8)
        coupling = rng.choice([-32768, -127, 0, 127, 32767], (n, 3)).astype(np.int16)
        x = rng.choice([LOW, LOW + 1, 0, LOW + COUNT - 1], (n, components)).astype(np.int32)
    else:
        mean = rng.integers(-3000, 3000, (n, components), dtype=np.int32)
        scale = rng.integers(16, 56, (n, components), dtype=np.uint8)
        coupling = rng.integers(-60, 60, (n, 3), dtype=np.int16)
        x = np.rint(mean / 64 + rng.normal(0, 3, (n, components))).astype(np.int32).clip(LOW, -LOW)
    ends = np.full(components, LOW, np.int32), np.full(components, COUNT, np.int32)
    mixture = shape_table(np.array([40000, 25536]), np.array([10, 48]))
    tables = np.stack([mixture, gaussian_table(), mixture][:components]).astype(np.int32)
    return x, Bins.ranged(mean, scale, *ends, coupling=coupling, tables=tables)
