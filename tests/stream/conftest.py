"""A queue filled with numbered rows, so that a test sees which rows it was given."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from memory import folder_in_memory

from synthenticity.stream import object_store
from synthenticity.stream.batch_file import (
    BatchSchema,
    Column,
    Identity,
    encode_batch_file,
)
from synthenticity.stream.batch_queue import BatchQueue
from synthenticity.stream.meta import FINITE, LIVE, Meta

ROWS = 5
SCHEMA = BatchSchema(
    (
        Column("input_ids", "int64", (2,), "input", "uint16"),
        Column("targets", "float32", (), "target", "float32"),
        Column("row", "int64", (), "info", "uint32"),
    )
)


class NumberedQueue(BatchQueue):
    """A queue whose n-th train file holds rows 5n to 5n + 4."""

    def make_meta(self, **changes: object) -> Meta:
        settings = {"kind": LIVE, "made_with": {"seed": 1, "corpus": "x"}, **changes}
        return Meta({"training_type": "TEST"}, SCHEMA, rows_per_file=ROWS, **settings)

    def content(self, split: str, number: int) -> bytes:
        row = np.arange(number * ROWS, (number + 1) * ROWS)
        data = {"input_ids": np.stack([row, row], axis=1) % 1000, "targets": row / 1000, "row": row}
        return encode_batch_file(data, SCHEMA, Identity(self.meta().fingerprint, split, number))

    def fill(self, numbers: range, split: str = "train") -> None:
        for number in numbers:
            self.put(split, number, self.content(split, number))


@pytest.fixture(scope="session")
def new_live(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], NumberedQueue]:
    """Make live queues with their meta file and nothing else."""

    def make() -> NumberedQueue:
        queue = NumberedQueue(tmp_path_factory.mktemp("queue"), max_backlog_files=3)
        queue.put_meta(queue.make_meta())
        return queue

    return make


@pytest.fixture
def live(new_live: Callable[[], NumberedQueue]) -> NumberedQueue:
    return new_live()


@pytest.fixture
def finite(tmp_path: Path) -> NumberedQueue:
    """A finite data set of four train files and one val file."""
    queue = NumberedQueue(tmp_path / "set")
    queue.put_meta(queue.make_meta(kind=FINITE))
    queue.fill(range(4))
    queue.fill(range(1), "val")
    return queue


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    """An S3 server on this machine; skips where it, or the client, is not installed."""
    from object_server import serving

    with serving() as server:
        yield server


@pytest.fixture
def new_url(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A prefix in a bucket of its own, and a cache of its own; no pauses between tries."""
    monkeypatch.setenv("SYNTHENTICITY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(object_store, "FIRST_PAUSE", 0.0)
    yield f"s3://{server.new_bucket()}/some/set"
    server.forget_faults()


@pytest.fixture
def memory_path() -> Iterator[Path]:
    """A temporary folder in memory where the system has such a place."""
    with folder_in_memory() as folder:
        yield folder
