"""Neighbours in training: the coder's taps, nothing but values before, weights that learn and are kept."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from codec import adaptive_kernels
from tests import model_support
from tests.model_support import synthetic
from vdmcompress.network import Denoiser
from vdmcompress.path import NoisePath
from vdmcompress.train import neighbours as near
from vdmcompress.train.neighbours import Neighbours, neighbours
from vdmcompress.train.objective import batch_loss
from vdmcompress.train.run import Trainer
from vdmcompress.train.small import small_batch
from vdmcompress.train.trainer import save_atomic
from vdmcompress.train.validate import ValidationSet, bits_table


def direct_config():
    """The tests' configuration without latents, on whole images of 16x16, with neighbours."""
    config = model_support.tiny_config()
    network = replace(config.network, path=NoisePath.from_lists([[[], [], []]]))
    train = replace(config.train, whole=16, group=2, neighbours=True)
    return replace(config, network=network, train=train)


def images(count):
    return np.stack([synthetic(i % 4, 40, 40)[i % 8 : i % 8 + 16, i : i + 16] for i in range(count)])


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def made(rows=2):
    module = Neighbours(rows)
    with torch.no_grad():
        module.weights.copy_(0.02 * random(*module.weights.shape, seed=1))
        module.offsets.copy_(0.02 * random(*module.offsets.shape, seed=2))
    return module


def test_taps_and_shares_are_those_of_the_coder():
    assert tuple(zip(adaptive_kernels._DY, adaptive_kernels._DX, strict=True)) == near.TAPS
    assert tuple(adaptive_kernels._SHARE) == near.SHARES
    assert near.BEFORE == adaptive_kernels._BEFORE
    assert near.FLOOR == (adaptive_kernels.FLOOR - 32) / 8
    assert pytest.approx(adaptive_kernels._USUAL / 64, abs=0.01) == near.USUAL


def test_neighbours_lie_where_the_taps_say():
    x = torch.arange(20.0).view(1, 4, 5)
    at = {tap: plane[0, 2, 2].item() for tap, plane in zip(near.TAPS, neighbours(x, -1.0), strict=True)}
    assert at == {(dy, dx): 12 + 5 * dy + dx for dy, dx in near.TAPS}
    first = [plane[0, 0, 0].item() for plane in neighbours(x, -1.0)]
    assert first == [-1.0] * 6


def test_without_weights_nothing_changes():
    error, mean, scale = (random(2, 3, 4, 4, seed=i) for i in range(3))
    residual, log2_scale = Neighbours(1).correct(0, error, mean, scale)
    assert torch.equal(residual, error)
    assert torch.equal(log2_scale, scale)


@pytest.mark.parametrize("components", [1, 3])
def test_only_values_before_are_read(components):
    """In raster order, and at a position component after component, as the decoder pops them."""
    error, mean, scale = (random(1, components, 4, 4, seed=i) for i in range(3))
    before = made().correct(1, error, mean, scale)
    for y, x, c in ((2, 1, 0), (1, 3, components - 1)):
        other = error.clone()
        other[0, c, y, x] += 0.7
        after = made().correct(1, other, mean, scale)
        for index, (a, b) in enumerate(zip(before, after, strict=True)):
            moved = {tuple(i) for i in torch.nonzero(a != b).tolist()}
            later = {
                (0, k, i, j)
                for k in range(components)
                for i in range(4)
                for j in range(4)
                if (i, j, k) > (y, x, c)
            }
            own = {(0, c, y, x)} if index == 0 else set()  # its residual, not its scale
            assert own <= moved <= later | own
            assert len(moved) > len(own)


def test_the_sum_is_the_rule_of_the_coder():
    """One position of Co by hand: six neighbours, the mean, and Y at the position."""
    error, mean = 0.3 * random(1, 3, 4, 5, seed=3), 0.3 * random(1, 3, 4, 5, seed=4)
    scale = torch.full_like(error, 1.0)
    module = made()
    residual, log2_scale = module.correct(0, error, mean, scale)
    residual, log2_scale = residual.detach(), log2_scale.detach()
    w, a = near.GAIN * module.weights[0].detach(), near.GAIN * module.offsets[0, 1].detach()
    u = error[0] / 2

    def expected(c, y, x):
        around = [u[c, y + dy, x + dx] if y + dy >= 0 and 0 <= x + dx < 5 else 0.0 for dy, dx in near.TAPS]
        known = [*around, mean[0, c, y, x] / 2, *(u[other, y, x] for other in range(c))]
        return sum(float(wt) * float(k) for wt, k in zip(w[c], known, strict=False))

    def size(c, y, x):
        inside = y >= 0 and 0 <= x < 5
        return abs(float(u[c, y, x]) - expected(c, y, x)) if inside else near.USUAL

    y, x = 2, 1
    assert float(residual[0, 1, y, x]) == pytest.approx(
        float(error[0, 1, y, x]) - 2 * expected(1, y, x), abs=1e-5
    )
    total = sum(s * size(1, y + dy, x + dx) for s, (dy, dx) in zip(near.SHARES, near.TAPS, strict=True))
    octaves = np.log2((total + near.BEFORE * size(0, y, x)) / 20 + 0.05)
    offset = float(a[0]) + octaves * (float(a[1]) + octaves * float(a[2]))
    assert float(log2_scale[0, 1, y, x]) == pytest.approx(1.0 + offset, abs=1e-5)


def test_a_loss_with_neighbours_trains_them_along_and_is_reported():
    config = direct_config()
    model, module = Denoiser(config.network), made(6)
    batch, generator = small_batch(images(4), 0, 2), torch.Generator().manual_seed(1)
    plain = batch_loss(model, batch, [0, 1], [1.0, 1.0], 1.0, generator, True)
    found = batch_loss(model, batch, [0, 1], [1.0, 1.0], 1.0, generator, True, neighbours=module)
    assert found[0] != plain[0]
    assert module.weights.grad[:2].abs().amax((1, 2)).min() > 0
    assert bits_table(model, ValidationSet(tuple(images(2))), 1, module) != bits_table(
        model, ValidationSet(tuple(images(2))), 1
    )


def test_a_trainer_keeps_its_neighbours(tmp_path: Path):
    config = direct_config()
    trainer = Trainer(config, torch.device("cpu"))
    trainer.train_step(small_batch(images(6), 0, 2))
    assert trainer.neighbours.weights.abs().max() > 0
    save_atomic(trainer.state(), tmp_path / "last.pt")
    other = Trainer(config, torch.device("cpu"))
    other.load(tmp_path / "last.pt")
    assert torch.equal(other.neighbours.weights, trainer.neighbours.weights)
    batch = small_batch(images(6), 1, 2)
    assert trainer.train_step(batch) == other.train_step(batch)
