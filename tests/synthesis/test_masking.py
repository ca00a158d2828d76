"""Masks hit their ratio exactly, stay on maskable tokens, and look as their pattern says."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthenticity.recipe import MASK_PATTERNS, Recipe
from synthenticity.synthesis.masking import (
    KEPT,
    MASKED,
    PATTERNS,
    RANDOM,
    apply_bert_style_corruption,
    choose_positions,
    choose_recipes,
    mask_rows,
)

ROWS, LENGTH = 4000, 40
ENDS = ("prefix", "suffix")


def masks(ratio: float, **recipe: Any) -> np.ndarray:
    """Return masks of many rows, all maskable."""
    everything = np.ones((ROWS, LENGTH), dtype=bool)
    rng = np.random.default_rng(0)
    return mask_rows(Recipe(**recipe), np.full(ROWS, ratio), everything, rng, units_of(ROWS))


def units_of(rows: int, length: int = LENGTH, seed: int = 5) -> np.ndarray:
    """Return unit numbers of many rows: units of about three tokens."""
    starts = np.random.default_rng(seed).random((rows, length)) < 0.3
    return starts.cumsum(axis=1)


def span_lengths(mask: np.ndarray) -> np.ndarray:
    """Return the lengths of the runs of masked tokens, of all rows."""
    edges = np.diff(np.pad(mask.astype(int), ((0, 0), (1, 1))), axis=1)
    return np.nonzero(edges == -1)[1] - np.nonzero(edges == 1)[1]


def test_every_named_pattern_exists() -> None:
    assert set(PATTERNS) == set(MASK_PATTERNS)


@pytest.mark.parametrize("pattern", MASK_PATTERNS)
@settings(derandomize=True, deadline=None, max_examples=80)
@given(data=st.data())
def test_the_ratio_is_hit_exactly_on_maskable_tokens_only(pattern: str, data: Any) -> None:
    rows, length = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 30))
    cells = st.lists(st.booleans(), min_size=rows * length, max_size=rows * length)
    maskable = np.array(data.draw(cells)).reshape(rows, length)
    ratio_lists = st.lists(st.floats(0, 1), min_size=rows, max_size=rows)
    ratios = np.array(data.draw(ratio_lists))
    recipe = Recipe(
        pattern=pattern,
        mean_span=data.draw(st.floats(1, 40)),
        stickiness=data.draw(st.floats(1, 100)),
    )
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    mask = mask_rows(recipe, ratios, maskable, rng, units_of(rows, length))
    assert not (mask & ~maskable).any()
    assert (mask.sum(axis=1) == np.rint(ratios * maskable.sum(axis=1))).all()


@pytest.mark.parametrize("pattern", sorted(set(MASK_PATTERNS) - {*ENDS, "word"}))
def test_every_position_is_masked_equally_often_ends_included(pattern: str) -> None:
    often = masks(0.3, pattern=pattern).mean(axis=0)
    assert often == pytest.approx(0.3, abs=0.05)
    assert abs(often[[0, -1]].mean() - often[15:25].mean()) < 0.03


@pytest.mark.parametrize("ratio", [0.05, 0.33, 0.48, 0.68, 1.0])
def test_spans_do_not_move_the_ratio(ratio: float) -> None:
    counts = masks(ratio, pattern="span", mean_span=5).sum(axis=1)
    assert set(counts.tolist()) == {round(ratio * LENGTH)}


def test_spans_have_about_the_asked_length_and_vary() -> None:
    """A span that crosses the ring's seam counts as two here, so the mean lies a little lower."""
    lengths = span_lengths(masks(0.5, pattern="span", mean_span=5))
    assert lengths.mean() == pytest.approx(4.6, abs=0.4)
    assert lengths.min() == 1 and lengths.max() > 8


def test_sticky_masks_cling_together_more_than_random_ones() -> None:
    random, sticky = (
        span_lengths(masks(0.3, pattern=pattern)).mean() for pattern in ("random", "sticky")
    )
    assert sticky > 1.5 * random
    stickier = span_lengths(masks(0.3, pattern="sticky", stickiness=100)).mean()
    assert stickier > sticky


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.9])
def test_units_are_masked_whole_but_for_one(ratio: float) -> None:
    units = units_of(ROWS)
    mask = masks(ratio, pattern="sentence")
    masked, sizes = (np.zeros((ROWS, LENGTH + 1), dtype=int) for _ in range(2))
    rows = np.arange(ROWS)[:, None] + np.zeros_like(units)
    np.add.at(masked, (rows, units), mask)
    np.add.at(sizes, (rows, units), 1)
    assert ((masked > 0) & (masked < sizes)).sum(axis=1).max() == 1
    assert span_lengths(mask).mean() > 1.5 * span_lengths(masks(ratio)).mean()


