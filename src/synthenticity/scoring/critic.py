"""`TokenCritic`: a scorer that says which tokens of a draft to take back, and has them refilled.

Token-Critic (Lezama et al. 2022) trains a model to tell which tokens a generator wrote, and remasks
those; a scorer is such a model. A score that fell under its own critic proves nothing by itself:
docs/critic.md measures, beside a control, what does.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synthenticity.errors import ConfigError, ModelError
from synthenticity.recipe import Recipe
from synthenticity.scoring.id_rows import IdRows, score_rows
from synthenticity.scoring.refinement import (
    IdsRefinement,
    Judge,
    Refinement,
    Refining,
    refine_ids,
    refine_text,
)
from synthenticity.scoring.remasking import Schedule
from synthenticity.scoring.scorer import Scorer
from synthenticity.settings import did_you_mean
from synthenticity.synthesis.filling_model import FillingModel
from synthenticity.synthesis.window_batches import FillingModelInUse


def check_settings(recipe: Recipe, schedule: Mapping[str, Any]) -> Schedule:
    """Return the schedule that settings mean.

    Raises:
        ConfigError: a setting of it or of the recipe is unknown or out of range.

    """
    known = Schedule.__dataclass_fields__
    unknown = sorted({*schedule} - {*known})
    problems = [f"{key}: unknown setting.{did_you_mean(key, known)}" for key in unknown]
    problems += recipe.problems()
    if problems:
        raise ConfigError("\n".join(problems))
    return Schedule(**schedule)


def say_nothing(_number: int, _synthenticity: float) -> None:
    """Watch no round."""


class TokenCritic:
    """A scorer that says which tokens of a draft to take back.

    Args:
        scorer: one with a token head.

    Raises:
        ModelError: it has none.

    Example:
        critic = TokenCritic.from_pretrained("runs/scorer")
        scores = critic.token_scores(ids)  # [batch, length], for a generator of your own
        refined = critic.refine(text, mlm_engine, rounds=8, rng=np.random.default_rng(1))
        refined.best.text

    """

    def __init__(self, scorer: Scorer) -> None:
        if scorer.model.token_head is None:
            raise ModelError(
                'critic: the scorer has no token head (head = "cls"), so it cannot say which '
                'tokens to take back. Train one with head = "token".'
            )
        self.scorer = scorer

    @classmethod
    def from_pretrained(
        cls, path: str | Path, *, device: str = "auto", dtype: str = "auto"
    ) -> "TokenCritic":
        """Load the `--out_dir` of a `sequence_scorer` run.

        Raises:
            ModelError: there is none, or it has no token head.
            CompatibilityError: its calibration was made of other weights.
            ConfigError: the device or the dtype is not known.

        """
        return cls(Scorer.from_pretrained(path, device=device, dtype=dtype))

    @property
    def device(self) -> torch.device:
        """Where the scorer computes."""
        return torch.device(self.scorer.model.device)

    @overload
    def token_scores(self, ids: Tensor) -> Tensor: ...
    @overload
    def token_scores(self, ids: NDArray[Any]) -> NDArray[np.float32]: ...
    def token_scores(self, ids: Tensor | NDArray[Any]) -> Tensor | NDArray[np.float32]:
        """Return the probability of each token to be machine-written, `[batch, length]` float32.

        Those that `Scorer` gives to the same text, to the bit; rows longer than a window are read
        in several. No gradient flows. A tensor comes back as one, on the scorer's device.

        Args:
            ids: `[batch, length]` of the scorer's tokenizer, with or without [CLS] in front, [SEP]
                behind, and padding around; there the result is 0.

        Raises:
            CorpusError: they are no such ids, or hold [MASK]; says where.

        """
        scores = score_rows(self.scorer, IdRows.of(ids, self.scorer.tokenizer)).probabilities
        return torch.from_numpy(scores).to(self.device) if isinstance(ids, Tensor) else scores

    @overload
    def refine(
        self,
        draft: str,
        mlm_engine: FillingModel,
        *,
        rng: np.random.Generator,
        recipe: Recipe = ...,
        judge: Judge | None = ...,
        on_round: Callable[[int, float], None] = ...,
        **schedule: Any,
    ) -> Refinement: ...
    @overload
    def refine(
        self,
        draft: Tensor | NDArray[Any],
        mlm_engine: FillingModel,
        *,
        rng: np.random.Generator,
        recipe: Recipe = ...,
        judge: Judge | None = ...,
        on_round: Callable[[int, float], None] = ...,
        **schedule: Any,
    ) -> IdsRefinement: ...
    def refine(
        self,
        draft: str | Tensor | NDArray[Any],
        mlm_engine: FillingModel,
        *,
        rng: np.random.Generator,
        recipe: Recipe = Recipe(),  # noqa: B008  (frozen)
        judge: Judge | None = None,
        on_round: Callable[[int, float], None] = say_nothing,
        **schedule: Any,
    ) -> Refinement | IdsRefinement:
        """Have what looks machine-written most written again, round by round; keep all rounds.

        Args:
            draft: a text, or ids as `token_scores` takes them. Of a text, scorer and filling model
                may have different tokenizers.
            mlm_engine: the filling model.
            rng: the only source of chance.
            recipe: how tokens are written: `temperature`, `top_k`, `top_p`, `steps`, `order` and
                `forbid_original`; the rest of it says nothing here.
            judge: chooses in the scorer's place, by the filling model's ids: a control, say, that
                returns random numbers.
            on_round: is told each round's number, from 1, and the (mean) synthenticity after it.
            schedule: `rounds`, `share`, `fall` and `temperature` of a `Schedule`.

        Raises:
            ConfigError: a setting is unknown or out of range.
            CorpusError: the draft is empty, or holds no token that can be judged and masked.
            CompatibilityError: of ids, the filling model has another tokenizer.

        """
        asked = check_settings(recipe, schedule)
        model = FillingModelInUse.of(mlm_engine)
        task = Refining(self.scorer, model, asked, recipe, rng, judge, on_round)
        if isinstance(draft, str):
            return refine_text(draft, task)
        return refine_ids(IdRows.of(draft, self.scorer.tokenizer), task)
