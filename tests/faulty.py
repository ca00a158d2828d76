"""Runs the command line with a fault at a named point: `FAULT=... python tests/faulty.py ARGS...`.

`FAULT` is JSON: `point` (a name of `faults.point`), `nth` (of its passings, from 1), `fault` (one
of `FAULTS`), `log` (a file to which the fault is written before it strikes, so that a test can
assert that it did), and `rank` (of a distributed run; default 0). With `SEEN`, a folder, what is
trained on is written down there (seen.py).
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from synthenticity import faults


def _raise(error: BaseException) -> None:
    raise error


class BrokenError(Exception):
    """An exception that nobody expects."""


FAULTS: dict[str, Callable[[], None]] = {
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "SIGTERM": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "SIGINT": lambda: os.kill(os.getpid(), signal.SIGINT),
    "exception": lambda: _raise(BrokenError("a fault of a test")),
    "ENOSPC": lambda: _raise(OSError(28, "No space left on device")),
    "EIO": lambda: _raise(OSError(5, "Input/output error")),
    "EROFS": lambda: _raise(OSError(30, "Read-only file system")),
}


class Fault:
    """A watcher that strikes once, at the n-th passing of a point."""

    def __init__(self, point: str, fault: str, nth: int = 1, log: str | None = None) -> None:
        self.point = point
        self.fault = fault
        self.nth = nth
        self.log = log
        self.passed = 0

    @property
    def fired(self) -> bool:
        return self.passed >= self.nth

    def __call__(self, name: str) -> None:
        if name != self.point:
            return
        self.passed += 1
        if self.passed == self.nth:
            if self.log is not None:
                Path(self.log).write_text(f"{self.fault} at {name}\n", encoding="utf-8")
            FAULTS[self.fault]()


def run_with_fault(
    arguments: list[str],
    log: Path,
    *,
    point: str,
    fault: str,
    nth: int = 1,
    launcher: tuple[str, ...] = (),
    **options: Any,
) -> subprocess.CompletedProcess[str]:
    """Run a command line with a fault in a process of its own; check that the fault fired."""
    log.unlink(missing_ok=True)
    described = {"point": point, "nth": nth, "fault": fault, "log": str(log), **options}
    done = subprocess.run(
        [sys.executable, *launcher, __file__, *arguments],
        env={**os.environ, "FAULT": json.dumps(described)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert log.exists(), f"{fault} at {point} has not fired: {done.stderr}"
    return done


def main() -> int:
    described = json.loads(os.environ.get("FAULT", "{}"))
    if described and described.pop("rank", 0) == int(os.environ.get("RANK", "0")):
        faults.watch(Fault(**described))
    from synthenticity.cli import run

    if not os.environ.get("SEEN"):
        return run(sys.argv[1:])
    from seen import recording

    with recording(Path(os.environ["SEEN"])):
        return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
