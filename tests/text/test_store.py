"""The store: any stretch of any text comes back, and characters are counted on the way in."""

import errno
import gc
import os
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthenticity.errors import CorpusError
from synthenticity.text import store as module
from synthenticity.text.store import TextStore

some_text = st.one_of(
    st.text(st.characters(max_codepoint=255), max_size=40),
    st.text(st.characters(max_codepoint=0xFFFF, codec="utf-8"), max_size=40),
    st.text(st.characters(codec="utf-8"), max_size=40),
)


def stored(texts: list[str]) -> TextStore:
    store = TextStore()
    assert [store.append(text) for text in texts] == list(range(len(texts)))
    return store


@settings(derandomize=True, deadline=None, max_examples=150)
@given(texts=st.lists(some_text, min_size=1, max_size=8), data=st.data())
def test_every_stretch_of_every_text_comes_back(texts: list[str], data: st.DataObject) -> None:
    store = stored(texts)
    assert store.lengths.tolist() == [len(text) for text in texts]
    for number, text in enumerate(texts):
        start = data.draw(st.integers(0, len(text) + 2))
        end = data.draw(st.integers(0, len(text) + 2))
        assert store.read(number, start, end) == text[start:end]
        assert store.read(number) == text


@settings(derandomize=True, deadline=None, max_examples=100)
@given(texts=st.lists(some_text, max_size=8), block=st.sampled_from([1, 7, 64, 2**20]))
def test_texts_come_in_order_and_are_counted_whatever_the_block(
    texts: list[str], block: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_BYTES", block)
        store = stored(texts)
        assert list(store) == texts
        counts = store.character_counts
    expected = Counter("".join(texts))
    assert {chr(n): int(counts[n]) for n in counts.nonzero()[0]} == dict(expected)


def test_a_text_takes_the_fewest_bytes_a_character_that_hold_it() -> None:
    for text, size in (("abc\xe9", 4), ("abc\u0394", 8), ("abc\U0001f642", 16)):
        store = stored([text])
        assert store.read(0) == text
        assert os.fstat(store._file).st_size == size


def test_reading_and_appending_may_take_turns() -> None:
    store = TextStore()
    for number in range(200):
        store.append(f"{number} " * 500)
        assert store.read(number // 2, 0, 3) == f"{number // 2} {number // 2}"[:3]
    assert list(store) == [f"{number} " * 500 for number in range(200)]


def test_nothing_is_left_on_disk_and_no_file_stays_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store = stored(["x" * 3_000_000])
    assert store.read(0, 2_999_999) == "x" and list(tmp_path.iterdir()) == []
    number = store._file
    del store
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


def test_a_full_disk_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(CorpusError, match=r"No space left on device.*Set TMPDIR"):
        stored(["x" * 3_000_000])


def test_lone_surrogates_are_not_stored() -> None:
    with pytest.raises(UnicodeEncodeError):
        stored(["a\ud800\udc00"])
