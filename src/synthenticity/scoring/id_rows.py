"""Ids in place of text: what a scorer says of `[batch, length]`, as generators of text hold it.

A row holds one text. [CLS] in front, [SEP] behind and padding are no part of it; they may be there
or not, for the scorer reads every text in its own windows, each behind a [CLS] of its own. So ids
and the text that they spell get the same scores, to the bit.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from synthenticity.errors import CorpusError
from synthenticity.scoring.forward import BATCH_TOKENS, score_windows
from synthenticity.scoring.scorer import Scorer
from synthenticity.scoring.windows import cut_windows, own_weights
from synthenticity.text.tokenization import special_ids


@dataclass(frozen=True)
class IdRows:
    """Ids `[batch, length]`, and which of them are text: neither padding, nor [CLS], nor [SEP]."""

    ids: NDArray[np.int64]
    is_text: NDArray[np.bool_]

    @classmethod
    def of(cls, given: Tensor | NDArray[Any], tokenizer: Any) -> "IdRows":
        """Take ids of a tokenizer apart.

        Raises:
            CorpusError: they are no such ids, or not one whole text a row; says where.

        """
        array = given.detach().cpu().numpy() if isinstance(given, Tensor) else np.asarray(given)
        if array.ndim != 2 or not np.issubdtype(array.dtype, np.integer):
            raise CorpusError(
                f"ids: are {array.dtype} of shape {list(array.shape)}. Give integers "
                "[batch, length]."
            )
        ids = array.astype(np.int64)
        _check_known(ids, tokenizer)
        outside = np.setdiff1d(special_ids(tokenizer), [tokenizer.unk_token_id])
        is_text = ~np.isin(ids, outside)
        begins = (np.diff(is_text, prepend=False, axis=1) & is_text).sum(axis=1)
        if (begins > 1).any():
            raise CorpusError(
                f"ids: row {int(begins.argmax())} has special tokens in the middle of its text. "
                "Give one text a row."
            )
        return cls(ids, is_text)

    @cached_property
    def texts(self) -> list[NDArray[np.int64]]:
        """The ids of each row's text, `[tokens]`."""
        return self.split(self.ids)

    def split(self, values: NDArray[Any]) -> list[NDArray[Any]]:
        """Return of values `[batch, length]` those of each row's text, `[tokens]`."""
        return [row[own] for row, own in zip(values, self.is_text, strict=True)]

    def joined(self, flat: NDArray[Any], elsewhere: float) -> NDArray[Any]:
        """Return values of all tokens of text, row after row, at their places."""
        found = np.full(self.ids.shape, elsewhere, dtype=flat.dtype)
        found[self.is_text] = flat
        return found

    def rewritten(self, texts: list[NDArray[np.int64]]) -> "IdRows":
        """Return the same rows with other texts of the same lengths."""
        ids = self.ids.copy()
        ids[self.is_text] = np.concatenate([*texts, ids[:0, 0]])
        return IdRows(ids, self.is_text)


def _check_known(ids: NDArray[np.int64], tokenizer: Any) -> None:
    wrong = np.argwhere((ids < 0) | (ids >= len(tokenizer)))
    if len(wrong):
        row, column = wrong[0].tolist()
        raise CorpusError(
            f"ids: {ids[row, column]} in row {row}, column {column} is none of the scorer's "
            f"{len(tokenizer)} tokens."
        )
    if (ids == tokenizer.mask_token_id).any():
        raise CorpusError("ids: hold [MASK]. Fill it first: a scorer reads whole drafts.")


@dataclass(frozen=True)
class RowScores:
    """What a scorer says of rows of ids.

    `token_logits` are `[batch, length]`, -inf where there is no text; `synthenticity` is `[batch]`,
    NaN of a row without text.
    """

    token_logits: NDArray[np.float32]
    synthenticity: NDArray[np.float64]

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """Of each token to be machine-written, `[batch, length]`: as `Score` has it, in float32."""
        with np.errstate(over="ignore"):
            return (1 / (1 + np.exp(-self.token_logits.astype(np.float64)))).astype(np.float32)


def score_rows(scorer: Scorer, rows: IdRows) -> RowScores:
    """Return what a scorer with a token head says of rows of its tokenizer's ids."""
    begins = np.cumsum([0, *map(len, rows.texts)]).tolist()
    plan = [cut_windows(len(own), scorer.window_tokens) for own in rows.texts]
    bounds = [
        (begin + each.start, begin + each.end, begin + each.own_start, begin + each.own_end)
        for begin, windows in zip(begins[:-1], plan, strict=True)
        for each in windows
    ]
    said = score_windows(
        scorer.model,
        scorer.tokenizer,
        rows.ids[rows.is_text],
        np.array(bounds, dtype=np.int64).reshape(-1, 4),
        BATCH_TOKENS[scorer.model.device.type],
    )
    assert said.token_logits is not None
    ratios = said.ratios if scorer.calibration is None else scorer.calibration.mapped(said.ratios)
    values, seen = np.full(len(plan), math.nan), 0
    for number, windows in enumerate(plan):
        if windows:
            own = ratios[seen : seen + len(windows)]
            values[number] = np.dot(own, own_weights(windows))
        seen += len(windows)
    return RowScores(rows.joined(said.token_logits, -np.inf), values)
