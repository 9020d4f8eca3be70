"""Worker processes: order of what is said, failures, a killed worker, Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest

from cli.options import thread_count
from tests import batch_support
from tests.cli_support import colours, load, png_file
from tests.conftest import ROOT
from vdmcompress.workers import WorkerDied, Workers, processors


def test_results_come_as_they_finish_and_errors_are_results():
    items = ["1500", "a", "fail", "odd", "b"]
    with Workers(2, batch_support.work) as workers:
        results = list(workers.run(items))
    assert results[-1] == (0, "1500")  # the others are done meanwhile
    found = dict(results)
    assert (found[1], found[4]) == ("a", "b")
    assert isinstance(found[2], ValueError)
    assert "batch_support.py" in found[2].__notes__[0]
    assert str(found[3]) == "OddError: odd"
    assert all(worker.process.exitcode == 0 for worker in workers._workers)


def test_a_killed_worker_fails_its_item_and_is_replaced():
    with Workers(1, batch_support.work) as workers:
        found = dict(workers.run(["a", "die", "b"]))
    assert (found[0], found[2]) == ("a", "b")
    assert isinstance(found[1], WorkerDied)
    assert "SIGKILL" in str(found[1])


def test_an_exception_ends_the_workers_at_once():
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), Workers(1, batch_support.work) as workers:
        for _ in workers.run(["a", "100000"]):
            raise KeyboardInterrupt
    assert time.monotonic() - began < 90  # the item takes longer
    assert [worker.process.exitcode for worker in workers._workers] == [-signal.SIGKILL]


def test_processes_share_the_cores():
    assert thread_count(0) is None
    assert thread_count(0, 2) == max(1, processors() // 2)
    assert thread_count(0, 1000) == 1
    assert thread_count(3, 2) == 3


def start(*arguments, **how):
    command = [sys.executable, "-m", "tests.batch_support", "encode", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how
    )


def test_lines_keep_the_order_and_one_death_is_one_failure(tmp_path):
    names = ["die", "a", "b", "c"]
    for name in names:
        (tmp_path / f"{name}.png").touch()
    (tmp_path / "b.vdm").write_bytes(b"old")
    process = start("-j", 2, "--json", "-T", 1, *(tmp_path / f"{name}.png" for name in names))
    out, err = process.communicate(timeout=120)
    records = [json.loads(line) for line in out.splitlines()]
    assert process.returncode == 1
    assert [(os.path.basename(r["file"]), r["status"]) for r in records] == [
        ("die.png", "error"), ("a.png", "ok"), ("b.png", "error"), ("c.png", "ok")
    ]  # fmt: skip
    assert (tmp_path / "a.vdm").read_bytes() == b"a"
    assert (tmp_path / "b.vdm").read_bytes() == b"old"
    notes = [line for line in err.splitlines() if "note on" in line]
    assert [note[-1] for note in notes] == ["a", "c"]
    assert "2 encoded, 2 failed" in err
    assert records[1]["threads"] == 1


def test_files_are_decoded_in_workers(tmp_path):
    for i in range(3):
        (tmp_path / f"{i}.vdm").write_bytes(png_file(colours(4, 5 + i)))
    (tmp_path / "bad.vdm").write_bytes(b"no such file")
    code = "from cli.main import main; main()"
    command = [sys.executable, "-c", code, "decode", "-r", str(tmp_path), "-j", "2"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 1
    assert [os.path.basename(line.split(":")[0]) for line in result.stdout.splitlines()] == [
        "0.vdm", "1.vdm", "2.vdm"
    ]  # fmt: skip
    assert "bad.vdm: no vdmc file" in result.stderr
    assert all(np.array_equal(load(tmp_path / f"{i}.png"), colours(4, 5 + i)) for i in range(3))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all_and_leaves_whole_files_only(tmp_path, number):
    for name in ("a", "slow", "z"):
        (tmp_path / f"{name}.png").touch()
    heard = partial(signal.signal, number, signal.SIG_DFL)  # a shell's background jobs ignore SIGINT
    process = start(
        "-j", 2, tmp_path / "a.png", tmp_path / "slow.png", start_new_session=True, preexec_fn=heard
    )
    deadline = time.monotonic() + 120
    started = tmp_path / "slow.started"
    assert process.stdout is not None
    assert process.stdout.readline().startswith(f"{tmp_path / 'a.png'}: ")
    while not (started.exists() and started.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.1)  # until what was said is counted too
    os.killpg(process.pid, number)  # what a terminal does: all processes of the group get it
    out, err = process.communicate(timeout=120)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    assert "Traceback" not in err
    assert "1 encoded, 0 failed, 1 not done" in err
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["a.png", "a.vdm", "slow.png", "slow.started", "z.png"]
