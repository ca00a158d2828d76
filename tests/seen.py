"""What every step of a run was trained on, whoever made it: the digests of its rows, in order.

A launch is what was started at once, of however many processes; each has a folder of its own, into
which every process writes a line a batch, before the batch acts.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xxhash

from synthenticity.training.stream_trainer import StreamTrainer


@contextmanager
def recording(launch: Path) -> Iterator[None]:
    """Within, this process writes down what it trains on."""
    launch.mkdir(parents=True, exist_ok=True)
    training_step = StreamTrainer.training_step

    def recorded(self: Any, model: Any, inputs: dict[str, Any], *rest: Any) -> Any:
        line = json.dumps([self.state.global_step + 1, row_digests(inputs)])
        with (launch / f"rank-{self.ranks.rank}.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        return training_step(self, model, inputs, *rest)

    StreamTrainer.training_step = recorded
    try:
        yield
    finally:
        StreamTrainer.training_step = training_step


def row_digests(inputs: dict[str, Any]) -> list[str]:
    """Return a digest of each row of a batch, over all its columns."""
    columns = [inputs[name].numpy() for name in sorted(inputs)]
    return [
        xxhash.xxh3_64_hexdigest(b"".join(row.tobytes() for row in rows))
        for rows in zip(*columns, strict=True)
    ]


def stream_digest(launches: Iterable[Path], steps: int) -> str:
    """Return the digest of all rows that made the weights after so many steps.

    What a launch has made again, behind its checkpoint, replaces what the one before it made.
    """
    rows: dict[int, list[str]] = {}
    for launch in launches:
        rows |= rows_by_step(launch)
    assert sorted(rows) == list(range(1, steps + 1))
    assert len({len(of_one) for of_one in rows.values()}) == 1
    return xxhash.xxh3_64_hexdigest(json.dumps([rows[step] for step in sorted(rows)]).encode())


def rows_by_step(launch: Path) -> dict[int, list[str]]:
    """Return the rows of each step that all processes of a launch began, in the stream's order."""
    ranks = []
    for path in sorted(launch.iterdir()):
        batches: defaultdict[int, list[list[str]]] = defaultdict(list)
        for line in path.read_text(encoding="utf-8").splitlines():
            step, rows = json.loads(line)
            batches[step].append(rows)
        ranks.append(batches)
    begun_by_all = set.intersection(*(set(of_one) for of_one in ranks))
    return {step: in_order([of_one[step] for of_one in ranks]) for step in begun_by_all}


def in_order(of_each: list[list[list[str]]]) -> list[str]:
    """Return the rows of a step: of its batches in turn, the part of each rank in turn."""
    batches = zip(*of_each, strict=False)  # one rank may have died before the last
    return [row for batch in batches for part in batch for row in part]
