"""Synthetic text with its exact truth: mask, fill, and label every token by what happened to it.

The truth is in `token_labels`; `synthenticity` and `replaced_fraction` are computed from it and
from nothing else, so they cannot disagree.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthenticity.synthesis.filling_model import FillingModel
from synthenticity.synthesis.masking import MASKED, RANDOM, apply_bert_style_corruption
from synthenticity.synthesis.sampling import draw_sequence_keys
from synthenticity.synthesis.token_labels import (
    NOT_COUNTED,
    ORIGINAL_TOKEN,
    RANDOM_TOKEN,
    REPLACED_TOKEN,
    RESTORED_TOKEN,
)


@dataclass(frozen=True)
class SyntheticText:
    """Filled sequences and their truth.

    `ids` and `token_labels` (int8: 0 original, 1 restored, 2 replaced, 3 random, -100 not
    counted) are `[batch, length]`; `synthenticity` and `replaced_fraction` are float32 `[batch]`.
    """

    ids: NDArray[np.int64]
    token_labels: NDArray[np.int8]

    @property
    def synthenticity(self) -> NDArray[np.float32]:
        """Filled tokens / counted tokens."""
        return fraction_labelled(self.token_labels, (RESTORED_TOKEN, REPLACED_TOKEN))

    @property
    def replaced_fraction(self) -> NDArray[np.float32]:
        """Replaced tokens / counted tokens."""
        return fraction_labelled(self.token_labels, (REPLACED_TOKEN,))


def fraction_labelled(
    token_labels: NDArray[np.int8], labels: tuple[int, ...]
) -> NDArray[np.float32]:
    """Return the share `[batch]` of the counted tokens that carry one of the labels.

    >>> fraction_labelled(np.array([[-100, 0, 1, 2, 2]], np.int8), (1, 2))
    array([0.75], dtype=float32)
    """
    counted = (token_labels != NOT_COUNTED).sum(axis=1)
    share = np.isin(token_labels, labels).sum(axis=1) / np.maximum(counted, 1)
    return np.asarray(share, dtype=np.float32)


@dataclass(frozen=True)
class MaskedIds:
    """Sequences of which chance has decided everything, all `[batch, length]` but `keys`.

    `corrupted` is `original` with the `random_tokens` of `bert` corruption in it; `to_fill` is
    left to the filling model, whose noise is keyed by `keys` `[batch]`.
    """

    original: NDArray[np.int64]
    corrupted: NDArray[np.int64]
    to_fill: NDArray[np.bool_]
    random_tokens: NDArray[np.bool_]
    special: NDArray[np.bool_]
    keys: NDArray[np.int64]

    def filled_by(self, mlm_engine: FillingModel, **sampling: Any) -> NDArray[np.int64]:
        """Return the ids `[batch, length]` that a filling model makes of them."""
        return mlm_engine.predict_masked_tokens(
            self.corrupted, self.to_fill, sequence_keys=self.keys, **sampling
        )

    def labelled(self, filled: NDArray[np.int64]) -> SyntheticText:
        """Return what became of them, with its truth."""
        kind = np.where(filled == self.original, RESTORED_TOKEN, REPLACED_TOKEN)
        labels = np.where(self.to_fill, kind, ORIGINAL_TOKEN)
        labels[self.random_tokens] = RANDOM_TOKEN
        labels[self.special] = NOT_COUNTED
        return SyntheticText(filled, labels.astype(np.int8))


def mask_ids(
    original: NDArray[np.int64],
    mask: NDArray[np.bool_],
    special_ids: NDArray[np.int64],
    rng: np.random.Generator,
    *,
    corruption: str = "mask",
    ordinary_ids: NDArray[np.int64] | None = None,
) -> MaskedIds:
    """Draw what `create_synthetic_text` leaves to chance; the arguments are its own."""
    special = np.isin(original, special_ids)
    if (mask & special).any():
        raise ValueError("mask: covers special tokens. Mask only maskable positions.")
    keys = draw_sequence_keys(rng, len(original))
    if corruption != "bert":
        return MaskedIds(original, original, mask, np.zeros_like(mask), special, keys)
    if ordinary_ids is None:
        raise ValueError("ordinary_ids: needed for bert corruption.")
    corrupted, done = apply_bert_style_corruption(
        original,
        mask,
        mask_token_id=-1,
        ordinary_ids=ordinary_ids,
        rng=rng,
    )
    to_fill = done == MASKED
    corrupted = np.where(to_fill, original, corrupted)  # what `forbid_original` forbids
    return MaskedIds(original, corrupted, to_fill, done == RANDOM, special, keys)


def create_synthetic_text(
    original: NDArray[np.int64],
    mask: NDArray[np.bool_],
    mlm_engine: FillingModel,
    rng: np.random.Generator,
    *,
    corruption: str = "mask",
    ordinary_ids: NDArray[np.int64] | None = None,
    **sampling: Any,
) -> SyntheticText:
    """Let the filling model write the masked tokens, and label every token.

    Args:
        original: ids `[batch, length]`; not changed.
        mask: bool `[batch, length]`, the positions to fill; special tokens must not be among them.
        mlm_engine: the filling model.
        rng: gives each row its noise key, and draws the random tokens of `bert` corruption.
        corruption: `mask` fills every masked position; `bert` fills 80 % of them, replaces 10 %
            by random tokens (label 3) and leaves 10 % as they are (label 0).
        ordinary_ids: for `bert`, the ids that random tokens are drawn from.
        sampling: `temperature`, `top_k`, `top_p`, `steps`, `order` and `forbid_original`, each
            one value or `[batch]`.

    """
    masked = mask_ids(
        original,
        mask,
        mlm_engine.special_ids,
        rng,
        corruption=corruption,
        ordinary_ids=ordinary_ids,
    )
    return masked.labelled(masked.filled_by(mlm_engine, **sampling))


def add_cls_token(
    text: NDArray[np.integer[Any]], cls_token_id: int, block_size: int, fill_value: int = 0
) -> NDArray[np.int64]:
    """Return `[batch, block_size]`: `cls_token_id`, the text, then `fill_value` as padding.

    Serves for ids (fill with [PAD], 0 in our tokenizers) and for labels (-100 for both).

    Raises:
        ValueError: the text does not fit; it is never cut.

    >>> add_cls_token(np.array([[7, 8]]), 2, 4)
    array([[2, 7, 8, 0]])
    """
    batch, length = text.shape
    if length > block_size - 1:
        raise ValueError(
            f"block_size: {length} tokens and [CLS] do not fit into {block_size}. "
            "Cut windows of block_size - 1 tokens."
        )
    result = np.full((batch, block_size), fill_value, dtype=np.int64)
    result[:, 0] = cls_token_id
    result[:, 1 : 1 + length] = text
    return result
