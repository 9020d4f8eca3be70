"""Runs exact networks over whole bands: chooses a backend by known answers, cuts tiles, spreads them.

Tiling, threads and backend are free to differ between encoder and decoder: a tile is computed with a margin
of the network's reach, so that each output is the same integer however the band was cut.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from threading import Barrier
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from vdmcompress.errors import LimitError, MachineError, UsageError
from vdmcompress.exact import FEATURES, PART, Backend, ExactEvaluation, SharingBackend, check_answer
from vdmcompress.kernels import linear_predict, pack_features
from vdmcompress.model_file import Model

CPU_BACKENDS = ("cpu_winograd", "cpu_int8", "cpu_float")
CUDA_BACKENDS = ("cuda_int8", "cuda_float")
BACKENDS = (*CPU_BACKENDS, *CUDA_BACKENDS)

TILE = 256
"""Rows and columns of the largest tile, in positions without its margin."""

TILE_COLUMNS, SHARED_COLUMNS = 64, 128
"""Least columns of a tile of a thread's own; the second where threads can share layers instead."""

LEAST_ROWS = 8
"""Rows of a layer, or pairs of rows, that are worth another thread."""

BATCH_POSITIONS = 1 << 12
"""Positions of a band up to which many of them are evaluated together."""

BATCH_AT_ONCE = 1 << 14
"""Positions that are evaluated together by one thread: what keeps a stream in the cache."""


def default_threads() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def dot_products() -> bool:
    """Whether the processor multiplies and adds four bytes at once (AVX-512 or AVX VNNI)."""
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    return any(features.get(name, False) for name in ("avx512vnni", "avxvnni"))


def cuda_available() -> bool:
    """Whether torch finds a CUDA device; imports torch."""
    import torch

    return torch.cuda.is_available()


def candidate_backends(device: str) -> Iterator[Backend]:
    """Backends in the order in which they are tried; device: auto, cpu, cuda, or a backend's name.

    8-bit dot products (VNNI) are faster than Winograd's convolution in 16 bits, which is faster than 8-bit
    products without them.  torch is imported only where its turn comes.  auto takes a CUDA device only where
    torch would compute in any case: to ask for one takes the import, longer than many an image.

    Raises UsageError for other devices, MachineError where a CUDA device is asked for and there is none.
    """
    torch_first = dot_products()
    cpu = CPU_BACKENDS[1:] if torch_first else CPU_BACKENDS
    names = {
        "auto": ("cuda_int8", *cpu) if torch_first else cpu,
        "cpu": cpu,
        "cuda": CUDA_BACKENDS,
    } | {name: (name,) for name in BACKENDS}
    if device not in names:
        raise UsageError(f"device {device!r} is not known; allowed are auto, cpu, cuda")
    for name in names[device]:
        if name in CUDA_BACKENDS and not cuda_available():
            if device == "auto":
                continue
            raise MachineError(_without_cuda(device))
        yield _backend(name)


def _backend(name: str) -> Backend:
    """A backend of `BACKENDS`; only here its libraries are imported."""
    if name == "cpu_winograd":
        from vdmcompress.backends.cpu_winograd import WinogradBackend

        return WinogradBackend()
    if name == "cpu_int8":
        from vdmcompress.backends.cpu_int8 import Int8Backend

        return Int8Backend()
    if name == "cuda_int8":
        from vdmcompress.backends.cuda_int8 import CudaBackend

        return CudaBackend()
    from vdmcompress.backends.cpu_float import FloatBackend

    return FloatBackend("cuda" if name == "cuda_float" else "cpu")


def _without_cuda(device: str) -> str:
    """What to say where there is no CUDA device."""
    import torch

    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
    return (
        f"device {device} was asked for and torch {torch.__version__}, built with {build}, finds none; "
        "allowed here are auto and cpu: use --device cpu, or a CUDA build of torch on a machine with a GPU"
    )


