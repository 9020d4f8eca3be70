"""`vdmc archive`: what it writes, says and returns; with the tests' tiny model."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fuzz import corpus
from tests import model_support
from tests.cli_support import load, save
from vdmcompress.archive.reader import Archive

MODEL = ("-m", model_support.INTEGER, "-T", "1")


@pytest.fixture(autouse=True)
def models(monkeypatch):
    monkeypatch.setenv("VDMC_MODEL_PATH", str(corpus.DATA))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A folder with ten images in two folders, and a file that is none."""
    folder = tmp_path_factory.mktemp("images")
    whole = model_support.photo(64, 320)
    (folder / "in" / "deep").mkdir(parents=True)
    for i in range(8):
        save(whole[:16, 16 * i : 16 * i + 16], folder / "in" / f"{i}.png")
    save(whole[20:44, :30], folder / "in" / "deep" / "a.webp.png")
    Image.fromarray(whole[20:44, :30]).save(folder / "in" / "deep" / "b.webp", lossless=True, exact=True)
    (folder / "in" / "notes.txt").write_text("no image")
    os.utime(folder / "in" / "3.png", (1_500_000_000, 1_500_000_000))
    os.chmod(folder / "in" / "3.png", 0o600)
    return folder / "in"


@pytest.fixture(scope="module")
def sound(source, tmp_path_factory):
    """An archive of the folder in groups of three."""
    from click.testing import CliRunner

    from cli.main import cli

    target = tmp_path_factory.mktemp("sound") / "a.vdma"
    os.environ["VDMC_MODEL_PATH"] = str(corpus.DATA)
    before = Path.cwd()
    os.chdir(source.parent)
    try:
        arguments = ["archive", "create", target, "-r", "in", "--group", "3", *MODEL, "--json"]
        result = CliRunner().invoke(cli, [str(a) for a in arguments])
    finally:
        os.chdir(before)
        del os.environ["VDMC_MODEL_PATH"]
    assert result.exit_code == 0, result.output
    return target, json.loads(result.stdout)


def records(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def damaged(path, target, *offsets):
    data = bytearray(path.read_bytes())
    for offset in offsets:
        data[offset] ^= 8
    target.write_bytes(data)
    return target


def test_create_tells_what_it_made(sound, source):
    target, record = sound
    size = sum(p.stat().st_size for p in source.rglob("*") if p.suffix in (".png", ".webp"))
    assert record["images"] == 10
    assert record["groups"] == 4
    assert (record["bytes_in"], record["bytes_out"]) == (size, target.stat().st_size)
    assert [p.name for p in target.parent.iterdir()] == ["a.vdma"]


def test_list(vdmc, sound):
    target, _ = sound
    result = vdmc("archive", "list", target, "--json")
    found = {record["file"]: record for record in records(result)}
    assert len(found) == 10
    assert found["in/deep/b.webp"]["width"] == 30
    assert found["in/3.png"]["modified"] == 1_500_000_000
    assert found["in/3.png"]["permissions"] == "600"
    text = vdmc("archive", "list", target, "in/deep").stdout
    assert text.count("in/deep/") == 2
    assert "10 images in 4 groups" in text
    assert "being groups costs" in text
    groups = records(vdmc("archive", "list", target, "--groups", "--json"))
    assert [g["images"] for g in groups] == [3, 3, 3, 1]
    assert sum(g["bytes"] for g in groups) < target.stat().st_size
    assert groups[0]["price"] == 0 < groups[1]["price"]
    assert vdmc("archive", "list", target, "none*").exit_code == 2


def test_extract_all_and_some(vdmc, sound, source, tmp_path):
    target, _ = sound
    out = tmp_path / "out"
    result = vdmc("archive", "extract", target, "-O", out, "-T", "1")
    assert result.exit_code == 0, result.output
    names = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert names == {f"in/{i}.png" for i in range(8)} | {"in/deep/a.webp.png", "in/deep/b.webp"}
    for name in names:
        np.testing.assert_array_equal(load(out / name), load(source.parent / name))
    assert (out / "in/3.png").stat().st_mtime == 1_500_000_000
    assert (out / "in/3.png").stat().st_mode & 0o777 == 0o600

    few = tmp_path / "few"
    result = vdmc("archive", "extract", target, "in/2.png", "in/d*", "-O", few, "--json", "-T", "1")
    assert {record["file"] for record in records(result)} == {
        "in/2.png",
        "in/deep/a.webp.png",
        "in/deep/b.webp",
    }
    assert vdmc("archive", "extract", target, "in/99.png", "-O", few).exit_code == 2

    result = vdmc("archive", "extract", target, "in/2.png", "-O", few)
    assert result.exit_code == 2
    assert "-f replaces it" in result.stderr
    assert vdmc("archive", "extract", target, "in/2.png", "-O", few, "--skip-existing").exit_code == 0
    assert vdmc("archive", "extract", target, "in/2.png", "-O", few, "-f", "-T", "1").exit_code == 0
    assert vdmc("archive", "extract", target, "-f", "--skip-existing").exit_code == 2


def test_another_format(vdmc, sound, tmp_path):
    target, _ = sound
    result = vdmc("archive", "extract", target, "in/deep", "-O", tmp_path, "--format", "ppm", "-T", "1")
    assert result.exit_code == 0
    assert {p.name for p in (tmp_path / "in" / "deep").iterdir()} == {"a.webp.png.ppm", "b.webp.ppm"}


def test_extract_does_not_leave_the_folder(vdmc, sound, tmp_path):
    """A link in the way is not followed."""
    target, _ = sound
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "in").symlink_to(elsewhere)
    result = vdmc("archive", "extract", target, "in/1.png", "-O", tmp_path / "out")
    assert result.exit_code == 2
    assert "symbolic link" in result.stderr
    assert not list(elsewhere.iterdir())


