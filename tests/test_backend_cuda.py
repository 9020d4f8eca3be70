"""The CUDA backend: integers of the definition, bytes of the CPU; by its twin, and on a GPU where one is."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests import exact_twin, model_support
from vdmcompress import engine
from vdmcompress.backends import cuda_int8
from vdmcompress.backends.cpu_float import FloatBackend
from vdmcompress.backends.cuda_int8 import CudaBackend, activation
from vdmcompress.backends.vectors import available
from vdmcompress.batch import decode_batches, encode_batches, shape_of
from vdmcompress.cascade import decode_pixels, encode_pixels
from vdmcompress.engine import Engine
from vdmcompress.errors import LimitError, MachineError
from vdmcompress.exact import FEATURES, NO_MARGINS, check_answer, probe_input, selftest
from vdmcompress.model_search import load_model
from vdmcompress.path import ORDERS

tiny_model = model_support.tiny_model

HAS_GPU = torch.cuda.is_available()
on_gpu = pytest.mark.skipif(not HAS_GPU, reason="torch finds no CUDA device")
FEW = 32
"""Positions of a product in most tests, so that small inputs are cut in every direction."""


class Watch(TorchDispatchMode):
    """Dtypes of all tensors that torch computes, and what is multiplied: (M, K, N, whether columns lie)."""

    def __init__(self):
        super().__init__()
        self.dtypes, self.products = set(), []

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        if function is torch.ops.aten._int_mm.default:
            a, b = arguments
            self.products.append((*a.shape, b.shape[1], b.t().is_contiguous() and a.is_contiguous()))
        result = function(*arguments, **(named or {}))
        tensors = tree_leaves((arguments, named, result))
        self.dtypes |= {t.dtype for t in tensors if isinstance(t, torch.Tensor)}
        return result


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=on_gpu)])
def device(request):
    return request.param


def twin():
    return CudaBackend("cpu", 1 << 10)


@pytest.mark.parametrize("kind", exact_twin.KINDS)
@pytest.mark.parametrize("width", [8, 21, 64])
def test_sums_are_those_of_the_definition(device, kind, width):
    """Sums and streams at their bounds, ties, odd sizes, products cut by images, rows and columns."""
    evaluation = exact_twin.network(kind, width, 2, seed=width)
    evaluation.prove("network")
    backend = CudaBackend(device, FEW)
    exact_twin.check(backend, evaluation, [(1, 1), (1, 9), (7, 1), (5, 6), (16, 19), (3, 47)])


@pytest.mark.parametrize(
    ("count", "height", "width"), [(1, 6, 5), (2, 3, 3), (23, 1, 1), (9, 2, 3), (5, 4, 11), (3, 2, 50)]
)
def test_images_of_a_batch_are_alone(device, count, height, width):
    evaluation = exact_twin.network("random", 20, 2, seed=5)
    u = np.stack([exact_twin.inputs("noise", height, width, seed=i) for i in range(count)])
    backend = CudaBackend(device, FEW)
    got = backend.run_batch(backend.prepare(evaluation), u)
    np.testing.assert_array_equal(got, np.stack([exact_twin.run(evaluation, alone) for alone in u]))


def test_small_images_share_products():
    backend = CudaBackend("cpu", FEW)
    prepared = backend.prepare(exact_twin.network("random", 8, 2))
    with Watch() as watch:
        backend.run_batch(prepared, np.zeros((8, 2, 2, FEATURES), np.uint8))
    assert len(watch.products) == 6


def test_a_batch_of_nothing(device):
    backend = CudaBackend(device, FEW)
    prepared = backend.prepare(exact_twin.network("random", 8, 1))
    assert backend.run_batch(prepared, np.zeros((0, 4, 5, FEATURES), np.uint8)).shape == (0, 4, 5, 24)


@pytest.mark.parametrize("margins", [NO_MARGINS, (5, 5, 5, 5), (5, 0, 3, 1), (0, 4, 1, 2), (2, 1, 0, 5)])
def test_margins_are_all_that_may_differ(device, margins):
    evaluation = exact_twin.network("random", 20, 2, seed=3)
    top, bottom, left, right = margins
    u = exact_twin.inputs("noise", 13, 18)
    backend = CudaBackend(device, FEW)
    got = backend.run(backend.prepare(evaluation), u, margins)
    assert got.shape == (13, 18, 24)
    inner = np.s_[top : 13 - bottom, left : 18 - right]
    np.testing.assert_array_equal(got[inner], exact_twin.run(evaluation, u)[inner])


def test_margins_save_products():
    evaluation = exact_twin.network("random", 8, 2)
    u = exact_twin.inputs("noise", 24, 24)
    backend = CudaBackend("cpu", FEW)
    prepared = backend.prepare(evaluation)
    counts = []
    for margins in (NO_MARGINS, (5, 5, 5, 5)):
        with Watch() as watch:
            backend.run(prepared, u, margins)
        counts.append(len(watch.products))
    assert counts[1] < 0.8 * counts[0]


@pytest.mark.parametrize("size", [(256, 290), (300, 9)])
def test_whole_tiles_equal_the_reference(device, size):
    """With the size of products that is used, in more than one of them."""
    evaluation = exact_twin.network("random", 32, 1, seed=9)
    u = exact_twin.inputs("noise", *size)
    backend, reference = CudaBackend(device), FloatBackend()
    got = backend.run(backend.prepare(evaluation), u)
    np.testing.assert_array_equal(got, reference.run(reference.prepare(evaluation), u))


def test_every_stream_value_has_its_activation(device):
    stream = np.arange(-32768, 32768)
    got = activation(torch.from_numpy(stream.astype(np.int16)).to(device)).cpu().numpy()
    np.testing.assert_array_equal(got + 128, exact_twin.activation(stream))


@pytest.mark.parametrize("shift", [0, 3, 4])
def test_every_exponent_rounds_ties_to_even(device, shift):
    """Sums are given by biases alone: around every tie near 0, and at the bounds."""
    one = (slice(0, 1),) * 3
    x = torch.full((1, 3, 3, 16), 77, dtype=torch.int8, device=device)
    for exponent in range(16):
        near = np.arange(-6, 7) * (1 << exponent >> 1)
        biases = np.unique(np.concatenate([near - 1, near, near + 1, [(1 << 24) - 1, 1 - (1 << 24)]]))
        layer = exact_twin.layer(np.zeros((len(biases), 8, 1, 1)), 0, exponent)
        layer.bias[:] = biases
        product = cuda_int8._Product(layer, shift, 0, torch.device(device))
        got = product(x, one, product.room(FEW)).cpu().numpy()[0, 0, 0, : len(biases)]
        want = exact_twin.requantise(layer, biases[np.newaxis].astype(np.int64), shift)[0]
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("name", ["tiny", "swift"])
def test_known_answers_of_all_rows(device, tiny_model, name):
    model = tiny_model if name == "tiny" else load_model(name)
    backend = CudaBackend(device)
    for row in range(model.scales * model.slots):
        check_answer(backend, backend.prepare(model.evaluation(row)), model.answer(row), f"row {row}")


def test_there_is_no_floating_point(device):
    backend = CudaBackend(device, FEW)
    with Watch() as watch:
        prepared = backend.prepare(exact_twin.network("random", 20, 2))
        backend.run(prepared, exact_twin.inputs("noise", 9, 12))
    assert watch.dtypes == {torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
    assert watch.products


def test_known_answers_try_the_products_that_everything_is_computed_with(tiny_model):
    """One size of each product, whatever is computed; and cuBLAS's rules for sizes and order are kept."""
    backend = CudaBackend("cpu")
    prepared = backend.prepare(tiny_model.evaluation(0))
    seen = []
    for u in (probe_input(), exact_twin.inputs("noise", 1, 1), exact_twin.inputs("noise", 200, 400)):
        with Watch() as watch:
            backend.run(prepared, u)
        seen.append(set(watch.products))
    with Watch() as watch:
        backend.run_batch(prepared, np.zeros((7, 3, 2, FEATURES), np.uint8))
    seen.append(set(watch.products))
    assert all(found == seen[0] for found in seen)
    for m, k, n, columns_lie in seen[0]:
        assert m % 32 == 0
        assert k % 16 == 0
        assert n % 16 == 0
        assert columns_lie


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("latents", ["none", "all"])
def test_the_twin_and_the_cpu_have_the_same_bytes(tiny_model, monkeypatch, latents, threads):
    """Each decodes what the other encoded; sizes are odd, strips and tiles several."""
    pixels = model_support.photo(143, 101)
    with_cpu = encode_pixels(pixels, tiny_model, 1, device="cpu_float", order=ORDERS[latents])
    plan = with_cpu.plan
    with monkeypatch.context() as patch:
        patch.setattr(engine, "candidate_backends", lambda _: iter([twin()]))
        with_twin = encode_pixels(pixels, tiny_model, threads, order=ORDERS[latents])
        found = decode_pixels(with_cpu.lanes, 143, 101, 3, plan, tiny_model, threads)
    np.testing.assert_array_equal(found, pixels)
    assert with_twin.plan == plan
    assert with_twin.lanes == with_cpu.lanes
    found = decode_pixels(with_twin.lanes, 143, 101, 3, plan, tiny_model, 1, device="cpu")
    np.testing.assert_array_equal(found, pixels)


