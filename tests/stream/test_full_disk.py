"""A full disk: a clear error, nothing half-written, and it goes on when there is space again."""

import errno
import os
from pathlib import Path

import pipeline
import pytest
from namespaces import run_with_mounts

from synthenticity.durable import is_full
from synthenticity.errors import SynthenticityError
from synthenticity.stream.batch_queue import BatchQueue

FILES = 3

BEGIN = """
import sys
from pathlib import Path
import pipeline
from synthenticity.durable import is_full
from synthenticity.stream.batch_queue import BatchQueue
mount = Path(sys.argv[1])
ballast = mount / "ballast"

def fill():
    with ballast.open("ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(512))
        except OSError as error:
            assert is_full(error)
"""

COMMIT_ON_A_FULL_DISK = (
    BEGIN
    + """
queue = BatchQueue(mount / "queue")
queue.put_meta(pipeline.META)
(mount / "queue" / "train").mkdir()
fill()
try:
    queue.put("train", 0, pipeline.content_of(0))
except OSError as error:
    print("full" if is_full(error) else error)
print(queue.numbers("train"), queue.temporaries())
ballast.unlink()
print(queue.put("train", 0, pipeline.content_of(0)), len(queue.get("train", 0)))
"""
)

ACKNOWLEDGE_ON_A_FULL_DISK = (
    BEGIN
    + """
queue = BatchQueue(mount / "queue")
queue.put_meta(pipeline.META)
for number in range(3):
    queue.put("train", number, pipeline.content_of(number))
fill()
try:
    (mount / "more").write_bytes(b"more")
except OSError as error:
    print("full" if is_full(error) else error)
queue.acknowledge(2, "a run")
print(queue.first_unacknowledged(), queue.numbers("train"), queue.temporaries())
"""
)

BEAT_ON_A_FULL_DISK = (
    BEGIN
    + """
import os
from synthenticity.stream.ownership import DISK_FULL
queue = BatchQueue(mount / "queue")
with queue.owned() as ownership:
    queue.put_meta(pipeline.META)
    ownership.report("making train 0")
    fill()
    beat = mount / "queue/.queue/owner.json"
    os.utime(beat, (0, 0))
    print(queue.owner().alive)
    ownership.report(DISK_FULL)
    print(queue.owner().alive, queue.owner().state)
    try:
        (mount / "more").write_bytes(b"more")
    except OSError as error:
        print("full" if is_full(error) else error)
"""
)

PIPELINE_ON_A_SMALL_DISK = (
    BEGIN
    + """
import subprocess
from synthenticity.errors import SynthenticityError
pages = 1
failed = 0
while True:
    subprocess.run(["mount", "-o", f"remount,size={pages * 4}k", str(mount)], check=True)
    try:
        state = pipeline.run(mount, 3, damaged=())
        break
    except (OSError, SynthenticityError) as error:
        assert "No space left" in str(error), error
        failed += 1
        pages += 1
        assert pages < 100
pipeline.check(mount, state, 3, ())
print(failed)
"""
)


def small_disk(tmp_path: Path, size: str) -> list[str]:
    (tmp_path / "mount").mkdir()
    return [f"mount -t tmpfs -o size={size} none {tmp_path / 'mount'}"]


def test_a_commit_on_a_full_disk_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    said = run_with_mounts(small_disk(tmp_path, "128k"), COMMIT_ON_A_FULL_DISK, tmp_path / "mount")
    assert said.splitlines() == ["full", "[] []", "True 3"]


def test_an_acknowledgement_on_a_full_disk_makes_room_first(tmp_path: Path) -> None:
    said = run_with_mounts(
        small_disk(tmp_path, "128k"), ACKNOWLEDGE_ON_A_FULL_DISK, tmp_path / "mount"
    )
    assert said.splitlines() == ["full", "2 [2] []"]


def test_a_provider_on_a_full_disk_is_seen_to_live_and_to_wait_for_space(tmp_path: Path) -> None:
    said = run_with_mounts(small_disk(tmp_path, "128k"), BEAT_ON_A_FULL_DISK, tmp_path / "mount")
    assert said.splitlines() == ["False", "True waiting for disk space", "full"]


def test_a_pipeline_on_a_disk_that_grows_page_by_page_ends_as_on_a_large_one(
    tmp_path: Path,
) -> None:
    said = run_with_mounts(small_disk(tmp_path, "4k"), PIPELINE_ON_A_SMALL_DISK, tmp_path / "mount")
    assert int(said) >= 3


class Budget:
    """As many bytes as may still be written; a write takes what there is, as on a real disk."""

    def __init__(self, left: int, patch: pytest.MonkeyPatch) -> None:
        self.left = left
        self.refused = 0
        self._write = os.write
        patch.setattr(os, "write", self.write)

    def write(self, descriptor: int, data: bytes) -> int:
        if not self.left:
            self.refused += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self._write(descriptor, bytes(data)[: self.left])
        self.left -= written
        return written


@pytest.mark.parametrize("left", [0, 1, 500, 1699])
def test_a_commit_out_of_space_leaves_nothing_and_goes_on_later(
    left: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = BatchQueue(tmp_path / "queue")
    queue.put_meta(pipeline.META)
    content = pipeline.content_of(0)
    assert left < len(content)
    budget = Budget(left, monkeypatch)
    with pytest.raises(OSError, match="No space left") as caught:
        queue.put("train", 0, content)
    assert is_full(caught.value)
    assert budget.refused == 1 and budget.left == 0
    assert queue.numbers("train") == [] and queue.temporaries() == []
    budget.left = 10_000
    assert queue.put("train", 0, content)
    assert queue.path("train", 0).read_bytes() == content


def test_a_pipeline_goes_on_whenever_there_is_a_little_space_again(
    memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However little each life is given, what it did is kept, and the stream is the same."""
    budget = Budget(0, monkeypatch)
    lives = 0
    while True:
        budget.left = 4_000
        lives += 1
        assert lives < 100
        try:
            state = pipeline.run(memory_path, FILES, damaged=(1,))
        except (OSError, SynthenticityError) as error:
            assert "No space left" in str(error)
        else:
            break
    assert lives > 2 and budget.refused >= lives - 1
    pipeline.check(memory_path, state, FILES, (1,))
