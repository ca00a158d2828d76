"""Pools: disjoint, stable, near their shares; what belongs together stays together."""

import random
from collections import Counter
from itertools import chain, pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from synthenticity.errors import CorpusError
from synthenticity.seeding import digest
from synthenticity.text.corpus import Corpus
from synthenticity.text.reading import Document
from synthenticity.text.splits import POOLS, Pool, split_pools

SHARES = (0.42, 0.42, 0.08, 0.08)


def documents(count: int = 20, **more: str) -> list[Document]:
    return [Document(f"d{n}", f"{n:03d} " * (20 + 7 * n), **more) for n in range(count)]


def prose(seed: int, words: int = 100) -> str:
    choose = random.Random(seed)
    return " ".join("".join(choose.choices("abcdefghij", k=5)) for _ in range(words))


def names_of(corpus: Corpus, pool: Pool) -> list[str]:
    return [corpus.names.read(number) for number in pool.documents.tolist()]


def pools_of(some: list[Document], **settings: object) -> dict[str, list[str]]:
    corpus = Corpus(some)
    pools = split_pools(corpus, SHARES, **settings)  # type: ignore[arg-type]
    return {name: names_of(corpus, pool) for name, pool in pools.items()}


def balanced_before(some: list[Document], seed: int) -> dict[str, list[str]]:
    """Return the pools by the arithmetic that the published figures were measured with."""
    order = sorted(some, key=lambda document: digest(str(seed), document.id))
    ends: NDArray[np.int64] = np.cumsum([len(document.text) for document in order])
    bounds = np.cumsum(SHARES)[:-1] * ends[-1] / sum(SHARES)
    cuts = [0, *(int(np.argmin(np.abs(ends - bound))) + 1 for bound in bounds), len(order)]
    for index in range(1, 4):
        cuts[index] = min(max(cuts[index], cuts[index - 1] + 1), len(order) - 4 + index)
    parts = [order[start:end] for start, end in pairwise(cuts)]
    return {pool: [d.id for d in part] for pool, part in zip(POOLS, parts, strict=True)}


@pytest.mark.parametrize("count", [4, 5, 7, 20, 61])
def test_balanced_pools_are_those_of_the_published_figures(count: int) -> None:
    some = documents(count)
    for seed in range(10):
        found = pools_of(some, split_by="balanced", near_duplicates=0.2, seed=seed)
        assert found == balanced_before(some, seed)
        assert all(found.values())


def test_balanced_pools_are_near_their_shares() -> None:
    corpus = Corpus(documents(60))
    pools = split_pools(corpus, SHARES, split_by="balanced", seed=5)
    assert sorted(np.concatenate([p.documents for p in pools.values()])) == list(range(60))
    lengths = corpus.texts.lengths
    for pool, share in zip(POOLS, SHARES, strict=True):
        part = lengths[pools[pool].documents].sum() / lengths.sum()
        assert part == pytest.approx(share, abs=0.04)


@pytest.mark.parametrize("split_by", ["document", "balanced"])
def test_pools_depend_on_seed_and_names_and_not_on_the_order_of_reading(split_by: str) -> None:
    some = documents(60)
    settings = {"split_by": split_by, "near_duplicates": 0.2}
    first = pools_of(some, seed=1, **settings)
    assert first == pools_of(some[::-1], seed=1, **settings)
    assert first != pools_of(some, seed=2, **settings)
    assert sorted(chain(*first.values())) == sorted(d.id for d in some)


def test_documents_stay_in_their_pools_when_others_are_added() -> None:
    few = {name: pool for pool, names in pools_of(documents(100)).items() for name in names}
    many = {name: pool for pool, names in pools_of(documents(400)).items() for name in names}
    assert few == {name: many[name] for name in few}
    shares = Counter(many.values())
    for pool, share in zip(POOLS, SHARES, strict=True):
        assert shares[pool] / 400 == pytest.approx(share, abs=0.06)


def test_an_empty_pool_is_refused_with_the_way_out() -> None:
    with pytest.raises(CorpusError, match=r"fell to the \w+ pool.*set split_by = \"balanced\""):
        pools_of(documents(3))
    with pytest.raises(CorpusError, match=r'3 document.*split_by = "position"'):
        pools_of(documents(3), split_by="balanced")
    with pytest.raises(CorpusError, match=r"fell to the \w+ pool.*give longer texts"):
        pools_of([Document("a", "ab")], split_by="position")


@pytest.mark.parametrize("split_by", ["document", "balanced"])
def test_a_group_lies_in_one_pool(split_by: str) -> None:
    some = [Document(f"d{n}", prose(n), group=f"author {n % 40}") for n in range(200)]
    pools = pools_of(some, split_by=split_by)
    of = {int(name[1:]): pool for pool, names in pools.items() for name in names}
    assert all(of[n] == of[n % 40] for n in range(200))
    assert len(set(of.values())) == 4


