"""Every point of the protocol x every fault: the stream is what it would have been without.

After each fault the same call is made again, and the pipeline must end with the reference digest,
every row once, the backlog within its bound all the way, and nothing half-written left behind.
"""

import errno
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pipeline
import pytest
from lives import INTERRUPTED, Life, Lives, fired
from namespaces import PYTHONPATH
from points import OTHERS, points_in_source, queue_points

from synthenticity import faults
from synthenticity.errors import SynthenticityError

POINTS = queue_points()
ONCE = {"owner.locked"}
"""Points that a life passes only once."""
ERRORS: dict[str, Callable[[], Exception]] = {
    **{
        name: lambda number=number: OSError(number, os.strerror(number))
        for name, number in (("ENOSPC", errno.ENOSPC), ("EIO", errno.EIO), ("EROFS", errno.EROFS))
    },
    "exception": lambda: RuntimeError("a bug"),
}
SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT")


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> Counter[str]:
    """How often an undisturbed run passes each point."""
    seen: Counter[str] = Counter()
    faults.watch(lambda name: seen.update([name]))
    room = tmp_path_factory.mktemp("undisturbed")
    pipeline.check(room, pipeline.run(room))
    faults.watch(None)
    return seen


@pytest.fixture(scope="module")
def lives() -> Iterator[Lives]:
    with Lives() as server:
        yield server


@pytest.fixture(autouse=True)
def unwatched() -> Iterator[None]:
    yield
    faults.watch(None)


def moments(times: int) -> list[int]:
    """Return the first, the second and the last of so many."""
    return sorted({1, min(2, times), times})


def new_room(folder: Path, nth: object) -> Path:
    room = folder / str(nth)
    room.mkdir()
    return room


def test_every_point_is_named_once_and_tried_by_a_table(passed: Counter[str]) -> None:
    names = points_in_source()
    assert len(names) == len(set(names)), "two places share a name"
    assert sorted(passed) == POINTS, f"not passed by the pipeline, nor one of {sorted(OTHERS)}"


def test_the_table_has_three_moments_of_every_point(passed: Counter[str]) -> None:
    assert {name for name in POINTS if len(moments(passed[name])) < 3} == ONCE
    cases = sum(len(moments(passed[name])) for name in POINTS) * len([*ERRORS, *SIGNALS])
    assert cases == (3 * len(POINTS) - 2 * len(ONCE)) * 7


def test_an_undisturbed_life_of_its_own_ends_well(lives: Lives, memory_path: Path) -> None:
    assert lives.live(Life(str(memory_path))) == 0
    pipeline.check(memory_path, pipeline.read_state(memory_path))


def test_the_pipeline_needs_no_torch() -> None:
    """A life costs milliseconds, and the queue stands without the trainer."""
    code = "import pipeline, sys; assert not {'torch', 'transformers'} & set(sys.modules)"
    environment = {**os.environ, "PYTHONPATH": PYTHONPATH}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def fail_at(point: str, nth: int, make: Callable[[], Exception]) -> list[str]:
    """Raise at a point the n-th time; return the list that will say so."""
    seen = [0]
    raised: list[str] = []

    def meet(name: str) -> None:
        seen[0] += name == point
        if name == point and seen[0] == nth:
            raised.append(name)
            raise make()

    faults.watch(meet)
    return raised


def raise_and_recover(room: Path, point: str, nth: int, make: Callable[[], Exception]) -> None:
    raised = fail_at(point, nth, make)
    try:
        pipeline.run(room)  # a full disk may be lived with: the acknowledgement makes room
    except (type(make()), SynthenticityError) as error:
        assert str(make()).split("] ")[-1] in str(error)
    assert raised == [point]
    faults.watch(None)
    pipeline.check(room, pipeline.run(room))


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("point", POINTS)
def test_an_error_at_a_point_changes_nothing_in_the_stream(
    point: str, error: str, passed: Counter[str], memory_path: Path
) -> None:
    for nth in moments(passed[point]):
        raise_and_recover(new_room(memory_path, nth), point, nth, ERRORS[error])


def signal_and_recover(lives: Lives, life: Life) -> None:
    room = Path(life.room)
    ended = lives.live(life)
    assert ended == (INTERRUPTED if life.signal == signal.SIGINT else -life.signal)
    assert fired(room)
    assert lives.live(Life(life.room, commit=life.commit)) == 0
    pipeline.check(room, pipeline.read_state(room))


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("point", POINTS)
def test_a_signal_at_a_point_changes_nothing_in_the_stream(
    point: str, name: str, passed: Counter[str], lives: Lives, memory_path: Path
) -> None:
    for nth in moments(passed[point]):
        room = new_room(memory_path, nth)
        signal_and_recover(lives, Life(str(room), point, nth, signal.Signals[name]))


@pytest.mark.parametrize("point", POINTS)
def test_without_hard_links_a_killed_pipeline_goes_on_as_well(
    point: str, passed: Counter[str], lives: Lives, memory_path: Path
) -> None:
    for nth in {1, passed[point] // 2 or 1}:
        room = new_room(memory_path, nth)
        signal_and_recover(lives, Life(str(room), point, nth, signal.SIGKILL, "rename"))


@pytest.mark.slow
@pytest.mark.parametrize("fault", [*ERRORS, *SIGNALS])
@pytest.mark.parametrize("point", POINTS)
def test_a_fault_at_every_passing_of_a_point_changes_nothing_in_the_stream(
    point: str, fault: str, passed: Counter[str], lives: Lives, memory_path: Path
) -> None:
    for nth in range(1, passed[point] + 1):
        room = new_room(memory_path, nth)
        if fault in ERRORS:
            raise_and_recover(room, point, nth, ERRORS[fault])
        else:
            signal_and_recover(lives, Life(str(room), point, nth, signal.Signals[fault]))


@pytest.mark.slow
@pytest.mark.parametrize("first", POINTS)
def test_a_kill_during_the_recovery_from_a_kill_changes_nothing(
    first: str, passed: Counter[str], lives: Lives, memory_path: Path
) -> None:
    for second in POINTS:
        room = new_room(memory_path, second)
        life = Life(str(room), first, passed[first] // 2 or 1, signal.SIGKILL)
        assert lives.live(life) == -signal.SIGKILL
        assert fired(room)
        ended = lives.live(Life(str(room), second, 1, signal.SIGKILL))
        assert ended in (0, -signal.SIGKILL)
        assert fired(room) == (ended != 0)
        assert lives.live(Life(str(room))) == 0
        pipeline.check(room, pipeline.read_state(room))
