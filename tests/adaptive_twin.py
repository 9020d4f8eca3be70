"""Twin of the statistics that adapt, in plain Python integers: written from the rules, places as (row, column)."""

from coder_twin import cdf, coupled_mean, nearest_power

from codec.gaussian import Bins
from codec.kernels import MEAN_LIMIT, SHAPE_HALF

TAPS = [(0, -1, 3), (-1, 0, 3), (-1, -1, 2), (-1, 1, 2), (0, -2, 1), (-2, 0, 1)]  # row, column, share
CUTS = [17, 20, 24, 28, 34, 40, 48, 57, 67, 80, 95, 113, 135, 160, 190]  # mean magnitude in 1/64 sigma
USUAL = 51  # magnitude outside the band
FINEST = 18  # scale index below which no residual is measured
SIGMA = 1 << 10


def clip(v: int, limit: int) -> int:
    return max(-limit, min(v, limit))


def fade(count: int, first: int, last: int, start: int) -> int:
    """`first`, and one more for each start * 4^k that the count has reached, up to `last`."""
    steps = 0
    while first + steps < last and count >= start * 4**steps:
        steps += 1
    return first + steps


def edge(table, at: int) -> tuple[int, int, int]:
    """Of an edge in 2^-24 table steps: it in 2^-10 steps, the CDF there and its rise over the step."""
    at = clip(at, (SHAPE_HALF << 24) - 1)
    cell = (at >> 24) + SHAPE_HALF
    return at >> 14, cdf(table, at), int(table[cell + 1]) - int(table[cell])


def slopes(table, centre: int, scale: int) -> tuple[int, int]:
    """How the log chance of the bin around `centre`, 1/64 bin from the mean, changes: sigma d/dm, d/dlog sigma."""
    reach = max(nearest_power(96 + scale) >> 13, 32)
    inverse = nearest_power(224 - scale)
    left, share_left, rise_left = edge(table, (centre - reach) * inverse)
    right, share_right, rise_right = edge(table, (centre + reach) * inverse)
    share = max(share_right - share_left, 1)
    by_mean = (rise_left - rise_right) * (64 * SIGMA) // share
    by_scale = (left * rise_left - right * rise_right) // share
    return clip(by_mean, 2 * SIGMA), clip(by_scale, 4 * SIGMA)


class Offset:
    """A learned offset of scale indices, 16 fractional bits."""

    def __init__(self) -> None:
        self.value = self.seen = 0

    def learn(self, slope: int) -> None:
        self.seen += 1
        self.value = clip(self.value + (slope * 64 >> fade(self.seen, 4, 8, 16)), 24 << 16)


class Component:
    """What one component has learned."""

    def __init__(self) -> None:
        self.residuals: dict[tuple[int, int], int] = {}
        self.magnitudes: dict[tuple[int, int], int] = {}
        self.weights = [0] * len(TAPS)
        self.by_size = [Offset() for _ in range(len(CUTS) + 1)]
        self.by_scale = [Offset() for _ in range(32)]


def refine(x: list[list[int]], bins: Bins, columns: int) -> tuple[list[list[int]], list[list[int]]]:
    """Refined means and scale indices, (n, C) each."""
    n, components = bins.shape
    means, scales = [[0] * components for _ in range(n)], [[0] * components for _ in range(n)]
    learners = [Component() for _ in range(components)]
    for i in range(n):
        factors = [int(f) for f in bins.coupling[i]]
        moved: list[int] = []  # of the components before, without their couplings
        sizes: list[int] = []
        for c, learner in enumerate(learners):
            row, column = divmod(i, columns)
            near = [(row + dy, column + dx) for dy, dx, _ in TAPS]
            past = [learner.residuals.get(place, 0) for place in near]
            mean, scale = int(bins.mean[i, c]), int(bins.scale[i, c])
            table = bins.tables[c]

            # mean: the neighbours' share, and what the moved means of Y and Co make of the coupling
            total = sum(w * u for w, u in zip(learner.weights, past, strict=True))
            expected = clip((total + (1 << 19)) >> 20, 2 * SIGMA)
            shift = 0
            if c == 1:
                shift = factors[0] * moved[0] >> 6
            if c == 2:
                shift = factors[1] * moved[0] + factors[2] * moved[1] >> 6
            shift += expected * nearest_power(96 + scale) >> 20
            means[i][c] = clip(mean + shift, MEAN_LIMIT)
            moved.append(means[i][c] - mean)

            # scale: two offsets, one found by the size of what the neighbours left, one by the scale itself
            size = 3 * sum(sizes)
            for place, (_, _, share) in zip(near, TAPS, strict=True):
                size += share * learner.magnitudes.get(place, USUAL)
            by_size = learner.by_size[sum(size >= cut * (12 + 3 * c) for cut in CUTS)]
            by_scale = learner.by_scale[scale // 4]
            offset = by_size.value + by_scale.value + (1 << 15) >> 16
            scales[i][c] = max(0, min(scale + offset, 127))

            # learning
            coupled = _coupled(means[i], factors, x[i], c)
            by_mean, by_log_scale = slopes(table, 64 * x[i][c] - coupled, scales[i][c])
            rate = fade(i, 8, 11, 2048)
            for t, u in enumerate(past):
                learner.weights[t] += by_mean * u + (1 << rate - 1) >> rate
            by_size.learn(by_log_scale)
            by_scale.learn(by_log_scale)

            away = clip(64 * x[i][c] - coupled_mean(bins, i, c, x[i][:c]), 1 << 25)
            u = away * nearest_power(224 - max(scale, FINEST)) >> 20
            learner.residuals[row, column] = clip(u, 2 * SIGMA)
            learner.magnitudes[row, column] = min(abs(u - expected) >> 4, 255)
            sizes.append(learner.magnitudes[row, column])
    return means, scales


def _coupled(means: list[int], factors: list[int], values: list[int], c: int) -> int:
    """Refined mean of component c with its couplings, as the coder forms it from refined means."""
    residuals = [64 * value - mean for value, mean in zip(values[:c], means[:c], strict=True)]
    if c == 1:
        return clip(means[1] + (factors[0] * residuals[0] >> 6), MEAN_LIMIT)
    if c == 2:
        return clip(means[2] + (factors[1] * residuals[0] + factors[2] * residuals[1] >> 6), MEAN_LIMIT)
    return means[0]
