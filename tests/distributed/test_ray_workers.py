"""Workers on a real Ray cluster: whatever dies, every task is made, and once is handed back."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synthenticity.distributed.cluster import Cluster
from synthenticity.distributed.ray_workers import RayWorkers
from synthenticity.errors import ConfigError, CorpusError, QueueError


def doubling(folder: str) -> Callable[[int], int]:
    """Build a maker that doubles numbers, and dies where a file asks it to, once."""

    def make(number: int) -> int:
        if number < 0:
            raise CorpusError(f"{number} is negative.")
        for how, die in {"always": False, "once": True}.items():
            wish = Path(folder) / f"{how}-{number}"
            if wish.exists():
                if die:
                    wish.unlink()
                os.kill(os.getpid(), signal.SIGKILL)
        (Path(folder) / f"wanted-{number}").unlink(missing_ok=True)
        return 2 * number

    return make


def cluster_of(nodes: Any, **changes: Any) -> Cluster:
    return Cluster(**{"address": nodes.address, "least": 2, "most": 2, **changes})


def all_of(workers: RayWorkers[int, int]) -> dict[int, int]:
    made: list[tuple[int, int]] = []
    deadline = time.monotonic() + 120
    while len(workers):
        made += workers.wait(1)
        assert time.monotonic() < deadline
    assert len(made) == len(dict(made)), "a task was handed back twice"
    return dict(made)


def test_every_task_is_made_also_when_actors_die(nodes: Any, tmp_path: Path) -> None:
    (tmp_path / "once-3").touch()
    (tmp_path / "once-7").touch()
    with RayWorkers(doubling, (str(tmp_path),), cluster_of(nodes)) as workers:
        for number in range(10):
            workers.give(number, f"number {number}")
        assert all_of(workers) == {number: 2 * number for number in range(10)}
    assert list(tmp_path.iterdir()) == [], "nobody died"


def test_a_worker_of_short_tasks_begins_the_next_while_the_owner_is_at_something_else(
    nodes: Any, tmp_path: Path
) -> None:
    wanted = tmp_path / "wanted-2"
    wanted.touch()
    with RayWorkers(doubling, (str(tmp_path),), cluster_of(nodes, least=1, most=1)) as workers:
        workers.give(0, "number 0")
        assert all_of(workers) == {0: 0}
        workers.give(1, "number 1")
        workers.give(2, "number 2")
        deadline = time.monotonic() + 60
        while wanted.exists():  # and nobody waits for number 1
            assert time.monotonic() < deadline
        assert all_of(workers) == {1: 2, 2: 4}


def test_a_task_that_kills_whoever_makes_it_is_an_error(nodes: Any, tmp_path: Path) -> None:
    (tmp_path / "always-1").touch()
    with RayWorkers(doubling, (str(tmp_path),), cluster_of(nodes)) as workers:
        workers.give(1, "number 1")
        with pytest.raises(QueueError, match="number 1: 3 workers in a row died over it"):
            all_of(workers)


def test_what_a_task_raises_is_raised_here(nodes: Any, tmp_path: Path) -> None:
    with RayWorkers(doubling, (str(tmp_path),), cluster_of(nodes)) as workers:
        workers.give(-1, "number -1")
        with pytest.raises(CorpusError, match="-1 is negative"):
            all_of(workers)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"cpus": 2.0}, "a worker asks for 2 CPU, and no node has as much"),
        ({"gpus": 0.5}, "a worker asks for 1 CPU, 0.5 GPU, and no node has as much"),
        ({"least": 3, "most": 3}, "3 workers of 1 CPU each do not fit: there is room for 2"),
    ],
)
def test_what_would_wait_for_ever_is_refused(
    nodes: Any, changes: dict[str, Any], why: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=why):
        RayWorkers(doubling, (str(tmp_path),), cluster_of(nodes, **changes))


def test_a_cluster_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    import ray

    ray.shutdown()
    with pytest.raises(QueueError, match=r"127\.0\.0\.1:1 is not reached"):
        RayWorkers(doubling, (str(tmp_path),), Cluster(address="127.0.0.1:1"))


@pytest.mark.parametrize("numbers", [{"least": 0}, {"least": 3, "most": 2}])
def test_numbers_of_workers_must_fit(numbers: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="no numbers of workers"):
        Cluster(**numbers)
    with pytest.raises(ConfigError, match="nothing to compute on"):
        Cluster(cpus=0)
