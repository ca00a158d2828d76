"""`Score`: what a scorer says of one text, and how it says that it does not know.

Figures keep full precision, and everything that is shown or written of a text (page, terminal,
JSON, Parquet) is read from here. Nothing of a score holds on to the texts scored beside it.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthenticity.text.units import token_units

MACHINE = 0.5
"""Tokens of at least that probability make up spans."""
ROWS_AT_ONCE = 4096
NOT_FLAGGED = "not flagged"


@dataclass(frozen=True, slots=True)
class Stretch:
    """Characters `start` to `end` of a text, and the (mean) probability of the tokens in it."""

    text: str
    start: int
    end: int
    probability: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "text": self.text,
            "start": self.start,
            "end": self.end,
            "probability": self.probability,
        }


@dataclass(frozen=True)
class Score:
    """What a scorer says of one text.

    Attributes:
        text: as it was given.
        synthenticity: estimated share of machine-written tokens, 0 to 1; NaN of a text without any
            token that the scorer knows.
        interval: in which the true share lies for nine of ten texts like those that the scorer was
            trained on, or calibrated for. That of a text of several windows is as wide as if all
            erred to one side.
        uncalibrated: the synthenticity before any calibration.
        replaced: estimated share of tokens that a machine changed. Some of what it writes is what
            stood there before; this leaves out as many as there were in the scorer's validation
            data. None if the scorer does not know how many.
        offsets: start and end character of each token, `[tokens, 2]`.
        token_logits: raw output for each token, float32 `[tokens]`; None without token head.
        unknown_share: share of the tokens that the model's tokenizer does not know.
        alarms: whether the synthenticity lies above the threshold, by rate of false alarms; empty
            unless the scorer was calibrated, or if it abstained.
        abstained: why the figures should not be used, as a sentence; None if they may.

    """

    text: str
    synthenticity: float
    interval: tuple[float, float]
    uncalibrated: float
    replaced: float | None
    offsets: NDArray[np.int64]
    token_logits: NDArray[np.float32] | None
    unknown_share: float
    alarms: Mapping[str, bool] = field(default_factory=dict)
    abstained: str | None = None

    @property
    def logit(self) -> float:
        """The log-odds of the synthenticity before any calibration, at full precision."""
        value = self.uncalibrated
        if math.isnan(value) or 0 < value < 1:
            return math.log(value / (1 - value))
        return math.copysign(math.inf, value - 0.5)

    @property
    def verdict(self) -> str | None:
        """On which side of the thresholds the text is, `flagged at RATE` naming the strictest that
        it exceeds; None without calibration, or if the scorer abstained.
        """
        if not self.alarms:
            return None
        ringing = [rate for rate, rings in self.alarms.items() if rings]
        return f"flagged at {min(ringing, key=float)}" if ringing else NOT_FLAGGED

    @cached_property
    def probabilities(self) -> NDArray[np.float64] | None:
        """Of each token to be machine-written, `[tokens]`; None without token head."""
        if self.token_logits is None:
            return None
        return np.asarray(1 / (1 + np.exp(-self.token_logits.astype(np.float64))))

    @property
    def tokens(self) -> list[Stretch] | None:
        """Every token with its probability; None without token head."""
        return None if self.probabilities is None else list(self.iter_tokens())

    def iter_tokens(self) -> Iterator[Stretch]:
        """Yield the tokens, of which a long text has many; none without token head."""
        if self.probabilities is not None:
            values = _rows_of(self.probabilities)
            for (start, end), value in zip(_rows_of(self.offsets), values, strict=True):
                yield Stretch(self.text[start:end], start, end, value)

    @property
    def spans(self) -> list[Stretch] | None:
        """Runs of tokens that are likelier machine-written than not; None without token head."""
        return None if self.probabilities is None else list(self._iter_spans())

    @property
    def sentences(self) -> list[Stretch] | None:
        """The sentences that have tokens; None without token head."""
        return None if self.probabilities is None else list(self._iter_sentences())

    def _iter_spans(self) -> Iterator[Stretch]:
        assert self.probabilities is not None
        machine = np.concatenate([[False], self.probabilities >= MACHINE, [False]])
        return self._stretches(np.flatnonzero(np.diff(machine)).reshape(-1, 2))

    def _iter_sentences(self) -> Iterator[Stretch]:
        units = token_units(self.text, self.offsets, "sentence")
        firsts = np.flatnonzero(np.diff(units, prepend=-1))
        lasts = np.append(firsts[1:], len(units))[: len(firsts)]
        return self._stretches(np.stack([firsts, lasts], axis=1))

    def _stretches(self, tokens: NDArray[np.integer]) -> Iterator[Stretch]:
        """Yield the stretches of first and last + 1 tokens `[stretches, 2]`."""
        assert self.probabilities is not None
        sums = np.concatenate([[0.0], np.cumsum(self.probabilities)])
        for first, last in _rows_of(tokens):
            start, end = int(self.offsets[first, 0]), int(self.offsets[last - 1, 1])
            mean = float((sums[last] - sums[first]) / (last - first))
            yield Stretch(self.text[start:end], start, end, mean)

    def in_words(self) -> str:
        """Return the synthenticity and its interval as every page and terminal shows them."""
        if math.isnan(self.synthenticity):
            return "synthenticity unknown"
        low, high = self.interval
        return f"synthenticity {self.synthenticity:.3f} (90 %: {low:.2f} to {high:.2f})"

    def facts(self) -> dict[str, Any]:
        """Return the figures of the whole text as plain values; None for what is not a number."""
        known = not math.isnan(self.synthenticity)
        return {
            "synthenticity": self.synthenticity if known else None,
            "interval": list(self.interval),
            "replaced": self.replaced if known else None,
            "uncalibrated": self.uncalibrated if known else None,
            "logit": self.logit if math.isfinite(self.logit) else None,
            "verdict": self.verdict,
            "alarms": dict(self.alarms),
            "abstained": self.abstained,
            "unknown_share": self.unknown_share,
            "characters": len(self.text),
        }

    def to_json(self, *, tokens: bool = True, sentences: bool = True) -> dict[str, Any]:
        """Return plain values: `facts`, and lists of tokens and spans, and of sentences."""
        content = self.facts()
        if tokens:
            content |= {"tokens": _plain(self.tokens), "spans": _plain(self.spans)}
        if sentences:
            content["sentences"] = _plain(self.sentences)
        return content

    def iter_json(self) -> Iterator[str]:
        """Yield the JSON of `to_json()` piece by piece: that of a book has a million tokens."""
        yield json.dumps(self.facts())[:-1]
        lists = {
            "tokens": self.iter_tokens,
            "spans": self._iter_spans,
            "sentences": self._iter_sentences,
        }
        for name, stretches in lists.items():
            yield f', "{name}": '
            if self.probabilities is None:
                yield "null"
                continue
            yield "["
            for number, each in enumerate(stretches()):
                yield (", " if number else "") + json.dumps(each.to_json())
            yield "]"
        yield "}"


def counted(number: int, what: str) -> str:
    """Return a number of things.

    >>> counted(1, "token"), counted(2000, "token")
    ('1 token', '2,000 tokens')
    """
    return f"{number:,} {what}{'s' * (number != 1)}"


def _rows_of(array: NDArray[Any]) -> Iterator[Any]:
    """Yield the rows of an array as plain values, of which never many are there at once."""
    for start in range(0, len(array), ROWS_AT_ONCE):
        yield from array[start : start + ROWS_AT_ONCE].tolist()


def _plain(stretches: list[Stretch] | None) -> list[dict[str, Any]] | None:
    return None if stretches is None else [each.to_json() for each in stretches]
