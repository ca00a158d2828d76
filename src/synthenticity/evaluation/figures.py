"""The figures of a scorer, each a function of what was said and what is true.

Three things are judged: the ratio of a text, each of its tokens and the stretches that they form,
and whether a text is human at all, at a rate of false alarms that was fixed on other text.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthenticity.errors import MissingExtraError
from synthenticity.metrics import auroc, aurocs_within, ratio_metrics

Floats = NDArray[np.floating]
RATIO_EDGES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
LENGTH_EDGES = (0.0, 64.0, 128.0, 256.0, 512.0, 1024.0, np.inf)
"""In counted tokens."""
ALARM_RATES = (0.05, 0.01)
"""False-positive rates at which detection is told."""
DETECTED = 0.9
"""The detection limit is the smallest ratio of which such a share is told from human text."""
BINS = 10
OVERLAP = 0.5
"""A stretch is found if one that was said shares so much of what either covers."""


def ratio_figures(predicted: Floats, true: Floats) -> dict[str, float]:
    """Return errors, correlations and the line that true ratios follow over predicted ones.

    A calibrated scorer has `calibration_slope` 1 and `calibration_intercept` 0.

    Raises:
        MissingExtraError: without SciPy (extra `eval`).

    """
    figures = ratio_metrics(predicted, true)
    if np.ptp(predicted) > 0 and np.ptp(true) > 0:
        slope, intercept = np.polyfit(predicted, true, 1)
        figures |= {
            "spearman": float(_stats().spearmanr(predicted, true).statistic),
            "calibration_slope": float(slope),
            "calibration_intercept": float(intercept),
        }
    return figures


def buckets(
    edges: tuple[float, ...], values: NDArray[Any]
) -> Iterator[tuple[dict[str, float | None], NDArray[np.bool_]]]:
    """Yield edges and members of each bucket of some value; empty buckets are left out.

    A bucket holds its lower edge; the last one holds the upper one, too, or has none (None).
    """
    place = np.clip(np.searchsorted(edges, values + 1e-9, side="right") - 1, 0, len(edges) - 2)
    for index in np.unique(place).tolist():
        upper = edges[index + 1]
        yield (
            {"from": edges[index], "to": upper if np.isfinite(upper) else None},
            place == index,
        )


def figures_by(
    edges: tuple[float, ...], values: NDArray[Any], predicted: Floats, true: Floats
) -> list[dict[str, Any]]:
    """Return count, error and bias in each of the `buckets` of some value.

    >>> both = np.array([0.05, 0.1]), np.array([0.0, 0.2])
    >>> figures_by((0.0, 0.1, 0.2), both[1], *both)[0]
    {'from': 0.0, 'to': 0.1, 'sequences': 1, 'mae': 0.05, 'bias': 0.05}
    """
    error = predicted - true
    return [
        {
            **bucket,
            "sequences": int(some.sum()),
            "mae": float(np.abs(error[some]).mean()),
            "bias": float(error[some].mean()),
        }
        for bucket, some in buckets(edges, values)
    ]


def token_figures(probabilities: Floats, labels: NDArray[np.integer]) -> dict[str, float]:
    """Return how well tokens are ranked, all together, and how true their probabilities are.

    Both arrays are `[sequences, length]`; labels below 0 are not counted. `token_ece` is the
    expected calibration error over ten bins (Naeini et al. 2015), `token_f1` that of the filled
    tokens at one half.

    Raises:
        MissingExtraError: without scikit-learn (extra `eval`).

    """
    counted = labels >= 0
    said, filled = probabilities[counted].astype(np.float64), np.isin(labels[counted], (1, 2))
    figures = {}
    for name, positive in {"filled": filled, "replaced": labels[counted] == 2}.items():
        figures[f"token_auroc_{name}"] = auroc(said, positive)
        if positive.any():
            precision = _sklearn_metrics().average_precision_score(positive, said)
            figures[f"token_average_precision_{name}"] = float(precision)
    place = np.minimum((said * BINS).astype(int), BINS - 1)
    counts = np.maximum(np.bincount(place, minlength=BINS), 1)
    gaps = np.bincount(place, said - filled, minlength=BINS) / counts
    found = said >= 0.5
    agreed = int((found & filled).sum())
    return figures | {
        "token_f1": 2 * agreed / max(int(found.sum() + filled.sum()), 1),
        "token_ece": float(np.abs(gaps) @ np.bincount(place, minlength=BINS) / len(said)),
        "token_brier": float(np.mean((said - filled) ** 2)),
    }


def within_aurocs(
    probabilities: Floats, labels: NDArray[np.integer]
) -> dict[str, NDArray[np.float64]]:
    """Return the AUROC of filled and of replaced tokens within each sequence, `[sequences]`.

    NaN where a sequence has tokens of one kind only. Their mean is free of the differences between
    sequences' ratios, which inflate the figure of all tokens together.
    """
    counted = labels >= 0
    return {
        f"token_auroc_{name}_within": aurocs_within(probabilities, np.isin(labels, kinds), counted)
        for name, kinds in {"filled": (1, 2), "replaced": (2,)}.items()
    }


def span_figures(probabilities: Floats, labels: NDArray[np.integer]) -> dict[str, float]:
    """Return how well stretches are found: runs of filled tokens against runs at one half or more.

    `span_f1` counts a stretch as found if a said one shares half of what the two cover together.
    """
    hits = said = true = 0
    for probability, label in zip(probabilities, labels, strict=True):
        counted = label >= 0
        ours, theirs = _runs(probability[counted] >= 0.5), _runs(np.isin(label[counted], (1, 2)))
        hits += _matched(ours, theirs)
        said, true = said + len(ours), true + len(theirs)
    return {"span_f1": 2 * hits / max(said + true, 1)}


def boundary_figures(probabilities: Floats, labels: NDArray[np.integer]) -> dict[str, float]:
    """Return the mean distance, in tokens, from where human text turns into machine's (or back) to
    where it is likeliest to; of sequences whose filled tokens are all at one end.
    """
    errors = []
    for probability, label in zip(probabilities, labels, strict=True):
        filled = np.isin(label[label >= 0], (1, 2))
        turns = np.flatnonzero(np.diff(filled)) + 1
        if len(turns) != 1:
            continue
        said = np.clip(probability[label >= 0].astype(np.float64), 1e-6, 1 - 1e-6)
        odds = np.concatenate([[0.0], np.cumsum(np.log(said) - np.log1p(-said))])
        best = odds.argmax() if filled[0] else odds.argmin()
        errors.append(abs(int(best) - int(turns[0])))
    return {"boundary_error": float(np.mean(errors))} if errors else {}


def threshold_at(human: Floats, rate: float) -> float:
    """Return the least threshold above which at most this share of human scores lies.

    >>> threshold_at(np.array([0.1, 0.2, 0.3, 0.4]), 0.25)
    0.3
    """
    ordered = np.sort(human)
    return float(ordered[len(ordered) - 1 - int(rate * len(ordered) + 1e-9)])


def document_figures(
    scores: Floats, true: Floats, thresholds: Mapping[float, float]
) -> dict[str, Any]:
    """Return how well untouched sequences (ratio 0) are told from partly or wholly filled ones.

    Args:
        scores: `[sequences]`, higher where something is likelier to be filled.
        true: true ones.
        thresholds: by false-positive rate, fixed on other human text (`threshold_at`).

    """
    human, filled = true == 0, true > 0
    figures: dict[str, Any] = {"human_sequences": int(human.sum())}
    if human.any() and filled.any():
        figures["document_auroc"] = auroc(scores, filled)
    for rate, threshold in thresholds.items():
        above, name = scores > threshold, percent(rate)
        if human.any():
            figures[f"human_alarms_at_{name}"] = float(above[human].mean())
        shares = _detected_by_ratio(above, true)
        figures[f"detected_at_{name}"] = shares
        figures[f"detection_limit_at_{name}"] = _detection_limit(shares)
    return figures


def document_figures_by_length(
    lengths: NDArray[np.integer], scores: Floats, true: Floats, thresholds: Mapping[float, float]
) -> list[dict[str, Any]]:
    """Return `document_figures` of texts of similar length, by the thresholds of all lengths.

    So a bucket says whether its human text is accused more often than was meant. `lengths` are
    counted tokens `[sequences]`.
    """
    return [
        bucket
        | {
            name: value
            for name, value in document_figures(scores[some], true[some], thresholds).items()
            if not isinstance(value, list)
        }
        for bucket, some in buckets(LENGTH_EDGES, lengths)
    ]


def percent(rate: float) -> str:
    """Return a rate as figures' names have it.

    >>> percent(0.05)
    '5'
    """
    return f"{100 * rate:g}"


def _detected_by_ratio(above: NDArray[np.bool_], true: Floats) -> list[dict[str, Any]]:
    """Return the share of filled sequences above the threshold, by bucket of their ratio."""
    filled = true > 0
    return [
        {**bucket, "sequences": int(some.sum()), "detected": float(above[filled][some].mean())}
        for bucket, some in buckets(RATIO_EDGES, true[filled])
    ]


def _detection_limit(shares: list[dict[str, Any]]) -> float | None:
    """Return the lower edge of the first bucket from which on nearly all are detected."""
    limit = None
    for bucket in reversed(shares):
        if bucket["detected"] < DETECTED:
            break
        limit = bucket["from"]
    return limit


def _runs(on: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return start and end of each run `[runs, 2]`."""
    edges = np.diff(np.concatenate([[False], on, [False]]).astype(np.int8))
    return np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)], axis=1)


def _matched(ours: NDArray[np.int64], theirs: NDArray[np.int64]) -> int:
    """Return how many of our runs overlap one of theirs by more than half of both together.

    Runs are disjoint, so each has at most one such partner.
    """
    common = np.minimum(ours[:, None, 1], theirs[None, :, 1])
    common = np.clip(common - np.maximum(ours[:, None, 0], theirs[None, :, 0]), 0, None)
    either = np.ptp(ours, axis=1)[:, None] + np.ptp(theirs, axis=1)[None] - common
    return int((common > OVERLAP * either).sum())


def _stats() -> Any:
    try:
        from scipy import stats
    except ImportError:
        raise MissingExtraError("Rank correlation (SciPy)", "eval") from None
    return stats


def _sklearn_metrics() -> Any:
    try:
        from sklearn import metrics
    except ImportError:
        raise MissingExtraError("Average precision (scikit-learn)", "eval") from None
    return metrics
