"""Views of a band: mirror images of pyramids, averages over them, models that have them."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tests import model_support
from vdmcompress.band_chain import BandChain
from vdmcompress.batch import decode_batches, encode_batches, shape_of
from vdmcompress.batch_chain import BatchChain
from vdmcompress.cascade import decode_pixels, encode_pixels
from vdmcompress.conditionals import Conditionals
from vdmcompress.engine import Engine
from vdmcompress.errors import ModelMissingError
from vdmcompress.evaluate import evaluate
from vdmcompress.exact import PART
from vdmcompress.mirrors import HALF, VIEWS, View, average, exponent
from vdmcompress.model_file import parse_model, read_model
from vdmcompress.model_search import shipped_folder
from vdmcompress.path import ORDERS, BatchShape, Plan
from vdmcompress.train.export import write_model
from vdmcompress.transform import forward_colour, haar_forward

HL, LH, HH = range(3)
DIRECT = Plan(128, 0, 0)


@pytest.fixture(scope="module")
def plain():
    """A narrow model without latents."""
    return replace(read_model(shipped_folder() / "dart.vdm.safetensors"))


@pytest.fixture(scope="module", params=[2, 4])
def seeing(plain, request):
    return replace(plain, views=request.param)


def pyramid_of(pixels):
    """LL, HL, LH, HH of an image."""
    found = haar_forward(forward_colour(np.ascontiguousarray(pixels)))
    return found.ll, found.hl, found.lh, found.hh


@pytest.mark.parametrize("view", VIEWS[4], ids=str)
def test_the_pyramid_of_a_mirror_image_is_the_mirrored_pyramid(view):
    """Signs are those of `View.sign`; only HL is rounded down, one lower where HH is odd."""
    pixels = model_support.photo(48, 64)
    ll, *details = pyramid_of(pixels)
    mirrored = pyramid_of(view.turn(pixels.transpose(2, 0, 1)).transpose(1, 2, 0))
    np.testing.assert_array_equal(mirrored[0], view.turn(ll))
    odd = view.turn(details[HH]) & 1
    for band, (detail, met) in enumerate(zip(details, mirrored[1:], strict=True)):
        lower = odd if band == HL and view.across else 0
        np.testing.assert_array_equal(met, view.sign(band) * view.turn(detail) - lower)
    assert 0.3 < odd.mean() < 0.7


@pytest.mark.parametrize("band", range(3))
def test_the_average_is_that_of_parameters(band):
    """A twin in float: each view's y and l turned back and averaged, HL by half a grey level more."""
    rng = np.random.default_rng(band)
    views = VIEWS[4]
    outputs = [
        (rng.integers(-(1 << 22), 1 << 22, (5, 6, PART)).astype(np.int32),
         rng.integers(-(1 << 18), 1 << 18, (3, 5, 6)).astype(np.int32))
        for _ in views
    ]  # fmt: skip
    sums, linear = average(zip(views, outputs, strict=True), band)
    want_sums, want_linear = np.zeros((5, 6, PART)), np.zeros((3, 5, 6))
    for view, (y, guess) in zip(views, outputs, strict=True):
        flips = [axis for axis, on in ((0, view.down), (1, view.across)) if on]
        y, guess = np.flip(y, flips).astype(float), np.flip(guess, [axis + 1 for axis in flips]) / 1024
        if view.across and band in (HL, HH):
            y[..., :3], guess = -y[..., :3], -(guess + 0.5 * (band == HL))
        if view.down and band in (LH, HH):
            y[..., :3], guess = -y[..., :3], -guess
        want_sums, want_linear = want_sums + y / 4, want_linear + guess / 4
    np.testing.assert_array_equal(sums / 2.0 ** exponent(4), want_sums)
    assert abs(linear / 1024 - want_linear).max() <= 0.5 / 1024
    assert sums.dtype == linear.dtype == np.int32


def test_averages_hold_the_largest_outputs():
    most = (1 << 30) - 1
    outputs = (np.full((1, 1, PART), (1 << 24) - 1, np.int32), np.full((3, 1, 1), most, np.int32))
    sums, linear = average(((View(), outputs) for _ in range(4)), LH)
    assert (sums == 4 * ((1 << 24) - 1)).all()
    assert (linear == most).all()
    _, below = average(((View(across=True), outputs) for _ in range(2)), HL)
    assert (below == -most - HALF).all()


