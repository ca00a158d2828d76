"""Leak alarms: what would make a good figure worth nothing. One that rings fails the evaluation.

A scorer may have read the test text in training, may go by length or by a marker instead of the
text, or the path of the evaluation may carry the truth. Each alarm measures one of these and rings
above a limit that is about practical weight: whatever can move by chance (lengths, ends, shuffles)
must also be beyond what happens by chance once in 1000 times.

On 38 plays of Shakespeare (40,000 training and 800 test windows of 256 characters) no test window
holds a run of 13 words of the training windows, ends and length explain nothing of the ratio
(r² 0.000), and all alarms together take 10 s.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthenticity.evaluation.baselines import FeatureBaseline, NgramRidgeBaseline
from synthenticity.evaluation.bootstrap import Resamples
from synthenticity.evaluation.figures import RATIO_EDGES
from synthenticity.evaluation.sequences import Sequences
from synthenticity.evaluation.shared_text import FEWEST_WORDS, shared_windows

Ratios = NDArray[np.float64]
Features = Callable[[Sequences], NDArray[np.float64]]
FitAndSay = Callable[[Sequences, Sequences], Ratios]
"""From training and test sequences to what is said of the test sequences."""

HUMAN_COLUMNS = ("original", "original_ids", "text")
"""Read those that a data set has, beside `COLUMNS`: the text before filling."""

SHARED_WINDOWS = 0.01
"""Even if nothing were wrong on 1 % of the windows, the mean error would fall by 1 %."""
EXPLAINED = 0.04
"""Of the variance of the ratio, which takes 2 % off the error (1 - sqrt(1 - .04))."""
READ, PERMUTATIONS, END_TOKENS = 8000, 999, 256
SHUFFLES, SHUFFLED, JUDGED = 10, 500, 1000
CORRELATION = EXPLAINED**0.5
STUDENT = 4.781
"""Two-sided .1 % of Student's t with `SHUFFLES` - 1 degrees of freedom."""
HUMAN_LIMIT = 0.2
BELOW = 0.005
"""Untouched text must score at least so much lower than lightly filled text."""
FEWEST, TIMES = 20, 1000


@dataclass(frozen=True)
class LeakAlarm:
    """What one alarm found; `value` is None where the data do not let it be measured."""

    name: str
    value: float | None
    limit: float
    sentence: str

    @property
    def rings(self) -> bool:
        """Whether the value is above the limit."""
        return self.value is not None and self.value > self.limit

    def to_json(self) -> dict[str, Any]:
        """Return everything, and whether it rings.

        >>> LeakAlarm("shared text", 0.5, 0.01, "Half of it.").to_json()["rings"]
        True
        """
        return {**vars(self), "rings": self.rings}


def leak_alarms(
    train: Sequences,
    test: Sequences,
    said: Ratios,
    tokenizer: Any,
    *,
    human_limit: float = HUMAN_LIMIT,
) -> list[LeakAlarm]:
    """Return every alarm for one test split; by chance alone, one rings in 300 splits at most.

    Args:
        train: what the scorer was trained on, with the `HUMAN_COLUMNS` that the data set has.
        test: what it is judged by, with those, too.
        said: the scorer's ratio of each test sequence.
        tokenizer: of the sequences.
        human_limit: the highest mean ratio of untouched text that is taken for human.

    Raises:
        MissingExtraError: without scikit-learn (extra `eval`).

    """
    return [
        shared_text(human_texts(train, tokenizer), human_texts(test, tokenizer)),
        length_alone(train, test),
        ends_alone(train, test),
        shuffled_labels(train, test),
        untouched_is_the_original(test),
        untouched_scores_human(test, said, limit=human_limit),
        untouched_scores_lowest(test, said),
    ]


def human_texts(sequences: Sequences, tokenizer: Any) -> list[str]:
    """Return the text of each before it was filled.

    Where the data hold none, that is known of untouched sequences only: the others' final texts
    stand in, and where a split has untouched ones, theirs are returned alone.
    """
    if "original" in sequences.columns:
        return [str(text) for text in sequences.columns["original"].tolist()]
    if "original_ids" in sequences.columns:
        ids = sequences.columns["original_ids"].astype(np.int64).tolist()
        return [str(text) for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]
    untouched = _untouched(sequences)
    return sequences.taken(untouched).texts if untouched.any() else sequences.texts


def shared_text(train: list[str], test: list[str]) -> LeakAlarm:
    """Measure the share of test windows that the training windows hold, too (`SharedWindows`)."""
    name, found = "shared text", shared_windows(train, test)
    if found is None:
        sentence = f"Not measured: every test window is shorter than {FEWEST_WORDS} words."
        return LeakAlarm(name, None, SHARED_WINDOWS, sentence)
    sentence = (
        f"Of {found.judged} test windows, {found.held:.1%} have at least half of their words in "
        f"runs of {found.words} that training windows have, too; {found.touched:.1%} have any."
    )
    return LeakAlarm(name, found.held, SHARED_WINDOWS, sentence)


