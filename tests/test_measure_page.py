"""The page of `vdmc report`: it needs nothing else, says what was measured, and fits its window."""

import io
import json
from base64 import b64decode
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from tests import browser, model_support
from tests.cli_support import colours, save
from vdmcompress.cascade import encode_pixels
from vdmcompress.evaluate import evaluate
from vdmcompress.measure import evaluation, views
from vdmcompress.measure.bench import SCHEMA
from vdmcompress.measure.charts import Point, scatter
from vdmcompress.measure.chosen import models_in_words, served
from vdmcompress.measure.methods import classical_images, default_title
from vdmcompress.measure.page import Content, render
from vdmcompress.measure.page_views import Sample, block_pixels
from vdmcompress.measure.pictures import RAMP, heat, photograph, signed
from vdmcompress.measure.summary import totals
from vdmcompress.measure.views import in_blocks, look
from vdmcompress.path import ORDERS

tiny_model = model_support.tiny_model

SIZES = {"PNG": 60_000, "WebP": 42_000, "JPEG XL e7": 40_000, "JPEG-LS": 50_000, "vdmc -e 1": 41_000}
SIZES |= {"vdmc -e 7": 39_000, "vdmc -e 9": 38_900}
FAMILY = {
    title: next(f for f in ("PNG", "WebP", "JPEG XL", "JPEG-LS", "vdmc") if title.startswith(f))
    for title in SIZES
}


def bench_result(count=3):
    """A record as `bench.run` makes it; the second image went to WebP."""
    images = []
    for index in range(count):
        formats = {}
        for turn, (title, size) in enumerate(SIZES.items()):
            seconds = [0.01 * 4**turn, 0.02 * 4**turn, 0.04 * 4**turn]
            row = {"bytes": size + index, "encode": seconds, "decode": seconds[:1]}
            row |= {"encode_seconds": seconds[1], "decode_seconds": seconds[0]}
            row |= {"encode_peak_mib": 100, "decode_peak_mib": 90}
            if title.startswith("vdmc"):
                row["kind"] = "webp" if index == 1 else "diffusion"
            formats[title] = row
        size = {"width": 160, "height": 128, "channels": 3}
        images.append({"image": f"image<{index}>", **size, "crc": "00000000", "formats": formats})
    return {
        "schema": SCHEMA,
        "name": "a & b",
        "date": "2026-01-02",
        "machine": {"cpu": "some processor", "cores": 2, "isa": [], "system": "Linux"},
        "versions": {"python": "3.11.7", "vdmcompress": "0.1"},
        "threads": 2,
        "repeats": 3,
        "formats": {title: {"family": FAMILY[title], "setting": "", "threads": 1} for title in SIZES},
        "missing": {},
        "skipped": [{"image": "left.gif", "reason": "not measured: palette"}],
        "totals": totals(images),
        "images": images,
    }


@pytest.fixture(scope="module")
def looked():
    """An image of an odd size with latents, its record and its views."""
    model, pixels = model_support.load_tiny(), model_support.photo(133, 171)
    encoded = encode_pixels(pixels, model, 1, order=ORDERS["all"])
    found = evaluate(pixels, model, 1, encoded=encoded)
    parts = {"signature": 40, "payload": found["payload_bytes"]}
    record = evaluation.summarise({**found, "file_bytes": sum(parts.values()), "parts": parts})
    return pixels, record, look(pixels, encoded.plan, model, "auto", 1)


@pytest.fixture(scope="module")
def page(looked):
    pixels, record, seen = looked
    result = bench_result()
    records = {"image<1>": {"file_bytes": 41_234}}
    content = Content(
        result,
        "vdmc -e 7",
        evaluation.totals([record, record]),
        Sample("image<0>", pixels, seen),
        classical_images(result, "vdmc -e 7", records),
        "Effort 7, model tiny.",
    )
    return render(content)


def test_the_bound_says_effort_and_model(page):
    assert '<p class="soft">Effort 7, model tiny.</p>' in page


def test_models_that_served_are_told_in_words():
    assert models_in_words(served([{"model": "photo"}])) == "model photo"
    both = served([{"model": name} for name in ("tiny", "photo", "photo")])
    assert models_in_words(both) == "models photo (2 images), tiny (1 image)"


