"""`CharDiffusionProvider`: masked windows for training a character MLM.

`input_ids` are the corrupted characters, `labels` the originals at the masked positions and -100
elsewhere. The corruption is BERT's 80/10/10 unless `corruption = "mask"`.
"""

from typing import Any

import numpy as np

from synthenticity.config import Config
from synthenticity.providers.base import DATA_SETTINGS, DataProviderBase
from synthenticity.providers.pools import open_split_pools
from synthenticity.stream.batch_file import Columns, narrowest_ids
from synthenticity.synthesis.masking import (
    apply_bert_style_corruption,
    choose_positions,
    choose_recipes,
)
from synthenticity.text.corpus import load_corpus
from synthenticity.text.tokenization import (
    build_character_tokenizer,
    load_tokenizer,
    special_ids,
    tokenizer_fingerprint,
)

IGNORED_LABEL = -100


class CharDiffusionProvider(DataProviderBase):
    """Makes MLM training data from the `mlm` pool of a corpus, one token a character."""

    settings = DATA_SETTINGS

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        documents = load_corpus(config.corpus)
        if config.init_from_checkpoint:
            self.tokenizer = load_tokenizer(config.init_from_checkpoint)
        else:
            texts = (document.text for document in documents)
            self.tokenizer = build_character_tokenizer(texts, block_size=config.block_size)
        self.recipes = config.mixture(untouched_share=0.0, all_filled_share=0.0)
        opened = open_split_pools(
            config,
            documents,
            self.tokenizer,
            train_pool="mlm",
            window=config.block_size,
            recipes=self.recipes,
        )
        self.pools, self.unknown_share = opened.pools, opened.unknown_share
        self._corpus_hash = opened.corpus_hash
        self.corruption = "bert" if config.corruption == "auto" else config.corruption
        self._special_ids = special_ids(self.tokenizer)
        self._ordinary_ids = np.setdiff1d(np.arange(len(self.tokenizer)), self._special_ids)

    def build_meta(self) -> dict[str, Any]:
        """Describe the batches: `(X, Y)` of the same shape."""
        shape = [self.config.block_size]
        ids = narrowest_ids(len(self.tokenizer))
        labels = "int16" if len(self.tokenizer) < 2**15 else "int32"
        return {
            "dataset_name": "char_diffusion",
            "training_type": "MLM",
            "vocab_size": len(self.tokenizer),
            "cls_token_id": int(self.tokenizer.cls_token_id),
            "batch_schema": [
                _column("input_ids", "int64", shape, "input", ids),
                _column("labels", "int64", shape, "target", labels),
                _column("mask_ratio", "float32", [], "info", "float32"),
                _column("document", "str", [], "info", "str"),
                _column("offset", "int64", [], "info", "uint32"),
                _column("recipe", "str", [], "info", "str"),
            ],
        }

    def made_with(self) -> dict[str, Any]:
        """Return the hashes and the masking that decide the content."""
        return {
            "corpus_hash": self._corpus_hash,
            "tokenizer": tokenizer_fingerprint(self.tokenizer),
            "recipes": [recipe.to_json() for recipe in self.recipes],
            "corruption": self.corruption,
        }

    def sample_batch(self, split: str, rng: np.random.Generator) -> Columns:
        """Return corrupted windows and the labels of their masked positions."""
        windows = self.pools[split].sample_windows(rng, self.config.batch_size)
        index, ratios = choose_recipes(self.recipes, self.config.batch_size, rng)
        maskable = ~np.isin(windows.ids, self._special_ids) & ~windows.protected
        mask = choose_positions(self.recipes, index, ratios, maskable, rng, units=windows.units)
        if self.corruption == "bert":
            inputs, _ = apply_bert_style_corruption(
                windows.ids,
                mask,
                mask_token_id=self.tokenizer.mask_token_id,
                ordinary_ids=self._ordinary_ids,
                rng=rng,
            )
        else:
            inputs = np.where(mask, self.tokenizer.mask_token_id, windows.ids)
        return {
            "input_ids": inputs,
            "labels": np.where(mask, windows.ids, IGNORED_LABEL),
            "mask_ratio": (mask.sum(axis=1) / maskable.sum(axis=1).clip(min=1)).astype(np.float32),
            "document": np.array(windows.documents),
            "offset": windows.offsets,
            "recipe": np.array([recipe.name for recipe in self.recipes])[index],
        }


def _column(name: str, dtype: str, shape: list[int], role: str, stored: str) -> dict[str, Any]:
    return {"name": name, "dtype": dtype, "shape": shape, "role": role, "stored": stored}
