"""Pixels that once were YCC: conversions and upsampling as programs compute them, inverses, exceptions."""

import io
import json
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from codec.ans import Stack
from codec.errors import ShortStackError
from tests import model_support
from vdmcompress import cascade, colour, path, ycc
from vdmcompress.batch import decode_batches, encode_batches
from vdmcompress.batch_evaluate import batch_vlb
from vdmcompress.batch_planes import shape_of
from vdmcompress.cascade import decode_pixels, encode_pixels
from vdmcompress.chroma_samples import shrink
from vdmcompress.colour import KINDS, Colour, colour_bits, from_planes, pop_colours, push_colours, to_planes
from vdmcompress.engine import Engine
from vdmcompress.errors import DamagedFileError, VdmError
from vdmcompress.evaluate import evaluate
from vdmcompress.measure.views import look
from vdmcompress.preview import preview
from vdmcompress.pyramid import Planes, components, join, split
from vdmcompress.subsampling import FULL, SUBSAMPLINGS, half_shape, upsample
from vdmcompress.transform import forward_colour
from vdmcompress.wire import varint
from vdmcompress.ycc import CONVERSIONS, invert, to_rgb

tiny_model = model_support.tiny_model
NAMES = [conversion.name for conversion in CONVERSIONS]
NUMBERS = range(1, len(KINDS))
PLAN = path.PLANS[10]
HALVED = [number for number in NUMBERS if KINDS[number][1] is not FULL]


def once(pixels, **options):
    """Pixels after a lossy file of a format, as Pillow decodes it, that is libjpeg or libwebp."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, **options)
    return np.asarray(Image.open(stream).convert("RGB"))


def scene(number, height=64, width=96, seed=0):
    """A picture of the colour with this number: waves of luma and chroma with some noise."""
    rng = np.random.default_rng(seed)
    conversion, kind = KINDS[number]
    y, x = np.mgrid[:height, :width]
    luma = 110 + 40 * np.sin(x / 9 + y / 17) + rng.normal(0, 3, (height, width))
    planes = [np.rint(luma).clip(60, 160).astype(np.uint8)]
    h, w = (height, width) if kind is FULL else half_shape(kind, height, width)
    y, x = np.mgrid[:h, :w]
    for wave in (140 + 9 * np.sin(y / 6), 135 + 9 * np.cos(x / 7 + y / 5)):
        stored = np.rint(wave + rng.normal(0, 1, (h, w))).astype(np.uint8)
        planes.append(stored if kind is FULL else upsample(stored, kind, height, width))
    return to_rgb(np.stack(planes, 2).reshape(-1, 3), conversion).reshape(height, width, 3)


def in_reals(name, values):
    """The conversions as their standards have them, in real numbers; float64 (n, 3)."""
    y, a, b = values.astype(np.float64).T
    if name == "PhotoCD":
        a, b = 2.2179 * (a - 156), 1.8215 * (b - 137)
        return np.stack((1.3584 * y + b, 1.3584 * y - 0.194 * a - 0.509 * b, 1.3584 * y + a), 1)
    a, b = a - 128, b - 128
    if name == "WebP":
        y, a, b = 255 / 219 * (y - 16), 255 / 224 * a, 255 / 224 * b
    return np.stack((y + 1.402 * b, y - 0.344136 * a - 0.714136 * b, y + 1.772 * a), 1)


@pytest.mark.parametrize("conversion", CONVERSIONS, ids=NAMES)
def test_conversions_are_those_of_the_standards(conversion):
    """Within what rounding can do: half a level and what the integers round; PhotoCD rounds down."""
    values = np.random.default_rng(0).integers(0, 256, (20000, 3)).astype(np.uint8)
    away = to_rgb(values, conversion) - in_reals(conversion.name, values).clip(0, 255)
    low, high = (-1.0, 0.71) if conversion.name == "PhotoCD" else (-0.6, 0.6)
    assert low <= away.min() and away.max() <= high, (away.min(), away.max())


@pytest.mark.parametrize("conversion", CONVERSIONS, ids=NAMES)
def test_the_inverse_is_a_twin(conversion):
    """Every colour that comes of YCC has integers that give it; a few saturated ones are missed."""
    values = np.random.default_rng(1).integers(0, 256, (20000, 3)).astype(np.uint8)
    rgb = to_rgb(values, conversion)
    found, missed = invert(rgb, conversion, len(rgb))
    np.testing.assert_array_equal(to_rgb(found, conversion)[~missed], rgb[~missed])
    inner = ((rgb > 0) & (rgb < 255)).all(axis=1)
    assert not missed[inner].any()
    np.testing.assert_array_equal(found[inner], values[inner])
    assert missed.mean() < 0.03


@pytest.mark.parametrize("conversion", CONVERSIONS, ids=NAMES)
def test_the_conversion_has_a_twin(conversion):
    values = np.random.default_rng(2).integers(0, 256, (5000, 3)).astype(np.uint8)
    y, a, b = values.T
    sums = [t[0, y].astype(int) + t[1, a] + t[2, b] for t in conversion.tables]
    want = np.floor_divide(sums, conversion.divisor).clip(0, 255).T
    np.testing.assert_array_equal(to_rgb(values, conversion), want)


def test_conversions_fit_their_tables():
    for conversion in CONVERSIONS:
        assert conversion.tables.dtype == np.int32 and conversion.tables.shape == (3, 3, 256)
        most = np.abs(conversion.tables.astype(np.int64)).max(axis=2).sum(axis=1).max()
        assert most < 1 << 31


def libjpeg_420(half, height, width):
    """h2v2_fancy_upsample of libjpeg's jdsample.c, line by line, as a twin."""
    h, w = half.shape
    out = np.zeros((2 * h, 2 * w), np.uint8)
    rows = half.astype(np.int64)
    for y in range(2 * h):
        i = y // 2
        other = min(max(i - 1 if y % 2 == 0 else i + 1, 0), h - 1)
        sums = 3 * rows[i] + rows[other]
        out[y, 0] = (sums[0] * 4 + 8) >> 4
        out[y, 2 * w - 1] = (sums[w - 1] * 4 + 7) >> 4
        for j in range(w):
            if j > 0:
                out[y, 2 * j] = (sums[j] * 3 + sums[j - 1] + 8) >> 4
            if j < w - 1:
                out[y, 2 * j + 1] = (sums[j] * 3 + sums[j + 1] + 7) >> 4
    return out[:height, :width]


