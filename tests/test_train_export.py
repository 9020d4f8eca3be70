"""From float to integers: weights, mixtures, and the committed pair of the tiny model."""

import numpy as np
import pytest
import torch

from tests import model_support
from vdmcompress.diffusion import mixture_weights
from vdmcompress.errors import ModelMissingError
from vdmcompress.exact import SUM_LIMIT, WEIGHT_LIMIT
from vdmcompress.model_file import read_model
from vdmcompress.network import Denoiser
from vdmcompress.train.export import export, mixture16
from vdmcompress.train.quantise import quantise


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
        model.head_bias[3, 2] = 1e3
    path = tmp_path / "bad.vdm.safetensors"
    with pytest.raises(ModelMissingError, match="row 3 head can reach a sum"):
        export(model, "bad", path)
    assert not path.exists()
