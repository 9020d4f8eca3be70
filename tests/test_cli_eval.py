"""`vdmc eval`, `selftest`, `models` and `train`: what they say of what the library found."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from cli.train import by_band, configuration, show
from tests.cli_support import colours, save
from vdmcompress.container import pack
from vdmcompress.efforts import effort_of
from vdmcompress.header import Header, Kind
from vdmcompress.measure import evaluation
from vdmcompress.measure.formats import different_efforts
from vdmcompress.path import ORDERS
from vdmcompress.train.phases import PHASES
from vdmcompress.train.run import Job

ROWS = [
    {"scale": 0, "band": "HL", "level": 1, "values": 90, "positions": 30, "drawn": True}
    | {"vlb_bits": 300.0, "coded_bits": 310.0, "calibration": 1.25, "network_calibration": 1.5},
    {"scale": None, "band": "top", "level": 0, "values": 12, "positions": 4, "drawn": False}
    | {"vlb_bits": 500.0, "coded_bits": 506.0, "calibration": None, "network_calibration": None},
]
HASH = bytes(range(8))
LANES = [b"x" * 40, b"y" * 60]


@pytest.fixture
def evaluated(monkeypatch):
    """A library whose evaluation of any image is known; gives the calls."""
    calls = []

    def encode_pixels(pixels, model, threads, progress, device, order, colour):
        lanes = [lane + bytes(order[0] % 15) for lane in LANES]
        if model.name.endswith("tiny.vdm.safetensors"):  # better for narrow images, worse for the others
            lanes = [lanes[0], lanes[1] + bytes(8)] if pixels.shape[1] > 20 else [lanes[0], lanes[1][8:]]
        return SimpleNamespace(lanes=lanes, plan=pixels.shape[1] % 2)

    def evaluate(pixels, model, threads, device, encoded, progress):
        calls.append((pixels.shape, model.name, threads, device))
        height, width = pixels.shape[:2]
        return {
            "width": width,
            "height": height,
            "channels": 1 if pixels.ndim == 2 else 3,
            "plan": encoded.plan,
            "colour": "YCoCg-R",
            "vlb_bits": 800.0,
            "coded_bits": 786.0,
            "head_bits": 14.0,
            "payload_bytes": sum(map(len, encoded.lanes)),
            "rows": ROWS,
        }

    def load_model(name):
        return SimpleNamespace(name=name or "photo", hash8=HASH)

    monkeypatch.setattr(evaluation, "evaluate", evaluate)
    monkeypatch.setattr(evaluation, "encode_pixels", encode_pixels)
    monkeypatch.setattr("vdmcompress.model_search.load_model", load_model)
    return calls


def file_bytes(width, plan):
    return len(pack(Header(Kind.DIFFUSION, width, 16, 3, 0, HASH, plan, len(LANES)), LANES))


def test_eval_prints_bits_per_dimension_by_row(vdmc, evaluated, picture):
    result = vdmc("eval", picture, "-T", "1")
    assert result.exit_code == 0, result.stderr
    assert [call[:1] + call[2:] for call in evaluated] == [((16, 24, 3), 1, "auto")] * 2
    values, size = 16 * 24 * 3, file_bytes(24, 0)
    rows = [line.split() for line in result.stdout.splitlines()]
    first = ["0", "HL", "1", f"{300 / values:.4f}", f"{310 / values:.4f}", "+3.33", "%", "(1.50)", "(1.25)"]
    assert first in rows
    assert ["-", "top", "0", f"{500 / values:.4f}", f"{506 / values:.4f}", "+1.20", "%", "-", "-"] in rows
    above = f"{100 * (8 * size / 800 - 1):+.2f}"
    whole = ["file", f"{8 * size:,}", f"{8 * size / values:.5f}", f"{size:,}", "bytes,", above]
    assert [*whole, "%", "on", "the", "VLB"] in rows
    names = ("VLB", "coding", "heads", "header")
    found = [cells for cells in rows if cells and cells[0] in names]
    steps = {cells[0]: float(cells[1].replace(",", "")) for cells in found}
    assert steps == {"VLB": 800, "coding": -14, "heads": 14, "header": 8 * (size - 100)}
    assert f"together {size:,}" in result.stdout


def test_eval_json_sums_the_set_and_its_plans(vdmc, evaluated, picture, tmp_path):
    odd = save(colours(16, 25), tmp_path / "odd.png")
    lines = vdmc("eval", "--json", "-m", "mine", picture, odd, picture).stdout.splitlines()
    first, _, _, total = (json.loads(line) for line in lines)
    assert (first["model"], first["file"]) == ("mine", str(picture))
    assert first["file_bytes"] == sum(first["parts"].values()) == file_bytes(24, 0)
    assert first["parts"]["payload"] == first["payload_bytes"] == 100
    assert first["vlb_bpd"] == pytest.approx(800 / (16 * 24 * 3))
    assert first["rows"][1]["coded_bpd"] == pytest.approx(506 / (16 * 24 * 3))
    assert total["files"] == 3
    assert total["plans"] == {"0": 2, "1": 1}
    assert total["vlb_bpd"] == pytest.approx(2400 / (3 * 16 * (24 + 25 + 24)))
    assert total["file_bytes"] == 2 * file_bytes(24, 0) + file_bytes(25, 1)
    assert [row["band"] for row in total["rows"]] == ["HL", "top"]
    assert sum(row["vlb_bpd"] for row in total["rows"]) == pytest.approx(total["vlb_bpd"])
    assert total["parts"]["payload"] == 300
    assert sum(total["parts"].values()) == total["file_bytes"]


def test_eval_takes_a_folder_and_tells_each_image_with_v_only(vdmc, evaluated, picture):
    save(colours(16, 25), picture.parent / "odd.png")
    result = vdmc("eval", picture.parent)
    assert result.exit_code == 0, result.stderr
    assert "picture.png" not in result.stdout
    assert "2 images, 0.00235 million values; -e 7, model photo" in result.stdout
    assert "± s.e." in result.stdout
    assert "picture.png: 24x16 RGB, -e 7, model photo" in vdmc("eval", "-v", picture.parent).stdout
    assert len(vdmc("eval", "--limit", "1", "--json", picture.parent).stdout.splitlines()) == 1


def test_a_small_image_is_evaluated_with_the_model_that_encode_takes(vdmc, evaluated, picture, tmp_path):
    narrow = save(colours(16, 12), tmp_path / "narrow.png")
    large = save(colours(65, 12), tmp_path / "large.png")
    lines = vdmc("eval", "--json", narrow, picture, large).stdout.splitlines()
    first, second, third, total = (json.loads(line) for line in lines)
    names = [Path(each["model"]).name.split(".")[0] for each in (first, second, third)]
    assert names == ["tiny", "photo", "photo"]
    assert first["payload_bytes"] == second["payload_bytes"] - 8
    assert len(evaluated) == 5, "the large image is evaluated once, the small ones with both models"
    assert list(total["models"].values()) == [2, 1]
    (named,) = (json.loads(line) for line in vdmc("eval", "--json", "-m", "mine", narrow).stdout.splitlines())
    assert named["model"] == "mine"


def test_eval_explains_the_bytes_of_alpha_and_metadata(vdmc, evaluated, tmp_path):
    path = tmp_path / "alpha.png"
    info = PngInfo()
    info.add_text("Comment", "words " * 30)
    Image.fromarray(np.dstack((colours(16, 24), colours(16, 24)[..., 0]))).save(path, pnginfo=info)
    (record,) = (json.loads(line) for line in vdmc("eval", "--json", path).stdout.splitlines())
    assert {"alpha", "kind and length of alpha", "metadata", "mode and depth"} <= record["parts"].keys()
    assert sum(record["parts"].values()) == record["file_bytes"]
    palette = tmp_path / "palette.png"
    Image.fromarray(colours(9, 9)).quantize(4).save(palette)
    refused = vdmc("eval", palette)
    assert refused.exit_code == 2
    assert "palette is not coded by diffusion" in refused.stderr


def test_sweeps_go_through_efforts_and_latents(vdmc, evaluated, picture):
    result = vdmc("eval", "--sweep", "latents", picture)
    assert result.exit_code == 0, result.stderr
    rows = [line.split() for line in result.stdout.splitlines() if "--latents" in line]
    assert [cells[1] for cells in rows] == list(ORDERS)
    sizes = [file_bytes(24, 0) + 2 * (order[0] % 15) for order in ORDERS.values()]
    assert [int(cells[-4].replace(",", "")) for cells in rows] == sizes
    lines = vdmc("eval", "--sweep", "efforts", "--json", picture).stdout.splitlines()
    found = [json.loads(line) for line in lines]
    assert [each["setting"] for each in found] == [f"-e {e}" for e in different_efforts()]
    assert found[0]["model"] == effort_of(1).model
    assert found[-1]["file_bytes"] == min(sizes)
    for wrong in (("latents", "--latents", "all"), ("efforts", "-m", "mine")):
        assert vdmc("eval", "--sweep", *wrong, picture).exit_code == 2


def test_eval_with_a_missing_model_is_4(vdmc, picture):
    result = vdmc("eval", "-m", "no-such-model", picture)
    assert result.exit_code == 4
    (line,) = result.stderr.splitlines()
    assert "no-such-model" in line


@pytest.mark.parametrize(("ok", "code"), [(True, 0), (False, 6)])
def test_selftest(vdmc, monkeypatch, ok, code):
    results = [("normal table", True, ""), ("network", ok, "row 3")]
    monkeypatch.setattr("vdmcompress.exact.selftest", lambda: results, raising=False)
    result = vdmc("selftest")
    assert result.exit_code == code
    assert "ok      normal table" in result.stdout
    assert "network" in result.stdout
    assert ("FAILED  network: row 3" in result.stdout) is not ok
    assert ("this machine computes differently" in result.stderr) is not ok
    records = [json.loads(line) for line in vdmc("selftest", "--json").stdout.splitlines()]
    assert [r["status"] for r in records if "check" in r] == ["ok", "ok" if ok else "failed"]


def test_a_selftest_tells_each_check_as_it_ends(vdmc, monkeypatch):
    said = []
    monkeypatch.setattr("cli.selftest.click.echo", lambda text, **_: said.append(text))

    def checks():
        yield "first", True, ""
        assert said == ["ok      first"]
        yield "second", True, ""

    monkeypatch.setattr("vdmcompress.exact.selftest", checks)
    assert vdmc("selftest").exit_code == 0
    assert said == ["ok      first", "ok      second"]


def test_a_selftest_without_checks_has_failed(vdmc, monkeypatch):
    monkeypatch.setattr("vdmcompress.exact.selftest", list, raising=False)
    assert vdmc("selftest").exit_code == 1


def test_models_lists_name_and_hash(vdmc, monkeypatch, tmp_path):
    from vdmcompress.model_file import SUFFIX
    from vdmcompress.model_search import SEARCH_VARIABLE, file_hash

    path = tmp_path / f"mine{SUFFIX}"
    path.write_bytes(b"some bytes")
    monkeypatch.setenv(SEARCH_VARIABLE, str(tmp_path))
    result = vdmc("models")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert f"mine {file_hash(path).hex()} 10 bytes {path}" in [" ".join(line.split()) for line in lines]
    assert len({line.index(" bytes  ") for line in lines}) == 1 < len(lines), "columns are aligned"
    record = json.loads(vdmc("models", "--json").stdout.splitlines()[-1])
    assert (record["name"], record["hash"], record["bytes"]) == ("mine", file_hash(path).hex(), 10)


def test_training_log_by_band_in_bits_per_dimension():
    terms = {"s0.0": 2.0, "s0.1": 1.0, "s0.2": 4.0, "s1.0": 8.0, "s0.2d": 99.0}
    assert by_band(terms, ["HL", "HL", "HH"]) == pytest.approx({"0 HL": 0.75, "0 HH": 1.0, "1 HL": 0.5})


def test_training_lines():
    bands = ["HL"]
    entry = {
        "step": 20,
        "steps": 100,
        "bpd": 3.25,
        "mpx_per_second": 0.5,
        "eta_seconds": 600,
        "terms": {"s0.0": 4.0},
    }
    assert show(entry, bands) == "step 20/100: 3.2500 bpd (0 HL 1.000), 0.50 Mpx/s, 10 min to go"
    valid = {"step": 20, "validation": "held_back", "bpd": 3.5, "terms": {"s0.0": 2.0}}
    assert show(valid, bands) == "step 20: held_back 3.5000 bpd (0 HL 0.500)"


def test_shipped_configurations_have_names(tmp_path):
    assert configuration("photo").name == "photo.toml"
    mine = tmp_path / "mine.toml"
    mine.touch()
    assert configuration(str(mine)) == mine


def test_train_hands_everything_on(vdmc, monkeypatch, tmp_path):
    calls = []

    def phase(config_path, job):
        job.report({"step": 1, "validation": "valid", "bpd": 3.0, "terms": {"s0.0": 4.0}})
        calls.append((config_path.name, replace(job, report=None)))

    monkeypatch.setitem(PHASES, "experts", phase)
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    arguments = ["--data", one, "--data", two, "--valid", one, "--out", tmp_path / "run", "--minutes", "1.5"]
    arguments += ["--resume", "--device", "cpu", "--workers", "3", "--phase", "experts"]
    result = vdmc("train", "photo", *arguments)
    assert result.exit_code == 0, result.stderr
    job = Job((one, two), tmp_path / "run", True, 1.5, "cpu", (one,), workers=3)
    assert calls == [("photo.toml", job)]
    assert "valid 3.0000 bpd (0 HL 1.000)" in result.stdout
