"""`vdmc bench` and `compare`: what is measured comes from real encoders, and what is kept can be compared."""

import copy
import io
import json

import numpy as np
import pytest
from PIL import Image

from benchmarks.kodak import RESULTS
from tests import model_support
from tests.cli_support import colours, load, save
from vdmcompress.errors import UsageError, VdmError
from vdmcompress.measure import baseline, bench
from vdmcompress.measure.process import Coded, Decoded, FormatProcess

FORMATS = "png,webp0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two images that can be measured, one that cannot, something that is none, a folder within."""
    place = tmp_path_factory.mktemp("set")
    save(colours(40, 60), place / "a.png")
    save(colours(30, 20)[..., 0], place / "b.png")
    Image.fromarray(colours(9, 9)).quantize(4).save(place / "c.png")
    (place / "notes.txt").write_text("no image")
    (place / "inner").mkdir()
    save(colours(8, 8), place / "inner" / "d.png")
    return place


@pytest.fixture(scope="module")
def record(folder):
    paths = sorted(folder.glob("*.png"))
    told = []
    settings = bench.Settings(FORMATS.split(","), 1, 2)
    result = bench.run(paths, "set", settings, lambda done, total, what: told.append((done, total, what)))
    assert told[-1][0] == pytest.approx(told[-1][1])
    assert all(done <= total for done, total, _ in told)
    return result


def png_size(path):
    stream = io.BytesIO()
    Image.fromarray(load(path)).save(stream, "PNG", optimize=True)
    return len(stream.getvalue())


def test_the_record_holds_what_the_encoders_made(folder, record):
    assert [image["image"] for image in record["images"]] == ["a", "b"]
    assert [image["channels"] for image in record["images"]] == [3, 1]
    for image in record["images"]:
        row = image["formats"]["PNG"]
        assert row["bytes"] == png_size(folder / f"{image['image']}.png")
        assert len(row["encode"]) == len(row["decode"]) == record["repeats"] == 2
        assert row["encode_peak_mib"] > 10
    assert [s["reason"].startswith("not measured: ") for s in record["skipped"]] == [True]
    total = record["totals"]["formats"]["PNG"]["bytes"]
    assert total == sum(image["formats"]["PNG"]["bytes"] for image in record["images"])
    assert record["formats"]["WebP m0"]["threads"] == 1
    assert {"cpu", "cores", "system"} <= record["machine"].keys()
    assert {"python", "pillow", "vdmcompress"} <= record["versions"].keys()