@on_gpu
@pytest.mark.parametrize("backend", engine.CUDA_BACKENDS)
@pytest.mark.parametrize("name", ["tiny", "swift"])
def test_the_gpu_and_the_cpu_have_the_same_bytes(tiny_model, name, backend):
    model = tiny_model if name == "tiny" else load_model(name)
    pixels = model_support.photo(331, 509)
    with_cpu = encode_pixels(pixels, model, 2, device="cpu")
    with_gpu = encode_pixels(pixels, model, 2, device=backend)
    assert with_gpu.lanes == with_cpu.lanes
    found = decode_pixels(with_cpu.lanes, 331, 509, 3, with_cpu.plan, model, 2, device=backend)
    np.testing.assert_array_equal(found, pixels)


def test_batches_have_the_same_bytes(tiny_model, monkeypatch):
    batches = [np.stack([model_support.synthetic(i, 9, 13) for i in range(6)])]
    with Engine(tiny_model, 1, "cpu") as e:
        want = encode_batches(batches, e, ORDERS["one"])
    monkeypatch.setattr(engine, "candidate_backends", lambda _: iter([twin()]))
    with Engine(tiny_model, 2) as e:
        assert e.backend.name == "cuda_int8 on cpu"
        assert encode_batches(batches, e, ORDERS["one"]).lanes == want.lanes
        (found,) = decode_batches(want.lanes, [shape_of(batches[0])], want.plan, e)
    np.testing.assert_array_equal(found, batches[0])


