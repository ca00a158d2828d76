"""Tasks through two threads: in one their chance is drawn, in the other a model fills them.

What comes third (labels, digests, the disk) is for the caller's own thread, and so the model
waits for none of them: torch, numpy and the tokenizers let go of the interpreter while they
compute. Everything happens in the order of the tasks, and one thread alone runs the model.
benchmarks/prepare.py measures what is left.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from typing import Generic, Self, TypeVar

Task = TypeVar("Task")
Drawn = TypeVar("Drawn")
Filled = TypeVar("Filled")


class Pipeline(Generic[Task, Drawn, Filled]):
    """Two threads and the line before them; they start with the first task.

    Args:
        draw: the first step of a task.
        fill: the second.
        ahead: how many tasks are drawn, at most, before they are filled.

    """

    def __init__(
        self, draw: Callable[[Task], Drawn], fill: Callable[[Drawn], Filled], *, ahead: int = 2
    ) -> None:
        self._draw, self._fill = draw, fill
        self._room = threading.Semaphore(ahead)
        self._ended = threading.Event()
        self._drawing = ThreadPoolExecutor(1, "synthenticity-draw")
        self._filling = ThreadPoolExecutor(1, "synthenticity-fill")
        self._line: deque[Future[Filled]] = deque()

    def give(self, task: Task) -> None:
        """Put a task in the line."""
        drawn = self._drawing.submit(self._draw_with_room, task)
        self._line.append(self._filling.submit(self._fill_drawn, drawn))

    def wait(self, seconds: float | None = None) -> list[Filled]:
        """Return the first task of the line, filled; nothing if it takes longer than so.

        Raises:
            Exception: whatever a step of the task raised.

        """
        wait([self._line[0]], seconds)
        return [self._line.popleft().result()] if self._line[0].done() else []

    def _draw_with_room(self, task: Task) -> Drawn:
        self._room.acquire()
        self.check()
        return self._draw(task)

    def _fill_drawn(self, drawing: "Future[Drawn]") -> Filled:
        drawn = drawing.result()
        self._room.release()
        return self._fill(drawn)

    def check(self) -> None:
        """Raise a `CancelledError` if this has ended: for long steps, to look up in between."""
        if self._ended.is_set():
            raise CancelledError

    def end(self) -> None:
        """Forget what is in the line, and wait for the steps that have begun."""
        self._ended.set()
        for pool in (self._drawing, self._filling):
            pool.shutdown(wait=False, cancel_futures=True)
        self._room.release()
        for pool in (self._drawing, self._filling):
            pool.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
