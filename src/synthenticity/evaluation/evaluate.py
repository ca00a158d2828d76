"""`evaluate`: a scorer beside honest baselines, on sequences that none of them has seen.

Each data set is a row of the table, so a held-out axis (another filling model, pattern, domain,
length) is one more data set. Nothing is fitted from row to row: baselines learn from the train
split of the first, the scorer's own, and thresholds of false alarms come from its val split.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthenticity.errors import CompatibilityError, CorpusError
from synthenticity.evaluation.baselines import (
    LIKELIHOOD_BASELINES,
    Baseline,
    all_baselines,
)
from synthenticity.evaluation.bootstrap import document_draws, intervals
from synthenticity.evaluation.figures import (
    ALARM_RATES,
    RATIO_EDGES,
    boundary_figures,
    document_figures,
    figures_by,
    interval_figures,
    ratio_figures,
    span_figures,
    threshold_at,
    token_figures,
)
from synthenticity.evaluation.predictions import Predictions, predict
from synthenticity.evaluation.sequences import COLUMNS, Sequences, sequences_of
from synthenticity.metrics import aurocs_within, finite
from synthenticity.stream.batch_queue import BatchQueue
from synthenticity.stream.dataset_consumer import DatasetConsumer
from synthenticity.synthesis.checkpoints import load_mlm
from synthenticity.text.tokenization import load_tokenizer, tokenizer_fingerprint
from synthenticity.training.model import load_scorer

SCORER = "scorer"
PASSES = 4
MOST_READ = 8000
"""Likelihood features are few, so their weights are fitted on so many sequences at most."""
TIMES = 1000
PATIENCE = 1.0
Said = list[Predictions]
"""What each run of a scorer (one a training seed) or a baseline says of the same sequences."""


@dataclass(frozen=True)
class Evaluated:
    """The result of an evaluation, as plain values.

    Attributes:
        runs: the scorers' folders, one a training seed.
        fitted: how many sequences the baselines were fitted on.
        thresholds: of each system, by rate of false alarms.
        rows: one a data set: `name`, `sequences`, `documents`, `files` (SHA-256) and `systems`,
            which hold `figures`, `intervals` and, of baselines, by how much the scorer's absolute
            error differs (`mae_difference`, negative where the scorer is better).

    """

    runs: list[str]
    fitted: int
    thresholds: dict[str, dict[str, float]]
    rows: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """Return everything."""
        return dict(vars(self))


def evaluate(
    runs: Sequence[Path],
    data: Sequence[Path],
    *,
    mlm: Path | str | None = None,
    times: int = TIMES,
    on_message: Callable[[str], None] = lambda _: None,
) -> Evaluated:
    """Put a scorer and every baseline before the test split of each data set.

    Args:
        runs: folders of the scorer, one a training seed; figures are means over them.
        data: directories of scorer data; the first is the one that the scorer was trained on.
        mlm: a masked language model with the scorer's tokenizer, for likelihood baselines.
        times: resamples of documents for each interval.
        on_message: told what is being done.

    Raises:
        CompatibilityError: data, model and scorer do not share a tokenizer.
        CorpusError: a split holds no sequences to judge by.
        ProviderTimeoutError: a data set is not complete.

    """
    scorers = [load_scorer(run) for run in runs]
    tokenizer = load_tokenizer(runs[0])
    for given in (*runs[1:], *data, *([mlm] if mlm else [])):
        _check_tokenizer(tokenizer, given, runs[0])
    reading = _Reading(tokenizer, None if mlm is None else load_mlm(mlm).eval())
    on_message("fitting the baselines")
    baselines, fitted = _fitted(data[0], reading)

    def say(sequences: Sequences) -> dict[str, Said]:
        own: dict[str, Said] = {SCORER: [predict(each, sequences.columns) for each in scorers]}
        guesses = {name: each.predict(sequences) for name, each in baselines.items()}
        return own | {name: [Predictions(guess)] for name, guess in guesses.items()}

    thresholds = _thresholds(data[0], reading.read(data[0], "val"), say)
    rows = []
    for directory in data:
        on_message(f"judging {directory}")
        test = reading.read(directory, "test")
        rows.append(
            {
                "name": Path(directory).name,
                "sequences": len(test),
                "documents": len(set(test.columns["document"].tolist())),
                "files": _checksums(directory, "test"),
                "systems": _judge(test, say(test), thresholds, times),
            }
        )
    named = {
        name: {f"{rate:g}": value for rate, value in by_rate.items()}
        for name, by_rate in thresholds.items()
    }
    return Evaluated([str(run) for run in runs], fitted, named, rows)


@dataclass(frozen=True)
class _Reading:
    """Reads sequences, with the likelihoods of a model if there is one."""

    tokenizer: Any
    model: Any

    def read(self, directory: Path, split: str, *, likelihoods: bool = True) -> Sequences:
        consumer = DatasetConsumer(
            directory, batch_size=1, split=split, columns=COLUMNS, wait_seconds=PATIENCE
        )
        sequences = sequences_of(consumer.read_all(), self.tokenizer)
        return self.with_likelihoods(sequences) if likelihoods else sequences

    def with_likelihoods(self, sequences: Sequences) -> Sequences:
        if self.model is None:
            return sequences
        return sequences.read_by(self.model, self.tokenizer, passes=PASSES)


def _fitted(directory: Path, reading: _Reading) -> tuple[dict[str, Baseline], int]:
    """Return the baselines, fitted on the train split, and on how many sequences."""
    whole = reading.read(directory, "train", likelihoods=False)
    some = reading.with_likelihoods(whole.taken(np.arange(min(len(whole), MOST_READ))))
    baselines = all_baselines(with_likelihoods=reading.model is not None)
    for name, baseline in baselines.items():
        baseline.fit(some if name in LIKELIHOOD_BASELINES else whole)
    return baselines, len(whole)


def _thresholds(
    directory: Path, val: Sequences, say: Callable[[Sequences], dict[str, Said]]
) -> dict[str, dict[float, float]]:
    """Return each system's thresholds of false alarms, of the human text of a val split."""
    human = val.ratios == 0
    if not human.any():
        raise CorpusError(
            f"{directory}: its val split holds no untouched sequences to choose thresholds by. "
            "Make it with an untouched_share above 0."
        )
    return {
        name: {
            rate: _mean(threshold_at(each.ratios[human], rate) for each in said)
            for rate in ALARM_RATES
        }
        for name, said in say(val).items()
    }


