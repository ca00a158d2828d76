"""Cheap baselines that a scorer must be measured against, fitted on the scorer's own sequences.

At small budgets they are the bar: in the fast demo the character n-gram ridge estimates the ratio
better than the net (docs/benchmarks.md). All are a ridge regression on a few features, clipped to
0..1, so that one differs from another by what it looks at alone.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from synthenticity.errors import MissingExtraError
from synthenticity.evaluation.sequences import Sequences
from synthenticity.synthesis.likelihood import LIKELIHOODS

Ratios = NDArray[np.float64]
RANKS = (1, 10, 100)
"""GLTR counts the tokens among the model's so many likeliest."""
UNLIKELY = -5.0
"""Tokens of a log-probability below are counted, too."""
ALPHAS = tuple(10.0**power for power in range(-3, 4))


class Baseline(Protocol):
    """Estimates the ratio of sequences from what anybody sees of them."""

    def fit(self, sequences: Sequences) -> "Baseline":
        """Learn from sequences and their true ratios."""
        ...

    def predict(self, sequences: Sequences) -> Ratios:
        """Return the estimated ratios `[sequences]`."""
        ...


class ConstantBaseline:
    """Says the same of every sequence: what `of` makes of the training ratios."""

    def __init__(self, of: Callable[[Ratios], Any] = np.mean) -> None:
        self._of, self.value = of, 0.0

    def fit(self, sequences: Sequences) -> "ConstantBaseline":
        """Remember it."""
        self.value = float(self._of(sequences.ratios))
        return self

    def predict(self, sequences: Sequences) -> Ratios:
        """Return it, once a sequence."""
        return np.full(len(sequences), self.value)


class FeatureBaseline:
    """Ridge regression on some numbers of each sequence, its strength chosen by cross-validation.

    Args:
        features: returns them, `[sequences, features]`.

    Raises:
        MissingExtraError: without scikit-learn (extra `eval`).

    """

    def __init__(self, features: Callable[[Sequences], NDArray[np.float64]]) -> None:
        try:
            from sklearn.linear_model import RidgeCV
            from sklearn.pipeline import make_pipeline
            from sklearn.preprocessing import StandardScaler
        except ImportError:
            raise MissingExtraError("A baseline (scikit-learn)", "eval") from None
        self._features = features
        self._ridge: Any = make_pipeline(StandardScaler(), RidgeCV(ALPHAS))

    def fit(self, sequences: Sequences) -> "FeatureBaseline":
        """Fit the weights."""
        self._ridge.fit(self._features(sequences), sequences.ratios)
        return self

    def predict(self, sequences: Sequences) -> Ratios:
        """Return the estimated ratios."""
        return _clipped(self._ridge.predict(self._features(sequences)))


class NgramRidgeBaseline:
    """TF-IDF of n-grams and ridge regression.

    Args:
        analyzer: `char`, for 1- to 4-grams of characters, or `word`, for 1- and 2-grams of words.
        max_features: the most frequent so many.
        alpha: strength of the ridge.

    Raises:
        MissingExtraError: without scikit-learn (extra `eval`).

    """

    def __init__(
        self, analyzer: str = "char", *, max_features: int = 60_000, alpha: float = 1.0
    ) -> None:
        try:
            from sklearn.feature_extraction.text import TfidfVectorizer
            from sklearn.linear_model import Ridge
        except ImportError:
            raise MissingExtraError("The n-gram baseline (scikit-learn)", "eval") from None
        self._vectorizer: Any = TfidfVectorizer(
            analyzer=analyzer,
            ngram_range=(1, 4) if analyzer == "char" else (1, 2),
            lowercase=False,
            sublinear_tf=True,
            min_df=3,
            max_features=max_features,
            dtype=np.float32,
        )
        self._ridge: Any = Ridge(alpha=alpha, solver="sparse_cg", tol=1e-3)

    def fit(self, sequences: Sequences) -> "NgramRidgeBaseline":
        """Fit vocabulary and weights."""
        self._ridge.fit(self._vectorizer.fit_transform(sequences.texts), sequences.ratios)
        return self

    def predict(self, sequences: Sequences) -> Ratios:
        """Return the estimated ratios."""
        return _clipped(self._ridge.predict(self._vectorizer.transform(sequences.texts)))


