"""One provider at a time, whoever asks and whatever locks and clocks do."""

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pipeline
import pytest

from synthenticity import faults
from synthenticity.errors import ProviderTimeoutError, QueueOwnedError
from synthenticity.stream import ownership
from synthenticity.stream.batch_queue import BatchQueue
from synthenticity.stream.dataset_consumer import DatasetConsumer
from synthenticity.stream.status import queue_status

HOUR = 3600


@pytest.fixture
def queue(tmp_path: Path) -> BatchQueue:
    queue = BatchQueue(tmp_path / "queue")
    queue.put_meta(pipeline.META)
    return queue


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beats by the hundredth of a second."""
    monkeypatch.setattr(ownership, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(ownership, "LOCK_SECONDS", 0.01)


def try_to_own(queue: BatchQueue) -> str:
    try:
        with BatchQueue(queue.directory).owned():
            return "owned"
    except QueueOwnedError as error:
        return str(error)


@contextmanager
def owner_in_a_process(queue: BatchQueue) -> Iterator[subprocess.Popen[str]]:
    code = (
        "import sys; from synthenticity.stream.batch_queue import BatchQueue\n"
        "with BatchQueue(sys.argv[1]).owned():\n"
        "    print('owned', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(queue.directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout.readline() == "owned\n"
            yield process
        finally:
            process.kill()


def test_a_second_owner_in_another_thread_is_refused(queue: BatchQueue) -> None:
    said: list[str] = []
    with queue.owned():
        thread = threading.Thread(target=lambda: said.append(try_to_own(queue)))
        thread.start()
        thread.join()
    assert f"process {os.getpid()}" in said[0]
    assert try_to_own(queue) == "owned"


def test_an_owner_in_another_process_is_named_even_while_it_is_stopped(queue: BatchQueue) -> None:
    with owner_in_a_process(queue) as process:
        assert f"process {process.pid} on" in try_to_own(queue)
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        assert f"process {process.pid} on" in try_to_own(queue)
        process.send_signal(signal.SIGCONT)
        process.stdin.close()
        assert process.wait() == 0
    assert try_to_own(queue) == "owned"


def test_a_killed_owner_is_known_to_be_dead_at_once(queue: BatchQueue) -> None:
    with owner_in_a_process(queue) as process:
        assert queue.owner().alive
        process.kill()
        process.wait()
        owner = queue.owner()
        assert owner.pid == process.pid and not owner.alive
    assert try_to_own(queue) == "owned"


# A cluster's file system, where a lock succeeds for everyone.


@pytest.fixture
def locks_for_everyone(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    taken: list[int] = []
    monkeypatch.setattr(fcntl, "flock", lambda file, how: taken.append(how))
    return taken


@pytest.mark.usefixtures("quick")
def test_an_owner_on_another_machine_that_beats_is_not_doubled(
    queue: BatchQueue, locks_for_everyone: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "one")
    with queue.owned():
        monkeypatch.setattr(socket, "gethostname", lambda: "two")
        assert f"process {os.getpid()} on one" in try_to_own(queue)
        assert len(locks_for_everyone) == 2
        monkeypatch.setattr(socket, "gethostname", lambda: "one")
    assert try_to_own(queue) == "owned"


@pytest.mark.usefixtures("quick")
def test_an_owner_on_another_machine_that_beats_no_more_is_succeeded(
    queue: BatchQueue, locks_for_everyone: list[int]
) -> None:
    beat = '{"pid": 1, "host": "elsewhere", "beats": 7}'
    (queue.private / "owner.json").write_text(beat, encoding="utf-8")
    with queue.owned():
        assert queue.owner().host == socket.gethostname()
    assert len(locks_for_everyone) == 1


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_without_locks_a_pipeline_works_as_well(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def flock(file: object, how: int) -> None:
        asked.append(how)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    pipeline.check(tmp_path, pipeline.run(tmp_path))
    assert asked


def test_without_locks_a_second_provider_does_not_disturb_the_first(
    queue: BatchQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(fcntl, "flock", lambda file, how: asked.append(how))
    cleaned: list[Path] = []

    def begin_another(name: str) -> None:
        if name == "aside.flushed":
            faults.watch(None)
            cleaned.extend(queue.temporaries())
            assert try_to_own(queue) == "owned"

    with queue.owned():
        faults.watch(begin_another)
        try:
            assert queue.put("train", 0, pipeline.content_of(0))
        finally:
            faults.watch(None)
    assert len(asked) == 2 and [path.parent.name for path in cleaned] == ["tmp"]
    assert queue.path("train", 0).read_bytes() == pipeline.content_of(0)


# A clock that is set back.


def set_back(queue: BatchQueue, seconds: float) -> None:
    """Let the last beat lie in the future, as it does once the clock was set back."""
    later = time.time() + seconds
    os.utime(queue.private / "owner.json", (later, later))


@pytest.mark.parametrize("seconds", [5, HOUR])
def test_a_living_owner_is_alive_after_the_clock_was_set_back(
    seconds: float, queue: BatchQueue
) -> None:
    with queue.owned():
        set_back(queue, seconds)
        owner = queue.owner()
        assert owner.seconds_ago < 0 and owner.alive
        assert f"process {os.getpid()}" in try_to_own(queue)
    assert try_to_own(queue) == "owned"


@pytest.mark.parametrize("seconds", [5, HOUR])
def test_a_dead_owner_is_dead_after_the_clock_was_set_back(
    seconds: float, queue: BatchQueue
) -> None:
    with owner_in_a_process(queue) as process:
        process.kill()
        process.wait()
    set_back(queue, seconds)
    assert queue.owner().seconds_ago < 0 and not queue.owner().alive
    with pytest.raises(ProviderTimeoutError, match=f"process {process.pid} on .* was last alive"):
        DatasetConsumer(
            queue.directory, batch_size=1, wait_seconds=0, on_wait=lambda line: None
        ).read_rows(0, 1)
    assert try_to_own(queue) == "owned"


def test_a_dead_owner_of_another_machine_is_dead_after_the_clock_was_set_back(
    queue: BatchQueue,
) -> None:
    beat = {"pid": os.getpid(), "host": "elsewhere"}
    (queue.private / "owner.json").write_text(json.dumps(beat), encoding="utf-8")
    set_back(queue, HOUR)
    assert not queue.owner().alive


def test_a_clock_that_runs_backwards_changes_nothing_in_the_stream(
    memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [time.time()]

    def backwards() -> float:
        now[0] -= 60
        return now[0]

    clock: Callable[[], float] = backwards
    monkeypatch.setattr(time, "time", clock)
    begun = now[0]
    state = pipeline.run(memory_path)
    assert now[0] < begun - 60
    pipeline.check(memory_path, state)
    recent = BatchQueue(memory_path / "queue").acknowledgement().recent
    times, numbers = zip(*recent, strict=True)
    assert list(times) == sorted(times, reverse=True)
    assert list(numbers) == sorted(numbers)
    assert queue_status(memory_path / "queue").files_per_second_taken is None
