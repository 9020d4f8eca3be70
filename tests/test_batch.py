"""Images of equal size coded together: the network sees each alone, the coder sees them as one."""

import hashlib

import numpy as np
import pytest

from codec.bits_back import Ledger
from tests import model_support
from vdmcompress import batch_chain, path
from vdmcompress import engine as engines
from vdmcompress.band_chain import BandChain
from vdmcompress.batch import decode_batches, encode_batches, shape_of
from vdmcompress.batch_chain import BatchChain
from vdmcompress.cascade import encode_pixels
from vdmcompress.conditionals import Conditionals
from vdmcompress.engine import Engine
from vdmcompress.errors import DamagedFileError, VdmError
from vdmcompress.path import PLANS, BatchShape, Plan, batch_lanes
from vdmcompress.transform import forward_colour, haar_forward

tiny_model = model_support.tiny_model


@pytest.fixture(scope="module")
def engine():
    with Engine(model_support.load_tiny(), 1) as made:
        yield made


def photos(count, height, width, channels=3):
    """So many neighbouring cuts of a photograph, (n, H, W) or (n, H, W, 3)."""
    whole = model_support.photo(height, width * count, channels)
    return np.stack([whole[:, i * width : (i + 1) * width] for i in range(count)])


def check_roundtrip(batches, engine, order=(0, 1, 2)):
    encoded = encode_batches(batches, engine, order)
    shapes = [shape_of(pixels) for pixels in batches]
    back = decode_batches(encoded.lanes, shapes, encoded.plan, engine)
    for got, want in zip(back, batches, strict=True):
        np.testing.assert_array_equal(got, want)
    return encoded


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (6, 1), (3, 2), (8, 8), (13, 10), (32, 32)])
@pytest.mark.parametrize("channels", [1, 3])
def test_roundtrips(engine, size, channels):
    encoded = check_roundtrip([photos(5, *size, channels)], engine)
    assert sum(map(len, encoded.lanes)) * 8 - encoded.ledger.bits < 64 * len(encoded.lanes)


@pytest.mark.parametrize("plan", range(len(PLANS)))
def test_every_plan(engine, plan):
    assert check_roundtrip([photos(24, 17, 20)], engine, (plan,)).plan == plan


def test_several_sizes_on_one_stack(engine):
    batches = [photos(2, 40, 50), photos(3, 21, 8, 1), photos(1, 5, 5), photos(4, 5, 5, 1)]
    encoded = check_roundtrip(batches, engine)
    assert [len(bits) for bits in encoded.bits] == [2, 3, 1, 4]
    total = sum(float(bits.sum()) for bits in encoded.bits)
    assert total == pytest.approx(encoded.ledger.bits)
    assert all((bits > 0).all() for bits in encoded.bits)


def test_progress_ends_with_all_pixels(engine):
    batches, calls = [photos(3, 20, 9), photos(2, 1, 1)], []
    encoded = encode_batches(batches, engine, (2,), lambda *call: calls.append(call))
    shapes = [shape_of(pixels) for pixels in batches]
    decode_batches(encoded.lanes, shapes, encoded.plan, engine, lambda *call: calls.append(call))
    for stage in ("encode", "decode"):
        done = [call[0] for call in calls if call[1:] == (542, stage)]
        assert done == sorted(set(done))
        assert done[-1] == 542
        assert len(done) > 12
    assert {call[1:] for call in calls} == {(542, "encode"), (542, "decode")}


def test_shares_tell_noise_from_smoothness(engine):
    pixels = photos(6, 16, 16)
    pixels[2], pixels[4] = model_support.noise(16, 16), 90
    (bits,) = encode_batches([pixels], engine, (2,)).bits
    assert bits.argmax() == 2
    assert bits.argmin() == 4


def bins_of(chain, k, z, rows):
    found = chain.likelihood(k, z, rows)
    return found.mean, found.scale, found.coupling


