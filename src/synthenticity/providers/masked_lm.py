"""`MaskedLMProvider`: masked windows for training a masked language model with its own tokenizer.

The tokenizer is that of `init_from_checkpoint`, and a window is framed as that tokenizer frames a
text ([CLS] ... [SEP], say): `block_size` counts the frame, which is never masked. `input_ids` are
the corrupted tokens, `labels` the originals at the masked positions and -100 elsewhere. The
corruption is BERT's 80/10/10 unless `corruption = "mask"`.
"""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from synthenticity.config import Config
from synthenticity.errors import ConfigError, ModelError
from synthenticity.providers.base import DATA_SETTINGS, DataProviderBase, column
from synthenticity.providers.pools import open_corpus, open_split_pools
from synthenticity.stream.batch_file import Columns, narrowest_ids
from synthenticity.synthesis.checkpoints import find_checkpoint
from synthenticity.synthesis.masking import (
    apply_bert_style_corruption,
    choose_positions,
    choose_recipes,
)
from synthenticity.text.corpus import Corpus
from synthenticity.text.tokenization import (
    check_cls_token_id,
    frame_ids,
    special_ids,
    tokenizer_fingerprint,
)

IGNORED_LABEL = -100


class MaskedLMProvider(DataProviderBase):
    """Makes MLM training data from the `mlm` pool of a corpus."""

    settings = DATA_SETTINGS
    dataset_name: ClassVar[str] = "masked_lm"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        corpus = open_corpus(config)
        self.tokenizer = self.open_tokenizer(corpus)
        self.cls_token_id = check_cls_token_id(self.tokenizer, config.cls_token_id)
        self.frame = frame_ids(self.tokenizer)
        self.recipes = config.mixture(untouched_share=0.0, all_filled_share=0.0)
        opened = open_split_pools(
            config,
            corpus,
            self.tokenizer,
            train_pool="mlm",
            window=self._window_length(),
            recipes=self.recipes,
        )
        self.pools, self.unknown_share = opened.pools, opened.unknown_share
        self._corpus_hash = opened.corpus_hash
        self.corruption = "bert" if config.corruption == "auto" else config.corruption
        self._special_ids = special_ids(self.tokenizer)
        self._ordinary_ids = np.setdiff1d(np.arange(len(self.tokenizer)), self._special_ids)

    def open_tokenizer(self, _corpus: Corpus) -> Any:
        """Return the tokenizer of the checkpoint that training starts from.

        Raises:
            ConfigError: no checkpoint is named.
            ModelError: it has no fast tokenizer with a mask token.

        """
        if self.config.init_from_checkpoint is None:
            raise ConfigError(
                f"init_from_checkpoint: not set, and dataset = {self.dataset_name!r} takes its "
                "tokenizer from there. Name the model to train, or use char_diffusion."
            )
        tokenizer = find_checkpoint(self.config.init_from_checkpoint).tokenizer
        if tokenizer.mask_token_id is None:
            raise ModelError(
                f"{self.config.init_from_checkpoint}: its tokenizer has no mask token, so it "
                "cannot learn to fill. Give an encoder or a masked language model."
            )
        return tokenizer

    def _window_length(self) -> int:
        """Return how many tokens of text a sequence holds."""
        before, after = self.frame
        length = self.config.block_size - len(before) - len(after)
        if length < 1:
            around = self.tokenizer.decode([*before, *after])
            raise ConfigError(
                f"block_size: {self.config.block_size} leaves no room for text beside {around}. "
                f"Set it to {self.config.block_size - length + 1} at least."
            )
        return length

    def build_meta(self) -> dict[str, Any]:
        """Describe the batches: `(X, Y)` of the same shape."""
        shape = [self.config.block_size]
        ids = narrowest_ids(len(self.tokenizer))
        labels = "int16" if len(self.tokenizer) < 2**15 else "int32"
        return {
            "dataset_name": self.dataset_name,
            "training_type": "MLM",
            "vocab_size": len(self.tokenizer),
            "cls_token_id": self.cls_token_id,
            "batch_schema": [
                column("input_ids", "int64", shape, "input", ids),
                column("labels", "int64", shape, "target", labels),
                column("mask_ratio", "float32", [], "info", "float32"),
                column("document", "str", [], "info", "str"),
                column("offset", "int64", [], "info", "uint32"),
                column("recipe", "str", [], "info", "str"),
            ],
        }

    def made_with(self) -> dict[str, Any]:
        """Return the hashes, the frame and the masking that decide the content."""
        framed = any(self.frame)
        return {
            "corpus_hash": self._corpus_hash,
            "tokenizer": tokenizer_fingerprint(self.tokenizer),
            **({"frame": [list(ids) for ids in self.frame]} if framed else {}),
            "recipes": [recipe.to_json() for recipe in self.recipes],
            "corruption": self.corruption,
        }

    def sample_batch(self, split: str, rng: np.random.Generator) -> Columns:
        """Return corrupted windows in their frame and the labels of their masked positions."""
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
        labels = np.where(mask, windows.ids, IGNORED_LABEL)
        return {
            "input_ids": self._framed(inputs, windows.lengths, self.tokenizer.pad_token_id),
            "labels": self._framed(labels, windows.lengths, IGNORED_LABEL, ignored=True),
            "mask_ratio": (mask.sum(axis=1) / maskable.sum(axis=1).clip(min=1)).astype(np.float32),
            "document": np.array(windows.documents),
            "offset": windows.offsets,
            "recipe": np.array([recipe.name for recipe in self.recipes])[index],
        }

    def _framed(
        self,
        rows: NDArray[np.int64],
        lengths: NDArray[np.int64],
        fill_value: int,
        *,
        ignored: bool = False,
    ) -> NDArray[np.int64]:
        """Put the frame around the `lengths` `[rows]` first tokens of every row."""
        before, after = self.frame
        count, length = rows.shape
        framed = np.full((count, len(before) + length + len(after)), fill_value, dtype=np.int64)
        framed[:, len(before) : len(before) + length] = rows
        if not ignored:
            framed[:, : len(before)] = before
            places = len(before) + lengths[:, None] + np.arange(len(after))
            framed[np.arange(count)[:, None], places] = after
        return framed
