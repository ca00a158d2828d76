"""A pipeline: in order, one thread a step, never further ahead than allowed, nothing left over."""

import threading
from concurrent.futures import CancelledError

import pytest

from synthenticity.pipeline import Pipeline


class Steps:
    """Two steps that note what they do and where; the second goes on when it may."""

    def __init__(self) -> None:
        self.drawn: list[int] = []
        self.threads: dict[str, set[int]] = {"draw": set(), "fill": set()}
        self.may_fill = threading.Semaphore(0)
        self.filling = threading.Event()

    def draw(self, task: int) -> int:
        self.drawn.append(task)
        self.threads["draw"].add(threading.get_ident())
        return task

    def fill(self, drawn: int) -> str:
        self.filling.set()
        self.threads["fill"].add(threading.get_ident())
        assert self.may_fill.acquire(timeout=20)
        return f"filled {drawn}"


def left() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("synthenticity-")]


def test_tasks_come_back_in_order_and_each_step_has_one_thread_of_its_own() -> None:
    steps = Steps()
    with Pipeline(steps.draw, steps.fill) as pipeline:
        for task in range(20):
            pipeline.give(task)
        steps.may_fill.release(20)
        assert [pipeline.wait() for _ in range(20)] == [[f"filled {n}"] for n in range(20)]
    (drawing,), (filling,) = steps.threads["draw"], steps.threads["fill"]
    assert len({drawing, filling, threading.get_ident()}) == 3
    assert left() == []


def test_no_more_is_drawn_ahead_than_allowed() -> None:
    steps = Steps()
    with Pipeline(steps.draw, steps.fill, ahead=2) as pipeline:
        for task in range(9):
            pipeline.give(task)
        assert steps.filling.wait(20)
        assert pipeline.wait(0.05) == []
        assert steps.drawn == [0, 1, 2]  # one that is filled, and two
        steps.may_fill.release(9)


def test_an_error_comes_after_what_was_given_before_it() -> None:
    def draw(task: int) -> int:
        if task == 2:
            raise ValueError("of a step")
        return task

    with Pipeline(draw, lambda drawn: drawn) as pipeline:
        for task in range(4):
            pipeline.give(task)
        assert [pipeline.wait(), pipeline.wait()] == [[0], [1]]
        with pytest.raises(ValueError, match="of a step"):
            pipeline.wait()


def test_its_end_forgets_the_line_and_tells_a_long_step() -> None:
    ended = threading.Event()
    begun = threading.Event()

    def fill(_: int) -> None:
        begun.set()
        try:
            while True:
                pipeline.check()
        except CancelledError:
            ended.set()
            raise

    drawn: list[int] = []
    pipeline = Pipeline(drawn.append, fill)
    for task in range(50):
        pipeline.give(task)
    assert begun.wait(20)
    pipeline.end()
    assert ended.is_set()
    assert len(drawn) <= 3
    assert left() == []
