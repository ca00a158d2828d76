"""Data-loading workers: the same run for any number of them, and the same words when it ends."""

import dataclasses
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from runs import Weights, providing, same, seen_in_one_go, stopped_at, weights

from synthenticity.config import Config
from synthenticity.config_file import write_config
from synthenticity.errors import ConfigError, ProviderTimeoutError, QueueError
from synthenticity.providers.prepare import prepare
from synthenticity.stream.batch_queue import BatchQueue
from synthenticity.stream.dataset_consumer import DatasetConsumer
from synthenticity.training.checkpoint_files import newest_checkpoint
from synthenticity.training.stopping import SharedFlag
from synthenticity.training.stream_loader import StreamLoader
from synthenticity.training.train import train

COLUMNS = ["document", "offset"]
# Python 3.12 and later warn of what torch's DataLoader does in a process with threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def with_workers(config: Config, workers: int) -> Config:
    return dataclasses.replace(config, dataloader_num_workers=workers)


@pytest.fixture
def idle_queue(scorer_config: Config, tmp_path: Path) -> Config:
    """A live queue of a few train files whose provider has gone."""
    config = dataclasses.replace(
        scorer_config, data_dir=str(tmp_path / "idle"), wait_seconds=0.3, max_backlog_files=2
    )
    with providing(config) as queue:
        while len(queue.numbers("train")) < 2:
            time.sleep(0.01)
    return config


def no_worker_is_left() -> bool:
    return not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [1, 2])
def test_weights_do_not_depend_on_the_number_of_workers(
    workers: int, long_run: Config, uninterrupted: Weights, tmp_path: Path
) -> None:
    train(with_workers(long_run, workers), tmp_path / "run")
    assert all(same(weights(tmp_path / "run"), uninterrupted))
    assert no_worker_is_left()


def test_nor_on_its_change_when_a_run_goes_on(
    long_run: Config, uninterrupted: Weights, tmp_path: Path
) -> None:
    for step, workers in ((5, 2), (10, 0)):
        with stopped_at(step) as watch, pytest.raises(KeyboardInterrupt):
            train(with_workers(long_run, workers), tmp_path / "run", on_progress=watch)
    train(with_workers(long_run, 1), tmp_path / "run")
    assert all(same(weights(tmp_path / "run"), uninterrupted))


def test_workers_that_read_ahead_of_a_short_backlog_wait_for_the_acknowledgement(
    live_run: Config, tmp_path: Path
) -> None:
    """The backlog is one file more than a step needs: no file comes but for a checkpoint."""
    config = with_workers(dataclasses.replace(live_run, max_backlog_files=2, max_iters=12), 2)
    with providing(config) as queue:
        with stopped_at(5) as watch, pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "run", on_progress=watch)
        train(config, tmp_path / "run")
        assert queue.first_unacknowledged() == 12 * 8 // 12
    assert all(same(weights(tmp_path / "run"), seen_in_one_go(config, tmp_path)))


def loader(
    config: Config, stop: SharedFlag | None = None, workers: int = 2, **options: Any
) -> StreamLoader:
    consumer = DatasetConsumer(
        config.data_dir,
        batch_size=4,
        columns=COLUMNS,
        wait_seconds=config.wait_seconds,
        stop=stop,
        **options,
    )
    return StreamLoader(consumer, workers=workers, stop=stop or SharedFlag(), pin_memory=False)


