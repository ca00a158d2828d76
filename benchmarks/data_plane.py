"""What does the data plane cost the provider, and how fast does it feed the trainer?

At the demo's size, all in turns in one run: the provider fills, encodes and commits files; the
demo's scorer is trained on them; the consumer reads them, beside a copy in memory and the readers
of benchmarks/data_plane_readers.py, which hold the same rows in their own formats. Then a bit of
everybody's data is flipped (benchmarks/data_plane_flips.py). Peers not installed are left out.
"""

import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import record
import torch
from data_plane_flips import OUTCOMES, TRIALS, TRUTH, count_outcomes
from data_plane_readers import (
    COLUMNS,
    OURS,
    PEERS,
    SHUFFLED,
    Batch,
    Reader,
    copy_batches,
    read_all,
)
from demo_data import MLM_STEPS, SCORER_STEPS, demo_provider

from synthenticity.config import Config
from synthenticity.providers.base import DataProviderBase
from synthenticity.providers.prepare import prepare
from synthenticity.stream.batch_file import Identity, encode_batch_file
from synthenticity.stream.batch_queue import BatchQueue
from synthenticity.stream.meta import FINITE
from synthenticity.training.callbacks import TrainProgress
from synthenticity.training.train import train

FILLED, COPIES, DAMAGED = 8, 4, 2
"""Files that the provider fills, how often each stands in the set that is read, and files of the
smaller set that is damaged."""
STEPS = ("fill", "encode", "commit", "read")
ROUNDS, LEAST_SECONDS = 5, 0.3
FIRST_TIMED_STEP = 10
SMALL = "small"


Rates = dict[str, list[float]]


