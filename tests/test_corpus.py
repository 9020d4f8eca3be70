"""The committed corpus: old files decode, their model found by VDMC_MODEL_PATH alone; damage is named."""

import hashlib
from dataclasses import replace

import pytest

from fuzz import corpus
from tests import model_support
from tests.test_model_file import rebuilt
from vdmcompress import api, model_file, model_search
from vdmcompress.container import pack, peek, unpack
from vdmcompress.errors import DamagedFileError, ModelMissingError, VdmError
from vdmcompress.header import Kind
from vdmcompress.path import PLANS
from vdmcompress.picture import Mode

tiny_model = model_support.tiny_model
SOUND, DAMAGED, EXPECTED = corpus.load("sound"), corpus.load("damaged"), corpus.expected()


@pytest.fixture(autouse=True)
def moved_model(tmp_path, monkeypatch):
    """No model in the package; the tests' model under another name in a folder of VDMC_MODEL_PATH."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "moved.vdm.safetensors").write_bytes(model_support.INTEGER.read_bytes())
    monkeypatch.setattr(model_search, "files", lambda package: tmp_path / "package")
    monkeypatch.setenv("VDMC_MODEL_PATH", str(folder))
    return folder


def test_the_table_is_of_these_files():
    assert set(EXPECTED["sound"]) == set(SOUND)
    assert set(EXPECTED["damaged"]) == set(DAMAGED)
    assert len({EXPECTED["sound"][name] for name in SOUND}) == len(SOUND)
    assert {peek(data).kind for data in SOUND.values()} == set(Kind)
    assert sum(map(len, (*SOUND.values(), *DAMAGED.values()))) < 61_000


def test_all_that_a_file_can_hold_is_there():
    headers = [peek(data) for data in SOUND.values()]
    assert {header.mode for header in headers} == set(Mode)
    assert {header.depth for header in headers} >= {1, 4, 8, 16}
    assert {header.mode for header in headers if header.alpha} == {Mode.GREY_ALPHA, Mode.RGBA}
    assert any(chunk.late for header in headers for chunk in header.chunks)
    colours = {PLANS[header.plan].coloured for header in headers if header.kind is Kind.DIFFUSION}
    assert colours == {plan.coloured for plan in PLANS}
    with_text = [name for name in SOUND if b"Title\0" in SOUND[name]]
    assert "rgb-20x18-metadata-stored" in with_text
    assert b"long long" not in SOUND["grey-18x22-metadata"]  # compressed


@pytest.mark.parametrize("name", SOUND)
def test_sound_files_decode_for_ever(name):
    assert corpus.outcome(SOUND[name]) == EXPECTED["sound"][name]


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_have_their_error(name):
    assert corpus.outcome(DAMAGED[name]) == EXPECTED["damaged"][name]


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("rgb-17x12", "one"),
        ("grey-129x128-lanes", "one"),
        ("la-21x20-alpha-metadata", "one"),
        ("rgb-21x19-jpeg-420", "one"),
        ("grey-26x24-later-plan", "later"),
        ("rgb-18x16-photocd-420-later-plan", "later"),
    ],
)
def test_the_encoder_still_writes_them(name, order):
    """Golden the other way round: a change of the bytes is a change of the format."""
    assert corpus.diffusion_file(api.decode_picture(SOUND[name], threads=1), order) == SOUND[name]


def test_without_the_model_its_hash_and_the_places_are_named(moved_model):
    (moved_model / "moved.vdm.safetensors").unlink()
    header, _ = unpack(SOUND["rgb-17x12"])
    with pytest.raises(ModelMissingError, match=f"model {header.model.hex()} is not in .* VDMC_MODEL_PATH"):
        api.decode(SOUND["rgb-17x12"])


@pytest.mark.parametrize("name", ["rgb-17x12", "grey-24x20", "rgb-64x64-latents"])
def test_a_payload_of_another_model_is_damage(moved_model, name, tiny_model):
    """Both models are there; the header names the other one, whose networks answer as they should."""
    other = rebuilt(model_support.INTEGER.read_bytes(), linear=tiny_model.tensors["linear"] // 2)
    (moved_model / "other.vdm.safetensors").write_bytes(other)
    header, views = unpack(SOUND[name])
    header = replace(header, model=hashlib.sha256(other).digest()[:8])
    with pytest.raises(VdmError) as met:
        api.decode(pack(header, [bytes(view) for view in views]), threads=1)
    assert met.value.exit_code == DamagedFileError.exit_code


@pytest.mark.parametrize("hostile", ["fifo", "folder", "broken link", "unreadable", "huge"])
def test_what_else_lies_in_the_folder_does_no_harm(moved_model, hostile, monkeypatch):
    """Passed over, not opened: a pipe would block for ever."""
    import os

    path = moved_model / "a.vdm.safetensors"
    if hostile == "fifo":
        os.mkfifo(path)
    elif hostile == "folder":
        path.mkdir()
    elif hostile == "broken link":
        path.symlink_to(moved_model / "nowhere")
    elif hostile == "huge":
        with path.open("wb") as file:
            file.truncate(model_file.SIZE_LIMIT + 1)
    else:
        path.write_bytes(b"secret")
        allowed = os.access
        monkeypatch.setattr(os, "access", lambda p, mode: p != path and allowed(p, mode))
    assert corpus.outcome(SOUND["rgb-17x12"]) == EXPECTED["sound"]["rgb-17x12"]
    assert [info.name for info in model_search.list_models()] == ["moved"]
