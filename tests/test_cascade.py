"""Whole images through the cascade: every size, kind and plan comes back; damage is met by name; previews."""

import hashlib
import threading

import numpy as np
import pytest

from codec.ans import Stack
from tests import model_support
from vdmcompress import cascade
from vdmcompress.cascade import decode_pixels, encode_pixels, lane_count
from vdmcompress.errors import DamagedFileError, VdmError
from vdmcompress.path import ORDERS, PLANS
from vdmcompress.transform import forward_colour, haar_forward, inverse_colour, pyramid_shapes

tiny_model = model_support.tiny_model
SIZES = [(1, 1), (1, 7), (3, 5), (5, 3), (16, 16), (31, 33), (63, 65), (64, 96), (100, 7)]


def gradient(height, width, channels):
    y, x = np.mgrid[:height, :width]
    grey = ((3 * x + 2 * y) % 256).astype(np.uint8)
    return grey if channels == 1 else np.stack((grey, grey[::-1], 255 - grey), 2)


def checkerboard(height, width, channels):
    y, x = np.mgrid[:height, :width]
    grey = np.where((x + y) % 2 == 0, 0, 255).astype(np.uint8)
    return grey if channels == 1 else np.stack((grey, 255 - grey, grey), 2)


def flat(height, width, channels):
    shape = (height, width) if channels == 1 else (height, width, 3)
    return np.full(shape, 255, np.uint8)


IMAGES = {
    "photo": model_support.photo,
    "noise": model_support.noise,
    "flat": flat,
    "gradient": gradient,
    "checkerboard": checkerboard,
}


def check_roundtrip(pixels, model, threads=1, order=ORDERS["one"]):
    """Encode, decode, compare; returns what was encoded."""
    encoded = encode_pixels(pixels, model, threads, order=order)
    channels = 1 if pixels.ndim == 2 else 3
    back = decode_pixels(encoded.lanes, *pixels.shape[:2], channels, encoded.plan, model, threads)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, pixels)
    return encoded


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", sorted(IMAGES))
def test_round_trip(tiny_model, kind, channels, size):
    pixels = IMAGES[kind](*size, channels)
    encoded = check_roundtrip(pixels, tiny_model)
    assert len(encoded.lanes) == lane_count(*size)
    assert encoded.ledger.bits == pytest.approx(Stack.from_lanes(encoded.lanes).bits, abs=1e-6)


@pytest.mark.parametrize("index", range(3))
def test_photographs_are_made_smaller(tiny_model, index):
    photo = model_support.photo(64, 96, index=index)
    assert sum(map(len, check_roundtrip(photo, tiny_model).lanes)) < 0.75 * photo.size


@pytest.mark.parametrize("index", range(len(PLANS)))
@pytest.mark.parametrize("channels", [1, 3])
def test_every_plan_comes_back(tiny_model, index, channels):
    """The plan alone in the order, so that nothing else can be taken; three strips of 32 rows."""
    pixels = model_support.photo(140, 50, channels, index=1)
    encoded = check_roundtrip(pixels, tiny_model, order=(index,))
    assert encoded.plan == index
    latents = {label for label, _, kind in encoded.ledger.entries if kind == "q"}
    scales = range(len(haar_shapes(140, 50)))
    bands = ((0, "HL"), (1, "LH"))
    assert latents == {f"{s}/{name}" for s in scales for b, name in bands if PLANS[index].has_latents(s, b)}


def haar_shapes(height, width):
    return cascade.pyramid_shapes(height, width)[:-1]


def test_plans_give_different_bytes(tiny_model):
    """At 560 rows, 280 of the finest band and 35 of the fourth, every plan means something of its own."""
    pixels = model_support.photo(560, 50, index=1)
    met = [b"".join(encode_pixels(pixels, tiny_model, 1, order=(i,)).lanes) for i in range(len(PLANS))]
    assert len(set(met)) == len(PLANS)


def test_strips_that_hold_the_whole_band_are_all_the_same(tiny_model):
    """Below 64 rows the plans with strips of 128 and of 32 rows write the same bytes."""
    pixels = model_support.photo(64, 70)
    first, second = (encode_pixels(pixels, tiny_model, 1, order=(index,)).lanes for index in (0, 1))
    assert first == second


