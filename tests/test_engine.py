"""The engine: the same integers for every thread count, tiling, chunk, backend and instruction set."""

import hashlib
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests import exact_twin, model_support
from tests.test_kernels import linear_twin
from vdmcompress import band_chain, cascade, engine, model_file
from vdmcompress.backends import cpu_int8, cpu_winograd, vectors
from vdmcompress.backends.cpu_int8 import Int8Backend
from vdmcompress.backends.cpu_winograd import WinogradBackend
from vdmcompress.backends.vectors import available
from vdmcompress.cascade import decode_pixels, encode_pixels
from vdmcompress.engine import Engine
from vdmcompress.errors import MachineError, UsageError
from vdmcompress.exact import FEATURES, NO_MARGINS, PART
from vdmcompress.kernels import pack_features
from vdmcompress.path import ORDERS
from vdmcompress.train.data import stack_batch
from vdmcompress.train.objective import step_input

tiny_model = model_support.tiny_model
DEVICES = ["cpu_int8", "cpu_float", *(["cpu_winograd"] if available() else [])]


def raw_band():
    """Inputs of slot 1 (HL with little noise) from a photograph, int16 (15, 37, 90)."""
    batch = stack_batch([model_support.photo(74, 180)], 0)
    bands = tuple(torch.from_numpy(x) for x in (batch.ll, batch.hl, batch.lh, batch.hh))
    path = model_support.load_tiny().path
    inputs = step_input(bands, path.steps[1], path.band(0, 0), 3, torch.Generator().manual_seed(1))
    return inputs.raw[0].numpy().astype(np.int16)


@pytest.fixture(scope="module")
def whole():
    """Sums and linear predictions of a whole band by the twins."""
    model, raw = model_support.load_tiny(), raw_band()
    evaluation = model.evaluation(1)
    u = np.empty((*raw.shape[1:], FEATURES), np.uint8)
    pack_features(raw, 0, 0, u)
    sums = exact_twin.run(evaluation, u)
    assert (sums.reshape(-1, 2 * PART).std(0) > 10).all()
    return raw, sums, linear_twin(raw, evaluation.linear)


def test_threads_that_the_system_refuses_leave_none_waiting(tiny_model, monkeypatch):
    """The first threads wait for the others at the start; they must not wait for ever."""
    before, start, allowed = threading.active_count(), threading.Thread.start, [True, True]

    def refuse(thread):
        if not allowed:
            raise RuntimeError("can't start new thread")
        allowed.pop()
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        Engine(tiny_model, 4, "cpu_int8")
    monkeypatch.undo()
    for thread in threading.enumerate():
        if thread.name.startswith("ThreadPoolExecutor"):
            thread.join(timeout=30)
    assert threading.active_count() <= before


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("tile", [3, 7, 256])
def test_results_do_not_depend_on_how_the_band_is_cut(tiny_model, whole, device, threads, tile):
    raw, sums, linear = whole
    with Engine(tiny_model, threads, device, tile) as e:
        assert e.backend.name == device
        for rows in (slice(0, 37), slice(0, 5), slice(5, 6), slice(20, 37)):
            for part in (0, 1):
                got_sums, got_linear = e.evaluate(1, raw, rows, part)
                np.testing.assert_array_equal(got_sums, sums[rows, :, PART * part : PART * (part + 1)])
                np.testing.assert_array_equal(got_linear, linear[3 * part : 3 * part + 3, rows])


@pytest.mark.parametrize("columns", [1, 10_000])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_share_layers_or_take_tiles(tiny_model, monkeypatch, whole, columns, threads):
    """Either way of spreading Winograd's convolution over threads gives the same integers."""
    if not available():
        pytest.skip("this processor has no AVX2")
    raw, sums, linear = whole
    monkeypatch.setattr(engine, "SHARED_COLUMNS", columns)
    monkeypatch.setattr(engine, "LEAST_ROWS", 1)
    ways = []
    for name in ("run", "run_shared"):
        monkeypatch.setattr(WinogradBackend, name, told(getattr(WinogradBackend, name), name, ways))
    with Engine(tiny_model, threads, "cpu_winograd") as e:
        e._evaluation(1)  # with its known answer
        ways.clear()
        got_sums, got_linear = e.evaluate(1, raw, slice(3, 34), 1)
    assert ("run" in ways) is (columns == 1 or threads == 1)
    np.testing.assert_array_equal(got_sums, sums[3:34, :, PART:])
    np.testing.assert_array_equal(got_linear, linear[3:, 3:34])


def told(method, name, calls):
    """The method, which notes its name."""

    def call(*arguments, **options):
        calls.append(name)
        return method(*arguments, **options)

    return call


