"""The comparison with other tools is fair: it forgives what a change moved, and nothing else."""

import runpy
from pathlib import Path

import pytest

CHECKS = runpy.run_path(str(Path(__file__).parent.parent / "benchmarks" / "peer_checks.py"))
compare, rebuilds = CHECKS["compare"], CHECKS["rebuilds"]
ORIGINAL = 'He said,  "Naïve as I was,\r\nI went."\n'


@pytest.mark.parametrize(
    ("written", "changed"),
    [
        (ORIGINAL, 0),
        ('He cried,  "Naïve as I was,\r\nI went."\n', 1),
        ('He said,  "Naïve as you were,\r\nI went."\n', 2),
        ('He said,  "Naïveas I was,\r\nI went."\n', 2),  # a written word that grew together
        ('Hello there said,  "Naïve as I was,\r\nI went."\n', 1),
    ],
)
def test_changed_words_are_counted_and_not_held_against_the_rest(
    written: str, changed: int
) -> None:
    kept = compare(ORIGINAL, written)
    assert (kept.changed, kept.identical) == (changed, True)


@pytest.mark.parametrize(
    "written",
    [
        'He said, "Naïve as I was,\r\nI went."\n',
        'He said,  "Naïve as I was,\nI went."\n',
        'he said,  "Naïve as I was,\r\nI went."\n',
        'He said,  "Naive as I was,\r\nI went."\n',
        'He said,  " Naïve as I was,\r\nI went."\n',
        'He said,  "Naïve as I was,\r\nI went."',
    ],
)
def test_case_accents_and_white_space_of_untouched_words_must_survive(written: str) -> None:
    kept = compare(ORIGINAL, written)
    assert (kept.changed, kept.identical) == (0, False)


def test_a_place_known_to_be_filled_may_come_out_in_another_case() -> None:
    written = ORIGINAL.replace("He", "he", 1)
    assert not compare(ORIGINAL, written).identical
    assert compare(ORIGINAL, written, [(0, 2)]).identical
    assert compare(ORIGINAL, written, [(0, 2)]).changed == 1


def test_a_word_between_underscores_is_still_that_word() -> None:
    assert compare("the _very_ man", "the _ very _ man").changed == 0


def test_reach_and_loss_of_a_cut_text_are_seen() -> None:
    original = " ".join(f"word{number}" for number in range(100))
    written = " ".join(["other", *original.split()[1:50]])
    kept = compare(original, written)
    assert kept.left == 0.5
    assert kept.reached == 0.1  # the first tenth was filled; the last five are gone, not filled


def test_spans_rebuild_the_original_or_are_found_out() -> None:
    spans = [(0, 3, "He"), (4, 9, "said")]
    assert rebuilds("He said so", "She cried so", spans)
    assert not rebuilds("He said so", "She cried  so", spans)
