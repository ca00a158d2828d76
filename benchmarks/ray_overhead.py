"""What of its workers' time does a Ray cluster take, beside worker processes and beside no owner?

    python benchmarks/ray_overhead.py                  # some minutes on 2 cores
    python benchmarks/ray_overhead.py --rounds 2 --tasks 20 --works hashing

Three ways to have the same tasks made by as many processes at the same time, in turns in one run:
loops that nobody hands anything to and whose results are thrown away, `Workers` (one owner, a pipe
each), and `RayWorkers` on a cluster of this machine. The cluster is there all the time, so what it
costs by being there is in all three. A pool that is at rest is left alone: its models stay loaded.
"""

import argparse
import dataclasses
import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# As the others are: by itself, an actor makes way for all else on its machine (niceness 15).
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112

import record
from prepare_shapes import settings

from synthenticity.config import Config
from synthenticity.distributed.cluster import Cluster, connected
from synthenticity.distributed.ray_workers import RayWorkers
from synthenticity.providers.base import find_provider
from synthenticity.providers.file_line import FileLine
from synthenticity.stream.meta import FINITE
from synthenticity.workers import Pool, Workers, settle_libraries

TASK_SECONDS = 0.055
"""Of hashing: a little more than the 50 ms that are asked for."""
RESULTS = 10_000, 500_000
"""Bytes that hashing returns: of about 16 sequences, as many as a model fills in that time, and of
a batch file of 800."""
ROWS_OF_A_FILE = {"batch_size": 8, "batches_per_file": 2}
BLOCK_WORDS = 62_500
"""Of eight bytes: what is hashed again and again."""
AHEAD = 2
"""Tasks given for each worker, as owners that read ahead do."""
WAYS = ("loops", "processes", "Ray")


