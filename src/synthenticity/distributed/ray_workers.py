"""Workers on the nodes of a Ray cluster: tasks are handed out here, and made where there is room.

Ray Core's actors, not Ray Data: a task is a number whose content does not depend on who makes it,
one owner commits, and the order of commits is the owner's; a pipeline would put an order, a queue
and a CPU of its own between them. Whatever dies (an actor, a node), its task goes to the front of
the line, and the owner, if it dies, begins behind what it has committed.
"""

import logging
import math
import os
import platform
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from synthenticity.distributed.cluster import Cluster, cause_of, connected, words_of
from synthenticity.errors import ConfigError, CorpusError, ModelError, QueueError
from synthenticity.workers import DEATHS, Order, portable

logger = logging.getLogger(__name__)

Task = TypeVar("Task")
Made = TypeVar("Made")

SILENCE_SECONDS = 30.0
"""So long nobody has room for a worker before this is said."""
SHORT_SECONDS = 0.5
"""A worker that was done sooner than this with its last task is sent a second one ahead, for it
waits some milliseconds between two (benchmarks/ray_overhead.py). Longer tasks would not gain by
it, and the second would stand behind the first while others rest."""
IDLE_SECONDS = 30.0
"""A worker beyond the least number ends when it has had nothing to do for so long."""
SIGN_SECONDS = 5.0
"""So long a dead worker's last answer may be on its way."""


