"""`calibrate`: from a user's own text to thresholds, and to a map of the scorer's values.

Thresholds need human documents alone: the value that at most a share of them exceeds, counted so
that it holds of the next document, too (split conformal prediction: Vovk et al. 2005). So a rate of
1 % takes 99 documents; one of which the scorer abstains gets no verdict, and does not count. The
map needs filled text, `prepare`d of the user's own: half of its documents fit the map, the other
half says whether it helps, and how wide intervals must be.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from synthenticity.config import Config
from synthenticity.errors import ConfigError, CorpusError, MissingExtraError
from synthenticity.evaluation.predictions import Predictions, predict
from synthenticity.evaluation.sequences import COLUMNS
from synthenticity.evaluation.systems import PATIENCE, check_tokenizer
from synthenticity.metrics import conformal_quantile, least_cases
from synthenticity.runtimes.devices import resolve_device
from synthenticity.scoring.calibration import Calibration, weights_fingerprint
from synthenticity.scoring.score import counted
from synthenticity.scoring.scorer import Scorer
from synthenticity.stream.batch_file import Columns
from synthenticity.stream.dataset_consumer import DatasetConsumer
from synthenticity.text.corpus import load_corpus
from synthenticity.text.reading import CorpusSource
from synthenticity.text.tokenization import check_unknown, load_tokenizer
from synthenticity.training.model import load_scorer
from synthenticity.training.sequence_scorer import SCORER_INTERVAL, SequenceScorer

Floats = NDArray[np.float64]
MapKind = Literal["auto", "isotonic", "affine"]
FEWEST_SEQUENCES = 100
"""Fewer say nothing of a map; an isotonic one, which has many freedoms, is chosen from ten times
as many."""
MOST_KEPT = 2000
"""Values of human documents that are kept: enough for rates of a tenth of a per cent."""
SURE = 0.95


@dataclass(frozen=True)
class _Filled:
    """A data set of filled text: what the scorer says of it, its truth, whose each sequence is."""

    said: Predictions
    true: Floats
    second_half: NDArray[np.bool_]


def calibrate(
    run: Path,
    human: Config,
    *,
    rates: tuple[float, ...] = (0.01,),
    filled: Path | None = None,
    split: str = "val",
    kind: MapKind = "auto",
    device: str = "auto",
) -> Calibration:
    """Calibrate a scorer for a kind of text, and write that beside its weights.

    Args:
        run: the scorer's folder.
        human: settings that name a corpus of human documents; only those of reading are used.
        rates: of false alarms, between 0 and 1.
        filled: directory of scorer data made of such text; without it, no map is made.
        split: of that.
        kind: of the map; `auto` is isotonic with 1,000 sequences or more, else affine.
        device: that scores.

    Raises:
        ConfigError: a rate is no rate.
        CorpusError: too few documents for a rate, too few sequences for a map, or text of which
            the scorer knows too little (`human.max_unknown_share`).
        CompatibilityError: the data set was made with another tokenizer.

    """
    for rate in rates:
        if not 0 < rate < 1:
            raise ConfigError(f"--fpr: {rate:g} is not between 0 and 1. Give 0.01 for 1 %.")
    corpus = load_corpus(CorpusSource.from_config(human))
    for rate in rates:
        _check_enough(len(corpus), rate)
    model, tokenizer = load_scorer(run).to(resolve_device(device)), load_tokenizer(run)
    check_unknown(corpus.texts.character_counts, tokenizer, human.max_unknown_share)
    about: dict[str, Any] = {}
    made = Calibration(weights_fingerprint(run))
    if filled is not None:
        check_tokenizer(tokenizer, filled, run)
        made, about["filled"] = _map(made, _read_filled(model, filled, split), kind)
        about["filled"]["data"] = str(filled)
    scorer = Scorer(model, tokenizer)  # a map may be level where thresholds lie
    said = [(each.uncalibrated, each.abstained) for each in scorer.score(iter(corpus.texts))]
    scores = np.array([value for value, abstained in said if abstained is None])
    for rate in rates:
        _check_enough(len(scores), rate)
    about["at_most"] = {f"{rate:g}": sure_rate(len(scores), rate) for rate in rates}
    about["human"] = {
        "corpus": human.corpus,
        "documents": len(scores),
        "abstained": len(said) - len(scores),
        "mean": float(scores.mean()),
        "largest": float(scores.max()),
    }
    thresholds = {f"{rate:g}": threshold_for(scores, rate) for rate in rates}
    kept = np.quantile(scores, np.linspace(0, 1, min(len(scores), MOST_KEPT)), method="nearest")
    human_values = tuple(map(float, kept))
    made = replace(made, thresholds=thresholds, human=human_values, about=about)
    made.save(run)
    return made


def threshold_for(scores: Floats, rate: float) -> float:
    """Return the threshold that the next human document exceeds with at most this probability.

    >>> threshold_for(np.arange(1, 100) / 100, 0.05)
    0.95

    Raises:
        CorpusError: so few scores cannot tell.

    """
    _check_enough(len(scores), rate)
    return conformal_quantile(scores, 1 - rate)


def _check_enough(documents: int, rate: float) -> None:
    if documents < (needed := least_cases(rate)):
        raise CorpusError(
            f"--fpr {rate:g}: needs at least {needed} human documents, got {documents}. Give "
            "more, cut them into paragraphs (--document_per paragraph), or ask for a larger rate."
        )


def sure_rate(documents: int, rate: float) -> float:
    """Return the rate of false alarms that a threshold stays below, 95 % sure.

    Of the threshold that is the m-th largest of n scores, the true rate is distributed as
    Beta(m, n + 1 - m).

    Raises:
        MissingExtraError: without SciPy (extra `eval`).

    """
    try:
        from scipy.stats import beta
    except ImportError:
        raise MissingExtraError("calibrate (SciPy)", "eval") from None
    place = documents + 1 - int(np.ceil((documents + 1) * (1 - rate) - 1e-9))
    return float(beta.ppf(SURE, place, documents + 1 - place))


def _read_filled(model: SequenceScorer, data: Path, split: str) -> _Filled:
    columns: Columns = DatasetConsumer(
        data, batch_size=1, split=split, columns=COLUMNS, wait_seconds=PATIENCE
    ).read_all()
    names, owner = np.unique(columns["document"], return_inverse=True)
    if len(names) < 2 or len(owner) < FEWEST_SEQUENCES:
        more = "more files" if len(names) > 1 else "it of more documents, or raise its pool_shares"
        raise CorpusError(
            f"{data}: its {split} split holds {counted(len(owner), 'sequence')} of "
            f"{counted(len(names), 'document')}; a map takes at least {FEWEST_SEQUENCES} of 2. "
            f"Make {more}."
        )
    true = np.asarray(columns["synthenticity"], dtype=np.float64)
    return _Filled(predict(model, columns), true, owner % 2 == 1)


def _map(made: Calibration, filled: _Filled, kind: MapKind) -> tuple[Calibration, dict[str, Any]]:
    """Return a calibration with a map and a margin, and what it says of the second half."""
    first, second = ~filled.second_half, filled.second_half
    said, true = filled.said.ratios, filled.true
    if kind == "auto":
        kind = "isotonic" if len(true) >= 10 * FEWEST_SEQUENCES else "affine"
    values, ratios = _fitted(said[first], true[first], kind)
    tried = replace(made, values=values, ratios=ratios)
    before = float(np.abs(said - true)[second].mean())
    after = float(np.abs(tried.mapped(said) - true)[second].mean())
    kept = tried if after < before else made
    assert filled.said.low is not None and filled.said.high is not None
    low, high = kept.mapped(filled.said.low), kept.mapped(filled.said.high)
    beyond = np.maximum(low - true, true - high)[second]
    margin = conformal_quantile(beyond, SCORER_INTERVAL)
    about = {
        "sequences": len(true),
        "map": kind if kept is tried else "none: it would make the error larger",
        "mae_without": before,
        "mae_with": after,
    }
    return replace(kept, margin=margin), about


def _fitted(said: Floats, true: Floats, kind: MapKind) -> tuple[tuple[float, ...], ...]:
    """Return the knots of a map: values and ratios."""
    if kind == "affine":
        slope, intercept = np.polyfit(said, true, 1)
        if not slope > 0:
            raise CorpusError(
                f"calibrate: the scorer's values fall where the truth grows (slope {slope:.2f}). "
                "It does not know this kind of text; train it on such."
            )
        ends = -intercept / slope, (1 - intercept) / slope  # where the line leaves 0 to 1
        return tuple(map(float, ends)), (0.0, 1.0)
    try:
        from sklearn.isotonic import IsotonicRegression
    except ImportError:
        raise MissingExtraError("An isotonic map (scikit-learn)", "eval") from None
    fitted = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(said, true)
    ratios, index = np.unique(fitted.y_thresholds_, return_inverse=True)
    # A level stretch becomes its middle, so that other values on it stay different.
    values = np.bincount(index, fitted.X_thresholds_) / np.bincount(index)
    return tuple(map(float, values)), tuple(map(float, ratios))
