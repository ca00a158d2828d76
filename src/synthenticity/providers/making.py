"""Who makes batch files: this process, in a line, or worker processes, each on a device.

Only the owner of a queue hands out numbers and commits. A worker builds a provider of its own from
the settings, checks that it would make the same data, and sends back the bytes of each file, which
are the same whoever makes it. Within a file, a worker's batches go in a line, too; between two,
its model waits for the owner, which costs less than a second file in each worker's memory and is
what more workers than devices are for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from synthenticity.config import Config
from synthenticity.distributed.cluster import Cluster
from synthenticity.errors import ConfigError
from synthenticity.faults import point
from synthenticity.providers.base import DataProviderBase, find_provider
from synthenticity.providers.file_line import FileLine, MadeFile, Name
from synthenticity.runtimes.devices import resolve_device
from synthenticity.stream.meta import Meta
from synthenticity.text.files import STANDARD_INPUT
from synthenticity.workers import (
    Pool,
    Workers,
    check_same_work,
    settle_libraries,
    threads_of_each,
)

FILES_AHEAD = 3
"""In work without workers: one is committed, one filled, and of one the first batches are drawn."""


class FileMaker:
    """Makes the files whose names it is given: in a line here, or as many as it has workers.

    Attributes:
        in_work: the names that were given and whose files were not handed back.

    """

    def __init__(self, provider: DataProviderBase, meta: Meta, places: "Places") -> None:
        self.in_work: list[Name] = []
        self._most = places.most_in_work
        self._line: FileLine | None = None
        self._workers: Pool[Name, MadeFile] | None = None
        if places.cluster is not None:
            from synthenticity.distributed.ray_workers import RayWorkers

            own = (places.config, meta, places.threads)
            self._workers = RayWorkers(_build_in_worker, own, places.cluster)
        elif places.workers:
            self._workers = Workers(
                _build_in_worker, [(config, meta, places.threads) for config in places.configs]
            )
        else:
            self._line = FileLine(provider, meta)

    @property
    def has_room(self) -> bool:
        """Whether one more would be begun at once."""
        return len(self.in_work) < self._most

    def give(self, name: Name) -> None:
        """Have a file made."""
        self.in_work.append(name)
        if self._line is not None:
            self._line.give(name)
        if self._workers is not None:
            self._workers.give(name, f"{name[0]} {name[1]}")

    def wait(self, seconds: float) -> list[MadeFile]:
        """Return files that are made; wait for the first, at most so many seconds."""
        made: list[MadeFile] = []
        if self._line is not None:
            made = self._line.wait(seconds)
        if self._workers is not None:
            made = [file for _, file in self._workers.wait(seconds)]
        for file in made:
            self.in_work.remove((file.split, file.number))
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._line is not None:
            self._line.end()
        if self._workers is not None:
            self._workers.end()


def _build_in_worker(config: Config, meta: Meta, threads: int | None) -> Callable[[Name], MadeFile]:
    """Build a worker's own provider, if it makes the data that its owner commits.

    Raises:
        CompatibilityError: corpus, model, version or kind of device are not those of the owner.

    """
    settle_libraries(threads)
    provider = find_provider(config.dataset)(config)
    check_same_work(_decisive(meta), _decisive(provider.meta(meta.kind)))
    line = FileLine(provider, meta)

    def make(name: Name) -> MadeFile:
        point("worker.begun")
        line.give(name)
        (made,) = line.wait()
        point("worker.made")
        return made

    return make


def _decisive(meta: Meta) -> dict[str, Any]:
    """Return what `meta.json` says of the files, without the digest of it all."""
    return {key: value for key, value in meta.to_json().items() if key != "fingerprint"}


@dataclass(frozen=True)
class Places:
    """Where files are made.

    `config` is for the owner of the queue; `configs` for each worker, none where the owner makes
    the files itself; `threads` what each computes with (None: as many as the libraries choose);
    `cluster` where workers are, if not on this machine.
    """

    config: Config
    configs: tuple[Config, ...]
    threads: int | None
    cluster: Cluster | None = None

    @property
    def workers(self) -> int:
        """How many worker processes there are, at most."""
        return len(self.configs) if self.cluster is None else self.cluster.most

    @property
    def most_in_work(self) -> int:
        """How many files are in work at most."""
        if self.cluster is not None:
            return self.cluster.most_in_work
        return self.workers or FILES_AHEAD


def find_places(
    config: Config, workers: int, devices: Sequence[str], cluster: Cluster | None = None
) -> Places:
    """Return where files are made with so many workers, dealt to the devices in turn; or on a
    cluster.

    Raises:
        ConfigError: the numbers do not fit, a device is not there, or two differ in kind.

    """
    if cluster is not None:
        return _places_on(cluster, config, workers, devices)
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


def _places_on(cluster: Cluster, config: Config, workers: int, devices: Sequence[str]) -> Places:
    """Return where files are made on a cluster, whose nodes have their own devices."""
    if workers or devices:
        raise ConfigError(
            "workers, devices: say where files are made on this machine. Beside --ray, give "
            "--ray_workers, --worker_cpus and --worker_gpus."
        )
    if config.corpus == STANDARD_INPUT:
        raise ConfigError(
            f"corpus: {STANDARD_INPUT} (standard input) cannot be read on other nodes. Save the "
            "text in a file that all of them see."
        )
    cluster.check_kind(resolve_device(config.device).type)
    return Places(config, (), cluster.threads, cluster)
