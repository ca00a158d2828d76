"""A real Ray cluster of several nodes on this machine; and nodes that can be killed."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
