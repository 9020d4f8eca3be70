"""From float to integers: weights, mixtures, and the committed pair of the tiny model."""

import dataclasses

import numpy as np
import pytest
import torch

from tests import model_support
from vdmcompress.backends.cpu_float import FloatBackend
from vdmcompress.diffusion import mixture_weights
from vdmcompress.errors import ModelMissingError
from vdmcompress.exact import SUM_LIMIT, WEIGHT_LIMIT
from vdmcompress.model_file import Model, read_model
from vdmcompress.network import Denoiser, split_signs
from vdmcompress.train.export import export, export_tensors, mixture16
from vdmcompress.train.quantise import quantise
from vdmcompress.train.rounding import rounded_head


def test_quantised_weights_are_near_and_use_their_range():
    rng = np.random.default_rng(6)
    weights = rng.normal(0, 1, (6, 8, 3, 3)) * np.array([0.02, 0.3, 1.0, 5.0, 30.0, 0.0]).reshape(6, 1, 1, 1)
    weights[4] = np.clip(weights[4], -63, 63)
    integers, exponents = quantise(weights)
    assert integers.dtype == exponents.dtype == np.int8
    assert np.abs(integers.astype(int)).max() <= WEIGHT_LIMIT
    step = 2.0 ** -exponents.astype(float).reshape(-1, 1, 1, 1)
    assert (np.abs(integers * step - weights) <= step / 2 + 1e-12).all()
    for i in range(4):
        assert np.abs(integers[i].astype(int)).max() > WEIGHT_LIMIT // 2
    assert not integers[5].any()
    with pytest.raises(ValueError, match="a weight of 64.0 is too large for 7 bits"):
        quantise(np.full((1, 1, 1, 1), 64.0))


def test_large_sums_lower_the_exponent():
    weights = np.full((2, 200, 3, 3), 1.0)
    weights[1, 100:] = 0
    integers, exponents = quantise(weights)
    sums = 255 * np.abs(integers.astype(int)).sum((1, 2, 3))
    assert (sums < SUM_LIMIT // 2).all()
    assert exponents[0] == 4
    assert exponents[1] == 5


def test_large_biases_lower_the_exponent():
    """Tiny weights alone would take exponent 15; a bias of 100 in units of 2**-20 does not fit the sums."""
    weights = np.full((4, 8, 3, 3), 1e-4)
    peak = np.array([0.0, 15.9, 16.0, 100.0])
    integers, exponents = quantise(weights, peak, 5)
    assert exponents.tolist() == [15, 15, 14, 12]
    for bits, e, bias in zip(integers.reshape(4, -1).astype(int), exponents.astype(int), peak, strict=True):
        assert 255 * np.abs(bits).sum() + bias * 2.0 ** (e + 5) < SUM_LIMIT
    with pytest.raises(ValueError, match="with a bias of 524288.0 sum to 16777216 or more"):
        quantise(weights, np.full(4, 2.0**19), 5)


def saturated(model):
    """A bias that is large beside tiny weights in every layer, at the last row only: others share weights."""
    with torch.no_grad():
        for bias, weights in (
            (model.stem_bias, [model.stem, model.stem_own]),
            (model.shift, [*model.a]),
            (model.offset, [*model.b]),
            (model.head_bias, [model.head]),
        ):
            bias[-1] += 700.0
            for w in weights:
                w *= 1e-3
    return model


def test_export_does_not_fail_on_a_large_bias(tmp_path):
    """The file keeps its bounds and the bias its value."""
    model = saturated(Denoiser(model_support.tiny_config().network))
    path = tmp_path / "large.vdm.safetensors"
    made = export(model, "large", path)
    assert read_model(path).hash8 == made.hash8
    last = len(model.head_bias) - 1
    for name, value, bits in (
        ("stem", model.stem_bias, 4),
        ("a", model.shift, 5),
        ("b", model.offset, 5),
        ("head", model.head_bias, 5),
    ):
        exponents = made.tensors[f"{name}_exponent"][-1].astype(float)
        assert exponents.max() < 15  # what the tiny weights alone would not need
        coded = made.tensors[f"{name}_bias"][last] / 2.0 ** (exponents + bits)
        np.testing.assert_allclose(coded, value[last].detach().numpy(), atol=1e-3)


def test_the_rounding_phase_counts_biases_of_other_evaluations_too():
    """A row whose own biases are small has the exponents that another row with the same weights needs."""
    three = dataclasses.replace(model_support.tiny_config().network, scales=3)
    model = saturated(Denoiser(three)).requires_grad_(False)
    config, tensors = model.config, export_tensors(model)
    integer = Model("x", b"", config.path, config.width, config.blocks, config.scales, tensors)
    raw = torch.randint(-90, 90, (1, 15, 9, 8), generator=torch.Generator().manual_seed(2))
    u = split_signs(raw)
    backend, slot = FloatBackend(), config.slots - 1
    for scale in (0, 1, 2):
        graph = integer.evaluation(config.row(scale, slot))
        sums = backend.run(backend.prepare(graph), u[0].permute(1, 2, 0).to(torch.uint8).contiguous().numpy())
        wanted = sums.astype(np.float64) * 2.0 ** -(graph.head.exponents.astype(float) + 5)
        weights = model.weights(scale, slot, torch.float64)
        got = rounded_head(u.to(torch.float32), weights, model.bias_peaks(scale, slot))
        np.testing.assert_array_equal(got[0].permute(1, 2, 0).double().numpy(), wanted)


def test_integer_mixtures_sum_and_stay_near():
    logits = torch.randn(5, 2, 3, 6, generator=torch.Generator().manual_seed(4)) * 4
    integers = mixture16(logits)
    assert (integers.sum(-1) == 65536).all()
    assert integers.min() >= 0
    assert integers[..., -1].min() >= 127  # 2**-9 of the widest
    assert np.abs(integers / 65536 - mixture_weights(logits.double()).numpy()).max() < 6 / 65536


def test_export_gives_the_committed_model(tmp_path):
    """The tiny model's two files belong together: exporting the float one gives the integers of the other."""
    made = export(model_support.load_tiny_float(), "tiny", tmp_path / "tiny.vdm.safetensors")
    committed = model_support.load_tiny()
    assert made.tensors.keys() == committed.tensors.keys()
    for name, tensor in committed.tensors.items():
        np.testing.assert_array_equal(made.tensors[name], tensor, err_msg=name)
    assert read_model(tmp_path / "tiny.vdm.safetensors").hash8 == made.hash8


def test_a_model_that_breaks_a_bound_is_not_written(tmp_path):
    model = Denoiser(model_support.tiny_config().network)
    with torch.no_grad():
        model.linear[3, 2, 5] = 100.0
    path = tmp_path / "bad.vdm.safetensors"
    with pytest.raises(ModelMissingError, match="row 3 linear predictor can reach"):
        export(model, "bad", path)
    assert not path.exists()
