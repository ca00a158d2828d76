"""The truth of every token, and the figures made of it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthenticity.synthesis.synthetic_generation import (
    add_cls_token,
    create_synthetic_text,
    fraction_labelled,
)


class CyclingEngine:
    """Writes the next id at every second masked position, the same id at the others."""

    mask_token_id = 3
    special_ids = np.arange(4)

    def predict_masked_tokens(
        self, input_ids: Any, mask_positions: Any, *, sequence_keys: Any, **_sampling: Any
    ) -> np.ndarray:
        turn = np.cumsum(mask_positions, axis=1) % 2 == 1
        return np.where(mask_positions & turn, input_ids + 1, input_ids)


@st.composite
def cases(draw: Any) -> tuple[np.ndarray, np.ndarray]:
    """Draw ids with special tokens here and there, and masks that spare them."""
    rows, length = draw(st.integers(1, 4)), draw(st.integers(1, 12))
    values = st.lists(st.integers(0, 12), min_size=rows * length, max_size=rows * length)
    ids = np.array(draw(values)).reshape(rows, length)
    chosen = st.lists(st.booleans(), min_size=rows * length, max_size=rows * length)
    return ids, np.array(draw(chosen)).reshape(rows, length) & (ids > 3)


def label_of(before: int, after: int, masked: bool) -> int:
    """State the rule, one token at a time."""
    if before <= 3:
        return -100
    if not masked:
        return 0
    return 1 if before == after else 2


@settings(derandomize=True, deadline=None, max_examples=100)
@given(case=cases())
def test_every_token_is_labelled_by_what_happened_to_it(case: tuple) -> None:
    ids, mask = case
    before = ids.copy()
    text = create_synthetic_text(ids, mask, CyclingEngine(), np.random.default_rng(0))
    assert (ids == before).all()
    expected = [
        [label_of(*token) for token in zip(*row, strict=True)]
        for row in zip(ids.tolist(), text.ids.tolist(), mask.tolist(), strict=True)
    ]
    assert text.token_labels.tolist() == expected
    assert text.token_labels.dtype == np.int8
    counted = (ids > 3).sum(axis=1).clip(min=1)
    assert text.synthenticity == pytest.approx(mask.sum(axis=1) / counted)
    replaced = (text.token_labels == 2).sum(axis=1)
    assert text.replaced_fraction == pytest.approx(replaced / counted)


def test_targets_are_the_sequences_own_shares() -> None:
    """One nominal ratio, many lengths: rounding alone makes the shares differ."""
    ids = np.full((3, 10), 5)
    mask = np.zeros(ids.shape, dtype=bool)
    mask[0, :3] = mask[1, :4] = True
    text = create_synthetic_text(ids, mask, CyclingEngine(), np.random.default_rng(0))
    assert text.synthenticity.tolist() == pytest.approx([0.3, 0.4, 0.0])
    assert text.synthenticity.dtype == np.float32


def test_masks_over_special_tokens_are_refused() -> None:
    ids = np.array([[2, 5, 6]])
    with pytest.raises(ValueError, match="covers special tokens"):
        create_synthetic_text(ids, ids == 2, CyclingEngine(), np.random.default_rng(0))


def test_bert_corruption_fills_masks_only_and_labels_random_tokens() -> None:
    ids = np.full((200, 50), 5)
    text = create_synthetic_text(
        ids,
        ids == 5,
        CyclingEngine(),
        np.random.default_rng(0),
        corruption="bert",
        ordinary_ids=np.arange(6, 20),
    )
    labels = text.token_labels
    assert (labels == 3).mean() == pytest.approx(0.1, abs=0.01)
    assert (labels == 0).mean() == pytest.approx(0.1, abs=0.01)
    assert text.synthenticity.mean() == pytest.approx(0.8, abs=0.01)
    assert (text.ids[labels == 3] > 5).all() and (text.ids[labels == 0] == 5).all()


@pytest.mark.parametrize("corruption", ["mask", "bert"])
def test_the_engine_is_told_what_stood_at_the_positions_to_fill(corruption: str) -> None:
    """Else it could not obey `forbid_original`."""
    seen: list[tuple[np.ndarray, np.ndarray]] = []

    class Watching(CyclingEngine):
        mask_token_id = None  # as of a left-to-right model

        def predict_masked_tokens(self, ids: Any, mask: Any, **named: Any) -> np.ndarray:
            seen.append((ids, mask))
            return super().predict_masked_tokens(ids, mask, **named)

    ids = np.random.default_rng(0).integers(5, 20, (20, 30))
    create_synthetic_text(
        ids,
        np.ones(ids.shape, dtype=bool),
        Watching(),
        np.random.default_rng(0),
        corruption=corruption,
        ordinary_ids=np.arange(5, 20),
    )
    told, to_fill = seen[0]
    assert to_fill.mean() > 0.7 and (told[to_fill] == ids[to_fill]).all()


def test_bert_corruption_needs_the_ids_to_draw_from() -> None:
    ids = np.full((1, 3), 5)
    with pytest.raises(ValueError, match="ordinary_ids"):
        create_synthetic_text(
            ids, ids == 5, CyclingEngine(), np.random.default_rng(0), corruption="bert"
        )


def test_rows_get_keys_of_their_own_from_the_generator() -> None:
    seen: list[np.ndarray] = []

    class Watching(CyclingEngine):
        def predict_masked_tokens(self, *arguments: Any, **named: Any) -> np.ndarray:
            seen.append(named["sequence_keys"])
            return super().predict_masked_tokens(*arguments, **named)

    ids = np.full((50, 3), 5)
    for seed in (1, 1, 2):
        create_synthetic_text(ids, ids == 5, Watching(), np.random.default_rng(seed))
    assert (seen[0] == seen[1]).all() and (seen[0] != seen[2]).all()
    assert len(set(seen[0].tolist())) == 50


def test_shares_of_nothing_counted_are_zero() -> None:
    assert fraction_labelled(np.full((1, 3), -100, dtype=np.int8), (1, 2)).tolist() == [0.0]


def test_cls_is_added_in_front_and_nothing_is_cut() -> None:
    text = np.array([[7, 8, 9]])
    assert add_cls_token(text, 2, 4, 0).tolist() == [[2, 7, 8, 9]]
    assert add_cls_token(text, 2, 6, 0).tolist() == [[2, 7, 8, 9, 0, 0]]
    with pytest.raises(ValueError, match="3 tokens and \\[CLS\\] do not fit into 3"):
        add_cls_token(text, 2, 3, 0)
