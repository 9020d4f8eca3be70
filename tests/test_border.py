"""The border: what goes wrong inside leaves the library as a VdmError, and only that is changed."""

import numpy as np
import pytest

import vdmcompress
from fuzz import corpus
from vdmcompress.border import guarded
from vdmcompress.errors import DefectError, LimitError, UsageError, VdmError


class Interrupt(Exception):
    """What a caller's progress raises to stop."""


@pytest.mark.parametrize(
    "error, becomes, words",
    [
        (MemoryError(), LimitError, "not enough memory"),
        (np._core._exceptions._ArrayMemoryError((9,), np.dtype(np.uint8)), LimitError, "Unable to allocate"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), LimitError, "can't allocate"),
        (RuntimeError("CUDA out of memory. Tried"), LimitError, "Tried"),
        (RuntimeError("can't start new thread"), LimitError, "fewer threads"),
        (RuntimeError("shape\nmismatch"), DefectError, "RuntimeError: shape mismatch; please report"),
        (RecursionError("too deep"), DefectError, "RecursionError"),
        (OverflowError(), DefectError, "OverflowError"),
        (KeyError("config"), DefectError, "KeyError"),
    ],
)
def test_foreign_errors_are_translated(error, becomes, words):
    @guarded
    def fail():
        raise error

    with pytest.raises(VdmError, match=words) as met:
        fail()
    assert type(met.value) is becomes
    assert met.value.__cause__ is error


def test_own_errors_interrupts_and_results_pass():
    @guarded
    def run(what, *, more=0):
        if isinstance(what, BaseException):
            raise what
        return what + more

    assert run(2, more=3) == 5
    for error in (UsageError("this"), KeyboardInterrupt(), SystemExit(3)):
        with pytest.raises(type(error)) as met:
            run(error)
        assert met.value is error


def test_what_progress_raises_comes_out_as_it_is(monkeypatch):
    monkeypatch.setenv("VDMC_MODEL_PATH", str(corpus.DATA))

    def stop(done, total, what):
        raise Interrupt(what)

    data = corpus.load("sound")["rgb-17x12"]
    with pytest.raises(Interrupt, match="decode"):
        vdmcompress.decode(data, threads=1, progress=stop)
    with pytest.raises(Interrupt, match="encode"):
        vdmcompress.encode(np.zeros((9, 9), np.uint8), threads=1, model=str(corpus.TINY), progress=stop)


def test_a_defect_inside_decode_is_named_as_one(monkeypatch):
    def broken(*_):
        raise IndexError("tile 7")

    monkeypatch.setattr("vdmcompress.decoding.decode_classical", broken)
    with pytest.raises(DefectError, match="IndexError: tile 7") as met:
        vdmcompress.decode(corpus.load("sound")["webp-grey"])
    assert met.value.exit_code == 1


def test_memory_that_runs_out_in_decode_is_a_limit(monkeypatch):
    def spent(*_):
        raise MemoryError

    monkeypatch.setattr("vdmcompress.decoding.decode_classical", spent)
    with pytest.raises(LimitError, match="not enough memory"):
        vdmcompress.decode(corpus.load("sound")["webp-grey"])


@pytest.mark.parametrize("data", ["a.vdm", None, 7])
def test_what_is_no_bytes_is_a_senseless_call(data):
    with pytest.raises(UsageError, match="allowed are its bytes"):
        vdmcompress.decode(data)