@pytest.mark.parametrize("band", range(3))
@pytest.mark.parametrize("size", [(20, 24), (19, 23)])
def test_parameters_go_with_the_image(seeing, band, size):
    """What a model with all views says of a mirrored context is the mirrored of what it says, exactly."""
    bands = pyramid_of(model_support.photo(*size))
    with Engine(seeing, 1, "cpu") as engine:

        def means(view):
            ctx = [view.turn(bands[0]), *(view.sign(b) * view.turn(bands[1 + b]) for b in range(band))]
            even = (2 * bands[0].shape[1], 2 * bands[0].shape[2])  # where positions exist makes no difference
            ctx = [np.ascontiguousarray(each) for each in ctx]
            chain = BandChain(engine, Conditionals(seeing, 3), 0, band, ctx, even, False, 128)
            rows = slice(0, chain.shape[0])
            bins = chain.likelihood(1, None, rows)
            shape = (*chain.shape, 3)
            return [v.reshape(shape).transpose(2, 0, 1) for v in (bins.mean, bins.scale, bins.coupling)]

        mean, scale, coupling = means(View())
        for view in VIEWS[seeing.views]:
            met, s, k = means(view)
            want = view.sign(band) * view.turn(mean) - 32 * (band == HL and view.across)
            assert abs(met - want).max() <= 1  # a half is rounded up in both
            np.testing.assert_array_equal(s, view.turn(scale))
            np.testing.assert_array_equal(k, view.turn(coupling))


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (7, 2), (33, 34), (64, 50)])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_come_back(seeing, size, channels):
    pixels = model_support.photo(*size, channels)
    encoded = encode_pixels(pixels, seeing, 1, order=ORDERS["none"])
    back = decode_pixels(encoded.lanes, *size, channels, encoded.plan, seeing, 2)
    np.testing.assert_array_equal(back, pixels)


def test_tiles_strips_and_threads_do_not_change_bytes(seeing):
    """Strips of 256 rows and the views that have them at the other end."""
    pixels = model_support.photo(540, 70, index=1)
    one = encode_pixels(pixels, seeing, 1, order=ORDERS["none"])
    assert encode_pixels(pixels, seeing, 3, order=ORDERS["none"]).lanes == one.lanes
    small = encode_pixels(pixels, seeing, 2, order=ORDERS["none"], memory=600 << 20)
    assert small.lanes == one.lanes


@pytest.mark.parametrize("size", [(12, 9), (11, 16)])
def test_many_images_have_the_integers_of_each_alone(seeing, size):
    photos = [model_support.photo(*size, index=i) for i in range(3)]
    alone = [pyramid_of(photo) for photo in photos]
    conditionals, shape = Conditionals(seeing, 3), BatchShape(3, *size, 3)
    with Engine(seeing, 1, "cpu") as engine:
        for band in range(3):
            ctx = [np.stack(each) for each in zip(*(bands[: band + 1] for bands in alone), strict=True)]
            chain = BatchChain(engine, conditionals, shape, 0, band, ctx, DIRECT)
            met = chain.likelihood(1, None, slice(0, 3 * chain.shape[0])).mean
            for i, bands in enumerate(alone):
                one = BandChain(engine, conditionals, 0, band, bands[: band + 1], size, False, 128)
                want = one.likelihood(1, None, slice(0, one.shape[0])).mean
                np.testing.assert_array_equal(met[i * len(want) : (i + 1) * len(want)], want)


def test_archives_come_back(seeing):
    batch = np.stack([model_support.photo(20, 22, index=i) for i in range(3)])
    with Engine(seeing, 2, "cpu") as engine:
        encoded = encode_batches([batch], engine, ORDERS["none"])
        (back,) = decode_batches(encoded.lanes, [shape_of(batch)], encoded.plan, engine)
    np.testing.assert_array_equal(back, batch)


def test_views_make_photographs_smaller(plain):
    """Their errors are not alike: four views beat one."""
    pixels = model_support.photo(96, 96)
    bits = [
        encode_pixels(pixels, replace(plain, views=views), 2, order=ORDERS["none"]).ledger.bits
        for views in (1, 4)
    ]
    assert bits[1] < 0.999 * bits[0]


def test_the_bound_sees_the_views(seeing):
    """The VLB is that of what the coder does: coded bits within 1 % of it."""
    pixels = model_support.photo(96, 96)
    encoded = encode_pixels(pixels, seeing, 1, order=ORDERS["none"])
    found = evaluate(pixels, seeing, 1, encoded=encoded)
    assert found["coded_bits"] == pytest.approx(found["vlb_bits"], rel=0.005)


def test_model_files_tell_their_views(plain, tmp_path):
    for views in (1, 2, 4):
        made = write_model(replace(plain, views=views), tmp_path / "x.vdm.safetensors")
        assert made.views == views
        assert (made.hash8 == plain.hash8) == (views == 1)
        config = json.loads(json.loads(header_of(tmp_path / "x.vdm.safetensors"))["__metadata__"]["config"])
        assert config.get("views", 1) == views
    with pytest.raises(ModelMissingError, match="views 3, allowed are 1, 2, 4"):
        write_model(replace(plain, views=3), tmp_path / "y.vdm.safetensors")
    with pytest.raises(ModelMissingError, match="views 4, allowed are 1 with this noise path"):
        write_model(replace(model_support.load_tiny(), views=4), tmp_path / "y.vdm.safetensors")
    data = (tmp_path / "x.vdm.safetensors").read_bytes().replace(b'\\"views\\": 4', b'\\"views\\":[]')
    with pytest.raises(ModelMissingError, match=r"'\[\]' where a whole number stands"):
        parse_model(data, "x")


def header_of(path):
    data = path.read_bytes()
    return data[8 : 8 + int.from_bytes(data[:8], "little")]
