"""Windows: text of the corpus where they say, whole tokens, uniform, never across documents."""

import copy
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthenticity.errors import ModelError
from synthenticity.text.corpus import Corpus
from synthenticity.text.reading import Document
from synthenticity.text.splits import Pool
from synthenticity.text.token_pool import TokenPool, Windows
from synthenticity.text.tokenization import build_character_tokenizer, encode
from synthenticity.text.units import token_units

LENGTH = 24


def pool_of(corpus: Corpus, *, part: float = 1.0) -> Pool:
    """Return all documents, or the last part of each."""
    lengths = corpus.texts.lengths
    starts = np.rint(lengths * (1 - part)).astype(np.int64)
    return Pool(np.arange(len(corpus)), starts, lengths, whole=part == 1.0)


def character_pool(some: list[Document], window: int, **more: Any) -> TokenPool:
    corpus = Corpus(some)
    tokenizer = build_character_tokenizer([corpus.alphabet], block_size=window)
    return TokenPool(corpus, pool_of(corpus), tokenizer, window, **more)


def windows_before(
    some: list[Document], window: int, rng: np.random.Generator, count: int
) -> tuple[list[str], list[str], list[int]]:
    """Return names, texts and offsets by the arithmetic that the published figures rest on."""
    places = np.array([max(len(document.text) - window + 1, 0) for document in some])
    ends = np.cumsum(places)
    picks = rng.integers(ends[-1], size=count)
    document = np.searchsorted(ends, picks, side="right")
    offsets = (picks - (ends[document] - places[document])).tolist()
    texts = [some[d].text[o : o + window] for d, o in zip(document, offsets, strict=True)]
    return [some[d].id for d in document], texts, offsets


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    texts=st.lists(st.text(st.characters(codec="utf-8"), min_size=8, max_size=50), min_size=1),
    seed=st.integers(0, 5),
)
def test_character_windows_are_drawn_as_for_the_published_figures(
    texts: list[str], seed: int
) -> None:
    some = [Document(f"d{n}", text) for n, text in enumerate(texts)]
    windows = character_pool(some, 8).sample_windows(np.random.default_rng(seed), 9)
    names, expected, offsets = windows_before(some, 8, np.random.default_rng(seed), 9)
    assert (windows.documents, windows.texts) == (names, expected)
    assert windows.offsets.tolist() == offsets
    assert windows.attention_mask is None and not windows.protected.any()
    tokenizer = build_character_tokenizer(["".join(texts)], block_size=8)
    assert [tokenizer.decode(row) for row in windows.ids.tolist()] == expected


def check_windows(windows: Windows, texts: dict[str, str], tokenizer: Any) -> None:
    """Assert all that a window promises."""
    for row, (text, name) in enumerate(zip(windows.texts, windows.documents, strict=True)):
        count, offset = int(windows.lengths[row]), int(windows.offsets[row])
        assert texts[name][offset : offset + len(text)] == text
        starts, ends = windows.starts[row], windows.ends[row]
        assert count > 0 and ends[count - 1] == len(text)
        assert (starts[:count] < ends[:count]).all() and (np.diff(starts) >= 0).all()
        assert (starts[count:] == len(text)).all() and (ends[count:] == len(text)).all()
        assert (windows.ids[row, count:] == tokenizer.pad_token_id).all()
        assert not (windows.ids[row, :count] == tokenizer.pad_token_id).any()
        assert windows.protected[row, count:].all()
        for numbers in windows.units.values():
            assert (numbers[row, count:] == -1).all() and (numbers[row, :count] >= 0).all()


def test_short_documents_give_short_windows_and_one_place_each() -> None:
    some = [Document("a", "abcdefg"), Document("short", "xy"), Document("b", "hijkl")]
    pool = character_pool(some, 5, unit_kinds=["word"])
    windows = pool.sample_windows(np.random.default_rng(0), 2500)
    tokenizer = build_character_tokenizer(["abcdefghijklxy"], block_size=5)
    check_windows(windows, {d.id: d.text for d in some}, tokenizer)
    places = list(zip(windows.documents, windows.offsets.tolist(), strict=True))
    counts = {place: places.count(place) for place in set(places)}
    assert set(counts) == {("a", 0), ("a", 1), ("a", 2), ("b", 0), ("short", 0)}
    assert all(400 < count < 600 for count in counts.values())
    mask = windows.attention_mask
    assert mask is not None and (mask.sum(axis=1) == windows.lengths).all()
    assert set(windows.lengths.tolist()) == {2, 5}


