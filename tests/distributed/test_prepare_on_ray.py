"""`prepare` on a Ray cluster of several nodes: whatever dies, the files of one process."""

import dataclasses
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from synthenticity import cli
from synthenticity.config import Config
from synthenticity.config_file import write_config
from synthenticity.distributed.cluster import Cluster
from synthenticity.errors import ConfigError
from synthenticity.providers.prepare import prepare
from synthenticity.providers.run import PrepareProgress
from synthenticity.stream.batch_queue import BatchQueue

FILES = 6


def contents(directory: Path) -> dict[str, bytes]:
    files = sorted(directory.glob("*/*.parquet"))
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def one_process(
    scorer_config: Config, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """The train split of a set as this process makes it."""
    directory = tmp_path_factory.mktemp("one") / "d"
    prepare(scorer_config, directory, files=FILES, splits=("train",))
    return contents(directory)


def on(nodes: Any, **changes: Any) -> Cluster:
    return Cluster(**{"address": nodes.address, "least": 2, "most": 2, **changes})


def test_a_cluster_makes_the_same_bytes_also_when_a_node_is_killed(
    nodes: Any, scorer_config: Config, one_process: dict[str, bytes], tmp_path: Path
) -> None:
    killed = []

    def kill(progress: PrepareProgress) -> None:
        if progress.files_made == 2 and not killed:
            killed.append(next(iter(nodes.worker_nodes)))
            nodes.remove_node(killed[0], allow_graceful=False)
            nodes.add_node(num_cpus=1)  # another takes its place

    summary = prepare(
        scorer_config,
        tmp_path / "d",
        files=FILES,
        splits=("train",),
        cluster=on(nodes),
        on_progress=kill,
    )
    assert killed and summary["files_made"] == FILES
    assert contents(tmp_path / "d") == one_process
    nodes.wait_for_nodes()


def test_a_cluster_makes_the_same_bytes_also_when_an_actor_is_killed(
    nodes: Any, actors: Any, scorer_config: Config, one_process: dict[str, bytes], tmp_path: Path
) -> None:
    def kill(progress: PrepareProgress) -> None:
        if progress.files_made == 2 and not actors.killed:
            actors.kill(actors.find()[0])

    summary = prepare(
        scorer_config,
        tmp_path / "d",
        files=FILES,
        splits=("train",),
        cluster=on(nodes),
        on_progress=kill,
    )
    assert actors.killed and summary["files_made"] == FILES
    assert contents(tmp_path / "d") == one_process


def test_a_live_queue_made_by_a_cluster_holds_its_bound(
    nodes: Any, scorer_config: Config, one_process: dict[str, bytes], tmp_path: Path
) -> None:
    stop, queue = threading.Event(), BatchQueue(tmp_path / "live")
    made: dict[str, bytes] = {}
    backlogs = []

    def consume(progress: PrepareProgress) -> None:
        first = queue.first_unacknowledged()
        backlogs.append(sum(number >= first for number in queue.numbers("train")))
        made.update(contents(queue.directory))
        if len([name for name in made if name.startswith("train")]) >= FILES:
            stop.set()
        elif progress.waiting:
            queue.acknowledge(first + 1)

    prepare(scorer_config, queue.directory, cluster=on(nodes), on_progress=consume, stop=stop)
    assert max(backlogs) == scorer_config.max_backlog_files < FILES
    assert {name: made[name] for name in one_process} == one_process


DRIVER = """
import os, signal, sys
from pathlib import Path
from synthenticity.config_file import load_config
from synthenticity.distributed.cluster import Cluster
from synthenticity.providers.prepare import prepare

def kill(progress):
    if progress.files_made == 3:
        os.kill(os.getpid(), signal.SIGKILL)

path, out, address = sys.argv[1:]
prepare(load_config(Path(path)), out, files=6, splits=("train",),
        cluster=Cluster(address=address), on_progress=kill)
"""


def test_a_driver_that_was_killed_goes_on_from_what_it_committed(
    nodes: Any, scorer_config: Config, one_process: dict[str, bytes], tmp_path: Path
) -> None:
    write_config(scorer_config, tmp_path / "c.toml")
    given = [str(tmp_path / "c.toml"), str(tmp_path / "d"), nodes.address]
    died = subprocess.run([sys.executable, "-c", DRIVER, *given], capture_output=True, check=False)
    assert died.returncode == -9, died.stderr
    before = contents(tmp_path / "d")
    assert 3 <= len(before) < FILES
    summary = prepare(
        scorer_config, tmp_path / "d", files=FILES, splits=("train",), cluster=on(nodes)
    )
    assert summary["files_made"] == FILES - len(before)
    assert contents(tmp_path / "d") == one_process


def test_the_command_makes_a_set_on_a_cluster(
    nodes: Any,
    scorer_config: Config,
    one_process: dict[str, bytes],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_config(scorer_config, tmp_path / "c.toml")
    given = ["prepare", str(tmp_path / "c.toml"), "--out_dir", str(tmp_path / "d"), "--files", "2"]
    given += ["--splits", "train", "--ray", nodes.address]
    assert cli.run([*given, "--ray_workers", "1:2"]) == cli.GOOD
    made = contents(tmp_path / "d")
    assert made == {name: one_process[name] for name in sorted(one_process)[:2]}
    for wrong, words in {
        ("--ray_workers", "two"): "is no number of workers",
        ("--worker_cpus", "9"): "no node has as much",
        ("--worker_gpus", "1"): "this process computes on cpu",
        ("--workers", "2"): "Beside --ray, give --ray_workers",
    }.items():
        capsys.readouterr()
        assert cli.run([*given, *wrong]) == cli.USER_ERROR
        assert words in capsys.readouterr().err
    assert cli.run([*given[:-2], "--ray_workers", "2"]) == cli.USER_ERROR
    assert "--ray_workers: has no effect without --ray" in capsys.readouterr().err


def test_standard_input_cannot_be_read_by_other_nodes(
    scorer_config: Config, tmp_path: Path
) -> None:
    config = dataclasses.replace(scorer_config, corpus="-")
    with pytest.raises(ConfigError, match="cannot be read on other nodes"):
        prepare(config, tmp_path / "d", files=1, cluster=Cluster())
