"""The benchmarks' own parts: formats are compared on pixels that came back, figures add up."""

import numpy as np
import pytest

from benchmarks import formats, kodak
from tests.cli_support import colours, save


@pytest.mark.parametrize("form", [formats.PNG, formats.WEBP])
@pytest.mark.parametrize("grey", [False, True])
def test_formats_come_back(form, grey):
    pixels = colours(9, 13)
    measured = formats.measure(form, pixels[..., 0] if grey else pixels)
    assert measured.size > 0
    assert measured.encode_seconds > 0


@pytest.mark.parametrize("effort", [7, 9])
def test_jpeg_xl_comes_back(effort):
    pytest.importorskip("imagecodecs")
    form = formats.jpeg_xl(effort)
    assert form is not None
    assert formats.measure(form, colours(9, 13)).size > 0
    assert formats.measure(form, np.ascontiguousarray(colours(9, 13)[..., 0])).size > 0


def test_other_pixels_are_no_result():
    liar = formats.Format("liar", formats.PNG.encode, lambda data: formats.PNG.decode(data) ^ 1)
    with pytest.raises(ValueError, match="liar gave other pixels"):
        formats.measure(liar, colours(4, 4))


def test_only_grey_and_rgb(tmp_path):
    assert formats.read_pixels(save(colours(3, 4), tmp_path / "a.png")).shape == (3, 4, 3)
    with pytest.raises(ValueError, match="RGBA"):
        formats.read_pixels(save(np.zeros((3, 4, 4), np.uint8), tmp_path / "b.png"))


def test_totals_are_sums_over_the_set():
    images = {"a": np.zeros((1000, 500, 3), np.uint8), "b": np.zeros((1000, 1500, 3), np.uint8)}
    figures = [
        {"bytes": 300_000, "encode_seconds": 1.0, "decode_seconds": 2.0},
        {"bytes": 450_000, "encode_seconds": 3.0, "decode_seconds": 2.0},
    ]
    total = kodak.totals(images, {name: {"vdmc": f} for name, f in zip(images, figures, strict=True)})
    assert (total["images"], total["mpx"], total["values"]) == (2, 2.0, 6_000_000)
    assert total["formats"]["vdmc"] == {
        "bytes": 750_000,
        "bpd": 1.0,
        "encode_mpx_s": 0.5,
        "decode_mpx_s": 0.5,
    }