words = st.sampled_from(["the", "king", "night", "stone;", "speaks?", "[MASK]", "\u00e9", "hall's"])
spaces = st.sampled_from([" ", "\n\n", "  ", "\t"])
prose = st.lists(st.tuples(words, spaces), min_size=1, max_size=150).map(
    lambda parts: "".join(word + space for word, space in parts)
)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(texts=st.lists(prose, min_size=1, max_size=4), seed=st.integers(0, 99))
def test_sub_word_windows_are_text_of_the_corpus_in_whole_tokens(
    texts: list[str], seed: int, word_tokenizer: Any
) -> None:
    tokenizer = word_tokenizer
    some = [Document(f"d{n}", text) for n, text in enumerate(texts)]
    corpus = Corpus(some)
    pool = TokenPool(corpus, pool_of(corpus), tokenizer, LENGTH, unit_kinds=["word", "line"])
    windows = pool.sample_windows(np.random.default_rng(seed), 6)
    check_windows(windows, {d.id: d.text for d in some}, tokenizer)
    for row, name in enumerate(windows.documents):
        offset, count = int(windows.offsets[row]), int(windows.lengths[row])
        whole = encode(tokenizer, corpus.texts.read(int(name[1:]), offset))
        assert windows.ids[row, :count].tolist() == whole[:LENGTH].tolist()
        assert offset == 0 or corpus.texts.read(int(name[1:]), offset - 1, offset).isspace()
        assert tokenizer.mask_token_id not in windows.ids[row]


def sub_word_pool(text: str, tokenizer: Any, **more: Any) -> TokenPool:
    corpus = Corpus([Document("d", text)])
    return TokenPool(corpus, pool_of(corpus), tokenizer, LENGTH, **more)


def test_sub_word_windows_are_full_wherever_the_text_goes_on(word_tokenizer: Any) -> None:
    dense, loose = "the king " * 400, "t!k?n;" * 400
    for text in (dense, loose, dense + loose):  # tokens of another length than was expected
        windows = sub_word_pool(text, word_tokenizer).sample_windows(np.random.default_rng(0), 300)
        ended = windows.offsets + [len(text) for text in windows.texts] >= len(text.rstrip())
        assert ((windows.lengths == LENGTH) | ended).all()
        assert (windows.lengths == LENGTH).mean() > 0.9


def test_what_is_read_at_once_does_not_show_in_the_tokens(word_tokenizer: Any) -> None:
    dense = "to a " * 4000  # makes the pool read little at once
    loose = ("the " * 30 + "s" * 150 + " ") * 40  # a word that is [UNK] as a whole only
    text = dense + loose
    pool = sub_word_pool(text, word_tokenizer)
    windows = pool.sample_windows(np.random.default_rng(0), 600)
    seen = 0
    for ids, count, offset in zip(windows.ids, windows.lengths, windows.offsets, strict=True):
        whole = encode(word_tokenizer, text[offset : offset + 2000])
        assert ids[:count].tolist() == whole[:LENGTH].tolist()
        seen += offset > len(dense)
    assert seen > 50


def test_sub_word_windows_begin_with_every_word_by_its_share_of_the_characters(
    word_tokenizer: Any,
) -> None:
    text = "to a stone " * 1000
    windows = sub_word_pool(text, word_tokenizer).sample_windows(np.random.default_rng(0), 5000)
    firsts = [text.split()[0] for text in windows.texts]
    for word in ("to", "a", "stone"):
        assert firsts.count(word) / 5000 == pytest.approx((len(word) + 1) / 11, abs=0.03)


def test_text_that_gives_no_token_is_drawn_again(word_tokenizer: Any) -> None:
    blank, text = "\u200b \x00 " * 40, "the king and his fool went to a hall"
    corpus = Corpus([Document("blank", blank), Document("d", text)])
    pool = TokenPool(corpus, pool_of(corpus), word_tokenizer, LENGTH)
    windows = pool.sample_windows(np.random.default_rng(0), 40)
    assert set(windows.documents) == {"d"}


