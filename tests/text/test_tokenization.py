"""The character tokenizer: a token is a code point, special tokens are nobody's character."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthenticity.errors import ConfigError, CorpusError, ModelError
from synthenticity.text.tokenization import (
    build_character_tokenizer,
    check_cls_token_id,
    check_unknown,
    encode,
    encode_texts,
    encode_with_offsets,
    is_character_level,
    load_tokenizer,
    special_ids,
    tokenizer_fingerprint,
)

TEXT = "To be,\r\nor\tnot\x00 to be: \u00e9\u0301 \U0001f3ad [MASK]"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return build_character_tokenizer([TEXT], block_size=64)


any_text = st.text(st.characters(codec="utf-8"), max_size=40)
known_text = st.text(st.sampled_from(sorted(set(TEXT))), max_size=60)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(text=st.one_of(any_text, known_text))
def test_the_table_gives_the_tokenizers_own_ids_and_offsets(text: str, tokenizer: Any) -> None:
    own = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = encode_with_offsets(tokenizer, text)
    assert ids.tolist() == own["input_ids"] == encode(tokenizer, text).tolist()
    assert [tuple(pair) for pair in offsets.tolist()] == own["offset_mapping"]


@settings(derandomize=True, deadline=None, max_examples=100)
@given(text=known_text)
def test_offsets_are_exact_and_decoding_gives_the_text_back(text: str, tokenizer: Any) -> None:
    ids, offsets = encode_with_offsets(tokenizer, text)
    words = tokenizer.convert_ids_to_tokens(ids.tolist())
    assert words == [text[start:end] for start, end in offsets.tolist()]
    assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("literal", ["[MASK]", "[CLS]", "[PAD]", "[UNK]"])
def test_special_tokens_spelt_out_in_a_text_are_characters(literal: str) -> None:
    tokenizer = build_character_tokenizer([literal], block_size=16)
    for ids in (encode(tokenizer, literal), tokenizer(literal, add_special_tokens=False).input_ids):
        assert len(ids) == len(literal)
        assert not np.isin(ids, special_ids(tokenizer)).any()


def test_special_ids_are_their_own(tokenizer: Any) -> None:
    assert special_ids(tokenizer).tolist() == [0, 1, 2, 3]
    assert tokenizer.convert_ids_to_tokens([0, 1, 2, 3]) == ["[PAD]", "[UNK]", "[CLS]", "[MASK]"]
    assert encode(tokenizer, TEXT).min() == 4
    assert is_character_level(tokenizer)


def test_unknown_characters_become_unk_and_not_newline(tokenizer: Any) -> None:
    assert encode(tokenizer, "\u4e2d\n").tolist() == [
        tokenizer.unk_token_id,
        tokenizer.convert_tokens_to_ids("\n"),
    ]


def test_a_saved_tokenizer_comes_back_the_same(tokenizer: Any, tmp_path: Path) -> None:
    tokenizer.save_pretrained(str(tmp_path))
    found = load_tokenizer(tmp_path)
    assert found.is_fast
    assert tokenizer_fingerprint(found) == tokenizer_fingerprint(tokenizer)
    assert encode(found, TEXT).tolist() == encode(tokenizer, TEXT).tolist()
    assert found("a [MASK]", add_special_tokens=False).input_ids.count(found.mask_token_id) == 0


def test_the_fingerprint_knows_what_decides_the_ids(tokenizer: Any) -> None:
    same = build_character_tokenizer(sorted(TEXT), block_size=9)
    other = build_character_tokenizer([TEXT, "Q"], block_size=64)
    assert tokenizer_fingerprint(same) == tokenizer_fingerprint(tokenizer)
    assert tokenizer_fingerprint(other) != tokenizer_fingerprint(tokenizer)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no tokenizer\.json"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "{}", '{"version": "1.0", "model": {}}', "\x00"])
def test_a_damaged_tokenizer_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match="no tokenizer can be loaded"):
        load_tokenizer(tmp_path)


def test_unknown_characters_are_counted_shown_and_bounded(
    tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    counts = np.bincount(list(map(ord, "to be" * 20 + "QQQZ")))
    assert check_unknown(counts, tokenizer, 0.1) == 4 / 104
    assert "4 of 104 characters (3.85%)" in caplog.text and "'Q' x 3, 'Z' x 1" in caplog.text
    with pytest.raises(CorpusError, match=r"'Q' x 3.*raise max_unknown_share \(now 0\.01\)"):
        check_unknown(counts, tokenizer, 0.01)
    assert check_unknown(np.bincount(list(map(ord, "to be"))), tokenizer, 0.0) == 0.0


def test_sub_word_tokenizers_read_special_tokens_spelt_out_as_text(word_tokenizer: Any) -> None:
    text = "the [MASK] king [CLS]"
    ids, offsets = encode_with_offsets(word_tokenizer, text)
    assert not np.isin(ids, [word_tokenizer.mask_token_id, word_tokenizer.cls_token_id]).any()
    assert "".join(text[a:b] for a, b in offsets.tolist()) == text.replace(" ", "")
    assert encode(word_tokenizer, text).tolist() == ids.tolist()


def test_encoding_cuts_nothing_off_and_leaves_the_tokenizer_as_it_was(
    word_tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    tokenizer = copy.deepcopy(word_tokenizer)
    backend = tokenizer.backend_tokenizer
    backend.enable_truncation(4)
    backend.enable_padding(length=9)
    tokenizer.model_max_length = 4
    found = [len(encoding.ids) for encoding in encode_texts(tokenizer, ["the " * 50, "king"])]
    assert found == [50, 1]
    assert (backend.truncation["max_length"], backend.padding["length"]) == (4, 9)
    assert not backend.encode_special_tokens and caplog.text == ""


@pytest.mark.parametrize(
    ("asked", "words"), [(0, r"'\[PAD\]'"), (4, r"'\\x00'"), (999, "outside the vocabulary")]
)
def test_another_tokens_id_is_refused_as_cls_and_named(
    asked: int, words: str, tokenizer: Any
) -> None:
    with pytest.raises(ConfigError, match=words):
        check_cls_token_id(tokenizer, asked)


def test_the_tokenizers_own_cls_is_taken(tokenizer: Any) -> None:
    assert check_cls_token_id(tokenizer, None) == check_cls_token_id(tokenizer, 2) == 2
