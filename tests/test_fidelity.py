"""Files of all kinds come back exactly or are refused by name, by the judgement of other programs."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from benchmarks import fidelity
from tests.image_files import RGB, chunk, png, saved
from tests.model_support import INTEGER
from vdmcompress import classical

ROOT = Path(__file__).resolve().parent.parent
MISC = Path(os.environ.get("VDMC_TEST_IMAGES", ROOT.parent / "shared" / "data" / "misc"))
SMALL = 3000
"""Bytes: larger files of the folder are left to `python -m benchmarks.fidelity`."""


@pytest.fixture(autouse=True)
def model_path(monkeypatch):
    monkeypatch.setenv("VDMC_MODEL_PATH", str(INTEGER.parent))


@pytest.mark.skipif(not MISC.is_dir(), reason=f"no folder {MISC}")
def test_every_small_file_comes_back_or_is_refused(monkeypatch):
    webp = classical._webp
    monkeypatch.setattr(classical, "_webp", lambda pixels, *_: webp(pixels, 0, 0))  # quick, and as exact
    paths = sorted(p for p in MISC.rglob("*") if p.is_file() and p.stat().st_size <= SMALL)
    results = [fidelity.check(p, p.relative_to(MISC).as_posix(), str(INTEGER)) for p in paths]
    assert [(r.name, r.fault) for r in results if r.fault] == []
    assert sum(bool(r.judge) for r in results) > len(results) // 2


def rich_files():
    """Files of several kinds with metadata."""
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", "mine")
    exif = Image.Exif()
    exif[274] = 6
    blocks = {"exif": exif, "icc_profile": b"profile"}
    indexed = Image.fromarray(RGB).quantize(9)
    return {
        "rich.png": saved(RGB, "PNG", pnginfo=text, dpi=(72, 72), **blocks),
        "indexed.png": saved(indexed, "PNG", transparency=3),
        "alpha.png": saved(np.dstack((RGB, RGB[..., :1])), "PNG"),
        "deep.png": png(16, 2, [bytes(range(12))] * 2, chunk(b"sBIT", b"\x0c\x0c\x0c")),
        "bits.png": png(2, 0, [b"\x1b"]),
        "a.jpg": saved(RGB, "JPEG", xmp=b"<x/>", **blocks),
        "a.webp": saved(RGB, "WEBP", lossless=True, **blocks),
        "a.tif": saved(RGB, "TIFF", tiffinfo={274: 6, 270: "mine"}),
        "a.gif": saved(indexed, "GIF", transparency=2),
        "a.bmp": saved(RGB, "BMP"),
        "a.pgm": saved(RGB[..., 0], "PPM"),
    }


@pytest.mark.parametrize("name", rich_files())
def test_files_come_back_by_the_judgement_of_others(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(rich_files()[name])
    result = fidelity.check(path, name, str(INTEGER))
    assert result.fault == ""
    assert result.judge


def test_the_judges_notice_what_is_missing():
    files = rich_files()
    rich, jpeg = files["rich.png"], files["a.jpg"]
    with Image.open(io.BytesIO(jpeg)) as image:
        as_png = saved(np.asarray(image), "PNG")
        blocks = {key: image.info[key] for key in ("exif", "icc_profile")}
    assert fidelity.compare(rich, saved(RGB, "PNG"))[1] == "header or chunks of the PNG differ"
    assert fidelity.compare(rich, rich)[1] == ""
    assert fidelity.compare(jpeg, as_png)[1] == "icc_profile differs"
    with io.BytesIO(jpeg) as file, Image.open(file) as image:
        other = 255 - np.asarray(image)
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", "<x/>")
    assert "pixels differ" in fidelity.compare(jpeg, saved(other, "PNG", pnginfo=text, **blocks))[1]
    assert "pixels differ" in fidelity.compare(files["a.bmp"], saved(255 - RGB, "PNG"))[1]


def test_the_table_counts_and_names():
    results = [
        fidelity.Result("a.png", "PNG: RGB", "imagecodecs", "", 100, 50),
        fidelity.Result("b.png", "PNG: RGB", "Pillow", "", 100, 50),
        fidelity.Result("c.tif", "UnsupportedImageError: CMYK"),
    ]
    text = fidelity.table(results)
    assert "3 files: 2 came back exactly" in text
    assert "| PNG: RGB | 2 | Pillow, imagecodecs | a.png, b.png |" in text
    assert "| UnsupportedImageError: CMYK | 1 | c.tif |" in text
    assert "## Wrong" not in text
    wrong = [*results, fidelity.Result("d.png", "PNG: RGB", "Pillow", "other pixels")]
    assert "- d.png: other pixels" in fidelity.table(wrong)