class Engine:
    """Evaluates a model's networks, for several threads if need be; use as a context manager.

    threads: worker threads, each with torch's own threading switched off.  tile: rows and columns of the
    largest tile; smaller ones take less memory and more time.  Raises MachineError where no backend gives the
    model's known answers.
    """

    def __init__(self, model: Model, threads: int, device: str = "auto", tile: int = TILE) -> None:
        self.model = model
        self.tile = tile
        self.threads = max(1, threads)
        self._prepared: dict[int, Future[tuple[ExactEvaluation, object]]] = {}
        self._quiet = False
        self._pool = ThreadPoolExecutor(self.threads)
        try:
            self.backend = self._choose(device)
        except BaseException:
            self._pool.shutdown(wait=False)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _choose(self, device: str) -> Backend:
        """The first backend that exists here and knows the answers of the finest and the coarsest rows."""
        problem: Exception | None = None
        for backend in candidate_backends(device):
            try:
                if backend.uses_torch:
                    self._quieten()
                self._pool.submit(self._check, backend).result()
                return backend
            except (MachineError, LimitError, AttributeError, RuntimeError, NotImplementedError) as error:
                if not self._quiet and backend.uses_torch:
                    raise
                problem = error
        raise MachineError(f"no way of computing the networks exactly was found here: {problem}")

    def _check(self, backend: Backend) -> None:
        for row in (0, self.model.slots * self.model.scales - 1):
            self._prepare(backend, row)

    def _quieten(self) -> None:
        """Let torch compute with one thread in each of the workers; the caller's number stays."""
        if self._quiet:
            return
        import torch

        before = torch.get_num_threads()
        start = Barrier(self.threads)

        def init(_: int) -> None:
            torch.set_num_threads(1)
            start.wait()

        try:
            list(self._pool.map(init, range(self.threads)))
        except BaseException:
            start.abort()  # threads that wait for others, which the system refuses, would wait for ever
            raise
        finally:
            torch.set_num_threads(before)
        self._quiet = True

    def _prepare(self, backend: Backend, row: int) -> tuple[ExactEvaluation, object]:
        """Integer graph and the backend's form of a row, its known answer checked by every engine anew.

        A CPU's form is kept with the model for other engines of this process, where the model keeps any.
        """
        kept = self.model.prepared if backend.name in CPU_BACKENDS else None
        found: tuple[ExactEvaluation, object] | None = None if kept is None else kept.get((backend.name, row))
        if found is None:
            evaluation = self.model.evaluation(row)
            found = evaluation, backend.prepare(evaluation)
        check_answer(backend, found[1], self.model.answer(row), f"row {row}")
        if kept is not None:
            kept[backend.name, row] = found
        return found

    def prepare(self, rows: Iterable[int]) -> None:
        """Let the workers prepare evaluations that will be asked for soon."""
        for row in rows:
            if row not in self._prepared:
                self._prepared[row] = self._pool.submit(self._prepare, self.backend, row)

    def _evaluation(self, row: int) -> tuple[ExactEvaluation, object]:
        """What `_prepare` gave."""
        self.prepare((row,))
        return self._prepared[row].result()

    def evaluate(
        self, row: int, raw: NDArray[np.int16], rows: slice, part: int
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Head sums int32 (n, w, 12) and linear predictions int32 (3, n, w) of n rows.

        raw int16 (15, h, w): features of these rows and of those around them, to the network's reach or to
        the edge of the band.  part: 0 for the step's conditional, 1 for the direct prediction.
        """
        evaluation, prepared = self._evaluation(row)
        _, h, w = raw.shape
        reach, channels = evaluation.reach, slice(PART * part, PART * (part + 1))
        count = rows.stop - rows.start
        sums = np.empty((count, w, PART), np.int32)
        linear = np.empty((3, count, w), np.int32)

        def tile(place: tuple[slice, slice], run: Callable[..., NDArray[np.int32]]) -> None:
            y, x = place
            top, bottom = max(rows.start + y.start - reach, 0), min(rows.start + y.stop + reach, h)
            left, right = max(x.start - reach, 0), min(x.stop + reach, w)
            u = np.empty((bottom - top, right - left, FEATURES), np.uint8)
            pack_features(raw, top, left, u)
            above, before = rows.start + y.start - top, x.start - left
            margins = (above, bottom - rows.start - y.stop, before, right - x.stop)
            found = run(prepared, u, margins)
            inner = found[above:, before:, channels]
            sums[y, x] = inner[: y.stop - y.start, : x.stop - x.start]

        def predict(y: slice) -> None:
            piece = np.empty((3, y.stop - y.start, w), np.int32)
            linear_predict(raw, evaluation.linear[3 * part : 3 * part + 3], rows.start + y.start, 0, piece)
            linear[:, y] = piece

        self.share(predict, slice(0, count))
        shares = isinstance(self.backend, SharingBackend)
        tiles = self._tiles(count, w, SHARED_COLUMNS if shares else TILE_COLUMNS)
        if isinstance(self.backend, SharingBackend) and len(tiles) < self.threads:
            for place in tiles:
                tile(place, partial(self.backend.run_shared, share=self.share))
        else:
            list(self._pool.map(partial(tile, run=self.backend.run), tiles))
        return sums, linear

    def share(self, work: Callable[[slice], None], rows: slice) -> None:
        """`exact.Share`: a part for each thread, the last one for the caller's."""
        count = rows.stop - rows.start
        *parts, last = _cut(count, max(1, min(self.threads, count // LEAST_ROWS)))
        shifted = [slice(rows.start + part.start, rows.start + part.stop) for part in (*parts, last)]
        waiting = [self._pool.submit(work, part) for part in shifted[:-1]]
        try:
            work(shifted[-1])
        finally:
            wait(waiting)
        for future in waiting:
            future.result()

    def evaluate_batch(
        self, row: int, raw: NDArray[np.int16], part: int
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Head sums int32 (n, h, w, 12) and linear predictions int32 (3, n, h, w) of n bands of one size.

        raw int16 (n, 15, h, w): features.  Each band is computed as if it were alone: small ones many at a
        time, large ones in tiles.  part: as in `evaluate`.
        """
        count, _, h, w = raw.shape
        sums = np.empty((count, h, w, PART), np.int32)
        linear = np.empty((3, count, h, w), np.int32)
        if h * w > BATCH_POSITIONS:
            for i in range(count):
                sums[i], linear[:, i] = self.evaluate(row, raw[i], slice(0, h), part)
            return sums, linear
        evaluation, prepared = self._evaluation(row)
        channels = slice(PART * part, PART * (part + 1))
        weights = evaluation.linear[3 * part : 3 * part + 3]

        def some(bands: slice) -> None:
            u = np.empty((bands.stop - bands.start, h, w, FEATURES), np.uint8)
            piece = np.empty((3, h, w), np.int32)
            for i in range(bands.start, bands.stop):
                pack_features(raw[i], 0, 0, u[i - bands.start])
                linear_predict(raw[i], weights, 0, 0, piece)
                linear[:, i] = piece
            sums[bands] = self.backend.run_batch(prepared, u)[..., channels]

        parts = -(-count * h * w // min(self.tile**2, BATCH_AT_ONCE))
        list(self._pool.map(some, _cut(count, min(count, max(parts, self.threads)))))
        return sums, linear

    def _tiles(self, rows: int, columns: int, least: int) -> list[tuple[slice, slice]]:
        """Equal tiles that cover rows and columns.

        Bands of at least so many columns for each thread have as many tiles as keep all threads busy.
        """
        across = -(-columns // self.tile)
        if columns >= least * self.threads:
            across = -(-max(across, self.threads) // self.threads) * self.threads
        return [(y, x) for y in _cut(rows, -(-rows // self.tile)) for x in _cut(columns, across)]

    def head_exponents(self, row: int, part: int) -> NDArray[np.int64]:
        """Exponents of the twelve head channels of a part."""
        return self._evaluation(row)[0].head.exponents[PART * part : PART * (part + 1)].astype(np.int64)


def _cut(length: int, parts: int) -> list[slice]:
    """Slices of nearly equal length that cover 0..length-1."""
    edges = [length * i // parts for i in range(parts + 1)] if parts else []
    return [slice(first, last) for first, last in zip(edges[:-1], edges[1:], strict=True)]
