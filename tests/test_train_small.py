"""Training on whole small images: mosaics, groups, borders, weights of scales, a start without latents."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from tests import model_support
from tests.model_support import synthetic
from vdmcompress.errors import UsageError
from vdmcompress.network import Denoiser
from vdmcompress.path import NoisePath
from vdmcompress.train import run, small
from vdmcompress.train.config import load_config
from vdmcompress.train.data import endless, stack_batch
from vdmcompress.train.objective import batch_loss
from vdmcompress.train.small import (
    SmallGroups,
    load_small,
    small_bands,
    small_batch,
    split_small,
)
from vdmcompress.train.start import direct_only, start_direct
from vdmcompress.train.trainer import save_atomic
from vdmcompress.train.validate import ValidationSet, bits_table

SMALL_STEPS = """
name = "few"
[network]
width = 8
blocks = 1
scales = 2
path = [[[], [], []]]
[train]
steps = 5
batch = 3
whole = 16
group = 2
scales = [0.7, 0.2, 0.1]
warmup = 2
grey = 0.3
held_back = 5
validate_every = 4
save_every = 2
"""


def images(count, side=16):
    """Small images, all different, uint8 (count, side, side, 3)."""
    return np.stack([synthetic(i % 4, 40, 40)[i % 8 : i % 8 + side, i : i + side] for i in range(count)])


def mosaic(many, across):
    rows = [np.concatenate(list(many[i : i + across]), 1) for i in range(0, len(many), across)]
    return np.concatenate(rows, 0)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def folder(tmp_path):
    """Two mosaics and a single image: 21 images of 16x16."""
    many = images(21)
    (tmp_path / "data").mkdir()
    for name, part, across in (("a", many[:12], 4), ("b", many[12:20], 2), ("c", many[20:], 1)):
        Image.fromarray(mosaic(part, across)).save(tmp_path / "data" / f"{name}.png")
    (tmp_path / "few.toml").write_text(SMALL_STEPS)
    return tmp_path


def test_mosaics_are_cut_row_by_row_and_single_images_stay_whole(folder):
    met = load_small([folder / "data"], 16)
    np.testing.assert_array_equal(met, images(21))
    train, held_back = split_small(met, 5)
    np.testing.assert_array_equal(train, met[:16])
    np.testing.assert_array_equal(held_back, met[16:])


def test_what_is_no_mosaic_is_refused(folder):
    Image.fromarray(synthetic(0, 32, 40)).save(folder / "data" / "d.png")
    with pytest.raises(UsageError, match="40x32 is no mosaic of 16x16"):
        load_small([folder / "data"], 16)
    with pytest.raises(UsageError, match="held_back 3, allowed are fewer than the 3 images"):
        split_small(images(3), 3)


def test_rows_become_mosaics_in_order(tmp_path, capsys, monkeypatch):
    """As CIFAR-10 comes: an image in each row; the last rows of the last file stay out."""
    many = images(17)
    for name, part in (("one", many[:9]), ("two", many[9:])):
        Image.fromarray(part.reshape(len(part), 256, 3)).save(tmp_path / f"{name}.png")
    monkeypatch.setattr(small, "MOSAIC", (2, 3))
    out = tmp_path / "mosaics"
    files = [str(tmp_path / f"{name}.png") for name in ("one", "two")]
    small.main([*files, "-o", str(out), "--side", "16", "--leave-last", "2"])
    assert "15 images of 16x16" in capsys.readouterr().out
    np.testing.assert_array_equal(load_small([out], 16), many[:15])
    with pytest.raises(SystemExit):
        small.main([files[0], "-o", str(out)])
    assert "256 pixels wide, 1024 are an image in each row" in capsys.readouterr().err


@pytest.mark.parametrize("scale", [0, 1, 2])
def test_bands_of_many_are_those_of_each(scale):
    many = images(5)
    bands, one_by_one = small_bands(many, scale), stack_batch(list(many), scale)
    for name in ("ll", "hl", "lh", "hh"):
        np.testing.assert_array_equal(getattr(bands, name), getattr(one_by_one, name))
    grey = small_batch(many, scale, 5, grey=True)
    levels = [np.asarray(Image.fromarray(image).convert("L")) for image in many]
    np.testing.assert_array_equal(grey.ll, stack_batch(levels, scale).ll)
    assert (grey.components, grey.samples) == (1, 1)


def test_batches_are_whole_images_and_functions_of_seed_and_step():
    many = images(8)

    def take(start, count, seed=1):
        source = endless(SmallGroups(many, 3, 2, (0.5, 0.3, 0.2), 0.2, seed), start)
        return [next(source) for _ in range(count)]

    first, later = take(0, 30), take(20, 2)
    for a, b in zip(first[20:], later, strict=False):
        np.testing.assert_array_equal(a.hh, b.hh)
    assert any(not np.array_equal(a.hh, b.hh) for a, b in zip(first, take(0, 30, seed=2), strict=True))
    met = {(b.scale, b.group, b.ll.shape) for b in first}
    assert met == {(0, 2, (6, 3, 8, 8)), (1, 8, (24, 3, 4, 4)), (2, 8, (24, 3, 2, 2))}
    known = {
        scale: [stack_batch([turned], scale).ll for image in many for turned in (image, image[:, ::-1])]
        for scale in range(3)
    }
    coloured = [b for b in first if b.components == 3]
    assert len(coloured) < len(first)
    hits = [
        [i for i, ll in enumerate(known[b.scale]) if np.array_equal(ll[0], b.ll[j])]
        for b in coloured
        for j in range(len(b.ll))
    ]
    assert all(hits)
    mirrored = np.mean([h[0] % 2 for h in hits])
    assert 0.4 < mirrored < 0.6


def test_a_group_is_trained_as_each_image_is_coded():
    """Zeros outside every image, not its neighbours in the group: the loss is the mean of each alone."""
    network = replace(model_support.tiny_config().network, path=NoisePath.from_lists([[[], [], []]]))
    model, many = Denoiser(network), images(6)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    generator = torch.Generator().manual_seed(5)

    def bits(batch, slots):
        return batch_loss(model, batch, slots, [1.0] * len(slots), 1.0, generator, backward=False)

    for slot in range(3):
        alone = [bits(small_batch(many[i : i + 1], 0, 1), [slot])[slot][0] for i in range(6)]
        together = bits(small_batch(many, 0, 3), [slot, slot])[slot][0]
        assert together == pytest.approx(np.mean(alone), rel=1e-5)
        assert np.std(alone) > 1e-3
    both = bits(small_batch(many, 0, 3), [0, 2])
    assert both[2] == bits(small_batch(many[3:], 0, 3), [2])[2]


def test_groups_of_validation_give_the_mean_over_images():
    model = model_support.load_tiny_float()
    model = Denoiser(replace(model.config, path=NoisePath.from_lists([[[], [], []]])))
    crops = tuple(images(7))
    one, grouped = (bits_table(model, ValidationSet(crops, group), 2) for group in (1, 3))
    assert ValidationSet(crops, 3).groups == 3
    assert one["bpd"] == pytest.approx(grouped["bpd"], abs=2e-4)
    for key, value in one["terms"].items():
        assert value == pytest.approx(grouped["terms"][key], abs=2e-4)


def test_a_run_on_whole_images_goes_on_exactly(folder):
    def train(out, **more):
        job = run.Job((folder / "data",), folder / out, device="cpu", **more)
        run.train_direct(folder / "few.toml", job)
        return torch.load(folder / out / "last.pt", weights_only=True)

    class Killed(Exception):
        pass

    def kill(entry):
        if entry["step"] == 4:
            raise Killed

    whole = train("whole", valid_dirs=[folder / "data"])
    with pytest.raises(Killed):
        train("killed", report=kill)
    assert torch.load(folder / "killed" / "last.pt", weights_only=True)["step"] == 2
    again = train("killed", resume=True)
    for name, value in whole["ema"].items():
        assert torch.equal(value, again["ema"][name]), name
    lines = [json.loads(line) for line in (folder / "whole" / "log.jsonl").read_text().splitlines()]
    checks = [(e["step"], e["validation"]) for e in lines if "validation" in e]
    assert checks == [(step, name) for step in (4, 5) for name in ("held_back", "valid")]
    assert all(math.isfinite(e["bpd"]) for e in lines)
    assert (folder / "whole" / "few.vdm.safetensors").exists()


def test_every_scale_of_whole_images_counts_as_in_the_bound(folder, monkeypatch):
    """All bands of a small image are trained; of crops the last scale stands for all coarser ones."""
    met = {}

    def spy(model, batch, slots, weights, *rest, **more):
        met[batch.scale] = weights[0]
        return {slots[0]: (1.0, None)}

    monkeypatch.setattr(run, "batch_loss", spy)
    config = load_config(folder / "few.toml")
    for whole, last in ((16, 0.75), (0, 1.0)):
        trainer = run.Trainer(replace(config, train=replace(config.train, whole=whole)), torch.device("cpu"))
        for scale, (chance, share) in enumerate(zip((0.7, 0.2, 0.1), (0.75, 0.75, last), strict=True)):
            trainer.train_step(small_batch(images(6), scale, 2))
            assert met[scale] == pytest.approx(share * 4.0**-scale / chance)


def test_a_path_without_latents_begins_with_the_direct_predictions(folder):
    """Of a model with latents only the bands' tops go on, as the same function."""
    config = load_config(folder / "few.toml")
    path = model_support.tiny_config().network.path
    old = Denoiser(replace(config.network, path=path))
    generator = torch.Generator().manual_seed(3)
    tops = [step.slot for step in path.steps if step.top]
    with torch.no_grad():
        for name, parameter in old.named_parameters():
            if name != "head_bias":
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
        rows = old.head_bias.view(2, len(path.steps), 24)
        rows[:, tops] = torch.randn(2, 3, 24, generator=generator)
    save_atomic({"form": old.form, "ema": old.state_dict()}, folder / "old.pt")
    made = start_direct(folder / "old.pt", config, ValidationSet(tuple(images(1))))
    batch = small_batch(images(2), 0, 2)
    for scale in range(2):
        for slot, top in enumerate(tops):
            raw = torch.from_numpy(np.concatenate([batch.ll] * 5, 1))
            new, before = made.evaluate(raw, scale, slot), old.evaluate(raw, scale, top)
            assert torch.equal(new, before)
            assert torch.equal(made.mixture[3 * scale + slot], old.mixture[len(path.steps) * scale + top])
    same = old.state_dict()
    assert direct_only(same, old.config) is same
    assert direct_only(made.state_dict(), config.network)["head"].shape == made.head.shape
