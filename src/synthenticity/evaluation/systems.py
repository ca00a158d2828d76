"""Who is judged: a scorer and its rivals, and the baselines, fitted on the scorer's own data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthenticity.errors import CompatibilityError, ConfigError, CorpusError
from synthenticity.evaluation.baselines import LIKELIHOOD_BASELINES, Baseline, all_baselines
from synthenticity.evaluation.figures import ALARM_RATES, threshold_at
from synthenticity.evaluation.judging import SCORER, Said
from synthenticity.evaluation.leaks import HUMAN_COLUMNS
from synthenticity.evaluation.predictions import Predictions, predict
from synthenticity.evaluation.sequences import COLUMNS, Sequences, sequences_of
from synthenticity.stream.dataset_consumer import DatasetConsumer
from synthenticity.stream.object_store import is_url
from synthenticity.stream.places import Place, beside
from synthenticity.text.tokenization import load_tokenizer, tokenizer_fingerprint
from synthenticity.training.sequence_scorer import SequenceScorer

PASSES = 4
PATIENCE = 1.0


@dataclass(frozen=True)
class Reading:
    """Reads sequences, with the likelihoods of a model if there is one.

    Attributes:
        tokenizer: of the scorer, and of all data.
        model: a masked language model with that tokenizer, or None.
        passes: readings of a sequence for its likelihoods.

    """

    tokenizer: Any
    model: Any = None
    passes: int = PASSES

    def read(self, directory: Place, split: str) -> Sequences:
        """Return a split, with the text before filling, too, where files have it.

        Raises:
            QueueError: it is not complete.

        """
        consumer = DatasetConsumer(
            directory, batch_size=1, split=split, columns=COLUMNS, wait_seconds=PATIENCE
        )
        known = consumer.meta.schema.names()
        consumer.choose_columns([*COLUMNS, *(name for name in HUMAN_COLUMNS if name in known)])
        return sequences_of(consumer.read_all(), self.tokenizer)

    def with_likelihoods(self, sequences: Sequences) -> Sequences:
        """Return sequences with what the model thinks of them, if there is one."""
        if self.model is None:
            return sequences
        return sequences.read_by(self.model, self.tokenizer, passes=self.passes)

    def human_text(self, directory: Place) -> Sequences:
        """Return what nobody touched of a val split: thresholds are chosen by it.

        Raises:
            CorpusError: there is none.

        """
        val = self.read(directory, "val")
        human = val.taken(val.ratios == 0)
        if not len(human):
            raise CorpusError(
                f"{directory}: its val split holds no untouched sequences to choose thresholds by. "
                "Make it with an untouched_share above 0."
            )
        return human


class Systems:
    """Everybody who says something of sequences.

    Args:
        scorers: the runs of the scorer that is judged, one a training seed.
        rivals: other scorers by name.
        baselines: fitted, by name.
        reading: with which baselines of likelihoods read.
        most: they say something of the first so many sequences.

    """

    def __init__(
        self,
        scorers: Sequence[SequenceScorer],
        rivals: Mapping[str, SequenceScorer],
        baselines: Mapping[str, Baseline],
        reading: Reading,
        most: int,
    ) -> None:
        self._reading, self._most = reading, most
        self._scorers = {SCORER: list(scorers), **{name: [each] for name, each in rivals.items()}}
        self._baselines = baselines

    def say(self, sequences: Sequences) -> dict[str, Said]:
        """Return what each says."""
        said = {
            name: [predict(each, sequences.columns) for each in runs]
            for name, runs in self._scorers.items()
        }
        few = self._reading.with_likelihoods(first_of(sequences, self._most))
        for name, baseline in self._baselines.items():
            guess = baseline.predict(few if name in LIKELIHOOD_BASELINES else sequences)
            said[name] = [Predictions(guess).padded(len(sequences))]
        return said


def first_of(sequences: Sequences, most: int) -> Sequences:
    """Return so many of the sequences at most."""
    return sequences.taken(np.arange(min(len(sequences), most)))


def fitted_baselines(train: Sequences, reading: Reading, most_read: int) -> dict[str, Baseline]:
    """Return every baseline, fitted; those of likelihoods on so many of the sequences at most."""
    some = reading.with_likelihoods(first_of(train, most_read))
    baselines = all_baselines(with_likelihoods=reading.model is not None)
    for name, baseline in baselines.items():
        baseline.fit(some if name in LIKELIHOOD_BASELINES else train)
    return baselines


def thresholds_of(said: Mapping[str, Said]) -> dict[str, dict[float, float]]:
    """Return each system's thresholds of false alarms, by what is said of human text; mean of runs.

    >>> human = Predictions(np.arange(101) / 128)
    >>> thresholds_of({"scorer": [human]})
    {'scorer': {0.05: 0.7421875, 0.01: 0.7734375}}
    """
    return {
        name: {
            rate: float(np.mean([threshold_at(each.scores[each.known], rate) for each in runs]))
            for rate in ALARM_RATES
        }
        for name, runs in said.items()
    }


def check_folder(given: Place) -> None:
    """Refuse a path at which there is nothing, before the hub is asked for it.

    Raises:
        ConfigError: it is no folder.

    """
    if not is_url(given) and not Path(given).is_dir():
        raise ConfigError(f"{given}: is no folder. Give a run, or a data set made by prepare.")


def check_tokenizer(own: Any, given: Place, run: Place) -> None:
    """Refuse a run, data or a model that read other tokens than the scorer.

    Raises:
        ConfigError: a path at which there is nothing; a name may be the hub's.
        CompatibilityError: it does.

    """
    if isinstance(given, Path):
        check_folder(given)
    folder = beside(given) / "tokenizer"  # as data have it
    other = load_tokenizer(folder if folder.is_dir() else given)
    if tokenizer_fingerprint(other) != tokenizer_fingerprint(own):
        raise CompatibilityError(
            f"{given}: its tokenizer ({len(other)} tokens) is not that of {run} ({len(own)} "
            "tokens). Give what was made and trained with the same one."
        )
