"""Gaussian bins: exact partitions, equality with the twin, golden words, rates, errors."""

import math
import zlib
from decimal import Decimal, localcontext
from pathlib import Path

import coder_twin
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from roundtrip import check_codec, random_stack

from codec import adaptive_kernels, gaussian, kernels, tables
from codec.ans import Stack
from codec.codecs import gaussian as gaussian_codec
from codec.errors import BinsError, ShortStackError, TableError, ValueOutOfRange
from codec.gaussian import Bins, code_length, code_lengths, gaussian_table, intervals, pop, push, shape_table
from codec.kernels import GUESS_AT, SHAPE_BITS, SHAPE_HALF

MIXTURE = shape_table(np.array([30000, 20000, 15000, 536]), np.array([6, 16, 30, 128]))


def make_bins(
    n, components, seed, *, scales=(0, 128), spread=3000, low=-300, count=601, coupled=True, window=0
):
    """Random bins with means up to `spread` / 64 and, for three components, a mixture on the last."""
    rng = np.random.default_rng(seed)
    tables = np.tile(gaussian_table(), (components, 1))
    tables[-1] = MIXTURE
    coupling = rng.integers(-128, 129, (n, 3)).astype(np.int16) * np.int16(coupled and not window)
    return Bins(
        rng.integers(-spread, spread + 1, (n, components)).astype(np.int32),
        rng.integers(*scales, (n, components)).astype(np.uint8),
        coupling,
        np.full(components, low, np.int32),
        np.full(components, count, np.int32),
        window,
        tables,
    )


def sample(bins, seed):
    """Values drawn from the bins themselves, by popping random bits."""
    return pop(random_stack(1, bins.mean.size + 2, seed), bins)


def one(mean, scale, low, count, table=None):
    """A single value's bins, repeated for each value of its range."""
    shape = (count, 1)
    return Bins.ranged(
        np.full(shape, mean, np.int32),
        np.full(shape, scale, np.uint8),
        np.array([low], np.int32),
        np.array([count], np.int32),
        tables=None if table is None else table[None, :],
    )


# Tables


def test_normal_cdf_is_the_exact_one():
    """2^32 Phi(n / 64) from the series of Phi, every term positive, in sixty digits."""
    with localcontext(prec=70):
        pi = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620900")
        for n, entry in enumerate(gaussian.normal_cdf()):
            t = Decimal(n) / 64
            total = term = t
            k = 1
            while term > Decimal(10) ** -50:
                term *= t * t / (2 * k + 1)
                total += term
                k += 1
            value = Decimal(1) / 2 + total * (-t * t / 2).exp() / (2 * pi).sqrt()
            assert abs(value * 2**32 - int(entry)) < Decimal("0.5001")
    assert gaussian.normal_cdf_sha256(gaussian.normal_cdf()) == gaussian.NORMAL_CDF_SHA256


def test_a_changed_table_is_refused(monkeypatch):
    changed = gaussian.normal_cdf().copy()
    changed[100] += 1
    monkeypatch.setattr(np, "load", lambda *args, **kwargs: changed)
    with pytest.raises(TableError, match="SHA-256"):
        gaussian.normal_cdf.__wrapped__()
    assert TableError.exit_code == 6


def test_scale_tables_are_the_nearest_integers():
    assert [int(v) for v in tables.inverses()] == [coder_twin.nearest_power(224 - i) for i in range(128)]
    assert [int(v) for v in tables.widths()] == [coder_twin.nearest_power(96 + i) for i in range(128)]
    assert tables.inverses()[32] == 1 << 24


weights_and_factors = st.lists(
    st.tuples(st.integers(0, 1 << 16), st.integers(1, 128)), min_size=1, max_size=5
).map(lambda pairs: _normalised(pairs))


def _normalised(pairs):
    weights = np.array([w for w, _ in pairs]) + 1
    weights = weights * (1 << 16) // weights.sum()
    weights[0] += (1 << 16) - weights.sum()
    return weights, np.array([f for _, f in pairs])


