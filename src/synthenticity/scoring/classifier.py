"""`SyntheticTextClassifier`: a scorer as an estimator of scikit-learn, fitted to labelled texts.

A scorer says a share; whether a text counts as machine-written is the user's own question, so the
answer is learned from texts of theirs: a logistic regression on the scorer's logit before any
calibration, or, of human texts alone, the value that the next one exceeds with at most probability
`fpr` (split conformal prediction). The scorer itself is not trained. Estimators answer every text,
so those that the scorer abstains of are answered, too, with a warning; `abstained` says which.
"""

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthenticity.errors import ConfigError, CorpusError, MissingExtraError
from synthenticity.metrics import conformal_quantile, least_cases
from synthenticity.scoring.score import Score
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

    What it says of texts that the scorer abstains of (too short, or too much of them unknown) means
    little. Each call that meets some gives one `UserWarning` with their number and why; `abstained`
    names them. A text without any token that the scorer knows is an error.

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
        self._scorer: Scorer | None = None  # settings may have changed
        logits = self._logits(given)
        self.classes_ = np.array([HUMAN, MACHINE])
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

    def abstained(self, texts: Iterable[str]) -> list[str | None]:
        """Return why the scorer abstains of each text, None where it does not; needs no `fit`.

        Example:
            why = classifier.abstained(texts)
            sure = [text for text, reason in zip(texts, why) if reason is None]

        """
        return [each.abstained for each in self._scores(_listed(texts))]

    def _fitted(self) -> "SyntheticTextClassifier":
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(self, "classes_")
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the scorer, which is its folder's: `run` has to be there when it is asked."""
        return {**self.__dict__, "_scorer": None}

    def _scores(self, texts: list[str]) -> Iterator[Score]:
        if getattr(self, "_scorer", None) is None:
            self._scorer = Scorer.from_pretrained(self.run, device=self.device, dtype=self.dtype)
        assert self._scorer is not None
        return self._scorer.score(iter(texts))

    def _logits(self, texts: list[str]) -> Floats:
        """Return the scorer's logits before any calibration, `[texts]`."""
        said = [(each.logit, each.abstained) for each in self._scores(texts)]
        logits = np.array([logit for logit, _ in said], dtype=np.float64)
        if np.isnan(logits).any():
            number = int(np.isnan(logits).argmax())
            raise CorpusError(
                f"text {number} ({texts[number][:40]!r}): holds no token that the scorer knows. "
                "Leave it out."
            )
        _warn_of([reason for _, reason in said if reason is not None], len(texts))
        return np.asarray(np.clip(logits, -FARTHEST, FARTHEST))


def _warn_of(reasons: list[str], texts: int) -> None:
    """Warn of texts that the scorer abstains of, if there are any: how many, and why."""
    if not reasons:
        return
    kinds = Counter(reason.partition(":")[0] for reason in reasons)
    counts = "; ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    warnings.warn(
        f"the scorer abstains of {len(reasons)} of {texts} texts, and what is said of them means "
        f"little ({counts}). abstained(texts) says which.",
        stacklevel=4,
    )


def _listed(texts: Iterable[str]) -> list[str]:
    if isinstance(texts, str):
        raise CorpusError("texts: is one string. Give a list of texts.")
    return list(texts)


def _check_enough(texts: int, rate: float) -> None:
    if texts < (needed := least_cases(rate)):
        raise CorpusError(
            f"fpr = {rate:g}: needs at least {needed} human texts, got {texts}. Give more, ask for "
            "a larger rate, or give machine-written texts (1), too."
        )
