"""Workers on a real Ray cluster: whatever dies, every task is made, and once is handed back."""

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synthenticity.distributed import ray_workers
from synthenticity.distributed.cluster import Cluster, cause_of, connected
from synthenticity.distributed.ray_workers import RayWorkers
from synthenticity.errors import ConfigError, CorpusError, ModelError, QueueError


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


def test_workers_that_died_at_rest_are_not_blamed_on_the_next_task(
    nodes: Any, actors: Any, tmp_path: Path
) -> None:
    three = cluster_of(nodes, least=3, most=3, cpus=0.5)
    with RayWorkers(doubling, (str(tmp_path),), three) as workers:
        for number in range(30):  # until all have started
            workers.give(number, f"number {number}")
            all_of(workers)
            if len(workers._there) == 3:
                break
            workers.wait(5)
        actors.kill(*actors.find())
        assert len(actors.killed) == 3
        workers.give(99, "number 99")
        assert all_of(workers) == {99: 198}


def test_workers_come_with_the_tasks_and_go_when_they_rest(
    nodes: Any, actors: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_workers, "IDLE_SECONDS", 2.0)
    with RayWorkers(doubling, (str(tmp_path),), cluster_of(nodes, least=1, most=2)) as workers:
        deadline = time.monotonic() + 120
        given, made = 0, {}
        while len(actors.find()) < 2 or len(workers._there) < 2:
            for number in range(given, given + 4):
                workers.give(number, f"number {number}")
            given += 4
            made |= all_of(workers)
            assert time.monotonic() < deadline
        assert made == {number: 2 * number for number in range(given)}
        while len(actors.find()) > 1:
            workers.wait(0.1)
            assert time.monotonic() < deadline


def test_a_wish_for_more_workers_than_fit_is_taken_back_when_the_tasks_are_made(
    nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RayWorkers(doubling, (str(tmp_path),), cluster_of(nodes, least=2, most=9)) as workers:
        for number in range(9):
            workers.give(number, f"number {number}")
        assert len(workers._starting) == 9
        all_of(workers)
        assert len(workers._starting) >= 7
        monkeypatch.setattr(ray_workers, "IDLE_SECONDS", 0.0)
        workers.wait(0.01)
        assert len(workers._there) + len(workers._starting) == 2


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


def test_a_module_that_a_node_lacks_is_named(
    nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").write_text("def build():\n    return abs\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    build = importlib.import_module("only_here").build
    with (
        RayWorkers(build, (), cluster_of(nodes)) as workers,
        pytest.raises(QueueError, match=r"so: ModuleNotFoundError: .*only_here") as raised,
    ):
        workers.give(1, "number 1")
        all_of(workers)
    assert "\x1b" not in str(raised.value)


def test_an_actor_works_in_the_folder_of_its_owner(
    nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model").mkdir()
    with RayWorkers(opening, ("model",), cluster_of(nodes)) as workers:
        workers.give(1, "number 1")
        assert all_of(workers) == {1: str(tmp_path / "model")}


def opening(name: str) -> Callable[[int], str]:
    if not Path(name).is_dir():
        raise ModelError(f"{name}: no model can be loaded from it.")
    return lambda _: str(Path(name).resolve())


def test_a_node_without_the_folder_of_the_owner_says_so(tmp_path: Path) -> None:
    maker = ray_workers._Maker(opening, ("model",), str(tmp_path / "nowhere"))
    _, error = maker.make(1)
    assert isinstance(error, ModelError)
    assert "lacks the folder of the command, " + str(tmp_path / "nowhere") in str(error)


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (
            "\x1b[36mThe actor died\x1b[0m because of an error\nTraceback\nKeyError: 1\n",
            "KeyError: 1.",
        ),
        (
            "Task was killed: low on memory.\nRefer to the documentation.",
            "Task was killed: low on memory.",
        ),
        ("Failure from server:\nTraceback:\n  File\nOSError: no port", "OSError: no port."),
        ("The actor died.\nThe node is gone.\nThe actor never ran - so.", "The node is gone."),
        ("", "ValueError."),
    ],
)
def test_of_what_ray_says_the_cause_is_shown(said: str, cause: str) -> None:
    assert cause_of(ValueError(said)) == cause


def test_other_versions_are_named_without_the_advice_to_start_a_cluster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import ray

    said = "Version mismatch: The cluster was started with:\n    Ray: 2.9\nThis process: 2.60\n"

    def init(**_: Any) -> None:
        raise RuntimeError(said)

    ray.shutdown()
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(QueueError) as raised, connected(Cluster(address="auto")):
        pass
    assert "The cluster was started with: Ray: 2.9 This process: 2.60. Install" in str(raised.value)
    assert "Start a cluster" not in str(raised.value)


OWN = """
from synthenticity.distributed.cluster import Cluster, connected

with connected(Cluster()) as ray:
    print(ray.get_runtime_context().gcs_address)
"""


def test_ray_alone_means_a_cluster_of_its_own(nodes: Any) -> None:
    elsewhere = {**os.environ, "RAY_ADDRESS": nodes.address}
    done = subprocess.run(
        [sys.executable, "-c", OWN], env=elsewhere, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() not in ("", nodes.address)


def test_a_connection_ends_also_when_no_worker_can_be_asked_for(
    nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    def grow(_: Any) -> None:
        raise RuntimeError("no")

    ray.shutdown()
    monkeypatch.setattr(RayWorkers, "_grow", grow)
    with pytest.raises(RuntimeError):
        RayWorkers(doubling, (str(tmp_path),), cluster_of(nodes))
    assert not ray.is_initialized()


@pytest.mark.parametrize(
    ("owner", "gpus", "why"),
    [
        ("cuda", 0.0, "all workers of a node would compute on its first GPU. Give --worker_gpus"),
        ("cpu", 1.0, "this process computes on cpu. .* on a machine with a GPU"),
    ],
)
def test_workers_on_another_kind_of_device_than_their_owner_are_refused(
    owner: str, gpus: float, why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        Cluster(gpus=gpus).check_kind(owner)
    Cluster(gpus=1.0).check_kind("cuda")
    Cluster().check_kind("cpu")


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
