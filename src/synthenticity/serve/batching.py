"""`WaitingRoom`: texts of all requests wait here, and leave it in batches for one scorer.

Requests take turns, one text each, so that sixty texts of one do not stand before the first of
another. A text longer than a batch is scored alone, and after it the short ones come first: a short
text waits for one long text at most, and long ones still have every second turn.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from synthenticity.scoring.score import Score
from synthenticity.serve.limits import Limits


class Job:
    """The texts of one request, and the future of their scores.

    Args:
        texts: at least one.
        deadline: on the monotonic clock; afterwards nothing of it is scored.
        batch_characters: a longer text is a long one.

    """

    def __init__(self, texts: Sequence[str], deadline: float, batch_characters: int) -> None:
        self.texts = texts
        self.deadline = deadline
        self.answer: Future[list[Score]] = Future()
        self.waiting: dict[bool, deque[int]] = {False: deque(), True: deque()}
        for number, text in enumerate(texts):
            self.waiting[len(text) > batch_characters].append(number)
        self._scores: dict[int, Score] = {}

    @property
    def over(self) -> bool:
        """Whether nobody waits for it any more: answered, given up, or too late."""
        return self.answer.done() or time.monotonic() > self.deadline

    def deliver(self, number: int, score: Score) -> None:
        """Take the score of a text; that of the last one answers."""
        self._scores[number] = score
        if len(self._scores) == len(self.texts):
            self._end(
                lambda: self.answer.set_result([self._scores[n] for n in range(len(self.texts))])
            )

    def fail(self, error: Exception) -> None:
        """Answer with an error."""
        self._end(lambda: self.answer.set_exception(error))

    def _end(self, answer: Callable[[], None]) -> None:
        with suppress(InvalidStateError):  # whoever waited has gone in this moment
            answer()


@dataclass(frozen=True)
class Entry:
    """One text of a job."""

    job: Job
    number: int

    @property
    def text(self) -> str:
        """The text."""
        return self.job.texts[self.number]


class WaitingRoom:
    """Jobs whose texts wait; any thread may use it."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._changed = threading.Condition()
        self._lanes: dict[bool, deque[Job]] = {False: deque(), True: deque()}
        self._long_turn = False
        self._short_texts = self._short_characters = 0
        self._arriving = 0
        self._idle = False
        self._closed = False
        self.skipped = 0
        """Texts that nobody waited for any more when their turn came."""

    @contextmanager
    def arriving(self) -> Iterator[None]:
        """Within, a request is being read: a batch that is not full waits for it a little."""
        with self._changed:
            self._arriving += 1
        try:
            yield
        finally:
            with self._changed:
                self._arriving -= 1
                self._wake_up()

    def put(self, job: Job) -> None:
        """Let a job wait."""
        with self._changed:
            for long, lane in self._lanes.items():
                if job.waiting[long]:
                    lane.append(job)
            self._count_short(job, 1)
            self._wake_up()

    def _count_short(self, job: Job, sign: int) -> None:
        numbers = job.waiting[False]
        self._short_texts += sign * len(numbers)
        self._short_characters += sign * sum(len(job.texts[number]) for number in numbers)

    def _wake_up(self) -> None:
        """Wake whoever takes, unless it would only go on to wait: a waking costs both threads."""
        if self._idle or not self._arriving or self._fills_a_batch():
            self._changed.notify_all()

    def close(self) -> None:
        """Let nobody wait any more: `take` gives None, what waits is forgotten."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def waiting(self) -> tuple[int, int]:
        """Return how many requests and texts wait."""
        with self._changed:
            jobs = {id(job): job for lane in self._lanes.values() for job in lane}
            return len(jobs), sum(
                len(lane) for job in jobs.values() for lane in job.waiting.values()
            )

    def take(self) -> list[Entry] | None:
        """Wait for texts and return a batch of them; None when the room is closed."""
        with self._changed:
            while not self._closed:
                self._idle = True
                self._changed.wait_for(lambda: self._closed or any(self._lanes.values()))
                self._idle = False
                self._changed.wait_for(
                    lambda: self._closed or not self._arriving or self._fills_a_batch(),
                    self._limits.batch_wait_ms / 1000,
                )
                batch = [] if self._closed else self._next_batch()
                if batch:
                    return batch
            return None

    def _fills_a_batch(self) -> bool:
        return (
            bool(self._lanes[True])
            or self._short_texts >= self._limits.batch_texts
            or self._short_characters >= self._limits.batch_characters
        )

    def _next_batch(self) -> list[Entry]:
        self._forget_what_is_over()
        long = bool(self._lanes[True]) and (self._long_turn or not self._lanes[False])
        self._long_turn = not long
        batch: list[Entry] = []
        characters = 0
        while self._lanes[long] and len(batch) < (1 if long else self._limits.batch_texts):
            job = self._lanes[long].popleft()
            entry = Entry(job, job.waiting[long][0])
            characters += len(entry.text)
            if batch and characters > self._limits.batch_characters:
                self._lanes[long].appendleft(job)
                break
            batch.append(entry)
            job.waiting[long].popleft()
            if not long:
                self._short_texts -= 1
                self._short_characters -= len(entry.text)
            if job.waiting[long]:
                self._lanes[long].append(job)
        return batch

    def _forget_what_is_over(self) -> None:
        over = {id(job) for lane in self._lanes.values() for job in lane if job.over}
        for long, lane in self._lanes.items():
            for job in lane:
                if id(job) in over:
                    self.skipped += len(job.waiting[long])
                    if not long:
                        self._count_short(job, -1)
            self._lanes[long] = deque(job for job in lane if id(job) not in over)