@pytest.mark.parametrize("size", [(12, 9), (11, 16)])
@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_network_sees_each_image_alone(engine, size, together, channels, monkeypatch):
    """Integers of every step of every band equal those of each image coded by itself."""
    if not together:
        monkeypatch.setattr(engines, "BATCH_POSITIONS", 1)
    conditionals = Conditionals(engine.model, channels)
    shape = BatchShape(4, *size, channels)
    planes = planes_of(photos(4, *size, channels))
    alone = [haar_forward(image) for image in planes]
    rng = np.random.default_rng(0)
    for band in range(3):
        names = ("ll", "hl", "lh")[: band + 1]
        ctx = [np.stack([getattr(bands, name) for bands in alone]) for name in names]
        for plan in (Plan(128, 0, 99), Plan(128, 0, 0)):
            chain = BatchChain(engine, conditionals, shape, 0, band, ctx, plan)
            rows = chain.shape[0]
            whole = slice(0, 4 * rows)
            z = rng.integers(-9, 10, chain.blank().shape).astype(np.int16)
            for k in range(1, chain.levels + 1):
                latent = None if k == chain.levels else z
                met = bins_of(chain, k, latent, whole)
                for i in range(4):
                    one = BandChain(
                        engine, conditionals, 0, band, [c[i] for c in ctx], size, plan.last > 0, 128
                    )
                    want = bins_of(one, k, None if latent is None else z[i], slice(0, rows))
                    n = len(want[0])
                    for got, expected in zip(met, want, strict=True):
                        np.testing.assert_array_equal(got[i * n : (i + 1) * n], expected)


def planes_of(pixels):
    return np.stack([forward_colour(image) for image in pixels])


def chain_of(engine, shape, plan=PLANS[2], band=0):
    """The chain of a band of scale 0 of grey noise."""
    pixels = model_support.noise(shape.count * shape.height, shape.width, 1)
    planes = planes_of(pixels.reshape(shape.count, shape.height, shape.width))
    bands = [haar_forward(image) for image in planes]
    ctx = [np.stack([getattr(found, name) for found in bands]) for name in ("ll", "hl", "lh")[: band + 1]]
    return BatchChain(engine, Conditionals(engine.model, 1), shape, 0, band, ctx, plan)


def test_large_images_have_strips_of_their_own(engine, monkeypatch):
    """Small ones share them, and so do small bands of large ones."""
    small, large = BatchShape(5, 128, 127, 1), BatchShape(5, 128, 128, 1)
    assert chain_of(engine, small).strips == [slice(0, 5 * 64)]
    assert chain_of(engine, large).strips == [slice(i * 64, i * 64 + 64) for i in range(5)]
    assert chain_of(engine, BatchShape(2, 128, 128, 1), Plan(24, 0, 99)).strips == [
        slice(i + first, i + last) for i in (0, 64) for first, last in ((0, 24), (24, 48), (48, 64))
    ]
    assert large.shares_strips(63)
    assert not large.shares_strips(64)
    monkeypatch.setattr(path, "LARGE_PIXELS", 60 * 44)
    monkeypatch.setattr(batch_chain, "DIRECT_STRIP", 9)
    for order in ((0,), (3,), (2,)):
        check_roundtrip([photos(3, 60, 44), photos(30, 8, 8)], engine, order)


def test_shared_strips_are_few_and_equal():
    shared = batch_chain._shared_strips
    assert shared(5, 4, 4, 40) == [slice(0, 4), slice(4, 12), slice(12, 20)]
    assert shared(5, 4, 4, 80) == [slice(0, 20)]
    assert shared(2, 4, 4, 15) == [slice(0, 4), slice(4, 8)]
    assert shared(5, 0, 4, 40) == shared(5, 4, 0, 40) == []
    assert batch_chain._own_strips(2, 3, 0, 2) == batch_chain._own_strips(2, 0, 3, 2) == []


def test_tops_of_many_images_are_computed_once(engine, monkeypatch):
    """Whatever the strips: images that may share one go through the network together."""
    asked = []
    evaluate = type(engine).evaluate_batch

    def counted(self, row, raw, part):
        asked.append(len(raw))
        return evaluate(self, row, raw, part)

    monkeypatch.setattr(type(engine), "evaluate_batch", counted)
    monkeypatch.setattr(path, "LARGE_PIXELS", 1)
    monkeypatch.setattr(batch_chain, "DIRECT_POSITIONS", 3 * 64)
    whole = chain_of(engine, BatchShape(7, 16, 16, 1))
    assert len(whole.strips) == 7
    found = [whole.likelihood(1, None, rows) for rows in whole.strips]
    assert asked == [2, 2, 3]
    for backwards, bins in zip(whole.strips[::-1], found[::-1], strict=True):
        np.testing.assert_array_equal(whole.likelihood(1, None, backwards).mean, bins.mean)
    one = whole._images(1, None, slice(4, 5))
    np.testing.assert_array_equal(found[4].mean, one.mean)
    np.testing.assert_array_equal(found[4].scale, one.scale)


