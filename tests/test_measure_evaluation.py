"""What eval makes of bits: standard errors, bytes to the last one, gaps, and scales that are off."""

import dataclasses

import numpy as np
import pytest

from tests import model_support
from vdmcompress.cascade import encode_pixels
from vdmcompress.chunks import Chunk
from vdmcompress.conditionals import Conditionals
from vdmcompress.container import pack
from vdmcompress.evaluate import evaluate
from vdmcompress.header import Header, Kind
from vdmcompress.measure import evaluation
from vdmcompress.measure.anatomy import file_parts
from vdmcompress.measure.evaluation import evaluate_picture, explain, findings, standard_error, totals
from vdmcompress.path import ORDERS
from vdmcompress.picture import array_picture

tiny_model = model_support.tiny_model

HEADERS = [
    (Header(Kind.DIFFUSION, 300, 20, 3, 7, b"m" * 8, 1, 3), [200, 100, 129]),
    (Header(Kind.DIFFUSION, 3, 2, 1, 7, b"m" * 8, 1, 1), [9]),
    (Header(Kind.DIFFUSION, 30, 20, 4, 7, b"m" * 8, 0, 2, alpha=Kind.WEBP), [150, 99, 98]),
    (Header(Kind.WEBP, 300, 200, 3, 7, chunks=(Chunk(b"tEXt", b"Comment\0words"),)), [77]),
    (Header(Kind.PNG, 30, 20, 1, 7, depth=16), [55]),
]


@pytest.mark.parametrize(("header", "lengths"), HEADERS)
def test_parts_of_a_file_are_its_bytes(header, lengths):
    data = pack(header, [b"x" * n for n in lengths])
    parts = file_parts(header, lengths)
    assert sum(parts.values()) == len(data)
    assert parts["payload"] == sum(lengths[header.alpha is not None :])
    assert data.index(b"x" * 9) == sum(
        size for name, size in parts.items() if name not in ("payload", "alpha", "checksum of the file")
    )


def test_the_standard_error_is_that_of_drawing_images():
    """Against the spread of the ratio over many sets that are drawn."""
    rng = np.random.default_rng(3)
    values = rng.integers(500, 1500, (4000, 25))
    bits = values * rng.normal(3, 0.4, values.shape)
    ratios = bits.sum(1) / values.sum(1)
    errors = [standard_error(list(b), list(v)) for b, v in zip(bits[:300], values[:300], strict=True)]
    assert np.mean(errors) == pytest.approx(ratios.std(), rel=0.06)
    assert standard_error([5.0], [2]) is None
    assert standard_error([3.0, 6.0], [1, 2]) == 0


@pytest.fixture(scope="module")
def records():
    model = model_support.load_tiny()
    pictures = [array_picture(model_support.photo(128, 128, index=i)) for i in range(2)]
    return [
        {"file": str(i), **evaluate_picture(p, model, "auto", 1, ("one",))} for i, p in enumerate(pictures)
    ]


def test_every_bit_of_the_files_is_explained(records):
    total = totals(records)
    assert sum(total["parts"].values()) == total["file_bytes"] == sum(r["file_bytes"] for r in records)
    for found in (*records, total):
        steps = explain(found)
        assert sum(step["bits"] for step in steps) == pytest.approx(8 * found["file_bytes"], abs=1e-6)
        assert sum(step["bpd"] for step in steps) == pytest.approx(found["file_bpd"])
        assert sum(row["vlb_bits"] for row in found["rows"]) == pytest.approx(found["vlb_bits"])
        assert sum(row["coded_bits"] for row in found["rows"]) == pytest.approx(found["coded_bits"], abs=1e-5)


def test_totals_of_a_set_are_ratios_of_sums(records):
    total = totals(records)
    assert total["vlb_bpd"] == pytest.approx(np.mean([r["vlb_bpd"] for r in records]))
    half = abs(records[0]["vlb_bpd"] - records[1]["vlb_bpd"]) / 2
    assert total["vlb_se"] == pytest.approx(half)
    keys = [(row["scale"], row["band"], row["level"]) for row in total["rows"]]
    assert len(keys) == len(set(keys))
    assert keys[-1] == (None, "top", 0)
    assert keys[:3] == [(0, "HL", 0), (0, "LH", 0), (0, "HH", 0)]
    row, parts = total["rows"][0], [r["rows"][0] for r in records]
    assert row["calibration"] == pytest.approx(np.mean([part["calibration"] for part in parts]))


