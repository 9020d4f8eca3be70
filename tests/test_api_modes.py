"""Every mode and depth through encode and decode, with the tiny model; damage of the new parts."""

import io
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import vdmcompress
from tests.model_support import INTEGER, photo
from tests.test_image_output import ALL, METADATA, PLTE, picture_of
from vdmcompress import api
from vdmcompress.chunks import Chunk
from vdmcompress.container import pack, unpack
from vdmcompress.errors import DamagedFileError, LimitError, UnsupportedImageError
from vdmcompress.header import Kind
from vdmcompress.picture import Mode, Picture, array_picture, difference

MODEL = str(INTEGER)
LATE = Chunk(b"tEXt", b"Title\0mine", late=True)
PHOTO = photo(24, 20)
ALPHA = np.dstack((PHOTO, PHOTO[..., 1] & np.uint8(0xF0)))
HIDDEN = ALPHA.copy()
HIDDEN[:12, :, 3] = 0


@pytest.fixture(autouse=True)
def model_path(monkeypatch):
    monkeypatch.setenv("VDMC_MODEL_PATH", str(INTEGER.parent))


def encode(image, **how):
    return vdmcompress.encode(image, model=MODEL, threads=1, effort=1, **how)


@pytest.fixture
def by_diffusion(monkeypatch):
    """Classical coding is not tried where diffusion serves."""
    monkeypatch.setattr(api, "may_beat", lambda *_, **__: False)


@pytest.mark.parametrize("mode, depth", ALL)
def test_every_mode_comes_back(mode, depth):
    picture = picture_of(mode, depth, chunks=(*METADATA, LATE))
    data = encode(picture)
    found = vdmcompress.decode_picture(data, threads=1)
    assert difference(found, picture) is None
    header = vdmcompress.peek(data)
    assert (header.mode, header.depth, header.chunks) == (mode, depth, picture.chunks)
    assert np.array_equal(vdmcompress.decode(data, threads=1), picture.array())


@pytest.mark.parametrize("pixels", [ALPHA, HIDDEN, ALPHA[..., 2:]], ids=["RGBA", "hidden colours", "LA"])
def test_alpha_lies_beside_the_diffusion(by_diffusion, pixels):
    data = encode(pixels)
    header, parts = unpack(data)
    assert (header.kind, header.payload_channels) == (Kind.DIFFUSION, pixels.shape[2] - 1)
    assert header.alpha in (Kind.WEBP, Kind.PNG)
    assert len(parts) == 1 + header.lanes
    assert np.array_equal(vdmcompress.decode(data, threads=1), pixels)
    plain = encode(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 2 else pixels[..., :3]))
    assert bytes(unpack(plain)[1][0]) == bytes(parts[1])
    preview = vdmcompress.decode(data, scale=4, threads=1)
    assert preview.shape == (6, 5, pixels.shape[2])
    assert np.array_equal(preview[..., :-1].squeeze(), vdmcompress.decode(plain, scale=4, threads=1))


@pytest.mark.parametrize("alpha", [False, True])
def test_metadata_do_not_change_the_payload(by_diffusion, alpha):
    plain = array_picture(ALPHA if alpha else PHOTO)
    rich = replace(plain, chunks=(*METADATA, LATE))
    one, other = encode(plain), encode(rich)
    assert [bytes(p) for p in unpack(one)[1]] == [bytes(p) for p in unpack(other)[1]]
    assert replace(unpack(other)[0], chunks=()) == unpack(one)[0]


def test_the_smallest_file_counts_with_alpha():
    """A drawing with alpha: one WebP of all channels beats diffusion and an alpha plane."""
    drawing = np.zeros((64, 64, 4), np.uint8)
    drawing[10:50, 20:40] = (200, 30, 30, 255)
    data = encode(drawing)
    header = vdmcompress.peek(data)
    assert (header.kind, header.alpha) == (Kind.WEBP, None)
    out = io.BytesIO()
    Image.fromarray(drawing).save(out, "WEBP", lossless=True, method=6, quality=100, exact=True)
    assert len(data) <= len(out.getvalue()) + 64
    assert np.array_equal(vdmcompress.decode(data), drawing)


def test_no_model_is_needed_where_diffusion_does_not_serve(monkeypatch):
    monkeypatch.setattr(api, "_load_model", None)
    for mode, depth in ((Mode.PALETTE, 8), (Mode.GREY, 1), (Mode.RGB, 16)):
        assert vdmcompress.encode(picture_of(mode, depth))


