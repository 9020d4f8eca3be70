"""The public face on files, and every example of docs/library.md as it stands there."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vdmcompress
from fuzz import corpus
from vdmcompress.efforts import Effort
from vdmcompress.errors import DamagedFileError, LimitError, UnsupportedImageError, UsageError

PAGE = Path(__file__).resolve().parent.parent / "docs" / "library.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working folder with photo.png; the tests' model by default, one thread."""
    monkeypatch.setenv("VDMC_MODEL_PATH", str(corpus.DATA))
    monkeypatch.setattr(
        "vdmcompress.efforts.EFFORTS", 9 * (Effort(str(corpus.TINY), ("one",), careful=True),)
    )
    monkeypatch.setattr("vdmcompress.engine.default_threads", lambda: 1)
    monkeypatch.chdir(tmp_path)
    Image.fromarray(corpus.picture(20, 31, 3)).save("photo.png")
    return tmp_path


def test_the_examples_of_the_page_run(capsys):
    assert len(BLOCKS) == 9
    names: dict[str, object] = {}
    for block in BLOCKS:
        exec(compile(block, str(PAGE), "exec"), names)
    said = capsys.readouterr().out
    assert "64x48, 3 channels" in said
    assert "2 images in" in said
    assert "folder/b.png 31 20" in said
    assert "stopped halfway" in said
    assert "damaged file: the CRC-32" in said
    assert "allowed are 1000" in said
    assert "(31, 20) RGB" in said
    assert vdmcompress.peek_file("turned.vdm").width == 20


def test_files_there_and_back(folder):
    seen = []
    size = vdmcompress.encode_file("photo.png", "a.vdm", progress=lambda *step: seen.append(step[2]))
    assert (folder / "a.vdm").stat().st_size == size
    assert vdmcompress.peek_file(folder / "a.vdm") == vdmcompress.peek((folder / "a.vdm").read_bytes())
    for name in ("b.png", "b.webp", "b.ppm"):
        written = vdmcompress.decode_file("a.vdm", folder / name, progress=lambda *step: seen.append(step[2]))
        assert (folder / name).stat().st_size == written
        with Image.open(name) as image:
            assert np.array_equal(np.asarray(image), corpus.picture(20, 31, 3))
    assert vdmcompress.decode_file("a.vdm", "small.png", scale=4) > 0
    with Image.open("small.png") as image:
        assert image.size == (8, 5)
    assert {"encode", "verify", "decode"} <= set(seen)


def test_targets_are_checked_before_work(folder, monkeypatch):
    def work(*_, **__):
        raise AssertionError("work has begun")

    vdmcompress.encode_file("photo.png", "a.vdm")
    monkeypatch.setattr("vdmcompress.api.encode", work)
    monkeypatch.setattr("vdmcompress.api.decode", work)
    with pytest.raises(UsageError, match="exists"):
        vdmcompress.encode_file("photo.png", "a.vdm")
    with pytest.raises(UsageError, match="is the input"):
        vdmcompress.encode_file("photo.png", "photo.png", force=True)
    with pytest.raises(UsageError, match="exists"):
        vdmcompress.decode_file("a.vdm", "photo.png")
    with pytest.raises(UsageError, match=r"suffix '\.gif' of output names no format; allowed are \.png"):
        vdmcompress.decode_file("a.vdm", "b.gif")
    with pytest.raises(LimitError, match="allowed are 619"):
        vdmcompress.encode_file("photo.png", "b.vdm", limits=vdmcompress.Limits(max_pixels=619))


def test_force_replaces_and_failure_leaves_the_old_file(folder):
    (folder / "old.vdm").write_bytes(b"old")
    (folder / "no.png").write_bytes(b"no image")
    with pytest.raises(UnsupportedImageError):
        vdmcompress.encode_file("no.png", "old.vdm", force=True)
    with pytest.raises(DamagedFileError):
        vdmcompress.decode_file("old.vdm", "new.png")
    assert (folder / "old.vdm").read_bytes() == b"old"
    assert not (folder / "new.png").exists()
    vdmcompress.encode_file("photo.png", "old.vdm", force=True)
    assert vdmcompress.peek_file("old.vdm").height == 20
    with pytest.raises(FileNotFoundError):
        vdmcompress.peek_file("none.vdm")
