"""Exact networks: all backends give the twin's integers on anything, bounds hold or are refused by name."""

import zlib

import numpy as np
import pytest
import torch

from tests import exact_twin, model_support
from vdmcompress.backends.cpu_float import FloatBackend, exact_products
from vdmcompress.backends.cpu_int8 import Int8Backend
from vdmcompress.backends.cpu_winograd import WinogradBackend
from vdmcompress.backends.vectors import available
from vdmcompress.errors import MachineError, ModelMissingError
from vdmcompress.exact import (
    LINEAR_LIMIT,
    RAW_LIMIT,
    SUM_LIMIT,
    WEIGHT_LIMIT,
    ExactEvaluation,
    answer,
    check_answer,
    probe_input,
    selftest,
)

tiny_model = model_support.tiny_model
BACKENDS = {"cpu_float": FloatBackend, "cpu_int8": Int8Backend}
if available():
    BACKENDS["cpu_winograd"] = WinogradBackend
SIZES = [(1, 1), (1, 9), (7, 1), (5, 6), (16, 19)]


@pytest.fixture(params=sorted(BACKENDS))
def backend(request):
    return BACKENDS[request.param]()


@pytest.mark.parametrize("kind", exact_twin.KINDS)
@pytest.mark.parametrize("width", [8, 21, 64])
def test_backends_equal_the_integer_twin(backend, kind, width):
    evaluation = exact_twin.network(kind, width, 2, seed=width)
    evaluation.prove("network")
    exact_twin.check(backend, evaluation, SIZES)


@pytest.mark.parametrize("margins", [(0, 0, 0, 0), (5, 5, 5, 5), (5, 0, 3, 1), (0, 4, 1, 2), (2, 1, 0, 5)])
def test_margins_are_all_that_may_differ(backend, margins):
    evaluation = exact_twin.network("random", 20, 2, seed=3)
    top, bottom, left, right = margins
    u = exact_twin.inputs("noise", 13, 18)
    want = exact_twin.run(evaluation, u)[top : 13 - bottom, left : 18 - right]
    got = backend.run(backend.prepare(evaluation), u, margins)
    assert got.shape == (13, 18, 24)
    np.testing.assert_array_equal(got[top : 13 - bottom, left : 18 - right], want)


def intermediate(evaluation, u):
    """Sums of the stem and of A, and the stream before it is clipped."""
    stem = exact_twin.sums(evaluation.stem, u)
    stream = exact_twin.requantise(evaluation.stem, stem, 4)
    a = exact_twin.sums(evaluation.blocks[0][0], exact_twin.activation(np.clip(stream, -32768, 32767)))
    return stem, a, stream


