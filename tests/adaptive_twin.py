"""Twin of the statistics that adapt while coding, in plain Python integers, position by position."""

from collections import defaultdict
from typing import Any

from coder_twin import cdf, nearest_power

from codec.gaussian import Bins

NEIGHBOURS = {(0, -1): 3, (-1, 0): 3, (-1, -1): 2, (-1, 1): 2, (0, -2): 1, (-2, 0): 1}
EDGES = (17, 20, 24, 28, 34, 40, 48, 57, 67, 80, 95, 113, 135, 160, 190)


ABOUT = ((0, -2), (0, -1), *((dy, dx) for dy in (-1, -2) for dx in range(-2, 4)))
AROUND = tuple((dy, dx) for dy in (-1, 0, 1) for dx in range(-1, 3))


def clip(value: int, limit: int) -> int:
    return max(-limit, min(value, limit))


def fade(count: int, first: int, last: int, start: int) -> int:
    """first, and one more for each factor of four that count has reached from start on, up to last."""
    shift = first
    while shift < last and count >= start * 4 ** (shift - first):
        shift += 1
    return shift


def divide(a: int, b: int) -> int:
    """Python's and the compiled loop's division agree: both round down."""
    return a // b


class Learner:
    """What one component has learned."""

    def __init__(self) -> None:
        self.weights: dict[Any, int] = defaultdict(int)
        self.special: dict[Any, int] = defaultdict(int)
        self.seen_class: dict[int, int] = defaultdict(int)
        self.offsets: dict[tuple[str, int], int] = defaultdict(int)
        self.seen: dict[tuple[str, int], int] = defaultdict(int)
        self.residual: dict[tuple[int, int], int] = defaultdict(int)
        self.magnitude: dict[tuple[int, int], int] = defaultdict(lambda: 51)
        self.error: dict[tuple[int, int], int] = defaultdict(int)


def slopes(table, centre: int, index: int) -> tuple[int, int]:
    """Of the log probability: by the mean in sigmas, by log sigma; both with 10 fractional bits."""
    half, last = max(nearest_power(96 + index) >> 13, 32), (4352 << 24) - 1
    ends = [clip((centre + way * half) * nearest_power(224 - index), last) for way in (-1, 1)]
    rises = [int(table[(e + (4352 << 24) >> 24) + 1]) - int(table[e + (4352 << 24) >> 24]) for e in ends]
    share = max(cdf(table, ends[1]) - cdf(table, ends[0]), 1)
    by_mean = divide((rises[0] - rises[1]) << 16, share)
    by_scale = divide((ends[0] >> 14) * rises[0] - (ends[1] >> 14) * rises[1], share)
    return clip(by_mean, 4096), clip(by_scale, 4096)


def weighed(weights, bias, values: list[int]) -> list[int]:
    """Sums of a layer: weights (inputs, units)."""
    return [
        sum(int(w) * v for w, v in zip(column, values, strict=True)) + int(b)
        for column, b in zip(weights.T, bias, strict=True)
    ]


def units(sums: list[int], shift: int) -> list[int]:
    return [max(0, min(total >> shift, 32767)) for total in sums]


def correction(corrector, c: int, near: list[int], here: list[int], states, around) -> tuple[int, int]:
    """Moves of the mean, in sigmas, and of the scale, in octaves, with 10 fractional bits, not clipped."""
    before = (here + [0, 0])[:2]
    known = [v for state in states for v in state] + [0] * (8 - 4 * c)
    if corrector.middle.shape[2]:
        z = near + before + known + around
    else:
        errors = [near[1], near[4], near[3], near[5], *before]
        z = errors + [abs(e) for e in errors] + known
    h = units(weighed(corrector.hidden[c], corrector.hidden_bias[c], z), 8)
    if corrector.middle.shape[2]:
        h = units(weighed(corrector.middle[c], corrector.middle_bias[c], h), 10)
    return tuple((t + 2048) >> 12 for t in weighed(corrector.output[c].T, corrector.output_bias[c], h))


