"""What became of a text, seen from outside: which words changed, and is the rest as it was?

Words of both texts are aligned without regard to case, accents and white space, so that a tool
is not charged for a change by what that change moved; a word that the tool is known to have
written counts as changed even if it came out the same. The rest is as it was if every aligned
word has its bytes, and so has all that lies between two aligned words that are still neighbours.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise

WORD = re.compile(r"[^\W_]+|[^\w\s]|_")


@dataclass(frozen=True)
class Kept:
    """`changed` of `words` words are not in the written text; `identical`: the rest is as it was.

    `reached` is the share of the text's tenths in which a word changed and was not just cut off,
    `left` the written text's words against the original's.
    """

    words: int
    changed: int
    identical: bool
    reached: float
    left: float


def compare(original: str, written: str, asked: Sequence[tuple[int, int]] = ()) -> Kept:
    """Compare a filled text with its original, in which words at `asked` are known to be filled."""
    before, after = (list(WORD.finditer(text)) for text in (original, written))
    matcher = SequenceMatcher(None, _keys(before), _keys(after), autojunk=False)
    places = {
        index
        for index, word in enumerate(before)
        if any(start < word.end() and word.start() < end for start, end in asked)
    }
    pairs = [
        (block.a + n, block.b + n)
        for block in matcher.get_matching_blocks()
        for n in range(block.size)
        if block.a + n not in places
    ]
    kept = {a for a, _ in pairs}
    changed = [index for index in range(len(before)) if index not in kept]
    same_words = all(before[a].group() == after[b].group() for a, b in pairs)
    same_gaps = all(
        original[before[a].end() : before[c].start()] == written[after[b].end() : after[d].start()]
        for (a, b), (c, d) in pairwise(pairs)
        if c == a + 1 and d == b + 1
    )
    last = max(kept, default=0)  # what is missing after it was cut off, not filled
    tenths = {10 * index // len(before) for index in changed if index < last}
    return Kept(
        words=len(before),
        changed=len(changed),
        identical=same_words and same_gaps and _same_ends(original, written),
        reached=len(tenths) / 10,
        left=len(after) / len(before),
    )


def rebuilds(original: str, written: str, spans: list[tuple[int, int, str]]) -> bool:
    """Say whether the spans, put back, give the original to the byte."""
    for start, end, word in sorted(spans, reverse=True):
        written = written[:start] + word + written[end:]
    return written == original


def _keys(words: list[re.Match[str]]) -> list[str]:
    """Return words without case and accents."""
    return [
        "".join(
            letter
            for letter in unicodedata.normalize("NFKD", word.group().casefold())
            if not unicodedata.combining(letter)
        )
        or word.group()
        for word in words
    ]


def _same_ends(original: str, written: str) -> bool:
    """Say whether white space before and after the text is as it was."""
    ends = [
        (text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :])
        for text in (original, written)
    ]
    return ends[0] == ends[1]
