"""Scorers for tests of what is made of them: of any family, with heads that say something."""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from synthenticity.text.tokenization import load_tokenizer, special_ids, tokenizer_fingerprint
from synthenticity.training.sequence_scorer import SequenceScorer, SequenceScorerConfig

LINE = (1.0, 1.0, 0.25)
CURVE = (1.14, 0.95, 0.13)
"""A map as training makes it; no line."""


@dataclasses.dataclass(frozen=True)
class Saved:
    """A scorer in a folder."""

    path: Path
    model: SequenceScorer


def save_scorer(family: Path, folder: Path, **settings: Any) -> Saved:
    """Save a scorer with the encoder and tokenizer of a tiny checkpoint."""
    tokenizer = load_tokenizer(family)
    encoder = AutoConfig.from_pretrained(family)
    config = SequenceScorerConfig(
        encoder.to_dict(),
        special_token_ids=special_ids(tokenizer).tolist(),
        block_size=32,
        tokenizer=tokenizer_fingerprint(tokenizer),
        outside_ids=[tokenizer.pad_token_id, tokenizer.cls_token_id],
        **settings,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = SequenceScorer(config).eval()
    loud(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(str(folder))
    return Saved(folder, model)


@torch.no_grad()
def loud(model: SequenceScorer) -> None:
    """Make every head of a scorer, and its channels, say something clear, the same each time.

    Tokens are told apart by far, while the whole and its interval stay off 0 and 1, where a
    change of them could not be seen.
    """
    rng = torch.Generator().manual_seed(0)
    heads = (model.token_head, 0.4), (model.channel_head, 0.4)
    for head, std in (*heads, (model.cls_head, 0.1), (model.interval_head, 0.1)):
        if head is not None:
            torch.nn.init.normal_(head.weight, std=std, generator=rng)
    if model.enriched is not None:
        torch.nn.init.normal_(model.enriched.projection.weight, std=0.1, generator=rng)
