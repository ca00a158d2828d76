"""Lives of the pipeline in processes of their own, each of which may be killed at a point.

A process of Python costs a fifth of a second, mostly imports; one that is forked from a server
that has imported everything, and has no thread yet, costs milliseconds. The server is this file.
"""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

INTERRUPTED = 130
LIMIT_SECONDS = 60


@dataclass(frozen=True)
class Life:
    """One call of the pipeline, and where it meets a signal."""

    room: str
    point: str = ""
    nth: int = 0
    signal: int = 0
    commit: str = "link"


class Lives:
    """The server, while it is entered."""

    def __enter__(self) -> "Lives":
        one_thread = {
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "ARROW_DEFAULT_MEMORY_POOL": "system",
        }
        self._server = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **one_thread},
        )
        return self

    def __exit__(self, *_raised: object) -> None:
        with self._server:
            self._server.stdin.close()

    def live(self, life: Life) -> int:
        """Return how the process ended: 0, minus the signal that killed it, or its exit code."""
        self._server.stdin.write(json.dumps(asdict(life)) + "\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())


def fired(room: Path) -> bool:
    """Whether the fault of the last life fired; ask once."""
    mark = room / "fired"
    was = mark.exists()
    mark.unlink(missing_ok=True)
    return was


def _serve() -> None:
    for line in sys.stdin:
        life = Life(**json.loads(line))
        child = os.fork()
        if not child:
            _end(life)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _end(life: Life) -> None:
    """Live, and end without what a forked process must not do again."""
    signal.alarm(LIMIT_SECONDS)
    code = 1
    try:
        _live(life)
        code = 0
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BaseException:  # the server must not go on in the child, whatever happens
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def _live(life: Life) -> None:
    import pipeline

    from synthenticity import faults

    room = Path(life.room)
    seen = 0

    def meet(name: str) -> None:
        nonlocal seen
        seen += name == life.point
        if name == life.point and seen == life.nth:
            (room / "fired").touch()
            signal.raise_signal(life.signal)

    faults.watch(meet)
    pipeline.run(room, commit=life.commit)


if __name__ == "__main__":
    import logging
    import tempfile

    import pipeline

    logging.disable()
    with tempfile.TemporaryDirectory() as warm:  # what is slow the first time is done before
        pipeline.run(Path(warm))
    _serve()
