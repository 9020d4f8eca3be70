"""The public face: dispatch by size, verification, which error says what; zlib stands for diffusion."""

import io
import sys
import types
import zlib
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

import vdmcompress
from vdmcompress import api
from vdmcompress.container import pack
from vdmcompress.errors import (
    DamagedFileError,
    LimitError,
    MachineError,
    ModelMissingError,
    ShortStackError,
    UnsupportedImageError,
    UsageError,
    VdmError,
)
from vdmcompress.header import Header, Kind, Limits
from vdmcompress.path import ORDERS
from vdmcompress.picture import Mode, Picture

HASH = bytes(range(8))
NOISE = np.random.default_rng(0).integers(0, 256, (12, 9, 3)).astype(np.uint8)
GREY = np.random.default_rng(1).integers(0, 256, (70, 80)).astype(np.uint8)
FLAT = np.full((70, 80, 3), 77, np.uint8)


@dataclass(eq=False)
class FakeModel:
    """Each one is another model."""

    name: str
    hash8: bytes = HASH


@dataclass
class Fake:
    """Stands for the diffusion modules: codes with zlib, records calls, and can be told to go wrong."""

    calls: list
    padding: int = 0
    wrong_on: tuple = ()
    raises: VdmError | None = None
    faults: tuple = ()
    known: tuple = (HASH,)

    def load_model(self, name=None):
        self.calls.append(("load", name))
        return FakeModel(name or "photo")

    def find_model(self, hash8):
        if hash8 not in self.known:
            raise ModelMissingError(f"model {hash8.hex()} is missing")
        return self.load_model("found")

    def encode_pixels(
        self, pixels, model, threads, progress=None, device="auto", order=(), memory=None, colour=""
    ):
        self.calls.append(("encode", threads, device))
        self.colour = colour
        self.order = order
        if progress is not None:
            progress(1, 1, "encode")
        data = zlib.compress(pixels.tobytes()) + bytes(self.padding)
        return types.SimpleNamespace(lanes=[data[:3], data[3:]], plan=5)

    def decode_pixels(
        self,
        lanes,
        height,
        width,
        channels,
        plan,
        model,
        threads,
        scale=1,
        progress=None,
        device="auto",
        memory=None,
    ):
        self.calls.append(("decode", threads, device, scale, plan))
        if progress is not None:
            progress(1, 1, "decode")
        if self.raises is not None:
            raise self.raises
        data = zlib.decompressobj().decompress(b"".join(lanes))
        shape = (height, width) if channels == 1 else (height, width, channels)
        pixels = np.frombuffer(data, np.uint8).reshape(shape).copy()
        if device in self.wrong_on:
            pixels.flat[0] ^= 1
        return pixels[::scale, ::scale]

    def selftest(self, model=None):
        self.calls.append(("selftest",))
        return [("table", True, "ok"), *((name, False, "differs") for name in self.faults)]


@pytest.fixture
def fake(monkeypatch):
    fake = Fake([])
    for name, functions in {
        "cascade": ("encode_pixels", "decode_pixels"),
        "model_search": ("load_model", "find_model"),
        "exact": ("selftest",),
    }.items():
        module = types.ModuleType(f"vdmcompress.{name}")
        for function in functions:
            setattr(module, function, getattr(fake, function))
        monkeypatch.setitem(sys.modules, f"vdmcompress.{name}", module)
    engine = types.ModuleType("vdmcompress.engine")
    engine.default_threads = lambda: 7
    monkeypatch.setitem(sys.modules, "vdmcompress.engine", engine)
    return fake


@pytest.fixture
def no_classical(monkeypatch):
    monkeypatch.setattr(api, "may_beat", lambda pixels, size, **_: False)


def diffusion_file(pixels, crc=None, model=HASH):
    data = zlib.compress(pixels.tobytes())
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else 3
    crc = zlib.crc32(pixels.tobytes()) if crc is None else crc
    return pack(Header(Kind.DIFFUSION, width, height, channels, crc, model, 5, 1), [data])


