"""Alarms: what would let a scorer cheat. A detector must not see traces of the tool itself.

The artefact alarm compares untouched documents with what the tool left untouched in others:
half of the documents as they came, half as they went out, each without the stretches that were
filled. A trivial classifier (length, first character, white space, case, byte pairs) must not
tell the halves apart; if it does, the tool changed text that it claims not to have touched.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthenticity.errors import MissingExtraError
from synthenticity.synthesis.splicing import Span

STANDARD_ERRORS = 3.0
FOLDS = 5
FEWEST = 40
"""Below so many documents, nothing can be said."""
SEAM = "\x00"
"""Stands for a filled stretch."""
SHAPES = ("length", "white space", "capitals", "digits", "first character", "last character")


@dataclass(frozen=True)
class ArtefactAlarm:
    """How well a trivial classifier tells untouched text from text that passed through.

    `auroc` .5 is chance; `standard_error` is Hanley and McNeil's (1982) under chance; `culprit`
    is the feature that it leans on most.
    """

    auroc: float
    standard_error: float
    documents: int
    culprit: str

    @property
    def rings(self) -> bool:
        """Whether the classifier is above chance by more than three standard errors."""
        return self.auroc > 0.5 + STANDARD_ERRORS * self.standard_error

    def sentence(self) -> str:
        """Return what was found, in words."""
        figure = (
            f"AUROC {self.auroc:.3f} (chance .5, standard error {self.standard_error:.3f}, "
            f"{self.documents} documents)"
        )
        if self.rings:
            return (
                f"A trivial classifier sees what text passed through, by {self.culprit}: {figure}."
            )
        return f"A trivial classifier cannot see what text passed through: {figure}."


@dataclass(frozen=True)
class Passage:
    """A document before and after filling."""

    original: str
    text: str
    spans: Sequence[Span]

    def untouched(self, *, before: bool) -> str:
        """Return the untouched stretches, a seam for each filled one, as they came or went out."""
        parts, cursor, shift = [], 0, 0  # `shift`: how far the text is ahead of the original
        for span in self.spans:
            start = span.start - shift
            own = self.original[cursor:start]
            parts.append(own if before else self.text[cursor + shift : span.start])
            cursor = start + len(span.original)
            shift = span.end - cursor
        rest = self.original[cursor:] if before else self.text[cursor + shift :]
        return SEAM.join([*parts, rest])


def artefact_alarm(passages: Sequence[Passage], *, seed: int = 0) -> ArtefactAlarm | None:
    """Measure whether text that passed through can be told from text that did not.

    Returns None for fewer than forty documents. The halves are drawn by `seed`; predictions are
    cross-validated.

    Raises:
        MissingExtraError: without scikit-learn (extra `eval`).

    """
    if len(passages) < FEWEST:
        return None
    passed = np.random.default_rng(seed).permutation(len(passages)) % 2 == 1
    texts = [
        passage.untouched(before=not out) for passage, out in zip(passages, passed, strict=True)
    ]
    features, names = _features(texts)
    auroc, culprit = _cross_validated(features, passed, names)
    return ArtefactAlarm(auroc, _chance_error(passed), len(passages), culprit)


def _features(texts: Sequence[str]) -> tuple[Any, list[str]]:
    """Return sparse features `[texts, features]`, each of variance 1, and their names."""
    try:
        from scipy.sparse import csr_matrix, hstack
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.preprocessing import StandardScaler
    except ImportError:
        raise MissingExtraError("The artefact alarm (scikit-learn)", "eval") from None
    shapes = csr_matrix(np.array([_shape(text) for text in texts]))
    data = [text.encode("utf-8").decode("latin-1") for text in texts]  # a byte is a character
    vectorizer = CountVectorizer(
        analyzer="char", ngram_range=(2, 2), lowercase=False, max_features=4000
    )
    try:
        pairs = vectorizer.fit_transform(data).astype(np.float64)
        found = [word.encode("latin-1") for word in vectorizer.get_feature_names_out()]
        words = [f"the bytes {word!r}" for word in found]
    except ValueError:  # texts of one byte
        pairs, words = csr_matrix((len(texts), 0)), []
    lengths = np.maximum([len(text) for text in data], 1)
    pairs = csr_matrix(pairs.multiply(1 / np.asarray(lengths)[:, None]))
    features = StandardScaler(with_mean=False).fit_transform(hstack([shapes, pairs]).tocsr())
    return features, [*SHAPES, *words]


def _shape(text: str) -> list[float]:
    """Return the values of `SHAPES`."""
    size = max(len(text), 1)
    return [
        np.log1p(len(text)),
        sum(map(str.isspace, text)) / size,
        sum(map(str.isupper, text)) / size,
        sum(map(str.isdigit, text)) / size,
        float(ord(text[0])) if text else -1.0,
        float(ord(text[-1])) if text else -1.0,
    ]


def _cross_validated(
    features: Any, passed: NDArray[np.bool_], names: list[str]
) -> tuple[float, str]:
    """Return the AUROC of held-out folds, and the feature of most weight."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    model = LogisticRegression(C=0.01, max_iter=500)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    with warnings.catch_warnings():  # one that has not quite converged rings as well
        warnings.simplefilter("ignore", ConvergenceWarning)
        scores = cross_val_predict(model, features, passed, cv=folds, method="decision_function")
        weights = model.fit(features, passed).coef_[0]
    return float(roc_auc_score(passed, scores)), names[int(np.abs(weights).argmax())]


def _chance_error(passed: NDArray[np.bool_]) -> float:
    """Return the standard error of an AUROC of one half."""
    first, second = int(passed.sum()), int((~passed).sum())
    return float(np.sqrt((first + second + 1) / (12 * first * second)))
