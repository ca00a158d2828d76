"""The consumer's batches for `transformers.Trainer`, read in this process or in worker processes.

Worker w of W reads the batches w, w + W, ... and the DataLoader takes turns, so the order is the
same for any W. Workers wait for files without a word or an end; the main process waits for what
it needs next, says so, polls the provider and gives up in time. Errors come over as items, since
the DataLoader would wrap them.
"""

import multiprocessing
import signal
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from synthenticity.errors import QueueError, SynthenticityError
from synthenticity.stream.dataset_consumer import DatasetConsumer
from synthenticity.training.objective import Batch
from synthenticity.training.stopping import SharedFlag

LOOK_SECONDS = 0.5
"""How long the main process waits for a worker before it looks whether a file is missing."""


class Stream(IterableDataset[Any]):
    """Every step-th batch of a consumer from a position on, without end."""

    def __init__(self, consumer: DatasetConsumer) -> None:
        self.consumer = consumer

    def __iter__(self) -> Iterator[Any]:
        """Yield batches; in a worker every W-th, and an error as the last."""
        worker = get_worker_info()
        size = self.consumer.batch_size
        if worker is None:
            while True:
                position = self.consumer.position
                self.consumer.position += size
                yield self.consumer.batch_at(position)
        position = self.consumer.position + worker.id * size
        try:
            while True:
                yield self.consumer.batch_at(position)
                position += worker.num_workers * size
        except (SynthenticityError, OSError, KeyboardInterrupt) as error:
            yield error


class StreamLoader(DataLoader[Batch]):
    """Loads a consumer's stream.

    It has a generator of its own, so that starting it draws nothing from the global one, whose
    state a resumed run takes from the checkpoint.
    """

    def __init__(
        self, consumer: DatasetConsumer, *, workers: int, stop: SharedFlag, pin_memory: bool
    ) -> None:
        self.consumer = consumer
        self.stop = stop
        self._running: Generator[Batch] | None = None
        self._reading: Any = None
        self._over = SharedFlag()
        reader = consumer
        if workers:
            reader = consumer.in_worker(stop, partial(_leave_when_over, self._over))
        super().__init__(
            Stream(reader),
            batch_size=None,
            num_workers=workers,
            generator=torch.Generator(),
            pin_memory=pin_memory,
            timeout=LOOK_SECONDS if workers else 0,
            worker_init_fn=_leave_signals_to_the_main_process if workers else None,
        )

    def __iter__(self) -> Generator[Batch]:  # type: ignore[override]
        """Yield batches without end."""
        self._running = self._batches()
        return self._running

    def close(self) -> None:
        """End the workers; not left to chance, as an error holds on to all that was going on."""
        if self._running is not None:
            self._running.close()

    def _batches(self) -> Generator[Batch]:
        position = self.consumer.position
        self._reading = super().__iter__()
        try:
            while True:
                item = self._next(position)
                if isinstance(item, BaseException):
                    raise item
                yield item
                position += self.consumer.batch_size
        finally:
            self._over.set()
            self._end_workers()

    def _end_workers(self) -> None:
        """End them now, and torch's watch over them; a single process has none.

        An error's frames may keep torch's iterator. As long as it lives, the end of any child
        raises the error of a dead worker again; and if the garbage collector ends the workers, it
        ends the threads of their queues first, and waits seconds for each.
        """
        reading, self._reading = self._reading, None
        if reading is not None and self.num_workers:
            with suppress(RuntimeError):  # one that is dead already
                reading._shutdown_workers()

    def _next(self, position: int) -> Any:
        if not self.num_workers:
            return next(self._reading)  # its errors are the consumer's own
        while True:
            try:
                return next(self._reading)
            except (OSError, EOFError) as error:  # tensors come over a connection to the worker
                raise RuntimeError(f"DataLoader worker has died ({error}).") from error
            except RuntimeError as error:
                if "timed out" not in str(error):
                    raise
            if self.stop.is_set():
                raise KeyboardInterrupt
            self.consumer.wait_until_there(position)


def _leave_signals_to_the_main_process(_worker: int) -> None:
    """Ignore Ctrl-C, which a terminal sends to every process; end by SIGTERM, without a say."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _leave_when_over(over: SharedFlag) -> bool:
    """End a worker's wait when the main process is done with it, or dead."""
    main = multiprocessing.parent_process()
    if over.is_set() or (main is not None and not main.is_alive()):
        raise KeyboardInterrupt
    return True


@contextmanager
def worker_deaths_named() -> Iterator[None]:
    """Within, the end of a worker, which may be noticed anywhere, becomes an error of one line."""
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise QueueError(
            f"train: {str(error).splitlines()[0]} The same command goes on from the last "
            "checkpoint."
        ) from error