def test_later_plans_take_the_place_of_those_that_do_not_fit(tiny_model):
    """Order decides: the first plan that the image can lend its bits to."""
    photo = model_support.photo(64, 64)
    assert check_roundtrip(photo, tiny_model).plan == ORDERS["one"][0]
    assert check_roundtrip(photo, tiny_model, order=(2, 0)).plan == 2
    assert check_roundtrip(photo, tiny_model, order=ORDERS["all"]).plan == ORDERS["all"][0]
    smooth = check_roundtrip(flat(64, 96, 3), tiny_model, order=ORDERS["all"])
    assert smooth.plan not in ORDERS["all"][:2]


def test_no_plan_at_all_is_named(tiny_model):
    with pytest.raises(VdmError, match="no plan fits"):
        encode_pixels(model_support.photo(8, 8), tiny_model, 1, order=())


@pytest.mark.parametrize("channels", [1, 3])
def test_threads_do_not_change_bytes(tiny_model, channels):
    """Enough pixels for several lanes and for threads to share them."""
    pixels = model_support.photo(150, 230, channels)
    one = check_roundtrip(pixels, tiny_model, 1)
    assert len(one.lanes) > 1
    for threads in (2, 3):
        assert check_roundtrip(pixels, tiny_model, threads).lanes == one.lanes
    back = decode_pixels(one.lanes, 150, 230, channels, one.plan, tiny_model, 3)
    np.testing.assert_array_equal(back, pixels)


def test_encoding_twice_gives_the_same(tiny_model):
    pixels = model_support.photo(40, 40)
    assert encode_pixels(pixels, tiny_model, 1).lanes == encode_pixels(pixels, tiny_model, 1).lanes


def digest(lanes):
    return hashlib.sha256(b"|".join(lanes)).hexdigest()[:16]


