"""Outputs of inputs, their names, collisions; and the progress bar."""

import io
import sys
from pathlib import Path

import click
import pytest

from cli.progress import progress_bar
from cli.sources import STREAM, Source
from cli.targets import coded_name, image_name
from cli.targets import plan as plan_sources
from vdmcompress import files


def plan(inputs, output, output_dir):
    """Targets of named inputs as `vdmc encode` plans them."""
    return plan_sources([Source(path) for path in inputs], output, output_dir, coded_name)


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self):
        return True


def test_beside_or_in_a_folder(tmp_path):
    inputs = [Path("x/a.b.png"), Path("c.ppm")]
    assert [t.output for t in plan(inputs, None, None)] == [Path("x/a.b.vdm"), Path("c.vdm")]
    assert [t.output for t in plan(inputs, None, tmp_path)] == [
        tmp_path / "a.b.vdm",
        tmp_path / "c.vdm",
    ]


def test_equal_names_in_different_folders_collide_in_one_folder(tmp_path):
    with pytest.raises(click.UsageError, match="both be written"):
        plan([Path("x/a.png"), Path("y/a.png")], None, tmp_path)
    assert len(plan([Path("x/a.png"), Path("y/a.png")], None, None)) == 2


FORMATS = {".png": "png", ".webp": "webp", ".ppm": "ppm", ".pgm": "ppm"}


@pytest.mark.parametrize(
    ("image", "plain", "full"),
    [
        ("photo.png", "photo.png", "photo.png"),
        ("photo.PNG", "photo.png", "photo.PNG"),
        ("photo.webp", "photo.png", "photo.webp"),
        ("photo.jpg", "photo.png", "photo.jpg.png"),
        ("photo.v2.png", "photo.v2.png", "photo.v2.png"),
        ("photo", "photo.png", "photo.png"),
        (".png", ".png.png", ".png.png"),
    ],
)
def test_names_there_and_back(image, plain, full):
    assert image_name(coded_name(image), FORMATS) == plain
    assert image_name(coded_name(image, full=True), FORMATS) == full


@pytest.mark.parametrize(
    ("coded", "kind", "image"),
    [
        ("a.vdm", "webp", "a.webp"),
        ("a.VDM", "webp", "a.webp"),
        ("a.png.vdm", "png", "a.png"),
        ("a.png.vdm", "webp", "a.png.webp"),
        ("a.pgm.vdm", "ppm", "a.pgm"),
        ("a.bin", "ppm", "a.ppm"),
        ("a.png", None, "a.png"),
        ("a", "png", "a.png"),
    ],
)
def test_names_of_images_in_a_wanted_format(coded, kind, image):
    assert image_name(coded, FORMATS, kind) == image


def test_full_names_never_collide():
    names = ["a", "a.png", "a.jpg", "a.jpg.png", "a.webp", "a.PNG"]
    assert len({coded_name(name, full=True) for name in names}) == len(names)


def test_folders_are_mirrored_in_a_folder_only(tmp_path):
    source = Source(Path("in/sub/a.png"), Path("sub"))
    (beside,) = plan_sources([source], None, None, coded_name)
    (inside,) = plan_sources([source], None, tmp_path / "out", coded_name)
    assert beside.output == Path("in/sub/a.vdm")
    assert inside.output == tmp_path / "out" / "sub" / "a.vdm"
    assert inside.root == tmp_path / "out"
    assert not (tmp_path / "out").exists()


def test_collisions_are_all_counted_and_the_advice_is_given():
    sources = [Source(Path(f"{i}{suffix}")) for i in range(5) for suffix in (".png", ".jpg")]
    with pytest.raises(click.UsageError) as caught:
        plan_sources(sources, None, None, coded_name, "do this")
    assert "0.png and 0.jpg would both be written to 0.vdm" in caught.value.message
    assert caught.value.message.endswith("and 2 more: do this")


def test_one_folder_by_two_names_is_one_folder(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "way").symlink_to("real")
    with pytest.raises(click.UsageError, match="both be written"):
        plan([tmp_path / "real" / "a.png", tmp_path / "way" / "a.jpg"], None, None)


def test_an_output_that_is_a_link_to_an_input_is_refused(tmp_path):
    (tmp_path / "b.png").touch()
    (tmp_path / "a.vdm").symlink_to("b.png")
    with pytest.raises(click.UsageError, match="is an input"):
        plan([tmp_path / "a.png", tmp_path / "b.png"], None, None)


@pytest.mark.parametrize("ignored", [True, False])
def test_names_that_differ_in_case_collide_where_case_is_ignored(tmp_path, monkeypatch, ignored):
    monkeypatch.setattr(files, "ignores_case", lambda folder: ignored)
    inputs = [tmp_path / "x" / "Photo.png", tmp_path / "y" / "photo.png"]
    if ignored:
        with pytest.raises(click.UsageError, match="both be written"):
            plan(inputs, None, tmp_path)
    else:
        assert len(plan(inputs, None, tmp_path)) == 2


def test_no_data_to_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    with pytest.raises(click.UsageError, match="terminal"):
        plan([STREAM], None, None)
    assert plan([Path("a.png")], None, None)


@pytest.mark.parametrize("inputs", [[STREAM, Path("a")], [STREAM, STREAM]])
def test_standard_input_stands_alone(inputs):
    with pytest.raises(click.UsageError, match="only input"):
        plan(inputs, None, None)


def test_no_bar_without_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress_bar("a", quiet=False) as progress:
        assert progress is None


@pytest.mark.parametrize("quiet", [False, True])
def test_bar_on_a_terminal(monkeypatch, quiet):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress_bar("[a].png", quiet=quiet) as progress:
        if quiet:
            assert progress is None
        else:
            progress(1.0, 4.0, "HL [0]")
    assert ("[a].png" in terminal.getvalue()) is not quiet
    assert ("25%" in terminal.getvalue()) is not quiet