def test_an_error_of_a_thread_is_the_caller_s(tiny_model):
    """A part that fails in another thread is not lost."""

    def work(rows):
        if rows.start == 0:
            raise MachineError("here")

    with Engine(tiny_model, 3, "cpu_float") as e, pytest.raises(MachineError, match="here"):
        e.share(work, slice(0, 90))


def test_only_rows_within_reach_are_read(tiny_model, whole):
    """What the encoder has not popped yet may hold anything."""
    raw, sums, _ = whole
    reach = tiny_model.evaluation(1).reach
    spoilt = raw.copy()
    spoilt[:, : 12 - reach], spoilt[:, 20 + reach :] = 200, -200
    with Engine(tiny_model, 1) as e:
        np.testing.assert_array_equal(e.evaluate(1, spoilt, slice(12, 20), 0)[0], sums[12:20, :, :PART])
        spoilt[:, 12 - reach] = 0
        assert (e.evaluate(1, spoilt, slice(12, 20), 0)[0] != sums[12:20, :, :PART]).any()


@pytest.fixture(scope="module")
def strips_image():
    """Two strips of 128 rows in the finest band, and some more columns than a tile of 16."""
    return model_support.photo(300, 40)


@pytest.fixture(scope="module")
def strips_bytes(strips_image):
    return encode_pixels(strips_image, model_support.load_tiny(), 1, order=ORDERS["all"]).lanes


@pytest.mark.parametrize(
    ("chunk_rows", "tile", "threads", "device"),
    [(32, 256, 1, "auto"), (48, 16, 2, "cpu_int8"), (1000, 5, 3, "cpu_float")],
)
def test_bytes_do_not_depend_on_the_way(
    tiny_model, monkeypatch, strips_image, strips_bytes, chunk_rows, tile, threads, device
):
    monkeypatch.setattr(band_chain, "CHUNK_ROWS", chunk_rows)
    monkeypatch.setattr(cascade, "choose_tile", lambda *_: tile)
    encoded = encode_pixels(strips_image, tiny_model, threads, device=device, order=ORDERS["all"])
    assert encoded.plan == ORDERS["all"][0]
    assert encoded.lanes == strips_bytes
    monkeypatch.undo()
    decoded = decode_pixels(strips_bytes, 300, 40, 3, encoded.plan, tiny_model, threads, device=device)
    np.testing.assert_array_equal(decoded, strips_image)


SCRIPT = """
import hashlib, sys
import torch
from tests import model_support
from vdmcompress.cascade import encode_pixels
from vdmcompress.engine import Engine
torch.set_num_threads(1)
model = model_support.load_tiny()
with Engine(model, 1, "cpu") as engine:
    name = engine.backend.name
lanes = encode_pixels(model_support.photo(48, 40), model, 1, device="cpu").lanes
print(name, torch.backends.cpu.get_cpu_capability(), hashlib.sha256(b"".join(lanes)).hexdigest())
"""


@pytest.mark.parametrize(
    ("setting", "value"), [("ONEDNN_MAX_CPU_ISA", "AVX2"), ("ATEN_CPU_CAPABILITY", "default")]
)
def test_other_instruction_sets_give_the_same_bytes(tiny_model, setting, value):
    lanes = encode_pixels(model_support.photo(48, 40), tiny_model, 1).lanes
    name, capability, digest = model_support.words_of(SCRIPT, **{setting: value})
    assert digest == hashlib.sha256(b"".join(lanes)).hexdigest()
    assert name in engine.CPU_BACKENDS
    if setting == "ATEN_CPU_CAPABILITY":
        assert capability == "DEFAULT"


class OffByOne(Int8Backend):
    """A machine whose 8-bit convolutions are wrong in one place."""

    def run(self, prepared, u, margins=NO_MARGINS):
        sums = super().run(prepared, u)
        sums[-1, -1, -1] += 1
        return sums


class Missing(Int8Backend):
    """A torch without the operator."""

    def prepare(self, evaluation):
        raise AttributeError("no such operator")


@pytest.mark.parametrize("broken", [OffByOne, Missing])
def test_a_backend_that_fails_gives_way_to_the_reference(tiny_model, monkeypatch, whole, broken):
    monkeypatch.setattr(cpu_int8, "Int8Backend", broken)
    monkeypatch.setattr(engine, "dot_products", lambda: True)
    raw, sums, _ = whole
    tiny_model = replace(tiny_model)  # which has not kept what a sound backend prepared
    with Engine(tiny_model, 1, "cpu") as e:
        assert e.backend.name == "cpu_float"
        np.testing.assert_array_equal(e.evaluate(1, raw, slice(0, 9), 0)[0], sums[:9, :, :PART])
    with pytest.raises(MachineError, match="no way of computing the networks exactly"):
        Engine(tiny_model, 1, "cpu_int8")


class WrongProducts(WinogradBackend):
    """A processor or compiler whose 16-bit products are wrong in one place."""

    def run(self, prepared, u, margins=NO_MARGINS):
        sums = super().run(prepared, u)
        sums[0, 0, 0] -= 1
        return sums


