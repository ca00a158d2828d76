"""Where the words, lines and sentences of a text are: one unit number for every token.

Units tile the text: each character lies in exactly one, so masking by units can reach any ratio.
Rules are Unicode's categories and no language's: a word is a run of letters, digits and marks
(apostrophes and hyphens inside it included), and what stands between words is a unit a character.
"""

import re
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

_PIECES = {
    "word": re.compile(r"\w+(?:['’\-]\w+)*|\W", re.DOTALL),
    "line": re.compile(r"[^\n]*\n|[^\n]+"),
}
_SENTENCE_END = re.compile(r"(?<![.!?…])(?P<marks>[.!?…]+)[\"'”’)\]]*(?:\s+|\Z)|\n\s*\n\s*")
"""Marks, what closes behind them, and space; or an empty line. Each character is looked at a few
times at most, however many marks stand together."""
UNITS = (*_PIECES, "sentence")


def _starts(text: str, kind: str) -> list[int]:
    """Return where units begin."""
    if kind in _PIECES:
        return [match.start() for match in _PIECES[kind].finditer(text)]
    starts, place = [0], 0
    while found := _SENTENCE_END.search(text, place):
        if found.start() == starts[-1] and len(found["marks"] or "") < 2:
            place = found.start() + 1  # one mark alone is no sentence
            continue
        place = found.end()
        starts.append(place)
    return [start for start in starts if start < len(text)]


def unit_numbers(text: str, kind: str) -> NDArray[np.int64]:
    """Return the number `[characters]` of the unit that each character lies in, from 0 on.

    >>> unit_numbers("It's I!", "word").tolist()
    [0, 0, 0, 0, 1, 2, 3]
    >>> unit_numbers("Who? He. I", "sentence").tolist()
    [0, 0, 0, 0, 0, 1, 1, 1, 1, 2]
    """
    first = np.zeros(len(text), dtype=np.int64)
    first[_starts(text, kind)] = 1
    return np.asarray(first.cumsum() - 1)


def token_units(text: str, offsets: NDArray[np.int64], kind: str) -> NDArray[np.int64]:
    """Return the unit number `[tokens]` of each token, that of the character it begins with."""
    return unit_numbers(text, kind)[offsets[:, 0]] if len(offsets) else np.zeros(0, np.int64)


def touching_tokens(
    spans: Iterable[tuple[int, int]], offsets: NDArray[np.int64], characters: int
) -> NDArray[np.bool_]:
    """Return which tokens `[tokens]` of a text touch a span; spans may reach out of the text.

    >>> touching_tokens([(-3, 1), (5, 5)], np.array([[0, 2], [2, 6]]), 6).tolist()
    [True, False]
    """
    touched = np.zeros(characters + 1, dtype=np.int64)
    for start, end in spans:
        touched[max(start, 0) + 1 : max(end, 0) + 1] = 1
    before = touched.cumsum()  # touched characters before each place
    return np.asarray(before[offsets[:, 1]] > before[offsets[:, 0]])
