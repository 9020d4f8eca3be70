"""Formats are compared on pixels that came back; figures add up; a front is a front."""

import numpy as np
import pytest
from PIL import Image

from tests.cli_support import colours, save
from vdmcompress.colour import to_planes
from vdmcompress.errors import MachineError, UnsupportedImageError, UsageError
from vdmcompress.measure import formats, summary
from vdmcompress.measure.formats import Format, available, find_format, measure, same_pixels
from vdmcompress.ycc import CONVERSIONS

OTHERS = ("png", "webp", "webp0", "jxl3", "jxl7", "jls", "avif")


def image(channels):
    pixels = colours(19, 33)
    if channels == 4:
        return np.dstack((pixels, pixels[..., 0]))
    return np.ascontiguousarray(pixels[..., 0]) if channels == 1 else pixels


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_formats_come_back(name, channels):
    found, missing = available([name])
    if missing:
        pytest.skip(missing[name])
    measured = measure(find_format(found[0]), image(channels))
    assert measured.size > 0
    assert measured.encode_seconds > 0


def test_what_is_measured_is_what_the_encoders_are_asked_for_directly():
    """PNG with optimize; WebP lossless, method 6, quality 100, exact; JPEG XL lossless at its effort."""
    import io

    import imagecodecs

    pixels = image(3)

    def pillow(kind, **how):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, kind, **how)
        return stream.getvalue()

    assert find_format("png").encode(pixels) == pillow("PNG", optimize=True)
    best = pillow("WEBP", lossless=True, method=6, quality=100, exact=True)
    assert find_format("webp").encode(pixels) == best
    found = find_format("jxl7", 2).encode(pixels)
    assert found == bytes(imagecodecs.jpegxl_encode(pixels, lossless=True, effort=7))


@pytest.mark.parametrize("name", ["gif", "jxl", "jxl0", "webp7", "png1", "vdmc0", "jxl7+", ""])
def test_formats_that_do_not_exist_are_refused(name):
    with pytest.raises(UsageError, match="is not known; allowed are png, webp"):
        find_format(name)


def test_usual_names_hold_the_formats_that_people_use_and_every_effort():
    names = formats.usual_names()
    assert names[:7] == ("png", "webp", "jxl3", "jxl7", "jxl9", "jls", "avif")
    assert [f"vdmc{e}" for e in formats.different_efforts()] == list(names[7:])
    assert "vdmc7" in names
    assert set(names) <= set(formats.all_names())


def liar(title="liar"):
    png = find_format("png")
    return Format("liar", title, "liar", "", 1, png.encode, lambda data: png.decode(data) ^ 1)


def test_other_pixels_are_no_result():
    with pytest.raises(MachineError, match="liar gave other pixels"):
        measure(liar(), colours(4, 4))


def test_a_format_that_fails_here_is_left_out_with_its_reason(monkeypatch):
    monkeypatch.setattr(formats, "_avif", lambda threads: liar("AVIF"))
    found, missing = available(["png", "avif", "png"])
    assert found == ["png"]
    assert "AVIF gave other pixels" in missing["avif"]


def test_pixels_that_only_look_different_are_the_same():
    grey, rgb = image(1), image(3)
    assert same_pixels(np.dstack((grey,) * 3), grey)
    assert not same_pixels(np.dstack((grey, grey, grey ^ 1)), grey)
    opaque = np.dstack((rgb, np.full(rgb.shape[:2], 255, np.uint8)))
    assert same_pixels(rgb, opaque)
    opaque[3, 3, 3] = 254
    assert not same_pixels(rgb, opaque)


def test_only_what_all_formats_hold_is_read(tmp_path):
    assert formats.read_pixels(save(colours(3, 4), tmp_path / "a.png")).shape == (3, 4, 3)
    assert formats.read_pixels(save(image(4), tmp_path / "b.png")).shape == (19, 33, 4)
    palette = tmp_path / "c.png"
    Image.fromarray(colours(3, 4)).quantize(4).save(palette)
    with pytest.raises(UnsupportedImageError, match="not measured: .*palette"):
        formats.read_pixels(palette)


def row(size, encode, decode, peak=10):
    """Figures of one image in one format, as `bench.run` has them."""
    return {
        "bytes": size,
        "encode": encode,
        "decode": decode,
        "encode_seconds": summary.median(encode),
        "decode_seconds": summary.median(decode),
        "encode_peak_mib": peak,
        "decode_peak_mib": peak + 1,
    }


def records():
    first = {"WebP": row(300_000, [1.0, 2.0, 4.0], [1.0] * 3, 30), "vdmc": row(150_000, [4.0], [2.0] * 3)}
    second = {"WebP": row(450_000, [2.0, 2.0, 4.0], [3.0] * 3, 20), "vdmc": row(225_000, [12.0], [2.0] * 3)}
    size = {"width": 1000, "channels": 3}
    return [
        {"image": "a", "height": 500, **size, "formats": first},
        {"image": "b", "height": 1500, **size, "formats": second},
    ]


def test_totals_are_sums_over_the_set_of_the_medians():
    total = summary.totals(records())
    assert (total["images"], total["mpx"], total["values"], total["reference"]) == (2, 2.0, 6_000_000, "WebP")
    webp, vdmc = total["formats"]["WebP"], total["formats"]["vdmc"]
    assert (webp["bytes"], webp["bpd"]) == (750_000, 1.0)
    assert (webp["encode_low"], webp["encode_mpx_s"], webp["encode_high"]) == (0.25, 0.5, 0.667)
    assert (webp["encode_peak_mib"], webp["decode_peak_mib"]) == (30, 31)
    assert (webp["encode_repeats"], vdmc["encode_repeats"], vdmc["decode_repeats"]) == (3, 1, 3)
    assert vdmc["ratio"] == {"bytes": 0.5, "encode_mpx_s": 0.25, "decode_mpx_s": 1.0}


def test_the_front_is_what_nothing_beats_in_both():
    points = {"a": (10.0, 1.0), "b": (9.0, 5.0), "c": (8.0, 2.0), "d": (8.5, 2.0), "e": (12.0, 9.0)}
    assert summary.pareto(points) == ["e", "b", "c"]
    assert summary.pareto({}) == []


def test_the_warm_up_meets_pictures_that_were_ycc():
    """Of each conversion, with chroma at half the resolution and clipped pixels, so that all is compiled."""
    noise = np.random.default_rng(1).normal(60, 4, (136, 150))
    grey = np.clip(np.mgrid[:136, :150].sum(0) / 2 + noise, 0, 255).astype(np.uint8)
    stored = formats._once_stored(grey)
    found = [to_planes(pixels)[1] for pixels in stored]
    assert [colour.conversion for colour in found] == list(CONVERSIONS)
    assert [colour.subsampling.name for colour in found[:2]] == ["4:2:0"] * 2
    assert all((pixels == 255).any() for pixels in stored)
