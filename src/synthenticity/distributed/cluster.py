"""A Ray cluster: how it is reached, and whether it can hold what is asked of it.

Ray waits for ever for a place that no node has. So what a worker needs is compared with the nodes
before anything is started. Starting a cluster of one's own takes some seconds (docs/scaling.md).
"""

import logging
import re
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from synthenticity.errors import ConfigError, MissingExtraError, QueueError

KNOCK_SECONDS = 5.0
LOCAL = "local"
"""The address that starts a cluster on this machine, for this run."""
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
NO_CAUSE = "The actor never ran"
"""So begins a line of Ray's that says less than the one before."""


@dataclass(frozen=True)
class Cluster:
    """Which cluster is used, and how.

    Attributes:
        address: `host:port` of a running cluster, `ray://host:port` by its client server, `auto`
            for the one of this machine, or `local` for one that is started and ended here.
        least: so many workers are started at once.
        most: so many there are while there is work for them.
        cpus: of each worker.
        gpus: of each worker; a part of one may be enough.

    Raises:
        ConfigError: a number does not fit.

    """

    address: str = LOCAL
    least: int = 1
    most: int = 2
    cpus: float = 1.0
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise ConfigError(
                f"--ray_workers: {self.least} to {self.most} are no numbers of workers. Give 4, "
                "or a range: 2:16."
            )
        if self.cpus < 0 or self.gpus < 0 or not self.cpus + self.gpus:
            raise ConfigError(
                f"--worker_cpus, --worker_gpus: {self.cpus:g} and {self.gpus:g} leave a worker "
                "nothing to compute on."
            )

    @property
    def demand(self) -> dict[str, float]:
        """What a worker takes of a node, in Ray's words."""
        return {"CPU": self.cpus} | ({"GPU": self.gpus} if self.gpus else {})

    @property
    def threads(self) -> int:
        """How many threads a worker computes with."""
        return max(1, int(self.cpus))

    @property
    def most_in_work(self) -> int:
        """How many tasks are in work at most; twice as many as workers, so that one that is done
        begins the next before the owner has committed.
        """
        return 2 * self.most

    def check_kind(self, owner: str) -> None:
        """Refuse workers that would compute on another kind of device than their owner does.

        Args:
            owner: kind of its device: cpu, cuda, mps.

        Raises:
            ConfigError: says what to do.

        """
        if owner == "cuda" and not self.gpus:
            raise ConfigError(
                "--worker_gpus: 0, and this process, whose data the workers are to make, computes "
                "on cuda. Without a share of their own, all workers of a node would compute on its "
                "first GPU. Give --worker_gpus (0.5: two on each), or --device cpu."
            )
        if owner != "cuda" and self.gpus:
            raise ConfigError(
                f"--worker_gpus: {self.gpus:g}, and this process computes on {owner}. Another kind "
                "of device makes other bytes than it would commit. Run the command on a machine "
                "with a GPU and --device cuda, or leave out --worker_gpus."
            )


def import_ray() -> Any:
    """Return Ray.

    Raises:
        MissingExtraError: it is not installed.

    """
    try:
        import ray
    except ImportError:
        raise MissingExtraError("A Ray cluster", "ray") from None
    return ray


@contextmanager
def connected(cluster: Cluster | None) -> Iterator[Any]:
    """Within, this process is connected to the cluster, as it is with it already; yields Ray.

    Without a cluster, nothing happens. Whoever commits what a cluster makes enters first of all,
    before anything is read or written.

    Raises:
        MissingExtraError: Ray is not installed.
        QueueError: there is no cluster at the address.
        ConfigError: no node can hold a worker, or all nodes together not the least number.

    """
    if cluster is None:
        yield None
        return
    ray = import_ray()
    ours = not ray.is_initialized()
    if ours:
        _knock(cluster.address)
        try:
            with _signals_kept():
                ray.init(
                    address=cluster.address,
                    include_dashboard=False if cluster.address == LOCAL else None,
                    logging_level=logging.ERROR,
                    log_to_driver=False,
                )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise _not_reached(cluster.address, error) from None
    try:
        check_nodes(ray.nodes(), cluster)
        yield ray
    finally:
        if ours:
            ray.shutdown()


def _knock(address: str) -> None:
    """Refuse an address at which nobody listens: Ray would try again for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host, int(port)), KNOCK_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _not_reached(address, error) from None


def _not_reached(address: str, error: Exception) -> QueueError:
    said = " ".join(COLOURS.sub("", str(error)).split())
    if said.startswith("Version mismatch"):
        return QueueError(
            f"--ray: {address} is not of the same versions as this machine. {said}. Install the "
            "same Python and the same Ray on both."
        )
    return QueueError(
        f"--ray: {address} is not reached ({cause_of(error).rstrip('.')}). Start a cluster (ray "
        "start --head), or leave out the address."
    )


def cause_of(error: Exception) -> str:
    """Return why an actor died or nothing was reached, as a sentence: the line of Ray's that says
    it.

    That is the last one of an actor's end or of a traceback, and the first one of all else. What
    Ray guesses of the causes of a killed process is left out.
    """
    lines = [line.strip() for line in COLOURS.sub("", str(error)).splitlines()]
    lines = [line for line in lines if line and not line.startswith(NO_CAUSE)]
    lines = lines or [type(error).__name__]
    at_the_end = any(line.startswith(("The actor died", "Traceback")) for line in lines)
    line = lines[-1 if at_the_end else 0]
    return line.partition(" Some common causes")[0].rstrip(".") + "."


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Within, Ray may set its own answer to SIGTERM; afterwards, ours is back."""
    ours = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, before)


def check_nodes(nodes: Sequence[Mapping[str, Any]], cluster: Cluster) -> None:
    """Refuse what the living nodes cannot hold, which would be waited for without a word.

    Raises:
        ConfigError: says what a worker asks for and what there is.

    """
    living = [node["Resources"] for node in nodes if node["Alive"]]
    places = [_places(resources, cluster.demand) for resources in living]
    if sum(places) >= cluster.least:
        return
    asked = words_of(cluster.demand)
    there = "; ".join(words_of(resources) for resources in living) or "no node"
    if not sum(places):
        raise ConfigError(
            f"--ray: a worker asks for {asked}, and no node has as much ({there}). Ask for less "
            "(--worker_cpus, --worker_gpus), or add a node."
        )
    raise ConfigError(
        f"--ray: {cluster.least} workers of {asked} each do not fit: there is room for "
        f"{sum(places)} ({there}). Ask for fewer (--ray_workers) or smaller ones."
    )


def _places(resources: Mapping[str, float], demand: Mapping[str, float]) -> int:
    """Return how many workers a node has room for.

    >>> _places({"CPU": 4, "GPU": 1}, {"CPU": 1, "GPU": 0.5}), _places({"CPU": 4}, {"GPU": 1})
    (2, 0)
    """
    return min(
        (int(resources.get(name, 0) / amount + 1e-9) for name, amount in demand.items() if amount),
        default=0,
    )


def words_of(resources: Mapping[str, float]) -> str:
    """Return amounts as a person reads them.

    >>> words_of({"CPU": 2.0, "GPU": 0.5, "memory": 1e9})
    '2 CPU, 0.5 GPU'
    """
    named = [(name, resources[name]) for name in ("CPU", "GPU") if resources.get(name)]
    return ", ".join(f"{amount:g} {name}" for name, amount in named) or "0 CPU"
