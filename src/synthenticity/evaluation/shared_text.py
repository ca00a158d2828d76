"""How much of some windows stands in others, too: words in runs of thirteen that both have.

The hashes are those by which the pools of a corpus are kept apart. 800 windows of 256 characters
against 40,000 take some seconds; training text is hashed a million characters at a time.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthenticity.text.duplicates import GRAM_WORDS, PIECE, gram_hashes

SHARED_WORDS = 0.5
"""Of a window; less is a stock phrase or a quotation."""
FEWEST_WORDS = 8
"""Of a run, where windows are short (Brown et al. 2020, appendix C)."""
IDEOGRAPH = re.compile("[\u3400-\u9fff\U00020000-\U0003ffff]")


@dataclass(frozen=True)
class SharedWindows:
    """Which share of test windows the training windows hold, too.

    Attributes:
        held: share of windows of which at least half of the words stand in such runs; so a stock
            phrase or a quotation is none, and a copy is in which every twentieth word was changed.
        touched: share of windows with any such run.
        judged: how many windows are long enough for one.
        words: of a run: 13, or where one window in twenty is shorter, as many as that one has, but
            8 at least. A word is a run of letters and digits in any case; an ideograph, which no
            spaces divide, is one of its own, as for BERT.

    """

    held: float
    touched: float
    judged: int
    words: int


def shared_windows(train: list[str], test: list[str]) -> SharedWindows | None:
    """Compare windows; None if every test window is shorter than the shortest run."""
    train, test = _lowered(train), _lowered(test)
    sizes = np.bincount(gram_hashes(test, 1)[1], minlength=len(test))
    if sizes.max() < FEWEST_WORDS:
        return None
    shorter = np.percentile(sizes[sizes >= FEWEST_WORDS], 5)
    words = int(np.clip(shorter, FEWEST_WORDS, GRAM_WORDS))
    judged = sizes >= words
    shared = (_shared_words(train, test, words) / np.maximum(sizes, 1))[judged]
    held, touched = float((shared >= SHARED_WORDS).mean()), float((shared > 0).mean())
    return SharedWindows(held, touched, int(judged.sum()), words)


def _shared_words(train: list[str], test: list[str], words: int) -> NDArray[np.int64]:
    """Return how many words of each test text lie in runs that training texts have, too."""
    grams, owners = gram_hashes(test, words)
    wanted = np.unique(grams)
    found = np.zeros(len(wanted), dtype=bool)
    for pieces in _portions(train):
        found |= np.isin(wanted, gram_hashes(pieces, words)[0])
    places = np.flatnonzero(found[np.searchsorted(wanted, grams)])  # runs begin a word apart
    owners = owners[places]
    new = np.minimum(np.diff(places, append=places[-1:] + words), words)
    new[np.flatnonzero(np.diff(owners))] = words  # the next run is another text's
    return np.bincount(owners, new, minlength=len(test)).astype(np.int64)


def _lowered(texts: list[str]) -> list[str]:
    """Return texts in lower case, ideographs apart."""
    return [IDEOGRAPH.sub(r" \g<0> ", text.lower()) for text in texts]


def _portions(texts: list[str]) -> Iterator[list[str]]:
    """Yield some texts at a time, about `PIECE` characters: to hash one takes forty bytes."""
    ends = np.cumsum([len(text) for text in texts])
    cuts = np.searchsorted(ends, np.arange(0, ends[-1] if len(ends) else 0, PIECE))
    for start, end in zip(cuts, [*cuts[1:], len(texts)], strict=True):
        yield texts[start:end]
