"""Near-duplicates: found at the asked overlap, however many documents and copies there are."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthenticity.text import duplicates
from synthenticity.text.duplicates import connected, gram_hashes, joined_duplicates
from synthenticity.text.store import TextStore


def prose(seed: int, words: int = 400) -> list[str]:
    choose = random.Random(seed)
    return ["".join(choose.choices("abcdefghij", k=choose.randint(2, 8))) for _ in range(words)]


def clusters(texts: list[str], share: float = 0.2) -> list[int]:
    store = TextStore()
    for text in texts:
        store.append(text)
    return connected(len(texts), joined_duplicates(store, share)).tolist()


def test_unlike_documents_stay_apart_and_copies_come_together() -> None:
    one, other = " ".join(prose(1)), " ".join(prose(2))
    assert clusters([one, other]) == [0, 1]
    assert clusters([one, other, one]) == [0, 1, 0]


def test_case_white_space_and_punctuation_make_no_difference() -> None:
    words = prose(1)
    assert clusters([" ".join(words), ",\n".join(words).upper() + "!", " ".join(prose(2))]) == [
        0,
        0,
        2,
    ]


@pytest.mark.parametrize(("shared", "share", "joined"), [(0.3, 0.2, True), (0.3, 0.4, False)])
def test_the_overlap_is_that_of_the_smaller_document(
    shared: float, share: float, joined: bool
) -> None:
    words = prose(1, 500)
    count = round(shared * 500)
    longer = " ".join([*prose(2, 2000), *words[:count], *prose(3, 500)])
    assert clusters([" ".join(words), longer], share) == ([0, 0] if joined else [0, 1])


def test_joining_is_transitive() -> None:
    a, b, c = prose(1, 300), prose(2, 300), prose(3, 300)
    texts = [" ".join(a + b), " ".join(prose(9)), " ".join(b + c), " ".join(c + prose(4, 300))]
    assert clusters(texts) == [0, 1, 0, 0]


def test_short_texts_are_joined_if_they_are_equal() -> None:
    assert clusters(["To be, or not", "to be", "to be,  or NOT"]) == [0, 1, 0]


def test_boilerplate_of_many_documents_joins_nothing_and_costs_nothing() -> None:
    notice = " ".join(prose(0, 60))
    texts = [f"{notice} {' '.join(prose(n, 300))}" for n in range(1, 300)]
    assert clusters(texts) == list(range(299))


@pytest.mark.parametrize("count", [32, 33, 60, 300])
def test_any_number_of_documents_with_one_body_is_one_cluster(count: int) -> None:
    body = " ".join(prose(0, 300))
    texts = [f"{body} {' '.join(prose(n, 60))}" for n in range(1, count + 1)]
    assert clusters([*texts, " ".join(prose(999))]) == [0] * count + [count]


def test_any_number_of_copies_is_one_cluster() -> None:
    text = " ".join(prose(1))
    found = clusters([text] * 500 + [" ".join(prose(2))])
    assert found == [0] * 500 + [500]


def test_a_bounded_sample_still_finds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "SAMPLE", 3000)
    texts = [" ".join(prose(n, 800)) for n in range(60)]
    texts += [" ".join(prose(n, 800)[100:700] + prose(n + 100, 200)) for n in range(10)]
    expected = [*range(60), *range(10)]
    assert clusters(texts) == expected
    assert clusters(texts[::-1]) == [
        min(69 - m for m in range(70) if expected[m] == expected[69 - n]) for n in range(70)
    ]


def test_long_documents_are_compared_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "PIECE", 1000)
    words = prose(1, 3000)
    texts = [" ".join(words), " ".join(prose(2, 3000)), " ".join(prose(3, 50) + words[500:])]
    assert clusters(texts) == [0, 1, 0]


def test_grams_never_cross_documents() -> None:
    words = prose(1, 24)
    hashes, owners = gram_hashes([" ".join(words[:12]), " ".join(words[12:])])
    assert len(hashes) == len(owners) == 0
    hashes, owners = gram_hashes(["x", " ".join(words), "y z"])
    assert len(set(hashes.tolist())) == 12 and owners.tolist() == [1] * 12


@settings(derandomize=True, deadline=None, max_examples=100)
@given(pairs=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=40))
def test_connected_sets_are_those_of_a_walk(pairs: list[tuple[int, int]]) -> None:
    label = connected(31, np.array(pairs, dtype=np.int64).reshape(-1, 2)).tolist()
    expected = list(range(31))
    for _ in range(31):
        for a, b in pairs:
            expected[a] = expected[b] = min(expected[a], expected[b])
    assert label == expected
