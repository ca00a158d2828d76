"""The figures of a scorer, in numpy: errors of the ratio, ranking of the tokens.

Kept beside `config` and `seeding` at the bottom of the house because training watches them and
evaluation reports them.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def ratio_metrics(predicted: NDArray[np.floating], true: NDArray[np.floating]) -> dict[str, float]:
    """Return the errors of predicted ratios `[documents]` against the true ones.

    `r2` compares with predicting the mean of the true ratios (0 = no better); `pearson` is 0
    where one side is constant.

    >>> ratio_metrics(np.array([0.25, 0.5]), np.array([0.0, 0.5]))["mae"]
    0.125
    """
    p, t = np.asarray(predicted, dtype=np.float64), np.asarray(true, dtype=np.float64)
    error = p - t
    mse = float(np.mean(error**2))
    variance = float(np.var(t))
    spread = float(np.std(p) * np.std(t))
    covariance = float(np.mean((p - p.mean()) * (t - t.mean())))
    return {
        "mae": float(np.mean(np.abs(error))),
        "mse": mse,
        "rmse": mse**0.5,
        "bias": float(np.mean(error)),
        "pearson": covariance / spread if spread > 1e-12 else 0.0,
        "r2": 1.0 - mse / variance if variance > 0 else 0.0,
    }


def conformal_quantile(values: NDArray[np.floating], share: float) -> float:
    """Return what the next of exchangeable values stays at or below with at least that probability.

    With so few values `[cases]` that none does, that is the largest (Vovk et al. 2005).

    >>> conformal_quantile(np.array([-0.1, 0.0, 0.05, 0.3]), 0.5)
    0.05
    """
    cases = len(values)
    place = min(int(np.ceil((cases + 1) * share - 1e-9)), cases)
    return float(np.sort(values)[place - 1])


def least_cases(rate: float) -> int:
    """Return how many values a quantile that the next exceeds with at most this probability takes.

    Of fewer, `conformal_quantile` is their largest, which promises less.

    >>> least_cases(0.01)
    99
    """
    return int(np.ceil(1 / rate - 1e-9)) - 1


def auroc(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve, ties counted half; NaN if one class is empty.

    It is the Mann-Whitney statistic over its largest value (Hanley and McNeil 1982).

    >>> auroc(np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, False, True, True]))
    0.875
    """
    values, wanted = np.asarray(scores).ravel(), np.asarray(positive, dtype=bool).ravel()
    hits, misses = int(wanted.sum()), int((~wanted).sum())
    if not hits or not misses:
        return float("nan")
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle_ranks = np.cumsum(counts) - (counts - 1) / 2.0
    rank_sum = float(middle_ranks[inverse.ravel()][wanted].sum())
    return (rank_sum - hits * (hits + 1) / 2.0) / (hits * misses)


def token_metrics(
    probabilities: NDArray[np.floating], token_labels: NDArray[np.integer]
) -> dict[str, float]:
    """Return the token AUROC for filled and for replaced tokens, pooled and within documents.

    Both arrays are `[documents, length]`; labels below 0 are not counted. Pooled figures are
    inflated by the differences between documents' ratios; the mean of the AUROCs within
    documents (those with both classes) is not.
    """
    counted = token_labels >= 0
    figures: dict[str, float] = {}
    for name, labels in {"filled": (1, 2), "replaced": (2,)}.items():
        positive = np.isin(token_labels, labels)
        figures[f"token_auroc_{name}"] = auroc(probabilities[counted], positive[counted])
        within = aurocs_within(probabilities, positive, counted)
        known = within[~np.isnan(within)]
        figures[f"token_auroc_{name}_within"] = float(known.mean()) if len(known) else float("nan")
    return figures


def aurocs_within(
    scores: NDArray[np.floating], positive: NDArray[np.bool_], counted: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the AUROC within each document `[documents]`; NaN where a class is empty.

    All arguments are `[documents, length]`.
    """
    rows = zip(scores, positive, counted, strict=True)
    return np.array([auroc(own[some], right[some]) for own, right, some in rows])


def finite(figures: Mapping[str, float]) -> dict[str, float]:
    """Return the figures that are numbers; NaN has no place in JSON."""
    return {key: float(value) for key, value in figures.items() if np.isfinite(value)}
