"""What a stream of batches holds, in figures: made up as files are made, or read back later.

Counts are of everything; what needs the single values (quantiles, histogram, the padding) is of
the last million sequences, so that a provider which runs for weeks does not grow.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from synthenticity.errors import BatchFileError
from synthenticity.metrics import auroc
from synthenticity.stream.batch_file import Columns
from synthenticity.stream.batch_queue import BatchQueue

BINS = 20
MOST_REMEMBERED = 1_000_000
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
Part = TypeVar("Part")
GRADED = ("synthenticity", "mask_ratio")
"""The column whose distribution is shown: the first of these that the data have."""


@dataclass
class StreamSummary:
    """Counts over sequences; add files in any order."""

    files: int = 0
    sequences: int = 0
    tokens: int = 0
    filled: int = 0
    restored: int = 0
    reencoded: int | None = None
    """Sequences whose text the tokenizer reads as other ids than were written, if that is known."""
    padding: list[tuple[NDArray[np.bool_], NDArray[np.int64]]] = field(default_factory=list)
    """For each file whether a sequence is untouched, and how many uncounted tokens end it."""
    graded: str = GRADED[0]
    values: list[NDArray[np.float32]] = field(default_factory=list)
    recipes: dict[str, int] = field(default_factory=dict)

    def add(self, columns: Columns) -> None:
        """Count one file."""
        self.files += 1
        rows, length = columns["input_ids"].shape if "input_ids" in columns else (0, 0)
        self.sequences += rows
        self.tokens += rows * length
        if "token_labels" in columns:
            labels = columns["token_labels"]
            self.restored += int((labels == 1).sum())
            filled = (labels == 1) | (labels == 2)
            self.filled += int(filled.sum())
            padding = (labels[:, ::-1] != -100).argmax(axis=1)
            self.padding.append((~filled.any(axis=1), padding))
            self.padding = _latest(self.padding, lambda part: len(part[0]))
        if "reencoding_differs" in columns:
            differs = columns["reencoding_differs"]
            if (differs >= 0).all():  # -1 stands for another tokenizer than the model's
                self.reencoded = (self.reencoded or 0) + int(differs.sum())
        self.graded = next((name for name in GRADED if name in columns), self.graded)
        if self.graded in columns:
            self.values.append(np.asarray(columns[self.graded], dtype=np.float32))
            self.values = _latest(self.values, len)
        if "recipe" in columns:
            names, counts = np.unique(columns["recipe"], return_counts=True)
            for name, count in zip(names.tolist(), counts.tolist(), strict=True):
                self.recipes[name] = self.recipes.get(name, 0) + count

    def merge(self, other: "StreamSummary") -> None:
        """Count what another summary counted."""
        self.files += other.files
        self.sequences += other.sequences
        self.tokens += other.tokens
        self.filled += other.filled
        self.restored += other.restored
        if other.reencoded is not None:
            self.reencoded = (self.reencoded or 0) + other.reencoded
        self.graded = other.graded
        self.values = _latest(self.values + other.values, len)
        self.padding = _latest(self.padding + other.padding, lambda part: len(part[0]))
        for name, count in other.recipes.items():
            self.recipes[name] = self.recipes.get(name, 0) + count

    def histogram(self) -> NDArray[np.int64]:
        """Return the counts `[BINS]` of the graded column over 0 to 1."""
        values = np.concatenate(self.values) if self.values else np.zeros(0)
        return np.histogram(values, bins=BINS, range=(0.0, 1.0))[0].astype(np.int64)

    def padding_auroc(self) -> float | None:
        """Return how well the length of the padding alone tells filled sequences from untouched
        ones: .5 is chance. None if there are not both.
        """
        if not self.padding:
            return None
        untouched, counts = (np.concatenate(part) for part in zip(*self.padding, strict=True))
        if untouched.all() or not untouched.any():
            return None
        return auroc(counts.astype(np.float64), ~untouched)

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        values = np.concatenate(self.values) if self.values else np.zeros(0)
        figures: dict[str, Any] = {
            "files": self.files,
            "sequences": self.sequences,
            "tokens": self.tokens,
            "recipes": dict(sorted(self.recipes.items())),
        }
        if self.filled:
            figures["filled_tokens"] = self.filled
            figures["restored_share"] = self.restored / self.filled
        padding = self.padding_auroc()
        if padding is not None:
            figures["padding_auroc"] = padding
        if self.reencoded is not None:
            figures["reencoding_differs_share"] = self.reencoded / max(self.sequences, 1)
        if len(values):
            quantiles = np.quantile(values, QUANTILES).tolist()
            figures[self.graded] = {
                "mean": float(values.mean()),
                "quantiles": dict(zip(map(str, QUANTILES), quantiles, strict=True)),
                "histogram": self.histogram().tolist(),
            }
        return figures


def _latest(parts: list[Part], size: Callable[[Part], int]) -> list[Part]:
    """Return the last parts, at most `MOST_REMEMBERED` sequences unless one part is more."""
    room = MOST_REMEMBERED
    for kept, part in enumerate(reversed(parts)):
        room -= size(part)
        if room < 0:
            return parts[len(parts) - max(kept, 1) :]
    return parts


def summarize(queue: BatchQueue, split: str, *, change: bool = True) -> StreamSummary:
    """Read the files of a split that are there now; damaged ones are left out.

    They go to quarantine unless `change` is false.
    """
    summary = StreamSummary()
    meta = queue.meta()
    wanted = ["input_ids", "token_labels", "recipe", "reencoding_differs", *GRADED]
    columns = [name for name in wanted if meta is not None and name in meta.schema.names()]
    for number in queue.numbers(split):
        try:
            file = (queue.get if change else queue.look_at)(split, number, columns=columns)
        except BatchFileError:
            continue
        if file is not None:
            summary.add(file.columns)
    return summary
