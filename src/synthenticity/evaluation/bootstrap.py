"""Intervals by resampling documents, never windows: those of one document are alike.

The percentile bootstrap over clusters (Davison and Hinkley 1997, 2.4): documents are drawn with
replacement, each with all its windows. Differences between two scorers are taken within each
resample, so that what a draw of documents does to both cancels out.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

TIMES = 1000
LEVEL = 0.95
Interval = tuple[float, float]


def document_draws(
    documents: Sequence[str], times: int = TIMES, *, seed: int = 0
) -> list[NDArray[np.int64]]:
    """Return the windows of each resample: indices into `documents`, the document of each window.

    >>> [draw.tolist() for draw in document_draws(["a", "b", "b"], 3)]
    [[1, 2, 1, 2], [1, 2, 0], [0, 0]]
    """
    _, owner = np.unique(np.asarray(documents), return_inverse=True)
    order = np.argsort(owner, kind="stable")
    windows = np.split(order, np.flatnonzero(np.diff(owner[order])) + 1)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(windows), size=(times, len(windows)))
    return [np.concatenate([windows[document] for document in row]) for row in drawn]


def intervals(
    figures: Callable[[NDArray[np.int64]], Mapping[str, float]],
    draws: Sequence[NDArray[np.int64]],
    *,
    level: float = LEVEL,
) -> dict[str, Interval]:
    """Return the interval of each figure over the resamples; a figure may be missing in some.

    Args:
        figures: of the windows with these indices.
        draws: of `document_draws`.
        level: share of the resamples that an interval holds.

    """
    values: dict[str, list[float]] = {}
    for draw in draws:
        for name, value in figures(draw).items():
            values.setdefault(name, []).append(value)
    edges = 50 * (1 - level), 50 * (1 + level)
    return {
        name: (float(low), float(high))
        for name, found in values.items()
        for low, high in [np.nanpercentile(found, edges)]
    }
