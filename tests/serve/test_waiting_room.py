"""Who is scored when: requests take turns, long texts let short ones by, the late are skipped."""

import threading
import time

import pytest

from synthenticity.errors import ConfigError
from synthenticity.serve.batching import Job, WaitingRoom
from synthenticity.serve.limits import Limits

LIMITS = Limits(batch_texts=4, batch_characters=10, batch_wait_ms=0)


def job(*texts: str, seconds: float = 60) -> Job:
    return Job(texts, time.monotonic() + seconds, LIMITS.batch_characters)


def batches(room: WaitingRoom, count: int) -> list[list[str]]:
    return [[entry.text for entry in room.take() or []] for _ in range(count)]


def test_requests_take_turns_with_one_text_each() -> None:
    room = WaitingRoom(LIMITS)
    for each in (job("a1", "a2", "a3", "a4", "a5", "a6"), job("b1"), job("c1", "c2")):
        room.put(each)
    assert room.waiting() == (3, 9)
    assert batches(room, 3) == [["a1", "b1", "c1", "a2"], ["c2", "a3", "a4", "a5"], ["a6"]]
    assert room.waiting() == (0, 0)


def test_a_batch_holds_no_more_characters_than_it_may() -> None:
    room = WaitingRoom(LIMITS)
    for text in ("12345", "12345", "123456", "1234", "1"):
        room.put(job(text))
    assert batches(room, 3) == [["12345", "12345"], ["123456", "1234"], ["1"]]


def test_a_long_text_is_scored_alone_and_short_ones_pass_between_two() -> None:
    room = WaitingRoom(LIMITS)
    long = ["x" * 11, "y" * 12, "z" * 13]
    room.put(job(long[0], long[1], "s1"))
    room.put(job(long[2]))
    room.put(job("s2"))
    assert batches(room, 4) == [["s1", "s2"], [long[0]], [long[2]], [long[1]]]
    room.put(job(long[0], long[1]))
    assert batches(room, 1) == [[long[0]]]
    for text in ("s3", "s4"):
        room.put(job(text))
    assert batches(room, 2) == [["s3", "s4"], [long[1]]]


def test_what_nobody_waits_for_is_never_scored() -> None:
    room = WaitingRoom(LIMITS)
    gone, late, good = job("gone", "gone, too"), job("late", seconds=-1), job("good")
    for each in (gone, late, good):
        room.put(each)
    gone.answer.cancel()
    assert batches(room, 1) == [["good"]]
    assert room.skipped == 3
    assert room.waiting() == (0, 0)


def test_a_batch_waits_for_what_is_being_read_and_no_longer() -> None:
    room = WaitingRoom(Limits(batch_texts=2, batch_wait_ms=30_000))
    taken: list[list[str]] = []
    with room.arriving():
        room.put(job("early"))
        thread = threading.Thread(target=lambda: taken.extend(batches(room, 1)))
        thread.start()
        room.put(job("second"))  # fills the batch
        thread.join(20)
        assert len(taken[0]) == 2
        room.put(job("third"))
        thread = threading.Thread(target=lambda: taken.extend(batches(room, 1)))
        thread.start()
    thread.join(20)  # nothing is being read any more
    assert taken == [["early", "second"], ["third"]]


def test_what_is_read_slowly_keeps_nobody_waiting() -> None:
    room = WaitingRoom(Limits(batch_wait_ms=1))
    taken: list[list[str]] = []
    thread = threading.Thread(target=lambda: taken.extend(batches(room, 2)))
    thread.start()
    with room.arriving():  # all the time
        for text in ("one", "two"):
            room.put(job(text))
            deadline = time.monotonic() + 20
            while room.waiting() != (0, 0):
                assert time.monotonic() < deadline
                time.sleep(0.001)
        thread.join(20)
    assert taken == [["one"], ["two"]]


def test_a_closed_room_gives_nothing_more() -> None:
    room = WaitingRoom(LIMITS)
    thread = threading.Thread(target=room.take)
    thread.start()
    room.close()
    thread.join(20)
    assert not thread.is_alive()
    room.put(job("late"))
    assert room.take() is None


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"max_texts": 0}, "--max-texts: 0 is not positive"),
        ({"body_seconds": float("nan")}, "--body-seconds: nan is not positive"),
        ({"max_text_characters": 300_000}, "--max-text-characters: 300000 is more than"),
    ],
)
def test_limits_that_make_no_sense_are_refused(wrong: dict[str, float], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        Limits(**wrong)
