"""The phase that trains correctors: its twin of the coder's inputs, what it writes, that files use it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from coder_cases import band
from PIL import Image

from codec import adaptive
from codec.gaussian import Bins
from tests import model_support
from tests.model_support import synthetic, with_tensors
from vdmcompress.cascade import decode_pixels, encode_pixels
from vdmcompress.engine import Engine
from vdmcompress.errors import ModelMissingError, UsageError
from vdmcompress.model_file import CORRECTOR_TENSORS, read_model
from vdmcompress.path import ORDERS
from vdmcompress.train import correct
from vdmcompress.train.config import load_config
from vdmcompress.train.correct import CorrectorNet, train_correct, with_correctors
from vdmcompress.train.correct_samples import corrector_inputs, coupled_means, strips
from vdmcompress.train.run import Job

tiny_model = model_support.tiny_model

CONFIG = """
name = "tiny"
[network]
width = 8
blocks = 1
scales = 2
path = [[[[0, 32], [3, 33]], [[1, 35]], []], [[[1, 36], [3, 39]], [[2, 32]], []]]
[correct]
units = 8
last = 4
images = 3
positions = 2000
scales = 2
steps = 120
batch = 512
"""


def net(seed, units=6, last=5):
    """A float corrector with weights that move means and scales."""
    made = CorrectorNet(units, last, np.array([0, 0, 65536, 0, 0, 0], np.int32), seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        made.output.copy_(torch.randn(2, last or units, generator=generator) * 0.3)
        made.output_bias.copy_(torch.randn(2, generator=generator) * 0.1)
    return made


@pytest.mark.parametrize("last", [0, 5])
def test_training_sees_what_the_coder_sees(tiny_model, last):
    """A corrector in integers moves means and scales as the float one does on the inputs of training."""
    columns = 20
    x, bins = band(30, columns, 3, 8)
    adapted = adaptive.refine(x, bins, columns)
    nets = [net(seed, last=last) for seed in range(3)]
    row = tiny_model.row(0, next(s.slot for s in tiny_model.path.steps if s.top))
    corrector = with_correctors(tiny_model, {row: nets}).corrector(row)
    refined = adaptive.refine(x, Bins(**{**vars(bins), "corrector": corrector}), columns)
    got = coupled_means(refined.mean, bins.coupling, x) - coupled_means(adapted.mean, bins.coupling, x)
    for c, samples in enumerate(corrector_inputs(x, bins, adapted, columns, last > 0)):
        with torch.no_grad():
            z = torch.from_numpy(samples.z).float() / 256
            shift, octaves = nets[c](z).unbind(1)
        sigma = 2.0 ** ((adapted.scale[:, c].astype(float) - 32) / 8)
        wanted = shift.clamp(-2, 2).numpy() * sigma
        assert np.abs(wanted).mean() > 0.1
        assert np.abs(got[:, c] - wanted).max() < 0.05 * sigma.max()
        steps = refined.scale[:, c].astype(float) - adapted.scale[:, c] - 8 * octaves.clamp(-4, 4).numpy()
        assert np.abs(steps).max() < 1.2


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model file with correctors, its folder of images and the report."""
    path = tmp_path_factory.mktemp("correct")
    (path / "images").mkdir()
    for i in range(3):
        Image.fromarray(synthetic(i)).save(path / "images" / f"{i}.png")
    (path / "tiny.toml").write_text(CONFIG)
    told = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    images = (path / "images",)
    job = Job(images, path / "out", valid_dirs=images, start=model_support.INTEGER, report=told.append)
    train_correct(path / "tiny.toml", job)
    torch.set_num_threads(threads)
    return read_model(path / "out" / "tiny.vdm.safetensors"), told


def test_nothing_but_correctors_and_mixtures_changes(trained, tiny_model):
    model, _ = trained
    changed = {n for n, t in tiny_model.tensors.items() if not np.array_equal(t, model.tensors[n])}
    assert changed == {"mixture"}
    assert set(model.tensors) - set(tiny_model.tensors) == set(CORRECTOR_TENSORS)
    assert model.hash8 != tiny_model.hash8
    tops = [model.row(scale, s.slot) for scale in range(2) for s in model.path.steps if s.top]
    for row in range(model.scales * model.slots):
        assert (model.corrector(row) is not None) == (row in tops)
    assert np.array_equal(model.tensors["mixture"][:, 0], tiny_model.tensors["mixture"][:, 0])


