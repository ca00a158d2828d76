"""The splits of a run: which pool of the corpus feeds which split, as tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from synthenticity.config import Config
from synthenticity.recipe import Recipe
from synthenticity.text.corpus import Corpus, load_corpus
from synthenticity.text.reading import CorpusSource
from synthenticity.text.splits import split_pools
from synthenticity.text.token_pool import TokenPool
from synthenticity.text.tokenization import check_unknown
from synthenticity.text.units import UNITS


@dataclass(frozen=True)
class SplitPools:
    """The token pool of each split, and what the corpus was."""

    pools: dict[str, TokenPool]
    corpus_hash: str
    unknown_share: float


def open_corpus(config: Config) -> Corpus:
    """Read and store the corpus that a config names.

    Raises:
        CorpusError: it cannot be used; see `read_documents`.

    """
    return load_corpus(CorpusSource.from_config(config))


def open_split_pools(
    config: Config,
    corpus: Corpus,
    tokenizer: Any,
    *,
    train_pool: str,
    window: int,
    recipes: Sequence[Recipe] = (),
) -> SplitPools:
    """Cut the corpus; `train` is fed by `train_pool`, `val` and `test` by their own.

    The windows come with what the patterns of `recipes` need to know of the text.

    Raises:
        CorpusError: too few documents, or too many unknown characters.

    """
    share = check_unknown(corpus.texts.character_counts, tokenizer, config.max_unknown_share)
    pools = split_pools(
        corpus,
        config.pool_shares,
        split_by=config.split_by,
        near_duplicates=config.near_duplicates,
        test_domains=config.test_domains,
        shared_training_pool=config.shared_training_pool,
        seed=config.seed,
    )
    source = {"train": train_pool, "val": "val", "test": "test"}
    kinds = sorted({recipe.pattern for recipe in recipes} & set(UNITS))
    tokens = {
        split: TokenPool(
            corpus, pools[pool], tokenizer, window, unit_kinds=kinds, protect=config.protect
        )
        for split, pool in source.items()
    }
    ordered = config.split_by == "position"  # the windows then depend on the order of reading
    return SplitPools(tokens, corpus.hash_in_order if ordered else corpus.hash, share)
