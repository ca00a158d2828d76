"""Intervals are those of documents."""

import numpy as np
import pytest

from synthenticity.evaluation.bootstrap import Resamples


def test_a_draw_holds_as_many_documents_as_there_are() -> None:
    drawn = Resamples(["b", "a", "b", "c", "c", "c"], 50)
    assert drawn.owner.tolist() == [1, 0, 1, 2, 2, 2]
    assert drawn.weights.shape == (50, 3) and (drawn.weights.sum(axis=1) == 3).all()


def test_an_interval_is_that_of_the_means_of_whole_documents() -> None:
    documents, values = ["b", "a", "b", "c"], np.array([1.0, 3.0, np.nan, 0.5])
    drawn = Resamples(documents, 200)
    means = []
    for row in drawn.weights.astype(int):
        windows = np.concatenate(
            [values[drawn.owner == each].repeat(n) for each, n in enumerate(row)]
        )
        means.append(np.nanmean(windows))
    expected = np.percentile(means, [2.5, 97.5])
    assert drawn.interval_of_mean(values) == pytest.approx(expected)


def test_draws_are_a_function_of_the_seed() -> None:
    first, again, other = (Resamples(list("abcdef"), 20, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.weights, again.weights)
    assert not np.array_equal(first.weights, other.weights)


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Windows of a document are alike; an interval over windows would hold it far more seldom."""
    rng, hits = np.random.default_rng(0), 0
    for trial in range(200):
        documents = np.repeat(np.arange(40), 10)
        values = np.repeat(rng.normal(size=40), 10) + 0.1 * rng.normal(size=400)
        drawn = Resamples([str(each) for each in documents], 200, seed=trial)
        low, high = drawn.interval_of_mean(values)
        hits += low <= 0 <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_what_is_the_same_for_two_has_a_difference_of_nothing() -> None:
    values = np.random.default_rng(1).random(30)
    drawn = Resamples([str(n // 3) for n in range(30)], 100)
    assert drawn.interval_of_mean(values - values) == (0.0, 0.0)


def test_a_figure_that_no_window_has_has_no_interval() -> None:
    values = np.array([np.nan, np.nan, 1.0])
    assert Resamples(list("aab"), 100).interval_of_mean(values) == (1.0, 1.0)
    assert Resamples(list("aab"), 100).interval_of_mean(np.full(3, np.nan)) is None
