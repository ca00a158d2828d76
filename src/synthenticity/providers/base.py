"""`DataProviderBase`: what a provider is, and how one is found by name.

A provider says what it makes (`build_meta`) and makes one batch from a random generator
(`sample_batch`). Everything else (files, numbers, backlog, identity) is the queue's. A file is a
function of (settings, split, number), because its batches draw from generators keyed by these.
One with a model says in three steps how a batch is made (`SteppedProvider`), so that the model
need not wait for the other two.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any

import numpy as np

from synthenticity.config import Config
from synthenticity.errors import ConfigError
from synthenticity.seeding import numpy_rng
from synthenticity.stream.batch_file import BatchSchema, Columns
from synthenticity.stream.meta import Meta

META_KEYS = {"dataset_name", "training_type", "vocab_size", "cls_token_id", "batch_schema"}
ENTRY_POINTS = "synthenticity.providers"

DATA_SETTINGS = (
    "text_column",
    "id_column",
    "group_column",
    "domain_column",
    "protect_column",
    "document_per",
    "split_by",
    "pool_shares",
    "near_duplicates",
    "test_domains",
    "shared_training_pool",
    "protect",
    "block_size",
    "batch_size",
    "batches_per_file",
    "seed",
)


class DataProviderBase(ABC):
    """Makes the batches of one kind of training data.

    A provider of your own derives from this class and is registered under the entry point group
    `synthenticity.providers`; `dataset = "its_name"` then selects it (examples/own_provider).

    Attributes:
        config: the settings of the run.
        tokenizer: saved beside the data, for whoever trains on them; or None.
        unknown_share: share of the corpus that became [UNK].
        settings: the names of the settings that decide what the files hold.

    """

    settings: tuple[str, ...] = DATA_SETTINGS
    tokenizer: Any = None
    unknown_share: float = 0.0

    def __init__(self, config: Config) -> None:
        self.config = config

    @abstractmethod
    def build_meta(self) -> dict[str, Any]:
        """Return the plan's meta keys: `dataset_name`, `training_type`, `vocab_size`,
        `cls_token_id` and `batch_schema` (a list of name, dtype, shape, role[, stored]).
        """

    @abstractmethod
    def sample_batch(self, split: str, rng: np.random.Generator) -> Columns:
        """Return one batch, `[batch_size, ...]` for every column; all chance comes from `rng`."""

    @property
    def readings_spared(self) -> int:
        """How many readings of a row by a model were spared because it had read the same before."""
        return 0

    def made_with(self) -> dict[str, Any]:
        """Return what decides the content beside the settings: hashes of corpus, model, ..."""
        return {}

    def meta(self, kind: str) -> Meta:
        """Return the whole content of `meta.json` for a live queue or a finite data set.

        Raises:
            ConfigError: `build_meta` lacks one of the plan's keys.

        """
        task = self.build_meta()
        lacking = sorted(META_KEYS - set(task))
        if lacking:
            raise ConfigError(
                f"dataset: build_meta of {type(self).__name__} lacks {', '.join(lacking)}."
            )
        schema = BatchSchema.from_json(task.pop("batch_schema"))
        chosen = {key: _plain(getattr(self.config, key)) for key in self.settings}
        made_with = {"dataset": self.config.dataset, **chosen, **self.made_with()}
        rows = self.config.batch_size * self.config.batches_per_file
        return Meta(task, schema, made_with, kind, rows)

    def make_file(self, split: str, number: int) -> Columns:
        """Return the columns of a batch file: a function of the settings, split and number."""
        return joined(
            [
                self.sample_batch(split, self.batch_rng(split, number, index))
                for index in range(self.config.batches_per_file)
            ]
        )

    def batch_rng(self, split: str, number: int, index: int) -> np.random.Generator:
        """Return the generator that one batch of a file draws from."""
        return numpy_rng(self.config.seed, split, number, f"batch {index}")


class SteppedProvider(DataProviderBase):
    """A provider that makes a batch in three steps, each of which has a thread of its own.

    While the model fills a batch, the next is drawn and the one before is labelled and written.
    What a step needs, the step before hands it; no two may change one and the same object.
    """

    @abstractmethod
    def draw_batch(self, split: str, rng: np.random.Generator) -> Any:
        """Draw all that chance decides (windows, masks, noise keys), without the model."""

    @abstractmethod
    def fill_batch(self, drawn: Any) -> Any:
        """Let the model write into what was drawn; nothing else."""

    @abstractmethod
    def label_batch(self, filled: Any) -> Columns:
        """Return the batch, with its truth."""

    def sample_batch(self, split: str, rng: np.random.Generator) -> Columns:
        """Return one batch: the three steps one after the other."""
        return self.label_batch(self.fill_batch(self.draw_batch(split, rng)))


def joined(batches: Sequence[Columns]) -> Columns:
    """Return batches as the columns of one file."""
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def column(name: str, dtype: str, shape: list[int], role: str, stored: str) -> dict[str, Any]:
    """Return an entry of the plan's `batch_schema`."""
    return {"name": name, "dtype": dtype, "shape": shape, "role": role, "stored": stored}


def _plain(value: Any) -> Any:
    """Return a setting as JSON reads it back, so that it compares equal after a round trip."""
    return list(value) if isinstance(value, tuple) else value


def known_providers() -> Mapping[str, Any]:
    """Return the registered providers: name to entry point."""
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}


def find_provider(name: str) -> type[DataProviderBase]:
    """Return the provider class of a name.

    Raises:
        ConfigError: no such provider; lists the known ones.

    """
    known = known_providers()
    if name not in known:
        raise ConfigError(
            f"dataset: no provider is called {name!r}. Known: {', '.join(sorted(known))}. "
            f"Register your own under the entry point group {ENTRY_POINTS}."
        )
    provider = known[name].load()
    if not (isinstance(provider, type) and issubclass(provider, DataProviderBase)):
        raise ConfigError(f"dataset: {known[name].value} is not a DataProviderBase.")
    return provider
