"""The Pillow plugin: size without decoding, pixels as decode gives them, Pillow's own errors."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

import vdmcompress.pillow
from fuzz import corpus
from vdmcompress import api
from vdmcompress.container import pack
from vdmcompress.efforts import Effort
from vdmcompress.errors import DamagedFileError, ModelMissingError, UsageError
from vdmcompress.header import Header, Kind

SOUND, DAMAGED = corpus.load("sound"), corpus.load("damaged")
GREY = np.tile(np.arange(20, 60, dtype=np.uint8), (30, 1))


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """The tests' model is found, and no other is taken by default."""
    monkeypatch.setenv("VDMC_MODEL_PATH", str(corpus.DATA))
    monkeypatch.setattr(
        "vdmcompress.efforts.EFFORTS", 9 * (Effort(str(corpus.TINY), ("one",), careful=True),)
    )
    monkeypatch.setattr("vdmcompress.choice.shipped", lambda name: None)
    monkeypatch.setattr("vdmcompress.engine.default_threads", lambda: 1)


def opened(data):
    return Image.open(io.BytesIO(data))


def test_open_shows_size_and_mode_without_torch(tmp_path):
    path = tmp_path / "a.vdm"
    path.write_bytes(SOUND["rgb-33x47"])
    code = (
        "import sys; from PIL import Image; import vdmcompress.pillow\n"
        f"with Image.open({str(path)!r}) as im: print(im.size, im.mode, im.get_format_mimetype())\n"
        "sys.exit(' '.join(sorted({'torch', 'numba'} & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "(47, 33) RGB image/x-vdm\n", "")


NO_MODE = ("rgb-16bit", "rgba-16bit")


@pytest.mark.parametrize("name", [name for name in SOUND if name not in NO_MODE])
def test_load_equals_decode(name):
    """Palettes and 1-bit images as the colours that they stand for, as `decode` gives them."""
    pixels = api.decode(SOUND[name], threads=1)
    with opened(SOUND[name]) as image:
        if image.mode in ("1", "P"):
            image = image.convert("L" if pixels.ndim == 2 else ("RGB", "RGBA")[pixels.shape[2] - 3])
        assert np.array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize("name", NO_MODE)
def test_what_pillow_has_no_mode_for_is_not_opened(name):
    with pytest.raises(UnidentifiedImageError, match="16-bit RGB"):
        opened(SOUND[name])


def test_pixels_are_decoded_once_and_on_load_only(monkeypatch):
    calls, decode = [], api.decode_picture
    monkeypatch.setattr(api, "decode_picture", lambda data: calls.append(1) or decode(data, threads=1))
    image = opened(SOUND["webp-grey"])
    assert (image.size, image.mode, calls) == ((40, 30), "L", [])
    image.load()
    image.load()
    assert image.transpose(Image.Transpose.ROTATE_90).size == (30, 40)
    assert calls == [1]


@pytest.mark.parametrize("pixels", [GREY, corpus.picture(12, 17, 3)], ids=["L", "RGB"])
def test_save_round_trip(tmp_path, pixels):
    image = Image.fromarray(pixels)
    stream = io.BytesIO()
    image.save(stream, "VDM", threads=1)
    image.save(tmp_path / "a.vdm", model=str(corpus.TINY), threads=1, quality=5)
    assert (tmp_path / "a.vdm").read_bytes() == stream.getvalue() == api.encode(pixels, threads=1)
    for source in (io.BytesIO(stream.getvalue()), tmp_path / "a.vdm"):
        with Image.open(source) as back:
            assert back.mode == image.mode
            assert np.array_equal(np.asarray(back), pixels)


def test_options_reach_the_encoder(tmp_path):
    with pytest.raises(OSError, match="no model 'large'") as met:
        Image.fromarray(GREY).save(tmp_path / "a.vdm", model="large")
    assert isinstance(met.value.__cause__, ModelMissingError)
    with pytest.raises(OSError, match="effort 0, allowed are 1"):
        Image.fromarray(GREY).save(tmp_path / "a.vdm", effort=0)
    with pytest.raises(OSError, match="0 threads") as met:
        Image.fromarray(GREY).save(tmp_path / "a.vdm", threads=0)
    assert isinstance(met.value.__cause__, UsageError)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", ["CMYK", "F", "YCbCr"])
def test_other_modes_are_refused_by_name(mode):
    with pytest.raises(OSError, match=f"cannot write mode {mode} as VDM: unsupported image"):
        Image.new(mode, (3, 2)).save(io.BytesIO(), "VDM")


@pytest.mark.parametrize("name", ["exif", "icc_profile", "xmp"])
def test_metadata_are_kept_replaced_or_left_out(name):
    image = Image.fromarray(GREY > 99)
    image.info[name] = b"of the image"
    for given, expected in (({}, b"of the image"), ({name: b"other"}, b"other"), ({name: None}, None)):
        stream = io.BytesIO()
        image.save(stream, "VDM", **given)
        assert opened(stream.getvalue()).info.get(name) == expected
        assert image.info == {name: b"of the image"}


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGBA", "I;16"])
def test_all_modes_come_back(mode):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (9, 11, 3)).astype(np.uint8))
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 65536, (9, 11)).astype(np.uint16))
    elif mode == "P":
        image = image.quantize(7)
        image.info["transparency"] = b"\xff\x00\x07"
    else:
        image = image.convert(mode)
    stream = io.BytesIO()
    image.save(stream, "VDM", threads=1)
    back = opened(stream.getvalue())
    assert (back.mode, back.size) == (mode, image.size)
    assert np.array_equal(np.asarray(back), np.asarray(image))
    if mode == "P":
        assert np.array_equal(np.asarray(back.convert("RGBA")), np.asarray(image.convert("RGBA")))


