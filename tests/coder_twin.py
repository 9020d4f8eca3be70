"""Twin of the coder's compiled loops in plain Python integers, from the formulas, not from the loops."""

from codec.gaussian import Bins
from codec.kernels import SHAPE_HALF

ONE = 1 << 28


def nearest_power(eighths: int) -> int:
    """2^(eighths / 8) rounded to nearest: the k with (k - 1/2)^8 <= 2^eighths < (k + 1/2)^8."""
    k = round(2.0 ** (eighths / 8))
    while (2 * k + 1) ** 8 <= 1 << (eighths + 8):
        k += 1
    while (2 * k - 1) ** 8 > 1 << (eighths + 8):
        k -= 1
    return k


def cdf(table, at: int) -> int:
    """The shape's CDF with 30 bits, `at` in 2^-24 table steps from the middle."""
    half = SHAPE_HALF << 24
    cell, rest = divmod(max(-half, min(at, half)) + half, 1 << 24)
    low = int(table[cell])
    return low if rest == 0 else low + (int(table[cell + 1]) - low) * rest // (1 << 24)


def count_below(bins: Bins, i: int, c: int, mean: int, x: int) -> int:
    """C(x) of the bins at position i, component c, with the coupled mean."""
    low, count = value_range(bins, i, c)
    if x == low:
        return 0
    if x == low + count:
        return ONE
    inverse = nearest_power(224 - int(bins.scale[i, c]))
    return (cdf(bins.tables[c], (64 * x - 32 - mean) * inverse) * (ONE - count) >> 30) + x - low


def value_range(bins: Bins, i: int, c: int) -> tuple[int, int]:
    if bins.window:
        return (int(bins.mean[i, c]) >> 6) - bins.window, 2 * bins.window + 1
    return int(bins.low[c]), int(bins.count[c])


def coupled_mean(bins: Bins, i: int, c: int, before: list[int]) -> int:
    """Mean of component c when the components before it have these values."""
    mean = int(bins.mean[i, c])
    residuals = [64 * value - int(bins.mean[i, j]) for j, value in enumerate(before)]
    factors = [int(f) for f in bins.coupling[i]]
    if c == 1:
        mean += factors[0] * residuals[0] >> 6
    if c == 2:
        mean += factors[1] * residuals[0] + factors[2] * residuals[1] >> 6
    return max(-(1 << 24), min(mean, 1 << 24))


def interval(bins: Bins, i: int, c: int, values: list[int]) -> tuple[int, int]:
    """Start and freq of component c of position i."""
    mean = coupled_mean(bins, i, c, values[:c])
    start = count_below(bins, i, c, mean, values[c])
    return start, count_below(bins, i, c, mean, values[c] + 1) - start


class Lane:
    """One lane: a head and a list of words."""

    def __init__(self, head: int = 1 << 32, words: list[int] | None = None) -> None:
        self.head, self.words = head, words or []

    def push(self, start: int, freq: int) -> None:
        if self.head >= freq << 36:
            self.words.append(self.head % (1 << 32))
            self.head >>= 32
        self.head = self.head // freq * ONE + self.head % freq + start

    def pop(self, start: int, freq: int) -> None:
        self.head = self.head // ONE * freq + self.head % ONE - start
        if self.head < 1 << 32:
            self.head = self.head << 32 | self.words.pop()

    def to_bytes(self) -> bytes:
        """Words of four bytes, then the head without leading zeros, all little-endian."""
        words = b"".join(w.to_bytes(4, "little") for w in self.words)
        return words + self.head.to_bytes(8, "little").rstrip(b"\0")


def push(lanes: list[Lane], x, bins: Bins) -> None:
    n, components = bins.shape
    for i in reversed(range(n)):
        for c in reversed(range(components)):
            lanes[i % len(lanes)].push(*interval(bins, i, c, [int(v) for v in x[i]]))


def pop(lanes: list[Lane], bins: Bins) -> list[list[int]]:
    """Finds each value by trying bins from the lowest."""
    rows = []
    for i in range(bins.shape[0]):
        lane, values = lanes[i % len(lanes)], []
        for c in range(bins.shape[1]):
            mean, slot = coupled_mean(bins, i, c, values), lane.head % ONE
            x, _ = value_range(bins, i, c)
            while count_below(bins, i, c, mean, x + 1) <= slot:
                x += 1
            values.append(x)
            lane.pop(*interval(bins, i, c, values))
        rows.append(values)
    return rows
