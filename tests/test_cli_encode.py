"""`vdmc encode`: where files go, what is said, what is refused."""

import io
import json
import os
import re
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from tests.cli_support import colours, load, png_file, save
from vdmcompress.container import peek


def test_output_lies_beside_the_input(vdmc, library, picture):
    result = vdmc("encode", picture)
    assert result.exit_code == 0, result.stderr
    assert picture.with_suffix(".vdm").read_bytes() == png_file(load(picture))
    assert picture.exists()


def test_one_line_a_file_and_one_note_about_the_format(vdmc, library, tmp_path):
    paths = [save(colours(8, 8 + i), tmp_path / f"{i}.png") for i in range(3)]
    result = vdmc("encode", *paths)
    lines = result.stdout.splitlines()
    assert len(lines) == 3
    out = png_file(load(paths[1]))
    bpd = 8 * len(out) / (9 * 8 * 3)
    percent = 100 * len(out) / paths[1].stat().st_size
    sizes = f"{paths[1].stat().st_size:,} -> {len(out):,} bytes (png)"
    start = f"{paths[1]}: 9x8 RGB, {sizes}, {percent:.1f} %, {bpd:.3f} bpd, "
    assert re.fullmatch(re.escape(start) + r"\d+\.\d s", lines[1])
    assert result.stderr.count("pre-release format") == 1


def test_the_note_about_the_format_needs_a_file(vdmc, library, picture, tmp_path):
    (tmp_path / "damaged.png").write_bytes(b"no image")
    assert "pre-release format" not in vdmc("encode", tmp_path / "damaged.png").stderr
    assert vdmc("encode", tmp_path / "damaged.png", picture).stderr.count("pre-release format") == 1
    assert "pre-release format" not in vdmc("encode", "--skip-existing", picture).stderr


def test_a_missing_file_is_named_once(vdmc, library, tmp_path):
    result = vdmc("encode", tmp_path / "nothere.png")
    assert result.exit_code == 2
    assert result.stderr.count("nothere.png") == 1
    assert "No such file or directory" in result.stderr


def test_quiet_says_nothing(vdmc, library, picture):
    result = vdmc("encode", "-q", picture)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


def test_json_has_one_record_a_file(vdmc, library, picture, grey_picture):
    result = vdmc("encode", "--json", picture, grey_picture)
    first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert (first["width"], first["height"], first["channels"]) == (24, 16, 3)
    assert second["channels"] == 1
    for record, path in ((first, picture), (second, grey_picture)):
        assert record["status"] == "ok"
        assert record["bytes_in"] == path.stat().st_size
        assert record["bytes_out"] == Path(record["output"]).stat().st_size
        assert record["bpd"] == pytest.approx(8 * record["bytes_out"] / (24 * 16 * record["channels"]))
        assert record["kind"] == "png"


def test_options_reach_the_library(vdmc, library, picture):
    given = "-m mine -T 3 --device cpu --latents all --colour rgb -e 4 --max-memory 1.5GiB --no-verify"
    vdmc("encode", picture, *given.split())
    ((_, how),) = library.calls
    assert how == {
        "model": "mine", "threads": 3, "device": "cpu", "latents": "all", "colour": "rgb", "verify": False,
        "progress": None, "effort": 4, "memory": 3 << 29,
    }  # fmt: skip


def test_defaults_verify_on_all_cores(vdmc, library, picture):
    vdmc("encode", picture)
    ((_, how),) = library.calls
    assert (how["verify"], how["threads"], how["device"], how["model"]) == (True, None, "auto", None)


def test_existing_output_is_refused_before_any_work(vdmc, library, picture):
    there = picture.with_suffix(".vdm")
    there.write_bytes(b"precious")
    result = vdmc("encode", picture)
    assert result.exit_code == 2
    assert "exists; -f replaces it" in result.stderr
    assert there.read_bytes() == b"precious"
    assert library.calls == []


def test_force_replaces(vdmc, library, picture):
    there = picture.with_suffix(".vdm")
    there.write_bytes(b"old")
    assert vdmc("encode", "-f", picture).exit_code == 0
    assert there.read_bytes() == png_file(load(picture))


@pytest.mark.parametrize("force", [[], ["-f"]])
def test_the_input_is_never_the_output(vdmc, library, picture, force):
    before = picture.read_bytes()
    assert vdmc("encode", picture, "-o", picture, *force).exit_code == 2
    assert picture.read_bytes() == before


def test_another_input_is_never_the_output(vdmc, library, tmp_path):
    one = save(colours(4, 4), tmp_path / "a.png")
    two = tmp_path / "a.vdm"
    two.write_bytes(one.read_bytes())
    result = vdmc("encode", "-f", one, two)
    assert result.exit_code == 2
    assert two.read_bytes() == one.read_bytes()


