"""Figures are the field's own, and say nothing where there is nothing to say."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score, brier_score_loss, f1_score

from synthenticity.evaluation.figures import (
    boundary_figures,
    document_figures,
    document_figures_by_length,
    figures_by,
    ratio_figures,
    span_figures,
    threshold_at,
    token_figures,
    within_aurocs,
)

RNG = np.random.default_rng(0)


def labelled(rows: int = 40, length: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities that know something of the labels, and the labels, [CLS] in front."""
    labels = RNG.choice([0, 0, 1, 2], (rows, length)).astype(np.int8)
    said = np.clip(0.3 * (labels > 0) + RNG.random((rows, length)) * 0.7, 0, 1)
    labels[:, 0] = -100
    return said, labels


def test_ratio_figures_are_the_usual_ones() -> None:
    true = RNG.random(200)
    predicted = np.clip(0.2 + 0.5 * true + RNG.normal(0, 0.05, 200), 0, 1)
    found = ratio_figures(predicted, true)
    assert found["spearman"] == pytest.approx(spearmanr(predicted, true).statistic)
    line = np.polynomial.Polynomial.fit(predicted, true, 1).convert().coef
    assert [found["calibration_intercept"], found["calibration_slope"]] == pytest.approx(line)
    calibrated = found["calibration_intercept"] + found["calibration_slope"] * predicted
    again = ratio_figures(calibrated, true)
    assert again["calibration_slope"] == pytest.approx(1)
    assert again["mse"] < found["mse"]


def test_a_constant_has_no_rank_correlation_and_no_line() -> None:
    found = ratio_figures(np.full(9, 0.5), np.linspace(0, 1, 9))
    assert "spearman" not in found and "calibration_slope" not in found


def test_buckets_hold_every_sequence_once() -> None:
    true = np.array([0.0, 0.1, 0.3, 0.7, 1.0], dtype=np.float32)
    found = figures_by((0.0, 0.1, 0.5, 1.0), true, true + 0.5, true)
    assert [bucket["sequences"] for bucket in found] == [1, 2, 2]
    assert all(bucket["mae"] == pytest.approx(0.5) for bucket in found)


def test_token_figures_are_scikit_learns() -> None:
    said, labels = labelled()
    found = token_figures(said, labels)
    p, y = said[labels >= 0], labels[labels >= 0]
    assert found["token_f1"] == pytest.approx(f1_score(y > 0, p >= 0.5))
    assert found["token_brier"] == pytest.approx(brier_score_loss(y > 0, p))
    for name, positive in {"filled": y > 0, "replaced": y == 2}.items():
        expected = average_precision_score(positive, p)
        assert found[f"token_average_precision_{name}"] == pytest.approx(expected)


def test_tokens_are_ranked_within_each_sequence() -> None:
    said = np.array([[0.9, 0.1, 0.2, 0.8], [0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]])
    labels = np.array([[-100, 0, 0, 2], [-100, 1, 0, 2], [-100, 0, 0, 0]], dtype=np.int8)
    found = within_aurocs(said, labels)
    np.testing.assert_equal(found["token_auroc_filled_within"], [1.0, 0.5, np.nan])
    np.testing.assert_equal(found["token_auroc_replaced_within"], [1.0, 1.0, np.nan])


def test_probabilities_that_come_true_have_no_calibration_error() -> None:
    said = np.repeat([[0.15, 0.85]], 20_000, axis=0)
    labels = np.where(RNG.random(said.shape) < said, 2, 0).astype(np.int8)
    assert token_figures(said, labels)["token_ece"] < 0.01
    assert token_figures(1 - said, labels)["token_ece"] == pytest.approx(0.7, abs=0.02)


def test_a_stretch_is_found_by_one_that_covers_most_of_it() -> None:
    labels = np.zeros((1, 21), dtype=np.int8)
    labels[0, 0], labels[0, 3:9], labels[0, 14:18] = -100, 2, 1
    exact = np.isin(labels, (1, 2)).astype(float)
    assert span_figures(exact, labels) == {"span_f1": 1.0}
    late = np.zeros((1, 21))
    late[0, 5:9] = late[0, 17:21] = 1.0  # 4 of 6 together; 1 of 7
    assert span_figures(late, labels) == {"span_f1": 0.5}
    assert span_figures(np.zeros((1, 21)), labels) == {"span_f1": 0.0}


@pytest.mark.parametrize("end", ["prefix", "suffix"])
def test_a_boundary_is_where_the_odds_turn(end: str) -> None:
    labels = np.zeros((2, 31), dtype=np.int8)
    labels[:, 0] = -100
    labels[0, 1:11] = 2
    labels[1, 5:9] = 2  # neither: it is not counted
    said = np.where(labels > 0, 0.9, 0.1)
    said[0, 11:14] = 0.8  # as if three more tokens were filled
    if end == "suffix":
        labels[:, 1:], said[:, 1:] = labels[:, :0:-1].copy(), said[:, :0:-1].copy()
    assert boundary_figures(said, labels) == {"boundary_error": 3.0}
    assert boundary_figures(said[1:], labels[1:]) == {}


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.05, 0.5])
def test_a_threshold_keeps_its_rate_of_false_alarms(rate: float) -> None:
    human = RNG.random(1000).round(2)  # with ties
    threshold = threshold_at(human, rate)
    assert (human > threshold).mean() <= rate
    assert rate == 0 or (human > np.nextafter(threshold, 0) - 0.01).mean() > rate


def test_documents_are_detected_from_a_ratio_on() -> None:
    true = np.concatenate([np.zeros(100), np.repeat([0.05, 0.25, 0.35, 0.95], 50)])
    scores = true + RNG.random(300) * 0.2
    found = document_figures(scores, true, {0.05: 0.2})
    assert found["human_alarms_at_5"] == 0 and found["human_sequences"] == 100
    assert [bucket["from"] for bucket in found["detected_at_5"]] == [0.0, 0.2, 0.3, 0.9]
    assert found["detected_at_5"][0]["detected"] < 0.5
    assert found["detection_limit_at_5"] == 0.2
    assert 0.9 < found["document_auroc"] < 1
    assert document_figures(scores, true, {0.01: 2.0})["detection_limit_at_1"] is None


def test_without_human_text_nothing_is_said_of_it() -> None:
    found = document_figures(np.array([0.2, 0.4]), np.array([0.2, 0.4]), {0.05: 0.1})
    assert "document_auroc" not in found and "human_alarms_at_5" not in found


def test_longer_texts_are_detected_from_a_smaller_ratio_on() -> None:
    lengths = np.repeat([40, 256, 3000], 200)
    true = np.tile(np.repeat([0.0, 0.15, 0.45, 0.95], 50), 3)
    noise = RNG.uniform(-0.1, 0.1, 600)
    scores = true + np.where(lengths < 64, 6 * noise, noise)
    found = document_figures_by_length(lengths, scores, true, {0.01: 0.1})
    assert [(each["from"], each["to"]) for each in found] == [(0, 64), (256, 512), (1024, None)]
    assert [each["human_sequences"] for each in found] == [50, 50, 50]
    assert [each["detection_limit_at_1"] for each in found][1:] == [0.4, 0.4]
    assert found[0]["detection_limit_at_1"] in (0.9, None)
    assert found[0]["human_alarms_at_1"] > 0.2 and found[1]["human_alarms_at_1"] == 0
    assert figures_by((0.0, np.inf), lengths, scores, true)[0]["to"] is None
