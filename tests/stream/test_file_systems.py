"""File systems that cannot keep a queue's promises are refused, and named; a rename will do."""

import errno
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from stat import S_ISDIR

import pipeline
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synthenticity.errors import BatchFileError, QueueError
from synthenticity.stream.batch_file import read_batch_file
from synthenticity.stream.batch_queue import BatchQueue

asked: Counter[str] = Counter()


def replacing_link(source: Path, target: Path) -> None:
    asked["link"] += 1
    shutil.copyfile(source, target)


def no_link(number: int) -> Callable[[Path, Path], None]:
    def link(source: Path, target: Path) -> None:
        asked["link"] += 1
        raise OSError(number, os.strerror(number))

    return link


def no_flush_of_folders(number: int) -> Callable[[int], None]:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if S_ISDIR(os.fstat(descriptor).st_mode):
            asked["fsync"] += 1
            raise OSError(number, os.strerror(number))
        real(descriptor)

    return fsync


POOR = {
    "a link that replaces": ("link", replacing_link, "a hard link replaces the file"),
    "no links, EPERM": ("link", no_link(errno.EPERM), "makes no hard links (Operation not"),
    "no links, ENOTSUP": ("link", no_link(errno.ENOTSUP), "makes no hard links (Operation not"),
    "no flush, EINVAL": ("fsync", no_flush_of_folders(errno.EINVAL), "does not flush directories"),
}


@pytest.fixture(params=POOR)
def poor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A poor file system; returns what is to be said of it."""
    call, instead, words = POOR[request.param]
    asked.clear()
    monkeypatch.setattr(os, call, instead)
    return words


def test_a_poor_file_system_is_refused_with_what_it_lacks(poor: str, tmp_path: Path) -> None:
    with pytest.raises(QueueError, match="cannot keep a queue's promises") as caught:
        BatchQueue(tmp_path / "queue").owned().__enter__()
    assert poor in str(caught.value)
    assert 'set commit = "rename"' in str(caught.value)
    assert asked
    left = [path.name for path in (tmp_path / "queue").rglob("*") if path.is_file()]
    assert left == ["owner.lock"]


def test_with_renames_the_pipeline_runs_on_a_poor_file_system(poor: str, tmp_path: Path) -> None:
    state = pipeline.run(tmp_path, commit="rename")
    assert asked, poor
    pipeline.check(tmp_path, state)


def test_with_renames_the_first_file_of_a_number_stays(tmp_path: Path) -> None:
    queue = BatchQueue(tmp_path / "queue", commit="rename")
    queue.put_meta(pipeline.META)
    assert queue.put("train", 0, b"the first")
    assert not queue.put("train", 0, b"the second")
    assert queue.path("train", 0).read_bytes() == b"the first"
    assert queue.temporaries() == []


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EROFS])
def test_a_disk_that_fails_is_not_taken_for_a_poor_file_system(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked.clear()
    monkeypatch.setattr(os, "link", no_link(number))
    with pytest.raises(QueueError, match=f"cannot be written to: {os.strerror(number)}"):
        BatchQueue(tmp_path / "queue").owned().__enter__()
    assert asked["link"]


def test_a_queue_of_an_older_format_is_refused_naming_both_versions(tmp_path: Path) -> None:
    queue = BatchQueue(tmp_path / "queue")
    older = {**pipeline.META.to_json(), "format_version": 1}
    queue.directory.mkdir()
    (queue.directory / "meta.json").write_text(json.dumps(older), encoding="utf-8")
    words = r"meta\.json: has format version 1, this version of synthenticity works with 2"
    with pytest.raises(QueueError, match=words):
        queue.meta()
    with pytest.raises(QueueError, match=words):
        queue.put_meta(pipeline.META)


def test_a_batch_file_of_an_older_format_is_refused_naming_both_versions(tmp_path: Path) -> None:
    """Version 1 had no checksum over its metadata."""
    table = pq.read_table(pa.BufferReader(pipeline.content_of(0)))
    kept = json.loads(table.schema.metadata[b"synthenticity"])
    older = {**kept, "format_version": 1}
    del older["checksum"]
    path = tmp_path / "older.parquet"
    metadata = {b"synthenticity": json.dumps(older).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), path)
    with pytest.raises(BatchFileError, match=r"older\.parquet: has format version 1, .* reads 2"):
        read_batch_file(path)


@pytest.mark.parametrize("commit", ["link", "rename"])
def test_a_queue_in_two_places_is_refused_at_once(commit: str, tmp_path: Path) -> None:
    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    with tempfile.TemporaryDirectory(dir=elsewhere) as folder:
        (tmp_path / "queue").mkdir()
        (tmp_path / "queue" / "train").symlink_to(folder)
        queue = BatchQueue(tmp_path / "queue", commit=commit)
        with pytest.raises(QueueError, match="train: is on another file system"), queue.owned():
            pass
