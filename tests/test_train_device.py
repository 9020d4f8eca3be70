"""Batches made on a device: twins of the transform, crops that are crops, copies, the loop beside a GPU.

The code is the same on a CPU, where most of this runs; what asks for a GPU is skipped without one.
"""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.model_support import synthetic, tiny_config
from tests.phase_support import CONFIG, inputs
from vdmcompress.network import Denoiser, compiled
from vdmcompress.train import run
from vdmcompress.train.augment import alter
from vdmcompress.train.config import TrainConfig, load_config
from vdmcompress.train.data import Crops, stack_batch
from vdmcompress.train.device_data import (
    DeviceCrops,
    DeviceGroups,
    DeviceImages,
    copies_without_end,
    device_batch,
    on_device,
)
from vdmcompress.train.small import SmallGroups
from vdmcompress.train.trainer import BEHIND

CPU = torch.device("cpu")
BANDS = ("ll", "hl", "lh", "hh")
HAS_GPU = torch.cuda.is_available()
on_gpu = pytest.mark.skipif(not HAS_GPU, reason="torch finds no CUDA device")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=on_gpu)])
def device(request):
    return torch.device(request.param)


def images(count=3, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (40 + 4 * i, 48, 3), dtype=np.uint8) for i in range(count)]


def turned(crop):
    """The eight orientations."""
    for one in (crop, crop[:, ::-1], crop[::-1], crop[::-1, ::-1]):
        yield one
        yield one.transpose(1, 0, 2)


def orientations_in(crop, image):
    """Numbers of the orientations in which a crop occurs in an image."""
    windows = np.lib.stride_tricks.sliding_window_view(image, crop.shape)[:, :, 0]
    return [n for n, one in enumerate(turned(crop)) if (windows == one).all((2, 3, 4)).any()]


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("scale", [0, 1, 3])
def test_bands_are_those_of_the_transform(device, scale, grey):
    crops = [synthetic(i)[:32, :64] for i in range(3)]
    found = device_batch(torch.from_numpy(np.stack(crops)).to(device), scale, grey)
    if grey:
        crops = [np.asarray(Image.fromarray(c).convert("L")) for c in crops]
    wanted = stack_batch(crops, scale)
    assert (found.scale, found.components, found.samples) == (scale, wanted.components, 1)
    for name in BANDS:
        np.testing.assert_array_equal(getattr(found, name).cpu().numpy(), getattr(wanted, name))
        assert getattr(found, name).dtype == torch.int32


def test_crops_are_cut_from_images_and_their_copies_in_all_orientations(device):
    given = images()
    pool = DeviceImages(given, 2, device)
    pool.add_copy(1, 255 - given[1])
    chosen = np.repeat([0, 1, 2], 40)
    crops = pool.cut(chosen, 16, np.random.default_rng(1)).cpu().numpy()
    assert crops.shape == (120, 16, 16, 3)
    met, copies = set(), 0
    for crop, i in zip(crops, chosen, strict=True):
        own = orientations_in(crop, given[i])
        copies += not own
        assert own or (i == 1 and orientations_in(crop, 255 - given[1]))
        met.update(own)
    assert met == set(range(8))
    assert 10 <= copies <= 30


def test_the_whole_of_an_image_can_be_a_crop():
    image = images(1)[0][:32, :32]
    for seed in range(8):
        crop = DeviceImages([image], 1, CPU).cut(np.zeros(1, np.int64), 32, np.random.default_rng(seed))
        assert any(np.array_equal(crop[0].numpy(), one) for one in turned(image))


def test_the_oldest_copy_gives_way():
    image = images(1)[0]
    pool = DeviceImages([image], 2, CPU)
    assert pool.filled.tolist() == [0]
    for value in (1, 2, 3):
        pool.add_copy(0, np.full_like(image, value))
    assert pool.filled.tolist() == [2]
    copies = pool.pixels.view(3, *image.shape).numpy()
    np.testing.assert_array_equal(copies[0], image)
    assert [copies[1].max(), copies[2].min()] == [3, 2]


def test_sizes_of_crops_leave_out_small_images():
    """Most images have room for 64 pixels: the small one never serves there, and does at the finest scale."""
    large = [np.zeros((80, 96, 3), np.uint8)] * 3
    small = np.full((40, 40, 3), 255, np.uint8)
    make = DeviceCrops(Crops([*large, small], 1, 16, (0.5, 0.5), 0.0, 1, 64), 1, CPU)
    assert make.sizes == [32, 64]
    met = {0: set(), 1: set()}
    for step in range(12):
        batch = make(step)
        assert batch.ll.shape == (64, 3, 16, 16)
        met[batch.scale] |= set(batch.ll[:, 0].unique().tolist())
    assert met == {0: {0, 255}, 1: {0}}


def test_batches_are_functions_of_seed_and_step_where_there_are_no_copies():
    crops = Crops([synthetic(i) for i in range(3)], 1, 8, (0.6, 0.4), 0.3, 4, 5)
    one, other = (DeviceCrops(crops, 1, CPU) for _ in range(2))
    for step in (5, 2):
        a, b = one(step), other(step)
        assert (a.scale, a.components) == (b.scale, b.components)
        assert torch.equal(a.hh, b.hh)
    assert {one(step).components for step in range(20)} == {1, 3}


