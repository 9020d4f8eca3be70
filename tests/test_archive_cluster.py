"""Groups on a real Ray cluster of two worker nodes, one of which is killed while they are coded."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from fuzz import corpus
from tests import model_support
from vdmcompress.archive.cluster import Cluster
from vdmcompress.archive.create import create
from vdmcompress.archive.grouping import GroupSize
from vdmcompress.errors import UsageError

ROOT = Path(__file__).resolve().parent.parent
HOW = {"model": str(model_support.INTEGER), "threads": 1, "verify": False, "group": GroupSize(images=3)}
STORE_BYTES = 80 << 20
LIMIT_SECONDS = 300

pytestmark = pytest.mark.filterwarnings("ignore")


def images(count):
    whole = model_support.photo(96, 16 * count)
    return [(f"{i:02}", np.ascontiguousarray(whole[:16, 16 * i : 16 * i + 16])) for i in range(count)]


def too_long(number, frame):
    raise TimeoutError(f"the cluster has not done its work in {LIMIT_SECONDS} s")


@pytest.fixture
def cluster(monkeypatch, tmp_path):
    """A head without processors, and two nodes with one each; all of it ends with the test."""
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    import ray

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("VDMC_MODEL_PATH", str(corpus.DATA))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_DISABLE_IMPORT_WARNING", "1")
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    small = {"object_store_memory": STORE_BYTES, "include_dashboard": False}
    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(LIMIT_SECONDS)
    made = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
    try:
        nodes = [made.add_node(num_cpus=1, object_store_memory=STORE_BYTES) for _ in range(2)]
        made.wait_for_nodes(timeout=60)
        yield made, nodes
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        ray.shutdown()
        made.shutdown()


def test_a_lost_node_does_not_change_a_byte(cluster, tmp_path, monkeypatch):
    made, nodes = cluster
    sources = images(18)
    plain, target = tmp_path / "plain.vdma", tmp_path / "cluster.vdma"
    create(plain, sources, **HOW)
    killed = threading.Event()

    def kill(done, *_):
        if not killed.is_set():
            killed.set()
            made.remove_node(nodes[1], allow_graceful=False)

    runner = Cluster(made.address)
    created = create(target, sources, runner=runner, progress=kill, **HOW)
    assert killed.is_set()
    assert created.groups == 6
    assert target.read_bytes() == plain.read_bytes()

    with pytest.raises(UsageError, match="model"):
        raise_from_task(runner)


def raise_from_task(runner):
    """An error of a task comes out as itself."""
    list(runner.map(refuse, ["x"]))


def refuse(item):
    raise UsageError(f"no model for {item}")


def test_no_cluster_is_said(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    import ray

    def refused(**_):
        raise ConnectionError("nobody there")

    monkeypatch.setattr(ray, "init", refused)
    with pytest.raises(UsageError, match="no Ray cluster answers at 'host:1'"):
        create(tmp_path / "a.vdma", images(1), runner=Cluster("host:1"), **HOW)
    assert not list(tmp_path.iterdir())


def test_ray_is_asked_for_by_name_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'vdmcompress\[cluster\]'"):
        create(tmp_path / "a.vdma", images(1), runner=Cluster("auto"), **HOW)


def test_nothing_imports_ray_unasked():
    names = "vdmcompress.archive.create, vdmcompress.archive.cluster"
    code = f"import sys, {names}; sys.exit('ray' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=False)
    assert done.returncode == 0