def hashing(times: int, size: int) -> Callable[[int], bytes]:
    """Build a maker of so many bytes that takes one processor and nothing else."""

    def make(number: int) -> bytes:
        block = number.to_bytes(8, "little") * BLOCK_WORDS
        for _ in range(times):
            seed = hashlib.sha256(block).digest()
        return seed * (size // len(seed))

    return make


def filing(config: Config) -> Callable[[int], bytes]:
    """Build a maker of the batch files of `prepare`."""
    settle_libraries(1)
    provider = find_provider(config.dataset)(config)
    line = FileLine(provider, provider.meta(FINITE))

    def make(number: int) -> bytes:
        line.give(("train", number))
        (made,) = line.wait()
        return bytes(made.content)

    return make


def looping(build: Callable[..., Callable[[int], bytes]], *given: Any) -> Callable[[range], int]:
    """Build a maker that makes one task after the other and hands back nothing of them."""
    make = build(*given)
    return lambda numbers: sum(len(make(number)) > 0 for number in numbers)


def times_for(seconds: float) -> int:
    """Return how often a block is to be hashed for so many seconds."""
    began = time.perf_counter()
    hashing(50, RESULTS[0])(0)
    return max(1, round(50 * seconds / (time.perf_counter() - began)))


class Bench:
    """One kind of task in the hands of so many workers, three ways."""

    def __init__(
        self, build: Callable[..., Callable[[int], bytes]], given: tuple[Any, ...], workers: int
    ) -> None:
        self.workers = workers
        self.loops: Workers[range, int] = Workers(looping, [(build, *given)] * workers)
        self.pools: dict[str, Pool[int, bytes]] = {}
        self.first = {
            "processes": self._begin("processes", lambda: Workers(build, [given] * workers)),
            "Ray": self._begin(
                "Ray", lambda: RayWorkers(build, given, Cluster(least=workers, most=workers))
            ),
        }
        self.seconds_of("loops", workers)

    def _begin(self, way: str, pool: Callable[[], Pool[int, bytes]]) -> float:
        """Make a pool, and return what it takes until every worker has made a task."""
        began = time.perf_counter()
        self.pools[way] = pool()
        self._make_all(self.pools[way], self.workers)
        return time.perf_counter() - began

    def seconds_of(self, way: str, tasks: int) -> float:
        """Return what so many tasks take."""
        began = time.perf_counter()
        if way == "loops":
            each = tasks // self.workers
            for worker in range(self.workers):
                self.loops.give(range(worker * each, (worker + 1) * each), "a loop")
            while len(self.loops):
                self.loops.wait(1)
        else:
            self._make_all(self.pools[way], tasks)
        return time.perf_counter() - began

    def _make_all(self, pool: Pool[int, bytes], tasks: int) -> None:
        given = 0
        while given < tasks or len(pool):
            while given < tasks and len(pool) < AHEAD * self.workers:
                pool.give(given, f"task {given}")
                given += 1
            pool.wait(1)

    def end(self) -> None:
        for pool in (self.loops, *self.pools.values()):
            pool.end()


def measured(bench: Bench, name: str, rounds: int, tasks: int) -> dict[str, Any]:
    """Return the line of a kind of task."""
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    tasks -= tasks % bench.workers
    for round_ in range(rounds):
        for way in WAYS[round_ % 3 :] + WAYS[: round_ % 3]:  # none is always first
            rates[way].append(tasks / bench.seconds_of(way, tasks) / bench.workers)
    rate = {way: statistics.median(all_of) for way, all_of in rates.items()}
    return {
        "tasks": name,
        "workers": bench.workers,
        "ms a task alone": round(1000 / rate["loops"]),
        **{f"{way}: tasks/s of a worker": f"{rate[way]:.2f}" for way in WAYS},
        "Ray / loops": ratio(rates["Ray"], rates["loops"]),
        "Ray / processes": ratio(rates["Ray"], rates["processes"]),
        "first tasks of processes, s": f"{bench.first['processes']:.1f}",
        "first tasks of Ray, s": f"{bench.first['Ray']:.1f}",
    }


def ratio(ours: list[float], theirs: list[float]) -> str:
    """Return the median of the ratios of rounds, and from where to where they go."""
    found = [mine / its for mine, its in zip(ours, theirs, strict=True)]
    return f"**{statistics.median(found):.1%}** ({min(found):.1%} to {max(found):.1%})"


def seconds_of_connecting() -> float:
    """Return what it takes to start a cluster on this machine."""
    began = time.perf_counter()
    with connected(Cluster()):
        return time.perf_counter() - began


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--rounds", type=int, default=9)
    asked.add_argument("--tasks", type=int, default=60, help="of a round, of hashing")
    asked.add_argument("--files", type=int, default=16, help="of a round, of prepare")
    asked.add_argument("--works", nargs="*", default=["hashing", "prepare"])
    options = asked.parse_args()
    rows = []
    start = seconds_of_connecting()
    with tempfile.TemporaryDirectory() as folder, connected(Cluster()):
        config = dataclasses.replace(settings(Path(folder), "S", 0.3), **ROWS_OF_A_FILE)
        times = times_for(TASK_SECONDS)
        works: dict[str, list[tuple[str, Any, tuple[Any, ...], int]]] = {
            "hashing": [
                (f"hashing, {size // 1000} kB", hashing, (times, size), options.tasks)
                for size in RESULTS
            ],
            "prepare": [("prepare", filing, (config,), options.files)],
        }
        for name, build, given, tasks in chain(*(works[work] for work in options.works)):
            for workers in (1, 2):
                bench = Bench(build, given, workers)
                try:
                    rows.append(measured(bench, name, options.rounds, tasks))
                finally:
                    bench.end()
    record.write(
        "ray_overhead",
        title="Work on a Ray cluster",
        command="python benchmarks/ray_overhead.py",
        about="The same tasks made by as many processes at a time, a thread each: loops without an "
        "owner, worker processes, actors of a Ray cluster of this machine, all of one priority "
        "(Ray's own for actors is lower: niceness 15). *hashing* takes a processor and returns so "
        "much; *prepare* makes a batch file of "
        f"{ROWS_OF_A_FILE['batch_size'] * ROWS_OF_A_FILE['batches_per_file']} sequences of 256 "
        "characters by a model of 6 layers of 384. In turns, medians of "
        f"{options.rounds} rounds, ratios round by round (smallest to largest). The cluster itself "
        f"took {start:.1f} s to start; a worker's first task loads what it needs.",
        rows=rows,
        threads=1,
    )


if __name__ == "__main__":
    main()