def test_a_damaged_group_is_said_and_the_rest_extracted(vdmc, sound, tmp_path):
    target, _ = sound
    with Archive(target) as archive:
        place = archive.groups[1]
        lost = [m.name for m in archive.group_members(1)]
    payload = damaged(target, tmp_path / "payload.vdma", place.offset + place.length - 20)
    result = vdmc("archive", "extract", payload, "-O", tmp_path / "out", "-T", "1")
    assert result.exit_code == 3
    assert all(f"lost: {name}" in result.stderr for name in lost)
    assert "7 images extracted, 1 problem" in result.stderr
    assert sum(p.is_file() for p in (tmp_path / "out").rglob("*")) == 7

    head = damaged(target, tmp_path / "head.vdma", place.offset + 6)
    for command in (["extract", "-O", tmp_path / "out2", "-T", "1"], ["verify", "-T", "1"], ["list"]):
        result = vdmc("archive", command[0], head, *command[1:])
        assert result.exit_code == 3
        assert "group 1, 3 images: damaged" in result.stderr
    assert sum(p.is_file() for p in (tmp_path / "out2").rglob("*")) == 7
    assert vdmc("archive", "extract", head, lost[0], "-O", tmp_path / "out3").exit_code == 3


def test_verify(vdmc, sound, tmp_path):
    target, _ = sound
    result = vdmc("archive", "verify", target, "-T", "1", "--json")
    assert result.exit_code == 0
    assert len(records(result)) == 10
    end = damaged(target, tmp_path / "end.vdma", target.stat().st_size - 3)
    result = vdmc("archive", "verify", end, "-T", "1")
    assert result.exit_code == 3
    assert "10 images verified, 1 problem" in result.stderr