def test_a_sound_image_has_nothing_to_be_said_of_its_gaps(records):
    assert not [said for said in totals(records)["findings"] if "coded" in said or "coder spends" in said]


def doubled(likelihood):
    def other(self, *arguments):
        bins = likelihood(self, *arguments)
        return dataclasses.replace(bins, scale=np.minimum(bins.scale + 8, 127).astype(np.uint8))

    return other


@pytest.fixture(scope="module")
def large():
    return model_support.photo(256, 256, index=1)


def record_of(pixels, model, encoded):
    found = evaluate(pixels, model, 1, encoded=encoded)
    return evaluation.summarise({**found, "file_bytes": found["payload_bytes"], "parts": {}})


def test_scales_doubled_between_network_and_coder_are_a_gap(tiny_model, monkeypatch, large):
    """Although statistics that adapt repair most of it while they code."""
    with monkeypatch.context() as patch:
        patch.setattr(Conditionals, "likelihood", doubled(Conditionals.likelihood))
        encoded = encode_pixels(large, tiny_model, 1, order=ORDERS["none"])
    found = record_of(large, tiny_model, encoded)
    said = [text for text in found["findings"] if "other scales or means are coded with" in text]
    assert any(text.startswith("scale 0, HH") for text in said)
    right = record_of(large, tiny_model, encode_pixels(large, tiny_model, 1, order=ORDERS["none"]))
    assert not [text for text in right["findings"] if "coded" in text]


def test_latents_of_a_band_are_judged_together():
    """What one level of a chain takes more and another less is the coder's order, no gap."""
    row = {"scale": 1, "band": "HL", "positions": 50_000, "drawn": True, "values": 150_000}
    levels = [
        {**row, "level": 0, "vlb_bits": 4e5, "coded_bits": 4e5},
        {**row, "level": 1, "vlb_bits": 7.1e5, "coded_bits": 6.7e5},
        {**row, "level": 2, "vlb_bits": 1.6e5, "coded_bits": 2e5},
    ]
    (_, data), (name, latents) = evaluation.judged_together(levels)
    assert name == "scale 1, HL, latents"
    assert (data["values"], latents["values"]) == (150_000, 300_000)
    assert latents["coded_bits"] == latents["vlb_bits"] == 8.7e5
    levels[2]["coded_bits"] = 2.2e5
    found = {"vlb_bits": 1.0, "gap_percent": 0.0, "rows": levels}
    for level in levels:
        level.update(calibration=1.0, network_calibration=1.0)
    assert [text.split(":")[0] for text in evaluation.findings(found)] == ["scale 1, HL, latents"]


def test_a_model_whose_scales_are_doubled_is_seen_in_the_calibration_of_the_network(
    tiny_model, monkeypatch, large
):
    """Coded with what it says, so that there is no gap."""
    right = record_of(large, tiny_model, encode_pixels(large, tiny_model, 1, order=ORDERS["none"]))
    monkeypatch.setattr(Conditionals, "likelihood", doubled(Conditionals.likelihood))
    wrong = record_of(large, tiny_model, encode_pixels(large, tiny_model, 1, order=ORDERS["none"]))
    assert not [text for text in wrong["findings"] if "coded with" in text]
    for before, after in zip(right["rows"][:3], wrong["rows"][:3], strict=True):
        assert after["network_calibration"] == pytest.approx(before["network_calibration"] / 4, rel=0.01)
    said = [text for text in wrong["findings"] if "the network's scales" in text and "too wide" in text]
    assert any(text.startswith("scale 0, HH") for text in said)


def test_findings_are_of_levels_that_are_large_enough():
    row = {"scale": 0, "band": "HH", "level": 0, "values": 30_000, "positions": 10_000, "drawn": False}
    row |= {"vlb_bits": 1000.0, "coded_bits": 1100.0, "calibration": 4.0, "network_calibration": 0.25}
    found = {"rows": [row], "vlb_bits": 1000.0, "gap_percent": 10.0}
    assert len(findings(found)) == 4
    assert "the coder's scales are 2.00 times too narrow" in findings(found)[3]
    assert "the network's scales are 2.00 times too wide" in findings(found)[2]
    assert findings({**found, "rows": [{**row, "positions": 9_999}]}) == []
