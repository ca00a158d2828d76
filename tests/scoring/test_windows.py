"""Windows: of a text of any length, every token counts once."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from synthenticity.scoring.windows import cut_windows, own_weights


@settings(derandomize=True, deadline=None)
@given(tokens=st.integers(1, 400), length=st.integers(1, 60))
def test_every_token_is_read_within_bounds_and_counted_once(tokens: int, length: int) -> None:
    windows = cut_windows(tokens, length)
    owned = [i for window in windows for i in range(window.own_start, window.own_end)]
    assert owned == list(range(tokens))
    for window in windows:
        assert 0 <= window.start <= window.own_start <= window.own_end <= window.end <= tokens
        assert window.end - window.start == min(length, tokens)
    assert np.isclose(own_weights(windows, np.ones(tokens, dtype=bool)).sum(), 1)


def test_a_token_counts_in_the_window_where_it_lies_deepest() -> None:
    windows = cut_windows(1000, 100)
    for window in windows[1:-1]:
        assert window.own_start - window.start == window.end - window.own_end == 25


def test_a_text_that_fits_is_one_window_and_nothing_is_none() -> None:
    assert [(w.start, w.end) for w in cut_windows(256, 256)] == [(0, 256)]
    assert len(cut_windows(257, 256)) == 2
    assert cut_windows(0, 256) == []
