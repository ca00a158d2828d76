"""`DatasetConsumer`: batches out of a directory, in strict order, each sequence once.

A position is one integer: how many sequences have been handed out since file 0. It says
everything about where a consumer is, so resuming needs nothing else. Batches are cut from the
stream of sequences, across files, so the batch size of the reader need not be that of the files.
A live queue is read once, in order; a finite data set is read for as many epochs as asked for,
each in an order that depends only on (seed, epoch). The ranks of a distributed run see the same
stream, each a slice of every batch, so a position means the same for any number of them.
"""

import copy
import logging
import shlex
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthenticity.errors import (
    BatchFileError,
    CompatibilityError,
    ConfigError,
    ProviderTimeoutError,
    QueueError,
)
from synthenticity.faults import point
from synthenticity.seeding import numpy_rng
from synthenticity.stream.audit import SPLITS
from synthenticity.stream.batch_file import BatchFile, Columns
from synthenticity.stream.batch_queue import TRAIN
from synthenticity.stream.meta import FINITE, LIVE, Meta
from synthenticity.stream.ownership import still_beats
from synthenticity.stream.places import open_queue
from synthenticity.stream.slicing import share_of
from synthenticity.stream.waiting import NeverStopped, Stop, provider_news

logger = logging.getLogger(__name__)


