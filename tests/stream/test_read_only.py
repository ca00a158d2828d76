"""A directory that cannot be written to, or is not there: read if that is possible, or refused."""

import errno
import io
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pipeline
import pytest
from namespaces import run_with_mounts

from synthenticity.errors import ProviderTimeoutError, QueueError
from synthenticity.stream.batch_queue import BatchQueue
from synthenticity.stream.dataset_consumer import DatasetConsumer

USE = """
import sys
from synthenticity.errors import QueueError
from synthenticity.stream.batch_queue import BatchQueue
from synthenticity.stream.dataset_consumer import DatasetConsumer
place = sys.argv[1]
try:
    with BatchQueue(place).owned():
        print("owned")
except QueueError as error:
    print(error)
consumer = DatasetConsumer(place, batch_size=1, columns=["row"])
print(consumer.read_rows(0, 3)["row"].tolist())
consumer.acknowledge(3)
try:
    consumer.read_rows(3, 1)
except QueueError as error:
    print(error)
"""


class ReadOnly:
    """A file system of which everything can be read and nothing changed; counts what it refuses."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.refused: Counter[str] = Counter()
        for name in ("link", "replace", "rename", "unlink", "write"):
            patch.setattr(os, name, self.instead_of(name, lambda *_, **__: True, None))
        # The kernel looks first whether the folder is there.
        missing = lambda path, *_, **__: not Path(path).exists()  # noqa: E731
        patch.setattr(os, "mkdir", self.instead_of("mkdir", missing, os.mkdir))
        writes = lambda path, flags, *_, **__: flags & (os.O_WRONLY | os.O_RDWR)  # noqa: E731
        patch.setattr(os, "open", self.instead_of("open", writes, os.open))
        changes = lambda path, mode="r", *_, **__: set(mode) & set("wax+")  # noqa: E731
        patch.setattr(io, "open", self.instead_of("io.open", changes, io.open))

    def instead_of(
        self, name: str, is_change: Callable[..., Any], real: Callable[..., Any] | None
    ) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if real is not None and not is_change(*arguments, **named):
                return real(*arguments, **named)
            self.refused[name] += 1
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(arguments[0]))

        return call


def make_finite(folder: Path) -> BatchQueue:
    meta = pipeline.Meta(
        pipeline.META.task, pipeline.SCHEMA, pipeline.META.made_with, "finite", pipeline.ROWS
    )
    queue = BatchQueue(folder)
    queue.put_meta(meta)
    for number in range(3):
        queue.put("train", number, pipeline.content_of(number, meta=meta))
    return queue


def test_a_read_only_mount_can_be_read_and_not_provided_for(tmp_path: Path) -> None:
    queue = make_finite(tmp_path / "set")
    pipeline.damage(queue.path("train", 1))
    mount = tmp_path / "mount"
    mount.mkdir()
    said = run_with_mounts(
        [f"mount --bind {queue.directory} {mount}", f"mount -o remount,ro,bind {mount}"], USE, mount
    )
    refused, rows, damaged = said.splitlines()
    assert refused == f"{mount}: cannot be written to: Read-only file system."
    assert rows == "[0, 1, 2]"
    assert f"{mount}/train/train-00000001.parquet: " in damaged
    assert damaged.endswith("cannot be moved to quarantine/ (Read-only file system).")


def test_a_provider_says_that_it_cannot_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = make_finite(tmp_path / "set")
    disk = ReadOnly(monkeypatch)
    with pytest.raises(QueueError, match=r"set: cannot be written to: Read-only file system"):
        queue.owned().__enter__()
    assert disk.refused


def test_a_consumer_of_a_finite_set_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = make_finite(tmp_path / "set")
    disk = ReadOnly(monkeypatch)
    consumer = DatasetConsumer(queue.directory, batch_size=2, columns=["row"])
    assert consumer.read_rows(0, 18)["row"].tolist() == [*range(9), *range(9)]
    consumer.acknowledge(9)
    assert not disk.refused


def test_a_damaged_file_that_cannot_be_moved_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = make_finite(tmp_path / "set")
    pipeline.damage(queue.path("train", 1))
    disk = ReadOnly(monkeypatch)
    consumer = DatasetConsumer(queue.directory, batch_size=1, columns=["row"])
    words = r"train-00000001\.parquet: .* cannot be moved to quarantine/ \(Read-only file system\)"
    with pytest.raises(QueueError, match=words):
        consumer.read_rows(3, 1)
    assert disk.refused
    assert not (queue.directory / "quarantine").exists()


def test_a_missing_directory_is_made_by_a_provider_and_waited_for_by_a_consumer(
    tmp_path: Path,
) -> None:
    place = tmp_path / "not" / "yet"
    with pytest.raises(ProviderTimeoutError, match=r"yet: no meta\.json after 0 s"):
        DatasetConsumer(place, batch_size=1, wait_seconds=0, on_wait=lambda line: None)
    assert not place.exists()
    assert BatchQueue(place).numbers("train") == []
    assert BatchQueue(place).next_number() == 0
    assert BatchQueue(place).owner() is None
    with BatchQueue(place).owned():
        assert place.is_dir()


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("not a folder", encoding="utf-8")
    with pytest.raises(QueueError, match="file: cannot be written to: Not a directory"):
        BatchQueue(place).owned().__enter__()
    with pytest.raises(QueueError, match="file: is a file"):
        DatasetConsumer(place, batch_size=1, wait_seconds=0)


def test_a_directory_that_vanishes_under_a_consumer_is_waited_for(tmp_path: Path) -> None:
    """As a mount that drops: nothing else is read in its place."""
    pipeline.run(tmp_path, 3, damaged=())
    consumer = DatasetConsumer(
        tmp_path / "queue", batch_size=1, wait_seconds=0, on_wait=lambda line: None
    )
    (tmp_path / "queue").rename(tmp_path / "gone")
    with pytest.raises(ProviderTimeoutError, match="no train file 3"):
        consumer.read_rows(9, 1)
    (tmp_path / "gone").rename(tmp_path / "queue")
    assert consumer.read_rows(9, 1)["target"].tolist() == [3.0]
