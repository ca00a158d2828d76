"""The splits of a run: which pool of the corpus feeds which split, as tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from synthenticity.config import Config, Recipe
from synthenticity.text.corpus import Document, TokenPool, corpus_hash, split_pools
from synthenticity.text.tokenization import check_unknown
from synthenticity.text.units import UNITS


@dataclass(frozen=True)
class SplitPools:
    """The token pool of each split, and what the corpus was."""

    pools: dict[str, TokenPool]
    corpus_hash: str
    unknown_share: float


def open_split_pools(
    config: Config,
    documents: list[Document],
    tokenizer: Any,
    *,
    train_pool: str,
    window: int,
    recipes: Sequence[Recipe] = (),
) -> SplitPools:
    """Cut and encode the corpus; `train` is fed by `train_pool`, `val` and `test` by their own.

    What the patterns of `recipes` need to know of the text is kept beside the tokens.

    Raises:
        CorpusError: too short for a window, too few documents, or too many unknown characters.

    """
    share = check_unknown(
        [document.text for document in documents], tokenizer, config.max_unknown_share
    )
    pools = split_pools(
        documents,
        config.pool_shares,
        split_by=config.split_by,
        shared_training_pool=config.shared_training_pool,
        seed=config.seed,
    )
    source = {"train": train_pool, "val": "val", "test": "test"}
    kinds = sorted({recipe.pattern for recipe in recipes} & set(UNITS))
    tokens = {
        split: TokenPool(pools[pool], tokenizer, window, unit_kinds=kinds, protect=config.protect)
        for split, pool in source.items()
    }
    return SplitPools(tokens, corpus_hash(documents), share)