@settings(max_examples=30)
@given(weights_and_factors)
def test_shape_tables_are_symmetric_monotone_and_near_the_mixture(mixture):
    weights, factors = mixture
    table = shape_table(weights, factors)
    cdf = table[:GUESS_AT].astype(np.int64)
    one = 1 << SHAPE_BITS
    assert table.dtype == np.int32
    assert cdf[0] == 0
    assert cdf[-1] == one
    assert (np.diff(cdf) >= 0).all()
    assert (cdf + cdf[::-1] == one).all()
    for t in range(-SHAPE_HALF, SHAPE_HALF + 1, 97):
        parts = [
            w * math.erfc(-t / 64 / (f / 16) / math.sqrt(2)) / 2
            for w, f in zip(weights, factors, strict=True)
        ]
        # between two entries of the normal table a line is off by less than 0.242 / 8 / 64^2
        assert abs(cdf[t + SHAPE_HALF] / one - sum(parts) / (1 << 16)) < 7.5e-6


def test_gaussian_table_is_exact_at_its_entries():
    cdf = gaussian_table()[SHAPE_HALF : SHAPE_HALF + 545].astype(np.int64)
    assert (cdf == gaussian.normal_cdf() >> 2).all()
    assert not gaussian_table().flags.writeable


@pytest.mark.parametrize(
    ("weights", "factors"),
    [
        ([65535], [16]),
        ([65537, -1], [16, 16]),
        ([65536], [0]),
        ([65536], [129]),
        ([65536], [16, 16]),
        ([], []),
        ([65536.0], [16]),
    ],
)
def test_bad_mixtures_are_refused(weights, factors):
    with pytest.raises(BinsError):
        shape_table(np.array(weights), np.array(factors))


# Intervals


@settings(max_examples=60)
@given(
    mean=st.integers(-(1 << 24), 1 << 24) | st.integers(-5000, 5000),
    scale=st.integers(0, 127),
    low=st.integers(-(1 << 17), 1 << 17) | st.integers(-80, 0),
    count=st.integers(1, 3000),
    mixed=st.booleans(),
)
def test_intervals_cut_the_whole_range(mean, scale, low, count, mixed):
    bins = one(mean, scale, low, count, MIXTURE if mixed else None)
    x = np.arange(low, low + count, dtype=np.int32)[:, None]
    start, freq = intervals(x, bins)
    assert start[0, 0] == 0
    assert (start[1:] == start[:-1] + freq[:-1]).all()
    assert start[-1, 0] + freq[-1, 0] == 1 << 28
    assert freq.min() >= 1


@pytest.mark.parametrize("scale", [0, 16, 32, 56, 90])
def test_intervals_follow_the_normal_distribution(scale):
    low, count, mean = -600, 1201, 77
    _, freq = intervals(np.arange(low, low + count, dtype=np.int32)[:, None], one(mean, scale, low, count))
    edges = (np.arange(low, low + count + 1) - 0.5 - mean / 64) / 2 ** ((scale - 32) / 8)
    edges[0], edges[-1] = -math.inf, math.inf
    below = np.array([math.erfc(-e / math.sqrt(2)) / 2 for e in edges])
    assert np.abs(freq[:, 0] / 2**28 - np.diff(below)).max() < 3e-5


@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.parametrize("window", [0, 40])
def test_intervals_equal_the_twin(components, window):
    bins = make_bins(300, components, 1, window=window)
    x = sample(bins, 2)
    start, freq = intervals(x, bins)
    for i in range(300):
        for c in range(components):
            assert (start[i, c], freq[i, c]) == coder_twin.interval(bins, i, c, [int(v) for v in x[i]])