def test_a_damaged_model_is_no_loss_where_it_is_installed_but_is_said(vdmc, source, tmp_path):
    target = tmp_path / "a.vdma"
    made = vdmc("archive", "create", target, source / "0.png", source / "1.png", "--embed-model", *MODEL)
    assert made.exit_code == 0
    assert vdmc("archive", "verify", target, "-T", "1").exit_code == 0
    with Archive(target) as archive:
        (model,) = archive.models
    bad = damaged(target, tmp_path / "bad.vdma", model.offset + model.length // 2)
    result = vdmc("archive", "verify", bad, "-T", "1")
    assert result.exit_code == 3
    assert "an embedded model at byte 5 does not agree" in result.stderr
    assert "2 images verified, 1 problem" in result.stderr
    assert vdmc("archive", "extract", bad, "-O", tmp_path / "out", "-T", "1").exit_code == 0


def test_processes_extract_the_same(vdmc, sound, tmp_path):
    target, _ = sound
    assert vdmc("archive", "extract", target, "-O", tmp_path, "-j", "2").exit_code == 0
    assert sum(p.is_file() for p in tmp_path.rglob("*")) == 10


def test_processes_lose_a_damaged_group_only(vdmc, sound, tmp_path):
    target, _ = sound
    with Archive(target) as archive:
        place = archive.groups[1]
        lost = [m.name for m in archive.group_members(1)]
    payload = damaged(target, tmp_path / "payload.vdma", place.offset + place.length - 20)
    out = tmp_path / "out"
    for command, word in (
        (("extract", payload, "-O", out, "-j", "2"), "extracted"),
        (("verify", payload, "-j", "2"), "verified"),
    ):
        result = vdmc("archive", *command)
        assert result.exit_code == 3, result.output
        assert all(f"lost: {name}" in result.stderr for name in lost)
        assert f"7 images {word}, 1 problem" in result.stderr
    assert sum(p.is_file() for p in out.rglob("*")) == 7


def test_a_group_whose_processes_die_is_lost_alone(vdmc, sound, monkeypatch):
    from tests import batch_support

    monkeypatch.setattr("cli.archive_read.decode_task", batch_support.decode_or_die)
    result = vdmc("archive", "verify", sound[0], "-j", "2")
    assert result.exit_code == 1
    assert "SIGKILL" in result.stderr
    assert "lost: " in result.stderr
    assert "9 images verified, 1 problem" in result.stderr


def test_the_index_is_read_once(vdmc, sound, monkeypatch):
    from vdmcompress.archive import reader

    seen = []
    read = reader.read_index
    monkeypatch.setattr(reader, "read_index", lambda *a: seen.append(a) or read(*a))
    assert vdmc("archive", "verify", sound[0], "-T", "1").exit_code == 0
    assert len(seen) == 1


def test_permissions_are_masked_and_the_owner_keeps_his(vdmc, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, permissions in (("a.png", 0o666), ("b.png", 0o777), ("c.png", 0o444)):
        save(np.full((8, 8, 3), 9, np.uint8), tmp_path / name)
        os.chmod(name, permissions)
    assert vdmc("archive", "create", "x.vdma", "a.png", "b.png", "c.png", *MODEL).exit_code == 0
    before = os.umask(0o027)
    try:
        result = vdmc("archive", "extract", "x.vdma", "-O", "out", "-T", "1")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert result.exit_code == 0, result.output
    found = [(tmp_path / "out" / name).stat().st_mode & 0o777 for name in ("a.png", "b.png", "c.png")]
    assert found == [0o640, 0o750, 0o640]


def test_what_cannot_be_taken_is_left_out(vdmc, source, tmp_path, monkeypatch):
    monkeypatch.chdir(source.parent)
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    target = tmp_path / "a.vdma"
    result = vdmc("archive", "create", target, "in/1.png", bad, *MODEL)
    assert result.exit_code == 1
    assert "no readable image" in result.stderr
    assert "1 taken, 1 failed" in result.stderr
    with Archive(target) as archive:
        assert archive.names == ["in/1.png"]
    result = vdmc("archive", "create", tmp_path / "b.vdma", bad, *MODEL)
    assert result.exit_code == 2
    assert "pre-release" not in result.stderr  # said of files that were made
    assert not (tmp_path / "b.vdma").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["in"], "is a folder; -r takes the files in it"),
        ([], "no input"),
        (["-"], "has no name"),
        (["in/1.png", "in/1.png"], "occurs twice"),
        (["in/1.png", "--group", "0"], "allowed are 1 to"),
        (["in/1.png", "--group", "3x"], "no size"),
        (["in/1.png", "--num-gpus", "1"], "--cluster"),
        (["in/1.png", "--cluster", "auto", "-j", "2"], "exclude each other"),
        (["-r", "empty"], "no images found"),
    ],
)
def test_usage(vdmc, source, tmp_path, monkeypatch, arguments, message):
    (source.parent / "empty").mkdir(exist_ok=True)
    monkeypatch.chdir(source.parent)
    result = vdmc("archive", "create", tmp_path / "a.vdma", *arguments)
    assert result.exit_code == 2
    assert message in result.output + str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_archive(vdmc, tmp_path, source):
    for data, code in ((b"", 3), (b"\x89VDM" + bytes(50), 3), (b"\x89VDA\1" + bytes(50), 2)):
        path = tmp_path / "x.vdma"
        path.write_bytes(data)
        for command in ("list", "extract", "verify"):
            result = vdmc("archive", command, path)
            assert code in (result.exit_code, getattr(result.exception, "exit_code", None)), result.output
    assert vdmc("archive", "list", tmp_path / "none.vdma").exit_code != 0


def test_resume_says_what_was_finished(vdmc, source, tmp_path, monkeypatch):
    from vdmcompress.archive import writer

    monkeypatch.chdir(source.parent)
    target = tmp_path / "a.vdma"
    add = writer.ArchiveWriter.add_group

    def interrupted(self, record, images):
        add(self, record, images)
        raise KeyboardInterrupt

    monkeypatch.setattr(writer.ArchiveWriter, "add_group", interrupted)
    arguments = ("archive", "create", target, "-r", "in", "--group", "4", *MODEL)
    assert vdmc(*arguments).exit_code == 130
    assert not target.exists()
    monkeypatch.setattr(writer.ArchiveWriter, "add_group", add)
    result = vdmc(*arguments, "--resume")
    assert result.exit_code == 0
    assert "10 images (4 finished before) in 3 groups" in result.output
    assert [p.name for p in tmp_path.iterdir()] == ["a.vdma"]


def test_strip_leaves_metadata_out_and_is_kept_to(vdmc, tmp_path, monkeypatch):
    from PIL.PngImagePlugin import PngInfo

    monkeypatch.chdir(tmp_path)
    text = PngInfo()
    text.add_text("Comment", "left out")
    Image.fromarray(np.full((8, 8, 3), 9, np.uint8)).save("a.png", pnginfo=text)
    for name, arguments, chunks in (("kept.vdma", [], 1), ("stripped.vdma", ["--strip"], 0)):
        assert vdmc("archive", "create", name, "a.png", *arguments, *MODEL).exit_code == 0
        with Archive(name, threads=1) as archive:
            assert len(archive.read("a.png").chunks) == chunks
