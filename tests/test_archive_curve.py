"""The benchmark of archives: what it checks, and that a run that was cut off goes on where it was."""

import json

import pytest
from PIL import Image

from benchmarks import archive_checks, archive_curve, resumable
from benchmarks.mosaics import named_tiles
from fuzz import corpus
from tests import model_support
from vdmcompress.archive.create import create
from vdmcompress.archive.grouping import GroupSize

PARTS = "rates,vlb,names,damage"


@pytest.fixture
def run(monkeypatch, tmp_path):
    """The benchmark on eight tiles of a photograph; gives its figures."""
    monkeypatch.setenv("VDMC_MODEL_PATH", str(corpus.DATA))
    monkeypatch.setattr(archive_curve, "RESULTS", tmp_path)
    mosaic = tmp_path / "m.png"
    Image.fromarray(model_support.photo(64, 128)).save(mosaic)

    def call(*options):
        usual = ["--name", "x", "--groups", "2", "--folder", str(tmp_path / "kept"), "--counts", "1,8"]
        given = [*usual, "-m", str(model_support.INTEGER), "--parts", PARTS, *options]
        assert archive_curve.main([str(mosaic), *given]) == 0
        return json.loads((tmp_path / "archive-x.json").read_text())

    call.mosaic = mosaic
    return call


def test_figures(run, capsys):
    figures = run()
    assert [row["images"] for row in archive_curve.rows(figures)] == [1, 8]
    vlb, names, damage = figures["vlb"], figures["names"], figures["damage"]
    assert (vlb["images"], vlb["groups"], vlb["singles"]) == (8, 2, 0)
    assert 0.5 < vlb["vlb_bpd"] < vlb["file_bpd"]
    assert abs(vlb["coded_above_percent"]) < 2
    assert (names["images"], names["equal"], names["share_of_one"] < 0.6) == (8, 8, True)
    assert 0.9 < names["share"] == names["share_of_neighbours"] <= 1
    assert (damage["images"], damage["groups"], damage["exit_code"]) == (8, 2, 3)
    assert (damage["lost"], damage["in_group"], damage["equal"]) == (4, 4, 4)
    assert (damage["others_lost"], damage["unsaid"]) == (0, 0)
    assert "8 of 8 equal" in capsys.readouterr().out


def test_what_is_there_is_not_measured_again(run, monkeypatch):
    first = run("--parts", "rates,names")
    made = []
    monkeypatch.setattr(archive_curve, "create", lambda *a, **k: made.append(a) or create(*a, **k))
    assert run("--parts", "rates,names") == first
    assert not made
    again = run("--parts", "rates", "--counts", "2", "--again", "names")
    assert [row["images"] for row in archive_curve.rows(again)] == [1, 2, 8]
    assert "names" not in again
    assert len(made) == 1
    monkeypatch.setenv("VDMC_MODEL_PATH", "")
    Image.fromarray(model_support.noise(64, 128)).save(run.mosaic)
    assert [row["images"] for row in archive_curve.rows(run("--parts", "rates", "--counts", "1"))] == [1]


def test_the_bound_goes_on_band_by_band(run, monkeypatch):
    whole = run("--parts", "vlb")
    asked = []
    bands = archive_checks.batch_vlb

    def cut(batches, plan, engine, seed, done):
        for number, band in enumerate(bands(batches, plan, engine, seed, done)):
            if number == 5:
                raise KeyboardInterrupt
            asked.append(band[0])
            yield band

    monkeypatch.setattr(archive_checks, "batch_vlb", cut)
    with pytest.raises(KeyboardInterrupt):
        run("--parts", "vlb", "--again", "vlb")
    monkeypatch.setattr(
        archive_checks, "batch_vlb", lambda *how: (asked.append(band[0]) or band for band in bands(*how))
    )
    assert run("--parts", "vlb")["vlb"] == whole["vlb"]
    assert len(asked) == len(whole["vlb bands"])


def test_an_archive_that_is_given(run, tmp_path):
    images = list(named_tiles([run.mosaic]))
    path = tmp_path / "a.vdma"
    how = {"model": str(model_support.INTEGER), "group": GroupSize(images=3), "verify": False}
    create(path, images, **how)
    figures = run("--parts", "names,damage", "--archive", str(path))
    assert (figures["names"]["equal"], figures["damage"]["groups"], figures["damage"]["lost"]) == (8, 3, 3)
    create(path, images[:7], force=True, **how)
    with pytest.raises(ValueError, match="holds 7 images, not the 8"):
        run("--parts", "names", "--archive", str(path))
    others = [(name, 255 - pixels) for name, pixels in images]
    create(path, others, force=True, **how)
    assert run("--parts", "names", "--archive", str(path))["names"]["equal"] == 0
    with pytest.raises(ValueError, match="other images"):
        run("--parts", "vlb", "--archive", str(path))


def test_progress_tells_the_time_that_is_left(monkeypatch, capsys):
    clock = iter([100.0, 105.0, 140.0])
    monkeypatch.setattr(resumable.time, "perf_counter", lambda: next(clock))
    progress = resumable.Progress("x", told=0.0)
    for done in (50, 55, 70):
        progress(done, 100, "s")
    assert capsys.readouterr().err.splitlines() == [
        "  x, s: 55 %, 45 s left",
        "  x, s: 70 %, 60 s left",
    ]
