"""A draft refined: in each round some tokens are remasked, filled again, and the whole is scored.

Of a text, scorer and filling model meet at its characters, so their tokenizers may differ; what was
not remasked is copied. Of ids they must have one tokenizer. Nothing is thrown away: the history
holds the draft and every round, so that a reader sees whether, and where, it got better.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthenticity.errors import CompatibilityError, ConfigError, CorpusError
from synthenticity.recipe import Recipe
from synthenticity.scoring.id_rows import IdRows, score_rows
from synthenticity.scoring.remasking import Schedule
from synthenticity.scoring.score import Score
from synthenticity.scoring.scorer import Scorer
from synthenticity.synthesis.spelling import TokenizedText
from synthenticity.synthesis.splicing import splice
from synthenticity.synthesis.token_labels import REPLACED_TOKEN
from synthenticity.synthesis.window_batches import FillingModelInUse, MaskedText, write_masked
from synthenticity.text.tokenization import tokenizer_fingerprint

Floats = NDArray[np.float64]
Judge = Callable[[NDArray[np.int64]], NDArray[Any]]
"""Says of ids `[batch, length]` which to take back first: the highest of `[batch, length]`."""
WINDOWS_OF_A_CALL = 64


@dataclass(frozen=True)
class Round:
    """What stood after a round of a text, and its score; round 0 is the draft.

    `changed` of the `remasked` tokens are no longer what they were.
    """

    number: int
    score: Score
    remasked: int
    changed: int

    @property
    def text(self) -> str:
        """The text after the round."""
        return self.score.text

    def to_json(self) -> dict[str, Any]:
        """Return plain values, without the text."""
        counts = {"round": self.number, "remasked": self.remasked, "changed": self.changed}
        return counts | self.score.facts()


@dataclass(frozen=True)
class Refinement:
    """The rounds of a text, the draft first."""

    rounds: list[Round]

    @property
    def best(self) -> Round:
        """The round of the lowest synthenticity, the first of equals; it may be the draft. What the
        scorer abstains of is none; if it abstains of all, the draft is the best.
        """
        known = [each for each in self.rounds if each.score.abstained is None]
        return min(known or self.rounds[:1], key=lambda each: each.score.synthenticity)

    @property
    def last(self) -> Round:
        """The last round."""
        return self.rounds[-1]


@dataclass(frozen=True)
class IdsRefinement:
    """The rounds of a batch of ids, the draft first.

    `ids` and `token_scores` (float32) are `[1 + rounds, batch, length]`; `synthenticity` (NaN of a
    row without text), `remasked` and `changed` are `[1 + rounds, batch]`.
    """

    ids: NDArray[np.int64]
    token_scores: NDArray[np.float32]
    synthenticity: Floats
    remasked: NDArray[np.int64]
    changed: NDArray[np.int64]

    @property
    def best(self) -> NDArray[np.int64]:
        """The round `[batch]` of the lowest synthenticity of each row, the first of equals."""
        known = np.where(np.isnan(self.synthenticity), np.inf, self.synthenticity)
        return np.asarray(known.argmin(axis=0))

    @property
    def best_ids(self) -> NDArray[np.int64]:
        """Each row as its best round left it, `[batch, length]`."""
        return np.asarray(self.ids[self.best, np.arange(self.ids.shape[1])])


@dataclass(frozen=True)
class Refining:
    """What all rounds have in common; the fields are arguments of `TokenCritic.refine`."""

    scorer: Scorer
    model: FillingModelInUse
    schedule: Schedule
    recipe: Recipe
    rng: np.random.Generator
    judge: Judge | None
    on_round: Callable[[int, float], None]

    def preference(self, ids: NDArray[np.int64], logits: Floats) -> Floats:
        """Return which of ids `[batch, length]` go first: the scorer's logits, or the judge's word.

        Raises:
            ConfigError: the judge's values are not one for each.

        """
        if self.judge is None:
            return logits
        values = np.asarray(self.judge(ids.copy()), dtype=np.float64)
        if values.shape != ids.shape or np.isnan(values).any():
            raise ConfigError(
                f"judge: of ids {list(ids.shape)} gave values {list(values.shape)}, "
                f"{int(np.isnan(values).sum())} of them not a number. Give a number for each."
            )
        return values

    def written(
        self, texts: Sequence[TokenizedText], masks: Sequence[NDArray[np.bool_]]
    ) -> list[NDArray[np.int64]]:
        """Return the ids `[tokens]` of each text, with those of its mask written by the model."""
        masked = [
            MaskedText.of(text, self.recipe, mask, self.rng)
            for text, mask in zip(texts, masks, strict=True)
        ]
        write_masked(self.model, masked, batch_size=WINDOWS_OF_A_CALL, opinion=False)
        return [text.written for text in masked]


def refine_text(text: str, task: Refining) -> Refinement:
    """Refine a text.

    Raises:
        CorpusError: it is empty, or holds no token that can be judged and masked.

    """
    score = task.scorer.score(text)
    if math.isnan(score.synthenticity):
        raise CorpusError(f"draft: {score.abstained}. Give a text that the scorer knows.")
    rounds = [Round(0, score, 0, 0)]
    for number in range(task.schedule.rounds):
        rounds.append(_text_round(rounds[-1].score, number, task))
        task.on_round(number + 1, rounds[-1].score.synthenticity)
    return Refinement(rounds)


def _text_round(score: Score, number: int, task: Refining) -> Round:
    """Remask, fill and splice a text, and score what came out."""
    (tokens,) = task.model.spelling.tokenize([score.text])
    logits = logits_at(score, tokens.offsets)
    maskable = tokens.maskable & ~np.isnan(logits)
    if not maskable.any():
        raise CorpusError(
            f"draft: no token of it can be both judged by the scorer and masked by "
            f"{task.model.name}."
        )
    preference = task.preference(tokens.ids[None], np.nan_to_num(logits)[None])
    (mask,) = task.schedule.remask(number, preference, maskable[None], task.rng)
    (written,) = task.written([tokens], [mask])
    spliced = splice(tokens, written, mask, task.model.spelling)
    changed = int((spliced.token_labels == REPLACED_TOKEN).sum())
    return Round(number + 1, task.scorer.score(spliced.text), int(mask.sum()), changed)


def refine_ids(rows: IdRows, task: Refining) -> IdsRefinement:
    """Refine rows of ids.

    Raises:
        CompatibilityError: the filling model has another tokenizer.

    """
    _check_same_tokenizer(task)
    maskable = rows.is_text & ~np.isin(rows.ids, task.model.engine.special_ids)
    said = score_rows(task.scorer, rows)
    none = np.zeros(len(rows.ids), dtype=np.int64)
    found = [(rows.ids, said.probabilities, said.synthenticity, none, none)]
    for number in range(task.schedule.rounds):
        logits = np.where(rows.is_text, said.token_logits, 0.0)
        preference = task.preference(rows.ids, logits)
        mask = task.schedule.remask(number, preference, maskable, task.rng)
        before, texts = rows.ids, [_as_characters(own) for own in rows.texts]
        rows = rows.rewritten(task.written(texts, rows.split(mask)))
        said = score_rows(task.scorer, rows)
        counts = mask.sum(axis=1), (rows.ids != before).sum(axis=1)
        found.append((rows.ids, said.probabilities, said.synthenticity, *counts))
        known = said.synthenticity[~np.isnan(said.synthenticity)]
        task.on_round(number + 1, float(known.mean()) if len(known) else math.nan)
    return IdsRefinement(*(np.stack(each) for each in zip(*found, strict=True)))


def _check_same_tokenizer(task: Refining) -> None:
    own, other = task.scorer.tokenizer, task.model.engine.tokenizer
    if tokenizer_fingerprint(own) != tokenizer_fingerprint(other):
        raise CompatibilityError(
            f"refine: the tokenizer of {task.model.name} ({len(other)} tokens) is not the scorer's "
            f"({len(own)}), so the same ids are other text. Refine text in place of ids, or take "
            "the filling model that the scorer's data was made with."
        )


def _as_characters(ids: NDArray[np.int64]) -> TokenizedText:
    """Return ids as if each were a character of a text, for those who write ids only."""
    places, yes = np.arange(len(ids)), np.ones(len(ids), dtype=bool)
    return TokenizedText("", ids, places, places + 1, places, yes, yes)


def logits_at(score: Score, offsets: NDArray[np.int64]) -> Floats:
    """Return the scorer's mean logit over the characters of other tokens, `[tokens]`.

    NaN where it has no opinion of any character. `offsets` is `[tokens, 2]`.
    """
    assert score.token_logits is not None
    logits = score.token_logits.astype(np.float64)
    if np.array_equal(score.offsets, offsets):
        return logits
    starts, lengths = score.offsets[:, 0], score.offsets[:, 1] - score.offsets[:, 0]
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    places = np.repeat(starts, lengths) + within
    size = len(score.text)
    sums = np.bincount(places, np.repeat(logits, lengths), minlength=size)
    known = np.bincount(places, minlength=size)
    total, count = (_over(each, offsets) for each in (sums, known))
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def _over(values: NDArray[Any], offsets: NDArray[np.int64]) -> NDArray[Any]:
    """Return the sums of values `[characters]` over stretches `[stretches, 2]` of them."""
    before = np.concatenate([[0], np.cumsum(values)])
    return np.asarray(before[offsets[:, 1]] - before[offsets[:, 0]])
