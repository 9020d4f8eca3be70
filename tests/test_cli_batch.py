"""Many files at once: trees there and back, what is skipped, what is removed and when, dry runs, sums."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli import encode, streams
from tests import batch_support
from tests.cli_support import colours, load, png_file, save
from vdmcompress import api, files


@pytest.fixture
def tree(tmp_path):
    """A folder of four images, one of them refused (CMYK)."""
    (tmp_path / "in" / "sub" / "deep").mkdir(parents=True)
    save(colours(4, 5), tmp_path / "in" / "a.png")
    save(colours(4, 6), tmp_path / "in" / "sub" / "b.PNG")
    save(colours(4, 7), tmp_path / "in" / "sub" / "deep" / "c.bmp")
    Image.new("CMYK", (4, 8)).save(tmp_path / "in" / "sub" / "cmyk.tif")
    return tmp_path / "in"


def all_files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_tree_is_mirrored_and_mirrors_back(vdmc, library, tree, tmp_path):
    out, back = tmp_path / "out", tmp_path / "back"
    result = vdmc("encode", "-r", tree, "-O", out)
    assert result.exit_code == 1
    assert "CMYK" in result.stderr
    assert all_files(out) == ["a.vdm", "sub/b.vdm", "sub/deep/c.vdm"]
    assert vdmc("decode", "-r", out, "-O", back).exit_code == 0
    assert all_files(back) == ["a.png", "sub/b.png", "sub/deep/c.png"]
    assert np.array_equal(load(back / "sub" / "deep" / "c.png"), colours(4, 7))
    assert vdmc("info", "-r", out).stdout.count("lossless") == 3
    assert vdmc("verify", "-r", out).stdout.count(": ok, ") == 3


def test_files_lie_beside_their_images_without_a_folder(vdmc, library, tree):
    vdmc("encode", "-r", tree)
    assert (tree / "sub" / "deep" / "c.vdm").exists()


def test_a_folder_without_r_is_refused_and_the_others_are_done(vdmc, library, tree, picture):
    result = vdmc("encode", tree, picture)
    assert result.exit_code == 1
    assert f"{tree}: is a folder; -r takes the files in it" in result.stderr
    assert picture.with_suffix(".vdm").exists()


def test_names_from_a_list_and_from_standard_input(vdmc, library, tmp_path):
    paths = [save(colours(4, 4 + i), tmp_path / f"{i}.png") for i in range(2)]
    names = b"".join(os.fsencode(path) + b"\0" for path in paths)
    assert vdmc("encode", "--files-from", "-", "-0", input=names).exit_code == 0
    (tmp_path / "list").write_text(f"{tmp_path}/0.vdm\n{tmp_path}/1.vdm\n")
    assert vdmc("verify", "--files-from", tmp_path / "list").stdout.count(": ok, ") == 2


def test_equal_stems_collide_before_any_work_and_full_names_do_not(vdmc, library, tmp_path):
    for name in ("a.png", "a.bmp", "b.png"):
        save(colours(4, 4), tmp_path / name)
    result = vdmc("encode", "-r", tmp_path)
    assert result.exit_code == 2
    assert "a.bmp and " in result.stderr
    assert "--full-name" in result.stderr
    assert library.calls == []
    assert vdmc("encode", "-r", tmp_path, "--full-name", "-O", tmp_path / "out").exit_code == 0
    assert all_files(tmp_path / "out") == ["a.bmp.vdm", "a.png.vdm", "b.png.vdm"]
    assert vdmc("decode", "-r", tmp_path / "out").exit_code == 0
    assert sorted(p.name for p in (tmp_path / "out").glob("*.png")) == ["a.bmp.png", "a.png", "b.png"]


def test_existing_outputs_are_skipped_and_counted(vdmc, library, tree, tmp_path):
    out = tmp_path / "out"
    (out / "sub").mkdir(parents=True)
    (out / "sub" / "b.vdm").write_bytes(b"precious")
    result = vdmc("encode", "-r", tree, "-O", out, "--skip-existing", "--json", "-v")
    records = {Path(r["file"]).name: r for r in map(json.loads, result.stdout.splitlines())}
    assert records["b.PNG"]["status"] == "skipped"
    assert records["a.png"]["status"] == "ok"
    assert (out / "sub" / "b.vdm").read_bytes() == b"precious"
    assert "2 encoded, 1 skipped, 1 failed" in result.stderr
    assert len(library.calls) == 2
    again = vdmc("encode", tree / "a.png", "-O", out, "--skip-existing")
    assert (again.exit_code, again.stdout) == (0, "")


def test_skipping_and_replacing_exclude_each_other(vdmc, library, picture):
    assert vdmc("encode", picture, "-f", "--skip-existing").exit_code == 2


def test_the_summary_has_counts_bytes_ratio_and_time(vdmc, library, tmp_path):
    paths = [save(colours(4, 4 + i), tmp_path / f"{i}.png") for i in range(2)]
    size_in = sum(p.stat().st_size for p in paths)
    result = vdmc("encode", *paths)
    size_out = sum(p.with_suffix(".vdm").stat().st_size for p in paths)
    summary = result.stderr.splitlines()[-1]
    start = f"vdmc: 2 encoded, 0 failed; {size_in} -> {size_out} bytes, {100 * size_out / size_in:.1f} %; "
    assert summary.startswith(start)
    assert summary.endswith(" s")
    assert "encoded" not in vdmc("encode", "-f", paths[0]).stderr


def test_an_interruption_sums_up_what_was_done(vdmc, library, tmp_path, monkeypatch):
    paths = [save(colours(4, 4 + i), tmp_path / f"{i}.png") for i in range(3)]
    fake = api.encode

    def encode(image, **how):
        if image.width == 5:
            raise KeyboardInterrupt
        return fake(image, **how)

    monkeypatch.setattr(api, "encode", encode)
    result = vdmc("encode", *paths)
    assert result.exit_code == 130
    assert "1 encoded, 0 failed, 2 not done" in result.stderr
    assert all_files(tmp_path) == ["0.png", "0.vdm", "1.png", "2.png"]


def test_removal_comes_after_verifying_writing_and_syncing(vdmc, library, tree, tmp_path, monkeypatch):
    events = []
    fsync, unlink = os.fsync, Path.unlink

    def syncing(handle):
        events.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")
        fsync(handle)

    def unlinking(path, *how, **named):
        if path.suffix == ".png":
            events.append("removed")
            assert (tmp_path / "a.vdm").read_bytes() == png_file(load(path))
        unlink(path, *how, **named)

    monkeypatch.setattr(files.os, "fsync", syncing)
    monkeypatch.setattr(Path, "unlink", unlinking)
    result = vdmc("encode", "--rm", "--json", tree / "a.png", "-o", tmp_path / "a.vdm")
    assert result.exit_code == 0, result.stderr
    assert events == ["file", "folder", "removed"]
    assert json.loads(result.stdout)["removed"] is True
    assert library.calls[0][1]["verify"] is True
    assert not (tree / "a.png").exists()


def test_a_tree_is_removed_but_for_what_is_refused(vdmc, library, tree):
    assert vdmc("encode", "-r", "--rm", tree).exit_code == 1
    assert all_files(tree) == ["a.vdm", "sub/b.vdm", "sub/cmyk.tif", "sub/deep/c.vdm"]


@pytest.mark.parametrize("options", [["--no-verify"], ["-o", "-"], ["-c"]])
def test_removal_needs_verification_and_a_file(vdmc, library, picture, options):
    assert vdmc("encode", "--rm", picture, *options).exit_code == 2
    assert picture.exists()
    assert library.calls == []


def test_removal_needs_an_input_that_is_a_file(vdmc, library, picture):
    result = vdmc("encode", "--rm", "-", "-o", picture.with_suffix(".vdm"), input=picture.read_bytes())
    assert result.exit_code == 2


def test_links_are_not_removed_and_cost_no_work(vdmc, library, picture, tmp_path):
    (tmp_path / "link.png").symlink_to(picture)
    assert vdmc("encode", "--rm", tmp_path / "link.png").exit_code == 2
    assert (tmp_path / "link.png").is_symlink()
    assert library.calls == []


def test_failures_and_skipped_inputs_are_not_removed(vdmc, library, picture):
    library.error = MemoryError()
    assert vdmc("encode", "--rm", picture).exit_code == 5
    assert picture.exists()
    library.error = None
    picture.with_suffix(".vdm").write_bytes(b"some other file")
    assert vdmc("encode", "--rm", "--skip-existing", picture).exit_code == 0
    assert picture.exists()


def test_an_input_that_changes_meanwhile_is_not_removed(vdmc, library, picture, monkeypatch):
    fake = api.encode

    def encode(image, **how):
        picture.write_bytes(picture.read_bytes() + b"more")
        return fake(image, **how)

    monkeypatch.setattr(api, "encode", encode)
    result = vdmc("encode", "--rm", picture)
    assert result.exit_code == 1
    assert "changed while it was encoded" in result.stderr
    assert picture.exists()


def test_an_output_that_is_not_on_disk_keeps_the_input(vdmc, library, picture, monkeypatch):
    monkeypatch.setattr(files, "write_file", lambda path, data, **_: Path(path).write_bytes(data[:-1]))
    result = vdmc("encode", "--rm", picture)
    assert result.exit_code == 1
    assert "does not hold what was written" in result.stderr
    assert picture.exists()


def test_an_input_of_which_something_is_lost_is_not_removed(vdmc, library, tmp_path, monkeypatch):
    def code(settings, target, progress=None):
        return replace(batch_support.code(settings, target), complete=False)

    path = save(colours(4, 4), tmp_path / "a.png")
    monkeypatch.setattr(encode, "_encode_one", code)
    result = vdmc("encode", "--rm", "--json", path)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["removed"] is False
    assert "not removed" in result.stderr
    assert path.exists()


def test_a_dry_run_writes_nothing_and_says_what_would_be(vdmc, library, tree, tmp_path):
    before = all_files(tmp_path)
    result = vdmc("encode", "-n", "-r", "--rm", tree, "-O", tmp_path / "out")
    assert result.exit_code == 1  # as the run itself, for the CMYK image
    lines = result.stdout.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"{tree / 'a.png'} -> {tmp_path / 'out' / 'a.vdm'}: 5x4 RGB, ")
    assert lines[0].endswith(", then removed")
    assert "nothing was written: 3 to do, 0 to skip, 1 would fail" in result.stderr
    assert "estimates" in result.stderr
    assert all_files(tmp_path) == before
    assert not (tmp_path / "out").exists()
    assert library.calls == []


def test_estimates_of_files_and_images_as_records(vdmc, library, tmp_path):
    rng = np.random.default_rng(0)
    noise = save(rng.integers(0, 256, (64, 96, 3)).astype(np.uint8), tmp_path / "noise.png")
    flat = save(np.zeros((64, 96, 3), np.uint8), tmp_path / "flat.png")
    first, second = map(json.loads, vdmc("encode", "-n", "--json", noise, flat).stdout.splitlines())
    assert first["status"] == "estimate"
    assert 0.7 < first["bytes_out_estimate"] / (64 * 96 * 3) < 1.1
    assert second["bytes_out_estimate"] < 200
    assert first["seconds_estimate"] == second["seconds_estimate"] > 0
    assert vdmc("encode", noise).exit_code == 0
    record = json.loads(vdmc("decode", "-n", "--json", "--format", "webp", tmp_path / "noise.vdm").stdout)
    assert record["output"] == str(tmp_path / "noise.webp")
    assert record["bytes_out_estimate"] == 64 * 96 * 3


@pytest.mark.parametrize("command", ["encode", "decode", "info", "verify"])
def test_more_pixels_than_allowed_are_exit_5(vdmc, command, picture):
    coded = picture.with_name("coded.vdm")
    coded.write_bytes(png_file(load(picture)))
    path = picture if command == "encode" else coded
    more = ["-n"] if command == "encode" else []
    assert vdmc(command, path, "--max-pixels", "383", *more).exit_code == 5
    assert vdmc(command, path, "--max-pixels", "384", *more).exit_code == 0


def test_the_limit_reaches_the_library(vdmc, library, picture):
    vdmc("encode", picture, "--max-pixels", "1000")
    vdmc("decode", picture.with_suffix(".vdm"), "-f", "--max-pixels", "1001")
    assert [how["limits"].max_pixels for _, how in library.calls] == [1000, 1001]


def test_standard_output_by_a_letter(vdmc, library, picture):
    result = vdmc("encode", "-c", picture)
    assert result.stdout_bytes == png_file(load(picture))
    assert vdmc("encode", "-c", "-o", "x", picture).exit_code == 2


def test_threads_and_device_come_from_the_environment(vdmc, library, picture, monkeypatch):
    monkeypatch.setenv("VDMC_THREADS", "3")
    monkeypatch.setenv("VDMC_DEVICE", "cpu")
    vdmc("encode", picture)
    ((_, how),) = library.calls
    assert (how["threads"], how["device"]) == (3, "cpu")


def test_an_original_is_a_regular_file(tmp_path):
    with pytest.raises(streams.UsageError, match="regular files only"):
        streams.Original.of(tmp_path)
