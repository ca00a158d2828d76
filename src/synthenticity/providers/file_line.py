"""Files in a line: while the model fills a batch, the next is drawn, the one before is finished.

The line goes by batches, not by files: a file of any size is held once, as its finished batches,
beside two batches that are drawn ahead and those that wait to be labelled. Which batch is in which
step decides nothing: each draws from a generator of its own.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from synthenticity.faults import point
from synthenticity.pipeline import Pipeline
from synthenticity.providers.base import DataProviderBase, SteppedProvider, joined
from synthenticity.stream.batch_file import Columns, Identity, encode_batch_file
from synthenticity.stream.meta import Meta
from synthenticity.stream.summary import StreamSummary

Name = tuple[str, int]
"""Split and number of a file."""


@dataclass(frozen=True)
class MadeFile:
    """A batch file that is not committed yet, and its figures.

    `readings_spared`: so many readings by a model were, while it was made.
    """

    split: str
    number: int
    content: bytes
    sequences: int
    summary: StreamSummary
    readings_spared: int = 0


@dataclass(frozen=True)
class _Steps:
    """How a part of a file is made: `draw(split, number, index)`, then the others in turn."""

    parts: int
    draw: Callable[[str, int, int], Any]
    fill: Callable[[Any], Any]
    label: Callable[[Any], Columns]


def _steps_of(provider: DataProviderBase) -> _Steps:
    """Return a provider's own three steps; one, where its class makes batches or files whole."""
    kind, batches = type(provider), provider.config.batches_per_file
    if kind.make_file is not DataProviderBase.make_file:
        return _Steps(
            1, lambda *part: part[:2], lambda name: provider.make_file(*name), lambda made: made
        )

    def rng_of(split: str, number: int, index: int) -> tuple[str, Any]:
        return split, provider.batch_rng(split, number, index)

    if isinstance(provider, SteppedProvider) and kind.sample_batch is SteppedProvider.sample_batch:
        return _Steps(
            batches,
            lambda *part: provider.draw_batch(*rng_of(*part)),
            provider.fill_batch,
            provider.label_batch,
        )
    return _Steps(batches, rng_of, lambda drawn: provider.sample_batch(*drawn), lambda batch: batch)


class FileLine:
    """Makes files of a provider in this process, in the order in which they are given.

    Labels, digests and Parquet are made in the thread that waits, the rest in two others.
    """

    def __init__(self, provider: DataProviderBase, meta: Meta) -> None:
        self._meta, self._provider = meta, provider
        self._readings_spared = provider.readings_spared
        self._steps = _steps_of(provider)
        self._names: deque[Name] = deque()
        self._batches: list[Columns] = []
        self._pipeline: Pipeline[tuple[str, int, int], Any, Any] = Pipeline(
            lambda part: self._steps.draw(*part), self._steps.fill
        )

    def give(self, name: Name) -> None:
        """Put a file in the line."""
        self._names.append(name)
        for index in range(self._steps.parts):
            self._pipeline.give((*name, index))

    def wait(self, seconds: float | None = None) -> list[MadeFile]:
        """Return the first file of the line; nothing if it takes longer than so.

        Raises:
            Exception: whatever the provider raised over it.

        """
        end = None if seconds is None else time.monotonic() + seconds
        while len(self._batches) < self._steps.parts:
            left = None if end is None else max(0.0, end - time.monotonic())
            filled = self._pipeline.wait(left)
            if not filled:
                return []
            self._batches += map(self._steps.label, filled)
        point("provider.made")
        batches, self._batches = self._batches, []
        return [self._encoded(self._names.popleft(), joined(batches))]

    def _encoded(self, name: Name, columns: Columns) -> MadeFile:
        identity = Identity(self._meta.fingerprint, *name)
        content = encode_batch_file(columns, self._meta.schema, identity)
        summary = StreamSummary()
        summary.add(columns)
        before, self._readings_spared = self._readings_spared, self._provider.readings_spared
        return MadeFile(
            *name,
            content,
            len(next(iter(columns.values()))),
            summary,
            readings_spared=self._readings_spared - before,
        )

    def end(self) -> None:
        """Forget what is in the line; no thread is left."""
        self._pipeline.end()
