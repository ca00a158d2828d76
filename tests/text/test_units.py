"""Units tile the text, and are what a reader calls words, lines and sentences."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthenticity.text.units import UNITS, token_units, touching_tokens, unit_numbers


def units(text: str, kind: str) -> list[str]:
    """Return the units as stretches of the text."""
    numbers = unit_numbers(text, kind)
    return ["".join(np.array(list(text))[numbers == n]) for n in range(numbers.max() + 1)]


@pytest.mark.parametrize("kind", UNITS)
@settings(derandomize=True, deadline=None)
@given(
    text=st.text(st.sampled_from("ab \n\r.!\"'-é\u0301\u05e9\U0001f642"), max_size=60) | st.text()
)
def test_units_tile_any_text(kind: str, text: str) -> None:
    numbers = unit_numbers(text, kind)
    assert numbers.shape == (len(text),)
    if text:
        assert numbers[0] == 0
        assert set(np.diff(numbers).tolist()) <= {0, 1}


def test_words_are_whole_and_what_is_between_is_single() -> None:
    assert units("Don't  re-do x_1!", "word") == ["Don't", " ", " ", "re-do", " ", "x_1", "!"]
    assert units("naïve – été", "word") == ["naïve", " ", "–", " ", "été"]


def test_lines_keep_their_ends() -> None:
    assert units("a b\r\n\nc", "line") == ["a b\r\n", "\n", "c"]


def test_sentences_end_at_their_marks_or_at_an_empty_line() -> None:
    text = 'He said: "No!" Why? 3.14 is pi...\nACT I\n\nEnter'
    expected = ['He said: "No!" ', "Why? ", "3.14 is pi...\n", "ACT I\n\n", "Enter"]
    assert units(text, "sentence") == expected


def test_a_mark_alone_begins_a_sentence_and_many_are_one() -> None:
    assert units("? No. ... Yes", "sentence") == ["? No. ", "... ", "Yes"]
    assert units("a\n\n\nb", "sentence") == ["a\n\n\n", "b"]


@pytest.mark.parametrize("kind", UNITS)
@pytest.mark.parametrize("part", [".", "?!", "…", '."', "\n ", "\n", " ", "a-", ". )"])
def test_units_of_hostile_text_take_no_time(kind: str, part: str) -> None:
    """Of a quadratic pattern, the longer text would take 256 times as long, half an hour."""
    text = part * (400_000 // len(part)) + "x"
    assert len(unit_numbers(text, kind)) == len(text)


def test_tokens_belong_to_the_unit_they_begin_in() -> None:
    offsets = np.array([[0, 2], [2, 5], [5, 6], [6, 9]])
    assert token_units("to be, so", offsets, "word").tolist() == [0, 1, 3, 4]
    assert token_units("", np.zeros((0, 2), int), "word").tolist() == []


def test_tokens_that_touch_a_span_are_found() -> None:
    text = "see [12] and https://x.y now"
    offsets = np.array([m.span() for m in re.finditer(r"\S{1,4}", text)])

    def touching(pattern: str) -> np.ndarray:
        spans = [match.span() for match in re.finditer(pattern, text)]
        return touching_tokens(spans, offsets, len(text))

    found = touching(r"\[\d+\]|https?://\S+")
    shown = [text[a:b] for (a, b), protected in zip(offsets, found, strict=True) if protected]
    assert "".join(shown) == "[12]https://x.y"
    assert not touching("nothing").any()
    assert touching(r"(?s).*").all()
    assert not touching(r"").any()


def test_spans_may_reach_out_of_the_text_at_both_ends() -> None:
    offsets = np.array([[0, 2], [2, 4], [4, 6]])
    assert touching_tokens([(-9, 1), (5, 99)], offsets, 6).tolist() == [True, False, True]
    assert not touching_tokens([(-9, -1), (-3, 0), (6, 7)], offsets, 6).any()
