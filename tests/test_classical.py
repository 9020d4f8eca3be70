"""WebP and PNG payloads: exact, never larger than WebP at full effort, and safe to decode."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from vdmcompress import classical
from vdmcompress.classical import decode_classical, encode_classical, may_beat, small_may_beat
from vdmcompress.errors import DamagedFileError
from vdmcompress.header import Header, Kind


def header(pixels, kind=Kind.WEBP):
    height, width = pixels.shape[:2]
    return Header(kind, width, height, 1 if pixels.ndim == 2 else 3, 0)


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def photo_like(height=96, width=112, grey=False):
    """Smooth shapes with grain that the channels share: what photographs are to a predictor."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:height, :width]
    shade = 110 + 60 * np.sin(x / 17) * np.cos(y / 23) + rng.normal(0, 5, (height, width))
    if grey:
        return np.clip(shade, 0, 255).astype(np.uint8)
    colours = [
        shade * f + rng.normal(0, 2, shade.shape) + 20 * np.sin(x / 31 + i)
        for i, f in enumerate((1, 0.9, 0.8))
    ]
    return np.clip(np.stack(colours, 2), 0, 255).astype(np.uint8)


def screenshot():
    pixels = np.full((80, 120, 3), 245, np.uint8)
    pixels[10:70:6, 8:100] = (20, 20, 60)
    pixels[:12] = (40, 90, 200)
    return pixels


IMAGES = {
    "one pixel": noise(1, 1, 3),
    "grey pixel": noise(1, 1),
    "row": noise(1, 50, 3),
    "column": noise(50, 1),
    "3x5": noise(3, 5, 3),
    "noise": noise(70, 70, 3),
    "grey noise": noise(70, 70),
    "one colour": np.full((90, 100, 3), (1, 200, 30), np.uint8),
    "screenshot": screenshot(),
    "photo": photo_like(),
    "grey photo": photo_like(grey=True),
    "tiled": np.tile(photo_like(48, 112), (2, 1, 1)),
}


def webp_size(pixels):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "WEBP", lossless=True, method=6, quality=100, exact=True)
    return len(out.getvalue())


@pytest.fixture(scope="module")
def encoded():
    return {name: encode_classical(pixels) for name, pixels in IMAGES.items()}


@pytest.mark.parametrize("name", IMAGES)
def test_round_trip_and_size(encoded, name):
    pixels = IMAGES[name]
    kind, data = encoded[name]
    found = decode_classical(kind, memoryview(data), header(pixels, kind))
    assert found.dtype == np.uint8
    assert np.array_equal(found, pixels)
    assert len(data) <= webp_size(pixels)


@pytest.mark.parametrize("name", IMAGES)
def test_screen_lets_every_winner_through(encoded, name):
    size = len(encoded[name][1])
    for larger in (size + 1, size + 100, 2 * size + 10):
        assert may_beat(IMAGES[name], larger)


@pytest.fixture
def codings(monkeypatch):
    """Method, quality and rows of every WebP that is made."""
    made = []
    webp = classical._webp

    def record(pixels, method, quality=100):
        made.append((method, quality, len(pixels)))
        return webp(pixels, method, quality)

    monkeypatch.setattr(classical, "_webp", record)
    return made


@pytest.mark.parametrize(
    "name, factor", [("photo", 0.9), ("grey photo", 0.9), ("noise", 0.6), ("tiled", 0.5)]
)
def test_screen_spares_full_effort(encoded, codings, name, factor):
    assert not may_beat(IMAGES[name], int(len(encoded[name][1]) * factor))
    assert codings
    assert (6, 100) not in [coding[:2] for coding in codings]