class RayWorkers(Generic[Task, Made]):
    """Some actors and the line before them; see `synthenticity.workers.Workers`.

    There are `cluster.least` of them from the beginning, and up to `cluster.most` while tasks wait:
    those that no node has room for wait for one, as a cluster that grows gives it.

    Args:
        build: called once in each worker when its first task comes; returns what makes a task. It
            and all that is sent must be importable on the nodes.
        arguments: of `build`.
        cluster: where, and how many.

    """

    def __init__(
        self,
        build: Callable[..., Callable[[Task], Made]],
        arguments: tuple[Any, ...],
        cluster: Cluster,
    ) -> None:
        self._cluster = cluster
        self._work = (build, arguments, str(Path.cwd()))
        self._line: deque[Order[Task]] = deque()
        self._starting: dict[Any, Any] = {}
        self._there: list[_Worker[Task]] = []
        self._failed, self._waiting_since = 0, time.monotonic()
        self._wanted_at = time.monotonic()
        with ExitStack() as stack:
            self._ray = stack.enter_context(connected(cluster))
            stack.callback(self._kill_all)
            self._maker = self._ray.remote(_Maker).options(
                num_cpus=cluster.cpus, num_gpus=cluster.gpus, max_restarts=0
            )
            self._grow()
            self._end = stack.pop_all()

    def _grow(self) -> None:
        """Start workers, as many as there should be for what is in line; a node may take its time
        to have room for one, which is given nothing to do before.
        """
        wanted = min(self._cluster.most, max(self._cluster.least, len(self)))
        if len(self) > len(self._there):
            self._wanted_at = time.monotonic()
        for _ in range(wanted - len(self._there) - len(self._starting)):
            actor = self._maker.remote(*self._work)
            self._starting[actor.begin.remote()] = actor

    def __len__(self) -> int:
        """Return how many tasks were given and not handed back."""
        return len(self._line) + sum(len(worker.orders) for worker in self._there)

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
        done = []
        busy = {worker.answers[0]: worker for worker in self._there if worker.orders}
        if busy or self._starting:
            watched = [*busy, *self._starting]
            ready, _ = self._ray.wait(watched, num_returns=1, timeout=seconds)
            for answer in ready:
                if answer in self._starting:
                    self._welcome(answer)
                else:
                    done += self._take(busy[answer])
        self._hand_out()
        return done

    def _welcome(self, answer: Any) -> None:
        """Take a worker that has started, or note that it could not."""
        actor = self._starting.pop(answer)
        try:
            self._ray.get(answer)
        except self._ray.exceptions.RayError as died:
            self._failed += 1
            if self._failed == DEATHS:
                raise QueueError(
                    f"--ray: {DEATHS} workers in a row could not be started, the last so: "
                    f"{cause_of(died)} Is synthenticity installed on all nodes?"
                ) from None
            return
        self._failed = 0
        self._there.append(_Worker(actor))

    def _hand_out(self) -> None:
        self._grow()
        for worker in self._there:
            if self._line and not worker.orders:
                worker.send(self._line.popleft())
        for worker in self._there:  # what is left, but for those workers that only start
            if len(self._line) > len(self._starting) and worker.takes_one_ahead:
                worker.send(self._line.popleft())
        self._let_go()
        self._say_if_nobody_works()

    def _say_if_nobody_works(self) -> None:
        if not self._line or any(worker.orders for worker in self._there):
            self._waiting_since = time.monotonic()
        elif time.monotonic() - self._waiting_since > SILENCE_SECONDS:
            logger.warning(
                "Waiting for a node of the cluster that has room for a worker of %s.",
                words_of(self._cluster.demand),
            )
            self._waiting_since = time.monotonic()

    def _let_go(self) -> None:
        """End workers that have long had nothing to do, and take back the wish for more that no
        node has granted so long, but keep the least number.
        """
        if time.monotonic() - self._wanted_at > IDLE_SECONDS:
            for answer in list(self._starting)[max(0, self._cluster.least - len(self._there)) :]:
                self._ray.kill(self._starting.pop(answer))
        for worker in list(self._there):
            beyond = len(self._there) > self._cluster.least
            if beyond and not worker.orders and worker.rested > IDLE_SECONDS:
                self._there.remove(worker)
                self._ray.kill(worker.actor)

    def _take(self, worker: "_Worker[Task]") -> list[tuple[Task, Made]]:
        """Return what a worker has made; nothing if it died."""
        try:
            made, error = self._ray.get(worker.answers[0])
        except self._ray.exceptions.RayError as died:
            self._replace(worker, died)
            return []
        order = worker.done()
        if error is not None:
            raise error
        return [(order.task, made)]

    def _replace(self, worker: "_Worker[Task]", died: Exception) -> None:
        """Put the tasks of a dead worker in front; another takes its place when tasks are handed
        out. It died over the first of them, unless it was dead before that was sent.
        """
        self._there.remove(worker)
        self._line.extendleft(reversed(worker.orders))
        if not self._was_alive(worker):
            return
        order = worker.orders[0]
        order.deaths += 1
        if order.deaths == DEATHS:
            raise QueueError(
                f"{order.name}: {DEATHS} workers in a row died over it, the last so: "
                f"{cause_of(died)} Run the same command again with larger or fewer workers; it "
                "goes on from here."
            ) from None

    def _was_alive(self, worker: "_Worker[Task]") -> bool:
        """Whether a dead worker still lived when it came to the first of its tasks; a sign that is
        neither there nor lost is taken for one.
        """
        try:
            self._ray.get(worker.sign_of_life, timeout=SIGN_SECONDS)
        except self._ray.exceptions.GetTimeoutError:
            return True
        except self._ray.exceptions.RayError:
            return False
        return True

    def end(self) -> None:
        """End all workers at once, whatever they are at."""
        self._end.close()

    def _kill_all(self) -> None:
        for actor in [*(worker.actor for worker in self._there), *self._starting.values()]:
            with suppress(Exception):  # it, or the cluster, is gone
                self._ray.kill(actor)
        self._there, self._starting = [], {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


class _Worker(Generic[Task]):
    """An actor that has started, and the tasks it has: one that it makes, and one ahead if they
    are short.

    Attributes:
        orders: in the order in which it makes them, as Ray keeps that of calls.
        answers: what will be made of them.
        sign_of_life: what it answers before the first task after a rest. Nobody watches a worker
            that rests, so without it a death then would be blamed on that task.

    """

    def __init__(self, actor: Any) -> None:
        self.actor = actor
        self.orders: deque[Order[Task]] = deque()
        self.answers: deque[Any] = deque()
        self.sign_of_life: Any = None
        self._last = time.monotonic()
        self._seconds = math.inf

    @property
    def takes_one_ahead(self) -> bool:
        """Whether a second task would be made sooner here than where there is room for it."""
        return len(self.orders) == 1 and self._seconds < SHORT_SECONDS

    @property
    def rested(self) -> float:
        """Seconds since the last answer."""
        return time.monotonic() - self._last

    def send(self, order: Order[Task]) -> None:
        """Have it make a task."""
        if not self.orders:
            self._last = time.monotonic()
            self.sign_of_life = self.actor.begin.remote()
        self.orders.append(order)
        self.answers.append(self.actor.make.remote(order.task))

    def done(self) -> Order[Task]:
        """Note that the first of its tasks is made, and return that."""
        self._seconds, self._last = self.rested, time.monotonic()
        self.answers.popleft()
        return self.orders.popleft()


class _Maker:
    """What an actor holds. It works in the folder of its owner, if its node has that: there,
    relative names mean the same, and names that go into what is made stay as they were given.
    """

    def __init__(
        self,
        build: Callable[..., Callable[[Any], Any]],
        arguments: tuple[Any, ...],
        folder: str,
    ) -> None:
        self._build, self._arguments, self._folder = build, arguments, folder
        self._make: Callable[[Any], Any] | None = None
        with suppress(OSError):
            os.chdir(folder)

    def begin(self) -> None:
        """Answer, once this worker has a place, and whenever it is to show that it lives."""

    def make(self, task: Any) -> tuple[Any, Exception | None]:
        """Return what is made of a task, or the error that it raised."""
        try:
            self._make = self._make or self._built()
            return self._make(task), None
        except Exception as error:
            return None, portable(error)

    def _built(self) -> Callable[[Any], Any]:
        try:
            return self._build(*self._arguments)
        except (ConfigError, CorpusError, ModelError) as error:
            if Path(self._folder).is_dir():
                raise
            raise type(error)(
                f"{error} (On {platform.node()}, which lacks the folder of the command, "
                f"{self._folder}: relative names mean nothing there.)"
            ) from None