def test_bench_json_is_one_object_and_the_file_is_the_same(vdmc, folder, tmp_path):
    kept = tmp_path / "kept.json"
    arguments = ("bench", folder, "--formats", FORMATS, "--repeats", "1", "-o", kept, "--json")
    result = vdmc(*arguments)
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found == json.loads(kept.read_text())
    assert found["name"] == folder.name
    assert [image["image"] for image in found["images"]] == ["a", "b"]
    assert "c.png: not measured" in result.stderr
    again = vdmc("bench", "-r", folder, "--formats", "png", "--repeats", "1", "--baseline", kept)
    assert again.exit_code == 0, again.stderr
    assert "3 images, 1 left out" in again.stdout
    assert "in brackets" not in again.stdout
    assert "*: fewest bytes" in again.stdout
    assert "over the 2 images of both" in again.stdout
    assert [line.split()[:2] for line in again.stdout.splitlines() if line.startswith(" PNG")][-1] == [
        "PNG",
        "same",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--formats", "gif"), "'gif' is not known"),
        (("--formats", ","), "no format to measure"),
        (("--baseline", "missing.json"), "No such file"),
    ],
)
def test_bench_says_what_is_wrong_in_one_line(vdmc, folder, arguments, said):
    result = vdmc("bench", folder, *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_bench_of_nothing_that_can_be_measured(vdmc, folder):
    result = vdmc("bench", folder / "c.png", "--formats", "png")
    assert result.exit_code == 2
    assert "no image to measure" in result.stderr


def test_images_are_called_by_what_tells_them_apart(tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "b.png", tmp_path / "inner" / "b.webp"]
    assert list(bench.image_names(paths).values()) == ["a", str(paths[1]), str(paths[2])]


def test_slow_formats_encode_once_and_decode_as_often_as_the_others(folder, monkeypatch):
    monkeypatch.setattr(bench, "SLOW", 0.0)
    result = bench.run([folder / "a.png"], "set", bench.Settings(["png"], 1, 3))
    row = result["images"][0]["formats"]["PNG"]
    assert (len(row["encode"]), len(row["decode"])) == (1, 3)
    assert result["totals"]["formats"]["PNG"]["encode_repeats"] == 1


class Turn:
    """Stands where a format's process stands; notes whose turn it is."""

    def __init__(self, name, log):
        self.name, self.log = name, log

    def encode(self, pixels):
        self.log.append(self.name)
        return Coded(10, 0.5, 1 << 20, {})

    def decode(self):
        return Decoded(0.25, 1 << 20, True)


def test_formats_take_turns_and_another_one_begins_each_time(folder):
    log = []
    path = folder / "a.png"
    turns = [Turn(name, log) for name in ("png", "jls", "webp")]
    clock = bench._Clock({path: 1.0}, [turn.name for turn in turns])
    bench._one_image(turns, path, colours(40, 60), 3, 1, clock)
    assert log == ["jls", "webp", "png", "webp", "png", "jls", "png", "jls", "webp"]


def test_a_process_codes_and_its_failures_arrive(monkeypatch):
    with FormatProcess("png", 1) as process:
        coded = process.encode(colours(16, 24))
        assert coded.size > 0
        assert process.decode().equal
        with pytest.raises(VdmError, match="TypeError: Cannot handle this data type"):
            process.encode(np.zeros((2, 2, 7), np.uint8))
        assert process.encode(colours(8, 8)).size > 0
        process._process.kill()
        with pytest.raises(VdmError, match="the process that measures png ended"):
            process.encode(colours(8, 8))
    with pytest.raises(UsageError), FormatProcess("gif", 1):
        pass


PEAKS = """
import numpy as np
from vdmcompress.measure.machine import peak_bytes, reset_peak
first, base = reset_peak(), peak_bytes()
block = np.ones(48 << 20, np.uint8)
high = peak_bytes()
del block
print(int(first), base, high, int(reset_peak()), peak_bytes())
"""


def test_a_peak_is_counted_anew():
    """In a process of its own, which has no freed memory that the block could take."""
    first, base, high, second, after = map(int, model_support.words_of(PEAKS))
    if not first:
        pytest.skip("this system does not reset the peak of a process")
    assert high - base > 40 << 20
    assert second
    assert after < high - (20 << 20)


def test_what_moved_is_told_to_the_byte(record):
    new = copy.deepcopy(record)
    new["images"][1]["formats"]["PNG"]["bytes"] += 7
    moved = baseline.compare(record, new)
    assert moved["formats"]["PNG"]["bytes"] == 7
    assert moved["formats"]["PNG"]["images_changed"] == 1
    assert moved["formats"]["WebP m0"]["bytes"] == 0
    (largest,) = moved["largest"]
    assert (largest["image"], largest["format"], largest["new"] - largest["old"]) == ("b", "PNG", 7)
    assert moved["formats"]["PNG"]["encode"] == {"ratio": 1.0, "beyond_spread": False}


def test_speeds_beyond_the_spread_are_marked_and_those_of_other_machines_not_compared(record):
    new = copy.deepcopy(record)
    for image in new["images"]:
        row = image["formats"]["PNG"]
        row["encode"] = [100 * s + 1 for s in row["encode"]]
        row["encode_seconds"] = 100 * row["encode_seconds"] + 1
    found = baseline.compare(record, new)["formats"]["PNG"]["encode"]
    assert found["beyond_spread"]
    assert found["ratio"] < 0.1
    new["machine"] = {**new["machine"], "cpu": "another"}
    moved = baseline.compare(record, new)
    assert moved["formats"]["PNG"]["encode"] is None
    assert any("another machine" in note for note in moved["notes"])


def test_other_pixels_under_the_same_name_are_not_compared(record):
    new = copy.deepcopy(record)
    new["images"][0]["crc"] = "00000000"
    moved = baseline.compare(record, new)
    assert moved["images"] == 1
    assert any("other pixels" in note and "a" in note for note in moved["notes"])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"images": [{"formats": {"PNG": {}}}]}'])
def test_what_is_no_record_is_no_baseline(tmp_path, text):
    path = tmp_path / "old.json"
    path.write_text(text)
    with pytest.raises(UsageError, match="is no record of vdmc bench"):
        baseline.read_record(path)


def test_compare_tells_each_image_and_the_sum(vdmc, folder):
    result = vdmc("compare", folder / "a.png", folder / "b.png", "--formats", FORMATS)
    assert result.exit_code == 0, result.stderr
    assert "a.png: 60x40 RGB" in result.stdout
    rows = [line.split() for line in result.stdout.splitlines() if line.startswith(" PNG")]
    sizes = [png_size(folder / f"{name}.png") for name in "ab"]
    assert [int(cells[2 if cells[1] == "*" else 1].replace(",", "")) for cells in rows] == [
        *sizes,
        sum(sizes),
    ]


def test_compare_json_and_an_image_that_it_does_not_take(vdmc, folder):
    result = vdmc("compare", folder, "--formats", "png", "--json")
    assert result.exit_code == 1
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["status"] for line in lines] == ["ok", "ok", "error", "total"]
    assert lines[-1]["files"] == 2
    assert lines[-1]["formats"]["PNG"]["bytes"] == sum(line["formats"]["PNG"]["bytes"] for line in lines[:2])


def test_kept_results_add_up():
    """Records of formats in benchmarks/results can be baselines; their totals are those of their images."""
    paths = [path for path in sorted(RESULTS.glob("*.json")) if "totals" in json.loads(path.read_text())]
    assert paths
    for path in paths:
        record = baseline.read_record(path)
        values = sum(i["width"] * i["height"] * i["channels"] for i in record["images"])
        assert record["totals"]["images"] == len(record["images"])
        for title, total in record["totals"]["formats"].items():
            size = sum(image["formats"][title]["bytes"] for image in record["images"])
            assert total["bytes"] == size, (path.name, title)
            assert total["bpd"] == pytest.approx(8 * size / values, abs=1e-4)
