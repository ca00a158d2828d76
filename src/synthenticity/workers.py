"""Worker processes that each make one task at a time; a dead one's task is made by another.

Every worker has a pipe of its own. A pool with a result queue that all share
(`concurrent.futures`) waits for ever for the second half of a result whose worker was killed while
it wrote the first; here the pipe ends, the worker is replaced and its task goes to the front of
the line. The owner hands out tasks when it is called, so no thread of its own runs beside it.
"""

import logging
import os
import platform
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any, Generic, Protocol, Self, TypeVar

from synthenticity.errors import CompatibilityError, QueueError

Task = TypeVar("Task")
Made = TypeVar("Made")

DEATHS = 3
"""So many workers in a row may die over one task; then it is the task's fault, or the memory's."""
LAST_SECONDS = 2.0
"""What a worker that closed its pipe has left to end by itself, so that it can say how it died."""


def threads_of_each(workers: int) -> int:
    """Return how many threads each of some workers should compute with, to share this machine."""
    if hasattr(os, "sched_getaffinity"):  # what a scheduler leaves to this process
        return max(1, len(os.sched_getaffinity(0)) // workers)
    return max(1, (os.cpu_count() or 1) // workers)


def settle_libraries(threads: int | None) -> None:
    """Within a worker, compute with so many threads, and leave it to the owner to say anything.

    Args:
        threads: None: as many as the libraries choose.

    """
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    logging.getLogger("synthenticity").setLevel(logging.ERROR)
    if threads is not None:
        torch.set_num_threads(threads)


def check_same_work(owner: Mapping[str, Any], worker: Mapping[str, Any]) -> None:
    """Refuse, in a worker, to make what its owner would not have made.

    Args:
        owner: everything that decides the work, as the owner has it: settings, fingerprints of
            models, kind of device.
        worker: the same, as this worker has it.

    Raises:
        CompatibilityError: names what differs, with both values.

    """
    ours, theirs = _leaves(worker), _leaves(owner)
    differing = [
        f"{key} is {theirs.get(key)!r} with its owner and {ours.get(key)!r} with the worker"
        for key in sorted({*ours, *theirs})
        if ours.get(key) != theirs.get(key)
    ]
    if differing:
        raise CompatibilityError(
            f"{platform.node()}: a worker there would not make what its owner makes: "
            f"{'; '.join(differing)}. Give both the same files, versions and kind of device. If "
            "something was changed since the owner began, put it back, or begin anew under another "
            "name."
        )


def _leaves(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested values under one name each, so that only what differs need be said.

    >>> _leaves({"seed": 1, "models": {"bert": {"dtype": "float32"}}})
    {'seed': 1, 'models bert dtype': 'float32'}
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= {f"{key} {inner}": leaf for inner, leaf in _leaves(value).items()}
        else:
            flat[key] = value
    return flat


@dataclass
class Order(Generic[Task]):
    """A task in the line or in work, and how many workers died over it."""

    task: Task
    name: str
    deaths: int = 0


class Pool(Protocol[Task, Made]):
    """Whoever makes tasks: `Workers` here, `RayWorkers` on a cluster."""

    def __len__(self) -> int:
        """Return how many tasks were given and not handed back."""
        ...

    def give(self, task: Task, name: str) -> None:
        """Put a task in the line; messages call it by the name."""
        ...

    def wait(self, seconds: float | None = None) -> list[tuple[Task, Made]]:
        """Return tasks and what was made of them; wait for the first, at most so many seconds."""
        ...

    def end(self) -> None:
        """End all workers at once, whatever they are at."""
        ...


class Workers(Generic[Task, Made]):
    """Some worker processes and the line before them; a process starts with its first task.

    Args:
        build: called once in each worker, with the worker's own arguments, when its first task
            comes; returns what makes a task. It and all that is sent must be importable there.
        arguments: those of each worker, for example its device.

    """

    def __init__(
        self,
        build: Callable[..., Callable[[Task], Made]],
        arguments: Sequence[tuple[Any, ...]],
    ) -> None:
        self._slots: list[_Slot[Task]] = [_Slot(build, own) for own in arguments]
        self._line: deque[Order[Task]] = deque()

    def __len__(self) -> int:
        """Return how many tasks were given and not handed back."""
        return len(self._line) + sum(slot.order is not None for slot in self._slots)

    def give(self, task: Task, name: str) -> None:
        """Put a task in the line; messages call it by the name."""
        self._line.append(Order(task, name))
        self._hand_out()

    def wait(self, seconds: float | None = None) -> list[tuple[Task, Made]]:
        """Return tasks and what was made of them; wait for the first, at most so many seconds.

        Raises:
            QueueError: `DEATHS` workers in a row died over a task.
            Exception: whatever a task raised in its worker.

        """
        busy: dict[Any, _Slot[Task]] = {
            slot.pipe: slot for slot in self._slots if slot.order is not None
        }
        done = []
        for pipe in connection.wait(list(busy), seconds):
            done += self._take(busy[pipe])
        self._hand_out()
        return done

    def _hand_out(self) -> None:
        for slot in self._slots:
            while self._line and slot.order is None:
                slot.order = self._line.popleft()
                if not slot.send(slot.order.task):
                    self._replace(slot)

    def _take(self, slot: "_Slot[Task]") -> list[tuple[Task, Made]]:
        """Return what a worker has made; nothing if it died."""
        answer: tuple[Made, Exception | None] | None = None
        with suppress(EOFError, OSError):  # it died before its answer, or in the middle of it
            answer = slot.pipe.recv()
        if answer is None:
            self._replace(slot)
            return []
        made, error = answer
        order, slot.order = slot.order, None
        if error is not None:
            raise error
        assert order is not None
        return [(order.task, made)]

    def _replace(self, slot: "_Slot[Task]") -> None:
        """Clear a slot whose worker died, and put its task in front."""
        order, slot.order = slot.order, None
        how = slot.end(LAST_SECONDS)
        assert order is not None
        order.deaths += 1
        if order.deaths == DEATHS:
            raise QueueError(f"{order.name}: {DEATHS} workers in a row died over it, {how}")
        self._line.appendleft(order)

    def end(self) -> None:
        """End all workers at once, whatever they are at."""
        for slot in self._slots:
            slot.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


class _Slot(Generic[Task]):
    """A place for one worker process at a time, and the task that it has."""

    def __init__(
        self, build: Callable[..., Callable[[Task], Any]], arguments: tuple[Any, ...]
    ) -> None:
        self._work = (build, arguments)
        self._process: BaseProcess | None = None
        self.pipe: Connection
        self.order: Order[Task] | None = None

    def send(self, task: Task) -> bool:
        """Send a task, to a new process if there is none; return False if the process is dead."""
        if self._process is None:
            self._start()
        try:
            self.pipe.send(task)
        except OSError:
            return False
        return True

    def _start(self) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        # Not to be the one that `start` starts, for that would end the block below.
        resource_tracker.ensure_running()
        # Ctrl-C goes to every process of a terminal, and is the owner's to answer. A new process
        # inherits the block; ignoring it there would come too late for the first half second.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process = context.Process(target=_serve, args=(theirs, *self._work), daemon=True)
            process.start()
            self._process = process
        finally:
            theirs.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def end(self, seconds: float = 0.0) -> str:
        """End the process if it does not end by itself so soon; say how it ended."""
        if self._process is None:
            return ""
        process, self._process = self._process, None
        process.join(seconds)
        process.kill()
        process.join()
        self.pipe.close()
        code = process.exitcode or 0
        process.close()
        if code < 0:
            return (
                f"the last by signal {-code}, for want of memory perhaps. Run the same command "
                "again with fewer --workers or a smaller batch_size; it goes on from here."
            )
        return (
            f"the last with exit code {code}. What it said stands above; a script must make the "
            'call under: if __name__ == "__main__".'
        )


def _serve(
    pipe: Connection, build: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...]
) -> None:
    """Make one task after the other: the whole life of a worker."""
    threading.Thread(target=_end_with_owner, daemon=True).start()
    make: Callable[[Any], Any] | None = None
    while True:
        try:
            task = pipe.recv()
        except (EOFError, OSError):  # the owner is gone; a reset, if an answer of ours was unread
            return
        answer: tuple[Any, Exception | None]
        try:
            make = make or build(*arguments)
            answer = make(task), None
        except Exception as error:
            answer = None, portable(error)
        with suppress(BrokenPipeError, ConnectionResetError):  # the owner is gone
            pipe.send(answer)


def _end_with_owner() -> None:
    """End this process when its owner is gone, however that died."""
    owner = parent_process()
    if owner is not None:
        connection.wait([owner.sentinel])
    os._exit(1)


def portable(error: Exception) -> Exception:
    """Return an error with its traceback as a note, or its words if it cannot be sent."""
    trace = "".join(traceback.format_exception(error))
    error.add_note(f"In a worker:\n{trace}")
    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}\nIn a worker:\n{trace}")
    return error