def libjpeg_422(half, height, width):
    """h2v1_fancy_upsample likewise."""
    h, w = half.shape
    out = np.zeros((h, 2 * w), np.uint8)
    rows = half.astype(np.int64)
    out[:, 0], out[:, -1] = rows[:, 0], rows[:, -1]
    out[:, 2::2] = (3 * rows[:, 1:] + rows[:, :-1] + 1) >> 2
    out[:, 1:-1:2] = (3 * rows[:, :-1] + rows[:, 1:] + 2) >> 2
    return out[:height, :width]


@pytest.mark.parametrize("size", [(64, 96), (33, 47)])
def test_upsampling_is_libjpegs(size):
    rng = np.random.default_rng(0)
    both, columns = SUBSAMPLINGS["JPEG"][0], SUBSAMPLINGS["JPEG"][16]
    for kind, twin in ((both, libjpeg_420), (columns, libjpeg_422)):
        half = rng.integers(0, 256, half_shape(kind, *size)).astype(np.uint8)
        np.testing.assert_array_equal(upsample(half, kind, *size), twin(half, *size))


def libwebp_420(half, height, width):
    """UpsampleLinePair of libwebp's dsp/upsampling.c with its two roundings, on replicated edges."""
    samples = np.pad(half.astype(np.int64), 1, mode="edge")
    out = np.zeros((2 * half.shape[0], 2 * half.shape[1]), np.uint8)
    for dy in (0, 1):
        for dx in (0, 1):
            a = samples[1:-1, 1:-1]
            rows, columns = (
                slice(2 * dy, samples.shape[0] - 2 + 2 * dy),
                slice(2 * dx, samples.shape[1] - 2 + 2 * dx),
            )
            b, c, d = samples[1:-1, columns], samples[rows, 1:-1], samples[rows, columns]
            diagonal = (a + b + c + d + 8 + 2 * (b + c)) >> 3
            out[dy::2, dx::2] = (diagonal + a) >> 1
    return out[:height, :width]


