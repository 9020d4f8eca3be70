"""The rounding phase computes what the integer network computes, and its gradients reach everything."""

import itertools

import numpy as np
import pytest
import torch

from tests import model_support, phase_support
from tests.model_support import synthetic
from tests.phase_support import SLOTS, inputs, noisy_band, shaken
from vdmcompress import kernels
from vdmcompress.backends.cpu_float import FloatBackend
from vdmcompress.conditionals import fusion_table
from vdmcompress.exact import PART
from vdmcompress.head import direct_belief, fused_belief
from vdmcompress.kernels import linear_predict
from vdmcompress.model_file import Model
from vdmcompress.network import Denoiser, evaluate, split_signs
from vdmcompress.train.data import stack_batch
from vdmcompress.train.experts import Experts
from vdmcompress.train.export import export_tensors
from vdmcompress.train.objective import batch_loss
from vdmcompress.train.quantise import channel_exponents, quantise, round_to, rounded_layer
from vdmcompress.train.rounding import Rounded, rounded_head
from vdmcompress.train.start import load_graph
from vdmcompress.train.validate import ValidationSet, bits_table

folder, config = phase_support.folder, phase_support.config


def draft(model):
    """The integer model of a float one, without a file."""
    cfg = model.config
    return Model("x", b"", cfg.path, cfg.width, cfg.blocks, cfg.scales, dict(export_tensors(model)))


@pytest.mark.parametrize("kind", ["shared", "experts"])
@pytest.mark.parametrize("strength", [0.05, 0.4])
def test_the_rounded_graph_is_the_integer_network(config, kind, strength):
    """Head outputs equal the reference path's integers exactly, saturated or not."""
    model = shaken(Denoiser(config.network), size=strength)
    model = Experts.split(model).requires_grad_(False) if kind == "experts" else model
    integer, backend, worst = draft(model), FloatBackend(), 0.0
    for seed, spread in ((1, 20), (2, 90), (3, 2000)):
        raw = inputs(seed=seed, spread=spread)
        u = split_signs(raw)
        for scale, slot in itertools.product((0, 1), SLOTS):
            graph = integer.evaluation(scale * 6 + slot)
            bytes_ = u[0].permute(1, 2, 0).to(torch.uint8).contiguous().numpy()
            sums = backend.run(backend.prepare(graph), bytes_)
            wanted = sums.astype(np.float64) * 2.0 ** -(graph.head.exponents.astype(float) + 5)
            weights = model.weights(scale, slot, torch.float64)
            got = rounded_head(u.to(torch.float32), weights, model.bias_peaks(scale, slot))
            np.testing.assert_array_equal(got[0].permute(1, 2, 0).double().numpy(), wanted)
            exact = evaluate(raw, model.weights(scale, slot))[0].permute(1, 2, 0).numpy()
            worst = max(worst, float(np.abs(exact - wanted).max()))
    assert worst > 0.01  # the float graph is another


def test_rounded_outputs_are_the_coders_parameters(config):
    """Scale indices and couplings of a rounded evaluation are those that the integer side makes of it."""
    model = shaken(Denoiser(config.network), size=0.03)
    integer, backend, raw = draft(model), FloatBackend(), inputs(spread=30)
    h, w = raw.shape[2:]
    for slot, step in enumerate(config.network.path.steps):
        path = config.network.path.band(0, step.band)
        graph = integer.evaluation(slot)
        u = split_signs(raw)[0].permute(1, 2, 0).to(torch.uint8).contiguous().numpy()
        sums = backend.run(backend.prepare(graph), u)[:, :, :PART]
        linear = np.empty((3, h, w), np.int32)
        linear_predict(raw[0].numpy().astype(np.int16), graph.linear[:3], 0, 0, linear)
        mean, scale = np.empty((h * w, 3), np.int32), np.empty((h * w, 3), np.uint8)
        coupling = np.empty((h * w, 3), np.int16)
        z = noisy_band(raw, step.band % 2)[0].numpy().astype(np.int16)
        fusion = np.zeros((2, 0), np.int32) if step.top else fusion_table(path, step.k)
        grid = path.levels[step.k - 2].grid if step.k > 1 else 0
        exponents = graph.head.exponents[:PART].astype(np.int64)
        kernels.conditionals(
            np.ascontiguousarray(sums), linear, exponents, z, fusion, grid, mean, scale, coupling, 0, h
        )
        outputs = Rounded(model).evaluate(raw, 0, slot)[:, :PART]
        delta = path.delta(step.k - 1)
        if step.top:
            b = direct_belief(outputs, delta)
        else:
            b = fused_belief(outputs, path, step.k, torch.from_numpy(z.astype(np.float32))[None])
        index = b.log2_scale[0].permute(1, 2, 0).reshape(-1, 3).numpy() * 8 + 32
        inner = (scale > 0) & (scale < 127)
        assert inner.mean() > 0.9
        room = 1e-3 if step.top else 0.51
        assert np.abs(index - scale)[inner].max() < room
        np.testing.assert_allclose(
            b.coupling[0].permute(1, 2, 0).reshape(-1, 3).numpy() * 64, coupling, atol=0.3
        )
        means = b.mean[0].permute(1, 2, 0).reshape(-1, 3).numpy()
        np.testing.assert_allclose(means, mean / 64, atol=0.02)