def test_threads_and_tiles_do_not_change_bytes(tiny_model):
    batches = [photos(9, 20, 24), photos(1, 90, 70)]
    lanes = []
    for threads, tile in ((1, 256), (3, 32)):
        with Engine(tiny_model, threads, tile=tile) as made:
            lanes.append(check_roundtrip(batches, made).lanes)
    assert lanes[0] == lanes[1]


def test_reference_path_gives_the_same(tiny_model, engine):
    pixels = [photos(3, 10, 12)]
    with Engine(tiny_model, 1, "cpu_float") as reference:
        assert encode_batches(pixels, reference, (0,)).lanes == encode_batches(pixels, engine, (0,)).lanes


def test_many_cost_less_than_each_alone(tiny_model, engine):
    pixels = photos(40, 16, 16)
    together = sum(map(len, encode_batches([pixels], engine, (2,)).lanes))
    alone = sum(sum(map(len, encode_pixels(image, tiny_model, 1, order=(2,)).lanes)) for image in pixels[:8])
    assert together / 40 < 0.97 * alone / 8


def test_pyramid_goes_down_to_one_value():
    assert BatchShape(2, 5, 32, 3).pyramid[-3:] == [(2, 8), (1, 4), (1, 2), (1, 1)][-3:]
    assert BatchShape(2, 1, 1, 1).pyramid == [(1, 1)]


def test_damage_is_named(engine):
    pixels = photos(6, 12, 12)
    shape = shape_of(pixels)
    encoded = encode_batches([pixels], engine, (2,))
    (lane,) = encoded.lanes
    cases = {
        "plan 9": ([lane], [shape], 9),
        "lanes": ([lane, lane], [shape], 2),
        "more": ([lane], [BatchShape(7, 12, 12, 3)], 2),
        "fewer": ([lane], [BatchShape(5, 12, 12, 3)], 2),
        "empty": ([b""], [shape], 2),
        "longer": ([b"\x05\x00\x00\x00" + lane], [shape], 2),
    }
    for name, (lanes, shapes, plan) in cases.items():
        with pytest.raises(VdmError) as met:
            decode_batches(lanes, shapes, plan, engine)
        assert met.value.exit_code == DamagedFileError.exit_code, name
    rng = np.random.default_rng(1)
    for _ in range(20):
        bad = bytearray(lane)
        bad[rng.integers(len(bad))] ^= 1 << rng.integers(8)
        try:
            (got,) = decode_batches([bytes(bad)], [shape], 2, engine)
        except VdmError as error:
            assert error.exit_code == DamagedFileError.exit_code
        else:
            assert (got != pixels).any()


def test_golden_bytes(engine):
    """The bytes of the format as it stands; a change here is a change of the format."""
    y, x = np.mgrid[:120, :14]
    tall = np.stack(((x * x + 3 * y) % 256, (5 * x + y) % 256, (x * y) % 251), 2).astype(np.uint8)
    encoded = encode_batches(
        [tall.reshape(10, 12, 14, 3), tall[:45, :7, 0].reshape(9, 5, 7)], engine, (0, 1, 2)
    )
    digest = hashlib.sha256(b"|".join(encoded.lanes)).hexdigest()[:16]
    assert (encoded.plan, len(encoded.lanes), digest) == GOLDEN


GOLDEN = (0, 1, "a17fda076d2013b2")


def test_lanes_by_all_pixels():
    assert batch_lanes([BatchShape(1, 128, 128, 3)]) == 1
    assert batch_lanes([BatchShape(16, 128, 128, 3), BatchShape(1, 1, 1, 1)]) == 16


def test_ledger_labels(engine):
    ledger = encode_batches([photos(3, 8, 8)], engine, (2,)).ledger
    assert isinstance(ledger, Ledger)
    assert {label for label, _, _ in ledger.entries} == {
        "0/HL", "0/LH", "0/HH", "1/HL", "1/LH", "1/HH", "2/HL", "2/LH", "2/HH", "top",
    }  # fmt: skip