def test_a_set_of_one_small_image_measured_once():
    result = bench_result()
    several = render(Content(result, "vdmc -e 7"))
    assert "in brackets, had" in several
    totals_of_one = {**result["totals"], "images": 1, "mpx": 0.001024}
    once = render(Content({**result, "repeats": 1, "totals": totals_of_one}, "vdmc -e 7"))
    assert "in brackets, had" not in once
    assert "1 image, 0.00102 Mpx" in once


def test_the_map_of_bits_sums_to_the_bound(looked):
    pixels, record, seen = looked
    assert seen.bits.shape == (9, 11)
    assert seen.bits.sum() == pytest.approx(record["vlb_bits"], rel=1e-9)
    assert block_pixels(*pixels.shape[:2]).sum() == pixels.shape[0] * pixels.shape[1]


def test_bits_are_where_the_noise_is(tiny_model):
    pixels = np.full((64, 64, 3), 120, np.uint8)
    pixels[:, 32:] = model_support.noise(64, 32)
    bits = look(pixels, ORDERS["none"][0], tiny_model, "auto", 1).bits
    assert bits[:, 2:].mean() > 4 * bits[:, :2].mean()


def test_levels_go_from_coarse_to_fine_and_from_noise_to_the_band(looked):
    _, record, seen = looked
    keys = [(view.scale, view.band, view.level) for view in seen.levels]
    order = {"HL": 0, "LH": 1, "HH": 2}
    assert keys == sorted(keys, key=lambda key: (-key[0], order[key[1]], -key[2]))
    rows = {(row["scale"], row["band"], row["level"]): row["vlb_bpd"] for row in record["rows"]}
    for view in seen.levels:
        assert view.bpd == pytest.approx(rows[view.scale, view.band, view.level])
    fine = {view.level: view for view in seen.levels if (view.scale, view.band) == (0, "HL")}
    assert fine[2].value.std() > fine[1].value.std() > fine[0].value.std()
    assert np.abs(fine[0].value - fine[0].mean).mean() < np.abs(fine[2].value - fine[2].mean).mean()
    normalised = (fine[0].value - fine[0].mean) / fine[0].scale_map
    assert 0.5 < np.mean(normalised**2) < 2


