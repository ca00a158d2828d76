"""`Scorer`: text in, synthenticity and the probability of every token out.

Windows of all texts share the model's batches. The synthenticity of a long text is the mean of
its windows' values, each weighted by the tokens that it counts; scores keep full precision. A text
of which the figures say nothing is not refused: its score says why they do not.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray

from synthenticity.errors import ConfigError, CorpusError
from synthenticity.runtimes.devices import resolve_device
from synthenticity.runtimes.memory import keep_freed_memory
from synthenticity.scoring.calibration import Calibration, load_calibration
from synthenticity.scoring.forward import (
    BATCH_TOKENS,
    OnShare,
    TextScores,
    fast_scorer,
    score_texts,
)
from synthenticity.scoring.score import Score, counted
from synthenticity.text.reading import LONE_SURROGATE
from synthenticity.text.tokenization import encode_all_with_offsets, load_tokenizer
from synthenticity.training.model import load_scorer
from synthenticity.training.sequence_scorer import SequenceScorer

Encoded = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Ids `[tokens]` and offsets `[tokens, 2]` of a text."""
CHUNK_CHARACTERS = 2**20
"""So many are read at once: enough to fill batches of every width."""
MOST_UNKNOWN = 0.5
FOREIGN = 0.05
"""Shares of unknown tokens from which on a scorer abstains. Data of which more than .001 is unknown
is not even made (`max_unknown_share`)."""
SHORTEST = 8
"""A text is too short with fewer tokens than such a fraction of a window."""
SCORING_DTYPES = {
    "auto": torch.float32,  # bfloat16 moves the third decimal of a number that must be defended
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
}


