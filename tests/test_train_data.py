"""Training data: batches that depend on seed and step alone, crops, augmentation, validation sets."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests import model_support
from tests.model_support import synthetic
from vdmcompress.errors import UsageError
from vdmcompress.network import Denoiser
from vdmcompress.train.augment import augment, grain, halve_chroma, sharpen, soften
from vdmcompress.train.data import Crops, endless, load_images, random_crop, split, stack_batch
from vdmcompress.train.objective import batch_loss
from vdmcompress.train.validate import ValidationSet, bits_table
from vdmcompress.transform import forward_colour, haar_forward


def test_batches_are_functions_of_seed_and_step():
    images = [synthetic(i) for i in range(3)]

    def take(start, count, seed=1):
        source = endless(Crops(images, 2, 8, (0.5, 0.5), 0.3, seed), start)
        return [next(source) for _ in range(count)]

    one, later = take(0, 6), take(4, 2)
    for a, b in zip(one[4:], later, strict=True):
        assert (a.scale, a.components) == (b.scale, b.components)
        for name in ("ll", "hl", "lh", "hh"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert {b.scale for b in one} == {0, 1}
    other = take(0, 6, seed=2)
    assert any(a.ll.shape != b.ll.shape or (a.ll != b.ll).any() for a, b in zip(one, other, strict=True))
    assert all(b.ll.shape == (2, 3, 8, 8) for b in one)
    by_processes = endless(Crops(images, 2, 8, (0.5, 0.5), 0.3, 1), 4, workers=2)
    for a in one[4:]:
        b = next(by_processes)
        assert (a.scale, a.components, a.group) == (b.scale, b.components, b.group)
        np.testing.assert_array_equal(a.hh, b.hh)
    grey = [b for b in take(0, 30) if b.components == 1]
    assert grey
    assert not any(x[:, 1:].any() for b in grey for x in (b.ll, b.hl, b.lh, b.hh))


def test_crops_of_a_sample_go_through_one_evaluation_together():
    """The same loss and gradients as if each were a sample."""
    images, config = [synthetic(i) for i in range(3)], model_support.tiny_config().network
    together = Crops(images, 2, 8, (1.0,), 0.0, 1, group=3)(5)
    alone = Crops(images, 6, 8, (1.0,), 0.0, 1)(5)
    np.testing.assert_array_equal(together.hl, alone.hl)
    top = next(step.slot for step in config.path.steps if step.top and step.band == 2)
    found = []
    for batch in (together, alone):
        torch.manual_seed(0)
        model = Denoiser(config)
        slots, weights = [top] * batch.samples, [1.0] * batch.samples
        terms = batch_loss(model, batch, slots, weights, 1.0, torch.Generator().manual_seed(1), True)
        found.append((float(terms[top][0]), model.a[0].grad))
    assert (together.samples, alone.samples) == (2, 6)
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-3, atol=1e-6)


def test_batches_hold_the_bands_of_their_crops():
    crop = synthetic(0)[:32, :32]
    batch = stack_batch([crop], 1)
    bands = haar_forward(haar_forward(forward_colour(crop)).ll)
    for name in ("ll", "hl", "lh", "hh"):
        np.testing.assert_array_equal(getattr(batch, name)[0], getattr(bands, name))


def test_crops_are_turned_before_the_transform():
    """All eight orientations occur, and about half of the crops keep their very pixels."""
    image = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    turned = [image, image[:, ::-1], image[::-1], image[::-1, ::-1]]
    turned += [t.transpose(1, 0, 2) for t in turned]
    rng = np.random.default_rng(3)
    met = [random_crop(image, 4, rng) for _ in range(200)]
    hits = [sum(np.array_equal(m, t) for m in met) for t in turned]
    assert min(hits) > 2
    assert 80 < sum(hits) < 160


def test_held_back_images_are_not_trained_on():
    images = [np.full((1, 1, 3), i, np.uint8) for i in range(20)]
    kept, back = split(images, 4)
    assert len(back) == 4
    numbers = [int(i[0, 0, 0]) for i in kept], [int(i[0, 0, 0]) for i in back]
    assert sorted(numbers[0] + numbers[1]) == list(range(20))
    assert max(numbers[1]) - min(numbers[1]) > 10
    assert split(images, 0) == (images, [])


def test_images_are_read_sorted_and_small_or_grey_ones_left_out(tmp_path):
    (tmp_path / "deeper").mkdir()
    Image.fromarray(synthetic(1)).save(tmp_path / "deeper" / "b.png")
    Image.fromarray(synthetic(0)).save(tmp_path / "a.webp", lossless=True, exact=True)
    Image.fromarray(synthetic(2)[:100]).save(tmp_path / "c.png")
    Image.fromarray(synthetic(2)[..., 0].copy()).save(tmp_path / "d.png")
    np.savez(tmp_path / "e.npz", two=synthetic(4), one=synthetic(3))
    (tmp_path / "notes.txt").write_text("no image")
    met = load_images([tmp_path])
    assert len(met) == 4
    for image, index in zip(met, (0, 1, 3, 4), strict=True):
        np.testing.assert_array_equal(image, synthetic(index))
    with pytest.raises(UsageError, match="no RGB images of 128 pixels"):
        load_images([tmp_path / "deeper" / "none"])


def test_augmentations_do_what_they_say():
    pixels, rng = synthetic(0), np.random.default_rng(2)
    y = pixels @ np.array([0.299, 0.587, 0.114])

    def detail(x):
        return float(np.abs(np.diff(x.astype(float), axis=1)).mean())

    for change in (halve_chroma, sharpen, grain, soften):
        out = change(pixels, rng)
        assert (out.shape, out.dtype) == (pixels.shape, np.uint8)
        assert (out != pixels).any()
    halved = halve_chroma(pixels, rng)
    assert np.abs(halved @ np.array([0.299, 0.587, 0.114]) - y).mean() < 1.5
    assert detail(halved[..., 0].astype(int) - halved[..., 1]) < 0.8 * detail(
        pixels[..., 0].astype(int) - pixels[..., 1]
    )
    assert detail(sharpen(pixels, rng)) > detail(pixels)
    assert np.mean([detail(soften(pixels, rng)) for _ in range(10)]) < 0.95 * detail(pixels)
    strengths = [float((grain(pixels, rng).astype(float) - pixels).std()) for _ in range(30)]
    assert 0.3 < min(strengths) < 1.5 < max(strengths) < 6
    same = sum(augment(pixels, rng) is pixels for _ in range(100))
    assert 40 < same < 75


@pytest.mark.parametrize("shape", [(64, 96), (63, 96), (64, 95), (63, 95)])
def test_halved_chroma_stays_in_place(shape):
    """Whatever kernel, phase and siting are drawn: a slope of chroma comes back as the same slope."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    pixels = np.stack((100 + columns, 100 + 0 * rows, 100 + rows), 2).astype(np.uint8)
    rng = np.random.default_rng(4)
    for _ in range(40):
        moved = halve_chroma(pixels, rng).astype(int) - pixels
        assert abs(moved[4:-4, 4:-4]).max() <= 3
        assert abs(moved[4:-4, 4:-4].mean((0, 1))).max() < 0.75