def length_alone(train: Sequences, test: Sequences) -> LeakAlarm:
    """Measure how much of the ratio the number of counted tokens explains.

    Characters are not asked: in a full window of sub-words their number is content (words written
    at a temperature of .7 are shorter, and explain 67 %), and in one of characters it is that of
    the tokens.
    """
    value, chance = _explained(_length_features(int(train.counted.sum(axis=1).max())), train, test)
    return _shortcut("length alone", value, max(EXPLAINED, chance), "The number of tokens explains")


def ends_alone(train: Sequences, test: Sequences) -> LeakAlarm:
    """Measure how much of the ratio the first and the last token explain, beyond two inner ones.

    A single token says a little of the ratio wherever it stands, for models favour some: that is
    content. A marker stands at an end.
    """
    ends, chance = _explained(_token_features(train, (0, 1)), train, test)
    inner, _ = _explained(_token_features(train, (1 / 3, 2 / 3)), train, test)
    limit = max(EXPLAINED + inner, chance)
    return _shortcut("ends alone", ends, limit, "The first and the last token explain")


def shuffled_labels(
    train: Sequences, test: Sequences, path: FitAndSay | None = None, *, seed: int = 0
) -> LeakAlarm:
    """Measure whether ratios are estimated even by what was fitted on shuffled ones.

    `path` fits and says; by default it is the character n-gram ridge. What rings is a path that
    takes the truth from elsewhere than from the labels that it was given, such as one that fits
    on the test split. A truth hidden in the text cannot ring here: shuffling breaks its tie to
    the labels, too.

    A single shuffle says nothing, because the ratio is a main direction of the n-grams' variance,
    and random weights correlate with it by ±.14 on Shakespeare; only the mean over shuffles is
    near zero. So the limit is .2 (4 % of the variance), or what the mean exceeds by chance once in
    1000 times, by the shuffles' spread, if that is more.
    """
    path = path or (lambda seen, asked: NgramRidgeBaseline().fit(seen).predict(asked))
    rng = np.random.default_rng(seed)
    asked = test.taken(rng.permutation(len(test))[:JUDGED])
    found = []
    for _ in range(SHUFFLES):
        seen = train.taken(rng.permutation(len(train))[:SHUFFLED])
        shuffled = {**seen.columns, "synthenticity": rng.permutation(seen.ratios)}
        found.append(_correlation(path(Sequences(shuffled, seen.texts), asked), asked.ratios))
    mean, error = float(np.mean(found)), float(np.std(found, ddof=1)) / SHUFFLES**0.5
    sentence = (
        f"Fitted on shuffled ratios, estimates correlate with the truth by {mean:+.2f}, the mean "
        f"of {SHUFFLES} shuffles (standard error {error:.2f})."
    )
    return LeakAlarm("shuffled labels", abs(mean), max(CORRELATION, STUDENT * error), sentence)


def untouched_is_the_original(test: Sequences) -> LeakAlarm:
    """Measure the share of untouched sequences that are not what they were, to the byte."""
    name, columns, untouched = "untouched is the original", test.columns, _untouched(test)
    if "original_ids" in columns:
        differs = (columns["input_ids"] != columns["original_ids"]).any(axis=1)
    elif "original" in columns and "text" in columns:
        differs = np.asarray(columns["text"] != columns["original"])
    else:
        return LeakAlarm(name, None, 0.0, "Not measured: the data hold no text before filling.")
    if not untouched.any():
        return LeakAlarm(name, None, 0.0, "Not measured: no test sequence is untouched.")
    count, of = int(differs[untouched].sum()), int(untouched.sum())
    sentence = f"{count} of {of} untouched test sequences are not byte for byte what they were."
    return LeakAlarm(name, count / of, 0.0, sentence)


def untouched_scores_human(
    test: Sequences, said: Ratios, *, limit: float = HUMAN_LIMIT
) -> LeakAlarm:
    """Measure the mean ratio that is said of untouched sequences."""
    name, untouched = "untouched scores human", _untouched(test)
    if not untouched.any():
        return LeakAlarm(name, None, limit, "Not measured: no test sequence is untouched.")
    mean = float(said[untouched].mean())
    sentence = f"Untouched test sequences are said to be {mean:.3f} synthetic."
    return LeakAlarm(name, mean, limit, sentence)