def test_coupled_means_saturate():
    """Ranges, means and couplings at their limits: nothing overflows, and the round trip holds."""
    limit = 1 << 24
    n = 64
    rng = np.random.default_rng(0)
    extremes = np.array([-limit, 0, limit])
    bins = Bins.ranged(
        rng.choice(extremes, (n, 3)).astype(np.int32),
        rng.choice([0, 127], (n, 3)).astype(np.uint8),
        np.full(3, -(1 << 18), np.int32),
        np.full(3, 1 << 19, np.int32),
        coupling=rng.choice([-32768, 32767], (n, 3)).astype(np.int16),
    )
    x = rng.choice([-(1 << 18), 0, (1 << 18) - 1], (n, 3)).astype(np.int32)
    start, freq = intervals(x, bins)
    for i in range(n):
        for c in range(3):
            assert (start[i, c], freq[i, c]) == coder_twin.interval(bins, i, c, [int(v) for v in x[i]])
    stack = Stack.empty(2)
    push(stack, x, bins)
    assert (pop(stack, bins) == x).all()
    assert stack.is_initial()


# Push and pop


@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.parametrize("lanes", [1, 2, 7])
@pytest.mark.parametrize("window", [0, 30])
def test_push_and_pop_equal_the_twin(components, lanes, window):
    bins = make_bins(41, components, 3, window=window, low=-60, count=121, spread=2000)
    x = sample(bins, 4)
    stack, twins = Stack.empty(lanes), [coder_twin.Lane() for _ in range(lanes)]
    push(stack, x, bins)
    coder_twin.push(twins, x, bins)
    assert stack.to_lanes() == [lane.to_bytes() for lane in twins]
    assert coder_twin.pop(twins, bins) == x.tolist()
    assert (pop(stack, bins) == x).all()
    assert stack.is_initial()


@settings(max_examples=40)
@given(
    n=st.integers(0, 50), components=st.sampled_from([1, 3]), lanes=st.integers(1, 9),
    seed=st.integers(0, 1 << 30), window=st.sampled_from([0, 1, 500]), low=st.integers(-400, 10),
    count=st.integers(1, 700),
)  # fmt: skip
def test_round_trip_of_any_bins(n, components, lanes, seed, window, low, count):
    bins = make_bins(n, components, seed, window=window, low=low, count=count)
    check_codec(gaussian_codec(bins), sample(bins, seed), lanes)


@pytest.mark.parametrize("edge", [0, -1])
def test_the_ends_of_the_range_are_codable_far_from_the_mean(edge):
    bins = make_bins(50, 3, 5, scales=(0, 20), spread=10)
    x = np.full((50, 3), (-300, 300)[edge], np.int32)
    assert (code_lengths(x, bins) <= 28).all()
    check_codec(gaussian_codec(bins), x)


def test_one_possible_value_costs_nothing():
    bins = make_bins(100, 3, 6, low=7, count=1)
    x = np.full((100, 3), 7, np.int32)
    stack = random_stack(4, 3)
    before = stack.to_lanes()
    push(stack, x, bins)
    assert stack.to_lanes() == before
    assert (pop(stack, bins) == 7).all()
    assert code_length(x, bins) == 0.0


def test_pop_does_not_depend_on_the_guess():
    """Any numbers in the place of the inverse guess give the same values."""
    bins = make_bins(400, 3, 7)
    guessless = bins.tables.copy()
    noise = np.random.default_rng(0).integers(-(2**31), 2**31, guessless[:, GUESS_AT:].shape)
    guessless[:, GUESS_AT:] = noise
    misled = Bins(bins.mean, bins.scale, bins.coupling, bins.low, bins.count, 0, guessless)
    first, second = random_stack(3, 500), random_stack(3, 500)
    assert (pop(first, bins) == pop(second, misled)).all()
    assert first.to_lanes() == second.to_lanes()


def test_threads_do_not_change_a_bit():
    bins = make_bins(3001, 3, 8, scales=(10, 60))
    x = sample(bins, 9)
    stacks = [Stack.empty(5) for _ in range(3)]
    for threads, stack in enumerate(stacks, 1):
        push(stack, x, bins, threads)
    assert stacks[0].to_lanes() == stacks[1].to_lanes() == stacks[2].to_lanes()
    for threads, stack in enumerate(reversed(stacks), 1):
        assert (pop(stack, bins, threads) == x).all()
        assert stack.is_initial()