@pytest.mark.parametrize("step", [2, 16, 64, 256])
@pytest.mark.parametrize("size", [(100, 130), (16, 16), (1, 1), (257, 31)])
def test_blocks_keep_the_sum(step, size):
    shape = tuple(-(-n // step) for n in size)
    spent = np.random.default_rng(1).random(shape)
    found = in_blocks(spent, step, size, views.BLOCK)
    assert found.shape == tuple(-(-n // views.BLOCK) for n in size)
    assert found.sum() == pytest.approx(spent.sum())
    assert in_blocks(np.zeros((3, 0)), step, size, views.BLOCK).sum() == 0


def test_a_position_lies_in_its_block():
    spent = np.zeros((32, 48))
    spent[9, 40] = 5
    assert np.argwhere(in_blocks(spent, 2, (64, 96), 16)).tolist() == [[1, 5]]
    spent = np.zeros((2, 3))
    spent[1, 2] = 8
    found = in_blocks(spent, 32, (64, 80), 16)
    assert found[2:, 4:].tolist() == [[4], [4]]  # the right half of it is beyond the edge
    assert found.sum() == 8


class Reader(HTMLParser):
    """Tags that are open, images, text, and whatever would load something."""

    def __init__(self):
        super().__init__()
        self.open, self.images, self.loads, self.text = [], [], [], []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        if tag == "img":
            self.images.append(found)
        assert not [name for name in found if name.startswith("on")]
        named = [found[name] for name in ("src", "href") if found.get(name)]
        self.loads += [value for value in named if not value.startswith("data:")]

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_needs_nothing_else_and_is_sound(page):
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    assert reader.loads == []
    assert "<script" not in page
    assert "http" not in page
    assert "@import" not in page
    assert "url(" not in page
    assert len(reader.images) > 10
    for image in reader.images:
        assert image["alt"]
        Image.open(io.BytesIO(b64decode(image["src"].partition(",")[2]))).load()


def test_the_page_says_what_was_measured(page):
    reader = Reader()
    reader.feed(page)
    text = " ".join(" ".join(reader.text).split())
    for said in (
        "a & b", "some processor", "117,003", "-2.5 %", "left.gif",
        "scale 0, HL, latent z2", "scale 0, HH, the band itself",
        "image<1> WebP it takes 39,001 bytes, diffusion would take 41,234", "1 of 3",
        "Where the bits go: image<0>",
    ):  # fmt: skip
        assert said in text


def test_why_images_are_classical():
    result = bench_result()
    (found,) = classical_images(result, "vdmc -e 7", {"image<1>": {"file_bytes": 39_000}})
    assert "too smooth" in found["reason"]
    assert (found["image"], found["method"]) == ("image<1>", "WebP")
    assert default_title(list(SIZES), 9) == "vdmc -e 9"
    assert default_title(["PNG", "vdmc -e 7, checked", "vdmc -e 2"], 7) == "vdmc -e 2"
    assert default_title(["PNG"], 7) is None


def test_the_plot_has_every_format_and_the_front():
    points = [Point("a", "vdmc", 2.9, 0.2), Point("b", "JPEG XL", 3.0, 5.0), Point("c", "PNG", 4.4, 1.0)]
    drawn = scatter(points, "encoding")
    assert drawn.count("<circle") == 3
    front = drawn.partition('class="front" points="')[2].partition('"')[0].split()
    xs = [float(place.split(",")[0]) for place in front]
    assert len(xs) == 2
    assert xs[0] > xs[1]
    assert scatter([], "encoding") == ""
    assert scatter(points[:1], "encoding").count("<circle") == 1


def test_pictures():
    found = heat(np.array([[0.0, 0.5, 1.0, 2.0]]), 0.0, 1.0)
    assert [tuple(colour) for colour in found[0].tolist()] == [RAMP[0], RAMP[2], RAMP[4], RAMP[4]]
    assert signed(np.array([[-5.0, 0.0, 5.0]]), 5.0).tolist() == [[1, 128, 255]]
    assert photograph(np.zeros((500, 2000, 3), np.uint8)).shape == (192, 768, 3)
    small = np.zeros((5, 7), np.uint8)
    assert photograph(small) is small


@pytest.mark.parametrize(("width", "dark"), [(1280, True), (360, False)])
def test_the_page_in_a_browser(page, width, dark):
    found = browser.inspect(page, width, dark)
    assert found["width"] == width
    assert found["scroll"] <= width
    assert found["outside"] == []
    assert found["images"] > 10
    assert (found["broken"], found["hidden"]) == (0, 0)
    assert found["paper"] == ("rgb(20, 24, 29)" if dark else "rgb(255, 255, 255)")
    assert found["smallest"] >= 9
    assert found["console"] == []


def test_a_broken_page_is_seen_in_the_browser():
    wide = "<html><body><p style='width:900px'>x</p><img src='data:image/png;base64,AAAA'></body></html>"
    found = browser.inspect(wide, 360)
    assert found["scroll"] > 360
    assert found["outside"]
    assert found["broken"] == 1


def test_report_writes_a_page_of_kept_figures(vdmc, tmp_path, monkeypatch):
    folder = tmp_path / "set"
    folder.mkdir()
    result = bench_result(2)
    for image in result["images"]:
        image["image"] = image["image"].strip("<>").replace("<", "")
        save(model_support.photo(96, 80), folder / f"{image['image']}.png")
    kept = tmp_path / "kept.json"
    kept.write_text(json.dumps(result))
    monkeypatch.setattr("vdmcompress.model_search.load_model", lambda name: model_support.load_tiny())
    output = tmp_path / "page.html"
    arguments = ("report", folder, "--bench", kept, "-o", output, "-T", "1")
    done = vdmc(*arguments, "--json", "--image", "image1.png")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["bytes"] == output.stat().st_size
    assert "Where the bits go: image1" in output.read_text()
    assert vdmc(*arguments).exit_code == 2
    refused = vdmc(*arguments, "-f", "--image", "other")
    assert (refused.exit_code, "was not measured" in refused.stderr) == (2, True)
    kept.write_text(json.dumps({**result, "schema": "another"}))
    old = vdmc(*arguments, "-f")
    assert (old.exit_code, "make one with vdmc bench" in old.stderr) == (2, True)
    kept.write_text(json.dumps(result))
    other = save(colours(8, 8), tmp_path / "other.png")
    assert vdmc("report", other, "--bench", kept, "-f", "-o", output).exit_code == 2


def test_report_is_about_vdmc(vdmc, tmp_path, monkeypatch):
    monkeypatch.setattr("cli.page.measure_set", lambda *_: {"totals": {"formats": {"PNG": {}}}})
    result = vdmc("report", save(colours(8, 8), tmp_path / "a.png"), "-o", tmp_path / "b.html")
    assert result.exit_code == 2
    assert "the page is about vdmc" in result.stderr
    assert not (tmp_path / "b.html").exists()