@pytest.fixture
def byte_tokenizer() -> Any:
    """A byte-level tokenizer without merges: a character is up to four tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: n for n, piece in enumerate(["[PAD]", "[MASK]", *alphabet])}
    backend = Tokenizer(models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", mask_token="[MASK]")


def test_text_without_spaces_is_cut_anywhere(byte_tokenizer: Any) -> None:
    pool = sub_word_pool("stone" * 1000, byte_tokenizer)
    windows = pool.sample_windows(np.random.default_rng(0), 50)
    assert len(set(windows.offsets.tolist())) > 40
    assert (windows.lengths == LENGTH).all()


def test_a_character_of_several_tokens_is_never_cut(byte_tokenizer: Any) -> None:
    pool = sub_word_pool("\U0001f642\U0001f642\U0001f642 " * 100, byte_tokenizer)
    windows = pool.sample_windows(np.random.default_rng(0), 60)
    for ids, count, text in zip(windows.ids, windows.lengths, windows.texts, strict=True):
        assert byte_tokenizer.decode(ids[:count]) == text
        assert LENGTH - 3 <= count < LENGTH


@pytest.mark.parametrize("tokenizer", ["characters", "words"])
def test_protected_spans_and_matches_are_marked_to_the_windows_edges(
    tokenizer: str, word_tokenizer: Any
) -> None:
    text = "the king (and his fool) went to a hall where night fell; " * 30
    spans = tuple((n.start(), n.end()) for n in re.finditer("hall where", text))
    corpus = Corpus(
        [
            Document("other", "x" * 40, None, None, ((0, 40),)),
            Document("d", text, None, None, spans),
        ]
    )
    words = (
        word_tokenizer
        if tokenizer == "words"
        else build_character_tokenizer([text + "x"], block_size=9)
    )
    pool = TokenPool(
        corpus,
        Pool(np.array([1]), np.array([0]), np.array([len(text)])),
        words,
        12,
        protect=r"\([^)]*\)",
    )
    windows = pool.sample_windows(np.random.default_rng(0), 200)
    expected = np.zeros(len(text), dtype=bool)
    for start, end in [*spans, *(m.span() for m in re.finditer(r"\([^)]*\)", text))]:
        expected[start:end] = True
    seen = 0
    for row in range(200):
        offset, count = windows.offsets[row], windows.lengths[row]
        for start, end, marked in zip(
            windows.starts[row, :count],
            windows.ends[row, :count],
            windows.protected[row],
            strict=False,
        ):
            assert marked == expected[offset + start : offset + end].any()
            seen += int(marked)
    assert 200 < seen < 1500


def test_units_are_those_of_the_windows_text(word_tokenizer: Any) -> None:
    text = "the king; and his fool.\nWho speaks? " * 40
    pool = sub_word_pool(text.lower(), word_tokenizer, unit_kinds=["word", "sentence"])
    windows = pool.sample_windows(np.random.default_rng(0), 20)
    for row in range(20):
        count = windows.lengths[row]
        offsets = np.stack([windows.starts[row], windows.ends[row]], axis=1)[:count]
        for kind, numbers in windows.units.items():
            own = token_units(windows.texts[row], offsets, kind)
            assert numbers[row, :count].tolist() == own.tolist()


def test_parts_of_documents_keep_to_their_parts_and_bear_their_start() -> None:
    corpus = Corpus([Document("d", "a" * 50 + "b" * 50)])
    tokenizer = build_character_tokenizer([corpus.alphabet], block_size=9)
    pool = TokenPool(corpus, pool_of(corpus, part=0.5), tokenizer, 8)
    windows = pool.sample_windows(np.random.default_rng(0), 50)
    assert pool.names == ["d@50"] and set(windows.documents) == {"d@50"}
    assert set(windows.texts) == {"b" * 8}
    assert windows.offsets.min() >= 0 and windows.offsets.max() <= 42


def test_windows_of_a_pool_are_a_function_of_the_generator(word_tokenizer: Any) -> None:
    text = "the king and his fool went to a hall where night fell; " * 30

    def texts(seed: int) -> list[str]:
        pool = sub_word_pool(text, word_tokenizer)
        pool.sample_windows(np.random.default_rng(7), 3)
        return pool.sample_windows(np.random.default_rng(seed), 5).texts

    assert texts(1) == texts(1) != texts(2)


def test_a_tokenizer_without_padding_is_refused(word_tokenizer: Any) -> None:
    tokenizer = copy.deepcopy(word_tokenizer)
    tokenizer.pad_token = None
    with pytest.raises(ModelError, match="no padding token"):
        sub_word_pool("the king", tokenizer)
