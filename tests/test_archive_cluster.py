"""Groups on a real Ray cluster of two worker nodes, one of which is killed while they are coded."""

import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from fuzz import corpus
from tests.cluster_support import HOW, PATIENCE, images
from vdmcompress.archive import cluster
from vdmcompress.archive.cluster import Cluster
from vdmcompress.archive.create import create
from vdmcompress.errors import UsageError

ROOT = Path(__file__).resolve().parent.parent
LIMIT_SECONDS = 400


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
def test_a_lost_node_does_not_change_a_byte(tmp_path, monkeypatch):
    monkeypatch.setenv("VDMC_MODEL_PATH", str(corpus.DATA))
    plain, target = tmp_path / "plain.vdma", tmp_path / "cluster.vdma"
    create(plain, images(18), **HOW)
    settings = {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", **PATIENCE}
    command = [sys.executable, "-m", "tests.cluster_support", str(target)]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            said, _ = process.communicate(timeout=LIMIT_SECONDS)
        finally:
            end_all(process.pid)
    assert process.returncode == 0, said
    assert target.read_bytes() == plain.read_bytes()
    assert "a task's error: no model 'nobody'" in said


def end_all(group):
    """End what is left of a group of processes: the cluster, where its own end has failed."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


class NoRay:
    """Stands where Ray stands, and finds no cluster."""

    @staticmethod
    def is_initialized():
        return False

    @staticmethod
    def init(**_):
        raise ConnectionError("nobody there")


def test_no_cluster_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "_ray", NoRay)
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
