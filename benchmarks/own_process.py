"""An object in a process of its own, so that what it does to the process touches nothing else.

A library's threads, its allocator's settings and its memory are those of the process; rivals
that are timed in turns must not share them. A process that waits for its turn computes nothing.
"""

import multiprocessing
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self


class OwnProcess:
    """What `make(*arguments)` returns, made and used in another process.

    Raises:
        RuntimeError: with the other process's traceback.

    """

    def __init__(self, make: Callable[..., Any], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, arguments), daemon=True)
        self._process.start()
        theirs.close()
        try:
            self._answer()
        except BaseException:
            self.close()
            raise

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method, and return what it returns."""
        self._pipe.send((method, arguments))
        return self._answer()

    def _answer(self) -> Any:
        try:
            failed, answer = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(f"its process ended with {self._process.exitcode}") from None
        if failed:
            raise RuntimeError(answer)
        return answer

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _serve(pipe: Connection, make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    def answer(work: Callable[[], Any]) -> Any:
        try:
            result = work()
        except Exception:
            pipe.send((True, traceback.format_exc()))
            return None
        pipe.send((False, result if isinstance(result, int | float | str | dict) else None))
        return result

    it = answer(lambda: make(*arguments))
    while it is not None:
        try:
            method, values = pipe.recv()
        except EOFError:
            return
        answer(lambda method=method, values=values: getattr(it, method)(*values))


def memory_megabytes(what: str) -> float:
    """Return this process's memory in MB: what is resident (`VmRSS`), or ever was (`VmHWM`)."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise SystemExit(f"{what}: /proc/self/status does not have it.")