def test_workers_take_turns_from_any_position_on(scorer_config: Config) -> None:
    consumer = DatasetConsumer(scorer_config.data_dir, batch_size=4, columns=COLUMNS, position=8)
    wanted = [consumer.get_batch() for _ in range(12)]
    batches = iter(loader(scorer_config, position=8))
    found = [next(batches) for _ in wanted]
    batches.close()
    assert [batch["document"] for batch in found] == [batch["document"] for batch in wanted]
    assert [list(batch["offset"]) for batch in found] == [list(b["offset"]) for b in wanted]
    assert no_worker_is_left()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_does_not_come_is_the_main_processs_business(
    workers: int, idle_queue: Config, capfd: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    batches = iter(loader(idle_queue, workers=workers, on_wait=said.append))
    for _ in range(6):
        next(batches)
    with pytest.raises(ProviderTimeoutError, match=r"no train file 2 after 0\.3 s\. No provider"):
        next(batches)
    assert len(said) == 1 and "Waiting for train file 2" in said[0]
    assert "Waiting" not in capfd.readouterr().err  # no worker says anything
    assert no_worker_is_left()


def test_a_provider_that_failed_ends_the_wait(idle_queue: Config) -> None:
    asked_in: set[int] = set()

    def complain() -> bool:
        asked_in.add(os.getpid())
        raise QueueError("the provider ended: out of ink")

    batches = iter(loader(idle_queue, while_waiting=complain))
    for _ in range(6):
        next(batches)
    with pytest.raises(QueueError, match="out of ink"):
        next(batches)
    assert asked_in == {os.getpid()} and no_worker_is_left()


def test_what_a_worker_finds_wrong_arrives_as_it_is(scorer_config: Config, tmp_path: Path) -> None:
    config = dataclasses.replace(scorer_config, data_dir=str(tmp_path / "data"))
    prepare(config, files=2)
    batches = iter(loader(config))
    path = BatchQueue(config.data_dir).path("train", 1)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(QueueError, match="has no train file 1, and nobody is making it") as caught:
        for _ in range(6):
            next(batches)
    assert type(caught.value) is QueueError and "Traceback" not in str(caught.value)


@pytest.mark.parametrize("seed", [None, 5])
def test_a_file_of_a_fixed_set_that_does_not_come_back_ends_the_wait_in_time_too(
    seed: int | None, scorer_config: Config, tmp_path: Path
) -> None:
    """A provider is alive, so the set may be mended; but it does not mend it."""
    config = dataclasses.replace(scorer_config, data_dir=str(tmp_path / "data"), wait_seconds=0.5)
    prepare(config, files=2)
    queue = BatchQueue(config.data_dir)
    with queue.owned() as ownership:
        ownership.report("making something else")
        batches = iter(loader(config, seed=seed))
        for number in (0, 1):
            path = queue.path("train", number)
            path.write_bytes(path.read_bytes()[:-30])
        with pytest.raises(ProviderTimeoutError, match=r"no train file \d after 0\.5 s.*is alive"):
            for _ in range(6):
                next(batches)
    assert no_worker_is_left()


def test_a_signal_to_the_main_process_ends_a_wait_without_orphans(
    idle_queue: Config, tmp_path: Path
) -> None:
    config = with_workers(dataclasses.replace(idle_queue, wait_seconds=60, max_iters=60), 2)
    fired = threading.Event()

    def interrupt() -> None:
        fired.set()
        os.kill(os.getpid(), signal.SIGINT)

    waiting: list[str] = []

    def say(line: str) -> None:
        waiting.append(line)
        threading.Timer(0.1, interrupt).start()

    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run", on_message=say)
    assert fired.is_set() and "Waiting for train file" in waiting[0]
    assert no_worker_is_left()
    found = newest_checkpoint(tmp_path / "run")
    assert found is not None and found[1]["global_step"] > 0


def test_ctrl_c_of_a_terminal_reaches_workers_too_and_does_not_matter(
    long_run: Config, uninterrupted: Weights, tmp_path: Path
) -> None:
    struck: list[int] = []

    def strike(progress: Any) -> None:
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGINT)
            struck.append(child.pid)

    train(with_workers(long_run, 2), tmp_path / "run", on_progress=strike)
    assert len(set(struck)) == 2
    assert all(same(weights(tmp_path / "run"), uninterrupted))


# The error is raised in a signal's handler, which may run where Python can only report it; then
# the missing batch tells.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_killed_worker_is_an_error_of_one_line_and_the_run_goes_on(
    long_run: Config, uninterrupted: Weights, tmp_path: Path
) -> None:
    killed: list[int] = []

    def kill(progress: Any) -> None:
        if progress.step >= 5 and not killed:
            killed.append(multiprocessing.active_children()[0].pid)
            os.kill(killed[0], signal.SIGKILL)

    with pytest.raises(QueueError, match=r"train: DataLoader worker .* The same command goes on"):
        train(with_workers(long_run, 2), tmp_path / "run", on_progress=kill)
    assert killed
    train(with_workers(long_run, 2), tmp_path / "run")
    assert all(same(weights(tmp_path / "run"), uninterrupted))


def test_the_workers_of_a_killed_trainer_end(idle_queue: Config, tmp_path: Path) -> None:
    write_config(
        dataclasses.replace(idle_queue, wait_seconds=60, max_iters=60), tmp_path / "c.toml"
    )
    command = ["train", str(tmp_path / "c.toml"), "--dataloader_num_workers", "2"]
    with subprocess.Popen(
        [sys.executable, "-m", "synthenticity", *command, "--out_dir", str(tmp_path / "run")],
        stderr=subprocess.PIPE,
        text=True,
    ) as trainer:
        lines = iter(trainer.stderr)
        assert any("Waiting for train file" in line for line in lines)
        children = Path(f"/proc/{trainer.pid}/task/{trainer.pid}/children").read_text("utf-8")
        trainer.kill()
    workers = [int(word) for word in children.split()]
    assert len(workers) == 2
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline, "a worker outlives its trainer"
        time.sleep(0.05)


def test_fewer_than_no_workers_are_refused() -> None:
    with pytest.raises(ConfigError, match="dataloader_num_workers"):
        Config(dataloader_num_workers=-1)
