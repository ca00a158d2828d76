"""How written tokens stand in a text: spaces, case and glue, in tokenizers of every kind."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthenticity.synthesis.spelling import Spelling
from synthenticity.synthesis.splicing import splice
from synthenticity.text.tokenization import build_character_tokenizer, load_tokenizer

WORDS = [
    "king",
    "queen",
    "the",
    "went",
    "to",
    "a",
    "hall",
    ",",
    ".",
    "'",
    "s",
    "t",
    "don",
    "play",
    "stop",
    "un",
    "(",
    ")",
    "中",
    "国",
]
PIECES = ["##ing", "##s", "##er"]


def word_piece(*, lower_case: bool) -> Any:
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertTokenizerFast

    words = WORDS if lower_case else [*WORDS, *(word.capitalize() for word in WORDS)]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]"]
    pieces = dict.fromkeys([*special, *words, *PIECES])
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    backend = BertWordPieceTokenizer(vocabulary, lowercase=lower_case, strip_accents=False)
    return BertTokenizerFast(tokenizer_object=backend._tokenizer)


@pytest.fixture(scope="module")
def cased() -> tuple[Any, Spelling]:
    tokenizer = word_piece(lower_case=False)
    return tokenizer, Spelling(tokenizer)


def rewrite(kit: tuple[Any, Spelling], text: str, **writings: str) -> str:
    """Write tokens in the places of others, named `_3="##ing"` by their number."""
    tokenizer, spelling = kit
    (tokens,) = spelling.tokenize([text])
    written, mask = tokens.ids.copy(), np.zeros(len(tokens.ids), dtype=bool)
    for place, word in writings.items():
        index = int(place[1:])
        written[index], mask[index] = tokenizer.convert_tokens_to_ids(word), True
    assert tokens.maskable[mask].all()
    return splice(tokens, written, mask, spelling).text


@pytest.mark.parametrize(
    ("text", "writings", "result"),
    [
        ("the king went", {"_1": "queen"}, "the queen went"),
        ("the  king\twent", {"_1": "queen", "_2": "to"}, "the  queen\tto"),
        ("the king went", {"_1": "##s"}, "thes went"),
        ("the\n\nking went", {"_1": "##s"}, "the\n\ns went"),
        ("the king went", {"_1": ","}, "the, went"),
        ("the king went", {"_1": "("}, "the ( went"),
        ("playing", {"_1": "king"}, "play king"),
        ("playing", {"_1": "##er"}, "player"),
        ("playing", {"_0": "king"}, "kinging"),
        ("don't", {"_1": "king"}, "don king t"),
        ("don't", {"_1": "."}, "don.t"),
        ("king, queen", {"_1": "."}, "king. queen"),
        ("(king)", {"_1": "queen"}, "(queen)"),
        ("中国", {"_1": "中"}, "中中"),
        ("king went", {"_0": "##ing"}, "ing went"),
        (" king", {"_0": "queen"}, " queen"),
        ("to a hall", {"_0": "the", "_1": "king", "_2": "##s"}, "the kings"),
    ],
)
def test_word_pieces_are_spaced_as_they_are_written(
    cased: tuple[Any, Spelling], text: str, writings: dict[str, str], result: str
) -> None:
    assert rewrite(cased, text, **writings) == result


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("The King went", "The Queen went"),
        ("the KING went", "the QUEEN went"),
        ("the king went", "the queen went"),
    ],
)
def test_words_of_a_lower_case_model_take_the_case_of_those_they_replace(
    text: str, result: str
) -> None:
    tokenizer = word_piece(lower_case=True)
    assert rewrite((tokenizer, Spelling(tokenizer)), text, _1="queen") == result


def test_a_model_that_knows_case_writes_its_own(cased: tuple[Any, Spelling]) -> None:
    assert rewrite(cased, "The King went", _1="queen") == "The queen went"


def test_what_is_no_text_by_itself_is_never_written(family: Callable[[str], Path]) -> None:
    tokenizer = word_piece(lower_case=False)
    spelling = Spelling(tokenizer)
    assert spelling.unwritable_ids.tolist() == [tokenizer.convert_tokens_to_ids("[unused0]")]
    for name in ("roberta", "mmbert"):
        tokenizer = load_tokenizer(family(name))
        spelling = Spelling(tokenizer)
        never = {*spelling.unwritable_ids.tolist(), *spelling.special_ids.tolist()}
        for index in range(len(tokenizer)):
            alone = spelling.surfaces[index]
            if index not in never:
                assert alone and "\ufffd" not in alone
        assert len(never) > 50


def test_a_part_of_a_character_is_never_masked(family: Callable[[str], Path]) -> None:
    spelling = Spelling(load_tokenizer(family("roberta")))
    (tokens,) = spelling.tokenize(["a 龘 b"])
    pieces = tokens.starts == 2
    assert pieces.sum() > 1
    assert not tokens.maskable[(tokens.starts <= 2) & (tokens.ends == 3)].any()
    assert tokens.maskable[[0, -1]].all()


def test_marks_belong_to_the_character_they_are_put_on(family: Callable[[str], Path]) -> None:
    spelling = Spelling(load_tokenizer(family("modernbert")))
    text = "cafe\u0301 the"
    (tokens,) = spelling.tokenize([text])
    assert tokens.extent_starts.tolist()[1:] == tokens.ends.tolist()[:-1]
    place = int(np.flatnonzero(tokens.ends == 5)[0])
    assert "\u0301" in text[tokens.extent_starts[place] : tokens.ends[place]]


def test_characters_are_written_as_they_are() -> None:
    tokenizer = build_character_tokenizer(["the king\n"], block_size=16)
    kit = tokenizer, Spelling(tokenizer)
    assert rewrite(kit, "the king", _3="k", _0=" ") == " hekking"
    assert rewrite(kit, "the king", _3="\n") == "the\nking"
    assert kit[1].unwritable_ids.tolist() == []
