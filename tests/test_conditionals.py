"""Integer conditionals: the float belief within rounding, ranges that hold every latent, sound bins."""

import numpy as np
import pytest
import torch

from codec.gaussian import gaussian_table, intervals
from tests import model_support
from vdmcompress.conditionals import BAND_KEYS, Conditionals, band_name, fusion_table, value_range
from vdmcompress.engine import Engine
from vdmcompress.exact import LINEAR_BITS, PART
from vdmcompress.head import direct_belief, fused_belief
from vdmcompress.path import BANDS
from vdmcompress.train.data import stack_batch
from vdmcompress.train.objective import step_input
from vdmcompress.transform import detail_range

tiny_model = model_support.tiny_model
TOPS = (2, 4, 5)  # the slots that also predict the band directly
CASES = [(scale, slot) for scale in (0, 1) for slot in range(6)]


@pytest.fixture(scope="module")
def engine():
    with Engine(model_support.load_tiny(), 1) as e:
        yield e


def inputs(scale, slot, components=3, size=96):
    """What the network meets at a step, from a photograph."""
    path = model_support.load_tiny().path
    step = path.steps[slot]
    batch = stack_batch([model_support.photo(size << scale, size << scale, components)], scale)
    bands = tuple(torch.from_numpy(x) for x in (batch.ll, batch.hl, batch.lh, batch.hh))
    generator = torch.Generator().manual_seed(slot)
    return (
        step,
        path.band(scale, step.band),
        step_input(bands, step, path.band(scale, step.band), components, generator),
    )


def integer_bins(engine, scale, slot, direct=False, components=3, shape=None):
    model = engine.model
    step, path, given = inputs(scale, slot, components)
    raw = given.raw[0].numpy().astype(np.int16)
    h, w = raw.shape[1:]
    row = model.row(scale, slot)
    sums, linear = engine.evaluate(row, raw, slice(0, h), int(direct))
    exponents = engine.head_exponents(row, int(direct))
    z_k = np.ascontiguousarray(given.z_k[0, :components].numpy(), np.int16)
    bins = Conditionals(model, components).likelihood(
        scale, step, direct, sums, linear, exponents, z_k, slice(0, h), shape or (h, w)
    )
    return step, path, given, (sums, linear, exponents), bins


def parameters(found):
    """mean in 1/64 bin, scale index, coupling in 1/64 of a float belief, (n, C) each."""
    flat = [x[0].reshape(x.shape[1], -1).T.numpy() for x in (found.mean, found.log2_scale, found.coupling)]
    return 64 * flat[0], 32 + 8 * flat[1], 64 * flat[2]


def float_belief(outputs, step, path, direct, z_k):
    """The belief of a part of head outputs (N, 12, h, w), as the loss makes it."""
    if direct:
        return direct_belief(outputs, 1)
    if step.top:
        return direct_belief(outputs, path.delta(step.k - 1))
    return fused_belief(outputs, path, step.k, z_k)


@pytest.mark.parametrize(
    ("scale", "slot", "direct"),
    [(*c, False) for c in CASES if c[1] != 5] + [(*c, True) for c in CASES if c[1] in TOPS],
)
def test_belief_and_integers_agree_within_rounding(engine, scale, slot, direct):
    """The float belief of the integer network's own outputs: half a unit each, and what the table rounds."""
    step, path, given, (sums, linear, exponents), bins = integer_bins(engine, scale, slot, direct)
    outputs = torch.from_numpy(sums / 2.0 ** (exponents + 5)).permute(2, 0, 1)[None]
    outputs[:, 0:3] += torch.from_numpy(linear)[None] / 2**LINEAR_BITS
    z_k = given.z_k.to(torch.float64)
    mean, scale_index, coupling = parameters(float_belief(outputs, step, path, direct, z_k))
    fused = not (step.top or direct)
    delta = 1 if direct else path.delta(step.k - 1)
    # fused: the prior's index is rounded (an eighth of an octave of s moves omega by 0.022 at most) and
    # omega to 16 bits
    prior = outputs[0, 0:3].reshape(3, -1).T.numpy() * 4
    apart = np.abs(z_k[0].reshape(3, -1).T.numpy() - prior) / delta * 64
    slack = 0.023 * (1 - path.retention(step.k)) * apart if fused else 0
    assert (np.abs(mean - bins.mean) <= 0.5 + slack + 1e-6).all()
    assert np.abs(scale_index - bins.scale).max() <= (1.05 if fused else 0.5) + 1e-6
    assert np.abs(scale_index - bins.scale).mean() < 0.35
    assert np.abs(coupling - bins.coupling).max() <= 0.5 + 1e-6
    assert bins.mean.std() > 4
    assert len(np.unique(bins.scale)) > 3


@pytest.mark.parametrize(("scale", "slot"), CASES)
def test_float_parent_and_integers_are_close(engine, scale, slot):
    """Rounding weights and activations moves means and scales by little of what they matter."""
    direct = slot == 5
    step, path, given, _, bins = integer_bins(engine, scale, slot, direct)
    outputs = model_support.load_tiny_float().evaluate(given.raw, scale, slot)
    part = outputs[:, PART:] if direct else outputs[:, :PART]
    mean, scale_index, _ = parameters(float_belief(part, step, path, direct, given.z_k.to(torch.float32)))
    sigma = 2.0 ** ((bins.scale.astype(float) - 32) / 8)
    apart = (mean - bins.mean) / 64 / sigma
    assert np.sqrt((apart**2).mean()) < 0.08
    assert np.abs(scale_index - bins.scale).mean() < 0.6


