"""`MarkovProvider`: scorer data of a source that is known exactly, to test a scorer by.

The source is a Markov chain with the neighbours of the corpus's characters, and the perfect filling
model of it writes the masks. What can be known of such a text is known (`evaluation.limits`), so a
scorer that is better has seen the answers.
"""

from typing import Any

import numpy as np

from synthenticity.config import Config
from synthenticity.errors import ConfigError
from synthenticity.providers.base import DataProviderBase
from synthenticity.providers.filled_windows import filled_ids_columns, filled_ids_schema
from synthenticity.providers.pools import open_corpus
from synthenticity.providers.sequence_scorer import (
    ALL_FILLED_SHARE,
    UNTOUCHED_SHARE,
    scorer_meta,
    with_truth,
)
from synthenticity.recipe import Recipe
from synthenticity.stream.batch_file import Columns
from synthenticity.synthesis.markov_source import MarkovSource
from synthenticity.synthesis.masking import choose_positions, choose_recipes
from synthenticity.synthesis.synthetic_generation import mask_ids
from synthenticity.text.corpus import Corpus
from synthenticity.text.tokenization import (
    build_character_tokenizer,
    encode,
    special_ids,
    tokenizer_fingerprint,
)

FILLED_BY = "the chain itself"


def chain_of(corpus: Corpus, *, block_size: int) -> tuple[Any, MarkovSource]:
    """Return a tokenizer of a corpus's characters, and their chain, whose states are the
    tokenizer's ordinary tokens in order.
    """
    tokenizer = build_character_tokenizer([corpus.alphabet], block_size=block_size)
    first = len(special_ids(tokenizer))
    texts = (encode(tokenizer, text) - first for text in corpus.texts)
    return tokenizer, MarkovSource.fitted(texts, len(tokenizer) - first)


class MarkovProvider(DataProviderBase):
    """Makes scorer training data of a Markov chain with the perfect filling model.

    Args:
        config: the settings; the chain is that of all characters of the corpus.

    Attributes:
        source: the chain, over the tokenizer's ordinary tokens.
        first_id: of these, in the tokenizer.
        recipes: the mixture.

    Raises:
        ConfigError: masks or sampling for which the limit is not known.

    """

    settings = ("block_size", "batch_size", "batches_per_file", "seed", "target")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.recipes = config.mixture(
            untouched_share=UNTOUCHED_SHARE, all_filled_share=ALL_FILLED_SHARE
        )
        for recipe in self.recipes:
            if Recipe(ratio=recipe.ratio, weight=recipe.weight) != recipe:
                raise ConfigError(
                    f"recipes: {recipe.name!r} has no known limit. For dataset = 'markov', set "
                    "ratios and weights only."
                )
        corpus = open_corpus(config)
        self.tokenizer, self.source = chain_of(corpus, block_size=config.block_size)
        self.first_id = len(special_ids(self.tokenizer))
        self._corpus_hash = corpus.hash

    def build_meta(self) -> dict[str, Any]:
        """Describe the batches: those of scorer data."""
        schema = filled_ids_schema(self.tokenizer, self.config.block_size)
        return scorer_meta("markov", self.config, self.tokenizer, schema)

    def made_with(self) -> dict[str, Any]:
        """Return the corpus, the tokenizer and the mixture."""
        return {
            "corpus_hash": self._corpus_hash,
            "tokenizer": tokenizer_fingerprint(self.tokenizer),
            "recipes": [recipe.to_json() for recipe in self.recipes],
        }

    def sample_batch(self, split: str, rng: np.random.Generator) -> Columns:
        """Draw texts, masks and what the chain writes there; each text is its own document."""
        config = self.config
        original = self.source.sample(config.batch_size, config.block_size - 1, rng)
        index, ratios = choose_recipes(self.recipes, len(original), rng)
        everywhere = np.ones(original.shape, dtype=bool)
        mask = choose_positions(self.recipes, index, ratios, everywhere, rng)
        ids = original + self.first_id
        masked = mask_ids(ids, mask, special_ids(self.tokenizer), rng)
        filled = self.source.fill(original, mask, rng) + self.first_id
        made = filled_ids_columns(
            masked.labelled(filled),
            ids,
            self.tokenizer,
            config.block_size,
            recipes=[self.recipes[number].name for number in index],
            model=FILLED_BY,
        )
        names = [f"chain {key:016x}" for key in masked.keys]
        return with_truth(made, names, np.zeros(len(names), dtype=np.int64), config.target)
