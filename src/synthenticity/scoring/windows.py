"""Overlapping windows over a long text, of which every token counts exactly once.

Windows start half a window apart; a token belongs to the window in whose middle it lies deepest.
Nothing is cut off: the last window ends with the text.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Window:
    """Tokens `start` to `end` are read; tokens `own_start` to `own_end` are counted."""

    start: int
    end: int
    own_start: int
    own_end: int


def cut_windows(tokens: int, length: int) -> list[Window]:
    """Return the windows of at most `length` tokens that cover a text.

    >>> [(w.start, w.end, w.own_start, w.own_end) for w in cut_windows(10, 4)]
    [(0, 4, 0, 3), (2, 6, 3, 5), (4, 8, 5, 7), (6, 10, 7, 10)]
    """
    if tokens <= length:
        return [Window(0, tokens, 0, tokens)] if tokens else []
    starts = [*range(0, tokens - length, max(1, length // 2)), tokens - length]
    middles = [(right + left + length) // 2 for left, right in pairwise(starts)]
    borders = [0, *middles, tokens]
    return [
        Window(start, start + length, own_start, own_end)
        for start, (own_start, own_end) in zip(starts, pairwise(borders), strict=True)
    ]


def own_weights(windows: list[Window], counted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the share of a text's counted tokens that each window counts, `[windows]`; `counted`
    `[tokens]` says which are. Zeros, if none is.

    >>> windows = cut_windows(6, 4)
    >>> own_weights(windows, np.array([1, 1, 1, 0, 0, 1], dtype=bool)).tolist()
    [0.75, 0.25]
    """
    before = np.concatenate([[0], np.cumsum(counted)])
    sizes = np.array(
        [before[window.own_end] - before[window.own_start] for window in windows], dtype=np.float64
    )
    return np.asarray(sizes / max(sizes.sum(), 1))