def untouched_scores_lowest(test: Sequences, said: Ratios) -> LeakAlarm:
    """Measure how far untouched sequences score below lightly filled ones, or do not.

    Lightly filled are those of the lowest ratios, up to the first edge of `RATIO_EDGES` below
    which there are twenty. The value is the upper end of the 95 % interval, over documents, of
    untouched minus lightly filled; it must be below -.005.
    """
    name, untouched, lightly, edge = "untouched scores lowest", _untouched(test), *_lightly(test)
    if not untouched.any() or not lightly.any():
        sentence = "Not measured: the test split lacks untouched or partly filled sequences."
        return LeakAlarm(name, None, -BELOW, sentence)
    value = float(said[untouched].mean() - said[lightly].mean())
    resamples = Resamples(test.columns["document"].tolist(), TIMES)
    with np.errstate(invalid="ignore"):  # a draw that lacks one of them
        drawn = _drawn_means(resamples, said, untouched) - _drawn_means(resamples, said, lightly)
    low, high = np.nanpercentile(drawn, [2.5, 97.5]) if np.isfinite(drawn).any() else (value, value)
    sentence = (
        f"Untouched test sequences are said to be {value:+.3f} [{low:+.3f}, {high:+.3f}] as "
        f"synthetic as those filled up to {edge:g}."
    )
    return LeakAlarm(name, float(high), -BELOW, sentence)


def _drawn_means(
    resamples: Resamples, values: Ratios, chosen: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the mean of the chosen windows' values in each draw, NaN where it has none."""
    weights, owner = resamples.weights.astype(np.float64), resamples.owner[chosen]
    count = weights.shape[1]
    sums = weights @ np.bincount(owner, values[chosen], minlength=count)
    return np.asarray(sums / (weights @ np.bincount(owner, minlength=count)))


def _untouched(sequences: Sequences) -> NDArray[np.bool_]:
    return np.asarray(~(sequences.columns["token_labels"] > 0).any(axis=1))


def _lightly(test: Sequences) -> tuple[NDArray[np.bool_], float]:
    """Return which sequences are the least filled, and up to what ratio."""
    some = np.zeros(len(test), dtype=bool)
    for edge in RATIO_EDGES[1:]:
        some = (test.ratios > 0) & (test.ratios <= edge)
        if some.sum() >= FEWEST:
            return some, edge
    return some, RATIO_EDGES[-1]


def _length_features(longest: int) -> Features:
    def features(sequences: Sequences) -> NDArray[np.float64]:
        count = sequences.counted.sum(axis=1)
        return np.stack([count, np.log1p(count), count >= longest], axis=1).astype(np.float64)

    return features


def _token_features(train: Sequences, places: tuple[float, float]) -> Features:
    """Return what tells the tokens at places apart (0 the first, 1 the last counted), one-hot.

    It knows the commonest tokens of the training sequences.
    """
    known = []
    for place in places:
        values, counts = np.unique(_tokens_at(train, place), return_counts=True)
        known.append(values[np.argsort(-counts, kind="stable")[:END_TOKENS]])

    def features(sequences: Sequences) -> NDArray[np.float64]:
        found = [
            _tokens_at(sequences, place)[:, None] == own
            for place, own in zip(places, known, strict=True)
        ]
        return np.concatenate(found, axis=1).astype(np.float64)

    return features


def _tokens_at(sequences: Sequences, place: float) -> NDArray[np.integer[Any]]:
    nth = np.rint(place * (sequences.counted.sum(axis=1) - 1))
    column = (sequences.counted.cumsum(axis=1) > nth[:, None]).argmax(axis=1)
    return np.asarray(sequences.columns["input_ids"][np.arange(len(sequences)), column])


def _explained(
    features: Features, train: Sequences, test: Sequences, *, seed: int = 0
) -> tuple[float, float]:
    """Return the variance of the test ratios that a ridge on features explains, and by chance.

    That is r², 0 where the correlation is negative; chance is the largest of 999 permutations of
    the test ratios, which one in 1000 exceeds where the features say nothing.
    """
    rng = np.random.default_rng(seed)
    some = train.taken(rng.permutation(len(train))[:READ])
    said, true = FeatureBaseline(features).fit(some).predict(test), test.ratios
    correlation = _correlation(said, true)
    if not correlation:
        return 0.0, 0.0
    permuted = rng.permuted(np.tile(true - true.mean(), (PERMUTATIONS, 1)), axis=1)
    by_chance = permuted @ (said - said.mean()) / (len(true) * true.std() * said.std())
    return max(correlation, 0.0) ** 2, max(float(by_chance.max()), 0.0) ** 2


def _correlation(some: Ratios, others: Ratios) -> float:
    """Return Pearson's, 0 where one side is constant."""
    if np.ptp(some) < 1e-9 or np.ptp(others) < 1e-9:
        return 0.0
    return float(np.corrcoef(some, others)[0, 1])


def _shortcut(name: str, value: float, limit: float, what: str) -> LeakAlarm:
    return LeakAlarm(name, value, limit, f"{what} {value:.1%} of the ratio's variance, alone.")