def names(device):
    return [backend.name for backend in engine.candidate_backends(device)]


@pytest.fixture
def pretended(monkeypatch):
    """A machine on which torch finds a CUDA device: the twin."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(cuda_int8, "CudaBackend", twin)


def test_auto_takes_cuda_where_torch_computes_anyway(pretended, monkeypatch):
    monkeypatch.setattr(engine, "dot_products", lambda: True)
    assert names("auto") == ["cuda_int8 on cpu", "cpu_int8", "cpu_float"]
    assert names("cpu") == ["cpu_int8", "cpu_float"]
    assert names("cuda_int8") == ["cuda_int8 on cpu"]
    assert names("cuda") == ["cuda_int8 on cpu", "cuda_float"]
    monkeypatch.setattr(engine, "dot_products", lambda: False)
    assert names("auto") == ["cpu_winograd", "cpu_int8", "cpu_float"]


@pytest.mark.parametrize("device", ["cuda", "cuda_int8", "cuda_float"])
def test_a_device_that_is_not_there_is_one_clear_line(tiny_model, monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MachineError) as met:
        Engine(tiny_model, 1, device)
    text = str(met.value)
    assert f"device {device} was asked for and torch {torch.__version__}" in text
    assert "allowed here are auto and cpu: use --device cpu" in text
    assert "\n" not in text
    assert met.value.exit_code == 6


class OffByOne(CudaBackend):
    """A GPU whose products are wrong in one place."""

    def run(self, prepared, u, margins=NO_MARGINS):
        sums = super().run(prepared, u, margins)
        sums[-1, -1, -1] += 1
        return sums


def refuse(*_):
    raise RuntimeError("CUDA error: CUBLAS_STATUS_NOT_SUPPORTED when calling cublasLtMatmul")


def spend(*_):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB. GPU 0 has\n more to say.")


@pytest.mark.parametrize("fault", ["wrong", "refused", "spent"])
def test_a_gpu_that_fails_gives_way_to_the_cpu(tiny_model, pretended, monkeypatch, fault):
    monkeypatch.setattr(engine, "dot_products", lambda: True)
    if fault == "wrong":
        monkeypatch.setattr(cuda_int8, "CudaBackend", lambda: OffByOne("cpu", 1 << 10))
    else:
        monkeypatch.setattr(torch, "_int_mm", refuse if fault == "refused" else spend)
    with Engine(tiny_model, 1) as e:
        assert e.backend.name in ("cpu_int8", "cpu_float")
    with pytest.raises(MachineError, match="no way of computing the networks exactly"):
        Engine(tiny_model, 1, "cuda_int8")


def test_memory_of_the_gpu_that_runs_out_is_one_clear_line(monkeypatch):
    backend = twin()
    prepared = backend.prepare(exact_twin.network("random", 8, 1))
    monkeypatch.setattr(torch, "_int_mm", spend)
    with pytest.raises(LimitError) as met:
        backend.run(prepared, exact_twin.inputs("noise", 3, 3))
    assert str(met.value) == (
        "the GPU's memory is spent (CUDA out of memory. Tried to allocate 9.00 GiB); free some, or use "
        "--device cpu"
    )
    # the turn is given back
    monkeypatch.undo()
    backend.run(prepared, exact_twin.inputs("noise", 3, 3))


def test_threads_take_turns(monkeypatch):
    """One evaluation at a time has memory on the device, and all are right."""
    evaluation = exact_twin.network("random", 16, 2)
    backend, inside, most = twin(), [], []
    prepared = backend.prepare(evaluation)
    compute = backend._sums

    def watched(*arguments):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.01)
        result = compute(*arguments)
        inside.pop()
        return result

    monkeypatch.setattr(backend, "_sums", watched)
    inputs = [exact_twin.inputs("noise", 5, 9, seed=i) for i in range(6)]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda u: backend.run(prepared, u), inputs))
    assert most == [1] * 6
    for got, u in zip(found, inputs, strict=True):
        np.testing.assert_array_equal(got, exact_twin.run(evaluation, u))


def test_selftest_asks_the_gpu_where_there_is_one(tiny_model, pretended, monkeypatch):
    monkeypatch.setattr(engine, "CUDA_BACKENDS", ("cuda_int8",))
    results = list(selftest(tiny_model))
    assert results[-1][:2] == ("model tiny on cuda_int8 on cpu", True)
    monkeypatch.setattr(cuda_int8, "CudaBackend", lambda: OffByOne("cpu", 1 << 10))
    assert list(selftest(tiny_model))[-1][1] is False


AUTO_WITHOUT_TORCH = """
import sys
from pathlib import Path
from vdmcompress import engine
from vdmcompress.model_file import read_model
engine.dot_products = lambda: False
with engine.Engine(read_model(Path(sys.argv[1])), 1) as e:
    print(e.backend.name, "torch" in sys.modules)
"""


@pytest.mark.skipif(not available(), reason="no AVX2")
def test_auto_does_not_import_torch_to_ask_for_a_gpu():
    assert model_support.words_of(AUTO_WITHOUT_TORCH) == ["cpu_winograd", "False"]
