"""`vdmc decode` and `vdmc verify`: pixels come back, in the format asked for, or nothing is written."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from tests.cli_support import colours, load, png_file, save
from vdmcompress.chunks import Chunk
from vdmcompress.container import pack
from vdmcompress.header import Header, Kind
from vdmcompress.metadata import icc_chunk
from vdmcompress.picture import array_picture


@pytest.fixture
def coded(tmp_path):
    """A compressed file of 24x16 RGB pixels."""
    path = tmp_path / "picture.vdm"
    path.write_bytes(png_file(colours(16, 24)))
    return path


@pytest.fixture
def grey_coded(tmp_path):
    """A compressed file of 24x16 grey pixels."""
    path = tmp_path / "grey.vdm"
    path.write_bytes(png_file(colours(16, 24)[..., 0]))
    return path


def test_png_lies_beside_the_input(vdmc, library, coded):
    result = vdmc("decode", coded)
    assert result.exit_code == 0, result.stderr
    assert np.array_equal(load(coded.with_suffix(".png")), colours(16, 24))
    assert result.stdout.startswith(f"{coded}: 24x16 RGB, ")


@pytest.mark.parametrize(("kind", "suffix"), [("png", ".png"), ("webp", ".webp"), ("ppm", ".ppm")])
def test_formats_are_lossless(vdmc, library, coded, kind, suffix):
    assert vdmc("decode", coded, "--format", kind).exit_code == 0
    assert np.array_equal(load(coded.with_suffix(suffix)), colours(16, 24))


@pytest.mark.parametrize("more", [[], ["--scale", "1/2"]])
def test_rgb_is_not_written_as_pgm(vdmc, library, coded, tmp_path, more):
    result = vdmc("decode", coded, "-o", tmp_path / "y.pgm", *more)
    assert result.exit_code == 2
    assert "PGM cannot hold" in result.stderr
    assert "name the file .ppm" in result.stderr
    assert not (tmp_path / "y.pgm").exists()


def test_grey_as_ppm_is_a_pgm(vdmc, library, grey_coded):
    assert vdmc("decode", grey_coded, "--format", "ppm").exit_code == 0
    path = grey_coded.with_suffix(".pgm")
    assert path.read_bytes()[:2] == b"P5"
    assert np.array_equal(load(path), colours(16, 24)[..., 0])


@pytest.mark.parametrize(("name", "start"), [("a.PPM", b"P6"), ("a.webp", b"RIFF"), ("a.png", b"\x89PNG")])
def test_format_follows_from_the_output(vdmc, library, coded, tmp_path, name, start):
    assert vdmc("decode", coded, "-o", tmp_path / name).exit_code == 0
    assert (tmp_path / name).read_bytes().startswith(start)


def test_an_unknown_suffix_needs_a_format(vdmc, library, coded, tmp_path):
    assert vdmc("decode", coded, "-o", tmp_path / "a.jpg").exit_code == 2
    assert vdmc("decode", coded, "-o", tmp_path / "a.dat", "--format", "png").exit_code == 0
    assert (tmp_path / "a.dat").read_bytes().startswith(b"\x89PNG")


def test_options_reach_the_library(vdmc, library, coded):
    result = vdmc("decode", coded, "--scale", "1/4", "-T", "2", "--device", "cpu")
    ((_, how),) = library.calls
    assert how == {"scale": 4, "threads": 2, "device": "cpu", "progress": None}
    assert "6x4 RGB (scale 1/4)" in result.stdout


def test_existing_output_is_refused_before_any_work(vdmc, library, coded):
    coded.with_suffix(".png").write_bytes(b"precious")
    result = vdmc("decode", coded)
    assert result.exit_code == 2
    assert "-f" in result.stderr
    assert coded.with_suffix(".png").read_bytes() == b"precious"
    assert library.calls == []


def test_json_record(vdmc, library, coded):
    record = json.loads(vdmc("decode", "--json", coded).stdout)
    assert record["status"] == "ok"
    assert (record["width"], record["height"], record["channels"]) == (24, 16, 3)
    assert record["bytes_in"] == coded.stat().st_size


def test_stdin_to_stdout(vdmc, library, coded):
    result = vdmc("decode", "-", "--format", "ppm", input=coded.read_bytes())
    assert result.exit_code == 0, result.stderr
    assert result.stdout_bytes == b"P6\n24 16\n255\n" + colours(16, 24).tobytes()


@pytest.mark.parametrize("command", ["decode", "verify", "info"])
@pytest.mark.parametrize("what", ["cut", "flipped", "empty", "foreign"])
def test_damage_is_exit_3_with_one_line_and_no_output(vdmc, library, coded, command, what):
    data = coded.read_bytes()
    flipped = data[:20] + bytes([data[20] ^ 1]) + data[21:]
    coded.write_bytes(
        {"cut": data[:-1], "flipped": flipped, "empty": b"", "foreign": b"P5\n1 1\n255\n0"}[what]
    )
    result = vdmc(command, coded)
    assert result.exit_code == 3
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert str(coded) in result.stderr
    assert os.listdir(coded.parent) == ["picture.vdm"]


def test_verify_writes_nothing(vdmc, library, coded):
    result = vdmc("verify", coded)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{coded}: ok, 24x16 RGB")
    assert os.listdir(coded.parent) == ["picture.vdm"]


def test_verify_against_the_same_pixels(vdmc, library, coded, picture):
    result = vdmc("verify", coded, "--against", picture)
    assert result.exit_code == 0, result.stderr
    assert f"same as {picture}" in result.stdout


@pytest.mark.parametrize("other", ["pixel", "size", "grey"])
def test_verify_against_other_pixels(vdmc, library, coded, tmp_path, other):
    pixels = colours(16, 24)
    if other == "pixel":
        pixels[15, 23, 2] ^= 1
    elif other == "size":
        pixels = colours(24, 16)
    else:
        pixels = pixels[..., 0]
    result = vdmc("verify", coded, "--against", save(pixels, tmp_path / "other.png"))
    assert result.exit_code == 1
    assert "other.png" in result.stderr


def test_an_image_that_cannot_be_compared_is_the_one_to_blame(vdmc, library, coded, tmp_path):
    text = tmp_path / "text.png"
    text.write_text("no image")
    result = vdmc("verify", coded, "--against", text)
    assert result.exit_code == 2
    assert f"{coded}: not compared, --against {text}: " in result.stderr


def test_verify_against_compares_metadata(vdmc, library, picture, tmp_path):
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "mine")
    rich = tmp_path / "rich.png"
    Image.open(picture).save(rich, pnginfo=text)
    for options, code in (([], 0), (["--strip"], 1)):
        assert vdmc("encode", "-f", rich, *options).exit_code == 0
        result = vdmc("verify", rich.with_suffix(".vdm"), "--against", rich)
        assert result.exit_code == code
    assert "metadata: lacks text 'Comment'" in result.stderr


@pytest.fixture
def sixteen(tmp_path):
    """A compressed file of 16-bit grey with an ICC profile and a gamma."""
    path = tmp_path / "deep.vdm"
    deep = array_picture(np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000)
    path.write_bytes(png_file(replace(deep, chunks=(Chunk(b"gAMA", b"\0\0\0\1"), icc_chunk(b"profile")))))
    return path


def test_what_a_format_cannot_hold_is_refused_before_any_work(vdmc, library, sixteen):
    result = vdmc("decode", sixteen, "--format", "webp")
    assert result.exit_code == 2
    assert "WebP cannot hold 16-bit grey; write a PNG" in result.stderr
    assert library.calls == []
    assert os.listdir(sixteen.parent) == ["deep.vdm"]


def test_metadata_that_is_not_written_is_named(vdmc, library, sixteen):
    result = vdmc("decode", sixteen, "--format", "ppm")
    assert result.exit_code == 0, result.stderr
    assert sixteen.with_suffix(".pgm").read_bytes()[:15] == b"P5\n4 3\n65535\n\0\0"[:15]
    assert "not written, ppm cannot hold it: gamma" in result.stderr
    assert "ICC profile" in result.stderr
    assert "not written" not in vdmc("decode", sixteen, "--format", "png").stderr


def test_info_names_mode_and_metadata(vdmc, sixteen):
    result = vdmc("info", sixteen)
    assert "4x3 16-bit grey, 16 bits, lossless" in result.stdout
    assert "  keeps   gamma, 4 bytes\n  keeps   ICC profile, 31 bytes" in result.stdout
    record = json.loads(vdmc("info", "--json", sixteen).stdout)
    assert (record["mode"], record["bits"], record["alpha"]) == ("grey", 16, None)
    assert record["metadata"][0] == {"name": "gamma", "bytes": 4}


def test_verify_against_takes_one_file(vdmc, library, coded, picture):
    assert vdmc("verify", coded, coded, "--against", picture).exit_code == 2


def test_info_names_a_model_that_is_here(vdmc, tmp_path):
    from vdmcompress.model_search import list_models

    known = next(found for found in list_models() if found.name == "tiny")
    said = {known.hash: f"model tiny ({known.hash})", "00" * 8: "model 0000000000000000 (not"}
    for digest, words in said.items():
        header = Header(Kind.DIFFUSION, 4, 4, 3, 0, bytes.fromhex(digest), 0, 1)
        path = tmp_path / "coded.vdm"
        path.write_bytes(pack(header, [b"x" * 9]))
        assert words in vdmc("info", path).stdout
    assert json.loads(vdmc("info", "--json", path).stdout)["model_name"] is None


def test_info_tells_the_header(vdmc, coded, grey_coded):
    result = vdmc("info", coded, grey_coded)
    assert result.exit_code == 0, result.stderr
    size = coded.stat().st_size
    assert f"24x16 RGB, 8 bits, lossless\n  coding  png\n  size    {size:,} bytes" in result.stdout
    first, second = (
        json.loads(line) for line in vdmc("info", "--json", coded, grey_coded).stdout.splitlines()
    )
    assert (first["channels"], second["channels"]) == (3, 1)
    assert (first["kind"], first["model"], first["bytes"]) == ("png", None, size)
