"""A folder that `datasets.load_dataset` opens: splits of records, and a card made of facts.

DIR/README.md                        the card
DIR/data/train-00000.parquet, ...    records; a document's copies are in one split
DIR/config.toml                      the settings that make it again
DIR/rejected.jsonl                   the documents that could not be used, if any
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from synthenticity.durable import flush
from synthenticity.records.output import METADATA_KEY, table_metadata
from synthenticity.records.table import SCHEMA
from synthenticity.seeding import stream_key

ROWS_PER_FILE = 50_000
ROWS_PER_GROUP, BYTES_PER_GROUP = 4096, 2**26
TEST = "test"
BINS = 10
SPLITS: Mapping[str, float] = {"train": 0.8, "validation": 0.1, "test": 0.1}


@dataclass
class RecordFacts:
    """What a data set holds, counted as it is written."""

    rows: Counter[str] = field(default_factory=Counter)
    recipes: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    domains: Counter[str] = field(default_factory=Counter)
    labels: Counter[int] = field(default_factory=Counter)
    histogram: Any = field(default_factory=lambda: np.zeros(BINS, dtype=np.int64))
    characters: int = 0
    rejected: int = 0

    def add(self, split: str, table: pa.Table) -> None:
        """Count the records of a split."""
        self.rows[split] += len(table)
        for name, counter in (
            ("recipe", self.recipes),
            ("mlm", self.models),
            ("domain", self.domains),
        ):
            counter.update(_counts(table.column(name)))
        self.labels.update(_counts(pc.list_flatten(table.column("token_labels"))))
        values = table.column("synthenticity").to_numpy()
        self.histogram += np.histogram(values, bins=BINS, range=(0.0, 1.0))[0]
        self.characters += pc.sum(pc.utf8_length(table.column("text"))).as_py() or 0


def _counts(column: Any) -> dict[Any, int]:
    return {item["values"]: item["counts"] for item in pc.value_counts(column).to_pylist()}


def split_of(key: str, seed: int, shares: Mapping[str, float]) -> str:
    """Return the split of a document (or group): by its hash, so it stays when others come.

    >>> split_of("a", 0, {"train": 1.0})
    'train'
    """
    place = stream_key(seed, "fill", 0, f"split {key}") / 2.0**128
    bounds = np.cumsum(list(shares.values())) / sum(shares.values())
    return list(shares)[min(int(np.searchsorted(bounds, place, side="right")), len(shares) - 1)]


def write_splits(
    folder: Path,
    tables: Iterator[pa.Table],
    *,
    seed: int,
    shares: Mapping[str, float],
    test_domains: Sequence[str] = (),
    metadata: Mapping[str, Any],
) -> RecordFacts:
    """Write records into the files of their splits, and count them.

    Records of `test_domains` are in `test`, whatever their hash.
    """
    data = folder / "data"
    data.mkdir(parents=True)
    writer = _SplitWriter(data, metadata)
    try:
        for table in tables:
            splits = np.array([split_of(key, seed, shares) for key in _keys(table)], dtype=np.str_)
            domains = np.array([name or "" for name in table.column("domain").to_pylist()])
            splits[np.isin(domains, list(test_domains))] = TEST
            for split in dict.fromkeys((*shares, TEST)):
                writer.add(split, table.filter(pa.array(splits == split)))
    finally:
        writer.close()
    for path in (*data.iterdir(), data):
        flush(path)
    return writer.facts


def _keys(table: pa.Table) -> list[str]:
    """Return what decides the split of each record: its group, else its id."""
    pairs = zip(table.column("group").to_pylist(), table.column("id").to_pylist(), strict=True)
    return [own if group is None else group for group, own in pairs]


class _SplitWriter:
    """Writes the records of each split, in row groups of some size and files of bounded length."""

    def __init__(self, folder: Path, metadata: Mapping[str, Any]) -> None:
        self.facts = RecordFacts()
        self._folder = folder
        self._schema = SCHEMA.with_metadata({METADATA_KEY: table_metadata(metadata)})
        self._waiting: dict[str, list[pa.Table]] = {}
        self._writers: dict[str, tuple[str, pq.ParquetWriter]] = {}

    def add(self, split: str, table: pa.Table) -> None:
        """Take records of a split, and write those that are enough for a row group."""
        if not len(table):
            return
        self.facts.add(split, table)
        waiting = self._waiting.setdefault(split, [])
        waiting.append(table)
        rows, size = sum(map(len, waiting)), sum(part.nbytes for part in waiting)
        if rows >= ROWS_PER_GROUP or size >= BYTES_PER_GROUP:
            self._write(split)

    def _write(self, split: str) -> None:
        waiting = self._waiting.pop(split)
        name = f"{split}-{(self.facts.rows[split] - 1) // ROWS_PER_FILE:05d}.parquet"
        known, writer = self._writers.get(split, ("", None))
        if known != name:
            if writer is not None:
                writer.close()
            writer = pq.ParquetWriter(
                self._folder / name, self._schema, compression="zstd", write_page_checksum=True
            )
            self._writers[split] = name, writer
        table = pa.concat_tables(waiting).replace_schema_metadata(self._schema.metadata)
        writer.write_table(table)

    def close(self) -> None:
        """Write what waits, and end the files."""
        for split in list(self._waiting):
            self._write(split)
        for _, writer in self._writers.values():
            writer.close()