def test_read_only_arrays_are_accepted():
    bins = make_bins(20, 3, 10)
    x = sample(bins, 1)
    for array in (bins.mean, bins.scale, bins.coupling, bins.low, bins.count, bins.tables, x):
        array.setflags(write=False)
    check_codec(gaussian_codec(bins), x)


def test_without_a_folder_for_the_cache_kernels_are_compiled_all_the_same(monkeypatch):
    asked = []

    def njit(*args, cache, **options):
        asked.append(cache)
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    def kernel():
        pass

    monkeypatch.setattr(kernels, "njit", njit)
    assert kernels._compiled("void()")(kernel) is kernel
    assert asked == [True, False]


def test_the_name_in_the_cache_changes_with_any_source_of_kernels():
    """What is inlined from another file must not live on in the cache after a change of that file."""
    folder = Path(kernels.__file__).parent
    sources = [folder / f"{name}kernels.py" for name in ("adaptive_", "corrector_", "", "vector_")]
    mark = f"_{zlib.crc32(b''.join(path.read_bytes() for path in sources)):08x}"
    for kernel in (kernels.push_gaussian, adaptive_kernels.adaptive):
        assert kernel.py_func.__qualname__.endswith(mark)


# Golden words


def golden_bins():
    i = np.arange(24, dtype=np.int64)[:, None]
    c = np.arange(3, dtype=np.int64)[None, :]
    n = i * 3 + c
    mean = (n * 7919 % 4001 - 2000).astype(np.int32)
    scale = (n * 31 % 100).astype(np.uint8)
    coupling = (n * 57 % 129 - 64).astype(np.int16)
    tables = np.stack([gaussian_table(), gaussian_table(), MIXTURE])
    low, count = np.array([-255, -510, -510], np.int32), np.array([511, 1021, 1021], np.int32)
    x = (mean // 64 + (n * 17 % 7 - 3)).astype(np.int32)
    return x, Bins(mean, scale, coupling, low, count, 0, tables)


def test_golden_words():
    """Fixed integers in, these words out, on every machine and for ever."""
    x, bins = golden_bins()
    stack = Stack.empty(2)
    push(stack, x, bins)
    assert [lane.hex() for lane in stack.to_lanes()] == GOLDEN
    assert (pop(Stack.from_lanes([bytes.fromhex(lane) for lane in GOLDEN]), bins) == x).all()


def test_golden_windowed_words():
    x, bins = golden_bins()
    windowed = Bins.windowed(bins.mean, bins.scale, 12)
    stack = Stack.empty(1)
    push(stack, x, windowed)
    assert stack.to_lanes()[0].hex() == GOLDEN_WINDOWED


# Rates


@pytest.mark.parametrize("lanes", [1, 16])
def test_the_stack_grows_by_the_code_length(lanes):
    bins = make_bins(20000, 3, 11, scales=(16, 64))
    x = sample(bins, 12)
    stack = random_stack(lanes, 0)
    before = stack.bits
    push(stack, x, bins)
    ideal = code_length(x, bins)
    assert stack.bits - before == pytest.approx(ideal, rel=1e-4)
    assert ideal == pytest.approx(code_lengths(x, bins).sum(), rel=1e-12)


@pytest.mark.parametrize("scale", [20, 32, 40, 48, 64, 80])
def test_the_expected_length_is_the_entropy_of_the_gaussian(scale):
    """Values of the real distribution cost its entropy, to 0.01 %."""
    sigma = 2 ** ((scale - 32) / 8)
    low = -math.ceil(9 * sigma)
    count = 1 - 2 * low
    x = np.arange(low, low + count, dtype=np.int32)
    edges = [(edge - 0.5 - 13 / 64) / sigma for edge in range(low, low + count + 1)]
    below = np.array([math.erfc(-edge / math.sqrt(2)) / 2 for edge in edges])
    chances = np.maximum(np.diff(below), 1e-300)
    entropy = -(chances * np.log2(chances)).sum()
    expected = (chances * code_lengths(x[:, None], one(13, scale, low, count))[:, 0]).sum()
    assert expected == pytest.approx(entropy, rel=1e-4)


# Errors


def test_a_value_out_of_range_leaves_the_stack_alone():
    bins = make_bins(30, 3, 13)
    x = sample(bins, 1)
    x[17, 2] = 301
    stack = random_stack(2, 3)
    before = stack.to_lanes()
    with pytest.raises(ValueOutOfRange, match=r"x\[17, 2\] is 301, its range is -300 to 300"):
        push(stack, x, bins)
    assert stack.to_lanes() == before

    windowed = make_bins(30, 1, 13, window=9)
    y = (windowed.mean >> 6).astype(np.int32)
    push(stack, y + np.int32(9), windowed)
    with pytest.raises(ValueOutOfRange, match=r"x\[0, 0\]"):
        push(stack, y - np.int32(10), windowed)


def test_a_short_stack_raises():
    bins = make_bins(200, 3, 14, scales=(40, 60))
    for threads in (1, 2):
        with pytest.raises(ShortStackError):
            pop(random_stack(2, 3), bins, threads)


@pytest.mark.parametrize(
    "change",
    [
        {"mean": np.zeros((4, 2), np.int32)},
        {"mean": np.zeros(4, np.int32)},
        {"mean": np.zeros((4, 3), np.int64)},
        {"mean": np.full((4, 3), (1 << 24) + 1, np.int32)},
        {"mean": np.zeros((3, 4), np.int32).T},
        {"scale": np.full((4, 3), 128, np.uint8)},
        {"scale": np.zeros((4, 1), np.uint8)},
        {"coupling": np.zeros((4, 2), np.int16)},
        {"low": np.zeros(1, np.int32)},
        {"low": np.full(3, -(1 << 18) - 1, np.int32)},
        {"count": np.zeros(3, np.int32)},
        {"count": np.full(3, (1 << 18) + 1, np.int32)},
        {"tables": np.zeros((3, 100), np.int32)},
        {"tables": np.zeros((3, gaussian.TABLE_LENGTH), np.int32)},
        {"tables": np.zeros((1, gaussian.TABLE_LENGTH), np.int32)},
        {"window": -1},
        {"window": 1 << 18},
        {"window": 5, "coupling": np.ones((4, 3), np.int16)},
    ],
)
def test_bad_bins_are_refused(change):
    good = {
        "mean": np.zeros((4, 3), np.int32), "scale": np.zeros((4, 3), np.uint8),
        "coupling": np.zeros((4, 3), np.int16), "low": np.zeros(3, np.int32), "count": np.ones(3, np.int32),
        "window": 0, "tables": np.tile(gaussian_table(), (3, 1)),
    }  # fmt: skip
    Bins(**good)
    with pytest.raises(BinsError):
        Bins(**(good | change))


@pytest.mark.parametrize("x", [np.zeros((5, 3), np.int32), np.zeros((4, 3), np.int64)])
def test_values_of_another_shape_or_type_are_refused(x):
    bins = make_bins(4, 3, 15)
    with pytest.raises(BinsError, match="x is"):
        push(Stack.empty(1), x, bins)


GOLDEN = [
    ("d4cee4a7e1852dd0c9e0bae242f15a36c4bd59a7dc5eec4ff302027548fc46b8cfed08b841030070dc0000205a2903"),
    ("7d040139f3d9de771802002066ecff2ff67c2063f200008093b6ff5fe02ec8c70f0200a0b954f7478b1454"),
]
GOLDEN_WINDOWED = (
    "a40afd79e920748603e56765eee90c38c72a07ad81f93ab7989d7adf5b80eec2fd6758c2de366723f7170ac8688ea23b"
    "0a000080f6ffffefd17823505b921e3d854d3de809000010e10bf50709000090b0901d6a"
)
