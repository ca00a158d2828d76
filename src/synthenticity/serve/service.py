"""`Service`: who is in hand, and whether more may come.

A request is in hand from the moment it is read until its answer has been taken, so neither waiting
texts nor answers that nobody fetches can grow beyond the limits. All but the worker runs in the
server's one event loop.
"""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from typing import Any

from starlette.requests import Request

from synthenticity.scoring.score import Score
from synthenticity.serve.batching import Job, WaitingRoom
from synthenticity.serve.counters import Counters
from synthenticity.serve.limits import Limits
from synthenticity.serve.model import ServedModel
from synthenticity.serve.problems import GONE, ProblemError
from synthenticity.serve.reading import Asked, BodyReader
from synthenticity.serve.working import Worker

LONGEST_RETRY = 60


class Hand:
    """A request in hand; `release` lets go of it, once."""

    def __init__(self, service: "Service") -> None:
        self._service = service
        self._held = True
        self.characters = 0
        self.job: Job | None = None

    def release(self) -> None:
        """Let others come."""
        if self._held:
            self._held = False
            self._service.let_go(self)


class Service:
    """A model that is served.

    Args:
        load: gives the model; is called by the worker's thread.
        limits: how much is taken on.

    """

    def __init__(self, load: Callable[[], ServedModel], limits: Limits) -> None:
        self.limits = limits
        self.counters = Counters()
        self.bodies = BodyReader(limits)
        self.room = WaitingRoom(limits)
        self.worker = Worker(load, self.room, self.counters)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._hands: set[Hand] = set()
        self._characters = 0
        self._stop_at: float | None = None
        counters = self.counters
        counters.watch("queue_requests", "Requests that wait.", lambda: self.room.waiting()[0])
        counters.watch("queue_texts", "Texts that wait.", lambda: self.room.waiting()[1])
        counters.watch("requests_in_hand", "Read, waiting, or answered.", lambda: len(self._hands))
        counters.watch("characters_in_hand", "Of requests in hand.", lambda: self._characters)
        counters.watch(
            "skipped_texts",
            "Texts whose client had gone or been refused.",
            lambda: self.room.skipped,
        )
        counters.watch("ready", "Whether work is taken.", lambda: self.state == "ready")

    @property
    def state(self) -> str:
        """`starting`, `ready` or `draining`."""
        if self._stop_at is not None:
            return "draining"
        return "starting" if self.worker.model is None else "ready"

    @property
    def may_take_on(self) -> int:
        """How many more requests may be in hand."""
        return self.limits.max_requests - len(self._hands)

    def ready_model(self) -> ServedModel:
        """Return the model.

        Raises:
            ProblemError: it is not loaded yet, or the server is about to stop.

        """
        model = self.worker.model
        if self.state == "draining":
            raise _about_to_stop()
        if model is None:
            raise ProblemError(503, "The model is being loaded. Try again.", {"Retry-After": "2"})
        return model

    def take_in_hand(self) -> Hand:
        """Take on one more request, whose size is not known yet.

        Raises:
            ProblemError: there are too many.

        """
        if self.may_take_on <= 0:
            raise self._too_many()
        hand = Hand(self)
        self._hands.add(hand)
        return hand

    def admit(self, hand: Hand, asked: Asked) -> Job:
        """Let the texts of a request wait for their scores.

        Raises:
            ProblemError: there are too many, or the server is about to stop.

        """
        self.ready_model()
        if self._characters + asked.characters > self.limits.max_characters_in_hand:
            raise self._too_many()
        hand.characters = asked.characters
        self._characters += asked.characters
        deadline = time.monotonic() + self.limits.answer_seconds
        hand.job = Job(asked.texts, deadline, self.limits.batch_characters)
        self.room.put(hand.job)
        return hand.job

    def let_go(self, hand: Hand) -> None:
        """Forget a request in hand."""
        self._hands.discard(hand)
        self._characters -= hand.characters

    def _too_many(self) -> ProblemError:
        seconds = math.ceil(self._characters / self.worker.characters_a_second)
        wait = max(1, min(LONGEST_RETRY, seconds))
        return ProblemError(
            429,
            "As many requests as the server takes on are in hand. Try again after Retry-After.",
            {"Retry-After": str(wait)},
        )

    async def scores(self, job: Job, request: Request) -> list[Score]:
        """Return the scores of a job whose request has been read.

        Raises:
            ProblemError: its time is up, its client gone, the scorer failed, the server stops.

        """
        answer = asyncio.wrap_future(job.answer)
        await self._in_time(answer, job, request)
        return _scores_of(answer)

    async def written(
        self, job: Job, request: Request, parts: Iterable[bytes], *, long: bool
    ) -> bytes:
        """Return the parts of an answer as one; a long one is written beside the event loop.

        Raises:
            ProblemError: the job's time is up, or its client gone.

        """
        if not long:
            return b"".join(parts)
        over = threading.Event()
        wanted = takewhile(lambda _: not over.is_set(), parts)
        writing = asyncio.get_running_loop().run_in_executor(self._writer, b"".join, wanted)
        try:
            await self._in_time(writing, job, request)
        finally:
            over.set()
        return writing.result()

    async def _in_time(self, answer: asyncio.Future[Any], job: Job, request: Request) -> None:
        """Wait until an answer is done; where it is given up, it is cancelled.

        Raises:
            ProblemError: the job's time is up, or its client gone.

        """
        gone: asyncio.Future[Any] = asyncio.ensure_future(request.receive())
        try:
            await asyncio.wait(
                {answer, gone},
                timeout=max(0.0, job.deadline - time.monotonic()),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if answer.done():
                return
            if gone.done():
                raise ProblemError(GONE, "The client left before its answer.")
            raise ProblemError(
                504, f"Not answered within {self.limits.answer_seconds:g} s. Send less, or later."
            )
        finally:
            gone.cancel()
            answer.cancel()  # what is left of the job is skipped

    def drain(self) -> None:
        """Take no more work, and stop when what is in hand is done; now, if asked twice."""
        now = time.monotonic()
        self._stop_at = now + self.limits.grace_seconds if self._stop_at is None else now

    def may_stop(self) -> bool:
        """Whether nothing is left to be done, or the time for it is up."""
        if self.worker.failure is not None:
            return True
        if self._stop_at is None:
            return False
        if time.monotonic() >= self._stop_at:
            self._give_up()
            return True
        return not self._hands

    def _give_up(self) -> None:
        for hand in self._hands:
            if hand.job is not None:
                hand.job.fail(_about_to_stop())

    def close(self, seconds: float) -> bool:
        """End the threads; return False if the scorer's was still at work after so long."""
        self.room.close()
        self._writer.shutdown(wait=False, cancel_futures=True)
        return self.worker.ended(seconds)


def _about_to_stop() -> ProblemError:
    return ProblemError(503, "The server is about to stop. Ask another.", {"Retry-After": "5"})


def _scores_of(answer: "asyncio.Future[list[Score]]") -> list[Score]:
    failure = answer.exception()
    if isinstance(failure, ProblemError):
        raise failure
    if failure is not None:
        raise ProblemError(500, "The scorer failed on a text of this request; its log says where.")
    return answer.result()
