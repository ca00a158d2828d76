"""A whole pipeline of one process, tiny and without torch, that a test may fail anywhere.

The provider makes every file that `next_number` allows, the consumer eats a batch of a size that
does not divide the file, and every few batches writes a checkpoint (its position and a digest of
everything eaten) and acknowledges. Nothing waits and nothing depends on a clock, so a run passes
the same points and makes the same calls each time. Some files are damaged by the "disk" once, right
after they were committed. Called again on the same folder, `run` goes on from its checkpoint.

    ROOM/queue/         the directory under test
    ROOM/state.json     the checkpoint: what survives of the model
    ROOM/log            what was begun, outside the queue, for `check`
    ROOM/damaged-N      that the disk has damaged a file
"""

import json
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synthenticity.durable import write_whole
from synthenticity.seeding import digest
from synthenticity.stream.batch_file import BatchSchema, Column, Columns, Identity
from synthenticity.stream.batch_file import encode_batch_file as encode
from synthenticity.stream.batch_queue import TRAIN, BatchQueue
from synthenticity.stream.dataset_consumer import DatasetConsumer
from synthenticity.stream.meta import LIVE, Meta

FILES = 5
ROWS = 3
BATCH = 2
BATCHES_PER_CHECKPOINT = 2
MAX_BACKLOG = 3
DAMAGED = (0, 2, 4)
RUN = "the run"

SCHEMA = BatchSchema(
    (
        Column("ids", "int64", (4,), "input", "uint16"),
        Column("target", "float32", (), "target", "float32"),
        Column("row", "int64", (), "info", "uint32"),
    )
)
META = Meta({"training_type": "TEST"}, SCHEMA, {"seed": 1}, LIVE, ROWS)


def rows_of(first: int, count: int) -> Columns:
    """Return what the stream holds from a row on: a function of the rows' numbers."""
    row = np.arange(first, first + count, dtype=np.uint32)
    ids = (row[:, None] * 7 + np.arange(4, dtype=np.uint32)) % 65_521
    return {
        "ids": ids.astype(np.uint16),
        "target": np.sqrt(row.astype(np.float32)),
        "row": row,
    }


def content_of(number: int, split: str = TRAIN, meta: Meta = META) -> bytes:
    """Return the bytes of a batch file: a function of its number."""
    return encode(
        rows_of(number * ROWS, ROWS), meta.schema, Identity(meta.fingerprint, split, number)
    )


@dataclass(frozen=True)
class State:
    """The model's state: where it is, and all that it has eaten."""

    position: int = 0
    digest: str = ""
    rows: tuple[int, ...] = ()

    def fed(self, batch: Columns) -> "State":
        eaten = digest(self.digest, *(batch[name].tobytes() for name in sorted(batch)))
        rows = batch["row"].tolist()
        return State(self.position + len(rows), eaten, (*self.rows, *rows))