def test_grain_that_is_blurred_has_neighbours_alike():
    rng, flat = np.random.default_rng(5), np.full((128, 128, 3), 128, np.uint8)
    alike = []
    for _ in range(40):
        noise = grain(flat, rng)[..., 1].astype(float) - 128
        alike.append(float((noise[:, 1:] * noise[:, :-1]).mean() / max((noise**2).mean(), 1e-9)))
    sharp = sum(abs(a) < 0.05 for a in alike)
    assert 8 < sharp < 32
    assert max(alike) > 0.4
    assert min(alike) > -0.05


def test_validation_is_repeatable_and_the_wild_set_is_harder_to_know():
    images = [synthetic(i) for i in range(2)] + [synthetic(3)[:40]]
    clean, wild = ValidationSet.of(images, 64), ValidationSet.of(images, 64, wild=True)
    assert [c.shape for c in clean.crops] == [(64, 64, 3)] * 2  # the third is too small
    np.testing.assert_array_equal(clean.crops[0], images[0][36:100, 43:107])
    assert (wild.crops[0] != clean.crops[0]).any()
    np.testing.assert_array_equal(wild.crops[1], ValidationSet.of(images, 64, wild=True).crops[1])
    model = model_support.load_tiny_float()
    assert bits_table(model, clean, 2) == bits_table(model, clean, 2)


def test_a_validation_set_without_images_has_no_bpd():
    empty = ValidationSet.of([synthetic(0)], 900)
    assert not empty.crops
    with pytest.raises(ValueError, match="no images to validate on"):
        bits_table(model_support.load_tiny_float(), empty, 2)