def test_rounding_to_a_grid_ties_to_even_and_lets_gradients_pass():
    x = torch.tensor([0.5, 1.5, 2.5, -0.5, 0.3], dtype=torch.float64, requires_grad=True)
    y = round_to(x, 1)
    assert y.tolist() == [0, 2, 2, 0, 0]
    (y * torch.arange(5)).sum().backward()
    assert x.grad.tolist() == [0, 1, 2, 3, 4]


def test_rounded_layers_are_what_the_export_writes():
    g = torch.Generator().manual_seed(3)
    weights = (torch.randn(6, 8, 3, 3, generator=g, dtype=torch.float64) * 0.3).requires_grad_()
    bias = torch.randn(6, generator=g, dtype=torch.float64).requires_grad_()
    coded, coded_bias = rounded_layer(weights, bias, bias.abs(), 5)
    integers, exponents = quantise(weights.detach().numpy())
    step = 2.0 ** -exponents.astype(np.float64)
    np.testing.assert_array_equal(coded.detach().numpy(), integers * step.reshape(-1, 1, 1, 1))
    np.testing.assert_array_equal(coded_bias.detach(), np.rint(bias.detach().numpy() * 32 / step) * step / 32)
    (coded.sum() + 2 * coded_bias.sum()).backward()
    assert (weights.grad == 1).all()
    assert (bias.grad == 2).all()


def test_exponents_at_the_edges_of_seven_bits():
    """63.49 is the largest weight of exponent 0; zero weights take the largest exponent."""
    values = torch.tensor([63.49, 63.49 / 2, 31.76, 1e-9, 0.0, 1.0], dtype=torch.float64)
    met = channel_exponents(values.view(-1, 1, 1, 1)).tolist()
    assert met == [0, 1, 0, 15, 15, 5]


def test_rounding_reaches_the_parameters_and_helps(folder, config):
    """The rounded loss has gradients for every parameter, and following them lowers it."""
    model = load_graph(folder / "direct" / "last.pt", config.network)
    with torch.no_grad():  # coarse weights: a large channel of the head beside small ones
        model.head += 0.3 * torch.randn(model.head.shape, generator=torch.Generator().manual_seed(1))
    batch = stack_batch([synthetic(i)[:32, :32] for i in range(3)], 0)
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(12):
        optimiser.zero_grad()
        met = batch_loss(
            Rounded(model), batch, [0, 3, 5], [1.0] * 3, 0.1, torch.Generator().manual_seed(1), backward=True
        )
        losses.append(sum(bits for bits, _ in met.values()))
        if len(losses) == 1:
            used = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
            assert used == {n for n, _ in model.named_parameters()}
        optimiser.step()
    assert losses[-1] < losses[0] - 0.05


def test_the_rounded_loss_is_near_the_float_one():
    model = model_support.load_tiny_float()
    images = ValidationSet.of([model_support.photo(128, 128, index=i) for i in range(2)], 64)
    whole, rounded = bits_table(model, images, 2), bits_table(Rounded(model), images, 2)
    assert rounded["bpd"] != whole["bpd"]
    assert rounded["bpd"] == pytest.approx(whole["bpd"], rel=0.01)


def test_sums_in_bfloat16_have_nearly_the_same_loss():
    model = Rounded(model_support.load_tiny_float())
    batch = stack_batch([synthetic(i)[:64, :64] for i in range(2)], 0)
    exact, near = (
        batch_loss(
            model, batch, [0, 2], [1.0] * 2, 0.1, torch.Generator().manual_seed(1), backward=False, body=body
        )
        for body in (torch.float32, torch.bfloat16)
    )
    assert near != exact
    for slot in (0, 2):
        assert float(near[slot][0]) == pytest.approx(float(exact[slot][0]), rel=0.02)