def _mean(values: Any) -> float:
    return float(np.mean(list(values)))


def _judge(
    test: Sequences,
    said: Mapping[str, Said],
    thresholds: Mapping[str, Mapping[float, float]],
    times: int,
) -> dict[str, Any]:
    """Return figures, intervals and differences of every system on a test split."""
    partly = np.flatnonzero((test.ratios > 0) & (test.ratios < 1))
    if not len(partly):
        raise CorpusError("evaluate: no sequence of the test split is partly filled.")
    documents = test.columns["document"].tolist()
    draws = document_draws([documents[index] for index in partly], times)
    errors = {
        name: np.mean([np.abs(each.ratios - test.ratios)[partly] for each in runs], axis=0)
        for name, runs in said.items()
    }
    systems = {}
    for name, runs in said.items():
        figures = [_figures(test, partly, each, thresholds[name]) for each in runs]
        system: dict[str, Any] = {"figures": _averaged(figures)}
        values = {"mae": errors[name], **_within(test, partly, runs)}
        if name == SCORER:
            system["mae_of_runs"] = [each["mae"] for each in figures]
        else:
            values["mae_difference"] = errors[SCORER] - errors[name]
            system["mae_difference"] = float(values["mae_difference"].mean())
        system["intervals"] = intervals(partial(_means, values), draws)
        systems[name] = system
    return systems


def _means(
    values: Mapping[str, NDArray[np.float64]], chosen: NDArray[np.int64]
) -> dict[str, float]:
    """Return the mean of each value over some sequences."""
    return {name: float(np.nanmean(each[chosen])) for name, each in values.items()}


def _figures(
    test: Sequences,
    partly: NDArray[np.int64],
    said: Predictions,
    thresholds: Mapping[float, float],
) -> dict[str, Any]:
    """Return the figures of one run: ratios and tokens of what is partly filled, all documents."""
    true, ratios = test.ratios[partly], said.ratios[partly]
    figures: dict[str, Any] = finite(ratio_figures(ratios, true))
    figures["by_ratio"] = figures_by(RATIO_EDGES, true, ratios, true)
    figures |= document_figures(said.ratios, test.ratios, thresholds)
    figures |= _interval_figures(test, said)
    if said.tokens is not None:
        tokens, labels = said.tokens[partly], test.columns["token_labels"][partly]
        figures |= finite(token_figures(tokens, labels) | span_figures(tokens, labels))
        figures |= boundary_figures(tokens, labels)
    return figures


def _interval_figures(test: Sequences, said: Predictions) -> dict[str, float]:
    """Return how often the truth lies in the intervals, of what is partly filled and of humans'."""
    if said.low is None or said.high is None:
        return {}
    kinds = {"": (test.ratios > 0) & (test.ratios < 1), "human_": test.ratios == 0}
    return {
        f"{kind}interval_{name}": value
        for kind, some in kinds.items()
        if some.any()
        for name, value in interval_figures(
            said.low[some], said.high[some], test.ratios[some]
        ).items()
    }


def _within(
    test: Sequences, partly: NDArray[np.int64], runs: Said
) -> dict[str, NDArray[np.float64]]:
    """Return the token AUROC of each partly filled sequence, the mean of the runs'."""
    filled, counted = test.columns["token_labels"][partly] > 0, test.counted[partly]
    found = [
        aurocs_within(said.tokens[partly], filled, counted)
        for said in runs
        if said.tokens is not None
    ]
    return {"token_auroc_filled_within": np.mean(found, axis=0)} if found else {}


def _averaged(figures: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean over runs of what is a number; of lists, those of the first run."""
    first = figures[0]
    return {
        name: _mean(each[name] for each in figures) if isinstance(value, float) else value
        for name, value in first.items()
        if all(name in each for each in figures)
    }


def _check_tokenizer(own: Any, given: Path | str, run: Path) -> None:
    """Refuse a run, data or a model that read other tokens than the scorer."""
    beside = Path(given) / "tokenizer"  # as data have it
    other = load_tokenizer(beside if beside.is_dir() else given)
    if tokenizer_fingerprint(other) != tokenizer_fingerprint(own):
        raise CompatibilityError(
            f"{given}: its tokenizer ({len(other)} tokens) is not that of {run} ({len(own)} "
            "tokens). Give what was made and trained with the same one."
        )


def _checksums(directory: Path, split: str) -> dict[str, str]:
    """Return the SHA-256 of every file of a split."""
    queue = BatchQueue(directory)
    paths = [queue.path(split, number) for number in queue.numbers(split)]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
