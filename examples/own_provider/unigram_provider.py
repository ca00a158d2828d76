"""A provider of one's own: text in which some characters are drawn by frequency alone.

    pip install -e examples/own_provider
    synthenticity prepare configs/tiny.toml --dataset unigram --out-dir data/unigram --files 2

It names its columns as the built-in scorer data do, so `train` and `inspect` take its files, too.
"""

from typing import Any

import numpy as np

from synthenticity import Config, DataProviderBase, add_cls_token, create_synthetic_text
from synthenticity.providers.pools import open_corpus, open_split_pools
from synthenticity.synthesis.masking import choose_positions, choose_recipes
from synthenticity.text.tokenization import build_character_tokenizer, special_ids

NOT_COUNTED = -100


class UnigramFiller:
    """Writes characters by their frequency, without looking at the text around."""

    def __init__(self, tokenizer: Any, frequencies: np.ndarray) -> None:
        self.mask_token_id = tokenizer.mask_token_id
        self.special_ids = special_ids(tokenizer)
        self._shares = frequencies / frequencies.sum()

    def predict_masked_tokens(
        self, input_ids: Any, mask_positions: Any, *, sequence_keys: Any, **_sampling: Any
    ) -> np.ndarray:
        """Fill each row from its own key, so that a row does not depend on its neighbours."""
        filled = np.array(input_ids)
        for row, key in enumerate(sequence_keys):
            count = int(mask_positions[row].sum())
            rng = np.random.default_rng(int(key))
            filled[row, mask_positions[row]] = rng.choice(len(self._shares), count, p=self._shares)
        return filled


class UnigramProvider(DataProviderBase):
    """Scorer data whose filler knows the alphabet and nothing else."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        corpus = open_corpus(config)
        self.tokenizer = build_character_tokenizer([corpus.alphabet], block_size=config.block_size)
        self.recipes = config.mixture(untouched_share=0.15, all_filled_share=0.05)
        opened = open_split_pools(
            config,
            corpus,
            self.tokenizer,
            train_pool="scorer",
            window=config.block_size - 1,
            recipes=self.recipes,
        )
        self.pools, self._corpus_hash = opened.pools, opened.corpus_hash
        sample = self.pools["train"].sample_windows(np.random.default_rng(config.seed), 1000)
        counts = np.bincount(sample.ids.ravel(), minlength=len(self.tokenizer)).astype(float)
        counts[special_ids(self.tokenizer)] = 0
        self.filler = UnigramFiller(self.tokenizer, counts)

    def build_meta(self) -> dict[str, Any]:
        """Describe the batches: ids in, the ratio and the labels as truth."""
        length = [self.config.block_size]
        return {
            "dataset_name": "unigram",
            "training_type": "SEQUENCE_SCORING",
            "vocab_size": len(self.tokenizer),
            "cls_token_id": self.tokenizer.cls_token_id,
            "batch_schema": [
                {"name": "input_ids", "dtype": "int64", "shape": length, "role": "input"},
                {"name": "targets", "dtype": "float32", "shape": [], "role": "target"},
                {"name": "token_labels", "dtype": "int64", "shape": length, "role": "target"},
                {"name": "original_ids", "dtype": "int64", "shape": length, "role": "info"},
            ],
        }

    def made_with(self) -> dict[str, Any]:
        """Name what decides the content beside the settings."""
        return {"corpus_hash": self._corpus_hash, "recipes": [r.to_json() for r in self.recipes]}

    def sample_batch(self, split: str, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Return one batch; all chance comes from `rng`."""
        windows = self.pools[split].sample_windows(rng, self.config.batch_size)
        index, ratios = choose_recipes(self.recipes, self.config.batch_size, rng)
        maskable = ~np.isin(windows.ids, self.filler.special_ids) & ~windows.protected
        mask = choose_positions(self.recipes, index, ratios, maskable, rng, units=windows.units)
        text = create_synthetic_text(windows.ids, mask, self.filler, rng)
        cls, pad = self.tokenizer.cls_token_id, self.tokenizer.pad_token_id
        size = self.config.block_size
        return {
            "input_ids": add_cls_token(text.ids, cls, size, pad),
            "targets": text.synthenticity,
            "token_labels": add_cls_token(text.token_labels, NOT_COUNTED, size, NOT_COUNTED),
            "original_ids": add_cls_token(windows.ids, cls, size, pad),
        }