@pytest.mark.parametrize("mode, depth", [(Mode.PALETTE, 4), (Mode.GREY, 1), (Mode.RGBA, 16)])
def test_previews_have_8_bits(mode, depth):
    picture = picture_of(mode, depth, 20, 30)
    preview = vdmcompress.decode(vdmcompress.encode(picture), scale=2)
    assert preview.dtype == np.uint8
    assert preview.shape[:2] == (10, 15)
    assert preview.shape[2:] == picture.array().shape[2:]


@given(st.data())
def test_any_palette_picture_comes_back(data):
    depth = data.draw(st.sampled_from([1, 2, 4, 8]))
    colours = data.draw(st.integers(1, 256))
    shape = (data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12)))
    seed = data.draw(st.integers(0, 99))
    rng = np.random.default_rng(seed)
    palette = Chunk(b"PLTE", rng.bytes(3 * colours))
    chunks = (palette, Chunk(b"tRNS", rng.bytes(min(colours, seed + 1))))
    indices = rng.integers(0, 2**depth, shape).astype(np.uint8)
    picture = Picture(Mode.PALETTE, depth, indices, chunks)
    found = vdmcompress.decode_picture(vdmcompress.encode(picture))
    assert difference(found, picture) is None


def test_pillow_images_keep_their_metadata():
    image = Image.fromarray(PHOTO).quantize(20)
    image.info = {"icc_profile": b"profile", "transparency": 3}
    picture = vdmcompress.decode_picture(vdmcompress.encode(image))
    assert [chunk.kind for chunk in picture.chunks] == [b"iCCP", b"PLTE", b"tRNS"]
    assert np.array_equal(picture.array(), np.asarray(image.convert("RGBA")))


def test_too_much_metadata_is_refused_before_any_work(monkeypatch):
    monkeypatch.setattr(api, "_load_model", None)
    picture = replace(array_picture(PHOTO), chunks=(Chunk(b"tEXt", bytes(2**24)),))
    with pytest.raises(LimitError, match="--strip"):
        vdmcompress.encode(picture)


def test_contradictory_pictures_are_refused():
    for picture in (
        Picture(Mode.PALETTE, 2, np.full((2, 2), 4, np.uint8), (PLTE,)),
        Picture(Mode.RGB, 8, PHOTO, (Chunk(b"IHDR", b""),)),
    ):
        with pytest.raises(UnsupportedImageError, match="image: "):
            vdmcompress.encode(picture)


def sealed(data, place, value):
    """The file with a byte changed and the right checksum."""
    body = data[:place] + bytes((value,)) + data[place + 1 : -4]
    return body + zlib.crc32(body).to_bytes(4, "little")


@pytest.mark.parametrize("flip", [0x01, 0x08, 0x15])
@pytest.mark.parametrize(
    "mode, depth", [(Mode.PALETTE, 2), (Mode.GREY_ALPHA, 8), (Mode.RGB, 16), (Mode.GREY, 1)]
)
def test_damage_behind_a_right_checksum_gives_no_wrong_picture(mode, depth, flip):
    """Metadata are covered by the checksum of the file only; all that is pixels has its own."""
    picture = picture_of(mode, depth, chunks=(Chunk(b"gAMA", b"1234"),))
    data = encode(picture)
    for place in range(4, len(data) - 4):
        try:
            found = vdmcompress.decode_picture(sealed(data, place, data[place] ^ flip), threads=1)
        except vdmcompress.VdmError:
            continue
        assert difference(replace(found, chunks=()), replace(picture, chunks=())) is None
        assert np.array_equal(found.array(), picture.array())


def test_another_palette_is_damage():
    picture = picture_of(Mode.PALETTE, 4)
    header, parts = unpack(vdmcompress.encode(picture))
    other = replace(header, chunks=(Chunk(b"PLTE", bytes(48)),))
    with pytest.raises(DamagedFileError, match="CRC-32"):
        vdmcompress.decode_picture(pack(other, parts))


def test_another_alpha_plane_is_damage(by_diffusion):
    header, parts = unpack(encode(ALPHA))
    _, other = unpack(encode(HIDDEN))
    with pytest.raises(DamagedFileError):
        vdmcompress.decode(
            pack(replace(header, alpha=unpack(encode(HIDDEN))[0].alpha), [other[0], *parts[1:]])
        )
    with pytest.raises(DamagedFileError, match="payload"):
        vdmcompress.decode(pack(header, [b"", *parts[1:]]))