@pytest.mark.parametrize(("scale", "k"), [(0, 1), (0, 2), (1, 1), (1, 2)])
def test_fusion_tables_are_bayes_rule(tiny_model, scale, k):
    """The integers of the model file against the float rule, for a prior of every index."""
    path = tiny_model.path.band(scale, 0)
    table = tiny_model.fusion(tiny_model.row(scale, k - 1))
    np.testing.assert_array_equal(table, fusion_table(path, k))
    outputs = torch.zeros(1, PART, 1, 128, dtype=torch.float64)
    outputs[0, 3:6] = torch.arange(128) / 16 - 3
    b = fused_belief(outputs, path, k, torch.full((1, 3, 1, 128), 64.0, dtype=torch.float64))
    delta = path.delta(k - 1)
    np.testing.assert_allclose(table[0] / 65536, b.mean[0, 0, 0].numpy() * delta / 64, atol=1e-5)
    index = 32 + 8 * b.log2_scale[0, 0, 0].numpy()
    np.testing.assert_allclose((table[1] / 256).clip(0), index, atol=1 / 500)
    assert (np.diff(table[0]) >= 0).all()
    assert (np.diff(table[1]) >= 0).all()


def test_positions_that_do_not_exist_are_left_out(engine):
    _, _, _, _, whole = integer_bins(engine, 0, 1)
    _, _, _, _, part = integer_bins(engine, 0, 1, shape=(47, 40))
    assert part.mean.shape == (47 * 40, 3)
    for name in ("mean", "scale", "coupling"):
        want = getattr(whole, name).reshape(48, 48, 3)[:47, :40].reshape(-1, 3)
        np.testing.assert_array_equal(getattr(part, name), want)
    assert integer_bins(engine, 0, 1, shape=(0, 40))[4].mean.shape == (0, 3)


def test_grey_images_have_one_component(engine):
    _, _, given, _, bins = integer_bins(engine, 0, 0, components=1)
    assert bins.mean.shape == bins.scale.shape == (48 * 48, 1)
    assert not given.z_k[:, 1:].any()
    x = np.ascontiguousarray(given.d[0, :1].numpy().reshape(1, -1).T)
    assert (intervals(x, bins)[1] > 0).all()


def test_tables_of_level_0_are_the_mixtures_of_the_row(engine):
    _, _, _, _, data = integer_bins(engine, 0, 0)
    _, _, _, _, latent = integer_bins(engine, 0, 1)
    _, _, _, _, direct = integer_bins(engine, 0, 2, direct=True)
    np.testing.assert_array_equal(latent.tables, np.stack([gaussian_table()] * 3))
    assert (data.tables != latent.tables).any()
    assert (direct.tables != data.tables).any()
    conditionals = Conditionals(engine.model, 3)
    np.testing.assert_array_equal(conditionals.mixture_tables(0, False), data.tables)
    np.testing.assert_array_equal(conditionals.mixture_tables(2, True), direct.tables)


@pytest.mark.parametrize("scale", [0, 1])
@pytest.mark.parametrize("band", [0, 1])
@pytest.mark.parametrize("component", [0, 1])
def test_ranges_hold_the_farthest_latents(tiny_model, scale, band, component):
    """From the ends of a band, each q pushed to the end of its window, the way up stays in range."""
    path = tiny_model.path.band(scale, band)
    conditionals = Conditionals(tiny_model, 1)
    least, count = detail_range(BAND_KEYS[band], component)
    for sign, d in ((-1, least), (1, least + count - 1)):
        z = d
        for k in range(1, path.evaluations):
            q = conditionals.posterior(path, k, np.array([[z]], np.int32))
            assert q.mean[0, 0] == 64 * z // path.delta(k)
            assert q.mean[0, 0] * path.delta(k) == 64 * z
            assert q.window >= 8 * path.levels[k - 1].own_sigma / path.delta(k)
            x = (int(q.mean[0, 0]) >> 6) + sign * q.window
            intervals(np.array([[x]], np.int32), q)
            low, number = value_range(path, k, band, 3)
            assert low[component] <= x < low[component] + number[component]
            assert abs(x * path.delta(k) - d) <= path.spread(k)
            z = x * path.delta(k)


def test_ranges_of_the_data_are_those_of_images(tiny_model):
    for band, key in enumerate(BAND_KEYS):
        low, count = value_range(tiny_model.path.band(0, band), 0, band, 3)
        assert [(int(a), int(b)) for a, b in zip(low, count, strict=True)] == [
            detail_range(key, c) for c in range(3)
        ]


def test_posterior_is_centred_on_the_level_below(tiny_model):
    path = tiny_model.path.band(0, 0)
    z = np.array([[-3, 0, 510]], np.int32)
    bins = Conditionals(tiny_model, 3).posterior(path, 2, z)
    assert bins.mean.tolist() == [[-24, 0, 4080]]  # 64 z / 8
    assert bins.scale.tolist() == [[33] * 3]
    assert not bins.coupling.any()
    _, freq = intervals(np.array([[0, 0, 64]], np.int32), bins)
    assert freq[0, 1] > freq[0, 0]


def test_names_of_bands():
    assert [band_name(0, b) for b in range(3)] == [f"0/{b}" for b in BANDS]
    assert band_name(11, 2) == "11/HH"
