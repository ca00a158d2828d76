"""The artefact alarm rings for what the tool changed, and for nothing else."""

import random
from collections.abc import Callable

import pytest

from synthenticity.evaluation.alarms import Passage, artefact_alarm
from synthenticity.synthesis.splicing import Span

WORDS = [
    "The",
    "keeper",
    "counted",
    "ships,",
    "before",
    "Breakfast",
    "and",
    "rowed",
    "12",
    "miles.",
]


def passage(number: int, change: Callable[[str], str] = str) -> Passage:
    """Return a document of which one word was written, and the rest changed, if so asked."""
    rng = random.Random(number)
    words = [rng.choice(WORDS) for _ in range(60)]
    before, after = " ".join(words[:30]), " ".join(words[31:])
    original = f"{before} {words[30]} {after}"
    first, last = change(before), change(after)
    text = f"{first} synthetic {last}"
    span = Span(len(first), len(first) + len(" synthetic"), 2, f" {words[30]}")
    return Passage(original, text, [span])


def test_untouched_stretches_are_found_on_both_sides() -> None:
    given = passage(1)
    before, after = (given.untouched(before=side) for side in (True, False))
    assert before == after
    assert before.count("\x00") == 1
    assert "synthetic" not in before
    joined = before.replace("\x00", given.spans[0].original)
    assert joined == given.original


def test_several_spans_of_other_lengths_are_left_out() -> None:
    original = "one two three four"
    spans = [Span(3, 10, 2, " two"), Span(16, 16 + 2, 2, " four")]
    given = Passage(original, "one 222222 three 4", spans)
    assert given.untouched(before=True) == "one\x00 three\x00"
    assert given.untouched(before=False) == "one\x00 three\x00"


def test_text_that_was_left_alone_rings_no_alarm() -> None:
    alarm = artefact_alarm([passage(number) for number in range(400)])
    assert alarm is not None
    assert not alarm.rings
    assert "cannot see" in alarm.sentence()
    assert alarm.documents == 400


@pytest.mark.parametrize(
    ("change", "culprit"),
    [
        (str.lower, "capitals"),
        (lambda text: text.replace(" ", "  "), "white space"),
        (lambda text: text.replace(",", " ,"), "bytes"),
    ],
)
def test_text_that_was_changed_rings_and_names_a_culprit(
    change: Callable[[str], str], culprit: str
) -> None:
    alarm = artefact_alarm([passage(number, change) for number in range(400)])
    assert alarm is not None
    assert alarm.rings
    assert "sees" in alarm.sentence()
    assert alarm.culprit in alarm.sentence()
    assert culprit in alarm.culprit or "bytes" in alarm.culprit


def test_a_few_documents_say_nothing() -> None:
    assert artefact_alarm([passage(number) for number in range(39)]) is None