def read_state(room: Path) -> State:
    try:
        kept = json.loads((room / "state.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return State()
    return State(kept["position"], kept["digest"], tuple(kept["rows"]))


def reference(files: int = FILES) -> State:
    """Return the state at the end without any queue: the truth that every run must reach."""
    state = State()
    while state.position < files * ROWS:
        state = state.fed(rows_of(state.position, min(BATCH, files * ROWS - state.position)))
    return state


class Impatient(threading.Event):
    """The end of a wait for files, without the wait: the provider is asked in between."""

    def wait(self, timeout: float | None = None) -> bool:
        return False


class Pipeline:
    """One life of provider and consumer, from the start of a process to its end."""

    def __init__(self, room: Path, max_backlog_files: int, commit: str) -> None:
        self.room = room
        self.bound = max_backlog_files
        self.queue = BatchQueue(room / "queue", max_backlog_files=max_backlog_files, commit=commit)

    def live(self, files: int, damaged: tuple[int, ...]) -> State:
        with self.queue.owned() as ownership:
            ownership.report("starting", workers=1)
            self.queue.put_meta(META)
            self.queue.release()
            self.make(damaged)
            return self.eat(files, damaged)

    def make(self, damaged: tuple[int, ...]) -> bool:
        """Make every file that there is room for; return whether the consumer may wait for it."""
        while (number := self.queue.next_number()) is not None:
            self.note("make", number)
            self.queue.put(TRAIN, number, content_of(number))
            if number in damaged and not (mark := self.room / f"damaged-{number}").exists():
                damage(self.queue.path(TRAIN, number))
                mark.write_bytes(b"")
            self.check_bound()
        return True

    def eat(self, files: int, damaged: tuple[int, ...]) -> State:
        state = read_state(self.room)
        consumer = DatasetConsumer(
            self.queue.directory,
            batch_size=BATCH,
            columns=SCHEMA.names(),
            position=state.position,
            wait_seconds=5,  # of work, should the stream ever stop: it never waits
            stop=Impatient(),
            while_waiting=lambda: self.make(damaged),
        )
        since = 0
        while state.position < files * ROWS:
            self.make(damaged)
            count = min(BATCH, files * ROWS - state.position)
            state = state.fed(consumer.read_rows(state.position, count))
            self.check_bound()
            since += 1
            if since == BATCHES_PER_CHECKPOINT or state.position == files * ROWS:
                since = 0
                self.keep(state)
        self.keep(state)  # a life that ended between checkpoint and acknowledgement
        return state

    def keep(self, state: State) -> None:
        kept = {"position": state.position, "digest": state.digest, "rows": state.rows}
        write_whole(self.room / "state.json", json.dumps(kept))
        self.queue.acknowledge(state.position // ROWS, RUN)
        self.note("acknowledged", self.queue.first_unacknowledged())
        self.check_bound()

    def note(self, what: str, number: int) -> None:
        with (self.room / "log").open("a", encoding="utf-8") as log:
            log.write(f"{what} {number}\n")

    def check_bound(self) -> None:
        waiting = self.queue.numbers(TRAIN)
        assert len(waiting) <= self.bound, f"{waiting} wait, allowed are {self.bound}"


def damage(path: Path) -> None:
    """Flip a byte in the middle of a file, as a bad disk does."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def run(
    room: Path,
    files: int = FILES,
    *,
    max_backlog_files: int = MAX_BACKLOG,
    damaged: tuple[int, ...] = DAMAGED,
    commit: str = "link",
) -> State:
    """Run the pipeline in a folder until it has eaten a number of files; return its state."""
    for path in room.glob(".state.json.*"):  # a checkpoint that was not finished
        path.unlink()
    return Pipeline(room, max_backlog_files, commit).live(files, damaged)


def check(room: Path, state: State, files: int = FILES, damaged: tuple[int, ...] = DAMAGED) -> None:
    """Assert all that a finished pipeline promises, whatever happened on the way."""
    truth = reference(files)
    assert state.rows == tuple(range(files * ROWS)), "a row was lost, repeated or misplaced"
    assert state == truth
    assert read_state(room) == truth
    check_log(room, damaged)
    check_directory(room, files)
    found = sorted(path.name for path in (room / "queue" / "quarantine").glob("*.bad"))
    done = [number for number in damaged if (room / f"damaged-{number}").exists()]
    aside = [f"train{number:08d}.0.bad" for number in done]
    assert found == aside, f"each damaged file is put aside once: {found}"


def check_log(room: Path, damaged: tuple[int, ...]) -> None:
    """Numbers only grow, but for damaged files, which are made again; acknowledgements, too."""
    largest = {"make": -1, "acknowledged": -1}
    for line in (room / "log").read_text(encoding="utf-8").splitlines():
        what, number = line.split()
        again = what == "make" and int(number) in damaged
        assert again or int(number) >= largest[what], f"{line} after {largest[what]}"
        largest[what] = max(largest[what], int(number))


def check_directory(room: Path, files: int) -> None:
    """Only what belongs there is left: no temporary, nothing half-written."""
    queue = room / "queue"
    left = sorted(
        str(path.relative_to(queue))
        for path in queue.rglob("*")
        if path.is_file() and path.parent.name != "quarantine"
    )
    waiting = [name for name in left if name.startswith("train/")]
    assert set(left) - set(waiting) == {
        ".queue/acknowledged.json",
        ".queue/owner.lock",
        "meta.json",
    }
    numbers = [int(name.removeprefix("train/train-").split(".")[0]) for name in waiting]
    assert all(number >= files for number in numbers)
    for number in numbers:
        found = (queue / f"train/train-{number:08d}.parquet").read_bytes()
        assert found == content_of(number)
