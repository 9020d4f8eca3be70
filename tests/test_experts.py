"""Experts: the split changes nothing, and each learns from its own evaluation."""

import itertools

import numpy as np
import pytest
import torch

from tests import phase_support
from tests.model_support import synthetic
from tests.phase_support import SLOTS, inputs, phase, shaken
from vdmcompress.errors import UsageError
from vdmcompress.network import Denoiser
from vdmcompress.train.config import load_config
from vdmcompress.train.data import stack_batch
from vdmcompress.train.experts import Experts
from vdmcompress.train.export import export, export_tensors
from vdmcompress.train.objective import batch_loss
from vdmcompress.train.quantise import quantise
from vdmcompress.train.start import load_graph

folder, config = phase_support.folder, phase_support.config


def test_experts_compute_what_the_shared_trunk_computes(config):
    shared = shaken(Denoiser(config.network))
    experts = Experts.split(shared)
    raw = inputs()
    for scale, slot in itertools.product(range(3), SLOTS):
        assert torch.equal(experts.evaluate(raw, scale, slot), shared.evaluate(raw, scale, slot))
    assert torch.equal(experts.mixture, shared.mixture)
    a, b = export_tensors(shared), export_tensors(experts)
    for name in a.keys() - {"b", "b_exponent", "a", "a_exponent"}:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    np.testing.assert_array_equal(np.broadcast_to(a["b"], b["b"].shape), b["b"])
    np.testing.assert_array_equal(np.broadcast_to(a["b_exponent"], b["b_exponent"].shape), b["b_exponent"])


def test_an_expert_learns_from_its_own_evaluation_only(config):
    experts = Experts.split(Denoiser(config.network))
    before = {k: v.clone() for k, v in experts.state_dict().items()}
    batch = stack_batch([synthetic(0)[:32, :32]], 0)
    batch_loss(experts, batch, [1], [1.0], 0.1, torch.Generator().manual_seed(1), backward=True)
    with torch.no_grad():
        for p in experts.parameters():
            if p.grad is not None:
                p -= 0.1 * p.grad
    raw = inputs()
    old = Experts(config.network)
    old.load_state_dict(before)
    changed = {
        (scale, slot)
        for scale, slot in itertools.product((0, 1), SLOTS)
        if not torch.equal(experts.evaluate(raw, scale, slot), old.evaluate(raw, scale, slot))
    }
    assert changed == {(0, 1)}


def test_exported_experts_have_their_own_b(config, tmp_path):
    """The integer graph of each evaluation is made of its own expert."""
    experts = shaken(Experts.split(Denoiser(config.network)))
    model = export(experts, "few", tmp_path / "few.vdm.safetensors")
    for scale, slot in itertools.product((0, 1), SLOTS):
        graph = model.evaluation(scale * 6 + slot)
        w = experts.weights(scale, slot, torch.float64)
        for i, pair in enumerate(graph.blocks):
            for layer, wanted in zip(pair, (w.a[i], w.b[i]), strict=True):
                integers, exponents = quantise(wanted.numpy())
                np.testing.assert_array_equal(layer.weights, integers)
                np.testing.assert_array_equal(layer.exponents, exponents)


def test_experts_are_split_once(folder, tmp_path):
    phase("experts", folder, tmp_path)
    with pytest.raises(UsageError, match="is split into experts already"):
        phase("experts", folder, tmp_path / "again", start=tmp_path / "experts.pt")
    assert isinstance(load_graph(tmp_path / "experts.pt", load_config(folder / "few.toml").network), Experts)
