"""After a power cut at any point, the stream goes on as if there had been none.

What was not flushed is forgotten: the contents of files, and the names as well or not, since file
systems differ in that. So a flush that is missing in the protocol shows here, and only here.
"""

from collections.abc import Iterator
from pathlib import Path

import pipeline
import pytest
from points import queue_points
from power_cut import ForgetfulDisk

from synthenticity import faults
from synthenticity.stream.batch_queue import BatchQueue

POINTS = queue_points()


class PowerCut(BaseException):
    """Nothing of ours catches it."""


@pytest.fixture(autouse=True)
def unwatched() -> Iterator[None]:
    yield
    faults.watch(None)


def live_until(room: Path, point: str, nth: int, *, names: bool) -> bool:
    """Live until the n-th passing of a point, and cut the power; return whether there was one."""
    seen = 0

    def meet(name: str) -> None:
        nonlocal seen
        seen += name == point
        if name == point and seen == nth:
            faults.watch(None)
            disk.cut(names=names)
            raise PowerCut

    limbo = room.parent / f"{room.name}-limbo"
    limbo.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        disk = ForgetfulDisk(room, limbo, patch)
        faults.watch(meet)
        try:
            pipeline.run(room)
        except PowerCut:
            return True
        finally:
            faults.watch(None)
    assert disk.flushes > 30
    return False


@pytest.mark.parametrize("names", [True, False], ids=["names forgotten", "names kept"])
@pytest.mark.parametrize("point", POINTS)
def test_a_power_cut_at_a_point_changes_nothing_in_the_stream(
    point: str, names: bool, memory_path: Path
) -> None:
    fired = 0
    for nth in (1, 2, 3, 5, 8, 13, 21):
        room = memory_path / str(nth)
        room.mkdir()
        if not live_until(room, point, nth, names=names):
            break
        fired += 1
        pipeline.check(room, pipeline.run(room))
    assert fired >= 1


@pytest.mark.parametrize("names", [True, False], ids=["names forgotten", "names kept"])
def test_what_was_not_flushed_is_forgotten(
    names: bool, memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the cuts above are cuts: without flushes, a committed file is gone or empty."""
    room, limbo = memory_path / "room", memory_path / "limbo"
    limbo.mkdir()
    queue = BatchQueue(room)
    queue.put_meta(pipeline.META)
    disk = ForgetfulDisk(room, limbo, monkeypatch)
    queue.put("train", 0, pipeline.content_of(0))
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    queue.put("train", 1, pipeline.content_of(1))
    forgotten = disk.cut(names=names)
    monkeypatch.undo()
    assert queue.path("train", 0).read_bytes() == pipeline.content_of(0)
    if names:
        assert queue.numbers("train") == [0]
        assert f"a name in {room / 'train'}" in forgotten
    else:
        assert forgotten == ["what train-00000001.parquet holds"]
        assert queue.path("train", 1).read_bytes() == b""