@pytest.mark.parametrize("pixels", [NOISE, GREY], ids=["RGB", "grey"])
def test_diffusion_round_trip(fake, no_classical, pixels):
    data = vdmcompress.encode(pixels, model="some", threads=2, device="cpu")
    assert fake.calls == [("load", "some"), ("encode", 2, "cpu"), ("decode", 2, "cpu", 1, 5)]
    header = vdmcompress.peek(data)
    assert header == Header(
        Kind.DIFFUSION,
        pixels.shape[1],
        pixels.shape[0],
        1 if pixels.ndim == 2 else 3,
        zlib.crc32(pixels.tobytes()),
        HASH,
        5,
        2,
    )
    assert isinstance(header, vdmcompress.Header)
    found = vdmcompress.decode(data, threads=3)
    assert np.array_equal(found, pixels)
    assert fake.calls[-1] == ("decode", 3, "auto", 1, 5)


def test_smaller_one_wins(fake):
    data = vdmcompress.encode(FLAT, threads=1)
    assert vdmcompress.peek(data).kind is Kind.WEBP
    assert np.array_equal(vdmcompress.decode(data), FLAT)
    fake.padding = 10_000
    assert len(vdmcompress.encode(NOISE, threads=1)) < 10_000
    fake.padding = 0
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 256)
    assert vdmcompress.peek(vdmcompress.encode(np.tile(ramp, (100, 1)), threads=1)).kind is not Kind.DIFFUSION


def test_screen_decides_whether_full_effort_is_spent(fake, monkeypatch):
    asked = []

    def may_beat(pixels, size, careful, threads):
        asked.append(size)
        return False

    monkeypatch.setattr(api, "may_beat", may_beat)
    monkeypatch.setattr(api, "encode_classical", None)
    data = vdmcompress.encode(FLAT, threads=1)
    assert asked == [len(data)]
    assert vdmcompress.peek(data).kind is Kind.DIFFUSION


def test_a_diffusion_payload_too_short_for_the_format_is_never_written(fake, monkeypatch):
    """However small it is, and although the screen would not ask for a classical one."""
    monkeypatch.setattr(api, "may_beat", lambda pixels, size, **_: False)
    flat = np.full((600, 600), 5, np.uint8)
    assert len(zlib.compress(flat.tobytes())) < (flat.size - 4096) / 64
    data = vdmcompress.encode(flat, threads=1)
    assert vdmcompress.peek(data).kind is not Kind.DIFFUSION
    assert np.array_equal(vdmcompress.decode(data), flat)


@pytest.mark.parametrize("pixels", [NOISE, GREY, FLAT, FLAT[:1, :1], GREY[:1]])
def test_never_larger_than_webp_and_64_bytes(fake, pixels):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "WEBP", lossless=True, method=6, quality=100, exact=True)
    fake.padding = 100_000
    data = vdmcompress.encode(pixels, threads=1)
    assert len(data) <= len(out.getvalue()) + 64
    assert np.array_equal(vdmcompress.decode(data), pixels)


def test_pillow_images_and_views(fake, no_classical):
    assert np.array_equal(vdmcompress.decode(vdmcompress.encode(Image.fromarray(NOISE)), threads=1), NOISE)
    assert fake.calls[1] == ("encode", 7, "auto")
    turned = NOISE[::-1, ::2]
    assert np.array_equal(vdmcompress.decode(vdmcompress.encode(turned, threads=1), threads=1), turned)


