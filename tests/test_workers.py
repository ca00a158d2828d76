"""Workers: a dead one's task is made by another, errors come back, nobody is left behind."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import connection
from pathlib import Path
from typing import Any

import pytest

from synthenticity import errors
from synthenticity.errors import MissingExtraError, ModelError, QueueError
from synthenticity.workers import Workers, _serve, settle_libraries

WAIT = 60


def make_square() -> Callable[[int], int]:
    return lambda number: number**2


def drain(workers: Workers[Any, Any]) -> list[tuple[Any, Any]]:
    """Return all that was given and what was made of it."""
    done = []
    while len(workers):
        done += workers.wait(WAIT)
    return done


def squares_by(count: int) -> list[tuple[int, int]]:
    with Workers(make_square, [()] * count) as workers:
        for number in range(8):
            workers.give(number, str(number))
        return sorted(drain(workers))


@pytest.mark.parametrize("count", [1, 3])
def test_every_task_is_made_once_by_any_number_of_workers(count: int) -> None:
    assert squares_by(count) == [(number, number**2) for number in range(8)]
    assert multiprocessing.active_children() == []


def dies_at_first(folder: Path, dies: str) -> Callable[[int], tuple[int, int]]:
    """Make a task in a process that ends itself over task 1, once: before, or in its answer."""

    def make(number: int) -> Any:
        place = folder / "died"
        if number == 1 and not place.exists():
            place.write_text(str(os.getpid()), encoding="utf-8")
            if dies == "working":
                os.kill(os.getpid(), signal.SIGKILL)
            connection.Connection._send = _send_half  # type: ignore[method-assign]
            return b"x" * 300_000
        return number, os.getpid()

    return make


def _send_half(pipe: Any, content: bytes) -> None:
    os.write(pipe._handle, content[: len(content) // 2])
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("dies", ["working", "half-way through its answer"])
def test_a_dead_workers_task_is_made_by_another(tmp_path: Path, dies: str) -> None:
    with Workers(dies_at_first, [(tmp_path, dies)] * 2) as workers:
        for number in range(4):
            workers.give(number, str(number))
        made = dict(drain(workers))
    dead = int((tmp_path / "died").read_text(encoding="utf-8"))
    assert sorted(number for number, _ in made.values()) == [0, 1, 2, 3]
    assert made[1][1] != dead
    with pytest.raises(ProcessLookupError):
        os.kill(dead, 0)


def test_a_worker_killed_while_idle_is_replaced() -> None:
    with Workers(make_square, [()]) as workers:
        workers.give(2, "2")
        assert drain(workers) == [(2, 4)]
        (idle,) = multiprocessing.active_children()
        dead = idle.pid
        idle.kill()
        idle.join()
        workers.give(3, "3")
        assert drain(workers) == [(3, 9)]
        assert [child.pid for child in multiprocessing.active_children()] != [dead]


def dies_always(log: Path, how: str) -> Callable[[str], None]:
    def make(task: str) -> None:
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{os.getpid()}\n")
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(7)

    return make


@pytest.mark.parametrize(
    ("how", "words"), [("killed", "signal 9, for want of memory"), ("ends", "exit code 7")]
)
def test_a_task_over_which_three_workers_died_is_an_error(
    tmp_path: Path, how: str, words: str
) -> None:
    log = tmp_path / "log"
    with Workers(dies_always, [(log, how)]) as workers:
        workers.give("task", "train 7")
        with pytest.raises(QueueError, match=f"train 7: 3 workers.*{words}"):
            drain(workers)
    assert len(set(log.read_text(encoding="utf-8").split())) == 3


def fails(error: Exception | None) -> Callable[[Exception], None]:
    """Raise the error while the worker is built, or else the one that is the task."""
    if error is not None:
        raise error

    def make(task: Exception) -> None:
        raise task

    return make


class UnsendableError(Exception):
    """Cannot be made again of its one argument."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


@pytest.mark.parametrize("where", ["while it is built", "in a task"])
def test_an_error_comes_back_as_itself(where: str) -> None:
    error = MissingExtraError("the corpus shakespeare", "demo")
    with Workers(fails, [(error if where == "while it is built" else None,)]) as workers:
        workers.give(error, "0")
        with pytest.raises(MissingExtraError) as raised:
            drain(workers)
        assert str(raised.value) == str(error)
        assert "in fails" in str(raised.value.__notes__) or "in make" in str(raised.value.__notes__)
        assert len(workers) == 0


