"""Who makes batch files: this process, one at a time, or worker processes, each on a device.

Only the owner of a queue hands out numbers and commits. A worker builds a provider of its own from
the settings, checks that it would make the same data, and sends back the bytes of each file, which
are the same whoever makes it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

from synthenticity.config import Config
from synthenticity.errors import CompatibilityError, ConfigError
from synthenticity.faults import point
from synthenticity.providers.base import DataProviderBase, find_provider
from synthenticity.stream.batch_file import Identity, encode_batch_file
from synthenticity.stream.meta import Meta
from synthenticity.stream.summary import StreamSummary
from synthenticity.synthesis.checkpoints import resolve_device
from synthenticity.text.files import STANDARD_INPUT
from synthenticity.workers import Workers, settle_libraries, threads_of_each

Name = tuple[str, int]
"""Split and number of a file."""


@dataclass(frozen=True)
class MadeFile:
    """A batch file that is not committed yet, and its figures."""

    split: str
    number: int
    content: bytes
    sequences: int
    summary: StreamSummary


def make_file(provider: DataProviderBase, meta: Meta, name: Name) -> MadeFile:
    """Make one file: a function of the settings and its name."""
    columns = provider.make_file(*name)
    point("provider.made")
    content = encode_batch_file(columns, meta.schema, Identity(meta.fingerprint, *name))
    summary = StreamSummary()
    summary.add(columns)
    return MadeFile(*name, content, len(next(iter(columns.values()))), summary)


class FileMaker:
    """Makes the files whose names it is given: one at a time here, or as many as it has workers.

    Attributes:
        in_work: the names that were given and whose files were not handed back.

    """

    def __init__(self, provider: DataProviderBase, meta: Meta, places: "Places") -> None:
        self.in_work: list[Name] = []
        self._most = max(1, places.workers)
        self._make: Callable[[Name], MadeFile] | None = None
        self._workers: Workers[Name, MadeFile] | None = None
        if places.workers:
            self._workers = Workers(
                _build_in_worker, [(config, meta, places.threads) for config in places.configs]
            )
        else:
            self._make = partial(make_file, provider, meta)

    @property
    def has_room(self) -> bool:
        """Whether one more would be begun at once."""
        return len(self.in_work) < self._most

    def give(self, name: Name) -> None:
        """Have a file made."""
        self.in_work.append(name)
        if self._workers is not None:
            self._workers.give(name, f"{name[0]} {name[1]}")

    def wait(self, seconds: float) -> list[MadeFile]:
        """Return files that are made; wait for the first, of workers at most so many seconds."""
        if self._workers is not None:
            made = [file for _, file in self._workers.wait(seconds)]
        else:
            assert self._make is not None
            made = [self._make(self.in_work[0])]
        for file in made:
            self.in_work.remove((file.split, file.number))
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._workers is not None:
            self._workers.end()


def _build_in_worker(config: Config, meta: Meta, threads: int | None) -> Callable[[Name], MadeFile]:
    """Build a worker's own provider, if it makes the data that its owner commits.

    Raises:
        CompatibilityError: the corpus or a model was changed since the owner read it.

    """
    settle_libraries(threads)
    provider = find_provider(config.dataset)(config)
    differing = meta.differences(provider.meta(meta.kind))
    if differing:
        raise CompatibilityError(
            f"{config.corpus}: a worker does not make the data that its provider began with: "
            f"{'; '.join(differing)}. Put back what was changed meanwhile, or use another "
            "directory (--out-dir)."
        )

    def make(name: Name) -> MadeFile:
        point("worker.begun")
        made = make_file(provider, meta, name)
        point("worker.made")
        return made

    return make


@dataclass(frozen=True)
class Places:
    """Where files are made.

    `config` is for the owner of the queue; `configs` for each worker, none where the owner makes
    the files itself; `threads` what each computes with (None: as many as the libraries choose).
    """

    config: Config
    configs: tuple[Config, ...]
    threads: int | None

    @property
    def workers(self) -> int:
        """How many worker processes there are."""
        return len(self.configs)


def find_places(config: Config, workers: int, devices: Sequence[str]) -> Places:
    """Return where files are made with so many workers, dealt to the devices in turn.

    Raises:
        ConfigError: the numbers do not fit, a device is not there, or two differ in kind.

    """
    if workers < 0:
        raise ConfigError(f"workers: {workers} is negative. Give a number of processes, or none.")
    if 1 < workers < len(devices):
        raise ConfigError(
            f"devices: {len(devices)} are named for {workers} workers. Name as many workers as "
            "devices, or more; without --workers there is one for each device."
        )
    kinds = {resolve_device(device).type for device in devices}
    if len(kinds) > 1:
        raise ConfigError(
            f"devices: {', '.join(devices)} are of two kinds, which do not make the same bytes. "
            "Name devices of one kind."
        )
    named = [replace(config, device=device) for device in devices] or [config]
    count = max(workers, len(devices))
    if count < 2:
        return Places(named[0], (), None)
    if config.corpus == STANDARD_INPUT:
        raise ConfigError(
            f"corpus: {STANDARD_INPUT} (standard input) cannot be read by {count} workers. Save "
            "the text in a file, or leave out --workers and --devices."
        )
    on_cpu = resolve_device(named[0].device).type == "cpu"
    configs = tuple(named[number % len(named)] for number in range(count))
    return Places(named[0], configs, threads_of_each(count) if on_cpu else None)
