"""Readers of the same rows, each as its own guide shows it: what users would pick instead.

    pip install datasets litdata webdataset mosaicml-streaming

A reader stores the columns that a trainer eats in the types of our files, in its own format, and
hands them out again in file order: batches of 8 as torch tensors, integers as int64, in one
process. Where a library can check its files, it is asked to. For the figures, the import of
MosaicML Streaming's vision data sets was taken out, as torchvision did not load beside a torch for
CPUs; they have no part in reading.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from synthenticity.stream.dataset_consumer import DatasetConsumer

BATCH = 8
COLUMNS = {"input_ids": "uint16", "token_labels": "int8", "targets": "float32"}
LENGTH = 257

Rows = Mapping[str, np.ndarray]
Batch = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Reader:
    """A way to store rows in a folder and to read them again.

    `package` is the distribution to be installed, `module` its name in Python.
    """

    name: str
    write: Callable[[Path, Rows], None]
    batches: Callable[[Path], Iterator[Batch]]
    package: str = ""
    module: str = ""

    @property
    def missing(self) -> bool:
        """Whether it cannot be imported here."""
        try:
            importlib.import_module(self.module or __name__)
        except Exception:
            return True
        return False

    @property
    def label(self) -> str:
        return (
            f"{self.name} ({self.package} {version(self.package)})" if self.package else self.name
        )


def rows_of(rows: Rows) -> Iterator[dict[str, np.ndarray]]:
    """Return the rows one by one."""
    for index in range(len(rows["targets"])):
        yield {name: np.asarray(rows[name][index]) for name in COLUMNS}


def as_eaten(batch: Mapping[str, Any]) -> Batch:
    """Return tensors in the types that the trainer takes."""
    tensors = {name: torch.as_tensor(batch[name]) for name in COLUMNS}
    return {
        name: values.float() if values.is_floating_point() else values.long()
        for name, values in tensors.items()
    }


# Memory: the limit.


def copy_batches(rows: Batch) -> Iterator[Batch]:
    """Return copies of slices of tensors that are in memory in their final type."""
    for start in range(0, len(rows["targets"]), BATCH):
        yield {name: values[start : start + BATCH].clone() for name, values in rows.items()}


# Ours. The files are the provider's, so there is nothing to write.


def consumer_batches(folder: Path, *, seed: int | None = None) -> Iterator[Batch]:
    """Return the consumer's batches; with a seed, shuffled as the trainer has them."""
    consumer = DatasetConsumer(folder, batch_size=BATCH, seed=seed, columns=list(COLUMNS))
    for _ in range((consumer.rows_per_epoch or 0) // BATCH):
        batch = consumer.get_batch()
        assert isinstance(batch, dict)
        yield batch


# Hugging Face datasets.


def _hf_dataset(rows: Rows) -> Any:
    import datasets

    datasets.disable_progress_bars()
    features = {
        name: datasets.Sequence(datasets.Value(kind), length=LENGTH)
        if rows[name].ndim == 2
        else datasets.Value(kind)
        for name, kind in COLUMNS.items()
    }
    columns = {name: list(rows[name]) for name in COLUMNS}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def hf_map_write(folder: Path, rows: Rows) -> None:
    _hf_dataset(rows).save_to_disk(str(folder))


def hf_map_batches(folder: Path) -> Iterator[Batch]:
    import datasets

    return iter(datasets.load_from_disk(str(folder)).with_format("torch").iter(batch_size=BATCH))


def hf_streaming_write(folder: Path, rows: Rows) -> None:
    folder.mkdir()
    _hf_dataset(rows).to_parquet(str(folder / "train.parquet"))


def hf_streaming_batches(folder: Path) -> Iterator[Batch]:
    import datasets

    stream = datasets.load_dataset("parquet", data_dir=str(folder), split="train", streaming=True)
    return iter(stream.with_format("torch").iter(batch_size=BATCH))


# WebDataset.


def webdataset_write(folder: Path, rows: Rows) -> None:
    import webdataset

    folder.mkdir()
    with webdataset.ShardWriter(f"{folder}/%06d.tar", maxcount=10_000, verbose=0) as writer:
        for index, row in enumerate(rows_of(rows)):
            fields = {f"{name}.npy": value for name, value in row.items()}
            writer.write({"__key__": f"{index:08d}", **fields})


def webdataset_batches(folder: Path) -> Iterator[Batch]:
    import webdataset

    shards = sorted(map(str, folder.glob("*.tar")))
    names = [f"{name}.npy" for name in COLUMNS]
    loader = (
        webdataset.WebDataset(shards, shardshuffle=False).decode().to_tuple(*names).batched(BATCH)
    )
    for values in loader:
        yield as_eaten(dict(zip(COLUMNS, values, strict=True)))


# LitData.


def _the_same(row: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return row


def litdata_write(folder: Path, rows: Rows) -> None:
    import litdata

    litdata.optimize(
        fn=_the_same,
        inputs=list(rows_of(rows)),
        output_dir=str(folder),
        chunk_bytes="64MB",
        num_workers=1,
        verbose=False,
    )


def litdata_batches(folder: Path) -> Iterator[Batch]:
    import litdata

    rows = litdata.StreamingDataset(str(folder), shuffle=False)
    loader = litdata.StreamingDataLoader(rows, batch_size=BATCH, num_workers=0)
    return map(as_eaten, loader)


# MosaicML Streaming (MDS).

HASH = "xxh3_64"


def mds_write(folder: Path, rows: Rows) -> None:
    import streaming

    columns = {
        name: f"ndarray:{kind}:{LENGTH}" if rows[name].ndim == 2 else kind
        for name, kind in COLUMNS.items()
    }
    with streaming.MDSWriter(out=str(folder), columns=columns, hashes=[HASH]) as writer:
        for row in rows_of(rows):
            writer.write(row)


def mds_batches(folder: Path) -> Iterator[Batch]:
    import streaming

    rows = streaming.StreamingDataset(
        local=str(folder),
        shuffle=False,
        batch_size=BATCH,
        num_canonical_nodes=1,
        validate_hash=HASH,
    )
    return map(as_eaten, torch.utils.data.DataLoader(rows, batch_size=BATCH))


OURS = Reader("synthenticity", lambda folder, rows: None, consumer_batches)
SHUFFLED = Reader(
    "synthenticity, shuffled as in training",
    lambda folder, rows: None,
    partial(consumer_batches, seed=1),
)
PEERS = (
    Reader("datasets, map-style", hf_map_write, hf_map_batches, "datasets", "datasets"),
    Reader("datasets, streaming", hf_streaming_write, hf_streaming_batches, "datasets", "datasets"),
    Reader("LitData", litdata_write, litdata_batches, "litdata", "litdata"),
    Reader("MosaicML Streaming", mds_write, mds_batches, "mosaicml-streaming", "streaming"),
    Reader("WebDataset", webdataset_write, webdataset_batches, "webdataset", "webdataset"),
)


def read_all(batches: Iterator[Batch]) -> dict[str, np.ndarray]:
    """Return everything that a reader hands out."""
    parts = list(batches)
    return {name: torch.cat([part[name] for part in parts]).numpy() for name in COLUMNS}


def same(found: Rows, truth: Rows) -> bool:
    """Whether rows are the true ones, bit for bit."""
    return all(
        found[name].dtype == truth[name].dtype and found[name].tobytes() == truth[name].tobytes()
        for name in COLUMNS
    )


def biggest(folder: Path) -> Path:
    """Return the largest file in a folder: where the data are."""
    return max(
        (path for path in folder.rglob("*") if path.is_file()), key=lambda p: p.stat().st_size
    )
