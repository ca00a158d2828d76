"""A provider in a process of its own, for `train --prepare`.

The child reads an empty pipe from its parent. The pipe ends with the parent, however that dies,
so no provider outlives its trainer; and a successor waits until its predecessor has ended.
"""

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from synthenticity.config import Config
from synthenticity.config_file import write_config
from synthenticity.errors import ConfigError, QueueError
from synthenticity.stream.batch_queue import BatchQueue
from synthenticity.stream.meta import FINITE
from synthenticity.stream.object_store import is_url
from synthenticity.text.files import STANDARD_INPUT

STOP_SECONDS = 20
PREFIX = "synthenticity: "
"""How the command line begins each line of an error."""


@contextmanager
def provider_running(config: Config) -> Iterator[Callable[[], bool]]:
    """Within, `synthenticity prepare` works for `config.data_dir` in another process.

    Yields a function to call while waiting for the provider's files: it returns whether the
    provider is running, and raises `QueueError`, with its last words, once it has failed.

    Raises:
        ConfigError: the directory holds a finite data set, which no provider adds to by itself;
            or the corpus is standard input, which the provider does not have.

    """
    if config.corpus == STANDARD_INPUT:
        raise ConfigError(
            f"corpus: {STANDARD_INPUT} (standard input) cannot be read with --prepare. Save the "
            "text in a file, or run synthenticity prepare by itself."
        )
    if is_url(config.data_dir):
        raise ConfigError(
            f"data_dir: {config.data_dir} is on an object store, which cannot keep the live queue "
            "that --prepare makes. Leave out --prepare, or give a local directory."
        )
    meta = BatchQueue(config.data_dir).meta()
    if meta is not None and meta.kind == FINITE:
        raise ConfigError(
            f"data_dir: {config.data_dir} holds a finite data set, --prepare makes a live queue. "
            "Leave out --prepare, or give another data_dir."
        )
    with tempfile.TemporaryDirectory(prefix="synthenticity-") as folder:
        settings, words = Path(folder) / "provider.toml", Path(folder) / "provider.log"
        write_config(config, settings)
        command = [sys.executable, "-m", "synthenticity", "prepare", str(settings), "--as-child"]
        with words.open("w", encoding="utf-8") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.PIPE, start_new_session=True
            )

        def raise_if_failed() -> bool:
            code = process.poll() or 0
            if code < 0:
                raise QueueError(
                    f"the provider was ended by signal {-code}, for want of memory perhaps. Run "
                    "the same command again; it goes on from here."
                )
            if code:
                lines = words.read_text(encoding="utf-8").strip().splitlines()
                said = " ".join(
                    line.removeprefix(PREFIX) for line in lines if line.startswith(PREFIX)
                )
                raise QueueError(f"the provider ended: {said or ' '.join(lines[-1:]) or code}")
            return process.poll() is None

        try:
            yield raise_if_failed
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdin is not None:
                process.stdin.close()


def set_when_parent_ends() -> threading.Event:
    """Return an event that is set when standard input, the pipe from the parent, ends."""
    ended = threading.Event()

    def wait() -> None:
        # Not through sys.stdin, whose lock a thread must not hold when the interpreter ends.
        while os.read(sys.stdin.fileno(), 1024):
            pass
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    return ended