def refine(x, bins: Bins, columns: int) -> tuple[list[list[int]], list[list[int]]]:
    """Refined means and scales of the values x, lists of n lists of C."""
    n, components = bins.shape
    learners = [Learner() for _ in range(components)]
    means, scales = [], []
    for i in range(n):
        y, at = divmod(i, columns)
        factors = [int(f) for f in bins.coupling[i]]
        residuals: list[int] = []
        moves: list[int] = []
        new_means, new_scales, size_before = [], [], 0
        before_here: list[int] = []
        states: list[list[int]] = []
        for c in range(components):
            mean, index, value = int(bins.mean[i, c]), int(bins.scale[i, c]), int(x[i][c])
            learner = learners[c]
            near = [(y + dy, at + dx) for dy, dx in NEIGHBOURS]

            def couple(m: int, rest: list[int], c: int = c, factors: list[int] = factors) -> int:
                return clip(m + (combine(rest, c, factors) >> 6), 1 << 24) if c else m

            own = clip(mean * nearest_power(224 - max(index, 18)) >> 20, 4096)
            seen = {d: learner.residual[p] for d, p in zip(NEIGHBOURS, near, strict=True)}
            seen |= {"mean": own} | {before: learners[before].residual[y, at] for before in range(c)}
            kind = index // 8
            predicted = sum(
                (learner.weights[key] + learner.special[kind, key]) * u for key, u in seen.items()
            )
            predicted = clip((predicted + (1 << 19)) >> 20, 4096)
            move = predicted * nearest_power(96 + index) >> 20
            base = couple(mean, residuals)
            adapted = clip(base + move, 1 << 24)
            size = 8 * size_before
            size += sum(s * learner.magnitude[p] for s, p in zip(NEIGHBOURS.values(), near, strict=True))
            bucket = sum(size >= edge * (12 + 8 * c) for edge in EDGES)
            keys = ("size", bucket), ("scale", index // 4)
            offset = sum(learner.offsets[key] for key in keys)
            adapted_index = max(0, min(index + ((offset + (1 << 15)) >> 16), 127))
            refined_index = adapted_index
            sigma = nearest_power(224 - max(adapted_index, 18))
            if bins.corrector is not None:
                errors = [learner.error[y + dy, at + dx] for dy, dx in ABOUT]
                places = [(y + dy, at + dx) for dy, dx in AROUND]
                inside = [0 <= row < n // columns and 0 <= column < columns for row, column in places]
                i_around = [row * columns + column for row, column in places]
                found = list(zip(inside, i_around, strict=True))
                octave, eighth = divmod(max(adapted_index, 18), 8)
                cut, factor = max(octave - 6, 0), round(2 ** (15 - eighth / 8))
                seen_means = [int(bins.mean[j, c]) if ok else 0 for ok, j in found]
                cut_means = [clip(m >> cut, 4095) for m in seen_means]
                around = [clip(m * factor >> (9 + octave - cut), 1024) for m in cut_means]
                indexes = [int(bins.scale[j, c]) if ok else 40 for ok, j in found]
                around += [clip((k - adapted_index) * 32, 1024) for k in indexes]
                states.append(
                    [
                        clip((adapted_index - 40) * 16, 1024),
                        clip(adapted * sigma >> 22, 1024),
                        clip(move * sigma >> 22, 1024),
                        clip((adapted_index - index) * 32, 1024),
                    ]
                )
                shift, octaves = correction(bins.corrector, c, errors, before_here, states, around)
                move += clip(shift, 2048) * nearest_power(96 + adapted_index) >> 20
                offset += clip(octaves, 4096) * 512
                refined_index = max(0, min(index + ((offset + (1 << 15)) >> 16), 127))
            refined_mean = clip(mean + (combine(moves, c, factors) >> 6) + move, 1 << 24)
            move = refined_mean - mean

            by_mean, by_scale = slopes(bins.tables[c], 64 * value - adapted, adapted_index)
            learner.error[y, at] = clip(clip(64 * value - adapted, 1 << 25) * sigma >> 22, 1024)
            before_here.append(learner.error[y, at])
            rate = fade(i, 9, 11, 2048)
            learner.seen_class[kind] += 1
            own_rate = fade(learner.seen_class[kind], 9, 11, 2048)
            for key, u in seen.items():
                learner.weights[key] += (by_mean * u + (1 << (rate - 1))) >> rate
                learner.special[kind, key] += (by_mean * u + (1 << (own_rate - 1))) >> own_rate
            for key in keys:
                learner.seen[key] += 1
                step = (by_scale << 6) >> fade(learner.seen[key], 3, 5, 16)
                learner.offsets[key] = clip(learner.offsets[key] + step, 24 << 16)
            u = clip(64 * value - base, 1 << 25)
            u = u * nearest_power(224 - max(index, 18)) >> 20
            learner.residual[y, at] = clip(u, 4096)
            learner.magnitude[y, at] = min(abs(u - predicted) >> 4, 255)
            size_before += learner.magnitude[y, at]

            residuals.append(64 * value - mean)
            moves.append(move)
            new_means.append(refined_mean)
            new_scales.append(refined_index)
        means.append(new_means)
        scales.append(new_scales)
    return means, scales


def combine(values: list[int], c: int, factors: list[int]) -> int:
    """Couplings of component c times what the components before it have."""
    return (
        0,
        factors[0] * values[0] if c else 0,
        sum(map(int.__mul__, factors[1:], values)) if c > 1 else 0,
    )[c]
