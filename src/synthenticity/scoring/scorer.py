"""`Scorer`: text in, synthenticity and the probability of every token out.

Windows of all texts share the model's batches. The synthenticity of a long text is the mean of
its windows' values, each weighted by the tokens that it counts; scores keep full precision.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray

from synthenticity.errors import ConfigError, CorpusError
from synthenticity.runtimes.devices import resolve_device
from synthenticity.runtimes.memory import keep_freed_memory
from synthenticity.scoring.calibration import Calibration, load_calibration
from synthenticity.scoring.forward import BATCH_TOKENS, fast_scorer, score_windows
from synthenticity.scoring.windows import cut_windows, own_weights
from synthenticity.text.tokenization import encode_all_with_offsets, load_tokenizer
from synthenticity.training.model import load_scorer
from synthenticity.training.sequence_scorer import SequenceScorer

Encoded = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Ids `[tokens]` and offsets `[tokens, 2]` of a text."""
CHUNK_CHARACTERS = 2**20
"""So many are read at once: enough to fill batches of every width."""
SCORING_DTYPES = {
    "auto": torch.float32,  # bfloat16 moves the third decimal of a number that must be defended
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
}


@dataclass(frozen=True)
class Score:
    """What a scorer says of one text.

    Attributes:
        text: as it was given.
        synthenticity: estimated share of machine-written tokens, 0 to 1.
        interval: in which the true share lies for nine of ten texts like those that the scorer was
            trained on, or calibrated for. That of a text of several windows is as wide as if all
            erred to one side.
        offsets: start and end character of each token, `[tokens, 2]`.
        probabilities: of each token to be machine-written, `[tokens]`; None without token head.
        unknown_share: share of the tokens that the model's tokenizer does not know.
        alarms: whether the synthenticity lies above the threshold, by rate of false alarms; empty
            unless the scorer was calibrated.

    """

    text: str
    synthenticity: float
    interval: tuple[float, float]
    offsets: NDArray[np.int64]
    probabilities: NDArray[np.float64] | None
    unknown_share: float
    alarms: Mapping[str, bool] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, with one record a token."""
        tokens = None
        if self.probabilities is not None:
            tokens = [
                {"text": self.text[start:end], "start": start, "end": end, "probability": value}
                for (start, end), value in zip(
                    self.offsets.tolist(), self.probabilities.tolist(), strict=True
                )
            ]
        return {
            "synthenticity": self.synthenticity,
            "interval": list(self.interval),
            "characters": len(self.text),
            "unknown_share": self.unknown_share,
            "alarms": dict(self.alarms),
            "tokens": tokens,
        }


class Scorer:
    """A trained sequence scorer with its tokenizer.

    Args:
        model: is copied; its device stays.
        tokenizer: the one that it was trained with.
        dtype: of the encoder: `float32`, `bfloat16`, or `auto`, which is float32.
        calibration: what its values mean for some kind of text; none by default.

    Raises:
        ConfigError: the dtype is not known.

    Example:
        scorer = Scorer.from_pretrained("runs/scorer")
        scorer.score("To be, or not to be").synthenticity

    """

    def __init__(
        self,
        model: SequenceScorer,
        tokenizer: Any,
        *,
        dtype: str = "auto",
        calibration: Calibration | None = None,
    ) -> None:
        _check_dtype(dtype)
        keep_freed_memory()
        self.model = fast_scorer(model, model.device, SCORING_DTYPES[dtype])
        self.tokenizer = tokenizer
        self.calibration = calibration
        self.window_tokens = int(model.config.block_size) - 1

    @classmethod
    def from_pretrained(
        cls, path: str | Path, *, device: str = "auto", dtype: str = "auto"
    ) -> "Scorer":
        """Load the `--out_dir` of a `sequence_scorer` run, with its calibration if it has one.

        Raises:
            ModelError: there is none; says what to do.
            CompatibilityError: the calibration was made of other weights.
            ConfigError: the device or the dtype is not known.

        """
        _check_dtype(dtype)
        model = load_scorer(path).to(resolve_device(device))
        calibration = load_calibration(Path(path))
        return cls(model, load_tokenizer(path), dtype=dtype, calibration=calibration)

    @overload
    def score(self, texts: str, *, batch_tokens: int | None = None) -> Score: ...
    @overload
    def score(self, texts: list[str], *, batch_tokens: int | None = None) -> list[Score]: ...
    def score(
        self, texts: str | list[str], *, batch_tokens: int | None = None
    ) -> Score | list[Score]:
        """Score one text or several; a string gives one `Score`, a list a list.

        A batch of the model holds `batch_tokens` tokens; no score depends on it.

        Raises:
            CorpusError: a text has no token, or none that the scorer knows.

        """
        if isinstance(texts, str):
            return next(self.score_iter([texts], batch_tokens=batch_tokens))
        return list(self.score_iter(texts, batch_tokens=batch_tokens))

    def score_iter(
        self, texts: Iterable[str], *, batch_tokens: int | None = None
    ) -> Iterator[Score]:
        """Yield the score of each text, in order, of any number of texts in bounded memory.

        Texts are read by the million characters, so that they fill batches of their length.

        Raises:
            CorpusError: a text has no token, or none that the scorer knows; says its number, from
                0. It comes after the scores of all texts before it.

        """
        size = batch_tokens or BATCH_TOKENS[self.model.device.type]
        first = 0
        for chunk in _chunks(texts):
            encoded, bad = self._encode(chunk, first)
            if encoded:
                yield from self._score_chunk(chunk[: len(encoded)], encoded, size)
            if bad is not None:
                raise bad
            first += len(chunk)

    def _score_chunk(
        self, texts: list[str], encoded: list[Encoded], batch_tokens: int
    ) -> Iterator[Score]:
        """Yield the scores of texts."""
        begins = np.cumsum([0, *(len(ids) for ids, _ in encoded)]).tolist()
        plan = [cut_windows(len(ids), self.window_tokens) for ids, _ in encoded]
        bounds = [
            (begin + each.start, begin + each.end, begin + each.own_start, begin + each.own_end)
            for begin, windows in zip(begins[:-1], plan, strict=True)
            for each in windows
        ]
        scored = score_windows(
            self.model,
            self.tokenizer,
            np.concatenate([ids for ids, _ in encoded]),
            np.array(bounds),
            batch_tokens,
        )
        ratios, intervals = scored.ratios, scored.intervals
        if self.calibration is not None:
            intervals = self.calibration.mapped_intervals(intervals, ratios)
            ratios = self.calibration.mapped(ratios)
        seen = 0
        for number, text in enumerate(texts):
            (ids, offsets), windows = encoded[number], plan[number]
            some, weights = slice(seen, seen + len(windows)), own_weights(windows)
            seen += len(windows)
            own = None  # a copy below, so that a score that is kept keeps no others
            if scored.probabilities is not None:
                own = scored.probabilities[begins[number] : begins[number + 1]].copy()
            value = float(np.dot(ratios[some], weights))
            low, high = np.dot(weights, intervals[some]).tolist()
            unknown = float(np.mean(ids == self.tokenizer.unk_token_id))
            before = float(np.dot(scored.ratios[some], weights))
            alarms = {} if self.calibration is None else self.calibration.alarms(before)
            yield Score(text, value, (low, high), offsets, own, unknown, alarms)

    def _encode(self, texts: list[str], first: int) -> tuple[list[Encoded], CorpusError | None]:
        """Encode texts as far as they can be scored; return what is wrong with the next, too.

        The first of them is number `first`.
        """
        encoded = encode_all_with_offsets(self.tokenizer, texts)
        for index, (ids, _) in enumerate(encoded):
            why = ""
            if not len(ids):
                why = "is empty. Give a text with characters."
            elif np.isin(ids, self.model.config.special_token_ids).all():
                why = (
                    "holds no token that the scorer knows. Score text in the alphabet that it was "
                    "trained on."
                )
            if why:
                return encoded[:index], CorpusError(f"score: text {first + index} {why}")
        return encoded, None


def _check_dtype(dtype: str) -> None:
    if dtype not in SCORING_DTYPES:
        raise ConfigError(f"dtype: {dtype!r} is none of {', '.join(SCORING_DTYPES)}.")


def _chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    """Yield texts in lists of about `CHUNK_CHARACTERS`; nothing but a string is a text."""
    chunk: list[str] = []
    characters = 0
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            if chunk:
                yield chunk
            raise CorpusError(
                f"score: text {number} is of type {type(text).__name__}. Give a string."
            )
        chunk.append(text)
        characters += len(text)
        if characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk
