"""The float graph: what it reads, what it folds, how far it sees, which parameters an evaluation uses."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests import model_support
from vdmcompress.exact import PART
from vdmcompress.head import COUPLING_LIMIT, LOG2_SCALE_RANGE, direct_belief, fused_belief
from vdmcompress.network import ACTIVATION_TOP, Denoiser, clip, differences, raw_features, split_signs
from vdmcompress.path import BandPath, Level

tiny_model = model_support.tiny_model


def integers(shape, reach, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-reach, reach + 1, shape, generator=generator, dtype=torch.int32)


def test_differences_are_the_written_formula():
    ll = integers((2, 3, 5, 4), 255)
    got = differences(ll)
    assert got.dtype == torch.int32
    assert got.shape == (2, 6, 5, 4)
    for y in range(5):
        for x in range(4):
            left, upper = ll[:, :, y, max(x - 1, 0)], ll[:, :, max(y - 1, 0), x]
            assert torch.equal(got[:, :3, y, x], ll[:, :, y, x] - left)
            assert torch.equal(got[:, 3:, y, x], ll[:, :, y, x] - upper)


def test_differences_are_blind_to_the_level_and_see_slopes():
    ll = integers((1, 1, 6, 7), 100)
    assert torch.equal(differences(ll), differences(ll + 50))
    ramp = (5 * torch.arange(4, dtype=torch.int32)).expand(1, 1, 3, 4)
    assert differences(ramp)[0, 0].tolist() == 3 * [[0, 5, 5, 5]]
    assert not differences(ramp)[0, 1].any()
    turned = differences(ramp.transpose(2, 3))
    assert turned[0, 1].tolist() == [3 * [v] for v in (0, 5, 5, 5)]
    assert not turned[0, 0].any()


def test_features_are_signs_apart_and_saturated():
    raw = (
        torch.tensor([-700, -255, -3, 0, 9, 255, 300], dtype=torch.int32).view(1, 1, 1, 7).expand(1, 15, 1, 7)
    )
    parts = split_signs(raw)
    assert parts[0, 0, 0].tolist() == [0, 0, 0, 0, 9, 255, 255]
    assert parts[0, 15, 0].tolist() == [255, 255, 3, 0, 0, 0, 0]


def test_order_of_the_raw_inputs():
    ll, hl, lh = (torch.full((1, 3, 2, 2), v, dtype=torch.int32) for v in (90, 2, 3))
    ll[:, :, 1] += 7
    ll[:, :, :, 1] += 5
    raw = raw_features(ll, hl, lh)
    assert raw.shape == (1, 15, 2, 2)
    assert raw[0, 0:3].tolist() == 3 * [[[0, 5], [0, 5]]]  # along x
    assert raw[0, 3:6].tolist() == 3 * [[[0, 0], [7, 7]]]  # along y
    assert raw[0, 6:9].unique().tolist() == [2]
    assert raw[0, 9:12].unique().tolist() == [3]
    assert torch.equal(raw[:, 12:], ll)


def test_clip_is_the_range_of_eight_bits():
    assert ACTIVATION_TOP == 255 / 32
    assert clip(torch.tensor([-1.0, 0.5, 9.0])).tolist() == [0.0, 0.5, ACTIVATION_TOP]


@pytest.mark.parametrize(("scale", "slot"), [(0, 0), (0, 4), (1, 2), (3, 5)])
def test_evaluation_equals_the_graph_of_the_docstring(scale, slot):
    """x + B(clip(A(clip(x)) (1+g) + h)) + c without folding, with the parameters picked by hand."""
    model = model_support.load_tiny_float()
    slots = model.config.slots
    raw = integers((1, 15, 9, 8), 60, seed=slot)
    s, row = min(scale, 1) * slots + slot, min(scale, model.config.scales - 1) * slots + slot
    x = F.conv2d(split_signs(raw) / 16, model.stem + model.stem_own[s], model.stem_bias[row], padding=1)
    for i in range(model.config.blocks):
        a = F.conv2d(clip(x), model.a[i], padding=1)
        gain = (1 + model.gain[s, i]).view(1, -1, 1, 1)
        t = a * gain + model.shift[row, i].view(1, -1, 1, 1)
        x = x + F.conv2d(clip(t), model.b[i], padding=1) + model.offset[row, i].view(1, -1, 1, 1)
    y = torch.einsum("oc,nchw->nohw", model.head[s], clip(x)) + model.head_bias[row].view(1, -1, 1, 1)
    lin = F.conv2d(raw[:, :12].to(torch.float32), model.linear[row], padding=1)
    y[:, 0:3] += lin[:, :3]
    y[:, 12:15] += lin[:, 3:]
    torch.testing.assert_close(model.evaluate(raw, scale, slot), y, atol=2e-4, rtol=1e-4)


def test_evaluations_have_parameters_of_their_own():
    """At scale 0 every slot, at coarser ones every slot but not every scale."""
    model = model_support.load_tiny_float()
    raw = integers((1, 15, 6, 6), 40)
    outputs = {(s, k): model.evaluate(raw, s, k) for s in range(4) for k in range(model.config.slots)}
    for slot in range(model.config.slots):
        assert not torch.equal(outputs[0, slot], outputs[1, slot])
        assert torch.equal(outputs[1, slot], outputs[3, slot])
        for other in range(slot):
            assert not torch.equal(outputs[0, slot], outputs[0, other])


def test_rows_and_weight_sets_are_those_of_the_model_file(tiny_model):
    """The indices that training uses are the ones by which the integer graph picks its tensors."""
    config = model_support.tiny_config().network
    assert tiny_model.slots == config.slots == 6
    for scale in range(5):
        for slot in range(config.slots):
            row = config.row(scale, slot)
            assert tiny_model.row(scale, slot) == row
            stem = tiny_model.evaluation(row).stem
            np.testing.assert_array_equal(
                stem.weights, tiny_model.tensors["stem"][config.weight_set(scale, slot)]
            )
            np.testing.assert_array_equal(stem.bias, tiny_model.tensors["stem_bias"][row])


def test_reach_of_the_network(tiny_model):
    """One input position alters outputs up to reach away, and none beyond."""
    model = model_support.load_tiny_float()
    reach = tiny_model.evaluation(0).reach
    assert reach == 2 * model.config.blocks + 1
    raw = torch.zeros(1, 15, 1, 41, dtype=torch.int32)
    met = 0
    for value in (-200, -20, 20, 200):
        other = raw.clone()
        other[:, :, 0, 20] = value
        touched = (
            (model.evaluate(raw, 0, 0) != model.evaluate(other, 0, 0)).any(1).flatten().nonzero().flatten()
        )
        assert int(touched.min()) >= 20 - reach
        assert int(touched.max()) <= 20 + reach
        met = max(met, int(touched.max()) - 20)
    assert met == reach


def test_first_guess_already_denoises():
    """Before any training Bayes' rule shrinks a noisy band towards the slope of LL, as Wiener would."""
    config = model_support.tiny_config().network
    model = Denoiser(config)
    with torch.no_grad():
        model.head.zero_()
    generator = torch.Generator().manual_seed(9)
    d = torch.randn(1, 3, 40, 40, generator=generator) * 4
    for step in config.path.steps[:2]:
        path = config.path.band(0, step.band)
        z = d + torch.randn(d.shape, generator=generator) * path.variance(step.k) ** 0.5
        z_k = z.round().to(torch.int32)
        blank = torch.zeros_like(z_k)
        out = model.evaluate(raw_features(blank, z_k, blank), 0, step.slot)
        delta, r = path.delta(step.k - 1), path.retention(step.k)
        mean = fused_belief(out[:, :PART], path, step.k, z_k.float()).mean * delta
        error = ((mean - (r * z_k + (1 - r) * d)) ** 2).mean((0, 2, 3))
        plain = ((1 - r) ** 2 * (z_k - d) ** 2).mean((0, 2, 3))
        assert (error < 0.97 * plain).all(), (error, plain)


