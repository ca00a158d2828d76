"""Intervals by resampling documents, never windows: those of one document are alike.

The percentile bootstrap over clusters (Davison and Hinkley 1997, 2.4): documents are drawn with
replacement, each with all its windows. Differences between two scorers are taken within each
resample, so that what a draw of documents does to both cancels out. A figure that is a mean over
windows needs the sums of each document only: 1000 resamples of 8000 windows take milliseconds.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
TIMES = 1000
LEVEL = 0.95
Interval = tuple[float, float]


class Resamples:
    """Draws of documents.

    Args:
        documents: the document of each window.
        times: how many draws.
        seed: of the draws.

    Attributes:
        owner: number of the document of each window, `[windows]`.
        weights: how often each draw holds each document, `[times, documents]`.

    """

    def __init__(self, documents: Sequence[str], times: int = TIMES, *, seed: int = 0) -> None:
        names, self.owner = np.unique(np.asarray(documents), return_inverse=True)
        rng, count = np.random.default_rng(seed), len(names)
        self.weights = np.stack(
            [
                np.bincount(rng.integers(count, size=count), minlength=count).astype(np.float32)
                for _ in range(times)
            ]
        )

    def interval_of_mean(self, values: Floats, *, level: float = LEVEL) -> Interval | None:
        """Return the interval of the mean of some value over windows; None if no draw has one.

        Args:
            values: `[windows]`; those that are NaN do not count.
            level: share of the draws that the interval holds.

        """
        count = self.weights.shape[1]
        known = ~np.isnan(values)
        sums = np.bincount(self.owner[known], values[known], minlength=count)
        windows = self.weights @ np.bincount(self.owner[known], minlength=count)
        drawn = windows > 0
        if not drawn.any():
            return None
        means = (self.weights @ sums)[drawn] / windows[drawn]
        low, high = np.percentile(means, [50 * (1 - level), 50 * (1 + level)])
        return float(low), float(high)
