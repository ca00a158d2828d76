"""The map that a trained scorer's ratios go through: growing, fitted, near to no change."""

import dataclasses
from pathlib import Path

import pytest
import torch

from synthenticity.config import Config
from synthenticity.text.tokenization import load_tokenizer
from synthenticity.training.model import build_scorer, load_scorer
from synthenticity.training.ratio_map import fitted_map
from synthenticity.training.sequence_scorer import IDENTITY_MAP, mapped_logit

LOGITS = torch.linspace(-6, 6, 400, dtype=torch.float64)


def test_the_first_map_changes_nothing() -> None:
    torch.testing.assert_close(mapped_logit(LOGITS, IDENTITY_MAP), LOGITS)
    torch.testing.assert_close(mapped_logit(LOGITS.float(), IDENTITY_MAP), LOGITS.float())


@pytest.mark.parametrize("true_map", [(1.5, 0.6, 0.6), (0.8, 1.3, -0.4), (1.0, 1.0, 0.0)])
def test_a_fitted_map_is_the_one_that_made_the_truth(true_map: tuple[float, ...]) -> None:
    true = mapped_logit(LOGITS, true_map).sigmoid()
    found = mapped_logit(LOGITS, fitted_map(LOGITS, true)).sigmoid()
    torch.testing.assert_close(found, true, rtol=0, atol=0.01)


@pytest.mark.parametrize("turned", [False, True])
def test_a_map_grows_whatever_it_is_fitted_to(turned: bool) -> None:
    said = LOGITS.flip(0) if turned else LOGITS
    true = (said > 0).double()
    mapped = mapped_logit(LOGITS, fitted_map(LOGITS, true))
    assert (mapped.diff() > 0).all() and mapped.isfinite().all()


def test_a_trained_scorer_has_a_map_and_one_that_goes_on_from_it_none(
    scorer_path: Path, scorer_config: Config
) -> None:
    assert load_scorer(scorer_path).config.ratio_map != list(IDENTITY_MAP)
    config = dataclasses.replace(scorer_config, init_from_checkpoint=str(scorer_path))
    following = build_scorer(config, load_tokenizer(scorer_path))
    assert following.config.ratio_map == list(IDENTITY_MAP)
    assert following.config.interval_margin == 0.0
