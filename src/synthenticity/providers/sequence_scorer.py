"""`SequenceScorerProvider`: human windows, partly rewritten by a model, with the exact truth.

Each sequence is [CLS] and at most `block_size - 1` tokens. Masks are filled in one model call a
batch. `targets` is what the trainer regresses on; `token_labels` the truth of every token.
"""

from typing import Any

import numpy as np

from synthenticity.config import Config
from synthenticity.errors import ConfigError
from synthenticity.providers.base import DATA_SETTINGS, SteppedProvider, column
from synthenticity.providers.filled_windows import FilledIds, FilledTexts, FilledWindows
from synthenticity.providers.pools import open_corpus, open_split_pools
from synthenticity.stream.batch_file import Columns, narrowest_ids
from synthenticity.synthesis.filling import Filler
from synthenticity.synthesis.filling_model import FillingModel
from synthenticity.synthesis.synthetic_generation import fraction_labelled
from synthenticity.synthesis.token_labels import REPLACED_TOKEN, RESTORED_TOKEN
from synthenticity.text.token_pool import Windows
from synthenticity.text.tokenization import (
    check_cls_token_id,
    is_character_level,
    load_tokenizer,
    tokenizer_fingerprint,
)

UNTOUCHED_SHARE, ALL_FILLED_SHARE = 0.15, 0.05
"""Without untouched text in training, human text scores far above 0 (docs/benchmarks.md)."""


class SequenceScorerProvider(SteppedProvider):
    """Makes scorer training data from the `scorer` pool of a corpus.

    Args:
        config: the settings; `mlm_checkpoint_path` names the filling model, unless every recipe
            names its own.
        mlm_engine: a filling model in place of the one at `mlm_checkpoint_path`.

    """

    settings = (*DATA_SETTINGS, "target")

    def __init__(self, config: Config, mlm_engine: FillingModel | None = None) -> None:
        super().__init__(config)
        self.recipes = config.mixture(
            untouched_share=UNTOUCHED_SHARE, all_filled_share=ALL_FILLED_SHARE
        )
        if (
            mlm_engine is None
            and config.mlm_checkpoint_path is None
            and any(recipe.mlm_checkpoint_path is None for recipe in self.recipes)
        ):
            raise ConfigError(
                "mlm_checkpoint_path: not set. Scorer data need a filling model; train one with "
                "synthenticity train configs/char_mlm.toml --out_dir runs/mlm"
            )
        corpus = open_corpus(config)
        self.filler = Filler.from_config(
            config, recipes=self.recipes, batch_size=config.batch_size, engine=mlm_engine
        )
        first = next(iter(self.filler.models.values()))
        self.tokenizer = (
            load_tokenizer(config.tokenizer) if config.tokenizer else first.engine.tokenizer
        )
        self.cls_token_id = check_cls_token_id(self.tokenizer, config.cls_token_id)
        self.corruption = "mask" if config.corruption == "auto" else config.corruption
        self.windows: FilledWindows
        if is_character_level(self.tokenizer) and self._one_tokenizer():
            first.engine.check_length(config.block_size - 1)
            self.windows = FilledIds(first, self.recipes, config.block_size, self.corruption)
        else:
            self.windows = FilledTexts(
                self.filler, self.tokenizer, config.block_size, self.corruption
            )
        opened = open_split_pools(
            config,
            corpus,
            self.tokenizer,
            train_pool="scorer",
            window=self.windows.tokens_needed,
            recipes=self.recipes,
        )
        self.pools, self.unknown_share = opened.pools, opened.unknown_share
        self._corpus_hash = opened.corpus_hash

    def _one_tokenizer(self) -> bool:
        """Whether one model fills everything, with the scorer's own tokenizer."""
        models = list(self.filler.models.values())
        own = tokenizer_fingerprint(self.tokenizer)
        return len(models) == 1 and tokenizer_fingerprint(models[0].engine.tokenizer) == own

    @property
    def readings_spared(self) -> int:
        """How many readings by the filling models were spared."""
        return self.filler.readings_spared

    def build_meta(self) -> dict[str, Any]:
        """Describe the batches: ids in; the target and the token labels as truth."""
        return scorer_meta("sequence_scorer", self.config, self.tokenizer, self.windows.schema())

    def made_with(self) -> dict[str, Any]:
        """Return the hashes, the masking, the models and the arithmetic that decide the content."""
        return {
            **self.filler.made_with(),
            "corpus_hash": self._corpus_hash,
            "tokenizer": tokenizer_fingerprint(self.tokenizer),
            "corruption": self.corruption,
        }

    def draw_batch(self, split: str, rng: np.random.Generator) -> tuple[Windows, Any]:
        """Draw windows, and what of them is masked."""
        windows = self.pools[split].sample_windows(rng, self.config.batch_size)
        return windows, self.windows.draw(windows, rng)

    def fill_batch(self, drawn: tuple[Windows, Any]) -> tuple[Windows, Any]:
        """Let the filling model write."""
        windows, masked = drawn
        return windows, self.windows.fill(masked)

    def label_batch(self, filled: tuple[Windows, Any]) -> Columns:
        """Return filled windows with [CLS] in front, their truth and where they come from."""
        windows, written = filled
        made = self.windows.label(written)
        return with_truth(made, windows.documents, windows.offsets, self.config.target)


def scorer_meta(
    dataset_name: str, config: Config, tokenizer: Any, columns: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the plan's meta keys of scorer data: ids in; the target and the labels as truth.

    `columns` are what a provider gives beside those of all.
    """
    length = [config.block_size]
    ids = narrowest_ids(len(tokenizer))
    return {
        "dataset_name": dataset_name,
        "training_type": "SEQUENCE_SCORING",
        "vocab_size": len(tokenizer),
        "cls_token_id": int(tokenizer.cls_token_id),
        "target": config.target,
        "batch_schema": [
            column("input_ids", "int64", length, "input", ids),
            column("targets", "float32", [], "target", "float32"),
            column("token_labels", "int64", length, "target", "int8"),
            column("synthenticity", "float32", [], "info", "float32"),
            column("replaced_fraction", "float32", [], "info", "float32"),
            *columns,
            column("document", "str", [], "info", "str"),
            column("offset", "int64", [], "info", "uint32"),
        ],
    }


def with_truth(made: Columns, documents: list[str], offsets: Any, target: str) -> Columns:
    """Return labelled sequences with the truth about each as a whole, and where it comes from."""
    labels = made["token_labels"]
    synthenticity = fraction_labelled(labels, (RESTORED_TOKEN, REPLACED_TOKEN))
    return {
        **made,
        "targets": 1 - synthenticity if target == "authenticity" else synthenticity,
        "synthenticity": synthenticity,
        "replaced_fraction": fraction_labelled(labels, (REPLACED_TOKEN,)),
        "document": np.array(documents),
        "offset": offsets,
    }