def test_output_names_the_file(vdmc, library, picture, tmp_path):
    assert vdmc("encode", picture, "-o", tmp_path / "other.bin").exit_code == 0
    assert (tmp_path / "other.bin").exists()
    assert not picture.with_suffix(".vdm").exists()


def test_output_dir_is_made(vdmc, library, picture, grey_picture, tmp_path):
    assert vdmc("encode", picture, grey_picture, "-O", tmp_path / "new" / "folder").exit_code == 0
    assert sorted(p.name for p in (tmp_path / "new" / "folder").iterdir()) == ["grey.vdm", "picture.vdm"]


def test_two_inputs_with_one_output_are_named_before_starting(vdmc, library, picture):
    twin = picture.with_suffix(".webp")
    Image.open(picture).save(twin, lossless=True)
    result = vdmc("encode", picture, twin)
    assert result.exit_code == 2
    assert str(picture) in result.stderr
    assert str(twin) in result.stderr
    assert library.calls == []


@pytest.mark.parametrize("options", [["-o", "x", "-O", "y"], ["-o", "x", "second.png"]])
def test_contradictory_outputs_are_usage_errors(vdmc, library, picture, options):
    assert vdmc("encode", picture, *options).exit_code == 2
    assert library.calls == []


def test_standard_input_to_standard_output(vdmc, library, picture):
    result = vdmc("encode", "-", input=picture.read_bytes())
    assert result.exit_code == 0, result.stderr
    assert result.stdout_bytes == png_file(load(picture))
    assert "24x16 RGB" in result.stderr


def test_json_and_data_on_standard_output_exclude_each_other(vdmc, library, picture):
    assert vdmc("encode", picture, "-o", "-", "--json").exit_code == 2


@pytest.fixture
def rich(tmp_path):
    """A palette PNG with a transparent entry, a text and an ICC profile."""
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "mine")
    path = tmp_path / "rich.png"
    image = Image.fromarray(colours(4, 4)).quantize(5)
    image.save(path, pnginfo=text, icc_profile=b"not a real profile" * 10, transparency=2)
    return path


@pytest.mark.parametrize("strip", [False, True])
def test_metadata_is_kept_or_stripped(vdmc, library, rich, strip):
    result = vdmc("encode", rich, *["--strip"] * strip)
    assert result.exit_code == 0, result.stderr
    kinds = [chunk.kind for chunk in peek(rich.with_suffix(".vdm").read_bytes()).chunks]
    assert kinds == ([b"PLTE", b"tRNS"] if strip else [b"iCCP", b"tEXt", b"PLTE", b"tRNS"])
    assert "4x4 4-bit palette, " in result.stdout
    assert "not kept" not in result.stderr


def test_a_jpeg_is_told_that_it_may_grow(vdmc, library, tmp_path):
    path = save(colours(8, 8), tmp_path / "a.jpg")
    result = vdmc("encode", path)
    assert result.exit_code == 0, result.stderr
    (note,) = (line for line in result.stderr.splitlines() if "JPEG" in line)
    assert "pixels are kept, not the lossy file" in note
    assert "may be larger" in note


def test_what_is_not_kept_is_named(vdmc, library, tmp_path):
    data = io.BytesIO()
    Image.fromarray(colours(8, 8)).save(data, "JPEG")
    path = tmp_path / "a.jpg"
    path.write_bytes(data.getvalue()[:2] + b"\xff\xed\0\x08mine\0\0" + data.getvalue()[2:])
    assert "not kept: JPEG segment APP13 'mine'" in vdmc("encode", path).stderr
    assert "not kept" not in vdmc("encode", "-q", "-f", path).stderr


def test_unsupported_images_are_refused_by_name(vdmc, library, tmp_path):
    path = tmp_path / "a.tif"
    Image.new("CMYK", (4, 4)).save(path)
    result = vdmc("encode", path)
    assert result.exit_code == 2
    assert "CMYK" in result.stderr
    assert "convert it" in result.stderr
    assert not path.with_suffix(".vdm").exists()
    assert os.listdir(tmp_path) == ["a.tif"]


def test_permissions_and_times_are_those_of_the_input(vdmc, library, picture, tmp_path):
    os.chmod(picture, 0o640)
    os.utime(picture, ns=(10**18, 10**18 + 123456789))
    assert vdmc("encode", picture).exit_code == 0
    coded = picture.with_suffix(".vdm")
    assert vdmc("decode", coded, "-o", tmp_path / "back.png").exit_code == 0
    for path in (coded, tmp_path / "back.png"):
        assert path.stat().st_mode == picture.stat().st_mode
        assert path.stat().st_mtime_ns == 10**18 + 123456789


def test_verbose_tells_how_it_was_coded(vdmc, library, picture):
    assert "png, 1 lanes, CRC-32 " in vdmc("encode", "-v", picture).stderr
    assert ", not verified" in vdmc("encode", "-v", "-f", "--no-verify", picture).stderr