class Plane:
    """The provider's side: a data set of the demo's files, and what each step of making it took."""

    def __init__(self, folder: Path, provider: DataProviderBase) -> None:
        self.meta = provider.meta(FINITE)
        self.seconds: dict[str, list[float]] = {name: [] for name in STEPS}
        self.bytes = 0
        places = (folder / OURS.name, folder / SMALL / OURS.name)
        self.queue, self.small = map(BatchQueue, places)
        for queue in (self.queue, self.small):
            queue.private.mkdir(parents=True)
            queue.put_meta(self.meta)
        for number in range(FILLED):
            columns = self._timed("fill", lambda n=number: provider.make_file("train", n))
            for copy in range(COPIES):
                self._put(self.queue, number + copy * FILLED, columns)
            if number < DAMAGED:
                self._put(self.small, number, columns)
        self.queue.announce(FILLED * COPIES, ["train"])
        self.small.announce(DAMAGED, ["train"])

    def _timed(self, step: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = work()
        self.seconds[step].append(time.perf_counter() - start)
        return result

    def _put(self, queue: BatchQueue, number: int, columns: Any) -> None:
        identity = Identity(self.meta.fingerprint, "train", number)
        content = self._timed(
            "encode", lambda: encode_batch_file(columns, self.meta.schema, identity)
        )
        self._timed("commit", lambda: queue.put("train", number, content))
        self.bytes = len(content)

    def read(self) -> None:
        """Read every file whole, as the consumer does for all columns."""
        for number in range(FILLED * COPIES):
            self._timed("read", lambda n=number: self.queue.get("train", n))

    def median(self, *steps: str) -> float:
        """Return the median seconds of the steps, added up."""
        return sum(statistics.median(self.seconds[step]) for step in steps)

    def shown(self, step: str) -> str:
        """Return the median of a step and the middle half of its times."""
        low, median, high = np.quantile(self.seconds[step], (0.25, 0.5, 0.75)) * 1000
        return f"{median:.4g} ms ({low:.4g} to {high:.4g})"


def trained_per_second(config: Config, out: Path) -> float:
    """Return how many sequences a second the demo's scorer eats, from the tenth step on."""
    times: dict[int, float] = {}

    def look_at_the_clock(progress: TrainProgress) -> None:
        if "loss" in progress.figures:
            times[progress.step] = time.perf_counter()

    train(config, out, on_progress=look_at_the_clock)
    steps = SCORER_STEPS - FIRST_TIMED_STEP
    return steps * config.batch_size / (times[SCORER_STEPS] - times[FIRST_TIMED_STEP])


def read_per_second(batches: Callable[[], Iterator[Batch]]) -> float:
    """Return how many sequences a second a reader hands out, in whole passes."""
    rows, start = 0, time.perf_counter()
    while (seconds := time.perf_counter() - start) < LEAST_SECONDS:
        rows += sum(len(batch["targets"]) for batch in batches())
    return rows / seconds


def in_turns(plane: Plane, config: Config, folder: Path, peers: list[Reader]) -> Rates:
    """Return the sequences a second of trainer, memory and readers in every round."""
    truth = read_all(OURS.batches(plane.queue.directory))
    in_memory = {name: torch.from_numpy(values) for name, values in truth.items()}
    rates: Rates = {}
    for turn in range(ROUNDS):
        out = folder / f"scorer-{turn}"
        rates.setdefault("trainer", []).append(trained_per_second(config, out))
        rates.setdefault("memory", []).append(read_per_second(lambda: copy_batches(in_memory)))
        for reader in (OURS, SHUFFLED, *peers):
            place = folder / (OURS.name if reader is SHUFFLED else reader.name)
            rate = read_per_second(lambda r=reader, p=place: r.batches(p))
            rates.setdefault(reader.name, []).append(rate)
    return rates


def write_peers(plane: Plane, folder: Path, peers: list[Reader]) -> None:
    """Store the rows of both sets in the peers' formats, and check what they read."""
    for queue, place in ((plane.queue, folder), (plane.small, folder / SMALL)):
        place.mkdir(exist_ok=True)
        truth = read_all(OURS.batches(queue.directory))
        np.savez(place / TRUTH, **truth)
        stored = {name: truth[name].astype(kind) for name, kind in COLUMNS.items()}
        for reader in peers:
            reader.write(place / reader.name, stored)


def cost_rows(plane: Plane, rates: Rates, rows: int) -> list[dict[str, str]]:
    """Return the table of what the data plane costs and gives."""
    fill = plane.median("fill")
    eaten, consumed = (statistics.median(rates[name]) for name in ("trainer", SHUFFLED.name))

    def row(what: str, figure: str, beside: str) -> dict[str, str]:
        return {"": what, "median (middle half)": figure, "beside": beside}

    def share(*steps: str) -> str:
        return f"{plane.median(*steps) / fill:.2%} of filling"

    both = plane.median("encode", "commit")
    return [
        row("provider: fill", plane.shown("fill"), "1"),
        row("provider: digests and Parquet", plane.shown("encode"), share("encode")),
        row("provider: write, flush, link, flush", plane.shown("commit"), share("commit")),
        row("provider: both", f"{both * 1000:.4g} ms", f"**{share('encode', 'commit')}**"),
        row("consumer: read and verify a file", plane.shown("read"), f"{rows} sequences"),
        row("trainer eats", f"{eaten:,.0f} sequences/s", "1"),
        row(
            "consumer hands out",
            f"{consumed:,.0f} sequences/s",
            f"**{consumed / eaten:,.0f} times** what the trainer eats",
        ),
    ]


def reader_row(
    label: str, name: str, rates: Rates, outcomes: Counter[str] | None = None
) -> dict[str, str]:
    """Return the line of a reader."""
    rate = statistics.median(rates[name])
    memory, ours = (statistics.median(rates[other]) for other in ("memory", OURS.name))
    slowest, fastest = min(rates[name]) / 1000, max(rates[name]) / 1000
    return {
        "reader": label,
        "thousand sequences/s (range)": f"{rate / 1000:.4g} ({slowest:.4g} to {fastest:.4g})",
        "/ memory copy": f"{rate / memory:.3g}",
        "/ synthenticity": f"{rate / ours:.3g}",
        **{f"a flipped bit: {key}": str(outcomes[key]) if outcomes else "" for key in OUTCOMES},
    }


def main() -> None:
    peers = [reader for reader in PEERS if not reader.missing]
    missing = [reader.name for reader in PEERS if reader.missing]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config, provider = demo_provider(folder)
        prepare(config, files=1, provider=provider)
        plane = Plane(folder, provider)
        plane.read()
        write_peers(plane, folder, peers)
        rates = in_turns(plane, config, folder, peers)
        outcomes = {
            reader.name: count_outcomes(reader, folder / SMALL / reader.name)
            for reader in (OURS, *peers)
        }
    threads = torch.get_num_threads()
    rows = plane.meta.rows_per_file
    record.write(
        "data_plane",
        title="The data plane at the demo's size",
        command="python benchmarks/data_plane.py",
        about=f"A batch file of the demo's scorer data: {rows} sequences of 257 characters, "
        f"{plane.bytes / 1024:.0f} KiB; {FILLED} filled, {FILLED * COPIES} written and read, on "
        f"{threads} thread{'s' * (threads > 1)}, by a character MLM of the demo's size, trained "
        f"for {MLM_STEPS} steps. The trainer is `train` with the demo's scorer, batches of "
        f"{config.batch_size}, steps "
        f"{FIRST_TIMED_STEP} to {SCORER_STEPS}; the consumer's rows are shuffled as it shuffles "
        f"them, of the same three columns, files in the page cache; medians of {ROUNDS} rounds.",
        rows=cost_rows(plane, rates, rows),
    )
    record.write(
        "data_plane_readers",
        title="Readers of the same rows",
        command="python benchmarks/data_plane.py",
        about=f"{FILLED * COPIES * rows:,} sequences (257 ids, 257 labels, a target) as torch "
        "tensors, integers as int64, in batches of 8 in file order, one process, no workers; whole "
        f"passes, files in the page cache, in turns, medians of {ROUNDS}. Then {TRIALS} times one "
        f"random bit of the largest file of {DAMAGED * rows:,} such rows is flipped and everything "
        "read: noticed is an error, silent are other rows than were written, without a word. Our "
        "files are the provider's and hold more columns; a flip in one that is not read has no "
        f"effect. MDS is written and read with hashes, from a local folder. {versions()}"
        + (f" Not installed: {', '.join(missing)}." if missing else ""),
        rows=[
            reader_row("a copy in memory", "memory", rates),
            reader_row(f"**{OURS.name}**", OURS.name, rates, outcomes[OURS.name]),
            reader_row(SHUFFLED.name, SHUFFLED.name, rates),
            *(reader_row(peer.label, peer.name, rates, outcomes[peer.name]) for peer in peers),
        ],
    )


def versions() -> str:
    return f"torch {version('torch')}, pyarrow {version('pyarrow')}."


if __name__ == "__main__":
    main()
