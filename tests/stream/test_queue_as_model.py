"""The queue against a model of it, under every order of events that hypothesis draws.

The model is small: how many rows the consumer has eaten, which checkpoints it has kept, which
files were damaged. Whatever happens, a row read is the function of its number, at most
`max_backlog_files` files of ours wait, numbers grow, and no acknowledged file is needed again.
"""

from collections import Counter
from contextlib import ExitStack, suppress

import numpy as np
import pipeline
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from memory import folder_in_memory
from pipeline import MAX_BACKLOG, META, ROWS, RUN, content_of

from synthenticity import faults
from synthenticity.errors import ProviderTimeoutError, QueueError, QueueOwnedError
from synthenticity.stream.batch_queue import TRAIN, BatchQueue
from synthenticity.stream.dataset_consumer import DatasetConsumer

happened: Counter[str] = Counter()
FOREIGN = ("train-3.parquet", "train-00000001.parquet.part", "notes.txt", "val-00000001.parquet")


class Crash(BaseException):
    """The process ends here: nothing of ours catches it."""


class QueueMachine(RuleBasedStateMachine):
    """Provider, consumer and the world around them."""

    @initialize()
    def begin(self) -> None:
        self.around = ExitStack()
        folder = self.around.enter_context(folder_in_memory())
        self.queue = BatchQueue(folder / "queue", max_backlog_files=MAX_BACKLOG)
        self.queue.put_meta(META)
        self.owning: ExitStack | None = None
        self.consumer: DatasetConsumer | None = None
        self.checkpoints = [0]
        self.damaged: set[int] = set()
        self.largest_made = -1
        self.lost: set[int] = set()
        self.acknowledged = 0

    def teardown(self) -> None:
        faults.watch(None)
        if hasattr(self, "around"):
            self.drain()
            self.around.close()

    # The provider.

    @precondition(lambda self: self.owning is None)
    @rule()
    def start_provider(self) -> None:
        stack = ExitStack()
        stack.enter_context(self.queue.owned())
        self.owning = stack
        assert self.queue.temporaries() == []

    @precondition(lambda self: self.owning is not None)
    @rule()
    def stop_provider(self) -> None:
        self.owning.close()
        self.owning = None

    @rule()
    def second_owner_tries(self) -> None:
        other = BatchQueue(self.queue.directory)
        if self.owning is None:
            with other.owned():
                assert other.owner().alive
            return
        with pytest.raises(QueueOwnedError), other.owned():
            pass
        happened["second owner refused"] += 1

    @precondition(lambda self: self.owning is not None)
    @rule()
    def make(self) -> None:
        self.queue.release()
        number = self.queue.next_number()
        if number is None:
            happened["backlog full"] += 1
            return
        assert number not in self.queue.numbers(TRAIN)
        if number <= self.largest_made:
            assert number in self.lost, "a number was given out again"
            happened["made again"] += 1
        if self.queue.put(TRAIN, number, content_of(number)):
            self.lost.discard(number)
            self.damaged.discard(number)
        self.largest_made = max(self.largest_made, number)

    @precondition(lambda self: self.owning is not None)
    @rule(size=st.integers(1, MAX_BACKLOG))
    def make_beside_workers(self, size: int) -> None:
        """Hand out numbers as if several were in work, and commit them in reverse order."""
        self.queue.release()
        taken: list[int] = []
        while len(taken) < size and (number := self.queue.next_number(taken)) is not None:
            assert number not in taken
            taken.append(number)
        happened["several in work"] += len(taken) > 1
        for number in reversed(taken):
            assert number > self.largest_made or number in self.lost
            assert self.queue.put(TRAIN, number, content_of(number))
            self.lost.discard(number)
            self.damaged.discard(number)
        self.largest_made = max([self.largest_made, *taken])

    # The consumer.

    @rule(back=st.integers(0, 2))
    def restart_consumer(self, back: int) -> None:
        """From the newest checkpoint, or from an older one, as after damage to the newest."""
        del self.checkpoints[max(1, len(self.checkpoints) - back) :]
        position = self.checkpoints[-1]
        if position // ROWS < self.queue.first_unacknowledged():
            self.rewind(position)
        self.consumer = self.consumer_at(position)

    def rewind(self, position: int) -> None:
        with pytest.raises(QueueError, match="acknowledged and removed"):
            self.consumer_at(position).read_rows(position, 1)
        with pytest.raises(QueueError, match="another consumer"):
            self.queue.rewind(position // ROWS, "somebody else")
        self.lost |= set(range(position // ROWS, self.largest_made + 1))
        self.queue.rewind(position // ROWS, RUN)
        self.acknowledged = position // ROWS
        happened["rewound"] += 1

    def consumer_at(self, position: int) -> DatasetConsumer:
        return DatasetConsumer(
            self.queue.directory,
            batch_size=1,
            columns=pipeline.SCHEMA.names(),
            position=position,
            wait_seconds=0,
            on_wait=lambda line: None,
        )

    @precondition(lambda self: self.consumer is not None)
    @rule(count=st.integers(1, 5))
    def read(self, count: int) -> None:
        position = self.consumer.position
        try:
            found = self.consumer.read_rows(position, count)
        except ProviderTimeoutError:
            happened["waited"] += 1
            self.notice_quarantine()
            return
        for name, values in pipeline.rows_of(position, count).items():
            assert np.array_equal(found[name], values)
        self.consumer.position += count
        happened["rows read"] += count

    def notice_quarantine(self) -> None:
        """What was damaged and is gone may be made again."""
        gone = self.damaged - set(self.queue.numbers(TRAIN))
        happened["quarantined"] += len(gone)
        self.lost |= gone
        self.damaged -= gone

    @precondition(lambda self: self.consumer is not None)
    @rule()
    def checkpoint(self) -> None:
        self.checkpoints.append(self.consumer.position)

    @rule()
    def acknowledge(self) -> None:
        first = self.checkpoints[-1] // ROWS
        happened["acknowledged"] += first > self.acknowledged
        self.acknowledged = max(self.acknowledged, first)
        self.queue.acknowledge(first, RUN)

    # The world.

    @rule()
    def live_on(self) -> None:
        """What an undisturbed run does between two checkpoints."""
        if self.owning is None:
            self.start_provider()
        if self.consumer is None:
            self.restart_consumer(0)
        self.make()
        self.make()
        self.read(ROWS + 1)
        self.checkpoint()
        self.acknowledge()

    @rule(nth=st.integers(1, 24), killed=st.booleans())
    def crash(self, nth: int, killed: bool) -> None:
        """End everything at the n-th point on the way, if there are so many."""
        passed: list[str] = []

        def meet(name: str) -> None:
            passed.append(name)
            if len(passed) == nth:
                faults.watch(None)
                raise Crash(name)

        faults.watch(meet)
        with suppress(Crash):
            self.live_on()
        faults.watch(None)
        if len(passed) >= nth:
            happened[f"crash at {passed[-1]}"] += 1
            self.after_the_crash()
            if killed:
                self.leave_what_a_kill_leaves()

    def after_the_crash(self) -> None:
        """The model knows less than the disk; numbers may have been made that nobody counted."""
        self.notice_quarantine()
        there = set(self.queue.numbers(TRAIN))
        self.lost -= there
        self.damaged &= there
        self.largest_made = max([self.largest_made, *there])
        self.acknowledged = self.queue.first_unacknowledged()
        self.consumer = None
        if self.owning is not None:
            self.owning.close()
            self.owning = None

    def leave_what_a_kill_leaves(self) -> None:
        """A crash that raises tidies up after itself; a kill leaves its temporaries."""
        folder = self.queue.private / "tmp"
        folder.mkdir(exist_ok=True)
        (folder / "train-00000000.parquet.1").write_bytes(b"half")
        (self.queue.private / ".acknowledged.json.1").write_bytes(b"{")

    @rule(data=st.data())
    def damage(self, data: st.DataObject) -> None:
        numbers = [n for n in self.queue.numbers(TRAIN) if n not in self.damaged]
        if not numbers:
            return
        number = data.draw(st.sampled_from(numbers))
        pipeline.damage(self.queue.path(TRAIN, number))
        self.damaged.add(number)
        happened["damaged"] += 1

    @rule()
    def somebody_deletes_the_temporaries(self) -> None:
        """While a file is written: it is written again, or an error says so; never half a file."""

        def meet(name: str) -> None:
            if name == "aside.flushed":
                happened["temporary deleted"] += len(self.queue.temporaries())
                for path in self.queue.temporaries():
                    path.unlink()
                faults.watch(None)

        faults.watch(meet)
        with suppress(FileNotFoundError):
            self.make() if self.owning is not None else self.acknowledge()
        faults.watch(None)

    @rule(name=st.sampled_from(FOREIGN))
    def foreign_file_appears(self, name: str) -> None:
        folder = self.queue.directory / TRAIN
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"not ours")
        happened["foreign"] += 1

    # What always holds.

    @invariant()
    def the_backlog_is_bounded(self) -> None:
        if hasattr(self, "queue"):
            waiting = self.queue.numbers(TRAIN)
            assert len(waiting) <= MAX_BACKLOG, waiting

    @invariant()
    def every_file_is_the_function_of_its_number(self) -> None:
        if hasattr(self, "queue"):
            for number in set(self.queue.numbers(TRAIN)) - self.damaged:
                assert self.queue.path(TRAIN, number).read_bytes() == content_of(number)

    @invariant()
    def nothing_acknowledged_is_needed(self) -> None:
        if hasattr(self, "queue"):
            first = self.queue.first_unacknowledged()
            assert first == self.acknowledged
            assert first * ROWS <= max(self.checkpoints)

    def drain(self) -> None:
        """Whatever has happened, the stream goes on from the newest checkpoint to a file's end."""
        faults.watch(None)
        self.restart_consumer(0)
        if self.owning is None:
            self.start_provider()
        target = self.consumer.position + 2 * ROWS + 1
        tries = 0
        while self.consumer.position < target:
            self.make()
            self.read(1)
            self.checkpoint()
            self.acknowledge()
            tries += 1
            assert tries < 50, "the stream has stopped"
        self.stop_provider()


def test_the_queue_behaves_as_its_model() -> None:
    happened.clear()
    run_state_machine_as_test(
        QueueMachine,
        settings=settings(
            derandomize=True, deadline=None, max_examples=100, stateful_step_count=40
        ),
    )
    crashes = {name for name in happened if name.startswith("crash at ")}
    assert len(crashes) >= 10, crashes
    events = {name for name, times in happened.items() if times} - crashes
    assert events == {
        "acknowledged",
        "backlog full",
        "damaged",
        "foreign",
        "made again",
        "quarantined",
        "rewound",
        "rows read",
        "second owner refused",
        "several in work",
        "temporary deleted",
        "waited",
    }