def test_adversarial_networks_meet_what_they_are_for():
    """Ties, saturation and sums at the bound do occur in the cases above."""
    full = exact_twin.inputs("full", 5, 6)
    aligned = exact_twin.network("aligned", 64, 1)
    stem, a, _ = intermediate(aligned, full)
    assert stem[2, 2].max() == SUM_LIMIT - 1
    assert stem[2, 2].min() == -(SUM_LIMIT - 1)

    ties = exact_twin.network("ties", 64, 1, seed=64)
    stem, a, _ = intermediate(ties, exact_twin.inputs("noise", 16, 19))
    e = ties.blocks[0][0].exponents.astype(int)
    rest = a & ((1 << e) - 1)
    tied = (e > 0) & (rest == (1 << e) // 2) & (a > 0) & (a < 255 << e)
    odd = tied & ((a >> e) % 2 == 1)
    assert odd.sum() > 20
    assert (tied & ~odd).sum() > 20

    stream = intermediate(exact_twin.network("saturation", 64, 1), full)[2]
    assert stream.max() > 32767
    assert stream.min() < -32768


def test_twin_rounds_ties_to_even():
    assert exact_twin.half_even(np.array([1, 3, 5, -1, -3, 2, -5]), 1).tolist() == [0, 2, 2, 0, -2, 1, -2]
    assert exact_twin.half_even(np.array([4, 12, 11, 13]), 3).tolist() == [0, 2, 1, 2]


def test_backends_agree_on_the_tiny_model(tiny_model):
    u = exact_twin.inputs("noise", 23, 37)
    seen = []
    for row in range(tiny_model.scales * tiny_model.slots):
        evaluation = tiny_model.evaluation(row)
        want = exact_twin.run(evaluation, u)
        for backend in (make() for make in BACKENDS.values()):
            np.testing.assert_array_equal(backend.run(backend.prepare(evaluation), u), want)
        seen.append(answer(want.astype(np.int32)))
    assert len(set(seen)) == len(seen)


def test_precision_of_the_process_does_not_matter_and_comes_back():
    evaluation = exact_twin.network("random", 64, 1)
    u = exact_twin.inputs("noise", 8, 8)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        got = FloatBackend().run(FloatBackend().prepare(evaluation), u)
        assert torch.get_float32_matmul_precision() == "medium"
        with pytest.raises(KeyError), exact_products():
            assert torch.get_float32_matmul_precision() == "highest"
            raise KeyError
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    np.testing.assert_array_equal(got, exact_twin.run(evaluation, u))


def test_known_answers_of_the_tiny_model(backend, tiny_model):
    for row in range(tiny_model.scales * tiny_model.slots):
        prepared = backend.prepare(tiny_model.evaluation(row))
        check_answer(backend, prepared, tiny_model.answer(row), f"row {row}")


def test_a_wrong_known_answer_is_refused_by_name(backend, tiny_model):
    prepared = backend.prepare(tiny_model.evaluation(3))
    with pytest.raises(
        MachineError, match=rf"{backend.name} gives [0-9a-f]{{8}} for row 3, .* 00000001"
    ) as met:
        check_answer(backend, prepared, 1, "row 3")
    assert met.value.exit_code == 6


def test_selftest_asks_every_way_of_the_cpu(tiny_model, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    results = list(selftest(tiny_model))
    assert all(sound for _, sound, _ in results)
    ways = [name.rsplit(" ", 1)[1] for name, _, _ in results[1:]]
    assert ways == ["cpu_winograd", "cpu_int8", "cpu_float"]
    monkeypatch.setattr(FloatBackend, "run", lambda self, prepared, u: np.zeros((1, 1, 24), np.int32))
    assert [sound for _, sound, _ in selftest(tiny_model)] == [True, True, True, False]


def half_up(value, bits):
    return (value + (1 << bits >> 1)) >> bits


def downwards(value, bits):
    return value >> bits


def edge_sums(layer, u):
    """Borders repeated instead of zeros."""
    if layer.weights.shape[2] == 1:
        return PLAIN_SUMS(layer, u)
    wide = np.pad(u, ((1, 1), (1, 1), (0, 0)), mode="edge")
    return PLAIN_SUMS(layer, wide)[1:-1, 1:-1]


PLAIN_SUMS = exact_twin.sums


@pytest.mark.parametrize(
    ("name", "wrong"), [("half_even", half_up), ("half_even", downwards), ("sums", edge_sums)]
)
def test_known_answers_notice_a_machine_that_computes_otherwise(tiny_model, monkeypatch, name, wrong):
    """Another rounding or another border gives other answers for every single evaluation of the model."""
    u = probe_input()
    rows = range(tiny_model.scales * tiny_model.slots)
    assert all(answer(exact_twin.run(tiny_model.evaluation(r), u)) == tiny_model.answer(r) for r in rows)
    monkeypatch.setattr(exact_twin, name, wrong)
    assert all(answer(exact_twin.run(tiny_model.evaluation(r), u)) != tiny_model.answer(r) for r in rows)


def test_probe_keeps_activations_alive(tiny_model):
    """Where every activation is 0 or 255 an answer says nothing about rounding."""
    u = probe_input()
    for row in range(tiny_model.scales * tiny_model.slots):
        evaluation = tiny_model.evaluation(row)
        stream = np.clip(intermediate(evaluation, u)[2], -32768, 32767)
        x = exact_twin.activation(stream)
        assert ((x > 0) & (x < 255)).sum() > 50


def test_probe_is_pinned():
    """The known answers of released models stand on these very inputs."""
    u = probe_input()
    assert u.shape == (24, 11, 30)
    assert (u[2:4] == 255).all()
    assert set(np.unique(u[:2])) == {0, 255}
    assert answer(u.astype(np.int32)) == PROBE_CRC


PROBE_CRC = 2579567686


def test_answer_is_the_crc_of_little_endian_words():
    assert answer(np.array([1, -2], np.int32)) == zlib.crc32(bytes.fromhex("01000000feffffff"))
    assert answer(np.array([1, -2], ">i4")) == answer(np.array([1, -2], np.int32))


@pytest.mark.parametrize("weight", [64, -64, 127, -128])
def test_a_weight_beyond_63_is_refused_by_name(weight):
    weights = np.zeros((8, 30, 3, 3))
    weights[5, 3, 1, 2] = np.sign(weight) * WEIGHT_LIMIT
    exact_twin.layer(weights, 0, 4).prove("stem")
    weights[5, 3, 1, 2] = weight
    with pytest.raises(ModelMissingError, match=f"row 7 stem has a weight of {abs(weight)}, allowed is 63"):
        exact_twin.layer(weights, 0, 4).prove("row 7 stem")


@pytest.mark.parametrize("sign", [1, -1])
def test_a_sum_at_the_limit_is_refused_by_name(sign):
    weights = np.full((2, 64, 3, 3), 63)
    room = SUM_LIMIT - 63 * 255 * 64 * 9
    exact_twin.layer(weights, sign * (room - 1), 4).prove("A")
    with pytest.raises(
        ModelMissingError, match=f"A can reach a sum of {SUM_LIMIT}, allowed is < {SUM_LIMIT}"
    ):
        exact_twin.layer(weights, sign * room, 4).prove("A")


def test_the_bound_counts_both_signs():
    """Positive and negative weights do not cancel: some inputs meet only one of them."""
    weights = np.zeros((1, 4, 1, 1))
    weights[0, :, 0, 0] = (63, -63, 63, -63)
    assert exact_twin.layer(weights, -10, 0).bound().tolist() == [4 * 63 * 255 + 10]


@pytest.mark.parametrize("exponent", [-1, 16])
def test_exponents_outside_the_range_are_refused(exponent):
    with pytest.raises(ModelMissingError, match="head has exponents outside 0..15"):
        exact_twin.layer(np.ones((24, 8, 1, 1)), 0, exponent).prove("head")


def test_a_linear_predictor_that_may_overflow_is_refused():
    sound = exact_twin.network("random", 8, 1)
    linear = np.zeros((6, 12, 3, 3), np.int32)
    linear[4, 2, 1, 1] = -(LINEAR_LIMIT // RAW_LIMIT)
    ExactEvaluation(sound.stem, sound.blocks, sound.head, linear).prove("row 0")
    linear[4, 0, 0, 0] = 2
    with pytest.raises(ModelMissingError, match="row 0 linear predictor can reach"):
        ExactEvaluation(sound.stem, sound.blocks, sound.head, linear).prove("row 0")


def test_prove_looks_at_every_layer():
    sound = exact_twin.network("random", 8, 2)
    bad = exact_twin.layer(np.full((8, 8, 3, 3), 64), 0, 4)
    (a, b), second = sound.blocks
    for blocks, name in (
        (((bad, b), second), "block 0 A"),
        (((a, b), (second[0], bad)), "block 1 B"),
    ):
        with pytest.raises(ModelMissingError, match=name):
            ExactEvaluation(sound.stem, blocks, sound.head, sound.linear).prove("m")
    head = exact_twin.layer(np.full((24, 8, 1, 1), 64), 0, 4)
    with pytest.raises(ModelMissingError, match="head"):
        ExactEvaluation(sound.stem, sound.blocks, head, sound.linear).prove("m")
