"""Batches of windows: each window once, padded by its own length alone."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from synthenticity.scoring.forward import plan_batches


@settings(derandomize=True, deadline=None)
@given(
    lengths=st.lists(st.integers(2, 50), max_size=60),
    batch_tokens=st.integers(1, 400),
)
def test_every_window_is_in_one_batch_whose_width_is_its_own(
    lengths: list[int], batch_tokens: int
) -> None:
    batches = list(plan_batches(np.array(lengths, dtype=np.int64), 50, batch_tokens))
    assert sorted(row for rows, _ in batches for row in rows.tolist()) == list(range(len(lengths)))
    for rows, width in batches:
        own = [lengths[row] for row in rows]
        assert {min(-(-length // 16) * 16, 50) for length in own} == {width}
        assert len({length == width for length in own}) == 1
        assert len(rows) * width <= max(batch_tokens, width)
