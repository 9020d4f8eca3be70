"""Muon: nearly orthogonal updates, and an optimiser for every parameter."""

import pytest
import torch

from tests import model_support
from vdmcompress.network import Denoiser
from vdmcompress.train.optimiser import Muon, make_optimisers, orthogonalise, set_rates


@pytest.mark.parametrize("shape", [(16, 16), (8, 72), (72, 8), (64, 576), (1, 9)])
def test_orthogonalise_gives_nearly_orthogonal_matrices(shape):
    """Singular values near 1 (Muon's quintic leaves 0.7 to 1.2), singular vectors kept."""
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 37
    out = orthogonalise(matrix)
    assert out.shape == matrix.shape
    values = torch.linalg.svdvals(out)
    assert values.max() < 1.25
    assert (values > 0.6).float().mean() >= 0.9
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    alignment = torch.diagonal(u.T @ out @ v.T)
    torch.testing.assert_close(alignment.sort().values, values.sort().values, atol=2e-3, rtol=0)


def test_orthogonalise_survives_zero():
    assert not orthogonalise(torch.zeros(4, 6)).any()


def test_muon_moves_all_directions_by_the_rate_and_decays():
    p = torch.nn.Parameter(torch.ones(8, 8, 3, 3))
    optimiser = Muon([p], lr=0.1, momentum=0.95, weight_decay=0.5)
    p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(2)) * 1e-3
    optimiser.step()
    moved = (p.detach() - (1 - 0.1 * 0.5)).flatten(1)
    values = torch.linalg.svdvals(moved) / 0.1
    assert 0.6 < float(values.min()) <= float(values.max()) < 1.25
    p.grad = None
    before = p.detach().clone()
    optimiser.step()
    assert torch.equal(p, before)


def test_weights_of_one_shape_move_as_each_would_alone():
    generator = torch.Generator().manual_seed(3)
    together = [
        torch.nn.Parameter(torch.randn(s, generator=generator)) for s in [(8, 8, 3, 3)] * 3 + [(4, 8, 1, 1)]
    ]
    alone = [torch.nn.Parameter(p.detach().clone()) for p in together]
    muons = [Muon(together, 0.1, 0.9, 0.2), *(Muon([p], 0.1, 0.9, 0.2) for p in alone)]
    for step in range(3):
        for p, q in zip(together, alone, strict=True):
            p.grad = torch.randn(p.shape, generator=generator)
            q.grad = p.grad.clone()
        if step == 1:
            together[1].grad = alone[1].grad = None
        for muon in muons:
            muon.step()
    for p, q in zip(together, alone, strict=True):
        torch.testing.assert_close(p, q)


def test_muon_in_bfloat16_moves_nearly_the_same_way():
    start = torch.randn(16, 16, 3, 3, generator=torch.Generator().manual_seed(4))
    moved = []
    for dtype in (torch.float32, torch.bfloat16):
        p = torch.nn.Parameter(start.clone())
        p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(5))
        Muon([p], 0.1, 0.9, 0.0, dtype).step()
        moved.append((p.detach() - start).flatten())
    assert moved[1].dtype == torch.float32
    assert float(torch.cosine_similarity(*moved, dim=0)) > 0.999
    assert not torch.equal(*moved)


def test_every_parameter_has_one_optimiser():
    model = Denoiser(model_support.tiny_config().network)
    muon, adam = optimisers = make_optimisers(model, 0.02, 0.002, 0.5)
    groups = [p for o in optimisers for g in o.param_groups for p in g["params"]]
    assert sorted(map(id, groups)) == sorted(map(id, model.parameters()))
    assert {p.dim() for g in muon.param_groups for p in g["params"]} == {4}
    assert muon.param_groups[0]["weight_decay"] == 0.5
    set_rates(optimisers, 0.02, 0.002, 0.5)
    assert [g["lr"] for o in optimisers for g in o.param_groups] == pytest.approx([0.01, 0.001, 0.00025])