@pytest.mark.parametrize("bits, margin", [(3.0, 1.1), (2.9, 1.3), (1.5, 1.3), (1.4, 4.0), (0.1, 4.0)])
def test_small_images_of_many_are_screened_by_what_little_effort_takes(monkeypatch, bits, margin):
    pixels = IMAGES["photo"][:40, :40]
    quick = -(-int(bits * pixels.size) // 8)
    monkeypatch.setattr(classical, "_webp", lambda pixels, method, quality=100: bytes(quick))
    least = (quick - 16) / margin
    assert small_may_beat(pixels, int(least) + 1)
    assert not small_may_beat(pixels, int(least) - 1)


@pytest.mark.parametrize("name", [name for name, x in IMAGES.items() if x.shape[0] * x.shape[1] <= 4096])
def test_the_screen_of_many_lets_winners_through(encoded, name):
    assert small_may_beat(IMAGES[name], len(encoded[name][1]) + 1)


def test_screen_ends_with_the_first_estimate_that_decides(monkeypatch):
    pixels, sizes, asked = IMAGES["photo"], {0: 20_000, 2: 18_000, 4: 17_500, 6: 17_200}, []

    def webp(variant, method, quality=100):
        asked.append((method, quality))
        return bytes(sizes[method] + 50 * (variant is pixels))  # green added is a little better

    monkeypatch.setattr(classical, "_webp", webp)
    glance, quick, first, second = [(0, 0)], [(2, 75)] * 2, [(4, 99)] * 2, [(6, 99)] * 2
    for size, wanted, codings in (
        (20_051, True, glance),
        (18_000, True, glance + quick),
        (17_500, True, glance + quick + first),
        (17_200, True, glance + quick + first + second),
        (int((17_200 - 64) / 1.016) + 1, True, glance + quick + first + second),
        (int((17_200 - 64) / 1.016), False, glance + quick + first + second),
        (int((17_500 - 64) / 1.05), False, glance + quick + first),
        (int((18_000 - 64) / 1.1), False, glance + quick),
    ):
        asked.clear()
        assert may_beat(pixels, size) is wanted
        assert asked == codings


@pytest.mark.parametrize("share, decides", [(1.5, True), (1.49, False)])
def test_a_glance_decides_where_diffusion_is_far_ahead(monkeypatch, share, decides):
    pixels, asked = IMAGES["photo"], []
    copies = classical._copies(pixels)

    def webp(_, method, quality=100):
        asked.append(method)
        return bytes(20_000 if method == 0 else 19_000)

    monkeypatch.setattr(classical, "_webp", webp)
    assert not may_beat(pixels, int((20_000 - 64) / (share + copies)))
    assert (asked == [0]) is decides


def test_a_glance_does_not_decide_of_what_may_be_no_photograph(monkeypatch):
    pixels, asked = IMAGES["photo"], []
    least = int(pixels.size * 1.5 * 1.5 / 8)

    def webp(_, method, quality=100):
        asked.append(method)
        return bytes(least - 2 if method == 0 else least - 1)

    monkeypatch.setattr(classical, "_webp", webp)
    may_beat(pixels, least // 4)
    assert asked != [0]


def test_what_may_be_no_photograph_is_not_decided_quickly(monkeypatch):
    pixels, asked = IMAGES["photo"], []
    limit = pixels.size * 1.5 / 8  # bytes below which an image is no photograph
    sizes = {0: int(1.3 * limit), 2: int(1.09 * limit), 4: int(0.99 * limit)}

    def webp(_, method, quality=100):
        asked.append(method)
        return bytes(sizes[method])

    monkeypatch.setattr(classical, "_webp", webp)
    assert may_beat(pixels, int(0.7 * limit))
    assert asked == [0, 2, 2, 4, 4]


def test_a_glance_asks_method_0_alone(codings):
    pixels = IMAGES["photo"]
    size = len(classical._webp(pixels, 0, 0))
    codings.clear()
    assert may_beat(pixels, size + 1, careful=False)
    assert not may_beat(pixels, size, careful=False)
    assert [method for method, *_ in codings] == [0, 0]


def test_large_images_are_tried_in_slabs(monkeypatch, codings):
    pixels = photo_like(100, 112)
    monkeypatch.setattr(classical, "SLAB_PIXELS", 40 * 112)
    may_beat(pixels, 1, careful=False, threads=2)
    assert sorted(rows for *_, rows in codings) == [20, 40, 40]
    glance = sum(len(classical._webp(slab, 0, 0)) for slab in (pixels[:40], pixels[40:80], pixels[80:]))
    assert may_beat(pixels, glance + 1, careful=False)
    assert not may_beat(pixels, glance, careful=False)


def test_screen_of_a_large_image_looks_at_strips(monkeypatch):
    pixels = photo_like(200, 112)
    whole = classical._sample(pixels)
    assert whole is pixels
    monkeypatch.setattr(classical, "SAMPLE_PIXELS", 8 * 10 * 112)
    part = classical._sample(pixels)
    assert part.shape == (80, 112, 3)
    assert np.array_equal(part[:10], pixels[:10])
    assert np.array_equal(part[-10:], pixels[-10:])
    size = len(encode_classical(pixels)[1])
    assert may_beat(pixels, size + 1)
    assert not may_beat(pixels, int(0.92 * size))


def test_added_green_is_what_the_encoder_subtracts():
    pixels = noise(5, 7, 3)
    added = classical._add_green(pixels)
    assert np.array_equal(added[:, :, 1], pixels[:, :, 1])
    assert np.array_equal(
        added - added[:, :, 1:2], np.dstack([pixels[..., 0], 0 * pixels[..., 0], pixels[..., 2]])
    )


def test_beyond_the_side_of_webp_it_is_png():
    pixels = np.zeros((1, 16384), np.uint8)
    pixels[0, ::3] = 9
    kind, data = encode_classical(pixels)
    assert kind is Kind.PNG
    assert np.array_equal(decode_classical(kind, data, header(pixels, kind)), pixels)
    assert may_beat(pixels, len(data) + 1)
    assert not may_beat(pixels, len(data))
    kind, _ = encode_classical(pixels[:, :-1])
    assert kind is Kind.WEBP


@pytest.mark.parametrize("kind", [Kind.WEBP, Kind.PNG])
def test_another_size_is_refused_before_decoding(kind, monkeypatch):
    pixels = noise(6, 5, 3)
    data = classical._webp(pixels, 0) if kind is Kind.WEBP else classical._png(pixels)
    monkeypatch.setattr(Image.Image, "load", None)
    with pytest.raises(DamagedFileError, match="payload of 5x6, header says 5x7"):
        decode_classical(kind, data, Header(kind, 5, 7, 3, 0))


def test_bombs_state_their_size():
    vp8l = b"\x2f" + (0x3FFF | 0x3FFF << 14).to_bytes(4, "little") + bytes(20)
    with pytest.raises(DamagedFileError, match="16384x16384"):
        decode_classical(Kind.WEBP, vp8l, Header(Kind.WEBP, 8, 8, 3, 0))
    png = classical._png(noise(2, 2))
    png = png[:16] + struct.pack(">II", 2**31 - 1, 2**31 - 1) + png[24:]
    with pytest.raises(DamagedFileError, match="2147483647x2147483647"):
        decode_classical(Kind.PNG, png, Header(Kind.PNG, 2, 2, 1, 0))


@pytest.mark.parametrize("kind", [Kind.WEBP, Kind.PNG])
@pytest.mark.parametrize("channels", [1, 3])
def test_damage_raises_nothing_else(kind, channels):
    pixels = photo_like(9, 11, grey=channels == 1)
    data = classical._webp(pixels, 4) if kind is Kind.WEBP else classical._png(pixels)
    wanted = header(pixels, kind)
    wrong = 0
    for place in range(len(data)):
        for altered in (data[:place], data[:place] + bytes((data[place] ^ 0x55,)) + data[place + 1 :]):
            try:
                found = decode_classical(kind, altered, wanted)
            except DamagedFileError:
                wrong += 1
            else:
                assert found.shape == pixels.shape
    assert wrong > len(data) // 2


def test_other_channels_are_damage():
    grey, colour = noise(6, 5), noise(6, 5, 3)
    with pytest.raises(DamagedFileError, match="8 bits of RGB, header says 8 of GREY"):
        decode_classical(Kind.PNG, classical._png(colour), header(grey, Kind.PNG))
    with pytest.raises(DamagedFileError, match="8 bits of GREY, header says 8 of RGB"):
        decode_classical(Kind.PNG, classical._png(grey), header(colour, Kind.PNG))


@pytest.mark.parametrize("kind, words", [(Kind.WEBP, "no VP8L"), (Kind.PNG, "no PNG")])
def test_other_payloads_are_damage(kind, words):
    with pytest.raises(DamagedFileError, match=words):
        decode_classical(kind, b"RIFF....WEBPVP8L", Header(kind, 1, 1, 3, 0))
