"""`Worker`: the one thread that owns the scorer and never waits for a client.

It loads the model, then scores whatever waits as one list. A text on which the scorer fails fails
alone: its batch is scored again, one by one.
"""

import logging
import threading
import time
from collections.abc import Callable

from synthenticity.serve.batching import Entry, WaitingRoom
from synthenticity.serve.counters import Counters
from synthenticity.serve.model import ServedModel

logger = logging.getLogger(__name__)
FIRST_RATE = 10_000.0
"""Characters a second, until some were scored."""


class Worker:
    """The thread.

    Args:
        load: gives the model; is called in the thread.
        room: where texts wait.
        counters: what is counted.

    """

    def __init__(
        self, load: Callable[[], ServedModel], room: WaitingRoom, counters: Counters
    ) -> None:
        self._load, self._room, self._counters = load, room, counters
        self._thread = threading.Thread(target=self._run, name="scorer", daemon=True)
        self.model: ServedModel | None = None
        self.failure: Exception | None = None
        self.characters_a_second = FIRST_RATE

    def start(self) -> None:
        """Load the model and begin to score."""
        self._thread.start()

    def ended(self, seconds: float) -> bool:
        """Wait for the end of the batch in work, after the room was closed; say whether it came."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self.model = self._load()
        except Exception as error:  # the server stops and says it: it is the user's to mend
            self.failure = error
            return
        logger.info("the model is ready")
        while batch := self._room.take():
            self._score(batch)

    def _score(self, batch: list[Entry]) -> None:
        started = time.perf_counter()
        try:
            self._deliver(batch)
        except Exception as error:
            if len(batch) == 1:
                self._fail(batch[0], error)
            else:
                for entry in batch:
                    if not entry.job.over:
                        self._score([entry])
            return
        seconds = time.perf_counter() - started
        characters = sum(len(entry.text) for entry in batch)
        self.characters_a_second += 0.2 * (characters / seconds - self.characters_a_second)
        self._counters.batch_seconds.observe(seconds)
        self._counters.batch_texts.observe(len(batch))
        self._counters.batch_requests.observe(len({id(entry.job) for entry in batch}))
        self._counters.characters.inc(characters)

    def _deliver(self, batch: list[Entry]) -> None:
        assert self.model is not None
        scores = self.model.scorer.score([entry.text for entry in batch])
        for entry, score in zip(batch, scores, strict=True):
            self._counters.texts.inc()
            self._counters.tokens.inc(len(score.offsets))
            entry.job.deliver(entry.number, score)

    def _fail(self, entry: Entry, error: Exception) -> None:
        self._counters.failures.inc()
        logger.error("the scorer failed on a text", exc_info=error)
        entry.job.fail(error)