def _clipped(ratios: Any) -> Ratios:
    return np.asarray(np.clip(ratios, 0.0, 1.0), dtype=np.float64)


def length_features(sequences: Sequences) -> NDArray[np.float64]:
    """Return the logarithm of the counted tokens: a shortcut that must not work."""
    return np.asarray(np.log1p(sequences.counted.sum(axis=1, keepdims=True)), dtype=np.float64)


def pseudo_likelihood_features(sequences: Sequences) -> NDArray[np.float64]:
    """Return the mean log-probability of the tokens (Salazar et al. 2020)."""
    return _means(sequences, [_likelihood(sequences, "log_probability")])


def gltr_features(sequences: Sequences) -> NDArray[np.float64]:
    """Return the shares of tokens among the likeliest ones (Gehrmann et al. 2019)."""
    rank = np.expm1(_likelihood(sequences, "log_rank"))
    return _means(sequences, [rank < most - 0.5 for most in RANKS])


def curvature_features(sequences: Sequences) -> NDArray[np.float64]:
    """Return how far the likelihood lies above what the model expects, in standard deviations
    (Fast-DetectGPT: Bao et al. 2024).
    """
    own, entropy, variance = (
        _likelihood(sequences, name) for name in ("log_probability", "entropy", "variance")
    )
    spread = np.sqrt((variance * sequences.counted).sum(axis=1) + 1e-6)
    return np.asarray(((own + entropy) * sequences.counted).sum(axis=1) / spread)[:, None]


def likelihood_features(sequences: Sequences) -> NDArray[np.float64]:
    """Return all that a masked language model's likelihoods say of a sequence as a whole."""
    own, rank, entropy = (
        _likelihood(sequences, name) for name in ("log_probability", "log_rank", "entropy")
    )
    return np.concatenate(
        [
            _means(sequences, [own, own**2, rank, entropy, own < UNLIKELY]),
            gltr_features(sequences),
            curvature_features(sequences),
        ],
        axis=1,
    )


LIKELIHOOD_BASELINES: dict[str, Callable[[Sequences], NDArray[np.float64]]] = {
    "MLM pseudo-log-likelihood": pseudo_likelihood_features,
    "GLTR ranks": gltr_features,
    "curvature": curvature_features,
    "MLM features together": likelihood_features,
}


def all_baselines(*, with_likelihoods: bool) -> dict[str, Baseline]:
    """Return every baseline by its name in tables; those of likelihoods need a language model."""
    baselines: dict[str, Baseline] = {
        "predict the mean": ConstantBaseline(np.mean),
        "predict the median": ConstantBaseline(np.median),
        "length alone": FeatureBaseline(length_features),
        "character n-gram ridge": NgramRidgeBaseline("char"),
        "word n-gram ridge": NgramRidgeBaseline("word"),
    }
    if with_likelihoods:
        baselines |= {
            name: FeatureBaseline(features) for name, features in LIKELIHOOD_BASELINES.items()
        }
    return baselines


def _likelihood(sequences: Sequences, name: str) -> NDArray[np.float64]:
    assert sequences.likelihoods is not None
    return sequences.likelihoods[:, :, LIKELIHOODS.index(name)].astype(np.float64)


def _means(sequences: Sequences, values: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """Return the means over the counted tokens, `[sequences, values]`."""
    counted = sequences.counted
    count = np.maximum(counted.sum(axis=1), 1)
    return np.stack([(each * counted).sum(axis=1) / count for each in values], axis=1)
