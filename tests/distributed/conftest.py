"""A real Ray cluster of several nodes on this machine; and nodes that can be killed."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

ray = pytest.importorskip("ray", reason="the extra ray is not installed")


@pytest.fixture(scope="package")
def nodes() -> Iterator[Any]:
    """A cluster of a head without processors and two nodes with one each."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:  # what the nodes import from
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
        yield from _running(Cluster)


def _running(kind: Any) -> Iterator[Any]:
    cluster = kind(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def actors() -> Any:
    """Find the actors of this test's own nodes, and kill some."""
    return Actors()


class Actors:
    """The processes that make tasks; `killed` are those that were killed here."""

    def __init__(self) -> None:
        self.killed: list[int] = []

    def find(self, *, busy: bool = False) -> list[int]:
        """Return the numbers of the processes, of those at work only if asked."""
        found = []
        for process in psutil.Process().children(recursive=True):
            try:
                words = " ".join(process.cmdline())
            except psutil.Error:  # it has just ended
                continue
            if words.startswith("ray::_Maker.make" if busy else "ray::_Maker"):
                found.append(process.pid)
        return found

    def kill(self, *numbers: int) -> None:
        """Kill some, and wait until they are gone."""
        for number in numbers:
            process = psutil.Process(number)
            os.kill(number, signal.SIGKILL)
            process.wait(30)
            self.killed.append(number)