def test_small_images_have_the_draws_of_the_cpu(device):
    pixels = np.random.default_rng(2).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    groups = SmallGroups(pixels, 2, 3, (0.4, 0.3, 0.3), 0.3, 1)
    made = DeviceGroups(groups, device)
    for step in range(12):
        found, wanted = made(step), groups(step)
        assert (found.scale, found.components) == (wanted.scale, wanted.components)
        assert found.samples == 1
        for name in BANDS:
            np.testing.assert_array_equal(getattr(found, name).cpu().numpy(), getattr(wanted, name))


@pytest.mark.parametrize("workers", [0, 1])
def test_copies_are_altered_photographs(workers):
    given = [synthetic(i) for i in range(2)]
    for image, _, pixels in itertools.islice(copies_without_end(given, 3, workers), 4):
        assert pixels.shape == given[image].shape
        assert (pixels != given[image]).any()


def test_an_unaltered_photograph_is_the_very_array():
    image = synthetic(0)
    met = [alter(image, np.random.default_rng(seed)) is image for seed in range(200)]
    assert 0 < sum(met) < 40


def test_batches_come_while_copies_are_made_and_end_when_closed():
    crops = Crops([synthetic(i) for i in range(2)], 1, 8, (1.0,), 0.0, 1, 4)
    source = on_device(crops, 0, 0, CPU, copies=2)
    batches = list(itertools.islice(source, 20))
    assert len({batch.ll.sum().item() for batch in batches}) > 10
    source.close()


@pytest.mark.parametrize("small", [False, True])
def test_the_loop_on_device_batches(tmp_path, monkeypatch, small):
    """What a GPU's loop does, on the CPU: batches of `on_device`, answers asked for now and then."""
    (tmp_path / "images").mkdir()
    for i in range(4):
        Image.fromarray(synthetic(i)[:128, :128]).save(tmp_path / "images" / f"{i}.png")
    text = CONFIG.replace(
        "batch = 3", "batch = 1\nwhole = 32\ngroup = 2" if small else "batch = 1\ncrops = 3"
    )
    (tmp_path / "few.toml").write_text(text.replace("steps = 6\nbatch", "seconds = 0.7\nbatch"))
    config = load_config(tmp_path / "few.toml")
    job = run.Job((tmp_path / "images",), tmp_path / "run", device="cpu")
    checkpoint, log = job.open("last"), tmp_path / "run" / "log.jsonl"
    trainer = run.Trainer(config, CPU)
    data = run.Data.of(job, replace(config.train, valid_crop=32))
    make = data.batches
    monkeypatch.setattr(
        run.Data, "batches", lambda self, cfg, start, workers, device: on_gpu_batches(make, cfg)
    )
    run.train_loop(trainer, data, job, checkpoint, log)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert trainer.finished
    assert trainer.seconds >= 0.7
    assert lines[-1]["step"] == trainer.step
    assert checkpoint.exists()


def on_gpu_batches(make, cfg):
    """The batches that `make` would give beside a GPU, on the CPU."""
    with pytest.MonkeyPatch.context() as patch:
        fake = type("Device", (), {"type": "cuda"})()
        patch.setattr(
            run, "on_device", lambda crops, start, workers, device: on_device(crops, start, 0, CPU, 2)
        )
        return make(cfg, 0, 0, fake)


def test_a_time_instead_of_steps_ends_a_phase_and_leads_the_rates():
    config = replace(tiny_config(), train=TrainConfig(steps=5, seconds=100, decay=0.5, warmup=1))
    trainer = run.Trainer(config, CPU)
    met = []
    for trainer.seconds in (0, 49, 75, 99.9, 100):
        met.append((trainer.rate, trainer.finished, trainer.remaining()))
    assert [m[0] for m in met] == pytest.approx([1, 1, 0.5, 0.02, 0.02])
    assert [m[1] for m in met] == [False] * 4 + [True]
    assert met[2][2] == 25


def test_beside_a_gpu_the_sampler_learns_now_and_then(monkeypatch):
    """Steps are answered in one go; nothing of them is lost."""
    config = tiny_config()
    trainer = run.Trainer(config, CPU)
    batch = stack_batch([synthetic(i)[:32, :32] for i in range(config.train.batch)], 0)
    monkeypatch.setattr(trainer, "device", type("Device", (), {"type": "cuda"})())
    monkeypatch.setattr(torch, "Generator", lambda device=None, real=torch.Generator: real())
    before = trainer.sampler.mean.copy()
    found = [trainer.train_step(batch) for _ in range(BEHIND - 1)]
    assert not any(found)
    np.testing.assert_array_equal(trainer.sampler.mean, before)
    assert len(trainer.train_step(batch)) == BEHIND
    assert (trainer.sampler.mean != before).any()


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")
def test_what_is_compiled_is_one_graph_and_computes_the_same():
    model = Denoiser(tiny_config().network)
    raw = inputs(12, 10)
    weights = model.weights(0, 0)
    torch.testing.assert_close(
        compiled("eager")(raw, weights, torch.float32), model.graph(raw, weights, torch.float32)
    )
