"""The models on which filling is measured, with random weights, and the rows that they fill.

Speed does not depend on what a model has learnt. The shapes are those that people have: S a
character model, M a small model of word pieces, L is BERT-base.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthenticity.text.tokenization import SPECIAL_TOKENS

SMALL = {"hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536}
WORDS = {"num_hidden_layers": 6, "vocab_size": 30_522}


@dataclass(frozen=True)
class Shape:
    """A BERT of so many layers, and rows of so many tokens, filled `rows` at a call."""

    name: str
    config: dict[str, int]
    length: int
    rows: int
    rounds: int
    rows_on_gpu: int = 1024
    special: int = field(default=len(SPECIAL_TOKENS), init=False)

    @property
    def words(self) -> str:
        """What it is, in words."""
        config = self.config
        return (
            f"{self.name}: {config['num_hidden_layers']} layers of {config['hidden_size']}, "
            f"vocabulary {config['vocab_size']:,}, length {self.length}"
        )

    @property
    def operations_a_token(self) -> int:
        """Operations of the encoder's matrix products and attention, for each token of a row."""
        width, inner = self.config["hidden_size"], self.config["intermediate_size"]
        products = 2 * 4 * width**2 + 2 * 2 * width * inner
        attention = 2 * 2 * self.length * width
        return self.config["num_hidden_layers"] * (products + attention)


BASE = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
TINY = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 256}
SHAPES = {
    "S": Shape("S", SMALL | {"num_hidden_layers": 6, "vocab_size": 96}, 256, rows=64, rounds=5),
    "M": Shape("M", SMALL | WORDS, 128, rows=64, rounds=5),
    "L": Shape("L", BASE | WORDS | {"num_hidden_layers": 12}, 128, rows=32, rounds=3),
    "tiny": Shape("tiny", TINY | {"num_hidden_layers": 2, "vocab_size": 96}, 128, 16, rounds=3),
}
MEASURED = ("S", "M", "L")


@dataclass(frozen=True)
class Batch:
    """Rows to fill: ids and mask `[rows, length]`, a noise key for each."""

    ids: NDArray[np.int64]
    mask: NDArray[np.bool_]
    keys: NDArray[np.int64]

    @property
    def filled(self) -> int:
        """How many tokens are filled."""
        return int(self.mask.sum())


def draw_batch(shape: Shape, ratio: float, seed: int, rows: int, length: int = 0) -> Batch:
    """Return rows that no other seed gives, so that nobody can remember them."""
    rng = np.random.default_rng([seed, round(100 * ratio)])
    size = (rows, length or shape.length)
    ids = rng.integers(shape.special, shape.config["vocab_size"], size)
    return Batch(ids, rng.random(size) < ratio, rng.integers(2**62, size=rows))


def save_model(shape: Shape, folder: Path) -> Path:
    """Save a model with random weights and a tokenizer of words w4, w5, ... into a folder."""
    import torch
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(0)
    config = BertConfig(**shape.config, max_position_embeddings=512)
    BertForMaskedLM(config).save_pretrained(folder)
    _tokenizer(shape).save_pretrained(folder)
    return folder


def _tokenizer(shape: Shape) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = list(SPECIAL_TOKENS.values())
    words += [f"w{number}" for number in range(len(words), shape.config["vocab_size"])]
    vocabulary = {word: number for number, word in enumerate(words)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.decoder = decoders.WordPiece(prefix="##")
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=512, **SPECIAL_TOKENS)