def test_it_gains_on_what_it_was_trained_on(trained):
    measured = [entry for entry in trained[1] if "after" in entry]
    assert len(measured) == 6
    assert sum(e["after"] for e in measured) < sum(e["before"] for e in measured) * 0.999


@pytest.mark.parametrize("latents", ["none", "all"])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_come_back(trained, latents, channels):
    pixels = model_support.photo(65, 90, channels)
    encoded = encode_pixels(pixels, trained[0], 1, order=ORDERS[latents])
    back = decode_pixels(encoded.lanes, 65, 90, channels, encoded.plan, trained[0], 1)
    assert np.array_equal(back, pixels)


def test_a_file_by_a_corrected_model_is_smaller_and_whole(trained, tiny_model):
    pixels = synthetic(0)
    plain = encode_pixels(pixels, tiny_model, 1, order=ORDERS["none"]).ledger.bits
    assert encode_pixels(pixels, trained[0], 1, order=ORDERS["none"]).ledger.bits < plain


def test_weights_out_of_range_are_refused(trained, tmp_path):
    from vdmcompress.train.export import write_model

    model = trained[0]
    hidden = model.tensors["correct_hidden"].copy()
    hidden[0, 0, 0, 0] = 8192
    with pytest.raises(ModelMissingError, match="hidden leaves"):
        write_model(with_tensors(model, correct_hidden=hidden), tmp_path / "bad.vdm.safetensors")
    lacking = {n: t for n, t in model.tensors.items() if n != "correct_output"}
    with pytest.raises(ModelMissingError, match="correct_output"):
        write_model(replace(model, tensors=lacking), tmp_path / "bad.vdm.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_missing_model_file_is_named(tmp_path):
    (tmp_path / "tiny.toml").write_text(CONFIG)
    with pytest.raises(UsageError, match="export the model first"):
        train_correct(tmp_path / "tiny.toml", Job((tmp_path,), tmp_path / "out"))


def test_small_images_lie_one_below_the_other(tiny_model):
    """Each is seen alone by the network; their bands make one strip, as in an archive."""
    group = np.stack([synthetic(i)[:16, :16] for i in range(3)])
    with Engine(tiny_model, 1, "cpu") as engine:
        alone = [list(strips([image], engine, 2)) for image in group]
        together = list(strips([group], engine, 2))
    assert [(s.row, len(s.x), s.columns) for s in together] == [
        (s.row, 3 * len(s.x), s.columns) for s in alone[0]
    ]
    for k, strip in enumerate(together):
        np.testing.assert_array_equal(strip.x, np.concatenate([parts[k].x for parts in alone]))
        for name in ("mean", "scale", "coupling"):
            parts = [getattr(strips_of_one[k].bins, name) for strips_of_one in alone]
            np.testing.assert_array_equal(getattr(strip.bins, name), np.concatenate(parts))


def test_groups_of_small_images_have_all_sizes(tmp_path, monkeypatch):
    """Alone, a few together, many together; what is held back stays out, all are measured on."""
    monkeypatch.setattr(correct, "GROUP", 64)
    many = np.stack([synthetic(i % 5)[i : i + 16, :16] for i in range(120)])
    Image.fromarray(many.reshape(120 * 16, 16, 3)).save(tmp_path / "all.png")
    (tmp_path / "tiny.toml").write_text(
        CONFIG.replace("images = 3", "images = 110") + "[train]\nwhole = 16\n"
    )
    run = load_config(tmp_path / "tiny.toml")
    groups = correct.images_of([tmp_path], run)
    assert [len(g) for g in groups] == [64, *[1] * 24, *[2] * 6, 10]
    np.testing.assert_array_equal(np.concatenate(groups), many[:110])
    assert [len(g) for g in correct.images_of([tmp_path], run, valid=True)] == [64, 46]
