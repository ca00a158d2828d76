"""What does it take to encode, commit, read and verify a batch file, small and large?

    python benchmarks/large_files.py DATA [--rounds 5]

DATA is a directory of sub-word scorer data (configs/subword_scorer.toml, `prepare --files`), with
the texts as they were and as they became. Its rows are made files of so many sequences, one after
the other, as often as it takes; then each file is encoded, committed to this machine's disk as a
provider commits (write, flush, link, flush), and read and verified whole.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import record

from synthenticity.stream.batch_file import Columns, Identity, encode_batch_file
from synthenticity.stream.batch_queue import BatchQueue
from synthenticity.stream.meta import Meta

SEQUENCES = (800, 20_000, 400_000)


def rows_of(data: Path) -> tuple[Meta, Columns]:
    """Return the rows of all train files of a set."""
    queue = BatchQueue(data)
    meta = queue.meta()
    assert meta is not None, f"{data} holds no data set"
    files = [queue.get("train", number) for number in queue.numbers("train")]
    parts = [file.columns for file in files if file is not None]
    return meta, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds that some work takes, and what it returns."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def measured(meta: Meta, columns: Columns, sequences: int, rounds: int) -> dict[str, Any]:
    """Return the line of files of so many sequences."""
    many = {
        name: np.resize(values, (sequences, *values.shape[1:])) for name, values in columns.items()
    }
    seconds: dict[str, list[float]] = {"encode": [], "commit": [], "read and verify": []}
    with tempfile.TemporaryDirectory() as folder:
        queue = BatchQueue(Path(folder))
        queue.put_meta(meta)
        for number in range(rounds):
            identity = Identity(meta.fingerprint, "train", number)
            spent, content = timed(lambda i=identity: encode_batch_file(many, meta.schema, i))
            seconds["encode"].append(spent)
            seconds["commit"].append(timed(lambda n=number, c=content: queue.put("train", n, c))[0])
            seconds["read and verify"].append(timed(lambda n=number: queue.get("train", n))[0])
            queue.path("train", number).unlink()
    return {
        "sequences": f"{sequences:,}",
        "MB": f"{len(content) / 1e6:.2f}",
        "bytes a token": f"{len(content) / many['input_ids'].size:.2f}",
        **{
            f"{step}, ms (least to most)": f"{1000 * statistics.median(each):,.1f} "
            f"({1000 * min(each):,.1f} to {1000 * max(each):,.1f})"
            for step, each in seconds.items()
        },
        "commit, MB/s": f"{len(content) / 1e6 / statistics.median(seconds['commit']):,.0f}",
    }


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("data", type=Path)
    asked.add_argument("--rounds", type=int, default=5)
    options = asked.parse_args()
    meta, columns = rows_of(options.data)
    length = columns["input_ids"].shape[1]
    record.write(
        "large_files",
        title="Batch files, small and large",
        command="python benchmarks/large_files.py DATA",
        about=f"Files of sub-word scorer data, texts included, sequences of {length} tokens. To "
        "commit is to write, flush, link and flush the names; what was just written is read from "
        f"memory. Medians of {options.rounds} rounds.",
        rows=[measured(meta, columns, number, options.rounds) for number in SEQUENCES],
        threads=1,
    )


if __name__ == "__main__":
    main()
