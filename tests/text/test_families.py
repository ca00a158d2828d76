"""What holds of the tokenizers of all families over awkward text, and what only some of them do.

Splicing by character offsets rests on these facts; a new release of a library that changes one
should fail here first.
"""

import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from families import CAUSAL, FAMILIES, LENGTH, MASKED
from torture import REFUSED, TEXTS
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

from synthenticity.seeding import digest
from synthenticity.text import tokenization
from synthenticity.text.tokenization import encode_with_offsets, load_tokenizer

WORDPIECE = {"bert-cased", "bert-uncased", "bert-characters", "distilbert", "electra"}
BYTES = {"roberta", "modernbert", "deberta", "gpt2", "llama", "mmbert"}
LOWER_CASE = {"bert-uncased", "distilbert", "electra"}
COMPOSING = {"modernbert", "xlm-roberta", "deberta-v2"}
DROPPED = {"Zs", "Zl", "Zp", "Cc", "Cf", "Co", "Cn"}  # spaces, controls, formats, private use


@pytest.fixture(scope="module", params=FAMILIES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def tokenizer(name: str, family: Callable[[str], Path]) -> Any:
    """A tokenizer as it is loaded, to which `[MASK]` in a text is six characters."""
    loaded = load_tokenizer(family(name))
    loaded.backend_tokenizer.encode_special_tokens = True
    return loaded


@pytest.fixture(scope="module")
def encodings(tokenizer: Any) -> dict[str, Any]:
    """Every torture text, encoded without special tokens around it."""
    encode = tokenizer.backend_tokenizer.encode
    return {key: encode(text, add_special_tokens=False) for key, text in TEXTS.items()}


def uncovered(text: str, offsets: list[tuple[int, int]]) -> set[str]:
    """Return the characters of a text that no token covers."""
    covered = {place for start, end in offsets for place in range(start, end)}
    return {character for place, character in enumerate(text) if place not in covered}


def test_there_are_many_texts_and_all_differ() -> None:
    assert len(TEXTS) >= 220
    assert len(set(TEXTS.values())) == len(TEXTS)
    assert all(text.strip() and text.encode("utf-8") for text in TEXTS.values())


def test_a_checkpoint_loads_whole_and_reads_its_full_length(
    name: str, family: Callable[[str], Path], tokenizer: Any
) -> None:
    auto = AutoModelForCausalLM if name in CAUSAL else AutoModelForMaskedLM
    model, info = auto.from_pretrained(str(family(name)), output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    ids = torch.arange(LENGTH)[None] % 200 + 100
    with torch.inference_mode():
        logits = model.eval()(ids).logits
    assert logits.shape == (1, LENGTH, len(tokenizer) + FAMILIES[name].spare_rows)
    assert tokenizer.model_max_length == LENGTH
    assert (tokenizer.mask_token_id is not None) == (name in MASKED)


def test_a_family_is_the_same_in_another_process() -> None:
    code = (
        "from families import FAMILIES; from synthenticity.seeding import digest\n"
        "for family in FAMILIES.values():"
        " print(digest(family.tokenizer().backend_tokenizer.to_str()))"
    )
    folders = [str(Path(__file__).parents[1]), *sys.path]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {folders!r}\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    here = [digest(kind.tokenizer().backend_tokenizer.to_str()) for kind in FAMILIES.values()]
    assert done.stdout.split() == here


def test_offsets_lie_in_the_text_and_never_go_back(encodings: dict[str, Any]) -> None:
    wrong = []
    for key, encoding in encodings.items():
        offsets, length = encoding.offsets, len(TEXTS[key])
        starts, ends = [start for start, _ in offsets], [end for _, end in offsets]
        inside = all(0 <= start <= end <= length for start, end in offsets)
        if not inside or starts != sorted(starts) or ends != sorted(ends):
            wrong.append(key)
    assert wrong == []


def test_only_roberta_has_tokens_of_no_character_and_they_are_spaces(
    name: str, encodings: dict[str, Any]
) -> None:
    empty = {
        token
        for encoding in encodings.values()
        for token, (start, end) in zip(encoding.tokens, encoding.offsets, strict=True)
        if start == end
    }
    assert bool(empty) == (name == "roberta")
    assert all(set(token) == {"Ġ"} for token in empty)


def test_offsets_hold_the_space_before_a_word_in_some_families(name: str, tokenizer: Any) -> None:
    backend = tokenizer.backend_tokenizer
    offsets = backend.encode("The keeper", add_special_tokens=False).offsets
    with_space = name in BYTES - {"roberta"} | {"deberta-v2"}
    assert ((3 if with_space else 4) in {start for start, _ in offsets}) and offsets[0][0] == 0
    assert (4 in {start for start, _ in offsets}) != with_space


def test_what_no_token_covers_is_space_control_or_mark(
    name: str, encodings: dict[str, Any]
) -> None:
    lost = {
        character
        for key, encoding in encodings.items()
        for character in uncovered(TEXTS[key], encoding.offsets)
    }
    if name in BYTES - {"roberta", "modernbert"}:
        assert lost == set()
    elif name == "roberta":
        assert lost == {" "}
    else:
        kinds = set(DROPPED) if name != "modernbert" else set()
        kinds |= {"Mn"} if name in LOWER_CASE | COMPOSING else set()
        kinds |= {"Mn", "Mc", "Me", "Sk"} if name == "albert" else set()
        jamo = set(map(chr, range(0x1100, 0x1200))) if name in COMPOSING else set()
        replaced = {"\ufffd"} if name in WORDPIECE else {"'"} if name == "albert" else set()
        rest = {character for character in lost if unicodedata.category(character) not in kinds}
        assert rest <= jamo | replaced
        assert lost


@pytest.mark.parametrize("name", sorted(BYTES), scope="module")
def test_byte_tokens_give_the_text_back(
    name: str, tokenizer: Any, encodings: dict[str, Any]
) -> None:
    def kept(text: str) -> str:
        if name == "mmbert":
            return text.replace("▁", " ")
        return unicodedata.normalize("NFC", text) if name == "modernbert" else text

    decode = tokenizer.backend_tokenizer.decode
    wrong = [
        key
        for key, encoding in encodings.items()
        if decode(encoding.ids, skip_special_tokens=False) != kept(TEXTS[key])
    ]
    assert wrong == []


def test_pieces_of_one_character_share_its_offsets(name: str, tokenizer: Any) -> None:
    offsets = tokenizer.backend_tokenizer.encode("a龘", add_special_tokens=False).offsets
    assert offsets.count((1, 2)) == (3 if name in BYTES else 1)


def test_words_over_100_characters_are_one_unknown_only_to_wordpiece(
    name: str, tokenizer: Any, encodings: dict[str, Any]
) -> None:
    encoding = encodings["word_of_5000"]
    whole = encoding.ids == [tokenizer.unk_token_id] and encoding.offsets == [(0, 5000)]
    assert whole == (name in WORDPIECE)


def test_special_tokens_spelt_out_are_text_unless_they_are_unigram_pieces(
    name: str, tokenizer: Any, encodings: dict[str, Any]
) -> None:
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    found = {
        tokenizer.convert_ids_to_tokens(number)
        for encoding in encodings.values()
        for number in special.intersection(encoding.ids)
    }
    expected = {
        "albert": {"<pad>"},
        "xlm-roberta": {"<s>", "</s>", "<pad>"},
        "deberta-v2": {"[CLS]", "[SEP]", "[PAD]"},
    }
    assert found == expected.get(name, set())


def test_added_tokens_that_are_not_special_are_always_found(family: Callable[[str], Path]) -> None:
    tokenizer = load_tokenizer(family("modernbert"))
    tokenizer.backend_tokenizer.encode_special_tokens = True
    encoding = tokenizer.backend_tokenizer.encode("a |||IP_ADDRESS|||  [unused1] b")
    assert {"|||IP_ADDRESS|||", "  ", "[unused1]"} <= set(encoding.tokens)


def test_a_call_of_the_tokenizer_sets_anew_what_is_text(tokenizer: Any) -> None:
    backend = tokenizer.backend_tokenizer
    tokenizer("a")
    assert not backend.encode_special_tokens
    tokenizer.split_special_tokens = True
    tokenizer("a")
    assert backend.encode_special_tokens


@pytest.mark.parametrize("key", REFUSED)
def test_what_must_be_refused_gives_no_token_or_only_space(key: str, tokenizer: Any) -> None:
    text, backend = REFUSED[key], tokenizer.backend_tokenizer
    if any("\ud800" <= character <= "\udfff" for character in text):
        with pytest.raises(TypeError):
            backend.encode(text)
    else:
        ids = backend.encode(text, add_special_tokens=False).ids
        known = [number for number in ids if number != tokenizer.unk_token_id]
        assert not tokenizer.decode(known).strip()


def test_a_long_text_is_encoded_in_stretches_as_it_is_at_once(
    name: str, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = " ".join(f"The keeper rowed {n} boats;  and\n\nback (it's said)." for n in range(40))
    ids, offsets = encode_with_offsets(tokenizer, text)
    monkeypatch.setattr(tokenization, "STRETCH", 300)
    in_stretches = encode_with_offsets(tokenizer, text)
    if tokenization.character_table(tokenizer) is None:
        assert len(text) > 5 * tokenization.STRETCH
    assert in_stretches[0].tolist() == ids.tolist(), name
    assert in_stretches[1].tolist() == offsets.tolist()
    lines = text.replace(" ", "\n").replace("\n\n\n", "\n")
    cut = encode_with_offsets(tokenizer, lines)
    monkeypatch.undo()
    added = len(cut[0]) - len(encode_with_offsets(tokenizer, lines)[0])
    assert 0 <= added <= len(lines) // 150, "some families begin a stretch with a token more"
    monkeypatch.setattr(tokenization, "STRETCH", 300)
    unbroken = "a" * 1000
    assert encode_with_offsets(tokenizer, unbroken)[1][-1, 1] == 1000
