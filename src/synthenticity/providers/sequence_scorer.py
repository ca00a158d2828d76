"""`SequenceScorerProvider`: human windows, partly rewritten by an MLM, with the exact truth.

Each sequence is [CLS] and `block_size - 1` tokens. Masks are filled in one model call a batch.
`targets` is what the trainer regresses on; `token_labels` the truth of every token.
"""

from pathlib import Path
from typing import Any

import numpy as np

from synthenticity.config import Config
from synthenticity.errors import ConfigError
from synthenticity.providers.base import DATA_SETTINGS, DataProviderBase
from synthenticity.providers.pools import open_split_pools
from synthenticity.stream.batch_file import Columns, narrowest_ids
from synthenticity.synthesis.checkpoints import load_mlm_tokenizer
from synthenticity.synthesis.masking import choose_positions, choose_recipes
from synthenticity.synthesis.mlm_inference import MLMInferenceEngine
from synthenticity.synthesis.synthetic_generation import (
    NOT_COUNTED,
    add_cls_token,
    create_synthetic_text,
)
from synthenticity.text.corpus import load_corpus
from synthenticity.text.tokenization import (
    check_cls_token_id,
    special_ids,
    tokenizer_fingerprint,
)

UNTOUCHED_SHARE, ALL_FILLED_SHARE = 0.15, 0.05
"""Without untouched text in training, human text scores far above 0 (docs/benchmarks.md)."""


class SequenceScorerProvider(DataProviderBase):
    """Makes scorer training data from the `scorer` pool of a corpus.

    Args:
        config: the settings; `mlm_checkpoint_path` names the filling model.
        mlm_engine: a filling model in place of the one at `mlm_checkpoint_path`.

    """

    settings = (*DATA_SETTINGS, "target")

    def __init__(self, config: Config, mlm_engine: Any = None) -> None:
        super().__init__(config)
        path = config.mlm_checkpoint_path
        if mlm_engine is None and path is None:
            raise ConfigError(
                "mlm_checkpoint_path: not set. Scorer data need a filling model; train one with "
                "synthenticity train configs/char_mlm.toml --out_dir runs/mlm"
            )
        documents = load_corpus(config.corpus)
        self.tokenizer = mlm_engine.tokenizer if mlm_engine else load_mlm_tokenizer(str(path))
        self.cls_token_id = check_cls_token_id(self.tokenizer, config.cls_token_id)
        self.recipes = config.mixture(
            untouched_share=UNTOUCHED_SHARE, all_filled_share=ALL_FILLED_SHARE
        )
        opened = open_split_pools(
            config,
            documents,
            self.tokenizer,
            train_pool="scorer",
            window=config.block_size - 1,
            recipes=self.recipes,
        )
        self.pools, self.unknown_share = opened.pools, opened.unknown_share
        self._corpus_hash = opened.corpus_hash
        self.corruption = "mask" if config.corruption == "auto" else config.corruption
        self.mlm_engine = mlm_engine or MLMInferenceEngine.from_pretrained(
            str(path), device=config.device, dtype=config.dtype
        )
        self.mlm_engine.check_length(config.block_size - 1)
        self._mlm_fingerprint = self.mlm_engine.fingerprint
        self._mlm_name = Path(self.mlm_engine.name).name
        special = special_ids(self.tokenizer)
        self._ordinary_ids = np.setdiff1d(np.arange(len(self.tokenizer)), special)

    def build_meta(self) -> dict[str, Any]:
        """Describe the batches: ids in; the target and the token labels as truth."""
        length = [self.config.block_size]
        ids = narrowest_ids(len(self.tokenizer))
        columns = [
            ("input_ids", "int64", length, "input", ids),
            ("targets", "float32", [], "target", "float32"),
            ("token_labels", "int64", length, "target", "int8"),
            ("synthenticity", "float32", [], "info", "float32"),
            ("replaced_fraction", "float32", [], "info", "float32"),
            ("original_ids", "int64", length, "info", ids),
            ("document", "str", [], "info", "str"),
            ("offset", "int64", [], "info", "uint32"),
            ("recipe", "str", [], "info", "str"),
            ("mlm", "str", [], "info", "str"),
        ]
        keys = ("name", "dtype", "shape", "role", "stored")
        return {
            "dataset_name": "sequence_scorer",
            "training_type": "SEQUENCE_SCORING",
            "vocab_size": len(self.tokenizer),
            "cls_token_id": self.cls_token_id,
            "target": self.config.target,
            "batch_schema": [dict(zip(keys, column, strict=True)) for column in columns],
        }

    def made_with(self) -> dict[str, Any]:
        """Return the hashes, the masking and the arithmetic that decide the content."""
        return {
            "corpus_hash": self._corpus_hash,
            "tokenizer": tokenizer_fingerprint(self.tokenizer),
            "recipes": [recipe.to_json() for recipe in self.recipes],
            "corruption": self.corruption,
            "mlm": f"{self._mlm_name}@{self._mlm_fingerprint}",
            "arithmetic": self.mlm_engine.arithmetic,
        }

    def sample_batch(self, split: str, rng: np.random.Generator) -> Columns:
        """Return filled windows with [CLS] in front, their truth and where they come from."""
        config, size = self.config, self.config.batch_size
        windows = self.pools[split].sample_windows(rng, size)
        index, ratios = choose_recipes(self.recipes, size, rng)
        maskable = ~np.isin(windows.ids, self.mlm_engine.special_ids) & ~windows.protected
        text = create_synthetic_text(
            windows.ids,
            choose_positions(self.recipes, index, ratios, maskable, rng, units=windows.units),
            self.mlm_engine,
            rng,
            corruption=self.corruption,
            ordinary_ids=self._ordinary_ids,
            temperature=np.array([r.temperature for r in self.recipes])[index],
            top_k=np.array([r.top_k or 0 for r in self.recipes])[index],
            top_p=np.array([1.0 if r.top_p is None else r.top_p for r in self.recipes])[index],
        )
        pad, cls, block = self.tokenizer.pad_token_id, self.cls_token_id, config.block_size
        synthenticity = text.synthenticity
        authentic = config.target == "authenticity"
        mlm = f"{self._mlm_name}@{self._mlm_fingerprint[:12]}"
        return {
            "input_ids": add_cls_token(text.ids, cls, block, pad),
            "targets": 1 - synthenticity if authentic else synthenticity,
            "token_labels": add_cls_token(text.token_labels, NOT_COUNTED, block, NOT_COUNTED),
            "synthenticity": synthenticity,
            "replaced_fraction": text.replaced_fraction,
            "original_ids": add_cls_token(windows.ids, cls, block, pad),
            "document": np.array(windows.documents),
            "offset": windows.offsets,
            "recipe": np.array([recipe.name for recipe in self.recipes])[index],
            "mlm": np.full(size, mlm),
        }
