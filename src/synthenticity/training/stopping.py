"""How a run is stopped in order: by a flag that a signal sets and every process of it sees.

Not a `threading.Event`: a signal's handler runs in the middle of whatever the main thread does,
and would wait forever for a lock that the interrupted code holds. A byte of shared memory has no
lock, and data-loading workers see it too.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.sharedctypes import RawValue
from typing import Any

LOOK_SECONDS = 0.05
IMPATIENCE_SECONDS = 1.0
"""A launcher of several processes passes Ctrl-C on to those that got it themselves."""


class SharedFlag:
    """A flag that is down until it is set, in all processes that were given it at their start."""

    def __init__(self) -> None:
        self._value = RawValue("b", 0)

    def set(self) -> None:
        """Raise it, for good."""
        self._value.value = 1

    def is_set(self) -> bool:
        """Whether it was raised."""
        return bool(self._value.value)

    def wait(self, timeout: float) -> bool:
        """Wait for some seconds unless it is set; return whether it is."""
        deadline = time.monotonic() + timeout
        while not self.is_set() and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, LOOK_SECONDS))
        return self.is_set()


@contextmanager
def signals_set(stop: SharedFlag) -> Iterator[None]:
    """Within, SIGINT and SIGTERM ask for an orderly stop; a later second one interrupts at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked: list[float] = []

    def handle(_number: int, _frame: Any) -> None:
        stop.set()
        asked.append(time.monotonic())
        if asked[-1] - asked[0] > IMPATIENCE_SECONDS:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
