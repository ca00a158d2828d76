"""Losses: what counts, how much, and what a modifier changes."""

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from synthenticity.config import Config
from synthenticity.training.loss import (
    LossModifiers,
    ScorerLoss,
    interval_loss,
    masked_lm_loss,
    masked_lm_weight,
    pinball,
    token_loss,
)
from synthenticity.training.sequence_scorer import ScorerOutput

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


@pytest.mark.parametrize("mask_ratio", [False, True])
def test_the_mean_of_the_batches_of_a_step_is_the_loss_of_all_rows(mask_ratio: bool) -> None:
    logits, labels = masked_batch()  # one of its tokens is in the first row, three in the second
    modifiers = LossModifiers(mask_ratio=mask_ratio)
    known = [masked_lm_weight(labels[row : row + 1], modifiers) for row in range(2)]
    mean = torch.stack(known).float().mean()
    parts = [
        masked_lm_loss(logits[:1], labels[:1], modifiers, lambda _: mean),
        masked_lm_loss(logits[1:], labels[1:], modifiers, lambda _: mean),
    ]
    assert known != [1, 3] if mask_ratio else known == [1, 3]
    assert float(sum(parts)) / 2 == pytest.approx(masked_lm_loss(logits, labels, modifiers).item())


def test_tokens_without_one_that_counts_have_no_loss() -> None:
    """A process may get rows of which nothing is known."""
    logits = torch.zeros(2, 4, requires_grad=True)
    loss = token_loss(logits, torch.full((2, 4), 3))
    loss.backward()
    assert loss.item() == 0 and logits.grad is not None and not logits.grad.any()


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
    said = torch.tensor([0.3, 0.9])
    output = ScorerOutput(
        synthenticity=said,
        logit=said.logit(),
        token_logits=logits,
        interval_logits=torch.zeros(2, 2),
    )
    return output, torch.tensor([0.5, 0.25]), labels


REACH = math.log(2)
"""How far an interval of logit 0 reaches to each side."""
INTERVAL = (
    (0.05 * (0.5 - 0.3 + REACH) + 0.05 * (0.25 - 0.9 + REACH)) / 2  # the truth above both lows
    + (0.05 * (0.3 + REACH - 0.5) + 0.05 * (0.9 + REACH - 0.25)) / 2  # and below both highs
)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("squared", (0.2**2 + 0.65**2) / 2),
        ("absolute", (0.2 + 0.65) / 2),
        (
            "cross_entropy",
            -(
                0.5 * math.log(0.3)
                + 0.5 * math.log(0.7)
                + 0.25 * math.log(0.9)
                + 0.75 * math.log(0.1)
            )
            / 2,
        ),
    ],
)
def test_the_plans_head_is_trained_on_the_ratio_and_its_interval_alone(
    kind: str, expected: float
) -> None:
    loss = ScorerLoss(kind, weight=10.0)(*scored(tokens=False))
    assert loss.item() == pytest.approx(expected + INTERVAL, rel=1e-5)


def test_the_token_head_is_trained_on_original_against_filled_and_on_the_ratio() -> None:
    output, ratios, labels = scored(tokens=True)
    rows = [(0, 1, 0.0), (0, 2, 1.0), (0, 3, 1.0), (1, 1, 0.0), (1, 2, 0.0), (1, 3, 1.0)]
    each = [
        F.binary_cross_entropy_with_logits(output.token_logits[row, column], torch.tensor(truth))
        for row, column, truth in rows
    ]
    expected = torch.stack(each).mean() + 3.0 * (0.2**2 + 0.65**2) / 2 + INTERVAL
    found = ScorerLoss("squared", 3.0)(output, ratios, labels)
    assert found.item() == pytest.approx(expected.item())


@pytest.mark.parametrize("place", [(0, 0), (0, 4), (1, 4)])
def test_tokens_not_counted_and_random_ones_do_not_count(place: tuple[int, int]) -> None:
    output, ratios, labels = scored(tokens=True)
    before = ScorerLoss()(output, ratios, labels)
    output.token_logits[place] = 40.0
    assert ScorerLoss()(output, ratios, labels).item() == before.item()


def test_an_interval_moves_itself_and_never_the_ratio() -> None:
    logit = torch.zeros(2, requires_grad=True)
    reach = torch.zeros(2, 2, requires_grad=True)
    output = ScorerOutput(synthenticity=logit.sigmoid(), logit=logit, interval_logits=reach)
    interval_loss(output, torch.tensor([0.5, 0.25])).backward()
    assert logit.grad is None and (reach.grad > 0).all()  # both are too wide for these


def test_the_pinball_loss_is_least_at_the_quantile() -> None:
    truth = torch.linspace(0, 1, 1001)
    places = torch.linspace(0, 1, 101)
    losses = torch.stack([pinball(truth - place, 0.05) for place in places])
    assert places[losses.argmin()].item() == pytest.approx(0.05, abs=0.011)