@pytest.mark.parametrize("size", [(64, 96), (33, 47)])
def test_upsampling_is_libwebps(size):
    kind = SUBSAMPLINGS["WebP"][0]
    half = np.random.default_rng(0).integers(0, 256, half_shape(kind, *size)).astype(np.uint8)
    np.testing.assert_array_equal(upsample(half, kind, *size), libwebp_420(half, *size))


@pytest.mark.parametrize("kind", SUBSAMPLINGS["PhotoCD"], ids=str)
@pytest.mark.parametrize("size", [(8, 12), (7, 11)])
def test_sited_samples_lie_on_pixels(kind, size):
    """Means of two and of four between them, rounded up; mirrored pictures, and the edges repeated."""
    half = np.random.default_rng(0).integers(0, 256, half_shape(kind, *size)).astype(np.uint8)
    turn = (slice(None, None, -1 if kind.down else 1), slice(None, None, -1 if kind.right else 1))
    got = upsample(half, kind, *size)[turn]
    samples = half[turn].astype(int)
    samples = np.pad(samples, ((0, 1), (0, 1)), mode="edge")
    want = np.zeros((2 * half.shape[0], 2 * half.shape[1]), int)
    want[::2, ::2] = samples[:-1, :-1]
    want[::2, 1::2] = (samples[:-1, :-1] + samples[:-1, 1:] + 1) >> 1
    want[1::2, ::2] = (samples[:-1, :-1] + samples[1:, :-1] + 1) >> 1
    want[1::2, 1::2] = (samples[:-1, :-1] + samples[:-1, 1:] + samples[1:, :-1] + samples[1:, 1:] + 2) >> 2
    np.testing.assert_array_equal(got, want[: size[0], : size[1]])


@pytest.mark.parametrize("number", HALVED)
@pytest.mark.parametrize("size", [(64, 96), (34, 48), (16, 18)])
def test_samples_are_found_again(number, size):
    """Not always the same ones, but such as explain nearly all pixels."""
    kind = KINDS[number][1]
    h, w = half_shape(kind, *size)
    y, x = np.mgrid[:h, :w]
    wrong = []
    for seed in range(4):
        rng = np.random.default_rng((number, seed))
        half = np.rint(120 + 40 * np.sin(x / 3 + y / 5) + rng.normal(0, 4, (h, w))).astype(np.uint8)
        full = upsample(half, kind, *size)
        assert full.shape == size
        again = shrink(full, np.ones(size, np.bool_), kind)
        assert again.shape == (h, w)
        wrong.append((upsample(again, kind, *size) != full).mean())
    assert np.mean(wrong) < 0.02


@pytest.mark.parametrize("number", HALVED)
def test_samples_under_unknown_pixels_are_found(number):
    """What a clipped pixel hides, its neighbours tell."""
    kind = KINDS[number][1]
    rng = np.random.default_rng(number)
    half = rng.integers(100, 140, half_shape(kind, 64, 96)).astype(np.uint8)
    full = upsample(half, kind, 64, 96)
    known = rng.random(full.shape) > 0.03
    hidden = np.where(known, full, 128).astype(np.uint8)
    again = upsample(shrink(hidden, known, kind), kind, 64, 96)
    assert (again != full)[known].mean() < 0.03
    assert (again != full)[~known].mean() < 0.5


@pytest.mark.parametrize("number", range(len(KINDS)))
@pytest.mark.parametrize("size", [(64, 96), (34, 50)])
def test_split_and_join_are_mirrors(number, size):
    planes, found = to_planes(scene(number, *size) if number else model_support.photo(*size))
    assert found.number == number
    bands = split(planes, found.subsampling)
    for band, array in enumerate((bands.hl, bands.lh, bands.hh)):
        assert len(array) == components(3, found.subsampling, 0, band)
    back = join(bands, size, found.subsampling)
    np.testing.assert_array_equal(back.full, planes.full)
    assert (back.half is None) == (planes.half is None)
    if planes.half is not None:
        np.testing.assert_array_equal(back.half, planes.half)


