"""JSON lines and arrays: the same objects however the text comes in, every mistake with a line."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthenticity.errors import CorpusError
from synthenticity.text.json_text import json_rows

objects = st.lists(
    st.dictionaries(
        st.text(max_size=3),
        st.one_of(st.text(max_size=30), st.integers(), st.none(), st.lists(st.floats(0, 1))),
        max_size=3,
    ),
    max_size=5,
)


def pieces(text: str, size: int) -> Iterator[str]:
    """Yield a text in pieces of a size."""
    return (text[start : start + size] for start in range(0, len(text), size))


def rows(text: str, size: int = 10**6) -> list[tuple[int, dict]]:
    return [(line, dict(value)) for line, value in json_rows(pieces(text, size), "f.json")]


@settings(derandomize=True, deadline=None, max_examples=150)
@given(values=objects, size=st.integers(1, 50), indent=st.sampled_from([None, 0, 2]))
def test_arrays_are_read_in_pieces_of_any_size(
    values: list[dict], size: int, indent: int | None
) -> None:
    text = json.dumps(values, indent=indent)
    found = rows(text, size)
    assert [value for _, value in found] == values
    assert found == rows(text)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(values=objects, size=st.integers(1, 50))
def test_lines_are_read_in_pieces_of_any_size(values: list[dict], size: int) -> None:
    text = "\n\n".join(json.dumps(value, ensure_ascii=False) for value in values)
    assert rows(text, size) == [(1 + 2 * n, value) for n, value in enumerate(values)]


def test_the_line_is_that_in_which_an_element_begins() -> None:
    assert rows('[\n{"a":\n1},\n\n {"b": "x\\n"} , {"c": 2}\n]\n', 3) == [
        (2, {"a": 1}),
        (5, {"b": "x\n"}),
        (5, {"c": 2}),
    ]


@pytest.mark.parametrize("size", [1, 5, 10**6])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1}\n{"a": }\n', "line 2 is broken JSON"),
        ('{"a": 1}\n{"a": "x', "line 2 is broken JSON"),
        ('{"a": 1}\n[1, 2]\n', r"line 2 holds \[1, 2\], not an object"),
        ('{"a": 1}\n' + "[" * 100_000, "line 2 is broken JSON"),
        ('[{"a": 1},\n{"a": }]', "line 2 is broken JSON"),
        ('[{"a": 1},\n{"a":\n\n@}]', "line 4 is broken JSON"),
        ('[{"a": 1}\n{"a": 2}]', "line 2 is broken JSON .*where a comma"),
        ('[{"a": 1},\n{"a": "x', "line 2 is broken JSON"),
        ('[{"a": 1},\n', "line 2 is broken JSON"),
        ('[{"a": 1}', "array does not end"),
        ('[{"a": 1},\n3]', "line 2 holds 3, not an object"),
        ('[{"a": 1}]\n{"a": 2}', "line 2 is broken JSON .*behind the array"),
        ("[", "line 1 is broken JSON"),
    ],
)
def test_mistakes_are_named_with_their_line(text: str, words: str, size: int) -> None:
    if size == 1 and len(text) > 1000:
        size = 1000
    with pytest.raises(CorpusError, match=rf"f\.json: .*{words}"):
        rows(text, size)


def test_a_mistake_early_in_a_long_array_is_found_without_reading_on() -> None:
    def endless() -> Iterator[str]:
        yield '[{"a": 1}, {"a" 2}, ' + '{"a": 3}, ' * 100
        raise AssertionError("read on")

    with pytest.raises(CorpusError, match="line 1 is broken"):
        list(json_rows(endless(), "f.json"))


def test_nothing_is_in_an_empty_file_or_array() -> None:
    assert rows("") == rows(" \n") == rows("[]") == rows(" [ \n ] ") == []