@pytest.mark.parametrize("split_by", ["document", "balanced"])
def test_near_duplicates_lie_in_one_pool_unless_it_is_switched_off(split_by: str) -> None:
    some = [Document(f"d{n}", f"{prose(n % 100)} {prose(n + 1000, 50)}") for n in range(400)]

    def pools_of_texts(near_duplicates: float) -> list[set[str]]:
        pools = pools_of(some, split_by=split_by, near_duplicates=near_duplicates)
        of = {int(name[1:]): pool for pool, names in pools.items() for name in names}
        return [{of[n] for n in range(text, 400, 100)} for text in range(100)]

    assert all(len(pools) == 1 for pools in pools_of_texts(0.2))
    assert any(len(pools) > 1 for pools in pools_of_texts(0.0))
    assert any(len(pools) > 1 for pools in pools_of_texts(0.9))


def test_clusters_meet_the_shares_as_single_documents_do() -> None:
    some = [Document(f"d{n}", prose(n % 500, 40)) for n in range(2000)]
    sizes = {name: len(p) for name, p in pools_of(some, near_duplicates=0.2).items()}
    for pool, share in zip(POOLS, SHARES, strict=True):
        assert sizes[pool] / 2000 == pytest.approx(share, abs=0.05)


def test_a_clusters_pool_is_that_of_the_smallest_hash_among_its_members() -> None:
    alone = pools_of([Document(f"d{n}", prose(n)) for n in range(200)], seed=3)
    some = [Document(f"d{n}", prose(5 if n in (6, 7) else n)) for n in range(200)]
    joined = pools_of(some, near_duplicates=0.2, seed=3)
    smallest = min(("d5", "d6", "d7"), key=lambda name: digest("3", name))
    pool = next(pool for pool, names in alone.items() if smallest in names)
    assert {"d5", "d6", "d7"} <= set(joined[pool])
    others = {name: set(names) - {"d5", "d6", "d7"} for name, names in alone.items()}
    assert others == {name: set(names) - {"d5", "d6", "d7"} for name, names in joined.items()}


@pytest.mark.parametrize("split_by", ["document", "balanced", "position"])
def test_held_out_domains_are_in_test_and_nowhere_else(split_by: str) -> None:
    domains = ["news", "verse", "law", "mail"]
    some = [Document(f"d{n}", prose(n), domain=domains[n % 4]) for n in range(200)]
    pools = pools_of(some, split_by=split_by, test_domains=("law", "mail"))
    for name, names in pools.items():
        held_out = [n for n in names if int(n[1:]) % 4 >= 2]
        assert len(held_out) == (100 if name == "test" else 0)
    assert any(int(n[1:]) % 4 < 2 for n in pools["test"])


def test_what_stays_with_a_held_out_document_is_held_out_too() -> None:
    some = [Document(f"d{n}", prose(n), domain="news") for n in range(100)]
    some += [Document("law", prose(7), domain="law")]
    some += [Document("g", prose(900), "x", "news"), Document("h", prose(901), "x", "law")]
    pools = pools_of(some, near_duplicates=0.2, test_domains=("law",))
    assert {"d7", "law", "g", "h"} <= set(pools["test"])


def test_a_domain_that_does_not_occur_is_refused_with_those_that_do() -> None:
    some = documents(domain="verse")
    with pytest.raises(CorpusError, match=r"'verze'; there are 'verse'. Did you mean verse\?"):
        pools_of(some, test_domains=("verze",))


def test_the_plans_split_by_position_cuts_every_document() -> None:
    some = [*documents(2), Document("tiny", "ab")]
    corpus = Corpus(some)
    pools = split_pools(corpus, (0.45, 0.45, 0.05, 0.05), split_by="position")
    joined = ["", "", ""]
    for pool in pools.values():
        assert not pool.whole and (pool.starts < pool.ends).all()
        for number, start, end in zip(pool.documents, pool.starts, pool.ends, strict=True):
            assert len(joined[number]) == start
            joined[number] += corpus.texts.read(number, start, end)
    assert joined == [document.text for document in some]


def test_one_training_pool_can_serve_both() -> None:
    settings = {"split_by": "balanced", "seed": 1}
    pools = pools_of(documents(), shared_training_pool=True, **settings)
    apart = pools_of(documents(), **settings)
    assert pools["mlm"] == pools["scorer"] == apart["mlm"] + apart["scorer"]
    assert pools["val"] == apart["val"]
