"""Intervals are those of documents."""

import numpy as np

from synthenticity.evaluation.bootstrap import document_draws, intervals


def test_a_draw_holds_whole_documents() -> None:
    documents = ["b", "a", "b", "c", "c", "c"]
    for draw in document_draws(documents, 50):
        counts = np.bincount(draw, minlength=6)
        assert counts[0] == counts[2] and counts[3] == counts[4] == counts[5]
        assert counts[0] + counts[1] + counts[3] == 3


def test_draws_are_a_function_of_the_seed() -> None:
    first, again, other = (document_draws(list("abcdef"), 20, seed=seed) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Windows of a document are alike; an interval over windows would hold it far more seldom."""
    rng, hits = np.random.default_rng(0), 0
    for trial in range(200):
        documents = np.repeat(np.arange(40), 10)
        values = np.repeat(rng.normal(size=40), 10) + 0.1 * rng.normal(size=400)
        draws = document_draws([str(each) for each in documents], 200, seed=trial)
        low, high = intervals(lambda some, v=values: {"mean": float(v[some].mean())}, draws)["mean"]
        hits += low <= 0 <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_what_is_the_same_for_two_has_a_difference_of_nothing() -> None:
    values = np.random.default_rng(1).random(30)
    draws = document_draws([str(n // 3) for n in range(30)], 100)
    found = intervals(lambda some: {"gain": float((values[some] - values[some]).mean())}, draws)
    assert found == {"gain": (0.0, 0.0)}