def test_first_guess_follows_the_slope_of_ll():
    """HL is high along x, LH along y: rising LL means a negative difference, left minus right."""
    model = Denoiser(model_support.tiny_config().network).requires_grad_(False)
    model.head.zero_()
    ramp = (4 * torch.arange(12, dtype=torch.int32)).expand(1, 3, 12, 12).contiguous()
    blank = torch.zeros_like(ramp)
    raw = raw_features(ramp, blank, blank)
    turned = raw_features(ramp.transpose(2, 3).contiguous(), blank, blank)
    for slot, turn in ((2, False), (4, True)):
        given = turned if turn else raw
        inner = direct_belief(model.evaluate(given, 0, slot)[:, PART:], 1).mean[:, :, 2:-2, 2:-2]
        assert float(inner.max()) < 0
        other = raw if turn else turned
        inner = direct_belief(model.evaluate(other, 0, slot)[:, PART:], 1).mean[:, :, 2:-2, 2:-2]
        assert float(inner.abs().max()) < 1e-4


def test_direct_belief_has_the_units_of_the_head():
    out = torch.zeros(1, PART, 1, 1)
    assert float(direct_belief(out, 1).log2_scale[0, 0]) == 2.0
    assert float(direct_belief(out, 8).log2_scale[0, 0]) == -1.0
    out[:, 0], out[:, 3], out[:, 6] = 1.0, 1.0, 1.0
    b = direct_belief(out, 8)
    assert (float(b.mean[0, 0]), float(b.log2_scale[0, 0]), float(b.coupling[0, 0])) == (0.5, 1.0, 1.0)
    out[:, 3:6], out[:, 6:9] = 99.0, -99.0
    b = direct_belief(out, 1)
    assert b.log2_scale.unique().tolist() == [LOG2_SCALE_RANGE[1]]
    assert b.coupling.unique().tolist() == pytest.approx([-COUPLING_LIMIT])


