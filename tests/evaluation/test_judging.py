"""Figures are means of what is found of each sequence, and so are their intervals."""

import json

import numpy as np
import pytest

from synthenticity.errors import CorpusError
from synthenticity.evaluation.judging import SCORER, judge
from synthenticity.evaluation.predictions import Predictions
from synthenticity.evaluation.sequences import Sequences

RNG = np.random.default_rng(0)
THRESHOLDS = {SCORER: {0.05: 0.1}, "rival": {0.05: 0.1}}


def labelled(rows: int = 60, length: int = 41) -> Sequences:
    """Return sequences of which a third is untouched, in twenty documents."""
    shares = np.where(np.arange(rows) % 3 == 0, 0.0, RNG.uniform(0.2, 0.8, rows))
    labels = np.where(RNG.random((rows, length)) < shares[:, None], 2, 0).astype(np.int8)
    labels[:, 0] = -100
    columns = {
        "token_labels": labels,
        "synthenticity": (labels > 0).sum(axis=1) / (length - 1),
        "document": np.array([f"d{number // 3}" for number in range(rows)]),
    }
    return Sequences(columns, [""] * rows)


def said_of(test: Sequences, off: float, **more: object) -> Predictions:
    """Return guesses that are so far off on either side."""
    sign = np.where(np.arange(len(test)) % 2, 1, -1)
    tokens = np.clip(
        (test.columns["token_labels"] > 0) * 0.3 + RNG.random(test.counted.shape), 0, 1
    )
    return Predictions(test.ratios + sign * off, tokens, **more)


def test_partly_filled_and_all_sequences_are_judged_apart() -> None:
    test = labelled()
    scorer, rival = said_of(test, 0.02), said_of(test, 0.05)
    rival.ratios[test.ratios == 0] = 0.0
    found = judge(test, {SCORER: [scorer], "rival": [rival]}, THRESHOLDS, 100)
    assert found["rival"]["figures"]["mae"] == pytest.approx(0.05)
    assert found["rival"]["figures"]["mae_all"] == pytest.approx(0.05 * 2 / 3)
    assert found["rival"]["mae_difference"] == pytest.approx(-0.03)
    assert found["rival"]["intervals"]["mae_difference"] == pytest.approx((-0.03, -0.03))
    assert "mae_difference" not in found[SCORER]
    json.dumps(found, allow_nan=False)


def test_the_auroc_within_sequences_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from synthenticity.evaluation import figures

    seen = []
    real = figures.aurocs_within
    monkeypatch.setattr(figures, "aurocs_within", lambda *each: seen.append(1) or real(*each))
    test = labelled()
    found = judge(test, {SCORER: [said_of(test, 0.1)]}, THRESHOLDS, 20)[SCORER]
    assert len(seen) == 2  # of filled, and of replaced tokens
    low, high = found["intervals"]["token_auroc_filled_within"]
    assert low < found["figures"]["token_auroc_filled_within"] < high


def test_intervals_of_a_scorer_are_judged_on_human_text_by_themselves() -> None:
    test = labelled()
    low = np.where(test.ratios == 0, 0.1, test.ratios - 0.1)
    said = said_of(test, 0.05, low=low, high=test.ratios + 0.2)
    figures = judge(test, {SCORER: [said]}, THRESHOLDS, 20)[SCORER]["figures"]
    assert figures["interval_coverage"] == 1.0 and figures["human_interval_coverage"] == 0.0
    assert figures["all_interval_coverage"] == pytest.approx((test.ratios > 0).mean())
    assert figures["interval_width"] == pytest.approx(0.3)
    assert figures["human_interval_width"] == pytest.approx(0.1)


def test_runs_are_averaged_and_a_limit_that_one_never_reaches_is_none() -> None:
    test = labelled(600)
    sharp, blunt = Predictions(test.ratios), Predictions(np.full(len(test), 0.05))
    found = judge(test, {SCORER: [sharp, blunt]}, THRESHOLDS, 20)[SCORER]
    assert judge(test, {SCORER: [sharp]}, THRESHOLDS, 20)[SCORER]["figures"][
        "detection_limit_at_5"
    ] == pytest.approx(0.1, abs=0.11)
    assert found["figures"]["detection_limit_at_5"] is None
    assert found["mae_of_runs"][0] == 0
    assert found["figures"]["mae"] == pytest.approx(np.mean(found["mae_of_runs"]))


def test_who_says_something_of_some_sequences_only_is_judged_by_these() -> None:
    test = labelled()
    scorer, few = said_of(test, 0.1), said_of(test.taken(np.arange(30)), 0.2).padded(len(test))
    found = judge(test, {SCORER: [scorer], "rival": [few]}, THRESHOLDS, 50)
    assert (found[SCORER]["sequences"], found["rival"]["sequences"]) == (60, 30)
    assert found["rival"]["figures"]["mae"] == pytest.approx(0.2)
    assert found["rival"]["mae_difference"] == pytest.approx(-0.1)
    assert found["rival"]["figures"]["human_sequences"] == 10
    json.dumps(found, allow_nan=False)


def test_documents_are_told_by_suspicion_where_there_is_one() -> None:
    test = labelled()
    blind = Predictions(np.full(len(test), 0.5), suspicion=(test.ratios > 0) - 0.5)
    figures = judge(test, {SCORER: [blind]}, {SCORER: {0.05: 0.0}}, 20)[SCORER]["figures"]
    assert figures["document_auroc"] == 1.0 and figures["human_alarms_at_5"] == 0.0
    assert figures["human_mean"] == 0.5


def test_what_is_nowhere_partly_filled_cannot_be_judged() -> None:
    test = labelled()
    whole = test.taken(test.ratios == 0)
    with pytest.raises(CorpusError, match="no sequence of the test split is partly filled"):
        judge(whole, {SCORER: [said_of(whole, 0.1)]}, THRESHOLDS, 20)
