"""Cheap baselines that a scorer must be measured against, fitted on the scorer's own windows.

At small budgets they are the bar: in the fast demo the character n-gram ridge estimates the ratio
better than the net (docs/benchmarks.md).
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from synthenticity.errors import MissingExtraError


class Baseline(Protocol):
    """Predicts the ratio of a text from the text alone."""

    def fit(self, texts: Sequence[str], ratios: NDArray[np.floating]) -> "Baseline":
        """Learn from texts and their true ratios."""
        ...

    def predict(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the estimated ratios `[texts]`."""
        ...


class MeanBaseline:
    """Predicts the mean of the training ratios for every text."""

    def __init__(self) -> None:
        self.mean = 0.0

    def fit(self, texts: Sequence[str], ratios: NDArray[np.floating]) -> "MeanBaseline":
        """Remember the mean."""
        self.mean = float(np.mean(ratios))
        return self

    def predict(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the mean, once a text."""
        return np.full(len(texts), self.mean)


class NgramRidgeBaseline:
    """Character 1-4-gram TF-IDF and ridge regression, predictions clipped to 0..1.

    Raises:
        MissingExtraError: without scikit-learn (extra `eval`).

    """

    def __init__(self, *, max_features: int = 60_000, alpha: float = 1.0) -> None:
        try:
            from sklearn.feature_extraction.text import TfidfVectorizer
            from sklearn.linear_model import Ridge
        except ImportError:
            raise MissingExtraError("The n-gram baseline (scikit-learn)", "eval") from None
        self._vectorizer: Any = TfidfVectorizer(
            analyzer="char",
            ngram_range=(1, 4),
            lowercase=False,
            sublinear_tf=True,
            min_df=3,
            max_features=max_features,
            dtype=np.float32,
        )
        self._ridge: Any = Ridge(alpha=alpha, solver="sparse_cg", tol=1e-3)

    def fit(self, texts: Sequence[str], ratios: NDArray[np.floating]) -> "NgramRidgeBaseline":
        """Fit vocabulary and weights."""
        self._ridge.fit(self._vectorizer.fit_transform(texts), ratios)
        return self

    def predict(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return the estimated ratios."""
        predicted = self._ridge.predict(self._vectorizer.transform(texts))
        return np.asarray(np.clip(predicted, 0.0, 1.0), dtype=np.float64)
