"""Training photographs out of originals: what is kept, how small it becomes, and why others are left out."""

import numpy as np
import pytest
from PIL import Image

from tests.model_support import photo
from vdmcompress.train import prepare
from vdmcompress.train.data import load_images
from vdmcompress.train.prepare import factor_of, main, originals, prepared


@pytest.fixture(scope="module")
def large():
    """A picture with detail of 2400x1800 pixels."""
    small = Image.fromarray(photo(432, 576))
    noise = np.random.default_rng(0).integers(-20, 21, (1800, 2400, 1))
    pixels = np.asarray(small.resize((2400, 1800), Image.Resampling.BICUBIC)).astype(int) + noise
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def pixels_of(photograph, folder):
    path = folder / "one.webp"
    path.write_bytes(photograph.data)
    return np.asarray(Image.open(path))


def test_factors():
    """JPEGs to a third or less, but not to less than is useful; lossless originals as large as may be."""
    assert [factor_of(2400, 1800, True), factor_of(4000, 3000, True), factor_of(9000, 6000, True)] == [
        3,
        5,
        6,
    ]
    assert factor_of(1200, 590, True) == 0
    assert [factor_of(512, 512, False), factor_of(1365, 2048, False), factor_of(1500, 900, False)] == [
        1,
        3,
        2,
    ]


def test_lossless_originals_are_kept_as_they_are(tmp_path):
    noisy = np.random.default_rng(0).integers(-6, 7, (256, 320, 3)) + photo(256, 320)
    pixels = noisy.clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels_of(prepared(tmp_path / "a.png"), tmp_path), pixels)


def test_jpegs_are_downscaled_and_upright(tmp_path, large):
    exif = Image.Exif()
    exif[0x0112] = 6
    large.save(tmp_path / "a.jpg", quality=92, exif=exif)
    for kernel in range(3):
        photograph = pixels_of(prepared(tmp_path / "a.jpg", kernel), tmp_path)
        assert photograph.shape == (768, 600, 3)
    upright = np.asarray(large.resize((800, 600), Image.Resampling.BOX).rotate(-90, expand=True)).astype(int)
    assert abs(upright[16:784] - photograph).mean() < 6


def test_what_is_left_out(tmp_path, large):
    grey = np.asarray(large.convert("L").crop((0, 0, 300, 300)))
    Image.fromarray(np.stack([grey] * 3, 2)).save(tmp_path / "grey.png")
    Image.fromarray(np.full((300, 300, 3), (9, 80, 7), np.uint8)).save(tmp_path / "flat.png")
    large.crop((0, 0, 900, 900)).save(tmp_path / "small.jpg", quality=97)
    large.crop((0, 0, 900, 500)).save(tmp_path / "smaller.jpg", quality=97)
    large.crop((0, 0, 190, 300)).save(tmp_path / "little.png")
    large.convert("P").save(tmp_path / "palette.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    found = {path.stem: prepared(path).reason for path, _ in originals([tmp_path])}
    assert found == {
        "grey": "grey",
        "flat": "no photograph by its bits",
        "small": "",
        "smaller": "too small for a JPEG",
        "little": "too small",
        "palette": "mode P",
        "broken": "unreadable (UnidentifiedImageError)",
    }


def test_the_command(tmp_path, large, capsys, monkeypatch):
    """Names tell where photographs come from; a second call leaves what is there."""
    monkeypatch.setattr(prepare, "SIDE", 256)
    folder, out = tmp_path / "originals", tmp_path / "photographs"
    (folder / "a").mkdir(parents=True)
    large.crop((0, 0, 256, 256)).save(folder / "a" / "b.png")
    large.crop((256, 256, 512, 512)).save(folder / "c.tif")
    (folder / "notes.txt").write_text("no picture")
    for wanted in ("2 photographs", "0 photographs\n  left out, there already: 2"):
        main([str(folder), "-o", str(out)])
        assert wanted in capsys.readouterr().out
    assert sorted(p.name for p in out.iterdir()) == ["a-b.webp", "c.webp"]
    assert [image.shape for image in load_images([out])] == [(256, 256, 3)] * 2
