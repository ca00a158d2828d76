"""Disjoint pools: which documents feed the filling model, the scorer, val and test.

The filling model must not have learnt the text it fills, and the scorer must not be tested on
text it was trained on. Documents of one group and near-duplicates therefore stay together, and
where a document goes depends on hashed names, not on the order of reading. The default keeps a
document in its pool for good, whatever is added to the corpus (but a near-duplicate of it).
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthenticity.errors import CorpusError
from synthenticity.seeding import digest
from synthenticity.settings import did_you_mean
from synthenticity.text.corpus import Corpus
from synthenticity.text.duplicates import connected, joined_duplicates, mixed

logger = logging.getLogger(__name__)

POOLS = ("mlm", "scorer", "val", "test")


@dataclass(frozen=True)
class Pool:
    """Stretches of documents: number, first and last + 1 character, each `[stretches]`.

    `whole` if they are whole documents; a part of one is known by its name and its start.
    """

    documents: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    whole: bool = True

    def __add__(self, other: "Pool") -> "Pool":
        return Pool(
            np.concatenate([self.documents, other.documents]),
            np.concatenate([self.starts, other.starts]),
            np.concatenate([self.ends, other.ends]),
            self.whole,
        )


@dataclass(frozen=True)
class _Units:
    """Documents that stay together, and the hashed names that deal them.

    `unit` is the smallest number of a document's unit, `key` the smallest hash of its names,
    `own_key` the document's own, `held_out` whether it belongs to `test`; all `[documents]`.
    """

    unit: NDArray[np.int64]
    key: NDArray[np.uint64]
    own_key: NDArray[np.uint64]
    held_out: NDArray[np.bool_]


def split_pools(
    corpus: Corpus,
    shares: Sequence[float],
    *,
    split_by: str = "document",
    near_duplicates: float = 0.0,
    test_domains: Sequence[str] = (),
    shared_training_pool: bool = False,
    seed: int = 0,
) -> dict[str, Pool]:
    """Cut a corpus into the pools mlm, scorer, val and test, whose shares are given.

    `document`: the hash of its group, or of its id, puts each document into a pool. `balanced`:
    documents are dealt in the order of their hashed ids, so that the shares of characters are
    met. `position`: every document, in the order of reading, is cut into four stretches.

    Documents that share `near_duplicates` of their runs of words, and those of a group, stay
    together (but for `position`); those of `test_domains` are in `test` only, and so is what
    stays with them. With `shared_training_pool` both training pools are their union.

    Raises:
        CorpusError: a pool is empty, or a test domain does not occur; says what to do.

    """
    held_out = _held_out(corpus, test_domains)
    if split_by == "position":
        pools = _by_position(corpus, shares, held_out)
    else:
        units = _units(corpus, near_duplicates, held_out, seed)
        pool_of = (_by_hash if split_by == "document" else _balanced)(corpus, units, shares)
        pools = _whole_documents(corpus, units, pool_of)
    _check_none_empty(corpus, pools, shares, split_by)
    if shared_training_pool:
        pools["mlm"] = pools["scorer"] = pools["mlm"] + pools["scorer"]
    return pools


def _held_out(corpus: Corpus, test_domains: Sequence[str]) -> NDArray[np.bool_]:
    for domain in test_domains:
        if domain not in corpus.domains:
            known = sorted(corpus.domains)
            raise CorpusError(
                f"test_domains: no document has the domain {domain!r}; there are "
                f"{', '.join(map(repr, known[:20])) or 'none'}.{did_you_mean(domain, known)}"
            )
    return np.isin(np.array(corpus.domain_of), [corpus.domains[name] for name in test_domains])


def _units(
    corpus: Corpus, near_duplicates: float, held_out: NDArray[np.bool_], seed: int
) -> _Units:
    own_key = np.fromiter((_key(seed, name) for name in corpus.names), np.uint64, len(corpus))
    key = own_key.copy()
    grouped = np.array(corpus.grouped, dtype=np.int64)
    key[grouped] = np.fromiter(
        (_key(seed, name) for name in corpus.groups), np.uint64, len(grouped)
    )
    order = grouped[np.argsort(key[grouped], kind="stable")]
    pairs = np.stack([order[:-1], order[1:]], axis=1)
    pairs = pairs[key[order[:-1]] == key[order[1:]]]
    if near_duplicates > 0:
        alike = joined_duplicates(corpus.texts, near_duplicates)
        pairs = np.concatenate([pairs, alike])
        if len(alike):
            logger.info("%d documents are near-duplicates of others", len(np.unique(alike)))
    unit = connected(len(corpus), pairs)
    lowest, together = key.copy(), np.zeros(len(corpus), dtype=bool)
    np.minimum.at(lowest, unit, key)
    np.logical_or.at(together, unit, held_out)
    return _Units(unit, lowest[unit], own_key, together[unit])


def _key(seed: int, name: str) -> int:
    return int(digest(str(seed), name)[:16], 16)


def _by_hash(corpus: Corpus, units: _Units, shares: Sequence[float]) -> NDArray[np.int64]:
    """Return the pool of each document from the hash of its unit alone.

    The key is hashed again, because the smallest of several would favour the first pools.
    """
    bounds = np.cumsum(shares)[:-1] / sum(shares)
    pool_of = np.searchsorted(bounds, mixed(units.key) / 2.0**64, side="right")
    return np.where(units.held_out, POOLS.index("test"), pool_of)


def _balanced(corpus: Corpus, units: _Units, shares: Sequence[float]) -> NDArray[np.int64]:
    """Return the pool of each document so that the shares of characters are met by whole units."""
    dealt = np.flatnonzero(~units.held_out & (units.unit == np.arange(len(corpus))))
    if len(dealt) < len(POOLS):
        raise CorpusError(
            f"corpus: {len(dealt)} document(s) cannot be cut into {len(POOLS)} pools by document"
            f"{'' if len(dealt) == len(corpus) else ' (alike, grouped or held out ones apart)'}. "
            'Give more files, or set split_by = "position".'
        )
    order = dealt[np.argsort(units.key[dealt])]
    sizes = np.bincount(units.unit, corpus.texts.lengths, len(corpus)).astype(np.int64)
    ends = np.cumsum(sizes[order])
    bounds = np.cumsum(shares)[:-1] * ends[-1] / sum(shares)
    cuts = [0, *(int(np.argmin(np.abs(ends - bound))) + 1 for bound in bounds), len(order)]
    for index in range(1, len(POOLS)):  # every pool gets at least one document
        cuts[index] = min(max(cuts[index], cuts[index - 1] + 1), len(order) - len(POOLS) + index)
    pool_of_unit = np.full(len(corpus), POOLS.index("test"))
    pool_of_unit[order] = np.repeat(np.arange(len(POOLS)), np.diff(cuts))
    return pool_of_unit[units.unit]


def _whole_documents(corpus: Corpus, units: _Units, pool_of: NDArray[np.int64]) -> dict[str, Pool]:
    order = np.lexsort((units.own_key, units.key))  # hashed names, units together
    lengths = corpus.texts.lengths
    pools = {}
    for number, name in enumerate(POOLS):
        documents = order[pool_of[order] == number]
        pools[name] = Pool(documents, np.zeros_like(documents), lengths[documents])
    return pools


def _by_position(
    corpus: Corpus, shares: Sequence[float], held_out: NDArray[np.bool_]
) -> dict[str, Pool]:
    bounds = np.concatenate([[0.0], np.cumsum(shares)])
    lengths = corpus.texts.lengths
    cuts = np.round(bounds / bounds[-1] * lengths[:, None]).astype(np.int64)
    cuts[held_out, :-1] = 0  # all of it behind the last cut
    pools = {}
    for number, name in enumerate(POOLS):
        starts, ends = cuts[:, number], cuts[:, number + 1]
        some = np.flatnonzero(starts < ends)
        pools[name] = Pool(some, starts[some], ends[some], whole=False)
    return pools


def _check_none_empty(
    corpus: Corpus, pools: dict[str, Pool], shares: Sequence[float], split_by: str
) -> None:
    for (name, pool), share in zip(pools.items(), shares, strict=True):
        if not len(pool.documents):
            way_out = "lower near_duplicates" if split_by != "position" else "give longer texts"
            if split_by == "document":
                way_out = 'for few documents set split_by = "balanced"'
            raise CorpusError(
                f"corpus: none of {len(corpus)} document(s) fell to the {name} pool, whose share "
                f"is {share:g}. Give more documents, raise that share in pool_shares, or "
                f"{way_out}."
            )
