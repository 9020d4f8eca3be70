"""A Ray cluster of two worker nodes, one of which is killed while an archive is coded; a process of its own.

    python -m tests.cluster_support TARGET

Ray leaves files and processes to the garbage collector, which would be counted against other tests.
"""

import os
import socket
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests import model_support
from vdmcompress.archive.cluster import Cluster
from vdmcompress.archive.coder import encode_group
from vdmcompress.archive.create import create
from vdmcompress.archive.grouping import GroupSize
from vdmcompress.archive.settings import Entry, GroupSettings
from vdmcompress.errors import ModelMissingError
from vdmcompress.picture import array_picture

HOW: dict[str, Any] = {
    "model": str(model_support.INTEGER),
    "threads": 1,
    "verify": False,
    "group": GroupSize(images=3),
}
STORE_BYTES = 80 << 20
START_TRIES = 4
PORTS = ("metrics_agent_port", "metrics_export_port", "runtime_env_agent_port", "dashboard_agent_listen_port")
PATIENCE = {"RAY_raylet_start_wait_time_s": "45", "RAY_agent_register_timeout_ms": "120000"}
"""What lets nodes start on a machine that is busy."""


def images(count: int) -> list[tuple[str, Any]]:
    """So many neighbouring cuts of a photograph, with names."""
    whole = model_support.photo(96, 16 * count)
    return [(f"{i:02}", np.ascontiguousarray(whole[:16, 16 * i : 16 * i + 16])) for i in range(count)]


def node() -> dict[str, Any]:
    """A small node, with ports that are given, so that it does not wait for its agents to say theirs."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in PORTS]
    ports = [found.getsockname()[1] for found in sockets]
    for found in sockets:
        found.close()
    return {"object_store_memory": STORE_BYTES, **dict(zip(PORTS, ports, strict=True))}


def start() -> tuple[Any, list[Any]]:
    """The cluster and its two workers; a node that starts too slowly gives up, so try again."""
    from ray.cluster_utils import Cluster as Nodes

    for left in reversed(range(START_TRIES)):
        cluster = Nodes()
        try:
            cluster.add_node(num_cpus=0, include_dashboard=False, **node())
            workers = [cluster.add_node(num_cpus=1, **node()) for _ in range(2)]
            cluster.wait_for_nodes(timeout=60)
            return cluster, workers
        except Exception:  # what Ray raises here is no class of its own
            cluster.shutdown()
            if not left:
                raise
    raise RuntimeError("no try at all")


def main(target: Path) -> None:
    """Code the images on the cluster, kill a node after the first group; then let a task fail."""
    cluster, workers = start()
    try:
        killed = threading.Event()

        def kill(*_: Any) -> None:
            if not killed.is_set():
                killed.set()
                cluster.remove_node(workers[1], allow_graceful=False)

        runner = Cluster(cluster.address)
        sources = images(18)
        made = create(target, sources, runner=runner, progress=kill, **HOW)
        if not killed.is_set() or made.groups != 6:
            raise RuntimeError(f"{made.groups} groups, killed: {killed.is_set()}")
        fails = partial(encode_group, settings=GroupSettings(model="nobody", threads=1))
        try:
            list(runner.map(fails, [[Entry("a", array_picture(sources[0][1]))]]))
        except ModelMissingError as error:
            sys.stdout.write(f"a task's error: {error}\n")
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    os.environ |= PATIENCE
    main(Path(sys.argv[1]))
