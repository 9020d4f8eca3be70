"""What the rows that train are made of: pictures, parts of the levels, noise of gradients, experts."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from vdmcompress.lab import Setting, run
from vdmcompress.lab.iddpm import betas_of, cosine_chain, gammas_of, linear_chain, trained
from vdmcompress.lab.iddpm_training import mean_gradients_differ
from vdmcompress.lab.ideas_training import joined
from vdmcompress.lab.pictures import dead_leaves
from vdmcompress.lab.small import SIDE, TRAIN, Plan, RangedTrainer, noise_scale, pictures, train
from vdmcompress.lab.vdmpp import mixture, weighted
from vdmcompress.vdm32 import checkpoint
from vdmcompress.vdm32.config import TrainConfig, Vdm32Config
from vdmcompress.vdm32.denoiser import DenoiserConfig
from vdmcompress.vdm32.parameterisation import Prediction

QUICK = Setting(scale=0.03)


def test_times_stay_within_their_part():
    trainer = RangedTrainer(Plan(low=0.2, high=0.6))
    t, weights = trainer.draw(500, torch.Generator().manual_seed(0))
    assert float(t.min()) >= 0.2
    assert float(t.max()) <= 0.6
    assert torch.allclose(weights, torch.tensor(0.4))  # the mean over the part, times its share


def test_a_curriculum_comes_down_to_all_levels():
    trainer = RangedTrainer(Plan(replace(TRAIN, steps=100), curriculum=0.5))
    lows = []
    for step in range(100):
        trainer.step = step
        lows.append(trainer.lowest)
    assert lows[0] == pytest.approx(0.98)
    assert lows == sorted(lows, reverse=True)
    assert all(low == pytest.approx(0.0) for low in lows[49:])


def test_equal_runs_are_done_once_and_others_are_not():
    first = train(QUICK, Plan())
    assert train(QUICK, Plan()) is first
    assert train(QUICK, Plan(few=16)) is not first
    assert len(first.records) == QUICK.times(TRAIN.steps, 4)


def test_noise_scale_is_variance_over_squared_mean():
    draw = torch.Generator().manual_seed(0)
    mean = torch.ones(400)
    gradients = [mean + 3.0 * torch.randn(400, generator=draw) for _ in range(200)]
    assert noise_scale(gradients) == pytest.approx(9.0, rel=0.1)
    assert noise_scale([mean, mean]) == pytest.approx(0.0)


def test_experts_are_asked_by_their_level():
    def expert(value):
        return lambda z, gamma: Prediction(torch.full_like(z, value))

    z, gamma = torch.zeros(4, 3, 2, 2), torch.tensor([-9.0, -5.0, -7.0, 1.0])
    noise = joined(expert(1.0), expert(2.0), -6.0)(z, gamma).noise
    assert noise[:, 0, 0, 0].tolist() == [1.0, 2.0, 1.0, 2.0]
    assert joined(expert(1.0), expert(2.0), -99.0)(z, gamma).noise.unique().tolist() == [2.0]


def test_the_hybrid_loss_gives_the_mean_no_other_gradient():
    assert mean_gradients_differ() == 0.0


def test_betas_come_back():
    for chain in (linear_chain(200), cosine_chain(200)):
        assert (np.diff(chain) > 0).all()
        assert gammas_of(betas_of(chain)) == pytest.approx(chain, abs=1e-9)
    assert betas_of(linear_chain(1000))[[0, -1]] == pytest.approx([1e-4, 0.02])


def test_the_mixture_holds_for_any_error_curve():
    gammas = np.linspace(-16.0, 26.0, 4201)
    bumpy = 0.5 + 0.4 * np.sin(gammas)
    for name in ("sigmoid", "edm"):
        assert mixture(name, gammas, bumpy)[0] == pytest.approx(weighted(name, gammas, bumpy), rel=1e-3)
    assert mixture("uniform", gammas, bumpy)[1].max() == 0.0


def test_pictures_of_a_folder_are_crops_and_held_back_apart(tmp_path):
    tiles = dead_leaves(8, 32, 1).transpose(0, 2, 3, 1)
    mosaic = tiles.reshape(2, 4, 32, 32, 3).swapaxes(1, 2).reshape(64, 128, 3)
    Image.fromarray(mosaic).save(tmp_path / "tiles.png")
    training, valid = pictures(tmp_path, 0)
    assert training.shape[1:] == valid.shape[1:] == (3, SIDE, SIDE)
    windows = np.lib.stride_tricks.sliding_window_view(tiles[6:], (SIDE, SIDE), axis=(1, 2))
    found = windows.reshape(-1, 3 * SIDE * SIDE)
    assert (found == valid[0].numpy().reshape(-1)).all(1).any()


def test_curves_of_a_trained_network_come_from_two_halves(tmp_path):
    Image.fromarray(dead_leaves(1, 64, 1)[0].transpose(1, 2, 0)).save(tmp_path / "tiles.png")
    config = Vdm32Config(DenoiserConfig(width=(8,), patch=2, depth=(1,)), TrainConfig(schedule="linear"))
    denoiser, schedule = checkpoint.build(config)
    checkpoint.save(tmp_path / "small.safetensors", denoiser, schedule, config, {})
    found = trained(Setting(tmp_path, tmp_path / "small.safetensors", scale=0.1), 3)
    assert found is not None
    gammas, choosing, scoring = found
    assert gammas.tolist() == pytest.approx([-13.3, -4.15, 5.0], abs=1e-5)
    assert (choosing != scoring).all()
    assert trained(Setting(checkpoint=tmp_path / "small.safetensors"), 3) is None


def test_a_row_that_trains_runs_at_a_small_scale():
    finding = run("X2", QUICK)
    assert set(finding.figures) == {"all levels", "high noise first"}
    assert all(np.isfinite(value) for value in finding.figures.values())
