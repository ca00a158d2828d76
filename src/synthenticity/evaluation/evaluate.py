"""`evaluate`: a scorer beside honest baselines, on sequences that none of them has seen.

Each data set is a row of the table, so a held-out axis (another filling model, pattern, domain,
length) is one more data set. Nothing is fitted from row to row: baselines learn from the train
split of the first, the scorer's own, and thresholds of false alarms come from its val split.
Where more is known of a data set, its limit is one more line of the row.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthenticity.errors import ConfigError, CorpusError, QueueError
from synthenticity.evaluation.judging import SCORER, Said, judge
from synthenticity.evaluation.known_limits import BAYES, KnownLimit, limit_alarm, limits_of
from synthenticity.evaluation.leaks import LeakAlarm, leak_alarms
from synthenticity.evaluation.sequences import Sequences
from synthenticity.evaluation.systems import (
    Reading,
    Systems,
    check_tokenizer,
    first_of,
    fitted_baselines,
    thresholds_of,
)
from synthenticity.scoring.calibration import weights_fingerprint
from synthenticity.stream.places import Place, open_queue
from synthenticity.synthesis.checkpoints import load_mlm
from synthenticity.text.tokenization import load_tokenizer
from synthenticity.training.model import load_scorer


@dataclass(frozen=True)
class Effort:
    """How much is computed.

    Attributes:
        times: resamples of documents for each interval.
        most_read: likelihood features are few; their weights are fitted on so many sequences at
            most.
        most_judged: so many sequences of each test split are judged by likelihoods and by limits,
            which take long, at most.
        passes: readings of a sequence by the language model.
        leaks: whether to look for leaks.

    """

    times: int = 1000
    most_read: int = 8000
    most_judged: int = 4000
    passes: int = 4
    leaks: bool = True


@dataclass(frozen=True)
class Evidence:
    """What a row was judged by: the sequences, and what each system says of them."""

    test: Sequences
    said: Mapping[str, Said]


@dataclass(frozen=True)
class Evaluated:
    """The result of an evaluation.

    Attributes:
        runs: the scorers' folders, one a training seed.
        weights: fingerprint of each (`weights_fingerprint`), as it was when it was judged.
        fitted: how many sequences the baselines were fitted on.
        thresholds: of each system, by rate of false alarms.
        rows: one a data set, plain values: `name`, `sequences`, `documents`, `files` (SHA-256),
            `alarms` (`name`, `value`, `limit`, `sentence`, `rings`) and `systems`, which hold
            `figures`, `intervals` and, of others than the scorer, by how much the scorer's absolute
            error differs (`mae_difference`, negative where the scorer is better).
        evidence: of each row; not part of the JSON, as what follows.
        training: the true ratios that the scorer and the baselines learned from.
        tokenizer: of all sequences.

    """

    runs: list[str]
    weights: list[str]
    fitted: int
    thresholds: dict[str, dict[str, float]]
    rows: list[dict[str, Any]]
    evidence: list[Evidence] = field(repr=False)
    training: NDArray[np.float64] = field(repr=False)
    tokenizer: Any = field(repr=False)

    @property
    def rings(self) -> bool:
        """Whether any alarm does."""
        return any(alarm["rings"] for row in self.rows for alarm in row["alarms"])

    def to_json(self) -> dict[str, Any]:
        """Return all plain values."""
        names = ("runs", "weights", "fitted", "thresholds", "rows")
        return {name: getattr(self, name) for name in names}


def evaluate(
    runs: Sequence[Path],
    data: Sequence[Place],
    *,
    mlm: Path | str | None = None,
    rivals: Mapping[str, Path] | None = None,
    effort: Effort = Effort(),
    on_message: Callable[[str], None] = lambda _: None,
) -> Evaluated:
    """Put a scorer, baselines and what is known at best before the test split of each data set.

    Args:
        runs: folders of the scorer, one a training seed; figures are means over them.
        data: directories of scorer data; the first is the one that the scorer was trained on.
        mlm: a masked language model with the scorer's tokenizer, for likelihood baselines.
        rivals: folders of other scorers, by name.
        effort: how much is computed.
        on_message: told what is being done.

    Raises:
        ConfigError: there is no such folder.
        CompatibilityError: data, model and scorer do not share a tokenizer.
        CorpusError: a split holds no sequences to judge by.
        QueueError: a data set is not complete.

    """
    scorers = [load_scorer(run) for run in runs]
    weights = [weights_fingerprint(Path(run)) for run in runs]
    others = {name: load_scorer(path) for name, path in (rivals or {}).items()}
    tokenizer = load_tokenizer(runs[0])
    for given in (*runs[1:], *(rivals or {}).values(), *data, *([mlm] if mlm else [])):
        check_tokenizer(tokenizer, given, runs[0])
    reading = Reading(tokenizer, None if mlm is None else load_mlm(mlm).eval(), effort.passes)
    train, human = reading.read(data[0], "train"), reading.human_text(data[0])
    tests = [reading.read(directory, "test") for directory in data]  # before anything takes long
    on_message("fitting the baselines")
    baselines = fitted_baselines(train, reading, effort.most_read)
    systems = Systems(scorers, others, baselines, reading, effort.most_judged)
    thresholds = thresholds_of(systems.say(human))
    evidence, rows = [], []
    for directory, test in zip(data, tests, strict=True):
        on_message(f"judging {directory}")
        known = limits_of(directory, reading, on_message)
        limits = _Limits(known, effort.most_judged, on_message)
        found = Evidence(test, systems.say(test) | limits.say(test))
        own = limits.thresholds(directory, reading)
        judged = judge(test, found.said, thresholds | own, effort.times)
        alarms = []
        if effort.leaks:
            on_message("looking for leaks")
            alarms = leak_alarms(train, test, _mean_ratios(found.said[SCORER]), tokenizer)
        if BAYES in judged:
            alarms.append(limit_alarm(judged[BAYES]))
        rows.append(_row(directory, found, judged, alarms))
        evidence.append(found)
    named = {
        name: {f"{rate:g}": value for rate, value in by_rate.items()}
        for name, by_rate in thresholds.items()
    }
    return Evaluated(
        runs=[str(run) for run in runs],
        weights=weights,
        fitted=len(train),
        thresholds=named,
        rows=rows,
        evidence=evidence,
        training=train.ratios,
        tokenizer=tokenizer,
    )


@dataclass(frozen=True)
class _Limits:
    """What is known of one data set at best."""

    known: Sequence[KnownLimit]
    most: int
    on_message: Callable[[str], None]

    def say(self, sequences: Sequences) -> dict[str, Said]:
        """Return what each says, but for one that cannot say anything of such texts."""
        said: dict[str, Said] = {}
        few = first_of(sequences, self.most)
        for limit in self.known:
            self.on_message(f"computing {limit.name}")
            try:
                said[limit.name] = [limit.predict(few).padded(len(sequences))]
            except ConfigError as error:
                self.on_message(str(error))
        return said

    def thresholds(self, directory: Place, reading: Reading) -> dict[str, dict[float, float]]:
        """Return thresholds by the data set's own val split; none without one."""
        if not self.known or not open_queue(directory).numbers("val"):
            return {}
        try:
            human = reading.human_text(directory)
        except (CorpusError, QueueError) as error:
            self.on_message(str(error))
            return {}
        return thresholds_of(self.say(human))


def _mean_ratios(runs: Said) -> NDArray[np.float64]:
    return np.asarray(np.mean([each.ratios for each in runs], axis=0))


def _row(
    directory: Place, found: Evidence, systems: dict[str, Any], alarms: Sequence[LeakAlarm]
) -> dict[str, Any]:
    return {
        "name": Path(directory).name,
        "sequences": len(found.test),
        "documents": len(set(found.test.columns["document"].tolist())),
        "files": _checksums(directory, "test"),
        "systems": systems,
        "alarms": [alarm.to_json() for alarm in alarms],
    }


def _checksums(directory: Place, split: str) -> dict[str, str]:
    """Return the SHA-256 of every file of a split."""
    queue = open_queue(directory)
    return {
        queue.path(split, number).name: hashlib.sha256(content).hexdigest()
        for number in queue.numbers(split)
        if (content := queue.content(split, number)) is not None
    }