@pytest.mark.parametrize(
    ("number", "options"),
    [
        (1, {"format": "JPEG", "quality": 75, "subsampling": 0}),
        (2, {"format": "JPEG", "quality": 92, "subsampling": 2}),
        (3, {"format": "JPEG", "quality": 92, "subsampling": 1}),
        (28, {"format": "WEBP", "quality": 85}),
    ],
)
@pytest.mark.parametrize("size", [(64, 96), (63, 71), (17, 130)])
def test_lossy_files_are_found_out(number, options, size):
    """Of a photograph without saturated places; odd sizes too."""
    pixels = once(model_support.photo(*size) // 2 + 60, **options)
    planes, found = to_planes(pixels)
    assert found.number == number
    assert (planes.half is None) == (found.subsampling is FULL)
    assert len(found.exceptions) < pixels.size / 50
    np.testing.assert_array_equal(from_planes(planes, found), pixels)


@pytest.mark.parametrize("options", [{"format": "JPEG", "quality": 92}, {"format": "WEBP", "quality": 85}])
@pytest.mark.parametrize(("top", "left"), [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("size", [(120, 150), (97, 131)])
def test_lossy_files_that_were_cut_are_found_out(options, top, left, size):
    """Cut out at any pixel; of the edges, whose samples lie outside in part, exceptions remain."""
    pixels = once(model_support.photo(128, 160) // 2 + 60, **options)
    pixels = pixels[2 + top :, 4 + left :][: size[0], : size[1]]
    planes, found = to_planes(pixels)
    assert found.subsampling.name == "4:2:0"
    assert (found.subsampling.down, found.subsampling.right) == (bool(top), bool(left))
    assert planes.half.shape[1:] == ((size[0] + 1) // 2, (size[1] + 1) // 2)
    np.testing.assert_array_equal(from_planes(planes, found), pixels)


@pytest.mark.parametrize("turn", range(8))
@pytest.mark.parametrize("size", [(96, 128), (95, 127)])
def test_jpegs_that_were_turned_are_found_out(turn, size):
    """All orientations: whichever pixel of a pair libjpeg rounded up, where it is then."""
    pixels = once(model_support.photo(*size) // 2 + 60, format="JPEG", quality=92)
    pixels = pixels[:: -1 if turn & 1 else 1, :: -1 if turn & 2 else 1]
    pixels = np.ascontiguousarray(pixels.transpose(1, 0, 2) if turn & 4 else pixels)
    planes, found = to_planes(pixels)
    assert found.name == "JPEG 4:2:0"
    assert found.subsampling.rounding // 2 == turn // 4
    assert len(found.exceptions) < pixels.size / 50
    np.testing.assert_array_equal(from_planes(planes, found), pixels)


def test_saturated_photographs_come_back():
    for options in ({"format": "JPEG", "quality": 90}, {"format": "WEBP", "quality": 50}):
        pixels = once(
            (model_support.photo(64, 96).astype(int) * 3 // 2 - 40).clip(0, 255).astype(np.uint8), **options
        )
        planes, found = to_planes(pixels)
        assert found.number
        np.testing.assert_array_equal(from_planes(planes, found), pixels)


@pytest.mark.parametrize("index", range(3))
def test_other_photographs_stay_ycocg(index):
    pixels = model_support.photo(64, 96, index=index)
    planes, found = to_planes(pixels)
    assert found == Colour() and planes.half is None
    np.testing.assert_array_equal(planes.full, forward_colour(pixels))


def test_grey_and_small_images_stay():
    grey = model_support.photo(64, 96, 1)
    assert to_planes(grey)[1] == Colour()
    assert to_planes(np.zeros((5, 51, 3), np.uint8))[1] == Colour()


@pytest.mark.parametrize("number", NUMBERS)
def test_exceptions_come_back(number):
    """Pixels that are of no YCC, at the first and last place too; none where there are too many."""
    pixels = scene(number)
    rng = np.random.default_rng(3)
    places = np.concatenate(([0, 6143], rng.choice(6142, 18, replace=False) + 1))
    odd = pixels.copy()
    odd.reshape(-1, 3)[places] ^= 1
    planes, found = to_planes(odd)
    assert found.number == number and found.exceptions
    np.testing.assert_array_equal(from_planes(planes, found), odd)
    many = pixels.copy()
    many.reshape(-1, 3)[::7] ^= 1
    assert to_planes(many)[1] == Colour()


@pytest.mark.parametrize("number", NUMBERS)
def test_files_come_back_and_are_smaller(tiny_model, number, monkeypatch):
    pixels = scene(number).copy()
    pixels[5, 7] = (9, 200, 33)
    encoded = encode_pixels(pixels, tiny_model, 1)
    assert encoded.plan == (17 if number < 10 else 19)
    back = decode_pixels(encoded.lanes, 64, 96, 3, encoded.plan, tiny_model, 1)
    np.testing.assert_array_equal(back, pixels)
    assert encoded.ledger.bits == pytest.approx(Stack.from_lanes(encoded.lanes).bits, abs=1e-6)
    for scale in (2, 4, 8):
        small = decode_pixels(encoded.lanes, 64, 96, 3, encoded.plan, tiny_model, 1, scale)
        np.testing.assert_array_equal(small, preview(pixels, scale))
    monkeypatch.setattr(cascade, "to_planes", lambda pixels, *_: (Planes(forward_colour(pixels)), Colour()))
    plain = encode_pixels(pixels, tiny_model, 1)
    assert sum(map(len, encoded.lanes)) < 0.9 * sum(map(len, plain.lanes))


@pytest.mark.parametrize("order", ["one", "all", "none"])
@pytest.mark.parametrize("size", [(65, 97), (16, 16), (40, 300)])
@pytest.mark.parametrize("number", [2, 3, 7])
def test_every_plan_and_size(tiny_model, number, size, order):
    pixels = scene(number, *size)
    encoded = encode_pixels(pixels, tiny_model, 1, order=path.ORDERS[order])
    back = decode_pixels(encoded.lanes, *size, 3, encoded.plan, tiny_model, 1)
    np.testing.assert_array_equal(back, pixels)


def test_the_bound_is_that_of_the_planes(tiny_model):
    """Coded bits beside the VLB, where chroma is halved."""
    found = evaluate(scene(2), tiny_model, 1)
    assert found["coded_bits"] == pytest.approx(found["vlb_bits"], rel=0.02)
    assert {row["values"] for row in found["rows"] if row["scale"] == 0} == {64 * 96 // 4}


@pytest.mark.parametrize("number", [1, 2, 3])
def test_the_map_of_bits_sums_to_the_bound(tiny_model, number):
    """The page shows them too: bands of one component, and the list of exceptions."""
    pixels = scene(number).copy()
    pixels[::9, ::7] ^= 1
    found = evaluate(pixels, tiny_model, 1)
    assert found["colour"] == Colour(number).name
    assert colour_bits([to_planes(pixels)[1]], PLAN) > 100
    seen = look(pixels, found["plan"], tiny_model, "auto", 1)
    assert seen.bits.sum() == pytest.approx(found["vlb_bits"], rel=1e-9)


def test_colours_of_a_batch(tiny_model):
    """Each image has its own, whatever its chroma; costs of images are all bits, and the bound is near."""
    images = [scene(1), model_support.photo(64, 96), scene(3), scene(2), scene(9), scene(3, seed=1)]
    images[2] = images[2].copy()
    images[2][0, 0] ^= 1
    pixels, grey = np.stack(images), np.stack([model_support.photo(20, 20, 1)] * 2)
    with Engine(tiny_model, 1) as engine:
        for plan in (0, 2, 3):
            encoded = encode_batches([pixels, grey], engine, (plan,))
            assert encoded.plan == path.coloured(plan, 9) == plan + 5
            assert sum(map(np.sum, encoded.bits)) == pytest.approx(encoded.ledger.bits)
            shapes = [shape_of(pixels), shape_of(grey)]
            back = decode_batches(encoded.lanes, shapes, encoded.plan, engine)
            np.testing.assert_array_equal(back[0], pixels)
            np.testing.assert_array_equal(back[1], grey)
            bits = sum(bits for _, bits, _ in batch_vlb([pixels, grey], encoded.plan, engine))
            assert encoded.ledger.bits == pytest.approx(bits, rel=0.02)


def test_batches_tell_the_later_colours_too(tiny_model):
    pixels = np.stack([scene(2), scene(28), scene(21)])
    with Engine(tiny_model, 1) as engine:
        encoded = encode_batches([pixels], engine, (0,))
        assert encoded.plan == 10
        (back,) = decode_batches(encoded.lanes, [shape_of(pixels)], encoded.plan, engine)
    np.testing.assert_array_equal(back, pixels)


def test_plans_by_their_colours():
    """Older plans keep their meaning: they are taken wherever their ten colours will do."""
    assert [path.coloured(plan, 0) for plan in range(5)] == [5, 6, 7, 8, 9]
    assert [path.coloured(plan, 9) for plan in range(10)] == [5, 6, 7, 8, 9] * 2
    assert [path.coloured(plan, 10) for plan in range(15)] == [10, 11, 12, 13, 14] * 3
    assert [path.PLANS[i].coloured for i in (0, 4, 5, 9, 10, 14)] == [0, 0, 10, 10, 32, 32]
    assert len(KINDS) == path.ALL_COLOURS and len(set(map(str, KINDS))) == len(KINDS)
    names = [Colour(number).name for number in range(10)]
    assert (
        names
        == ["YCoCg-R", "JPEG 4:4:4", "JPEG 4:2:0", "JPEG 4:2:2", "WebP 4:4:4", "PhotoCD 4:4:4"]
        + ["PhotoCD 4:2:0"] * 4
    )


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("plan", [5, 10])
def test_push_and_pop_are_mirrors(lanes, plan):
    rng, plan = np.random.default_rng(5), path.PLANS[plan]
    colours = [Colour(1, rng.bytes(200)), Colour(), Colour(3), Colour(2, rng.bytes(40)), Colour()]
    colours.append(Colour(plan.coloured - 1))
    stack = Stack.empty(lanes)
    before = stack.bits
    push_colours(stack, colours, plan)
    assert stack.bits - before == pytest.approx(colour_bits(colours, plan), abs=0.3)
    assert pop_colours(stack, len(colours), 3, 256, 256, plan) == colours
    assert stack.is_initial()


@pytest.mark.parametrize("plan", [5, 10])
def test_ycocg_costs_a_tenth_of_a_bit(plan):
    assert 0 < colour_bits([Colour()] * 100, path.PLANS[plan]) < 12


def listed(gaps, away):
    """A list of exceptions, compressed."""
    return zlib.compress(b"".join(map(varint, gaps)) + bytes(away))


DAMAGE = {
    "no zlib": b"abc",
    "cut off": listed([5], [1, 2, 3])[:-3],
    "longer than allowed": listed([0] * 800, [7] * 2400),
    "outside": listed([6144], [1, 2, 3]),
    "odd length": listed([5], [1, 2]),
    "bytes behind": listed([5], [1, 2, 3]) + b"x",
}


@pytest.mark.parametrize("name", sorted(DAMAGE))
def test_damaged_lists_are_named(name):
    planes, _ = to_planes(scene(1))
    with pytest.raises(DamagedFileError):
        from_planes(planes, Colour(1, DAMAGE[name]))


def test_damaged_planes_are_named():
    planes, found = to_planes(scene(5))
    planes.full[1, 3, 4] = 200
    with pytest.raises(DamagedFileError, match="PhotoCD"):
        from_planes(planes, found)
    assert from_planes(planes, found, clip=True).shape == (64, 96, 3)


def test_what_no_encoder_writes_is_refused():
    stack = Stack.empty(1)
    push_colours(stack, [Colour(1, bytes(300))], PLAN)
    with pytest.raises(DamagedFileError, match="300 bytes"):
        pop_colours(stack, 1, 3, 16, 16, PLAN)
    for number, channels, height in ((1, 1, 64), (2, 3, 15)):
        stack = Stack.empty(1)
        push_colours(stack, [Colour(number)], PLAN)
        with pytest.raises(DamagedFileError, match=f"colour {number}"):
            pop_colours(stack, 1, channels, height, 64, PLAN)


def test_random_stacks_are_refused_or_read():
    """Fuzzing: whatever the lanes hold, an answer or one of our errors."""
    rng = np.random.default_rng(9)
    for size in (6, 40, 400):
        for _ in range(60):
            lane = rng.bytes(4 * size) + rng.bytes(3) + bytes([rng.integers(1, 256)]) + b"\x01"
            stack = Stack.from_lanes([lane])
            try:
                for one in pop_colours(stack, 3, 3, 128, 128, PLAN):
                    full, luma = (Planes(np.zeros((c, 128, 128), np.int16)) for c in (3, 1))
                    half = np.zeros((2, *half_shape(one.subsampling, 128, 128)), np.int16)
                    from_planes(full if one.subsampling is FULL else replace(luma, half=half), one)
            except (VdmError, ShortStackError):
                continue


def test_a_photograph_costs_a_look(monkeypatch):
    """Images that never were YCC are told by a sample."""
    seen = []
    whole = colour.invert
    monkeypatch.setattr(colour, "invert", lambda p, *args: seen.append(len(p)) or whole(p, *args))
    to_planes(np.tile(model_support.photo(64, 96), (8, 8, 1)))
    assert max(seen) <= 2 * colour.SAMPLE


def test_the_command_finds_a_jpeg_out(vdmc, tmp_path):
    """A JPEG given as such and the PNG of its pixels: smaller than as RGB, and back to the same pixels."""
    pixels = once(model_support.photo(96, 128), format="JPEG", quality=90)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    sizes, guesses = {}, {}
    for how in ("auto", "rgb"):
        made, back = tmp_path / f"{how}.vdm", tmp_path / f"{how}.png"
        assert vdmc("encode", "-e", "1", "--colour", how, tmp_path / "a.png", "-o", made).exit_code == 0
        assert vdmc("decode", made, "-o", back).exit_code == 0
        np.testing.assert_array_equal(np.asarray(Image.open(back)), pixels)
        sizes[how] = made.stat().st_size
        told = vdmc("encode", "-n", "--json", "--colour", how, tmp_path / "a.png").stdout
        guesses[how] = json.loads(told.splitlines()[0])["bytes_out_estimate"]
    assert sizes["auto"] < 0.85 * sizes["rgb"]
    assert guesses["auto"] == pytest.approx(0.65 * guesses["rgb"], rel=0.01)
    told = vdmc("eval", "-e", "1", tmp_path / "a.png")
    assert "JPEG 4:2:0" in told.stdout


@pytest.mark.parametrize("conversion", ycc.CONVERSIONS, ids=lambda conversion: conversion.name)
def test_many_pixels_are_converted_as_few_are(conversion):
    """Two threads share more than twice `PART` pixels; what may be missed counts for both together."""
    rng = np.random.default_rng(4)
    stored = rng.integers(60, 190, (2 * ycc.PART + 77, 3)).astype(np.uint8)
    pixels = ycc.to_rgb(stored, conversion)
    odd = rng.choice(len(pixels), 900, replace=False)
    pixels[odd] = rng.integers(1, 255, (900, 3))
    cuts = [pixels[i : i + 30_000] for i in range(0, len(pixels), 30_000)]
    few = [ycc.invert(cut, conversion, len(cut)) for cut in cuts]
    found, missed = ycc.invert(pixels, conversion, len(pixels))
    np.testing.assert_array_equal(found, np.concatenate([one[0] for one in few]))
    np.testing.assert_array_equal(missed, np.concatenate([one[1] for one in few]))
    count = int(missed.sum())
    half = len(pixels) // 2
    assert max(missed[:half].sum(), missed[half:].sum()) < count - 1
    assert ycc.invert(pixels, conversion, count) is not None
    assert ycc.invert(pixels, conversion, count - 1) is None
    shifted = found - np.array([1, 0, 0], np.uint8)
    luma = shifted.copy()
    wrong = ycc.fit_luma(pixels, luma, conversion, len(pixels))
    parts = [ycc.fit_luma(pixels[cut], shifted[cut].copy(), conversion, half) for cut in np.s_[:half, half:]]
    np.testing.assert_array_equal(wrong, np.concatenate(parts))
    np.testing.assert_array_equal(ycc.to_rgb(luma, conversion)[~wrong], pixels[~wrong])
    assert ycc.fit_luma(pixels, shifted.copy(), conversion, int(wrong.sum())) is not None
    assert ycc.fit_luma(pixels, shifted.copy(), conversion, int(wrong.sum()) - 1) is None
