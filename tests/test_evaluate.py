"""The honest number: the ledger is the payload, coded bits are the bound, a wrong scale is seen at once."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from codec.ans import Stack
from codec.gaussian import Bins
from tests import model_support
from vdmcompress.band_chain import BandChain
from vdmcompress.cascade import encode_pixels
from vdmcompress.conditionals import Conditionals
from vdmcompress.diffusion import FACTORS16
from vdmcompress.engine import Engine
from vdmcompress.evaluate import band_vlb, draw_latent, evaluate, vlb_rows
from vdmcompress.path import ORDERS, BandPath, Level, NoisePath
from vdmcompress.train.validate import ValidationSet, bits_table

tiny_model = model_support.tiny_model
GAP = 0.02


@pytest.fixture(scope="module")
def report():
    model, pixels = model_support.load_tiny(), model_support.photo(64, 64)
    return evaluate(pixels, model, 1, encoded=encode_pixels(pixels, model, 1, order=ORDERS["all"]))


def gap(found):
    """Coded bits over the bound, relative."""
    return found["coded_bits"] / found["vlb_bits"] - 1


def doubled_scales(likelihood):
    """p with every standard deviation twice what the network says."""

    def doubled(self, *arguments):
        bins = likelihood(self, *arguments)
        return dataclasses.replace(bins, scale=np.minimum(bins.scale + 8, 127).astype(np.uint8))

    return doubled


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("index", [0, 1, 2])
def test_coded_bits_are_the_bound(tiny_model, channels, index):
    found = evaluate(model_support.photo(64, 64, channels, index), tiny_model, 1)
    assert found["plan"] == 15
    assert abs(gap(found)) < GAP


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_wrong_scale_on_the_coding_side_is_seen(tiny_model, monkeypatch, index):
    """The gap that the test above allows is far from what twice the scale costs if nothing adapts."""
    monkeypatch.setattr(BandChain, "adapts", False)
    pixels = model_support.photo(64, 64, index=index)
    with monkeypatch.context() as patch:
        patch.setattr(Conditionals, "likelihood", doubled_scales(Conditionals.likelihood))
        encoded = encode_pixels(pixels, tiny_model, 1, order=ORDERS["all"])
    assert gap(evaluate(pixels, tiny_model, 1, encoded=encoded)) > 4 * GAP


def test_the_ledger_is_the_payload(tiny_model, report):
    """Bits by the ledger are the information in the stack; the heads hold the rest, 32 to 64 bits a lane."""
    assert report["coded_bits"] + report["head_bits"] == 8 * report["payload_bytes"]
    encoded = encode_pixels(model_support.photo(64, 64), tiny_model, 1, order=ORDERS["all"])
    assert report["payload_bytes"] == sum(map(len, encoded.lanes))
    assert report["coded_bits"] == pytest.approx(Stack.from_lanes(encoded.lanes).bits, abs=1e-6)
    assert 0 < report["head_bits"] <= 64 * report["lanes"]


def test_rows_sum_to_the_whole(report):
    rows = report["rows"]
    assert sum(r["vlb_bits"] for r in rows) == pytest.approx(report["vlb_bits"])
    assert sum(r["coded_bits"] for r in rows) == pytest.approx(report["coded_bits"], abs=1e-6)
    keys = [(r["scale"], r["band"], r["level"]) for r in rows]
    assert len(set(keys)) == len(keys)
    # 64, 32, ..., 4 are split; HL has 3 levels, LH 2, HH 1; the top is one row
    assert len(rows) == 5 * 6 + 1
    assert [k for k in keys if k[0] == 0] == [(0, b, n) for b, n in BANDS_AND_LEVELS]
    values = {k[:2]: r["values"] for k, r in zip(keys, rows, strict=True)}
    assert sum(values.values()) == 64 * 64 * 3
    assert (report["width"], report["height"], report["channels"]) == (64, 64, 3)


BANDS_AND_LEVELS = (("HL", 0), ("HL", 1), ("HL", 2), ("LH", 0), ("LH", 1), ("HH", 0))


def test_each_level_of_the_finest_scale_is_coded_at_its_bound(report):
    """Not only the sum: a q that is booked with the wrong level would show here."""
    for row in report["rows"]:
        if row["scale"] in (0, 1):
            slack = 0.05 * row["vlb_bits"] + 4 * np.sqrt(row["values"])
            assert abs(row["coded_bits"] - row["vlb_bits"]) < slack, row


def test_missing_positions_are_not_counted(tiny_model):
    found = evaluate(model_support.photo(33, 31), tiny_model, 1)
    values = {(r["scale"], r["band"]): r["values"] for r in found["rows"]}
    assert [values[0, b] for b in ("HL", "LH", "HH")] == [3 * 17 * 15, 3 * 16 * 16, 3 * 16 * 15]
    assert sum(values.values()) == 33 * 31 * 3


def test_an_image_of_one_pixel(tiny_model):
    found = evaluate(model_support.photo(1, 1), tiny_model, 1)
    assert [r["band"] for r in found["rows"]] == ["top"]
    assert found["coded_bits"] == pytest.approx(found["vlb_bits"], abs=1e-3)
    assert found["vlb_bits"] == pytest.approx(8 + 2 * np.log2(511))


def calibrations(model, plan=ORDERS["all"][0]):
    pixels = model_support.photo(128, 128, index=1)
    with Engine(model, 1) as engine:
        rows = vlb_rows(pixels, plan, engine, 1)
    return {(r["scale"], r["band"], r["level"]): r["calibration"] for r in rows if r["scale"] == 0}


def test_calibration_is_one_and_a_quarter_with_doubled_scales(tiny_model, monkeypatch):
    """Where nothing adapts to the scales."""
    monkeypatch.setattr(BandChain, "adapts", False)
    right = calibrations(tiny_model)
    monkeypatch.setattr(Conditionals, "likelihood", doubled_scales(Conditionals.likelihood))
    wrong = calibrations(tiny_model)
    assert 0.7 < np.mean(list(right.values())) < 1.4
    for key, value in right.items():
        assert 0.4 < value < 2.5, key
        assert wrong[key] == pytest.approx(value / 4, rel=0.01)


def test_the_bound_is_repeatable_and_drawn_anew_with_another_seed(tiny_model):
    pixels = model_support.photo(48, 48)
    with Engine(tiny_model, 1) as engine:
        one, two, other = (sum_of(vlb_rows(pixels, 0, engine, 1, seed)) for seed in (0, 0, 1))
    assert one == two
    assert other != one
    assert other == pytest.approx(one, rel=0.02)


def sum_of(rows):
    return sum(r["vlb_bits"] for r in rows)


def test_the_bound_is_that_of_the_plan_of_the_file(tiny_model, monkeypatch):
    """Without latents the bound has one row a band, and the coded bits follow it."""
    encoded = encode_pixels(model_support.photo(64, 64), tiny_model, 1, order=ORDERS["none"])
    found = evaluate(model_support.photo(64, 64), tiny_model, 1, encoded=encoded)
    assert all(r["level"] == 0 for r in found["rows"])
    assert len(found["rows"]) == 5 * 3 + 1
    assert abs(gap(found)) < 0.005


def test_latents_are_drawn_with_the_variance_of_the_path():
    path = BandPath((Level(1, 36), Level(3, 36)))
    rng = np.random.default_rng(4)
    z = np.full((1, 400, 500), 21, np.int32)
    for k in (1, 2):
        below = z * path.delta(k - 1)
        z = draw_latent(z, path, k, rng)
        grey = z * path.delta(k)
        assert grey.mean() == pytest.approx(21, abs=0.15)
        assert grey.var() == pytest.approx(path.variance(k), rel=0.02)
        assert (grey - below).var() == pytest.approx(path.variance(k) - path.variance(k - 1), rel=0.02)


class TrueChain:
    """A chain whose every p is exactly right for d ~ N(0, SIGMA^2), as far as the grid of scales allows."""

    path = BandPath((Level(0, 40), Level(1, 36)))
    components, levels, direct, band, scale = 1, 3, False, 0, 0
    strips = (slice(0, 250), slice(250, 400))
    shape = (400, 400)

    def __init__(self, sigma, adapts):
        self.sigma, self.adapts = sigma, adapts
        plain = np.zeros((3, len(FACTORS16)), np.int32)
        plain[:, FACTORS16.index(16)] = 65536
        path = NoisePath(((self.path, BandPath(), BandPath()),))
        self.model = SimpleNamespace(
            path=path, row=lambda scale, slot: slot, mixture=lambda row, direct: plain
        )

    def gather(self, z, rows):
        return np.ascontiguousarray(z[:, rows].reshape(1, -1).T, np.int32)

    def likelihood(self, k, z_k, rows):
        """z_{k-1} given z_k of jointly Gaussian variables, by their covariances."""
        below, delta = self.sigma**2 + self.path.variance(k - 1), self.path.delta(k - 1)
        if z_k is None:
            n = (rows.stop - rows.start) * self.shape[1]
            mean, variance = np.zeros((n, 1)), below
        else:
            above = self.sigma**2 + self.path.variance(k)
            mean = self.gather(z_k, rows) * self.path.delta(k) * below / above
            variance = below - below**2 / above
        index = round(32 + 8 * (0.5 * np.log2(variance) - np.log2(delta)))
        mean64 = np.rint(64 * mean / delta).astype(np.int32)
        ends = np.array([-9999], np.int32), np.array([19999], np.int32)
        return Bins.ranged(mean64, np.full(mean64.shape, index, np.uint8), *ends)


@pytest.mark.parametrize("adapts", [False, True])
@pytest.mark.parametrize("sigma", [3.0, 11.0])
def test_the_bound_of_a_true_model_is_the_entropy(sigma, adapts):
    """Where every p is the truth the bound has no gap, whatever the path: a term that is off would show.

    Statistics that adapt to the latents find nothing to learn, unless the latents are not those of the path.
    """
    chain, rng = TrueChain(sigma, adapts), np.random.default_rng(2)
    ratio = chain.path.retention(2)
    assert 0.3 < ratio < 0.7
    d = np.rint(sigma * rng.standard_normal((1, *chain.shape))).astype(np.int32)
    rows = band_vlb(chain, d, rng)
    entropy = 0.5 * np.log2(2 * np.pi * np.e * (sigma**2 + 1 / 12))
    assert [r["level"] for r in rows] == [0, 1, 2]
    assert sum(r["vlb_bits"] for r in rows) / d.size == pytest.approx(entropy, rel=0.012 if adapts else 0.008)
    assert all(r["calibration"] == pytest.approx(1, abs=0.12) for r in rows)


def test_the_exported_model_keeps_the_bound_of_its_float_parent(tiny_model, monkeypatch):
    """Rounding costs less than 1 %, on three photographs, at the scales that have rows of their own.

    The float model knows nothing of statistics that adapt, so that they are left out here.
    """
    monkeypatch.setattr(BandChain, "adapts", False)
    crops = tuple(model_support.photo(128, 128, index=i) for i in range(3))
    with torch.no_grad():
        table = bits_table(model_support.load_tiny_float(), ValidationSet(crops), 2)
    total, values = 0.0, 0
    with Engine(tiny_model, 1) as engine:
        for pixels in crops:
            total += sum(
                r["vlb_bits"] for r in vlb_rows(pixels, ORDERS["all"][0], engine, 1) if r["scale"] in (0, 1)
            )
            values += pixels.size
    assert total / values == pytest.approx(table["bpd"], rel=0.01)
