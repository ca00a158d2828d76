"""One call of `prepare`: what is in work, what was committed, and what there is to say of it.

Files are committed in the order in which they are made. On a full disk a run keeps what it has
made and tries again, so space that comes back is all it needs.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from synthenticity.durable import is_full
from synthenticity.faults import point
from synthenticity.providers.file_line import MadeFile, Name
from synthenticity.providers.making import FileMaker
from synthenticity.stream.batch_queue import BatchQueue
from synthenticity.stream.ownership import DISK_FULL, Ownership
from synthenticity.stream.summary import StreamSummary

LOOK_SECONDS = 0.5
"""How often a busy run looks for room in the backlog and whether it is stopped."""
SHORTEST_PAUSE = 0.1


@dataclass(frozen=True)
class PrepareProgress:
    """What a provider reports after each file and while it waits."""

    split: str
    files_made: int
    files_wanted: int | None
    backlog: int
    waiting: bool
    seconds: float
    """Spent making files, waiting left out."""
    sequences_made: int
    tokens_made: int
    summary: StreamSummary
    reason: str = ""
    """What a person should know of a wait; empty where it is only for the consumer."""


class Run:
    """The state of one call of `prepare`."""

    def __init__(
        self,
        queue: BatchQueue,
        ownership: Ownership,
        maker: FileMaker,
        *,
        on_progress: Callable[[PrepareProgress], None],
        stop: threading.Event,
        pause: float,
    ) -> None:
        self.queue = queue
        self.ownership = ownership
        self.maker = maker
        self.on_progress = on_progress
        self.stop = stop
        self.pause = pause
        self.summary = StreamSummary()
        self.files_wanted: int | None = None
        self.files_made = self.sequences = self.tokens = self.readings_spared = 0
        self.begin()

    def begin(self) -> None:
        """Count seconds from here."""
        self._began, self._waited = time.monotonic(), 0.0

    @property
    def seconds(self) -> float:
        """How long files were made, whoever made them, waiting left out."""
        return time.monotonic() - self._began - self._waited

    def work(self, following: Callable[[], Name | None]) -> None:
        """Hand out names and commit files, until nothing follows and nothing is in work."""
        while not self.stop.is_set():
            while self.maker.has_room and (name := following()) is not None:
                self.maker.give(name)
                self.say(_making(self.maker.in_work))
            if not self.maker.in_work:
                return
            for made in self.maker.wait(LOOK_SECONDS):
                self.commit(made)

    def in_work(self, split: str) -> list[int]:
        """Return the numbers of a split that are in work."""
        return [number for name, number in self.maker.in_work if name == split]

    def commit(self, made: MadeFile) -> None:
        """Commit and count a file, as soon as the disk has room for it."""
        while not self._put(made):
            reason = f"The disk of {self.queue.directory} is full; waiting for space."
            self.wait(made.split, DISK_FULL, reason)
            if self.stop.is_set():
                return
            self.queue.release()
        point("provider.committed")
        self.files_made += 1
        self.sequences += made.sequences
        self.tokens += made.summary.tokens
        self.readings_spared += made.readings_spared
        self.summary.merge(made.summary)
        self.report(made.split, waiting=False)

    def _put(self, made: MadeFile) -> bool:
        try:
            self.queue.put(made.split, made.number, made.content)
        except OSError as error:
            if not is_full(error):
                raise
            return False
        return True

    def wait(self, split: str, state: str, reason: str = "") -> None:
        """Pause, but not when stopped, and say why."""
        begin = time.monotonic()
        self.say(state)
        try:
            self.report(split, waiting=True, reason=reason)
            self.stop.wait(max(self.pause, SHORTEST_PAUSE if reason else 0.0))
        finally:
            self._waited += time.monotonic() - begin

    def say(self, state: str) -> None:
        """Tell whoever looks at the directory what this run is at."""
        self.ownership.report(state, files_made=self.files_made, seconds=self.seconds)

    def report(self, split: str, *, waiting: bool, reason: str = "") -> None:
        """Tell the caller how far it is."""
        self.on_progress(
            PrepareProgress(
                split=split,
                files_made=self.files_made,
                files_wanted=self.files_wanted,
                backlog=self.queue.backlog() if self.files_wanted is None else 0,
                waiting=waiting,
                seconds=self.seconds,
                sequences_made=self.sequences,
                tokens_made=self.tokens,
                summary=self.summary,
                reason=reason,
            )
        )


def _making(names: list[Name]) -> str:
    """Say what is in work.

    >>> _making([("train", 7), ("train", 8)])
    'making train 7, train 8'
    """
    return "making " + ", ".join(f"{split} {number}" for split, number in names)