@pytest.mark.parametrize(
    "image, words",
    [
        (NOISE.astype(np.uint32), "array of uint32"),
        (NOISE.astype(float), "array of float64"),
        (np.dstack((NOISE, NOISE)), r"shape \(12, 9, 6\)"),
        (NOISE[:, :, :1], r"shape \(12, 9, 1\)"),
        (NOISE[:0], r"shape \(0, 9, 3\)"),
        (NOISE[0, 0], r"shape \(3,\)"),
        ("photo.png", "str"),
        (Image.new("CMYK", (2, 2)), "mode CMYK"),
        (Picture(Mode.PALETTE, 8, GREY), "0 palettes"),
    ],
)
def test_other_images_are_refused(fake, image, words):
    with pytest.raises(UnsupportedImageError, match=words):
        vdmcompress.encode(image)
    assert fake.calls == []


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: vdmcompress.encode(NOISE, device="tpu"), "device 'tpu'.*auto, cpu, cuda"),
        (lambda: vdmcompress.encode(NOISE, threads=0), "0 threads"),
        (lambda: vdmcompress.encode(NOISE, threads="2"), "'2' threads"),
        (lambda: vdmcompress.encode(NOISE, effort="7"), "effort '7', allowed are 1"),
        (lambda: vdmcompress.encode(NOISE, memory="1G"), "memory '1G'; allowed"),
        (lambda: vdmcompress.encode(NOISE, device=None), "device None is not known"),
        (lambda: vdmcompress.encode(NOISE, limits=Limits(max_pixels="9")), "max_pixels '9'"),
        (lambda: vdmcompress.decode(diffusion_file(NOISE), device="cpu_float"), "device 'cpu_float'"),
        (lambda: vdmcompress.decode(diffusion_file(NOISE), scale=3), "1/3.*1/1, 1/2, 1/4, 1/8"),
    ],
)
def test_senseless_calls_are_refused(fake, call, words):
    with pytest.raises(UsageError, match=words):
        call()


def test_limits(fake, monkeypatch):
    big = np.broadcast_to(np.zeros((1, 1), np.uint8), (2**15, 2**14))
    with pytest.raises(LimitError, match="16384x32768"):
        vdmcompress.encode(big)
    with pytest.raises(LimitError, match="allowed are 107"):
        vdmcompress.decode(diffusion_file(NOISE), limits=Limits(max_pixels=107))
    assert fake.calls == []


def test_missing_model(fake):
    with pytest.raises(ModelMissingError, match="0102"):
        vdmcompress.decode(diffusion_file(NOISE, model=b"\1\2" * 4), threads=1)


@pytest.mark.parametrize("failure", [{"wrong_on": ("auto",)}, {"raises": ShortStackError("short")}])
def test_failed_verification_gives_no_bytes(fake, no_classical, failure):
    for name, value in failure.items():
        setattr(fake, name, value)
    with pytest.raises(MachineError, match="do not decode to it"):
        vdmcompress.encode(NOISE, threads=1)
    vdmcompress.encode(NOISE, threads=1, verify=False)
    assert fake.calls[-1] == ("encode", 1, "auto")


def test_failed_verification_of_classical_payloads(fake, monkeypatch):
    monkeypatch.setattr(api, "decode_classical", lambda kind, data, header: 255 - FLAT)
    with pytest.raises(MachineError, match="do not decode to it"):
        vdmcompress.encode(FLAT, threads=1)


def test_wrong_pixels_are_computed_once_more_on_the_reference_path(fake):
    fake.wrong_on = ("auto",)
    assert np.array_equal(vdmcompress.decode(diffusion_file(NOISE), threads=1), NOISE)
    assert [call[2] for call in fake.calls if call[0] == "decode"] == ["auto", "cpu_float"]


@pytest.mark.parametrize("faults, error", [((), DamagedFileError), (("table",), MachineError)])
@pytest.mark.parametrize("raises", [None, ShortStackError("short stack"), DamagedFileError("out of range")])
def test_file_and_machine_are_told_apart(fake, faults, error, raises):
    fake.raises, fake.faults = raises, faults
    data = diffusion_file(NOISE, crc=1)
    with pytest.raises(VdmError) as caught:
        vdmcompress.decode(data, threads=1)
    assert caught.value.exit_code == error.exit_code
    assert fake.calls[-1] == ("selftest",)


def test_the_machine_is_asked_once_for_many_damaged_files(fake, monkeypatch):
    """Else each damaged file of a folder would cost a self-test."""
    one = FakeModel("photo")
    monkeypatch.setattr(fake, "load_model", lambda name=None: one)
    fake.raises = DamagedFileError("out of range")
    for _ in range(3):
        with pytest.raises(DamagedFileError):
            vdmcompress.decode(diffusion_file(NOISE), threads=1)
    assert fake.calls.count(("selftest",)) == 1
    assert sum(call[0] == "decode" for call in fake.calls) == 6


