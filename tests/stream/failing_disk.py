"""A disk whose n-th call fails: every way in which our code reaches the file system, counted.

The functions of `os`, and `open`, are replaced by ones that count the calls which concern a folder
(by path, or by a descriptor opened there) and fail the n-th, or all from the n-th on. `pathlib`
finds them in `os` and `io` at each call, in Python 3.11 to 3.13. Only the main thread is counted,
so that a beat does not disturb the count. A failing write writes half, as a full disk does.
"""

import io
import os
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CALLS = (
    *("open", "write", "fsync", "link", "replace", "rename", "unlink", "mkdir"),
    *("scandir", "listdir", "stat"),
)


@dataclass
class FailingDisk:
    """Fails calls below a folder; `n` = 0 only counts.

    Attributes:
        folder: the calls below it count.
        n: the first call that fails, from 1.
        number: the error, as `errno` numbers them.
        lasting: whether all calls after it fail as well.
        seen: the calls that there were, and how often.
        failed: those that failed.

    """

    folder: Path
    n: int = 0
    number: int = 0
    lasting: bool = False
    seen: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    _opened: set[int] = field(default_factory=set)

    def fail(self, patch: pytest.MonkeyPatch) -> "FailingDisk":
        """Stand between the code and the disk until the patch is undone."""
        for name in CALLS:
            patch.setattr(os, name, self._instead_of(name, getattr(os, name)))
        patch.setattr(os, "close", self._closing(os.close))
        patch.setattr(io, "open", self._instead_of("io.open", io.open))
        return self

    def _instead_of(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if self._concerns(arguments) and self._is_time(name):
                if name == "write":
                    real(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                self.failed[name] += 1
                raise OSError(self.number, os.strerror(self.number), str(arguments[0]))
            result = real(*arguments, **named)
            if name == "open" and self._concerns(arguments):
                self._opened.add(result)
            return result

        return call

    def _closing(self, real: Callable[[int], None]) -> Callable[[int], None]:
        def close(descriptor: int) -> None:
            self._opened.discard(descriptor)
            real(descriptor)

        return close

    def _concerns(self, arguments: tuple[Any, ...]) -> bool:
        if threading.current_thread() is not threading.main_thread() or not arguments:
            return False
        if isinstance(arguments[0], int):
            return arguments[0] in self._opened
        return os.fspath(arguments[0]).startswith(str(self.folder))

    def _is_time(self, name: str) -> bool:
        self.seen[name] += 1
        calls = self.seen.total()
        return bool(self.n) and (calls >= self.n if self.lasting else calls == self.n)
