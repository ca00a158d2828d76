"""Makes a small finite data set on an object store, as `prepare` does; dies at a point if asked to.

python object_maker.py URL FILES [POINT NTH]
"""

import dataclasses
import os
import signal
import sys
from pathlib import Path

from pipeline import META, content_of

from synthenticity import faults
from synthenticity.stream.batch_queue import BatchQueue
from synthenticity.stream.meta import FINITE, Meta
from synthenticity.stream.staged_set import StagedSet

FINITE_META = dataclasses.replace(META, kind=FINITE)
SPLITS = ("train",)


def make(queue: BatchQueue, files: int, meta: Meta = FINITE_META) -> None:
    """Make what is missing of a set, on a store or in a directory."""
    with queue.owned():
        (queue.directory / "tokenizer").mkdir(exist_ok=True)
        (queue.directory / "tokenizer" / "tokenizer.json").write_text("{}")
        queue.put_meta(meta)
        queue.announce(files, SPLITS)
        for split in SPLITS:
            for number in sorted(set(range(files)) - set(queue.numbers(split))):
                queue.put(split, number, content_of(number, split, meta))
        queue.settle()


def made_here(folder: Path, files: int) -> dict[str, bytes]:
    """Return the batch files of the same set, made in a directory by one process."""
    make(BatchQueue(folder), files)
    paths = sorted(folder.glob("*/*.parquet"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def _die_at(name: str, nth: int) -> None:
    seen = 0

    def watch(passed: str) -> None:
        nonlocal seen
        seen += passed == name
        if passed == name and seen == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    faults.watch(watch)


if __name__ == "__main__":
    url, files, *death = sys.argv[1:]
    if death:
        _die_at(death[0], int(death[1]))
    make(StagedSet(url), int(files))
