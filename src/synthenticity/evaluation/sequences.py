"""Labelled sequences as they are judged: ids, final texts, the truth, and what a language model
thinks of each token.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from synthenticity.stream.batch_file import Columns
from synthenticity.synthesis.likelihood import LIKELIHOODS, token_likelihoods
from synthenticity.text.tokenization import frame_ids, special_ids
from synthenticity.training.padding import padding_mask

COLUMNS = ["input_ids", "token_labels", "synthenticity", "document"]
BATCH_TOKENS = 8192


@dataclass(frozen=True)
class Sequences:
    """Sequences of a split, each with [CLS] in front.

    Attributes:
        columns: at least `COLUMNS`, as they are in the batch files.
        texts: the final texts.
        likelihoods: `LIKELIHOODS` `[sequences, length, 4]` of each token, zeros where it is not
            counted; None where no language model was asked.

    """

    columns: Columns
    texts: list[str]
    likelihoods: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def ratios(self) -> NDArray[np.float64]:
        """The true synthenticity of each."""
        return np.asarray(self.columns["synthenticity"], dtype=np.float64)

    @property
    def counted(self) -> NDArray[np.bool_]:
        """Which tokens are counted, `[sequences, length]`."""
        return np.asarray(self.columns["token_labels"] >= 0)

    def taken(self, chosen: NDArray[Any]) -> "Sequences":
        """Return some of them, by indices or a mask."""
        index = np.arange(len(self))[chosen]
        return Sequences(
            {name: values[index] for name, values in self.columns.items()},
            [self.texts[number] for number in index],
            None if self.likelihoods is None else self.likelihoods[index],
        )

    def read_by(self, model: Any, tokenizer: Any, *, passes: int) -> "Sequences":
        """Return them with the likelihoods that a masked language model gives; see
        `token_likelihoods`.

        Args:
            model: an `AutoModelForMaskedLM`.
            tokenizer: of the sequences, and of the model.
            passes: readings of each sequence.

        """
        ids = torch.from_numpy(self.columns["input_ids"].astype(np.int64))
        counted = torch.from_numpy(self.counted)
        never = torch.from_numpy(special_ids(tokenizer))
        first = 0 if frame_ids(tokenizer)[0] else 1  # a model that never saw [CLS] is shown none
        found = np.zeros((*ids.shape, len(LIKELIHOODS)), dtype=np.float32)
        size = max(1, BATCH_TOKENS // ids.shape[1])
        for start in range(0, len(ids), size):
            some = slice(start, start + size)
            rows = ids[some, first:].to(model.device)
            found[some, first:] = token_likelihoods(
                model,
                rows,
                counted[some, first:].to(model.device),
                passes=passes,
                mask_token_id=tokenizer.mask_token_id,
                never=never.to(model.device),
                attention_mask=padding_mask(rows, tokenizer.pad_token_id),
            ).cpu()
        return replace(self, likelihoods=found)


def sequences_of(columns: Columns, tokenizer: Any) -> Sequences:
    """Return labelled sequences with their texts, without special tokens."""
    ids = columns["input_ids"].astype(np.int64).tolist()
    texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
    return Sequences(columns, [str(text) for text in texts])
