"""Inputs: what is taken from folders and lists, in which order, and what is left out."""

import os
from pathlib import Path

import click
import pytest

from cli.sources import CODED_SUFFIXES, IMAGE_SUFFIXES, STREAM, Selection, Source


@pytest.fixture
def tree(tmp_path):
    """A folder with images, other files, links and hidden ones."""
    for name in ("b.png", "a.JPG", "notes.txt", ".hidden.png", "sub/c.webp", "sub/d/e.tif", ".git/f.png"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "tree" / "link.png").symlink_to("b.png")
    (tmp_path / "tree" / "loop").symlink_to(".", target_is_directory=True)
    os.mkfifo(tmp_path / "tree" / "pipe.png")
    return tmp_path / "tree"


def test_a_folder_gives_its_images_in_order_and_where_they_were(tree):
    found = Selection([tree], recursive=True).find(IMAGE_SUFFIXES)
    assert found.files == (
        Source(tree / "a.JPG"),
        Source(tree / "b.png"),
        Source(tree / "sub" / "c.webp", Path("sub")),
        Source(tree / "sub" / "d" / "e.tif", Path("sub/d")),
    )
    assert found.left_out == 4  # notes.txt, link.png, loop, pipe.png
    assert found.many


def test_only_the_suffixes_asked_for(tree):
    (tree / "sub" / "x.vdm").touch()
    assert Selection([tree], recursive=True).find(CODED_SUFFIXES).files == (
        Source(tree / "sub" / "x.vdm", Path("sub")),
    )


def test_named_files_are_taken_as_they_are(tree):
    named = [tree / ".hidden.png", tree / "notes.txt", tree / "link.png", tree / "missing", tree]
    found = Selection(named).find(IMAGE_SUFFIXES)
    assert [source.path for source in found.files] == named
    assert all(source.below == Path() for source in found.files)


def test_a_named_link_to_a_folder_is_followed(tree, tmp_path):
    (tmp_path / "way").symlink_to(tree)
    found = Selection([tmp_path / "way"], recursive=True).find(IMAGE_SUFFIXES)
    assert found.files[0] == Source(tmp_path / "way" / "a.JPG")


def test_each_input_once_in_the_order_of_its_first_name(tree):
    b, a = tree / "b.png", tree / "a.JPG"
    twice = [b, a, tree / "sub" / ".." / "b.png", b, tree]
    found = Selection(twice, recursive=True).find(IMAGE_SUFFIXES)
    assert [source.path.name for source in found.files] == ["b.png", "a.JPG", "c.webp", "e.tif"]
    assert [s.path for s in Selection([b, a, b]).find(IMAGE_SUFFIXES, repeats=True).files] == [b, a, b]


@pytest.mark.parametrize(("null", "text"), [(False, b"a b\n\n\xff#\nlast"), (True, b"a b\0\0\xff#\0last\0")])
def test_names_of_a_list(tmp_path, null, text):
    (tmp_path / "list").write_bytes(text)
    found = Selection([Path("first")], files_from=tmp_path / "list", null=null).find(IMAGE_SUFFIXES)
    names = [Path("first"), Path("a b"), Path(os.fsdecode(b"\xff#")), Path("last")]
    assert [source.path for source in found.files] == names
    assert found.many


def test_a_name_with_a_line_end_needs_null(tmp_path):
    (tmp_path / "list").write_bytes(b"one\ntwo\0")
    with pytest.raises(click.UsageError, match="-0"):
        Selection(files_from=tmp_path / "list").find(IMAGE_SUFFIXES)
    found = Selection(files_from=tmp_path / "list", null=True).find(IMAGE_SUFFIXES)
    assert found.files == (Source(Path("one\ntwo")),)


def test_folders_that_cannot_be_listed_are_told_and_the_others_go_on(tree, monkeypatch):
    scandir = os.scandir

    def listing(folder):
        if Path(folder).name == "sub":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", listing)
    found = Selection([tree], recursive=True).find(IMAGE_SUFFIXES)
    assert [source.path.name for source in found.files] == ["a.JPG", "b.png"]
    ((folder, error),) = found.unread
    assert folder == tree / "sub"
    assert isinstance(error, PermissionError)
    assert found.total == 3


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        (Selection(), "no input"),
        (Selection([Path("a")], null=True), "-0 says"),
        (Selection([STREAM], files_from=STREAM), "standard input"),
        (Selection(files_from=Path("no-such-list")), "no-such-list: No such file"),
    ],
)
def test_contradictions_are_usage_errors(selection, words):
    with pytest.raises(click.UsageError, match=words):
        selection.find(IMAGE_SUFFIXES)


def test_an_empty_list_is_nothing_to_do(vdmc, tmp_path):
    (tmp_path / "list").touch()
    result = vdmc("encode", "--files-from", tmp_path / "list")
    assert result.exit_code == 0
    assert "nothing to do" in result.stderr
