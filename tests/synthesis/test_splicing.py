"""Text out of written tokens: untouched text stays, spans are true, every family, awkward text."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from families import CAUSAL, MASKED
from hypothesis import given, settings
from hypothesis import strategies as st
from torture import TEXTS

from synthenticity.synthesis.spelling import Spelling, TokenizedText
from synthenticity.synthesis.splicing import SplicedText, restore, splice
from synthenticity.text.tokenization import load_tokenizer

ALL = [*MASKED, *CAUSAL]


def written_by_chance(
    spelling: Spelling, tokens: TokenizedText, share: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return ids of which some places are masked and written by random writable tokens."""
    rng = np.random.default_rng(seed)
    mask = tokens.maskable & (rng.random(len(tokens.ids)) < share)
    never = [*spelling.unwritable_ids, *spelling.special_ids]
    writable = np.setdiff1d(np.arange(len(spelling.surfaces)), never)
    return np.where(mask, rng.choice(writable, len(mask)), tokens.ids), mask


def check_truth(tokens: TokenizedText, spliced: SplicedText, mask: np.ndarray) -> None:
    """Check everything that must hold of any spliced text."""
    assert restore(spliced) == tokens.text
    labels = spliced.token_labels
    assert ((labels == 1) | (labels == 2)).tolist() == mask.tolist()
    assert (labels == -100).tolist() == (~tokens.counted).tolist()
    assert (np.diff(spliced.starts) >= 0).all()
    assert (spliced.starts <= spliced.ends).all()
    assert ((spliced.ends >= 0) & (spliced.ends <= len(spliced.text))).all()
    ends = [0, *(span.end for span in spliced.spans)]
    assert all(span.start >= end for span, end in zip(spliced.spans, ends, strict=False))
    for span in spliced.spans:
        now = spliced.text[span.start : span.end]
        assert now
        assert now == span.original if span.label == 1 else span.label == 2


@pytest.mark.parametrize("name", ALL)
def test_every_awkward_text_keeps_its_untouched_characters(
    name: str, family: Callable[[str], Path]
) -> None:
    spelling = Spelling(load_tokenizer(family(name)))
    texts = list(TEXTS.values())
    replaced = 0
    for number, tokens in enumerate(spelling.tokenize(texts)):
        for share in (0.0, 0.3, 1.0):
            written, mask = written_by_chance(spelling, tokens, share, number)
            spliced = splice(tokens, written, mask, spelling)
            check_truth(tokens, spliced, mask)
            replaced += int((spliced.token_labels == 2).sum())
            if share == 0:
                assert spliced.text == tokens.text
    assert replaced > 1000


@pytest.mark.parametrize("name", ALL)
def test_the_same_tokens_written_again_give_the_same_text(
    name: str, family: Callable[[str], Path]
) -> None:
    spelling = Spelling(load_tokenizer(family(name)))
    for tokens in spelling.tokenize(list(TEXTS.values())):
        spliced = splice(tokens, tokens.ids, tokens.maskable, spelling)
        assert spliced.text == tokens.text
        assert not (spliced.token_labels == 2).any()


@pytest.mark.parametrize("name", ["bert-uncased", "roberta", "modernbert", "xlm-roberta"])
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_any_text_keeps_its_untouched_characters(
    name: str, family: Callable[[str], Path], text: str, seed: int
) -> None:
    spelling = _spelling(family(name))
    (tokens,) = spelling.tokenize([text])
    written, mask = written_by_chance(spelling, tokens, 0.5, seed)
    check_truth(tokens, splice(tokens, written, mask, spelling), mask)


_known: dict[Path, Spelling] = {}


def _spelling(folder: Path) -> Spelling:
    if folder not in _known:
        _known[folder] = Spelling(load_tokenizer(folder))
    return _known[folder]
