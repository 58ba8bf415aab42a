"""A real cluster of two nodes on this machine, each with one core, for the tests of a file."""

import contextlib
import os
import signal
from pathlib import Path

import pytest

from clp_aug.common.ray_cluster import connect


class Nodes:
    """The cluster, and what can happen to it."""

    def __init__(self):
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        self.cluster.add_node(num_cpus=1)
        self.address = self.cluster.address

    def add(self):
        """Start a node with one more core."""
        return self.cluster.add_node(num_cpus=1)

    def kill(self, node):
        """Kill a node with all its workers, without a warning."""
        self.cluster.remove_node(node, allow_graceful=False)

    def kill_workers(self, most):
        """Kill -9 workers that have begun to work; return how many were killed."""
        killed = 0
        for pid in family(os.getpid()):
            with contextlib.suppress(OSError):
                if killed < most and Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::Worker"):
                    os.kill(pid, signal.SIGKILL)
                    killed += 1
        return killed


def family(parent):
    """The processes that a process has started, and theirs."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found, left = set(), [parent]
    while left:
        left = [pid for pid, of in parents.items() if of in left and pid not in found]
        found.update(left)
    return found


@pytest.fixture(scope="module")
def nodes():
    pytest.importorskip("ray")
    if not os.path.isdir("/proc/self"):
        pytest.skip("finds workers through /proc")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        here = Nodes()
        try:
            with connect(here.address):  # runs take it as it is
                yield here
        finally:
            here.cluster.shutdown()