def unsendable() -> Callable[[int], None]:
    def make(task: int) -> None:
        raise UnsendableError(task, 2)

    return make


def test_an_error_that_cannot_be_sent_comes_back_in_words() -> None:
    with Workers(unsendable, [()]) as workers:
        workers.give(1, "0")
        with pytest.raises(RuntimeError, match="UnsendableError: 1 and 2"):
            drain(workers)


@pytest.mark.parametrize("name", [name for name in vars(errors) if name.endswith("Error")])
def test_every_error_of_ours_can_be_sent(name: str) -> None:
    kind = getattr(errors, name)
    error = kind("what", "demo") if kind is MissingExtraError else kind("what")
    error.add_note("where")
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is kind
    assert (str(back), back.__notes__) == (str(error), ["where"])


def own_argument(name: str) -> Callable[[int], str]:
    def make(_: int) -> str:
        time.sleep(0.3)  # so that the other has to take the next
        return name

    return make


def test_each_worker_has_arguments_of_its_own() -> None:
    with Workers(own_argument, [("cuda:0",), ("cuda:1",)]) as workers:
        workers.give(0, "0")
        workers.give(1, "1")
        assert {made for _, made in drain(workers)} == {"cuda:0", "cuda:1"}


def threads_and_signals() -> Callable[[int], tuple[int, bool]]:
    def make(_: int) -> tuple[int, bool]:
        import torch

        settle_libraries(1)
        os.kill(os.getpid(), signal.SIGINT)
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        blocked = next(line.split()[1] for line in lines if line.startswith("SigBlk"))
        return torch.get_num_threads(), bool(int(blocked, 16) & (1 << (signal.SIGINT - 1)))

    return make


def test_a_worker_leaves_ctrl_c_to_its_owner_and_keeps_to_its_threads() -> None:
    with Workers(threads_and_signals, [()]) as workers:
        workers.give(0, "0")
        assert drain(workers) == [(0, (1, True))]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


OWNER = """
import multiprocessing, os, signal, sys
sys.path.insert(0, sys.argv[1])
from test_workers import sleeps_long
from synthenticity.workers import Workers

if __name__ == "__main__":
    with Workers(sleeps_long, [(sys.argv[2],)] * 2) as workers:
        workers.give(0, "0")
        workers.give(1, "1")
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
        workers.wait()
"""


def sleeps_long(folder: str) -> Callable[[int], None]:
    def make(task: int) -> None:
        (Path(folder) / str(task)).touch()
        time.sleep(600)

    return make


def is_running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2][:3]
    except OSError:
        return False


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("when", ["at work", "still starting"])
def test_no_worker_outlives_its_owner(tmp_path: Path, by: signal.Signals, when: str) -> None:
    script = tmp_path / "owner.py"
    script.write_text(OWNER, encoding="utf-8")
    command = [sys.executable, str(script), str(Path(__file__).parent), str(tmp_path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        pids = [int(word) for word in owner.stdout.readline().split()]
        assert len(pids) == 2
        deadline = time.monotonic() + WAIT
        while when == "at work" and not {"0", "1"} <= {path.name for path in tmp_path.iterdir()}:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        owner.send_signal(by)
        said = owner.communicate(timeout=WAIT)[1]
    assert owner.returncode == -by
    while any(map(is_running, pids)):
        assert time.monotonic() < deadline, "a worker is still there"
        time.sleep(0.02)
    assert said.count("Traceback") == (by is signal.SIGINT)  # the owner's own


def test_a_worker_ends_without_a_word_when_its_dead_owner_did_not_read_the_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("synthenticity.workers._end_with_owner", lambda: None)
    ours, theirs = multiprocessing.Pipe()
    with theirs:
        ours.send(3)
        worker = threading.Thread(target=_serve, args=(theirs, make_square, ()))
        worker.start()
        assert ours.poll(WAIT)
        ours.close()  # with the answer in it: the next read says reset, not end
        worker.join(WAIT)
        assert not worker.is_alive()


def test_a_missing_model_is_said_by_the_worker() -> None:
    with Workers(fails, [(ModelError("./none: is not there"),)]) as workers:
        workers.give(ValueError(), "0")
        with pytest.raises(ModelError, match=r"\./none"):
            drain(workers)