class DatasetConsumer:
    """Reads one split of a directory of batch files.

    Args:
        directory: a queue or a finite data set, or the URL of one on an object store; it need not
            exist yet.
        batch_size: sequences of a batch, of all ranks together; need not be the provider's.
        split: `train`, `val`, or another that the directory holds.
        columns: hand out these columns; by default those with role input or target.
        position: start after this many sequences.
        seed: of the order of a finite data set's epochs; None reads in file order.
        wait_seconds: how long to wait for a file before giving up.
        max_files: read only the first files of a fixed set.
        stop: set it from outside to end a wait with `KeyboardInterrupt`.
        on_wait: called with a line of text when a wait begins.
        while_waiting: called again and again during a wait; returns whether a provider is on
            its way, and may raise to end the wait.
        rank: hand out this slice of each batch ...
        world_size: ... of as many equal ones.
        name: of the run, recorded with what it acknowledges; only that run may take it back.

    Raises:
        ConfigError: the ranks cannot share a batch equally.
        ProviderTimeoutError: the directory or a file did not appear in time.

    Example:
        consumer = DatasetConsumer("data/sequence_scorer", batch_size=16)
        batch = consumer.get_batch()          # a dict of torch tensors, or (X, Y)
        consumer.acknowledge(consumer.position)

    """

    def __init__(
        self,
        directory: str | Path,
        *,
        batch_size: int,
        split: str = TRAIN,
        columns: list[str] | None = None,
        position: int | None = None,
        seed: int | None = None,
        wait_seconds: float = 300.0,
        max_files: int | None = None,
        stop: Stop | None = None,
        on_wait: Callable[[str], None] = logger.warning,
        while_waiting: Callable[[], bool] = lambda: False,
        rank: int = 0,
        world_size: int = 1,
        name: str = "",
    ) -> None:
        self.share = share_of(batch_size, world_size)
        self.queue = open_queue(directory)
        self.rank, self.world_size = rank, world_size
        self.name = name
        self.split = split
        self.batch_size = batch_size
        self.seed = seed
        self._wait_seconds = wait_seconds
        self._max_files = max_files
        self._stop = stop or NeverStopped()
        self._on_wait = on_wait
        self.while_waiting = while_waiting
        self.meta: Meta = self._wait_for(self.queue.meta, "meta.json")
        self.choose_columns(columns)
        self._fixed_files = self._count_fixed_files()
        self.position = self.first_position() if position is None else position

    def choose_columns(self, asked: list[str] | None) -> None:
        """Hand out these columns from now on; None: those with role input or target.

        Raises:
            ConfigError: the data have no such column; lists those they have.

        """
        schema = self.meta.schema
        unknown = sorted(set(asked or []) - set(schema.names()))
        if unknown:
            raise ConfigError(
                f"columns: {unknown} are not in the data, which has {schema.names()}."
            )
        self.columns = asked if asked is not None else schema.names("input", "target")
        self._cached: tuple[int, Columns] | None = None

    def _count_fixed_files(self) -> int | None:
        """Return the number of files of a fixed set once it is complete, None for a live split.

        A provider says beforehand how many files such a set will have, and makes those of a live
        queue before its first train file.
        """
        if self.split == TRAIN and self.meta.kind == LIVE:
            return None
        self._wait_for(self._is_complete, f"complete {self.split} set")
        numbers = self.queue.numbers(self.split)
        if numbers != list(range(len(numbers))):
            missing = sorted(set(range(len(numbers))) - set(numbers))
            raise QueueError(
                f"{self.queue.name}/{self.split}: files {missing} are missing. Run prepare "
                "again; it makes what is missing."
            )
        return min(len(numbers), self._max_files or len(numbers))

    def _is_complete(self) -> bool:
        if self.meta.kind == LIVE and not self.queue.streaming():
            return False
        wanted = max(1, min(self.queue.announced(self.split), self._max_files or 2**63))
        return len(self.queue.numbers(self.split)) >= wanted

    @property
    def files(self) -> int | None:
        """The files of a fixed set, None for a live stream."""
        return self._fixed_files

    @property
    def rows_per_epoch(self) -> int | None:
        """The sequences of a fixed set, None for a live stream."""
        return None if self._fixed_files is None else self._fixed_files * self.meta.rows_per_file

    def first_position(self) -> int:
        """Return where an unstarted consumer begins: at the first file not yet acknowledged."""
        if self._fixed_files is not None:
            return 0
        return self.queue.first_unacknowledged() * self.meta.rows_per_file

    def get_batch(self) -> dict[str, Any] | tuple[Any, Any]:
        """Return the next batch of tensors `[batch / world_size, ...]` and move on.

        A dict; or `(X, Y)` if the columns are one input and one target.
        """
        batch = self.batch_at(self.position)
        self.position += self.batch_size
        roles = {column.name: column.role for column in self.meta.schema.columns}
        inputs = [name for name in self.columns if roles[name] == "input"]
        targets = [name for name in self.columns if roles[name] == "target"]
        if len(inputs) == len(targets) == 1 and len(self.columns) == 2:
            return batch[inputs[0]], batch[targets[0]]
        return batch

    def batch_at(self, position: int) -> dict[str, Any]:
        """Return this rank's tensors `[batch / world_size, ...]` of the batch at a position."""
        import torch

        arrays = self.read_rows(position + self.rank * self.share, self.share)
        dtypes = {column.name: column.dtype for column in self.meta.schema.columns}
        return {
            name: torch.from_numpy(values.astype(dtypes[name]))
            if values.dtype.kind not in "UT"
            else values.tolist()
            for name, values in arrays.items()
        }

    def read_rows(self, position: int, count: int) -> Columns:
        """Return the columns of `count` sequences from a position on, whatever files hold them."""
        per_file = self.meta.rows_per_file
        parts: list[Columns] = []
        while count > 0:
            number, row = divmod(position, per_file)
            take = min(count, per_file - row)
            columns = self._load(number)
            parts.append({name: values[row : row + take] for name, values in columns.items()})
            position, count = position + take, count - take
        return {name: np.concatenate([part[name] for part in parts]) for name in self.columns}

    def read_all(self) -> Columns:
        """Return a whole fixed set, in file order."""
        if self.rows_per_epoch is None:
            raise QueueError(f"{self.queue.name}: the live {self.split} split has no end.")
        parts = [self._read_file(number) for number in range(self._fixed_files or 0)]
        return {name: np.concatenate([part[name] for part in parts]) for name in self.columns}

    def acknowledge(self, position: int) -> None:
        """Say that everything before a position is safely in a checkpoint (live train split)."""
        if self._fixed_files is None:
            self.queue.acknowledge(position // self.meta.rows_per_file, self.name)

    def take_back(self, position: int) -> bool:
        """Ask for what was let go of from a position on again; return whether anything was.

        For a run that lost the checkpoint on which it let go.

        Raises:
            QueueError: another run acknowledged last.

        """
        number = position // self.meta.rows_per_file
        if self._fixed_files is not None or number >= self.queue.first_unacknowledged():
            return False
        self.queue.rewind(number, self.name)
        return True

    def wait_until_there(self, position: int) -> None:
        """Wait for the files of this rank's share of the batch at a position; read nothing.

        For one who has the reading done by other processes: they wait without a word.
        """
        first = position + self.rank * self.share
        per_file = self.meta.rows_per_file
        for stream_number in range(first // per_file, (first + self.share - 1) // per_file + 1):
            number, _ = self._file_of(stream_number)
            self._wait_for(partial(self._is_there, number), f"{self.split} file {number}")

    def _is_there(self, number: int) -> bool:
        self._check_still_needed(number)
        return self.queue.has(self.split, number)

    def in_worker(self, stop: Stop, while_waiting: Callable[[], bool]) -> "DatasetConsumer":
        """Return a copy that waits without a word or an end, for another process to read with."""
        other = copy.copy(self)
        other._stop, other.while_waiting = stop, while_waiting
        other._wait_seconds = float("inf")
        other._on_wait = logger.debug
        other._cached = None
        return other

    def _load(self, stream_number: int) -> Columns:
        """Return the columns of the n-th file of the stream, rows in the epoch's order."""
        if self._cached is None or self._cached[0] != stream_number:
            self._cached = (stream_number, self._load_ordered(stream_number))
        return self._cached[1]

    def _load_ordered(self, stream_number: int) -> Columns:
        number, epoch = self._file_of(stream_number)
        columns = self._read_file(number)
        if self._fixed_files is None or self.seed is None:
            return columns
        rng = numpy_rng(self.seed, self.split, epoch, f"row order {number}")
        order: NDArray[np.int64] = rng.permutation(self.meta.rows_per_file)
        return {name: values[order] for name, values in columns.items()}

    def _file_of(self, stream_number: int) -> tuple[int, int]:
        """Return the number of the n-th file of the stream, and the epoch that it is read in."""
        if self._fixed_files is None:
            return stream_number, 0
        epoch, index = divmod(stream_number, self._fixed_files)
        if self.seed is None:
            return index, epoch
        files = numpy_rng(self.seed, self.split, epoch, "file order").permutation(self._fixed_files)
        return int(files[index]), epoch

    def _read_file(self, number: int) -> Columns:
        def attempt() -> BatchFile | None:
            self._check_still_needed(number)
            return self.queue.get(self.split, number, columns=self.columns)

        file = self._wait_for(attempt, f"{self.split} file {number}")
        if file.identity.fingerprint != self.meta.fingerprint:
            raise CompatibilityError(
                f"{self.queue.name}: holds other data than when this run began: somebody made "
                "it anew with another configuration. Start another run, with another directory."
            )
        if len(file) != self.meta.rows_per_file:
            raise BatchFileError(
                f"{self.queue.path(self.split, number)}: has {len(file)} rows, "
                f"meta.json says {self.meta.rows_per_file}."
            )
        point("consumer.read")
        columns: Columns = file.columns
        return columns

    def _check_still_needed(self, number: int) -> None:
        """Raise if another consumer has let go of a file, which then never comes again."""
        if self._fixed_files is None and number < self.queue.first_unacknowledged():
            raise QueueError(
                f"{self.queue.name}: train file {number} was acknowledged and removed by "
                "another consumer. Continue the run that owns this queue, or use another queue."
            )

    def _wait_for(self, attempt: Callable[[], Any], what: str) -> Any:
        """Try until there is a result; say once why it waits; time out with what to do."""
        deadline = time.monotonic() + self._wait_seconds
        said = False
        while not (result := attempt()):
            if self._nobody_makes_it():
                raise QueueError(
                    f"{self.queue.name}: has no {what}, and nobody is making it. Run "
                    f"{self._how_to_make()}; it makes what is missing."
                )
            if time.monotonic() >= deadline:
                raise ProviderTimeoutError(
                    f"{self.queue.name}: no {what} after {self._wait_seconds:g} s. "
                    f"{provider_news(self.queue)}"
                )
            on_its_way = self.while_waiting()
            if not said and not on_its_way and not self._provider_alive():
                self._on_wait(f"Waiting for {what}. {provider_news(self.queue)}")
                said = True
            if self._stop.wait(self.queue.poll_seconds):
                raise KeyboardInterrupt
        return result

    def _how_to_make(self) -> str:
        """Return the command that makes this split of a finite data set."""
        files, other = self.queue.announced(self.split), ""
        if not files:
            files, other = max(map(self.queue.announced, SPLITS)), f" --splits {self.split}"
        return (
            f"synthenticity prepare CONFIG --files {files or 'N'}{other} "
            f"--out-dir {shlex.quote(self.queue.name)}"
        )

    def _nobody_makes_it(self) -> bool:
        """Whether a finite data set is not complete, and surely will not be."""
        meta = getattr(self, "meta", None)
        finite = meta is not None and meta.kind == FINITE
        unseen = not self._provider_alive() and self.queue.knows_owner
        return finite and unseen and not self._provider_beats()

    def _provider_beats(self) -> bool:
        return still_beats(self.queue.private)

    def _provider_alive(self) -> bool:
        owner = self.queue.owner()
        return owner is not None and owner.alive
