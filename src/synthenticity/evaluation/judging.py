"""What is found about every system on one data set: figures, how sure they are, differences.

Most figures are means of a value of each sequence (its error, the AUROC of its tokens). Such a
value is computed once and serves the figure, its interval over documents and, within the same
resamples, the difference to the scorer.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthenticity.errors import CorpusError
from synthenticity.evaluation.bootstrap import Resamples
from synthenticity.evaluation.figures import (
    LENGTH_EDGES,
    RATIO_EDGES,
    boundary_figures,
    document_figures,
    document_figures_by_length,
    figures_by,
    ratio_figures,
    span_figures,
    token_figures,
    within_aurocs,
)
from synthenticity.evaluation.predictions import Predictions
from synthenticity.evaluation.sequences import Sequences
from synthenticity.metrics import finite

Floats = NDArray[np.float64]
SCORER = "scorer"
Said = list[Predictions]
"""What each run of a scorer (one a training seed) or a baseline says of the same sequences."""
COMPARED = ("mae", "mae_all", "token_auroc_filled_within")
"""Values of which the scorer's difference to every other system is told."""


def judge(
    test: Sequences,
    said: Mapping[str, Said],
    thresholds: Mapping[str, Mapping[float, float]],
    times: int,
) -> dict[str, Any]:
    """Return `figures`, `intervals` and differences of every system on a test split.

    Of a system that says something of some sequences only, figures and differences are over these
    (`sequences`).

    Args:
        test: the sequences.
        said: of them, by each system; `SCORER` is one.
        thresholds: of each system, by rate of false alarms.
        times: resamples of documents.

    Raises:
        CorpusError: nothing is partly filled.

    """
    if not partly_filled(test).any():
        raise CorpusError("evaluate: no sequence of the test split is partly filled.")
    resamples = Resamples(test.columns["document"].tolist(), times)
    values = {name: _values(test, runs) for name, runs in said.items()}
    return {
        name: _judged(test, runs, values[name], thresholds.get(name, {}))
        | _sureness(values[name], {} if name == SCORER else values[SCORER], resamples)
        for name, runs in said.items()
    }


def partly_filled(sequences: Sequences) -> NDArray[np.bool_]:
    """Return which sequences are neither untouched nor wholly filled."""
    return np.asarray((sequences.ratios > 0) & (sequences.ratios < 1))


def mean_of(values: Floats) -> float:
    """Return the mean of those that are known; NaN if none is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def values_of(test: Sequences, said: Predictions) -> dict[str, Floats]:
    """Return what the figures of one run are means of, `[sequences]`, NaN where one does not apply.

    `mae` is over what is partly filled, `mae_all` over everything.
    """
    partly, human = partly_filled(test) & said.known, (test.ratios == 0) & said.known

    def where(some: NDArray[np.bool_], value: Floats) -> Floats:
        return np.where(some, value, np.nan)

    error = np.abs(said.ratios - test.ratios)
    values = {
        "mae": where(partly, error),
        "mae_all": error,
        "human_mean": where(human, said.ratios),
    }
    if said.tokens is not None:
        found = within_aurocs(said.tokens, test.columns["token_labels"])
        values |= {name: where(partly, value) for name, value in found.items()}
    if said.low is not None and said.high is not None:
        inside = (said.low - 1e-9 <= test.ratios) & (test.ratios <= said.high + 1e-9)
        everything = np.ones(len(inside), dtype=bool)
        for kind, some in {"": partly, "human_": human, "all_": everything}.items():
            values[f"{kind}interval_coverage"] = where(some, inside.astype(np.float64))
            values[f"{kind}interval_width"] = where(some, said.high - said.low)
    return values


def _values(test: Sequences, runs: Said) -> dict[str, Floats]:
    """Return what figures are means of, `[sequences]`, NaN where one does not apply; over runs."""
    each = [values_of(test, said) for said in runs]
    return {name: np.mean([found[name] for found in each], axis=0) for name in each[0]}


def _judged(
    test: Sequences, runs: Said, values: Mapping[str, Floats], thresholds: Mapping[float, float]
) -> dict[str, Any]:
    """Return the figures of a system, and of several runs the error of each."""
    known = runs[0].known
    told = test if known.all() else test.taken(known)
    some = [said if known.all() else said.taken(known) for said in runs]
    figures = _averaged([_figures(told, said, thresholds) for said in some])
    judged: dict[str, Any] = {
        "sequences": len(told),
        "figures": figures | finite({name: mean_of(value) for name, value in values.items()}),
    }
    if len(runs) > 1:
        partly = partly_filled(told)
        errors = [np.abs(said.ratios - told.ratios)[partly].mean() for said in some]
        judged["mae_of_runs"] = [float(error) for error in errors]
    return judged


def _sureness(
    values: Mapping[str, Floats], scorer: Mapping[str, Floats], resamples: Resamples
) -> dict[str, Any]:
    """Return intervals, and by how much the scorer's values are above these ones."""
    differences = {
        f"{name}_difference": scorer[name] - values[name]
        for name in COMPARED
        if name in values and name in scorer
    }
    found = {
        name: resamples.interval_of_mean(value) for name, value in {**values, **differences}.items()
    }
    means = {name: mean_of(value) for name, value in differences.items()}
    return finite(means) | {
        "intervals": {name: interval for name, interval in found.items() if interval is not None}
    }


def _figures(
    test: Sequences, said: Predictions, thresholds: Mapping[float, float]
) -> dict[str, Any]:
    """Return the figures of one run: ratios and tokens of what is partly filled, all documents."""
    partly = partly_filled(test)
    true, ratios, lengths = test.ratios[partly], said.ratios[partly], test.counted.sum(axis=1)
    figures: dict[str, Any] = finite(ratio_figures(ratios, true))
    figures["by_ratio"] = figures_by(RATIO_EDGES, true, ratios, true)
    figures["by_length"] = figures_by(LENGTH_EDGES, lengths[partly], ratios, true)
    figures |= document_figures(said.scores, test.ratios, thresholds)
    figures["documents_by_length"] = document_figures_by_length(
        lengths, said.scores, test.ratios, thresholds
    )
    if said.tokens is not None:
        tokens, labels = said.tokens[partly], test.columns["token_labels"][partly]
        figures |= finite(token_figures(tokens, labels) | span_figures(tokens, labels))
        figures |= boundary_figures(tokens, labels)
    return figures


def _averaged(figures: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean over runs of what is a number; of lists, those of the first run.

    What some run has not (a ratio from which on it detects nearly all) all have not.
    """
    averaged: dict[str, Any] = {}
    for name, value in figures[0].items():
        values = [each.get(name) for each in figures]
        known = [each for each in values if each is not None]
        if len(known) < len(values):
            averaged[name] = None
        else:
            averaged[name] = float(np.mean(known)) if isinstance(value, float) else value
    return averaged