def test_units_of_one_token_leave_none_in_part() -> None:
    """Words of five characters between single spaces, which are units of their own."""
    units = np.tile(np.repeat(np.arange(8) * 2, 5) + np.tile([0, 0, 0, 0, 1], 8), (500, 1))
    everything, ratios = np.ones(units.shape, dtype=bool), np.full(500, 0.5)
    mask = mask_rows(Recipe(pattern="word"), ratios, everything, np.random.default_rng(0), units)
    words = mask.reshape(500, 8, 5)[:, :, :4].sum(axis=2)
    assert (mask.sum(axis=1) == 20).all()
    assert np.isin(words, (0, 4)).mean() > 0.98
    assert abs(mask[:, :4].mean() - mask[:, 20:24].mean()) < 0.05


def test_patterns_by_units_need_them() -> None:
    with pytest.raises(ValueError, match="units: the pattern line needs them"):
        mask_rows(
            Recipe(pattern="line"), np.ones(1), np.ones((1, 4), bool), np.random.default_rng(0)
        )


def test_prefix_and_suffix_are_the_ends_of_the_maskable() -> None:
    maskable = np.array([[False, True, True, False, True, True, False]])
    rng, half = np.random.default_rng(0), np.array([0.5])
    prefix = mask_rows(Recipe(pattern="prefix"), half, maskable, rng)
    suffix = mask_rows(Recipe(pattern="suffix"), half, maskable, rng)
    assert np.flatnonzero(prefix).tolist() == [1, 2]
    assert np.flatnonzero(suffix).tolist() == [4, 5]


def test_recipes_are_drawn_by_weight_and_ratios_within_their_range() -> None:
    recipes = (Recipe(ratio=(0, 0), weight=0.25), Recipe(ratio=(0.2, 0.6), weight=0.75))
    index, ratios = choose_recipes(recipes, 8000, np.random.default_rng(0))
    assert (index == 0).mean() == pytest.approx(0.25, abs=0.02)
    assert (ratios[index == 0] == 0).all()
    drawn = ratios[index == 1]
    assert drawn.min() >= 0.2 and drawn.max() <= 0.6
    assert drawn.mean() == pytest.approx(0.4, abs=0.01)
    assert drawn.std() == pytest.approx(0.4 / 12**0.5, abs=0.01)


def test_each_row_is_masked_by_its_own_recipe() -> None:
    recipes = (Recipe(pattern="span", mean_span=10), Recipe(pattern="random"))
    index = np.arange(ROWS) % 2
    everything = np.ones((ROWS, LENGTH), dtype=bool)
    rng = np.random.default_rng(0)
    mask = choose_positions(recipes, index, np.full(ROWS, 0.5), everything, rng)
    assert (mask.sum(axis=1) == LENGTH // 2).all()
    assert span_lengths(mask[index == 0]).mean() > 3 * span_lengths(mask[index == 1]).mean()


def test_bert_corruption_is_80_10_10_and_never_special() -> None:
    ids = np.full((400, 100), 7)
    mask = np.zeros(ids.shape, dtype=bool)
    mask[:, :50] = True
    ordinary = np.arange(4, 20)
    corrupted, done = apply_bert_style_corruption(
        ids, mask, mask_token_id=3, ordinary_ids=ordinary, rng=np.random.default_rng(0)
    )
    assert (ids == 7).all()
    assert (corrupted[:, 50:] == 7).all() and (done[:, 50:] == KEPT).all()
    for what, share in ((MASKED, 0.8), (RANDOM, 0.1), (KEPT, 0.1)):
        assert (done[:, :50] == what).mean() == pytest.approx(share, abs=0.01)
    assert (corrupted[done == MASKED] == 3).all()
    assert set(corrupted[done == RANDOM].tolist()) == set(ordinary.tolist())
    assert (corrupted[done == KEPT] == 7).all()
