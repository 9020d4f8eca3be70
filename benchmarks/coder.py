"""Speed of the coder on one core, beside constriction's Gaussians on the same values in the same run.

    python -m benchmarks.coder [--json] [--values N] [--lanes L] [--repeats R]

Times are the best of the repeats and are processor time of the measuring thread, so that other work on the
machine disturbs them less; ratios of one run are worth more than figures of two. constriction codes uncoupled
Gaussians with float means and scales; ours are the same ones, coupled triples where the row says so.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from codec.ans import Stack
from codec.bits_back import decode, encode
from codec.gaussian import Bins, code_length, gaussian_table, pop, push, shape_table

LOW, COUNT = -1020, 2041


@dataclass(frozen=True)
class Row:
    """One kind of values: nanoseconds for each value, and bits; None where constriction is not installed."""

    name: str
    bits: float
    excess_percent: float | None
    push_ns: float
    pop_ns: float
    constriction_push_ns: float | None
    constriction_pop_ns: float | None


def seconds(action: Callable[[], Any], before: Callable[[], Any], repeats: int) -> float:
    """Least processor time of `action`, each run after `before`, which is not measured."""
    best = math.inf
    for _ in range(repeats):
        before()
        start = time.thread_time()
        action()
        best = min(best, time.thread_time() - start)
    return best


def make_bins(values: int, components: int, scale: int, coupled: bool, mixture: bool) -> Bins:
    """Means all over the range, scales within an octave of `scale`, of `values` values in all."""
    rng = np.random.default_rng(scale + components)
    n = values // components
    tables = np.tile(gaussian_table(), (components, 1))
    if mixture:
        tables[:] = shape_table(np.array([32768, 24576, 8064, 128]), np.array([10, 18, 32, 128]))
    coupling = rng.integers(-40, 41, (n, 3)).astype(np.int16) * np.int16(coupled)
    return Bins(
        rng.integers(-2000, 2001, (n, components)).astype(np.int32),
        rng.integers(scale - 8, scale + 9, (n, components)).astype(np.uint8),
        coupling,
        np.full(components, LOW, np.int32),
        np.full(components, COUNT, np.int32),
        0,
        tables,
    )


def sample(bins: Bins) -> npt.NDArray[np.int32]:
    """Values of the bins themselves: random words, popped."""
    words = np.random.default_rng(0).integers(0, 1 << 32, (1, bins.mean.size + 1), dtype=np.uint32)
    sizes = np.array([words.shape[1]], dtype=np.int64)
    return pop(Stack(np.array([1 << 40], np.uint64), words, sizes), bins)


def measure(name: str, bins: Bins, lanes: int, repeats: int, compare: bool) -> Row:
    """Push and pop all values; RuntimeError if they do not come back."""
    x = sample(bins)
    full = Stack.empty(lanes)
    push(full, x, bins)
    work = [full]

    def fresh() -> None:
        work[0] = Stack.empty(lanes)
        work[0].reserve(x.size // lanes + 3)
        work[0].words.fill(1)  # the pages are there before the clock runs

    def refill() -> None:
        work[0] = full.copy()

    push_s = seconds(lambda: push(work[0], x, bins), fresh, repeats)
    pop_s = seconds(lambda: pop(work[0], bins), refill, repeats)
    refill()
    if not (pop(work[0], bins) == x).all() or not work[0].is_initial():
        raise RuntimeError(f"{name}: the values did not come back")
    theirs = constriction_times(bins, x, repeats) if compare else None
    ideal = code_length(x, bins)
    unit = 1e9 / x.size
    return Row(
        name,
        full.bits / x.size,
        100 * (full.bits / ideal - 1),
        push_s * unit,
        pop_s * unit,
        theirs[0] * unit if theirs else None,
        theirs[1] * unit if theirs else None,
    )


def constriction_times(bins: Bins, x: npt.NDArray[np.int32], repeats: int) -> tuple[float, float] | None:
    """Seconds of its ANS coder for the values as uncoupled Gaussians, to push and to pop."""
    try:
        import constriction
    except ImportError:
        return None
    model = constriction.stream.model.QuantizedGaussian(LOW, LOW + COUNT - 1)
    means, flat = (bins.mean / 64).ravel(), x.ravel()
    sigmas = 2.0 ** ((bins.scale.astype(np.float64).ravel() - 32) / 8)
    coder = [constriction.stream.stack.AnsCoder()]

    def fresh() -> None:
        coder[0] = constriction.stream.stack.AnsCoder()

    def refill() -> None:
        fresh()
        coder[0].encode_reverse(flat, model, means, sigmas)

    runs = max(2, repeats // 2)
    push_s = seconds(lambda: coder[0].encode_reverse(flat, model, means, sigmas), fresh, runs)
    return push_s, seconds(lambda: coder[0].decode(model, means, sigmas), refill, runs)


@dataclass
class NoiseChain:
    """Two levels over one band with the bins prepared beforehand: what the chain itself costs."""

    latent: Bins
    data: Bins
    side: int

    levels = 2
    adapts = False

    @property
    def strips(self) -> list[slice]:
        return [slice(y, y + 32) for y in range(0, self.side, 32)]

    def part(self, bins: Bins, rows: slice) -> Bins:
        at = slice(rows.start * self.side, rows.stop * self.side)
        return Bins(
            bins.mean[at], bins.scale[at], bins.coupling[at], bins.low, bins.count, bins.window, bins.tables
        )

    def posterior(self, k: int, z_below: npt.NDArray[np.int32], rows: slice) -> Bins:
        return self.part(self.latent, rows)

    def likelihood(self, k: int, z_k: npt.NDArray[np.int32] | None, rows: slice) -> Bins:
        return self.part(self.latent if z_k is None else self.data, rows)

    def gather(self, z: npt.NDArray[np.int32], rows: slice) -> npt.NDArray[np.int32]:
        return np.ascontiguousarray(z[:, rows].reshape(3, -1).T)

    def scatter(self, z: npt.NDArray[np.int32], rows: slice, x: npt.NDArray[np.int32]) -> None:
        z[:, rows] = x.T.reshape(z[:, rows].shape)

    def blank(self) -> npt.NDArray[np.int32]:
        return np.zeros((3, self.side, self.side), np.int32)


def measure_chain(lanes: int, repeats: int, side: int = 192) -> Row:
    """A band of three components with one latent, encoded and decoded: three operations a value."""
    n = side * side
    latent, data = make_bins(3 * n, 3, 40, False, False), make_bins(3 * n, 3, 36, False, False)
    chain = NoiseChain(latent, data, side)
    z_0 = np.ascontiguousarray(sample(data).T.reshape(3, side, side))
    words = np.random.default_rng(1).integers(0, 1 << 32, (lanes, 3 * n // lanes), dtype=np.uint32)
    filled = Stack(np.full(lanes, 1 << 40, np.uint64), words, np.full(lanes, words.shape[1], np.int64))
    filled.reserve(2 * 3 * n // lanes + 2)
    done = filled.copy()
    encode(done, z_0, chain)
    work = [done]

    def restore(stack: Stack) -> Callable[[], None]:
        def action() -> None:
            work[0] = stack.copy()
            work[0].reserve(2 * 3 * n // lanes + 2)

        return action

    encode_s = seconds(lambda: encode(work[0], z_0, chain), restore(filled), repeats)
    decode_s = seconds(lambda: decode(work[0], chain), restore(done), repeats)
    unit = 1e9 / (3 * 3 * n)
    grown = (done.bits - filled.bits) / (3 * n)
    return Row("chain, one latent", grown, None, encode_s * unit, decode_s * unit, None, None)


def main(arguments: list[str] | None = None) -> int:
    """Measures and prints; 0 when all came back."""
    parser = argparse.ArgumentParser(prog="benchmarks.coder", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print records instead of a table")
    parser.add_argument("--values", type=int, default=300_000, help="values for each row")
    parser.add_argument("--lanes", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args(arguments)
    kinds = [
        ("grey, sigma 1/2", make_bins(options.values, 1, 24, False, False), True),
        ("grey, sigma 2", make_bins(options.values, 1, 40, False, False), True),
        ("grey, sigma 16", make_bins(options.values, 1, 64, False, False), True),
        ("triples, sigma 2", make_bins(options.values, 3, 40, False, False), True),
        ("coupled triples, sigma 2", make_bins(options.values, 3, 40, True, False), False),
        ("coupled mixtures, sigma 2", make_bins(options.values, 3, 40, True, True), False),
    ]
    rows = [measure(name, bins, options.lanes, options.repeats, compare) for name, bins, compare in kinds]
    rows.append(measure_chain(options.lanes, options.repeats))
    if options.json:
        machine = {"python": platform.python_version(), "machine": platform.machine(), "lanes": options.lanes}
        print(json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}))
    else:
        print_table(rows, options.lanes)
    return 0


def print_table(rows: list[Row], lanes: int) -> None:
    """One line a row; the ratios are constriction's time over ours."""
    print(f"ns for each value on one core, {lanes} lanes; ratio: constriction's time over ours")
    print(f"{'':28}{'bits':>7}{'push':>8}{'pop':>8}{'constriction':>16}{'ratio':>14}")
    for row in rows:
        line = f"{row.name:28}{row.bits:7.3f}{row.push_ns:8.1f}{row.pop_ns:8.1f}"
        if row.constriction_push_ns is not None and row.constriction_pop_ns is not None:
            line += f"{row.constriction_push_ns:8.1f}{row.constriction_pop_ns:8.1f}"
            line += (
                f"{row.constriction_push_ns / row.push_ns:7.1f}{row.constriction_pop_ns / row.pop_ns:7.1f}"
            )
        print(line)


if __name__ == "__main__":
    sys.exit(main())
