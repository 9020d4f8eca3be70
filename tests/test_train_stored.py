"""Photographs as files store them: what the coder finds behind the pixels is what training is given."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.model_support import synthetic
from vdmcompress.colour import to_planes
from vdmcompress.subsampling import upsample
from vdmcompress.train.data import Crops, bands_of, stored_batch
from vdmcompress.train.device_data import DeviceCrops, copies_without_end, stored_on_device
from vdmcompress.train.stored import HALVED, as_stored, drawn, stored_bands, stored_planes, stored_whole
from vdmcompress.train.validate import ValidationSet
from vdmcompress.ycc import CONVERSIONS, to_rgb

CPU = torch.device("cpu")
BANDS = ("ll", "hl", "lh", "hh")


def photograph(seed=0, side=64):
    """Smooth colours with a little noise, nowhere near black or white."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(60, 190, (8, 8, 3), dtype=np.uint8)).resize((side, side), 3)
    return (np.asarray(coarse) + rng.integers(-3, 4, (side, side, 1))).astype(np.uint8)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("scale", [0, 1, 2])
def test_bands_on_a_device_are_those_of_the_coder(half, scale):
    stored = np.stack([as_stored(photograph(seed), half, np.random.default_rng(seed)) for seed in range(4)])
    found = stored_on_device(torch.from_numpy(stored), scale, half)
    assert (found.components, found.samples, found.group) == (1 if half and scale == 0 else 3, 1, 4)
    for image, parts in enumerate(zip(*(getattr(found, name) for name in BANDS), strict=True)):
        for band, wanted in zip(parts, stored_bands(stored[image], half, scale), strict=True):
            np.testing.assert_array_equal(band.numpy(), wanted)


def test_full_chroma_is_split_like_any_planes():
    stored = as_stored(photograph(), False, np.random.default_rng(1))
    ll, *_ = stored_bands(stored, False, 0)
    grey = np.stack([stored[..., 0]] * 3, 2)
    np.testing.assert_array_equal(ll[0], bands_of(grey, 0).ll[0])


@pytest.mark.parametrize("half", [False, True])
def test_the_coder_finds_the_planes_that_a_jpeg_stores(half):
    """Through a real JPEG, decoded to RGB by Pillow: luma is exactly the one that training makes of it."""
    jpegs = [seed for seed in range(20) if np.random.default_rng(seed).random() >= 0.5]
    rng = np.random.default_rng(jpegs[0])
    pixels = photograph(2, 96)
    stored = as_stored(pixels, half, rng)
    rng = np.random.default_rng(jpegs[0])
    rng.random()
    quality = int(rng.integers(72, 99))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling="4:2:0" if half else 0)
    rgb = np.asarray(Image.open(buffer))
    planes, colour = to_planes(rgb)
    assert colour.name == f"JPEG {'4:2:0' if half else '4:4:4'}"
    wanted = stored_planes(stored, half)
    assert (planes.full[0] == wanted.full[0]).mean() > 0.9
    chroma, other = (p.half if half else p.full[1:] for p in (planes, wanted))
    assert chroma.shape == other.shape
    assert abs(chroma - other).mean() < 0.6


def test_a_photo_cd_is_found_again():
    """Half of the drawn ones are PhotoCDs: their RGB, brought back, has the planes it was made of."""
    films = [seed for seed in range(20) if np.random.default_rng(seed).random() < 0.5]
    stored = as_stored(photograph(3), False, np.random.default_rng(films[0]))
    conversion = CONVERSIONS[-1]
    y, c2, c1 = (stored[..., c].astype(np.int16) for c in range(3))
    ycc = np.stack((y, conversion.centre[0] + 128 - c1, c2 - 128 + conversion.centre[1]), 2)
    rgb = to_rgb(ycc.reshape(-1, 3).astype(np.uint8), conversion).reshape(stored.shape)
    assert abs(rgb.astype(int) - photograph(3)).mean() < 2
    planes, colour = to_planes(rgb)
    assert colour.conversion is conversion
    wanted = stored_planes(stored, False)
    if colour.name.endswith("4:4:4"):
        np.testing.assert_array_equal(planes.full, wanted.full)


def test_halved_chroma_stands_in_the_pixels_that_it_is_for():
    stored = as_stored(photograph(4), True, np.random.default_rng(0))
    for c in (1, 2):
        np.testing.assert_array_equal(stored[::2, ::2, c], stored[1::2, 1::2, c])
    assert (stored[::2, ::2, 0] != stored[1::2, 1::2, 0]).any()


def test_what_is_drawn_looks_like_what_the_coder_finds():
    met = set()
    for seed in range(16):
        planes, colour = drawn(photograph(seed)[:63, :61], np.random.default_rng(seed))
        assert planes.size == (62, 60)
        planes.check_range()
        assert (planes.half is None) == (colour.name == "JPEG 4:4:4")
        if planes.half is not None:
            assert upsample(planes.half[0].astype(np.uint8), colour.subsampling, 62, 60).shape == (62, 60)
        met.add(colour)
    assert {colour.number for colour in met} == {1, 2}


def test_odd_sides_are_kept():
    stored = stored_whole(photograph()[:63, :61], True, np.random.default_rng(0))
    assert stored.shape == (63, 61, 3)
    np.testing.assert_array_equal(stored[-1], stored[-2])


def test_batches_are_stored_photographs():
    """Halved and full chroma in their proportions, groups whole, the same on a device but for its copies."""
    crops = Crops([synthetic(i) for i in range(3)], 1, 8, (0.6, 0.4), 0.3, 4, 5, stored=True)
    device = DeviceCrops(crops, 1, CPU)
    assert len(device.pools) == 2
    for make in (crops, device):
        met = [make(step) for step in range(60)]
        assert {(b.scale, b.components) for b in met} == {(0, 1), (0, 3), (1, 3)}
        finest = [b.components == 1 for b in met if b.scale == 0]
        assert abs(np.mean(finest) - HALVED) < 0.25
        assert all((len(b.ll), b.samples) == (5, 1) for b in met)
        assert all(np.any(np.asarray(b.ll)[:, 1]) for b in met)


def test_crops_of_halved_chroma_begin_at_even_pixels():
    crops = Crops([photograph(i) for i in range(2)], 1, 8, (1.0,), 0.0, 4, 40, stored=True)
    pool = DeviceCrops(crops, 1, CPU).pools[1]
    found = pool.cut(np.zeros(40, np.int64), 16, np.random.default_rng(0), even=True).numpy()
    np.testing.assert_array_equal(found[:, ::2, ::2, 1:], found[:, 1::2, 1::2, 1:])


@pytest.mark.parametrize("workers", [0, 1])
def test_copies_fill_both_pools(workers):
    given = [photograph(i) for i in range(2)]
    met = set()
    for count, (image, pool, pixels) in enumerate(copies_without_end(given, 3, workers, stored=True)):
        assert pixels.shape == given[image].shape
        met.add(pool)
        if met == {0, 1} or count > 50:
            break
    assert met == {0, 1}


def test_validation_measures_stored_crops():
    images = ValidationSet.of([photograph(i) for i in range(8)], 32)
    stored = replace(images, stored=True)
    one, again = (stored.batch(0, 3) for _ in range(2))
    np.testing.assert_array_equal(one.hl, again.hl)
    assert {stored.batch(0, i).components for i in range(8)} == {1, 3}
    assert {images.batch(0, i).components for i in range(8)} == {3}
    assert stored_batch([photograph()[:32, :32]], 1, np.random.default_rng(0)).components == 3
