"""The command `synthenticity`: thin, lazy, and the only place that prints or ends the process.

Results go to standard output, progress and messages to standard error. Exit codes: 0 good, 1 the
check asked for failed, 2 a user's error (one line, no traceback), 130 interrupted. `--help`
answers without importing torch. Options accept `-` and `_` alike.
"""

import os
import signal
import sys
from typing import Any

from cyclopts import CycloptsError

from synthenticity.cli import (  # noqa: F401  (their commands are added to the app)
    checks,
    critique,
    data,
    evaluation,
    exporting,
    models,
    scoring,
    serving,
)
from synthenticity.cli.app import CHECK_FAILED, GOOD, INTERRUPTED, USER_ERROR, app
from synthenticity.errors import SynthenticityError

RESUMED = ("prepare", "train", "demo")
RESUMED_INTO_FILES = ("fill", "score")

__all__ = ["CHECK_FAILED", "GOOD", "INTERRUPTED", "USER_ERROR", "app", "run"]


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    if _in_main_thread():
        signal.signal(signal.SIGTERM, _interrupt)
    try:
        if arguments[:1] == ["fill"]:
            arguments = _with_standard_input_named(arguments)
        result = app(arguments, exit_on_error=False, print_error=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else GOOD
    except CycloptsError as error:
        return _complain(str(error))
    except SynthenticityError as error:
        return _complain(str(error))
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return GOOD
        return _complain(f"{error.filename or 'a file'}: {error.strerror or error}.")
    except KeyboardInterrupt:
        again = " The same command goes on from here." if _goes_on(arguments) else ""
        print(f"Stopped.{again}", file=sys.stderr)
        return INTERRUPTED


def _goes_on(arguments: list[str]) -> bool:
    """Whether the same command line, run again, begins where this one has stopped.

    >>> _goes_on(["train", "c.toml"]), _goes_on(["score", "runs/scorer", "a.txt"])
    (True, False)
    """
    command = arguments[0] if arguments else ""
    into_a_file = any(word.partition("=")[0] == "--out" for word in arguments)
    return command in RESUMED or (command in RESUMED_INTO_FILES and into_a_file)


def _with_standard_input_named(arguments: list[str]) -> list[str]:
    """Write a lone - that is no option's value as what it stands for: it has no name by itself."""
    return [
        "--corpus=-" if word == "-" and not before.startswith("--") else word
        for before, word in zip(["", *arguments], arguments, strict=False)
    ]


def _in_main_thread() -> bool:
    """Whether signals can be handled here."""
    import threading

    return threading.current_thread() is threading.main_thread()


def _interrupt(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt


def _complain(message: str) -> int:
    for line in message.splitlines():
        print(f"synthenticity: {line}", file=sys.stderr)
    return USER_ERROR