@pytest.mark.parametrize("name", ["flipped-bit", "cut", "no-such-version", "hour-of-work"])
def test_files_that_cannot_be_opened(name):
    with pytest.raises(UnidentifiedImageError) as met:
        opened(DAMAGED[name])
    assert len(str(met.value).splitlines()) == 1
    assert "get another copy" in str(met.value) or "format version" in str(met.value)


@pytest.mark.parametrize("name", ["flipped-bit-resealed", "other-pixel-crc", "webp-cut", "no-such-model"])
def test_files_that_cannot_be_loaded(name):
    image = opened(DAMAGED[name])
    assert image.size in ((17, 12), (40, 30))
    for _ in range(2):
        with pytest.raises(OSError, match=r"damaged file|model 0000000000000000") as met:
            image.load()
        assert isinstance(met.value.__cause__, DamagedFileError | ModelMissingError)
        assert len(str(met.value).splitlines()) == 1


def test_a_bomb_is_pillows_bomb():
    bomb = pack(Header(Kind.PNG, 2**16, 2**16, 3, 0), [b""])
    with pytest.raises(Image.DecompressionBombError, match="65536x65536"):
        opened(bomb)


def test_other_files_are_left_to_pillow():
    with pytest.raises(UnidentifiedImageError, match="cannot identify"):
        opened(b"\x89VDN" + bytes(40))
    stream = io.BytesIO()
    Image.fromarray(GREY).save(stream, "PNG")
    assert opened(stream.getvalue()).format == "PNG"


def test_registration_is_idempotent():
    before = (list(Image.ID), dict(Image.OPEN), dict(Image.SAVE), dict(Image.EXTENSION), dict(Image.MIME))
    vdmcompress.pillow.register()
    after = (list(Image.ID), dict(Image.OPEN), dict(Image.SAVE), dict(Image.EXTENSION), dict(Image.MIME))
    assert after == before
    assert before[0].count("VDM") == 1
    assert Image.registered_extensions()[".vdm"] == "VDM"