def test_other_errors_are_not_tried_again(fake):
    fake.raises = LimitError("too much")
    with pytest.raises(LimitError):
        vdmcompress.decode(diffusion_file(NOISE), threads=1)
    assert sum(call[0] == "decode" for call in fake.calls) == 1


def test_classical_pixels_are_checked():
    kind, payload = api.encode_classical(NOISE)
    data = pack(Header(kind, 9, 12, 3, 1), [payload])
    with pytest.raises(DamagedFileError, match="CRC-32 00000001"):
        vdmcompress.decode(data)


def test_previews(fake):
    y, x = np.mgrid[:16, :24]
    smooth = np.stack([x * 10, y * 15, x + y], 2).astype(np.uint8)
    kind, payload = api.encode_classical(smooth)
    data = pack(Header(kind, 24, 16, 3, zlib.crc32(smooth.tobytes())), [payload])
    for scale in (1, 2, 4, 8):
        preview = vdmcompress.decode(data, scale=scale)
        assert preview.shape == (16 // scale, 24 // scale, 3)
        blocks = smooth.reshape(16 // scale, scale, 24 // scale, scale, 3).mean(axis=(1, 3))
        assert np.abs(preview - blocks).max() <= scale
    vdmcompress.decode(diffusion_file(NOISE, crc=1), scale=4, threads=1)
    assert fake.calls[-1] == ("decode", 1, "auto", 4, 5)
    grey = vdmcompress.encode(np.full((3, 5), 9, np.uint8), threads=1)
    assert np.array_equal(vdmcompress.decode(grey, scale=8, threads=1), np.full((1, 2), 9))


def test_progress_is_passed_on(fake, no_classical):
    seen = []
    data = vdmcompress.encode(NOISE, model="photo", threads=1, progress=lambda *step: seen.append(step))
    vdmcompress.decode(data, threads=1, progress=lambda *step: seen.append(step))
    assert seen == [(1, 1, "encode"), (1, 1, "verify"), (1, 1, "decode")]


def test_public_names():
    for name in vdmcompress.__all__:
        assert getattr(vdmcompress, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = vdmcompress.nothing


def test_exit_codes_of_the_tree():
    codes = {error.__name__: error.exit_code for error in VdmError.__subclasses__()}
    expected = {
        "ShortStackError": 3,
        "StackFormatError": 3,
        "UsageError": 2,
        "UnsupportedImageError": 2,
        "DamagedFileError": 3,
        "ModelMissingError": 4,
        "LimitError": 5,
        "DefectError": 1,
        "MachineError": 6,
    }
    assert expected.items() <= codes.items()
    assert VdmError.exit_code == 1


def test_colour_is_asked_for_by_name(fake):
    for given in ("auto", "rgb"):
        api.encode(GREY, colour=given, verify=False)
        assert fake.colour == given
    with pytest.raises(UsageError, match="auto, rgb"):
        api.encode(GREY, colour="cmyk")


def test_an_effort_chooses_model_latents_and_screen(fake, monkeypatch):
    screens = []
    monkeypatch.setattr(api, "may_beat", lambda pixels, size, careful, threads: screens.append(careful))
    for effort, model, encodings, careful in (
        (1, "dart", 1, False),
        (3, "swift", 1, False),
        (7, "photo", 1, True),
        (9, "photo", 3, True),
    ):
        fake.calls.clear()
        api.encode(GREY, effort=effort, verify=False)
        assert fake.calls[0] == ("load", model)
        assert [call[0] for call in fake.calls[1:]] == ["encode"] * encodings
        assert screens.pop() is careful
    fake.calls.clear()
    api.encode(GREY, effort=9, model="other", latents="all", verify=False)
    assert [call[0] for call in fake.calls] == ["load", "encode"]
    assert fake.calls[0] == ("load", "other")
    assert fake.order == ORDERS["all"]
    for effort in (0, 10):
        with pytest.raises(UsageError, match=f"effort {effort}, allowed are 1"):
            api.encode(GREY, effort=effort)