def test_golden_bytes(tiny_model):
    """The bytes of the format as it stands, with this model; a change here is a change of the format."""
    y, x = np.mgrid[:37, :50]
    ripple = (x * x // 9 + y * (x % 5) + 7 * (y % 3)) % 256
    pixels = np.stack((ripple, (ripple + 3 * y) % 256, (2 * x + y) % 256), 2).astype(np.uint8)
    assert tiny_model.hash8.hex() == "ad543c688ff8c949"
    for plan, digests in GOLDEN.items():
        both = [encode_pixels(each, tiny_model, 1, order=(plan,)) for each in (pixels, pixels[..., 0].copy())]
        assert tuple(digest(one.lanes) for one in both) == digests


GOLDEN = {0: ("79b78ebc2aaeda63", "33e313e5da6b1dd8"), 15: ("acdfddda949241db", "cce7145f0a823187")}


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (31, 33), (64, 96)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", [2, 4, 8])
def test_previews_are_the_low_bands(tiny_model, size, channels, scale):
    """decode at 1/2, 1/4, 1/8 gives LL of the pyramid there, or the coarsest image of the pyramid."""
    pixels = model_support.photo(*size, channels)
    encoded = encode_pixels(pixels, tiny_model, 1)
    planes = forward_colour(pixels)
    for _ in range({2: 1, 4: 2, 8: 3}[scale]):
        if planes.shape[1] * planes.shape[2] > 4:
            planes = haar_forward(planes).ll
    want = inverse_colour(planes, clip=True)
    got = decode_pixels(encoded.lanes, *size, channels, encoded.plan, tiny_model, 1, scale)
    np.testing.assert_array_equal(got, want)
    if size == (64, 96):
        assert got.shape[:2] == (64 // scale, 96 // scale)


def test_the_next_band_is_evaluated_while_one_is_coded(tiny_model, monkeypatch):
    """All but the first and last wait for the following one's evaluation: nothing else would make it now."""
    encode, evaluate = cascade.bits_back.encode, cascade.BandChain._evaluate
    coded, begun, last = [], {}, 3 * (len(pyramid_shapes(64, 64)) - 1) - 1

    def place(chain):
        return 3 * chain.scale + 2 - chain.band

    def evaluated(chain, *arguments):
        found = evaluate(chain, *arguments)
        begun.setdefault(place(chain), threading.Event()).set()
        return found

    def coder(stack, detail, chain, *arguments):
        coded.append(place(chain))
        if 0 < place(chain) < last:
            assert begun.setdefault(place(chain) + 1, threading.Event()).wait(60)
        encode(stack, detail, chain, *arguments)

    monkeypatch.setattr(cascade.BandChain, "_evaluate", evaluated)
    monkeypatch.setattr(cascade.bits_back, "encode", coder)
    encode_pixels(model_support.photo(64, 64), tiny_model, 2, order=ORDERS["none"])
    assert coded == list(range(last + 1))


def test_progress_runs_to_its_end(tiny_model):
    pixels = model_support.photo(64, 96)
    met = []

    def progress(done, total, what):
        met.append((what, done / total))

    encoded = encode_pixels(pixels, tiny_model, 1, progress)
    decode_pixels(encoded.lanes, 64, 96, 3, encoded.plan, tiny_model, 1, progress=progress)
    for what in ("encode", "decode"):
        shares = [share for name, share in met if name == what]
        assert shares == sorted(shares)
        assert len(shares) == len(haar_shapes(64, 96))
        assert shares[-1] == pytest.approx(1)


def test_lanes_by_size():
    assert [lane_count(*size) for size in ((1, 1), (128, 128), (128, 129), (512, 512), (4000, 3000))] == [
        1, 1, 2, 16, 16,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def sound():
    pixels = model_support.photo(31, 45)
    return pixels, encode_pixels(pixels, model_support.load_tiny(), 1)


@pytest.mark.parametrize("seed", range(30))
def test_flipped_bits_are_damage_or_pixels(tiny_model, sound, seed):
    """Anywhere in the lanes, mostly near the end (the coarse scales): never another exception."""
    pixels, encoded = sound
    rng = np.random.default_rng(seed)
    lanes = [bytearray(lane) for lane in encoded.lanes]
    for _ in range(1 + seed % 3):
        lane = lanes[rng.integers(len(lanes))]
        at = len(lane) - 1 - int(len(lane) * rng.random() ** 3)
        lane[at] ^= 1 << rng.integers(8)
    try:
        got = decode_pixels([bytes(b) for b in lanes], 31, 45, 3, encoded.plan, tiny_model, 1)
    except VdmError as error:
        assert error.exit_code == 3, error
    else:
        assert got.shape == pixels.shape
        assert got.dtype == np.uint8
        assert (got != pixels).any()


def test_lanes_that_are_no_stack_are_damage(tiny_model, sound):
    _, encoded = sound
    (lane,) = encoded.lanes
    noise = np.random.default_rng(1).integers(0, 256, len(lane) // 4 * 4, dtype=np.uint8).tobytes()
    cases = {
        "cut at the bottom": [lane[4:]],
        "cut at the top": [lane[:-4]],
        "odd length": [lane[1:]],
        "empty": [b""],
        "nothing": [],
        "two lanes": [lane, lane],
        "head too low": [lane[:-8] + bytes(8)],
        "noise": [noise[:-8] + b"\x01" * 8],
    }
    for name, lanes in cases.items():
        with pytest.raises(VdmError) as met:
            decode_pixels(lanes, 31, 45, 3, encoded.plan, tiny_model, 1)
        assert met.value.exit_code == 3, (name, met.value)


def test_bits_left_over_are_damage(tiny_model, sound):
    pixels, encoded = sound
    more = [b"\x05\x00\x00\x00" + lane for lane in encoded.lanes]
    with pytest.raises(DamagedFileError, match="left over"):
        decode_pixels(more, 31, 45, 3, encoded.plan, tiny_model, 1)
    # a preview does not read so far
    assert decode_pixels(more, 31, 45, 3, encoded.plan, tiny_model, 1, 2).shape == (16, 23, 3)


def test_another_plan_or_size_does_not_decode(tiny_model, sound):
    pixels, encoded = sound
    for height, width, plan in ((31, 45, 6), (31, 46, encoded.plan), (45, 31, encoded.plan)):
        try:
            got = decode_pixels(encoded.lanes, height, width, 3, plan, tiny_model, 1)
        except VdmError as error:
            assert error.exit_code == 3
        else:
            assert got.shape != pixels.shape or (got != pixels).any()
