"""Tiny random checkpoints of the model families that a hub holds, built on the spot.

Two layers, width 32, 128 positions, a few hundred tokens, saved as a hub checkpoint looks
(config.json, model.safetensors, tokenizer.json). Traps of the real ones are kept: RoBERTa's
positions begin behind the padding id (130 for 128 tokens), ModernBERT and DeBERTa-v2 have more
rows in their embedding than their tokenizer has tokens, and mask tokens eat the space before them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

from families import vocabularies
from families.vocabularies import LENGTH

SIZE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": LENGTH,
    "initializer_range": 0.3,  # clear preferences
}
BEHIND_PADDING = SIZE | {"max_position_embeddings": LENGTH + 2, "type_vocab_size": 1}
RELATIVE = SIZE | {
    "relative_attention": True,
    "pos_att_type": ["c2p", "p2c"],
    "position_biased_input": False,
    "type_vocab_size": 0,
}


@dataclass(frozen=True)
class Family:
    """A kind of checkpoint: tokenizer, architecture, and the rows its embedding has to spare."""

    tokenizer: Callable[[], Any]
    model_type: str
    size: Mapping[str, Any] = field(default_factory=lambda: SIZE)
    spare_rows: int = 0
    causal: bool = False


FAMILIES = {
    "bert-cased": Family(lambda: vocabularies.bert(cased=True), "bert"),
    "bert-uncased": Family(lambda: vocabularies.bert(cased=False), "bert"),
    "bert-characters": Family(vocabularies.bert_of_characters, "bert"),
    "distilbert": Family(
        lambda: vocabularies.bert(cased=False),
        "distilbert",
        {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48}
        | {"max_position_embeddings": LENGTH, "initializer_range": 0.3},
    ),
    "electra": Family(
        lambda: vocabularies.bert(cased=False), "electra", SIZE | {"embedding_size": 16}
    ),
    "roberta": Family(vocabularies.roberta, "roberta", BEHIND_PADDING),
    "modernbert": Family(
        vocabularies.modernbert, "modernbert", SIZE | {"local_attention": 16}, spare_rows=16
    ),
    "albert": Family(vocabularies.albert, "albert", SIZE | {"embedding_size": 16}),
    "xlm-roberta": Family(vocabularies.xlm_roberta, "xlm-roberta", BEHIND_PADDING),
    "deberta": Family(vocabularies.deberta, "deberta", RELATIVE),
    "deberta-v2": Family(
        vocabularies.deberta_v2,
        "deberta-v2",
        RELATIVE | {"position_buckets": 16, "share_att_key": True, "norm_rel_ebd": "layer_norm"},
        spare_rows=9,
    ),
    "mmbert": Family(vocabularies.mmbert, "modernbert", SIZE | {"local_attention": 16}),
    "gpt2": Family(
        vocabularies.gpt2,
        "gpt2",
        {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": LENGTH, "initializer_range": 0.3},
        causal=True,
    ),
    "llama": Family(vocabularies.llama_3, "llama", SIZE, causal=True),
}
MASKED = [name for name, family in FAMILIES.items() if not family.causal]
CAUSAL = [name for name, family in FAMILIES.items() if family.causal]
SPECIAL_IDS = ("pad", "bos", "eos", "cls", "sep")


def build_family(name: str, folder: Path) -> Path:
    """Save a checkpoint of a family into a folder, and return the folder."""
    family = FAMILIES[name]
    tokenizer = family.tokenizer()
    ids = {f"{kind}_token_id": getattr(tokenizer, f"{kind}_token_id") for kind in SPECIAL_IDS}
    config = AutoConfig.for_model(
        family.model_type, vocab_size=len(tokenizer) + family.spare_rows, **ids, **family.size
    )
    auto = AutoModelForCausalLM if family.causal else AutoModelForMaskedLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        auto.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
