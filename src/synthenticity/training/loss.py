"""Losses: masked language modelling with its modifiers, and the scorer's.

A step's rows may come in several batches, accumulated or shared among processes. They are equal in
rows and not in the tokens that count, so a sum over tokens is divided by what those of an average
batch of the step weigh: then the mean of the batches' losses is that of all rows at once.

The modifiers change how much a token or a sequence counts, never what is predicted. They make
no sense for a scorer, whose targets are exact; training says so and leaves them out.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from synthenticity.config import Config
from synthenticity.training.sequence_scorer import SCORER_INTERVAL, ScorerOutput, interval_bounds

MeanWeight = Callable[[Tensor], Tensor]
"""Takes what the tokens of a batch weigh; returns what those of its step's average batch do."""
MODIFIERS = ("entropy_modifier", "target_smoothing", "mask_ratio_modifier")


@dataclass(frozen=True)
class LossModifiers:
    """What changes the masked-LM loss.

    `entropy` weights a token by the entropy of its prediction (uncertain places count more);
    `smoothing` is the label-smoothing mass (Szegedy et al. 2016); `mask_ratio` weights tokens by
    1 / masked share of their sequence, the weight of the diffusion bound (Sahoo et al. 2024).
    """

    entropy: bool = False
    smoothing: float = 0.0
    mask_ratio: bool = False

    @classmethod
    def from_config(cls, config: Config) -> "LossModifiers":
        """Return the modifiers that a config switches on."""
        if not config.loss_modifiers_enabled:
            return cls()
        smoothing = config.target_smoothing if config.target_smoothing_enabled else 0.0
        return cls(config.entropy_modifier_enabled, smoothing, config.mask_ratio_modifier_enabled)


def of_one_batch(weight: Tensor) -> Tensor:
    """Be the `MeanWeight` of a step of a single batch."""
    return weight


def masked_lm_weight(labels: Tensor, modifiers: LossModifiers) -> Tensor | None:
    """Return what the masked tokens of a batch weigh; None if that depends on their prediction.

    With `mask_ratio`, all tokens of a row together weigh as much as its length.
    """
    masked = labels != -100
    if modifiers.entropy:
        return None
    return masked.any(dim=1).sum() * labels.shape[1] if modifiers.mask_ratio else masked.sum()


def masked_lm_loss(
    logits: Tensor,
    labels: Tensor,
    modifiers: LossModifiers | None = None,
    mean_weight: MeanWeight = of_one_batch,
) -> Tensor:
    """Return the weighted mean cross-entropy at the masked positions, in nats.

    Args:
        logits: `[masked, vocabulary]`, rows in row-major order of the masked positions.
        labels: `[batch, length]`, -100 where nothing is masked.
        modifiers: none by default.
        mean_weight: of the step's batches.

    """
    modifiers = modifiers or LossModifiers()
    masked = labels != -100
    losses = F.cross_entropy(
        logits.float(), labels[masked], reduction="none", label_smoothing=modifiers.smoothing
    )
    weights = torch.ones_like(losses)
    if modifiers.entropy:
        log_probability = logits.detach().float().log_softmax(dim=1)
        entropy = -(log_probability.exp() * log_probability).sum(dim=1)
        weights = weights * entropy / math.log(logits.shape[1])
    if modifiers.mask_ratio:
        weights = weights * (1.0 / masked.float().mean(dim=1))[masked.nonzero()[:, 0]]
    return (losses * weights).sum() / mean_weight(weights.sum()).clamp(min=1e-9)


@dataclass(frozen=True)
class ScorerLoss:
    """The scorer's loss: tokens, ratio and interval.

    Attributes:
        ratio: of the ratio's error: `absolute`, whose best estimate is the median of what may be
            true, `squared`, whose is the mean, or `cross_entropy` with the ratio as soft target.
        weight: of the ratio's loss against the tokens'.

    """

    ratio: str = "squared"
    weight: float = 3.0

    def __call__(
        self,
        output: ScorerOutput,
        synthenticity: Tensor,
        token_labels: Tensor,
        mean_weight: MeanWeight = of_one_batch,
    ) -> Tensor:
        """Return the loss of a batch.

        With a token head, that is the binary cross-entropy of every counted token (filled or not;
        random tokens of BERT corruption are neither and left out) plus the weighted loss of the
        ratio; without, the ratio's alone. The interval's loss moves the interval and what the
        encoder knows at [CLS], and the ratio through that alone.

        Args:
            output: what the scorer said.
            synthenticity: true ratios `[batch]`.
            token_labels: `[batch, length]`, see `create_synthetic_text`.
            mean_weight: of the step's batches; a counted token weighs 1.

        """
        loss = self._of_ratio(output, synthenticity)
        if output.token_logits is not None:
            tokens = token_loss(output.token_logits, token_labels, mean_weight)
            loss = self.weight * loss + tokens
        return loss + interval_loss(output, synthenticity)

    def _of_ratio(self, output: ScorerOutput, true: Tensor) -> Tensor:
        assert output.synthenticity is not None and output.logit is not None
        if self.ratio == "absolute":
            return F.l1_loss(output.synthenticity, true)
        if self.ratio == "squared":
            return F.mse_loss(output.synthenticity, true)
        return F.binary_cross_entropy_with_logits(output.logit, true)


def counted_tokens(token_labels: Tensor) -> Tensor:
    """Return which tokens the token loss is over, `[batch, length]`."""
    return (token_labels >= 0) & (token_labels <= 2)


def token_loss(
    token_logits: Tensor, token_labels: Tensor, mean_weight: MeanWeight = of_one_batch
) -> Tensor:
    """Return the binary cross-entropy of the counted tokens; both arrays `[batch, length]`."""
    counted = counted_tokens(token_labels)
    filled = (token_labels >= 1).float()
    losses = F.binary_cross_entropy_with_logits(
        token_logits[counted], filled[counted], reduction="sum"
    )
    return losses / mean_weight(counted.sum()).clamp(min=1e-9)


def interval_loss(output: ScorerOutput, true: Tensor) -> Tensor:
    """Return the pinball loss of the interval's ends (Koenker and Bassett 1978)."""
    assert output.synthenticity is not None and output.interval_logits is not None
    outside = (1 - SCORER_INTERVAL) / 2
    low, high = interval_bounds(output.synthenticity.detach(), output.interval_logits)
    return pinball(true - low, outside) + pinball(true - high, 1 - outside)


def pinball(above: Tensor, quantile: float) -> Tensor:
    """Return the mean loss of which a quantile is the best estimate; `above` is truth less it."""
    return torch.maximum(quantile * above, (quantile - 1) * above).mean()
