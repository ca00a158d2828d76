"""Written tokens put back into the text they were made for, with the truth of every character.

Untouched text is copied, not decoded, so it stays what it was to the byte; putting the originals
of the spans back gives the original text again, which is checked for every text.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthenticity.synthesis.spelling import Spelling, TokenizedText
from synthenticity.synthesis.token_labels import (
    NOT_COUNTED,
    ORIGINAL_TOKEN,
    REPLACED_TOKEN,
    RESTORED_TOKEN,
)


@dataclass(frozen=True)
class Span:
    """A stretch of filled text: `start` to `end` in characters, what was there, what it is now.

    `label` is 1 (restored) or 2 (replaced).
    """

    start: int
    end: int
    label: int
    original: str


@dataclass(frozen=True)
class SplicedText:
    """A text with written tokens in it.

    `starts`, `ends` (characters of `text`) and `token_labels` (int8) are `[tokens]`, one for
    each token that the filling model read or wrote.
    """

    text: str
    spans: list[Span]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    token_labels: NDArray[np.int8]


def splice(
    original: TokenizedText, written: NDArray[np.int64], mask: NDArray[np.bool_], spelling: Spelling
) -> SplicedText:
    """Write the masked tokens into the text.

    Args:
        original: the text and its tokens.
        written: ids `[tokens]`; those of masked places are written.
        mask: bool `[tokens]`; only maskable tokens may be masked.
        spelling: of the tokenizer.

    """
    pieces, restored = spelling.write(original, written, mask)
    places = np.flatnonzero(mask)
    labels = np.where(original.counted, ORIGINAL_TOKEN, NOT_COUNTED).astype(np.int8)
    labels[places] = np.where(restored, RESTORED_TOKEN, REPLACED_TOKEN)
    growth = np.zeros(len(labels), dtype=np.int64)
    lengths = original.ends - original.extent_starts
    growth[places] = np.fromiter(map(len, pieces), np.int64, len(pieces)) - lengths[places]
    shift = growth.cumsum()
    starts = original.extent_starts + shift - growth
    ends = original.ends + shift
    parts, cursor = [], 0
    old_starts, old_ends = original.extent_starts[places].tolist(), original.ends[places].tolist()
    for piece, start, end in zip(pieces, old_starts, old_ends, strict=True):
        parts += [original.text[cursor:start], piece]
        cursor = end
    text = "".join([*parts, original.text[cursor:]])
    result = SplicedText(text, _spans(original, labels, starts, ends), starts, ends, labels)
    if restore(result) != original.text:
        raise RuntimeError("splice: the untouched text was not kept. This is a bug; report it.")
    return result


def _spans(
    original: TokenizedText,
    labels: NDArray[np.int8],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> list[Span]:
    """Return the runs of tokens that are filled, touch each other and have one label."""
    places = np.flatnonzero((labels == RESTORED_TOKEN) | (labels == REPLACED_TOKEN))
    own = labels[places]
    new = (np.diff(places, prepend=-2) > 1) | (np.diff(own, prepend=-1) != 0)
    first, last = places[new], places[np.append(new[1:], True)] if len(places) else places
    return [
        Span(start, end, label, original.text[old_start:old_end])
        for start, end, label, old_start, old_end in zip(
            starts[first].tolist(),
            ends[last].tolist(),
            labels[first].tolist(),
            original.extent_starts[first].tolist(),
            original.ends[last].tolist(),
            strict=True,
        )
    ]


def restore(spliced: SplicedText) -> str:
    """Return the original text: the originals of the spans put back in their places."""
    parts, cursor = [], 0
    for span in spliced.spans:
        parts += [spliced.text[cursor : span.start], span.original]
        cursor = span.end
    return "".join([*parts, spliced.text[cursor:]])


def label_tokens(
    spans: Sequence[Span], text_length: int, offsets: NDArray[np.int64]
) -> NDArray[np.int8]:
    """Return the labels `[tokens]` of other tokens of a filled text, by its spans.

    A token is replaced if it touches a replaced character, else restored if it touches a
    restored one. Tokens without characters are not counted. `offsets` is `[tokens, 2]`.

    >>> spans = [Span(0, 2, 2, "a"), Span(4, 6, 1, "ef")]
    >>> label_tokens(spans, 8, np.array([[0, 3], [3, 5], [6, 8]])).tolist()
    [2, 1, 0]
    """
    labels = np.zeros(len(offsets), dtype=np.int8)
    for label in (RESTORED_TOKEN, REPLACED_TOKEN):
        change = np.zeros(text_length + 1, dtype=np.int64)
        own = [span for span in spans if span.label == label]
        np.add.at(change, [span.start for span in own], 1)
        np.add.at(change, [span.end for span in own], -1)
        filled_before = np.concatenate([[0], change[:-1].cumsum().cumsum()])
        labels[filled_before[offsets[:, 1]] > filled_before[offsets[:, 0]]] = label
    labels[offsets[:, 1] <= offsets[:, 0]] = NOT_COUNTED
    return labels
