"""Metrics agree with the field's own libraries and say nothing where there is nothing to say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import r2_score, roc_auc_score

from synthenticity.metrics import auroc, finite, ratio_metrics, token_metrics


@settings(derandomize=True, deadline=None, max_examples=100)
@given(seed=st.integers(0, 10**6), ties=st.integers(1, 50))
def test_auroc_is_scikit_learns_ties_included(seed: int, ties: int) -> None:
    rng = np.random.default_rng(seed)
    scores, positive = rng.integers(ties, size=60) / ties, rng.random(60) < 0.4
    assert auroc(scores, positive) == pytest.approx(roc_auc_score(positive, scores))


def test_auroc_of_one_class_is_no_number_and_is_left_out() -> None:
    assert np.isnan(auroc(np.array([1.0, 2.0]), np.array([True, True])))
    assert finite({"a": float("nan"), "b": 1.0, "c": float("inf")}) == {"b": 1.0}


def test_ratio_metrics_are_the_usual_ones() -> None:
    rng = np.random.default_rng(0)
    true = rng.random(200)
    predicted = true + rng.normal(0.05, 0.1, 200)
    found = ratio_metrics(predicted, true)
    assert found["mae"] == pytest.approx(np.abs(predicted - true).mean())
    assert found["mse"] == pytest.approx(((predicted - true) ** 2).mean())
    assert found["rmse"] == pytest.approx(found["mse"] ** 0.5)
    assert found["bias"] == pytest.approx(0.05, abs=0.02)
    assert found["pearson"] == pytest.approx(np.corrcoef(predicted, true)[0, 1])
    assert found["r2"] == pytest.approx(r2_score(true, predicted))


def test_predicting_the_mean_has_no_r2_and_no_correlation() -> None:
    true = np.linspace(0, 1, 11)
    found = ratio_metrics(np.full(11, 0.5), true)
    assert found["r2"] == pytest.approx(0.0)
    assert found["pearson"] == 0.0


def test_tokens_not_counted_do_not_count() -> None:
    labels = np.array([[-100, 0, 1, 2]])
    found = token_metrics(np.array([[9.0, 0.1, 0.2, 0.3]]), labels)
    assert found["token_auroc_filled"] == 1.0 == found["token_auroc_replaced"]


def test_differences_between_documents_inflate_the_pooled_figure_only() -> None:
    """The scores tell documents apart, but nothing within them."""
    rng = np.random.default_rng(0)
    ratios = rng.random((300, 1))
    labels = np.where(rng.random((300, 60)) < ratios, 2, 0)
    found = token_metrics(np.broadcast_to(ratios, labels.shape), labels)
    assert found["token_auroc_filled"] > 0.75
    assert found["token_auroc_filled_within"] == 0.5


def test_filled_and_replaced_are_different_questions() -> None:
    labels = np.array([[0, 0, 1, 1, 2, 2]])
    figures = token_metrics(np.array([[0.1, 0.2, 0.3, 0.4, 0.8, 0.9]]), labels)
    assert figures["token_auroc_filled"] == figures["token_auroc_replaced"] == 1.0
    figures = token_metrics(np.array([[0.3, 0.4, 0.1, 0.2, 0.8, 0.9]]), labels)
    assert figures["token_auroc_filled"] == 0.5
    assert figures["token_auroc_replaced"] == 1.0
