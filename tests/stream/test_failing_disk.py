"""The n-th call to the disk fails, for n = 1, 2, 3 ... until a run is through.

The loop is SQLite's: nobody has to think of the moments at which a disk may fail. After each
failure the same call is made again on a sound disk, and must end with the reference digest.
"""

import errno
from pathlib import Path

import pipeline
import pytest
from failing_disk import CALLS, FailingDisk

from synthenticity.errors import SynthenticityError

FILES = 2
DAMAGED = (1,)
ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EROFS": errno.EROFS}
STRIDE = 3
"""Of the loops that are not slow: each error takes another third of the calls."""


def life(room: Path) -> pipeline.State:
    return pipeline.run(room, FILES, damaged=DAMAGED)


def fail_and_recover(room: Path, disk: FailingDisk) -> bool:
    """Live on a failing disk, then on a sound one; return whether the first life came through."""
    ended = True
    with pytest.MonkeyPatch.context() as patch:
        disk.fail(patch)
        try:
            life(room)
        except (OSError, SynthenticityError):
            ended = False
    assert bool(disk.failed) == (disk.seen.total() >= disk.n)
    pipeline.check(room, life(room), FILES, DAMAGED)
    return ended


def loop(folder: Path, number: int, lasting: bool, first: int, step: int) -> int:
    """Fail the n-th call until a run makes no n-th call; return how many failed on the way."""
    n = first
    while True:
        room = folder / str(n)
        room.mkdir()
        disk = FailingDisk(room / "queue", n, number, lasting)
        ended = fail_and_recover(room, disk)
        if not disk.failed:
            assert ended
            return (n - first) // step
        n += step


def test_the_disk_sees_every_kind_of_call(memory_path: Path) -> None:
    """So that no loop passes because its disk was not asked."""
    with pytest.MonkeyPatch.context() as patch:
        disk = FailingDisk(memory_path / "queue").fail(patch)
        life(memory_path)
    # Python 3.13 lists a folder by scandir, and its glob holds one of its own.
    assert {*disk.seen, "listdir", "scandir"} == {*CALLS, "io.open"}
    assert disk.seen["listdir"] + disk.seen["scandir"] > 10
    assert not disk.failed


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("error", ERRORS)
def test_a_call_to_the_disk_that_fails_changes_nothing_in_the_stream(
    error: str, lasting: bool, memory_path: Path
) -> None:
    first = 1 + list(ERRORS).index(error)
    assert loop(memory_path, ERRORS[error], lasting, first, STRIDE) > 50


@pytest.mark.slow
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("error", ERRORS)
def test_each_call_to_the_disk_that_fails_changes_nothing_in_the_stream(
    error: str, lasting: bool, memory_path: Path
) -> None:
    assert loop(memory_path, ERRORS[error], lasting, 1, 1) > 150
