"""Training of the isotropic model: network, data, configuration, checkpoints, resuming, its rows."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from vdmcompress import lab
from vdmcompress.errors import UsageError
from vdmcompress.vdm32 import checkpoint, data
from vdmcompress.vdm32.config import TrainConfig, Vdm32Config, from_table, load_config
from vdmcompress.vdm32.denoiser import PAPER, Denoiser, DenoiserConfig, parameters
from vdmcompress.vdm32.train import Trainer, batch_of, fit, main, run, validate

TINY = DenoiserConfig(width=(8,), depth=(1,), patch=4, preconditioned=True)
SHORT = TrainConfig(steps=4, batch=4, warmup=1, log_every=2, save_every=2, validate_every=2)


def pictures(n):
    """Levels uint8 (n, 3, 32, 32) of smooth ramps with a little noise."""
    rng = np.random.default_rng(0)
    ramp = (
        np.linspace(0, 200, 32)[None, None, None] * rng.random((n, 3, 1, 1)) + rng.random((n, 3, 1, 1)) * 50
    )
    return torch.from_numpy((ramp + 4 * rng.random((n, 3, 32, 32))).astype(np.uint8))


def write_mosaic(images, path):
    """One image in each row of 1024 pixels."""
    rows = images.permute(0, 2, 3, 1).reshape(len(images), 1024, 3).numpy()
    Image.fromarray(rows).save(path)


@pytest.mark.parametrize(
    "config",
    [
        TINY,
        DenoiserConfig(width=(8, 12), depth=(1, 2)),
        DenoiserConfig(width=(8,), depth=(1,), attention=True, fourier=(), output="velocity"),
        DenoiserConfig(width=(8,), depth=(1,), scale_and_shift=True, learned_variance=True, patch=2),
    ],
)
def test_networks_have_the_shape_of_z_and_see_gamma(config):
    network = Denoiser(config)
    z = torch.randn((2, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    first = network(z, torch.tensor([-3.0, -3.0]))
    assert first.noise.shape == z.shape
    assert (first.variance is not None) == config.learned_variance
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    moved = network(z, torch.tensor([-3.0, 2.0])).noise
    again = network(z, torch.tensor([-3.0, -3.0])).noise
    assert torch.equal(moved[0], again[0])
    assert not torch.allclose(moved[1], again[1])


def test_an_untrained_published_network_answers_z():
    z = torch.randn((1, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    assert torch.equal(Denoiser(DenoiserConfig(width=(8,), depth=(1,)))(z, torch.zeros(1)).noise, z)


def test_the_paper_size_has_its_parameters():
    with torch.device("meta"):
        assert parameters(Denoiser(PAPER)) == pytest.approx(30.6e6, rel=0.01)


def test_mosaics_are_read_in_both_layouts_and_hold_back_the_last(tmp_path):
    images = pictures(6)
    write_mosaic(images, tmp_path / "data_batch_1.png")
    write_mosaic(images, tmp_path / "test_batch.png")
    assert torch.equal(data.load_images(tmp_path), images)
    tiles = images.reshape(2, 3, 3, 32, 32).permute(0, 3, 1, 4, 2).reshape(64, 96, 3)
    Image.fromarray(tiles.numpy()).save(tmp_path / "valid.webp", lossless=True)
    assert torch.equal(data.load_images(tmp_path, "valid"), images)
    many = torch.zeros((data.HELD_BACK + 3, 3, 32, 32), dtype=torch.uint8)
    write_mosaic(many, tmp_path / "data_batch_5.png")
    assert len(data.load_images(tmp_path, "batch")) == 6 + 3


def test_what_is_no_mosaic_is_named(tmp_path):
    with pytest.raises(UsageError, match="holds no mosaics"):
        data.load_images(tmp_path)
    Image.new("RGB", (33, 32)).save(tmp_path / "a.png")
    with pytest.raises(UsageError, match="33x32"):
        data.load_images(tmp_path)
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(UsageError, match="cannot be read"):
        data.load_images(tmp_path)


def test_configurations_refuse_what_they_do_not_know(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text("[denoiser]\nwidth = [8]\ndepth = [1]\n[train]\nsteps = 7\n")
    assert load_config(file).train.steps == 7
    assert from_table(load_config(file).table()) == load_config(file)
    for text in (
        "[train]\nstep = 7",
        "[other]",
        "[train]\nsteps = 0",
        "[denoiser]\nwidth = [6]\ndepth = [1]",
        "=",
    ):
        file.write_text(text)
        with pytest.raises(UsageError, match=r"a\.toml"):
            load_config(file)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"timesteps": 10},
        {"schedule": "network", "sampler": "adaptive"},
        {"objective": "simple", "timesteps": 20, "schedule": "cosine", "sampler": "importance"},
        {"objective": "weighted", "weighting": "sigmoid", "uniform_last": 0.5, "times": "iid"},
    ],
)
def test_stopping_and_going_on_changes_nothing(tmp_path, changes):
    config = Vdm32Config(TINY, replace(SHORT, **changes))
    whole = Trainer(config)
    fit(whole, pictures(8))
    first = Trainer(config)
    fit(first, pictures(8), 2)
    torch.save(first.state(), tmp_path / "state.pt")
    second = Trainer(config)
    second.load(tmp_path / "state.pt")
    fit(second, pictures(8))
    for a, b in zip(whole.ema.state_dict().values(), second.ema.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(whole.schedule.state_dict().values(), second.schedule.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_the_hybrid_trains_its_variance():
    network = replace(TINY, learned_variance=True)
    trainer = Trainer(Vdm32Config(network, replace(SHORT, objective="hybrid", timesteps=50)))
    fit(trainer, pictures(8))
    assert float(trainer.denoiser.head.weight[3 * 16 :].detach().abs().max()) > 0
    with pytest.raises(ValueError, match="timesteps"):
        replace(SHORT, objective="hybrid")


def test_training_lowers_the_bound_and_moves_the_ends():
    config = Vdm32Config(TINY, replace(SHORT, steps=40, batch=8, lr=5e-3, ema=0.8))
    trainer = Trainer(config)
    before, _ = validate(trainer.ema, trainer.schedule, pictures(8).long())
    fit(trainer, pictures(16))
    after, _ = validate(trainer.ema, trainer.schedule, pictures(8).long())
    assert after < before - 0.2
    assert float(trainer.schedule.end(0.0).detach()) != pytest.approx(-13.3, abs=1e-4)


def test_a_run_leaves_a_checkpoint_and_a_log(tmp_path, capsys):
    write_mosaic(pictures(8), tmp_path / "images.png")
    (tmp_path / "run.toml").write_text(
        "[denoiser]\nwidth = [8]\ndepth = [1]\npatch = 4\n[train]\nsteps = 3\nbatch = 4\nlog_every = 1\n"
    )
    arguments = ["--images", str(tmp_path / "images.png"), "--out", str(tmp_path / "out")]
    main([str(tmp_path / "run.toml"), *arguments, "--valid", str(tmp_path / "images.png")])
    assert "vdm32.safetensors" in capsys.readouterr().out
    torch.set_flush_denormal(False)
    lines = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert lines[-1]["valid_bpd"] > 0
    model = checkpoint.load(tmp_path / "out" / "vdm32.safetensors")
    assert model.notes["steps"] == 3
    assert model.config == load_config(tmp_path / "run.toml")
    z = torch.zeros((1, 3, 32, 32))
    assert model.denoiser(z, torch.zeros(1)).noise.shape == z.shape


def test_a_finished_run_stays_as_it_is(tmp_path):
    config = Vdm32Config(TINY, SHORT)
    run(config, pictures(8), None, tmp_path, 1.0)
    first = checkpoint.load(tmp_path / "vdm32.safetensors")
    run(config, pictures(8), None, tmp_path, 1.0)
    second = checkpoint.load(tmp_path / "vdm32.safetensors")
    for a, b in zip(first.denoiser.parameters(), second.denoiser.parameters(), strict=True):
        assert torch.equal(a, b)


def test_another_file_is_no_checkpoint(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    with pytest.raises(UsageError, match="not a vdm32 checkpoint"):
        checkpoint.load(tmp_path / "a.safetensors")


def test_batches_depend_on_the_step_alone():
    images = pictures(8)
    a, _ = batch_of(images, SHORT, 5)
    b, _ = batch_of(images, SHORT, 5)
    c, _ = batch_of(images, SHORT, 6)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_rows_that_need_images_say_so():
    with pytest.raises(UsageError, match="--images"):
        lab.run("V10")


@pytest.mark.parametrize("row", ["V9", "V10", "V16"])
def test_training_rows_run(tmp_path, row):
    write_mosaic(pictures(40), tmp_path / "images.png")
    finding = lab.run(row, lab.Setting(images=tmp_path / "images.png", scale=0.01))
    assert finding.row == row
    assert all(np.isfinite(v) for v in finding.figures.values())