PATH = BandPath((Level(1, 34), Level(3, 37)))


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize(("mean", "octaves"), [(3.0, 1.0), (-5.0, 3.5), (0.5, -1.0)])
def test_fused_belief_is_bayes_on_a_line(k, mean, octaves):
    """p(z_{k-1} | z_k) with d ~ N(m, s^2), integrated numerically over d and z_{k-1}."""
    delta, z_k = PATH.delta(k - 1), 12.0
    out = torch.zeros(1, PART, 1, 1, dtype=torch.float64)
    out[:, 0], out[:, 3] = mean / 4, (octaves - 2) / 2
    b = fused_belief(out, PATH, k, torch.full((1, 3, 1, 1), z_k, dtype=torch.float64))
    s, below, above = 2.0**octaves, PATH.variance(k - 1), PATH.variance(k)
    d = np.linspace(mean - 9 * s, mean + 9 * s, 4001)
    weight = np.exp(-((d - mean) ** 2) / (2 * s * s) - (z_k - d) ** 2 / (2 * above))
    weight /= weight.sum()
    r = PATH.retention(k)
    centre = r * z_k + (1 - r) * d  # of q(z_{k-1} | z_k, d), whose variance is below (1 - r)
    want = (weight * centre).sum()
    variance = (weight * (centre - want) ** 2).sum() + below * (1 - r)
    assert float(b.mean[0, 0]) * delta == pytest.approx(want, abs=1e-6)
    assert float(b.log2_scale[0, 0]) == pytest.approx(0.5 * np.log2(variance) - np.log2(delta), abs=1e-6)


def test_the_correction_moves_the_fused_scale_by_octaves():
    out = torch.zeros(1, PART, 1, 1)
    z_k = torch.full((1, 3, 1, 1), 9.0)
    one = fused_belief(out, PATH, 1, z_k)
    out[:, 9:12] = 0.75
    two = fused_belief(out, PATH, 1, z_k)
    torch.testing.assert_close(two.log2_scale, one.log2_scale + 0.75)
    assert torch.equal(one.mean, two.mean)
    out[:, 9:12] = -99
    assert fused_belief(out, PATH, 1, z_k).log2_scale.unique().tolist() == [LOG2_SCALE_RANGE[0]]