@pytest.mark.parametrize("fault", ["wrong", "no AVX2"])
def test_winograd_gives_way_to_torch(tiny_model, monkeypatch, whole, fault):
    monkeypatch.setattr(engine, "dot_products", lambda: False)
    if fault == "wrong":
        monkeypatch.setattr(cpu_winograd, "WinogradBackend", WrongProducts)
    else:
        monkeypatch.setattr(vectors, "available", lambda: False)
    raw, sums, _ = whole
    with Engine(replace(tiny_model), 2) as e:
        assert e.backend.name == "cpu_int8"
        np.testing.assert_array_equal(e.evaluate(1, raw, slice(0, 9), 0)[0], sums[:9, :, :PART])


@pytest.mark.parametrize(
    ("name", "features", "host", "wanted"),
    [
        (None, None, True, True),
        (None, None, False, False),
        ("generic", None, True, False),
        ("generic", "+avx2", True, True),
        (None, "-avx2", True, False),
    ],
)
def test_avx2_is_used_where_compiled_code_may_use_it(monkeypatch, name, features, host, wanted):
    """NUMBA_CPU_NAME and NUMBA_CPU_FEATURES rule what is compiled, on any processor."""
    monkeypatch.setattr(vectors.config, "CPU_NAME", name)
    monkeypatch.setattr(vectors.config, "CPU_FEATURES", features)
    monkeypatch.setattr(vectors.binding, "get_host_cpu_features", lambda: {"avx2": host})
    assert available() is wanted


def test_a_wrong_known_answer_is_met_before_the_first_use(tiny_model):
    """Of the first row when the backend is chosen, of any other when it is asked for."""
    answers = tiny_model.tensors["answers"].copy()
    answers[0] ^= 1
    with pytest.raises(MachineError, match="row 0"):
        Engine(model_support.with_tensors(tiny_model, answers=answers), 1)
    answers[0] ^= 1
    answers[3] ^= 1
    with Engine(model_support.with_tensors(tiny_model, answers=answers), 1) as e:
        e.evaluate(2, raw_band(), slice(0, 1), 0)
        with pytest.raises(MachineError, match="row 3"):
            e.evaluate(3, raw_band(), slice(0, 1), 0)


def test_the_process_keeps_its_settings(tiny_model):
    before = torch.get_num_threads()
    with Engine(tiny_model, 2):
        assert torch.get_num_threads() == before
    assert torch.get_num_threads() == before


def names(device):
    return [backend.name for backend in engine.candidate_backends(device)]


def test_devices(monkeypatch):
    with pytest.raises(UsageError, match="'tpu' is not known"):
        names("tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(engine, "dot_products", lambda: False)
    assert names("auto") == names("cpu") == ["cpu_winograd", "cpu_int8", "cpu_float"]
    monkeypatch.setattr(engine, "dot_products", lambda: True)
    assert names("auto") == names("cpu") == ["cpu_int8", "cpu_float"]
    assert names("cpu_winograd") == ["cpu_winograd"]
    with pytest.raises(MachineError, match="cuda"):
        names("cuda")


WITHOUT_TORCH = """
import sys
from pathlib import Path
import numpy as np
from vdmcompress.cascade import decode_pixels, encode_pixels
from vdmcompress.model_file import read_model
model = read_model(Path(sys.argv[1]))
pixels = (np.arange(40 * 30 * 3).reshape(40, 30, 3) // 7 % 50).astype(np.uint8)
encoded = encode_pixels(pixels, model, 2, device="cpu_winograd")
found = decode_pixels(encoded.lanes, *pixels.shape, encoded.plan, model, 2, device="cpu_winograd")
print((found == pixels).all(), "torch" in sys.modules)
"""


@pytest.mark.skipif(not available(), reason="no AVX2")
def test_torch_is_imported_only_where_it_computes():
    """It takes a second, which a small image does not have."""
    assert model_support.words_of(WITHOUT_TORCH) == ["True", "False"]


def test_what_is_kept_with_a_model_is_asked_again():
    """A second engine takes what the first prepared, and finds out where that was spoilt meanwhile."""
    model = model_file.read_model(model_support.INTEGER)
    assert model.prepared is not None
    with Engine(model, 1, "cpu_float") as e:
        e.evaluate(0, np.zeros((15, 4, 4), np.int16), slice(0, 4), 0)
    kept = model.prepared["cpu_float", 0]
    with Engine(model, 1, "cpu_float"):
        assert model.prepared["cpu_float", 0] is kept
    model.prepared["cpu_float", 0] = model.prepared["cpu_float", model.slots * model.scales - 1]
    try:
        with pytest.raises(MachineError, match="computes differently"):
            Engine(model, 1, "cpu_float")
    finally:
        model.prepared["cpu_float", 0] = kept
