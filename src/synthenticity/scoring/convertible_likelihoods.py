"""The likelihood channel as a converter can follow it: every position is read, none is picked out.

What a text looks like decides nothing of the way through the model, so the graph of one example
holds for all. It costs an LM head at each position in every reading.
"""

from functools import partial

import torch
from torch import Tensor

from synthenticity.runtimes.attention import choose_attention_to_convert
from synthenticity.synthesis.checkpoints import CAUSAL
from synthenticity.synthesis.likelihood import LIKELIHOODS, opinions
from synthenticity.training.likelihood_channel import SPREADS, LikelihoodChannel
from synthenticity.training.sequence_scorer import SequenceScorer


def make_likelihoods_convertible(scorer: SequenceScorer) -> None:
    """Exchange how the likelihood channels of a scorer of one's own read, in place."""
    for channel in () if scorer.enriched is None else scorer.enriched.channels:
        if isinstance(channel, LikelihoodChannel):
            choose_attention_to_convert(channel.reader)
            channel.likelihoods = partial(_likelihoods, channel)  # type: ignore[method-assign]


def _likelihoods(channel: LikelihoodChannel, ids: Tensor) -> Tensor:
    """Return what `LikelihoodChannel.likelihoods` does, `[batch, length, 4]`."""
    special = torch.tensor(channel.special)
    read = ids[:, channel.first :]
    asked = ~torch.isin(read, special)
    found = (_causal if channel.way == CAUSAL else _masked)(channel, read, asked)
    return torch.nn.functional.pad(found / torch.tensor(SPREADS), (0, 0, channel.first, 0))


def _masked(channel: LikelihoodChannel, read: Tensor, asked: Tensor) -> Tensor:
    passes, mask = max(channel.passes, 1), channel.mask_token_id
    assert mask is not None
    number = asked.cumsum(dim=1) - 1
    found = torch.zeros(*read.shape, len(LIKELIHOODS))
    for turn in range(passes):
        now = asked & (number % passes == turn)
        hidden = read.masked_fill(now, mask) if channel.passes else read
        found = torch.where(now[..., None], _said(channel, hidden, read, of=read), found)
    return found


def _causal(channel: LikelihoodChannel, read: Tensor, asked: Tensor) -> Tensor:
    before = _said(channel, read, read, of=read.roll(-1, dims=1)).roll(1, dims=1)
    follows = torch.arange(read.shape[1]) > 0
    return torch.where((asked & follows)[..., None], before, torch.zeros(()))


def _said(channel: LikelihoodChannel, given: Tensor, read: Tensor, *, of: Tensor) -> Tensor:
    """Return the model's opinions `[batch, length, 4]` of tokens at each position."""
    pad = channel.reader.config.pad_token_id
    seen = torch.ones_like(read) if pad is None else (read != pad).long()
    logits = channel.reader(input_ids=given, attention_mask=seen).logits.float()
    never = torch.isin(torch.arange(logits.shape[-1]), torch.tensor(channel.special))
    logits = logits.masked_fill(never, -torch.inf)
    rows = opinions(logits.flatten(0, 1), of.flatten())
    return rows.reshape(*of.shape, len(LIKELIHOODS))
