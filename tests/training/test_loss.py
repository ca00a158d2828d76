"""Losses: what counts, how much, and what a modifier changes."""

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from synthenticity.config import Config
from synthenticity.training.loss import LossModifiers, masked_lm_loss, scorer_loss
from synthenticity.training.model import ScorerOutput

VOCABULARY = 7


def masked_batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits of the masked tokens, and labels of two rows with 1 and 3 of 4 masked."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.tensor([[-100, 2, -100, -100], [3, 0, 6, -100]])
    return 2 * torch.randn(4, VOCABULARY, generator=generator), labels


def test_the_plain_loss_is_cross_entropy_at_the_masked_tokens() -> None:
    logits, labels = masked_batch()
    expected = F.cross_entropy(logits, labels[labels >= 0])
    assert masked_lm_loss(logits, labels).item() == pytest.approx(expected.item())


def test_smoothing_is_label_smoothing() -> None:
    logits, labels = masked_batch()
    expected = F.cross_entropy(logits, labels[labels >= 0], label_smoothing=0.2)
    found = masked_lm_loss(logits, labels, LossModifiers(smoothing=0.2))
    assert found.item() == pytest.approx(expected.item())


def test_entropy_weights_make_uncertain_places_count_more() -> None:
    _, labels = masked_batch()
    logits = torch.zeros(4, VOCABULARY)  # the first token knows nothing, the others are sure
    logits[1:, 1] = 50.0
    weighted = masked_lm_loss(logits, labels, LossModifiers(entropy=True))
    assert weighted.item() == pytest.approx(math.log(VOCABULARY), rel=1e-3)


def test_mask_ratio_weights_make_little_masked_rows_count_more() -> None:
    logits, labels = masked_batch()
    each = F.cross_entropy(logits, labels[labels >= 0], reduction="none")
    weights = torch.tensor([4.0, 4 / 3, 4 / 3, 4 / 3])  # 1 / masked share of the token's row
    expected = (each * weights).sum() / weights.sum()
    found = masked_lm_loss(logits, labels, LossModifiers(mask_ratio=True))
    assert found.item() == pytest.approx(expected.item())


def test_a_batch_with_nothing_masked_has_no_loss_and_no_gradient() -> None:
    logits = torch.zeros(0, VOCABULARY, requires_grad=True)
    for modifiers in (LossModifiers(), LossModifiers(True, 0.1, True)):
        loss = masked_lm_loss(logits, torch.full((2, 4), -100), modifiers)
        loss.backward()
        assert loss.item() == 0.0


def test_modifiers_need_the_common_switch_and_their_own() -> None:
    each = {
        "entropy_modifier_enabled": True,
        "target_smoothing_enabled": True,
        "mask_ratio_modifier_enabled": True,
    }
    assert LossModifiers.from_config(Config(**each)) == LossModifiers()
    assert LossModifiers.from_config(Config(loss_modifiers_enabled=True)) == LossModifiers()
    found = LossModifiers.from_config(Config(loss_modifiers_enabled=True, **each))
    assert found == LossModifiers(entropy=True, smoothing=0.1, mask_ratio=True)


def scored(*, tokens: bool) -> tuple[ScorerOutput, torch.Tensor, torch.Tensor]:
    """Return what a scorer says of two rows, their ratios and their labels of every kind."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.tensor([[-100, 0, 1, 2, 3], [-100, 0, 0, 2, -100]])
    logits = torch.randn(2, 5, generator=generator) if tokens else None
    output = ScorerOutput(synthenticity=torch.tensor([0.3, 0.9]), token_logits=logits)
    return output, torch.tensor([0.5, 0.25]), labels


def test_the_plans_head_is_trained_on_the_squared_error_alone() -> None:
    output, ratios, labels = scored(tokens=False)
    loss = scorer_loss(output, ratios, labels, mse_weight=10.0)
    assert loss.item() == pytest.approx((0.2**2 + 0.65**2) / 2)


def test_the_token_head_is_trained_on_original_against_filled_and_on_the_ratio() -> None:
    output, ratios, labels = scored(tokens=True)
    rows = [(0, 1, 0.0), (0, 2, 1.0), (0, 3, 1.0), (1, 1, 0.0), (1, 2, 0.0), (1, 3, 1.0)]
    each = [
        F.binary_cross_entropy_with_logits(output.token_logits[row, column], torch.tensor(truth))
        for row, column, truth in rows
    ]
    expected = torch.stack(each).mean() + 3.0 * (0.2**2 + 0.65**2) / 2
    found = scorer_loss(output, ratios, labels, mse_weight=3.0)
    assert found.item() == pytest.approx(expected.item())


@pytest.mark.parametrize("place", [(0, 0), (0, 4), (1, 4)])
def test_tokens_not_counted_and_random_ones_do_not_count(place: tuple[int, int]) -> None:
    output, ratios, labels = scored(tokens=True)
    before = scorer_loss(output, ratios, labels, mse_weight=3.0)
    output.token_logits[place] = 40.0
    assert scorer_loss(output, ratios, labels, mse_weight=3.0).item() == before.item()
