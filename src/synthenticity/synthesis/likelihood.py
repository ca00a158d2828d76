"""How likely a language model finds each token of a text, given those around it.

Pseudo-log-likelihood (Salazar et al. 2020) masks one token at a time. Here every k-th is masked at
once, so that a text takes k readings instead of as many as it has tokens: with four, a token still
sees three quarters of the others. Rank and entropy are GLTR's (Gehrmann et al. 2019), the variance
is what curvature is measured by (Bao et al. 2024).
"""

import torch
from torch import Tensor

from synthenticity.synthesis.masked_head import masked_logits

LIKELIHOODS = ("log_probability", "log_rank", "entropy", "variance")
"""Of a token: its log-probability; log(1 + how many are likelier); mean and variance of the
surprise, -log p, that the model expects there."""


@torch.no_grad()
def token_likelihoods(
    model: object,
    input_ids: Tensor,
    counted: Tensor,
    *,
    passes: int,
    mask_token_id: int,
    never: Tensor,
    attention_mask: Tensor | None = None,
) -> Tensor:
    """Return `LIKELIHOODS` `[batch, length, 4]` of each counted token, zeros elsewhere.

    Args:
        model: an `AutoModelForMaskedLM`.
        input_ids: `[batch, length]`.
        counted: bool `[batch, length]`, the tokens to be judged; those not counted are never
            masked.
        passes: how many readings; 0 is one in which no token is masked, and each is seen.
        mask_token_id: of the model.
        never: ids that no text holds (special tokens); they take no probability.
        attention_mask: `[batch, length]`, 0 at padding.

    """
    found = torch.zeros(*input_ids.shape, len(LIKELIHOODS), device=input_ids.device)
    number = counted.cumsum(dim=1) - 1
    for turn in range(max(passes, 1)):
        asked = counted & (number % max(passes, 1) == turn)
        seen = input_ids.masked_fill(asked, mask_token_id) if passes else input_ids
        if asked.any():
            logits = masked_logits(model, seen, asked, attention_mask).float()
            logits[:, never] = -torch.inf
            found[asked] = opinions(logits, input_ids[asked])
    return found


@torch.no_grad()
def causal_likelihoods(
    model: object,
    input_ids: Tensor,
    counted: Tensor,
    *,
    never: Tensor,
    attention_mask: Tensor | None = None,
) -> Tensor:
    """Return `LIKELIHOODS` `[batch, length, 4]` of each counted token after those before it.

    Zeros elsewhere, and of a first token, which follows nothing.

    Args:
        model: an `AutoModelForCausalLM`.
        input_ids: `[batch, length]`.
        counted: bool `[batch, length]`, the tokens to be judged.
        never: ids that no text holds (special tokens); they take no probability.
        attention_mask: `[batch, length]`, 0 at padding.

    """
    found = torch.zeros(*input_ids.shape, len(LIKELIHOODS), device=input_ids.device)
    asked = counted.clone()
    asked[:, :1] = False
    if asked.any():
        before = asked.roll(-1, dims=1)
        logits = masked_logits(model, input_ids, before, attention_mask).float()
        logits[:, never] = -torch.inf
        found[asked] = opinions(logits, input_ids[asked])
    return found


def opinions(logits: Tensor, tokens: Tensor) -> Tensor:
    """Return `LIKELIHOODS` `[rows, 4]` of a token for each row of logits."""
    log = logits.log_softmax(dim=1)
    own = log.gather(1, tokens[:, None])
    probability = log.exp()
    surprise = -log.masked_fill(probability == 0, 0.0)
    entropy = (probability * surprise).sum(dim=1)
    variance = (probability * surprise**2).sum(dim=1) - entropy**2
    rank = (log > own).sum(dim=1)
    return torch.stack([own[:, 0], rank.float().log1p(), entropy, variance.clamp(min=0)], dim=1)
