"""The command that sends a folder there and back sees what is lost, altered or left behind."""

import shutil

import pytest
from PIL import Image

from benchmarks import folder
from tests.image_files import RGB, saved
from tests.model_support import INTEGER


@pytest.fixture
def source(tmp_path):
    """Two images, one that is refused (CMYK), and a text."""
    place = tmp_path / "source"
    (place / "sub").mkdir(parents=True)
    (place / "a.png").write_bytes(saved(RGB, "PNG", icc_profile=b"profile"))
    (place / "sub" / "a.bmp").write_bytes(saved(RGB, "BMP"))
    Image.new("CMYK", (4, 4)).save(place / "cmyk.tif")
    (place / "notes.txt").write_text("mine")
    return place


def test_there_and_back(source, tmp_path, monkeypatch):
    monkeypatch.setenv("VDMC_MODEL_PATH", str(INTEGER.parent))
    outcome = folder.run(source, tmp_path / "place", ["-e", "1", "-m", str(INTEGER)])
    assert outcome.faults == []
    assert outcome.counts == {folder.REMOVED: 2, folder.UNTOUCHED: 2}
    assert outcome.bytes_removed == sum((source / name).stat().st_size for name in ("a.png", "sub/a.bmp"))
    assert outcome.bytes_coded > 0
    assert "4 files\n2 removed and came back exactly\n2 untouched\n" in folder.text(outcome)


def test_faults_are_seen(source, tmp_path):
    copy, back = tmp_path / "copy", tmp_path / "back"
    shutil.copytree(source, copy)
    back.mkdir()
    (copy / "notes.txt").unlink()
    (copy / "cmyk.tif").write_bytes(b"other")
    (copy / ".half.part").touch()
    for name in ("a.png", "sub/a.bmp"):
        (copy / name).rename(copy / f"{name}.vdm")
    shutil.copy2(source / "a.png", back / "a.png")
    (back / "a.png").write_bytes(saved(RGB, "PNG"))
    assert folder.judge(source, copy, back).faults == [
        "a.png: came back with another time or other permissions",
        "cmyk.tif: was altered in its place",
        "notes.txt: is lost",
        "sub/a.bmp: did not come back",
        ".half.part: left behind",
    ]
    shutil.copystat(source / "a.png", back / "a.png")
    assert "a.png: header or chunks of the PNG differ" in folder.judge(source, copy, back).faults
