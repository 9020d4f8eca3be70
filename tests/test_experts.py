"""Experts: the split changes nothing, and each learns from its own evaluation."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests import phase_support
from tests.model_support import synthetic
from tests.phase_support import SLOTS, inputs, phase, shaken
from vdmcompress.errors import UsageError
from vdmcompress.network import Denoiser, evaluate
from vdmcompress.path import NoisePath
from vdmcompress.train.config import load_config
from vdmcompress.train.data import stack_batch
from vdmcompress.train.experts import Experts, ExpertsTrainer
from vdmcompress.train.export import export, export_tensors
from vdmcompress.train.objective import batch_loss
from vdmcompress.train.quantise import quantise
from vdmcompress.train.start import load_graph

TOPS = [2, 4, 5]
"""Slots of the tops: their direct predictions are what the default plan codes scale 0 with."""

folder, config = phase_support.folder, phase_support.config


def test_experts_compute_what_the_shared_trunk_computes(config):
    shared = shaken(Denoiser(config.network))
    experts = Experts.split(shared)
    raw = inputs()
    for scale, slot in itertools.product(range(3), SLOTS):
        assert torch.equal(experts.evaluate(raw, scale, slot), shared.evaluate(raw, scale, slot))
    assert torch.equal(experts.mixture, shared.mixture)
    a, b = export_tensors(shared), export_tensors(experts)
    for name in a.keys() - {"b", "b_exponent"}:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    assert b["b_set"].max() + 1 == len(b["b"]) == 1 + len(TOPS)
    np.testing.assert_array_equal(np.broadcast_to(a["b"], b["b"].shape), b["b"])
    np.testing.assert_array_equal(np.broadcast_to(a["b_exponent"], b["b_exponent"].shape), b["b_exponent"])


@pytest.mark.parametrize("slot", SLOTS)
def test_an_expert_learns_from_its_own_evaluation_only(config, slot):
    """Blocks of a top of scale 0 are its own; what is no top learns for all that share the trunk."""
    experts = Experts.split(Denoiser(config.network))
    before = {k: v.clone() for k, v in experts.state_dict().items()}
    batch = stack_batch([synthetic(0)[:32, :32]], 0)
    batch_loss(experts, batch, [slot], [1.0], 0.1, torch.Generator().manual_seed(1), backward=True)
    with torch.no_grad():
        for p in (*experts.a, *experts.b):
            if p.grad is not None:
                p -= 0.1 * p.grad
    raw = inputs()
    old = Experts(config.network)
    old.load_state_dict(before)
    changed = {
        (scale, other)
        for scale, other in itertools.product((0, 1), SLOTS)
        if not torch.equal(experts.evaluate(raw, scale, other), old.evaluate(raw, scale, other))
    }
    own = {(0, slot)} if slot in TOPS else {(s, o) for s in (0, 1) for o in SLOTS if s or o not in TOPS}
    assert changed == own


def test_every_step_of_the_phase_belongs_to_one_evaluation(config):
    trainer = ExpertsTrainer(config, torch.device("cpu"), Experts(config.network))
    chance, rng = np.array([0.1, 0.2, 0.3, 0.4]), np.random.default_rng(1)
    drawn = np.array([trainer.draw(chance, 3, rng) for _ in range(4000)])
    assert (drawn == drawn[:, :1]).all()
    np.testing.assert_allclose(np.bincount(drawn[:, 0]) / 4000, chance, atol=0.03)


def test_exported_experts_have_their_own_b(config, tmp_path):
    """The integer graph of each evaluation is made of its own expert."""
    experts = shaken(Experts.split(Denoiser(config.network)))
    with torch.no_grad():
        for i, b in enumerate(experts.b):
            b *= 1 + 0.1 * i
    model = export(experts, "few", tmp_path / "few.vdm.safetensors")
    for scale, slot in itertools.product((0, 1), SLOTS):
        graph = model.evaluation(scale * 6 + slot)
        w = experts.weights(scale, slot, torch.float64)
        for i, pair in enumerate(graph.blocks):
            for layer, wanted in zip(pair, (w.a[i], w.b[i]), strict=True):
                integers, exponents = quantise(wanted.numpy())
                np.testing.assert_array_equal(layer.weights, integers)
                np.testing.assert_array_equal(layer.exponents, exponents)


def test_experts_of_a_path_without_latents_are_exported(config, tmp_path):
    """There the first evaluation of all is a top, and the trunk is used by the coarser scales only."""
    network = replace(config.network, path=NoisePath.from_lists([[[], [], []]]))
    experts = shaken(Experts.split(Denoiser(network)))
    with torch.no_grad():
        for i, b in enumerate(experts.b):
            b *= 1 + 0.1 * i
    model = export(experts, "few", tmp_path / "few.vdm.safetensors")
    assert model.tensors["b_set"].tolist() == [0, 1, 2, 3, 3, 3]
    for scale, slot in itertools.product((0, 1), range(3)):
        graph, w = model.evaluation(scale * 3 + slot), experts.weights(scale, slot, torch.float64)
        for (_, layer), wanted in zip(graph.blocks, w.b, strict=True):
            np.testing.assert_array_equal(layer.weights, quantise(wanted.numpy())[0])


def test_experts_go_on_from_experts(folder, tmp_path):
    phase("experts", folder, tmp_path)
    graph = load_graph(tmp_path / "experts.pt", load_config(folder / "few.toml").network)
    assert isinstance(graph, Experts)
    phase("experts", folder, tmp_path / "again", start=tmp_path / "experts.pt")
    assert isinstance(load_graph(tmp_path / "again" / "experts.pt", graph.config), Experts)


def test_a_step_that_can_be_recorded_is_the_step(config):
    """Without a GPU nothing is recorded, but the call is the same: gradients, clipping, both optimisers."""
    config = replace(config, train=replace(config.train, batch=1, steps=50, bfloat16=False))
    recorded = replace(config, train=replace(config.train, recorded=True))
    trainers = [ExpertsTrainer(c, torch.device("cpu"), Experts(c.network)) for c in (config, recorded)]
    assert [t.calls is None for t in trainers] == [True, False]
    batch = stack_batch([synthetic(0)[:32, :32]], 0)
    for step in range(3):
        found = []
        for trainer in trainers:
            trainer.draw = lambda chance, samples, rng: np.full(samples, TOPS[-1])
            found += trainer.train_step(batch)
        (bits, _), (other, _) = (info.terms[TOPS[-1]] for info in found)
        assert bits == pytest.approx(other, abs=1e-5), step
        assert found[0].norm == pytest.approx(found[1].norm, rel=1e-4)
    for one, other in zip(*(t.model.parameters() for t in trainers), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    moved = zip(trainers[0].model.parameters(), Experts(config.network).parameters(), strict=True)
    assert any((a != b).any() for a, b in moved)


def test_rates_that_a_recording_would_freeze_are_refused(config, tmp_path):
    trainers = [
        ExpertsTrainer(replace(config, train=replace(config.train, recorded=r)), torch.device("cpu"))
        for r in (False, True)
    ]
    for number, trainer in enumerate(trainers):
        torch.save(trainer.state(), tmp_path / f"{number}.pt")
    trainers[1].load(tmp_path / "1.pt")
    trainers[0].load(tmp_path / "0.pt")
    with pytest.raises(UsageError, match="recorded"):
        trainers[1].load(tmp_path / "0.pt")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
def test_a_recorded_step_is_the_step(config):
    """Steps after the second are played: the loss falls as without recording."""
    train = replace(config.train, batch=1, steps=50, bfloat16=False)
    device, batch = torch.device("cuda"), stack_batch([synthetic(0)[:32, :32]], 0)
    found = []
    for recorded in (False, True):
        run = replace(config, train=replace(train, recorded=recorded))
        trainer = ExpertsTrainer(run, device, Experts(run.network))
        trainer.model.graph = evaluate
        trainer.draw = lambda chance, samples, rng: np.full(samples, TOPS[-1])
        steps = [info for _ in range(6) for info in trainer.train_step(batch)] + trainer.settle()
        found.append([info.terms[TOPS[-1]][0] for info in steps])
    assert found[0] == pytest.approx(found[1], rel=1e-3)
    assert found[0][-1] < found[0][0]
