"""`SyntheticTextClassifier`: a scorer as an estimator of scikit-learn, fitted to labelled texts.

A scorer says a share; whether a text counts as machine-written is the user's own question, so the
answer is learned from texts of theirs: a logistic regression on the scorer's logit before any
calibration, or, of human texts alone, the value that the next one exceeds with at most probability
`fpr` (split conformal prediction). The scorer itself is not trained.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthenticity.errors import ConfigError, CorpusError, MissingExtraError
from synthenticity.metrics import conformal_quantile
from synthenticity.scoring.scorer import Scorer

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
except ImportError:
    raise MissingExtraError("SyntheticTextClassifier (scikit-learn)", "eval") from None

Floats = NDArray[np.float64]
HUMAN, MACHINE = 0, 1
FARTHEST = 50.0
"""Logits are cut off there; a text of 1e-21 is human enough."""


class SyntheticTextClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Tell human texts (0) from those that a machine wrote, in part or whole (1).

    Args:
        run: a scorer's folder.
        device: that scores.
        dtype: of the scorer's encoder: `float32`, `bfloat16`, or `auto`, which is float32.
        fpr: share of human texts that may be called machine-written, where human texts alone are
            given to `fit`.

    Attributes:
        classes_: `[0, 1]`.
        model_: the logistic regression; None where human texts alone were given.
        threshold_: the logit above which a text is called machine-written.

    Example:
        classifier = SyntheticTextClassifier("runs/scorer").fit(texts, labels)
        classifier.predict(["To be, or not to be."])

    """

    def __init__(
        self, run: str | Path, device: str = "auto", dtype: str = "auto", fpr: float = 0.01
    ) -> None:
        self.run = run
        self.device = device
        self.dtype = dtype
        self.fpr = fpr

    def fit(self, texts: Iterable[str], y: Sequence[int]) -> "SyntheticTextClassifier":
        """Learn what the scorer's values mean for such texts; `y` holds a 0 or a 1 for each.

        Raises:
            CorpusError: labels of another kind or number, a text of which the scorer knows nothing,
                machine-written texts alone, or too few human ones for `fpr`.
            ConfigError: `fpr` is no rate.
            ModelError: there is no scorer.

        """
        if not 0 < self.fpr < 1:
            raise ConfigError(f"fpr: {self.fpr:g} is not between 0 and 1. Give 0.01 for 1 %.")
        given, labels = _listed(texts), np.asarray(y)
        if labels.shape != (len(given),) or not np.isin(labels, (HUMAN, MACHINE)).all():
            raise CorpusError(
                f"y: must hold a 0 (human) or a 1 (machine-written) for each of {len(given)} texts."
            )
        if not len(labels) or (labels == MACHINE).all():
            raise CorpusError("y: holds no human text (0). Give some.")
        human_alone = bool((labels == HUMAN).all())
        if human_alone:
            _check_enough(len(given), self.fpr)
        self._scorer = Scorer.from_pretrained(self.run, device=self.device, dtype=self.dtype)
        self.classes_ = np.array([HUMAN, MACHINE])
        logits = self._logits(given)
        self.model_: Any = None
        if human_alone:
            self.threshold_ = conformal_quantile(logits, 1 - self.fpr)
            return self
        from sklearn.linear_model import LogisticRegression

        self.model_ = LogisticRegression().fit(logits[:, None], labels)
        slope, shift = float(self.model_.coef_[0, 0]), float(self.model_.intercept_[0])
        self.threshold_ = -shift / slope if slope else float("nan")
        return self

    def decision_function(self, texts: Iterable[str]) -> Floats:
        """Return above 0 for each text that is called machine-written, `[texts]`.

        Of human texts alone, it is the scorer's logit less the threshold.
        """
        logits = self._fitted()._logits(_listed(texts))
        if self.model_ is None:
            return logits - self.threshold_
        return np.asarray(self.model_.decision_function(logits[:, None]))

    def predict(self, texts: Iterable[str]) -> NDArray[np.int64]:
        """Return 0 or 1 for each text, `[texts]`."""
        return np.asarray(self.decision_function(texts) > 0, dtype=np.int64)

    def predict_proba(self, texts: Iterable[str]) -> Floats:
        """Return the probability of each class, `[texts, 2]`.

        Raises:
            CorpusError: `fit` was given human texts alone, which tell a threshold, and no
                probability.

        """
        model = self._fitted().model_
        if model is None:
            raise CorpusError(
                "predict_proba: fit was given human texts alone, which tell a threshold and no "
                "probability. Fit with machine-written texts (1), too, or use predict or "
                "decision_function."
            )
        logits = self._logits(_listed(texts))
        return np.asarray(model.predict_proba(logits[:, None]))

    def _fitted(self) -> "SyntheticTextClassifier":
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(self, "classes_")
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the scorer, which is its folder's: `run` has to be there when it is asked."""
        return {**self.__dict__, "_scorer": None}

    def _logits(self, texts: list[str]) -> Floats:
        """Return the scorer's logits before any calibration, `[texts]`."""
        if self._scorer is None:
            self._scorer = Scorer.from_pretrained(self.run, device=self.device, dtype=self.dtype)
        logits = np.array([each.logit for each in self._scorer.score(iter(texts))])
        if np.isnan(logits).any():
            number = int(np.isnan(logits).argmax())
            raise CorpusError(
                f"text {number} ({texts[number][:40]!r}): holds no token that the scorer knows. "
                "Leave it out."
            )
        return np.asarray(np.clip(logits, -FARTHEST, FARTHEST))


def _listed(texts: Iterable[str]) -> list[str]:
    if isinstance(texts, str):
        raise CorpusError("texts: is one string. Give a list of texts.")
    return list(texts)


def _check_enough(texts: int, rate: float) -> None:
    needed = int(np.ceil(1 / rate - 1e-9)) - 1
    if texts < needed:
        raise CorpusError(
            f"fpr = {rate:g}: needs at least {needed} human texts, got {texts}. Give more, ask for "
            "a larger rate, or give machine-written texts (1), too."
        )