class Scorer:
    """A trained sequence scorer with its tokenizer.

    Args:
        model: is copied; its device stays.
        tokenizer: the one that it was trained with.
        dtype: of the encoder: `float32`, `bfloat16`, or `auto`, which is float32.
        calibration: what its values mean for some kind of text; none by default.
        min_tokens: of fewer it abstains; an eighth of the tokens that it was trained to read at
            once by default.

    Raises:
        ConfigError: the dtype is not known, or `min_tokens` is negative.

    Example:
        scorer = Scorer.from_pretrained("runs/scorer")
        scorer.score("To be, or not to be").synthenticity
        frame["synthenticity"] = scorer(frame["text"])  # pandas, or any sequence of strings

    """

    def __init__(
        self,
        model: SequenceScorer,
        tokenizer: Any,
        *,
        dtype: str = "auto",
        calibration: Calibration | None = None,
        min_tokens: int | None = None,
    ) -> None:
        _check_settings(dtype, min_tokens)
        keep_freed_memory()
        self.model = fast_scorer(model, model.device, SCORING_DTYPES[dtype])
        self.tokenizer = tokenizer
        self.calibration = calibration
        self.window_tokens = int(model.config.block_size) - 1
        shortest = int(model.config.block_size) // SHORTEST
        self.min_tokens = shortest if min_tokens is None else min_tokens

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *,
        device: str = "auto",
        dtype: str = "auto",
        min_tokens: int | None = None,
    ) -> "Scorer":
        """Load the `--out_dir` of a `sequence_scorer` run, with its calibration if it has one.

        Raises:
            ModelError: there is none; says what to do.
            CompatibilityError: the calibration was made of other weights.
            ConfigError: the device or the dtype is not known, or `min_tokens` is negative.

        """
        _check_settings(dtype, min_tokens)
        model = load_scorer(path).to(resolve_device(device))
        calibration = load_calibration(Path(path))
        return cls(
            model,
            load_tokenizer(path),
            dtype=dtype,
            calibration=calibration,
            min_tokens=min_tokens,
        )

    @overload
    def score(  # type: ignore[overload-overlap]  # a string is a sequence of strings, too
        self, texts: str, *, batch_size: int | None = None, on_share: OnShare | None = None
    ) -> Score: ...
    @overload
    def score(  # type: ignore[overload-overlap]
        self,
        texts: Iterator[str],
        *,
        batch_size: int | None = None,
        on_share: OnShare | None = None,
    ) -> Iterator[Score]: ...
    @overload
    def score(
        self,
        texts: Iterable[str],
        *,
        batch_size: int | None = None,
        on_share: OnShare | None = None,
    ) -> list[Score]: ...
    def score(
        self,
        texts: str | Iterable[str],
        *,
        batch_size: int | None = None,
        on_share: OnShare | None = None,
    ) -> Score | list[Score] | Iterator[Score]:
        """Score one text or several: a string gives one `Score`, a list a list, an iterator (a
        generator, say) is read as its scores are asked for, and any number of texts takes bounded
        memory.

        Batches of the model hold as many tokens as `batch_size` full windows; by default, what
        suits the device. No score depends on it, unless the scorer reads a `likelihood_model`.
        `on_share` is told after each batch which share is done, 0 to 1, of the texts that are
        scored together: about a million characters of several, or one text that is longer.

        Raises:
            CorpusError: something is no string of characters (of an odd half of a surrogate pair,
                say); says its number, from 0. It comes after the scores of all texts before it.
            ConfigError: the batch size is not positive.

        """
        tokens = BATCH_TOKENS[self.model.device.type]
        if batch_size is not None:
            if batch_size < 1:
                raise ConfigError(f"batch_size: {batch_size} is not positive.")
            tokens = batch_size * int(self.model.config.block_size)
        if not isinstance(texts, Iterable):
            raise CorpusError(f"score: got {type(texts).__name__}. Give a string, or several.")
        scores = self._scores([texts] if isinstance(texts, str) else texts, tokens, on_share)
        if isinstance(texts, str):
            return next(scores)
        return scores if isinstance(texts, Iterator) else list(scores)

    def __call__(self, texts: Iterable[str], *, batch_size: int | None = None) -> list[float]:
        """Return the synthenticity of each text, at full precision, as benchmarks ask for it.

        What the scorer abstains of has a value, too, but for a text without any known token: NaN.
        """
        if isinstance(texts, str):
            raise CorpusError("texts: is one string. Give a list of texts.")
        return [each.synthenticity for each in self.score(iter(texts), batch_size=batch_size)]

    def _scores(
        self, texts: Iterable[str], batch_tokens: int, on_share: OnShare | None
    ) -> Iterator[Score]:
        for chunk in _chunks(texts):
            yield from self._score_chunk(chunk, batch_tokens, on_share)

    def _score_chunk(
        self, texts: list[str], batch_tokens: int, on_share: OnShare | None
    ) -> Iterator[Score]:
        """Yield the scores of texts."""
        encoded = encode_all_with_offsets(self.tokenizer, texts)
        ids = [ids for ids, _ in encoded]
        said = score_texts(self.model, self.tokenizer, ids, batch_tokens, on_share=on_share)
        for text, own, scored in zip(texts, encoded, said, strict=True):
            yield self._joined(text, own, scored)

    def _joined(self, text: str, encoded: Encoded, said: TextScores) -> Score:
        """Return the score of a text, of which so much was said."""
        ids, offsets = encoded
        unknown = float(np.mean(ids == self.tokenizer.unk_token_id)) if len(ids) else 0.0
        abstained = self._abstention(text, len(ids), said.known, unknown)
        value = uncalibrated = float("nan")
        low, high, alarms = 0.0, 1.0, {}
        if said.known:
            ratios, intervals = said.windows.ratios, said.windows.intervals
            value = uncalibrated = float(said.mean(ratios))
            if self.calibration is not None:
                intervals = self.calibration.mapped_intervals(intervals, ratios)
                value = float(said.mean(self.calibration.mapped(ratios)))
            low, high = said.mean(intervals).tolist()
        if self.calibration is not None and abstained is None:
            alarms = self.calibration.alarms(uncalibrated)
        share = self.model.config.replaced_share
        return Score(
            text=text,
            synthenticity=value,
            interval=(low, high),
            uncalibrated=uncalibrated,
            replaced=None if share is None else share * value,
            offsets=offsets,
            token_logits=said.windows.token_logits,
            unknown_share=unknown,
            alarms=alarms,
            abstained=abstained,
        )

    def _abstention(self, text: str, tokens: int, known: bool, unknown: float) -> str | None:
        """Return why the scorer abstains of a text, or None if it does not."""
        if not tokens:
            return "is empty: it has no token"
        if not text.strip():
            return "is blank: it has nothing but white space"
        if not known or unknown > MOST_UNKNOWN:
            return f"mostly unknown tokens: {unknown:.0%} of {tokens} are not in the vocabulary"
        if unknown > FOREIGN:
            return (
                f"wrong alphabet for this scorer: {unknown:.0%} of {tokens} tokens are not in the "
                "vocabulary"
            )
        if tokens < self.min_tokens:
            have = counted(tokens, "token")
            return f"too short: {have}, of fewer than {self.min_tokens} nothing is known"
        return None


def _check_settings(dtype: str, min_tokens: int | None) -> None:
    if dtype not in SCORING_DTYPES:
        raise ConfigError(f"dtype: {dtype!r} is none of {', '.join(SCORING_DTYPES)}.")
    if min_tokens is not None and min_tokens < 0:
        raise ConfigError(f"min_tokens: {min_tokens} is negative. Give 0 to abstain of no length.")


def _chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    """Yield texts in lists of about `CHUNK_CHARACTERS`; nothing but a string is a text."""
    chunk: list[str] = []
    characters = 0
    for number, text in enumerate(texts):
        wrong = None if isinstance(text, str) else f"is of type {type(text).__name__}"
        if wrong is None and not text.isascii() and LONE_SURROGATE.search(text):
            wrong = "holds a lone surrogate"
        if wrong is not None:
            if chunk:
                yield chunk
            raise CorpusError(f"score: text {number} {wrong}. Give a string of characters.")
        chunk.append(text)
        characters += len(text)
        if characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk
