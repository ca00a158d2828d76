"""`inspect`: look at samples of a directory before training on them."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from synthenticity.errors import ConfigError, QueueError
from synthenticity.stream.audit import SPLITS
from synthenticity.stream.places import Place, beside, open_queue
from synthenticity.stream.status import described
from synthenticity.stream.summary import summarize
from synthenticity.synthesis.spelling import Spelling
from synthenticity.synthesis.token_labels import LABEL_NAMES
from synthenticity.text.tokenization import load_tokenizer


@dataclass(frozen=True)
class Sample:
    """One sequence: its tokens as text before and after filling, labels, and what it records."""

    original: list[str]
    final: list[str]
    labels: list[int]
    facts: dict[str, Any]


@dataclass(frozen=True)
class Inspection:
    """Some samples and the figures of every split of a directory."""

    meta: dict[str, Any]
    samples: list[Sample]
    statistics: dict[str, dict[str, Any]]
    final_title: str
    """What the second text of a sample is."""
    label_names: dict[int, str]


def inspect_directory(
    directory: Place, *, count: int = 3, split: str = "val", seed: int = 0
) -> Inspection:
    """Return `count` sequences drawn from a split, and the figures of each split.

    Raises:
        QueueError: the directory holds no batch files.
        BatchFileError: the file that the samples come from is damaged; nothing is moved.

    """
    if count < 1 or seed < 0:
        raise ConfigError(f"count: {count} and seed: {seed} must be at least 1 and 0.")
    queue = open_queue(directory)
    meta = described(queue)
    splits = [name for name in SPLITS if queue.numbers(name)]
    if split not in splits:
        raise QueueError(
            f"{directory}: has no {split} files; it has {', '.join(splits) or 'none'}."
        )
    rng = np.random.default_rng(seed)
    number = int(rng.choice(queue.numbers(split)))
    file = queue.look_at(split, number)
    if file is None:
        raise QueueError(f"{queue.path(split, number)}: was consumed just now. Look again.")
    tokenizer = load_tokenizer(beside(directory) / "tokenizer")
    spelling = Spelling(tokenizer)
    rows = rng.choice(len(file), size=min(count, len(file)), replace=False)
    return Inspection(
        meta.to_json(),
        [_sample(file.columns, int(row), tokenizer, spelling) for row in sorted(rows)],
        {name: summarize(queue, name, change=False).to_json() for name in splits},
        *_words_for(meta.schema.names()),
    )


def _words_for(columns: list[str]) -> tuple[str, dict[int, str]]:
    """Return what the second text of a sample is, and what the labels mean."""
    if "token_labels" in columns:
        return "as the scorer sees it", LABEL_NAMES
    return "as the language model sees it", {0: "given", 2: "to be predicted"}


def _sample(columns: dict[str, Any], row: int, tokenizer: Any, spelling: Spelling) -> Sample:
    """Return one sequence; data without labels show their masks in place of them."""
    ids = columns["input_ids"][row].astype(np.int64)
    padding = tokenizer.pad_token_id
    original, shown = _pieces(ids, tokenizer, spelling), ids != padding
    labels = np.zeros(len(ids), dtype=int)
    if "token_labels" in columns:
        labels = columns["token_labels"][row].astype(int)
        shown = labels >= 0
    if "original_ids" in columns:
        before = columns["original_ids"][row].astype(np.int64)
        original = _pieces(before[shown], tokenizer, spelling)
    elif "original" in columns:
        original = [columns["original"][row : row + 1].tolist()[0]]
    elif "labels" in columns:
        targets = columns["labels"][row].astype(np.int64)
        labels = np.where(targets >= 0, 2, 0)
        original = _pieces(np.where(targets >= 0, targets, ids)[shown], tokenizer, spelling)
    facts = {
        name: values[row : row + 1].tolist()[0]
        for name, values in columns.items()
        if values.ndim == 1 and name not in ("input_ids", "original", "text")
    }
    return Sample(original, _pieces(ids[shown], tokenizer, spelling), labels[shown].tolist(), facts)


def _pieces(ids: np.ndarray, tokenizer: Any, spelling: Spelling) -> list[str]:
    """Return how each token stands in a text; special tokens by name, [MASK] as a block."""
    words: list[str] = tokenizer.convert_ids_to_tokens(ids.tolist())
    return [
        "▒" if index == tokenizer.mask_token_id else spelling.surfaces[index] or word
        for index, word in zip(ids.tolist(), words, strict=True)
    ]
