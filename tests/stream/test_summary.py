"""The figures of a stream: of everything, or of the last million sequences, in bounded memory."""

import numpy as np
import pytest

from synthenticity.stream import summary
from synthenticity.stream.summary import StreamSummary


def batch(value: float) -> dict[str, np.ndarray]:
    labels = np.array([[0, 1, -100], [0, 0, 0]], dtype=np.int8)
    return {
        "input_ids": np.zeros((2, 3), dtype=np.uint16),
        "token_labels": labels,
        "synthenticity": np.full(2, value, dtype=np.float32),
    }


def test_single_values_are_remembered_of_the_last_sequences_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(summary, "MOST_REMEMBERED", 7)
    found = StreamSummary()
    for value in range(10):
        found.add(batch(value / 10))
    assert found.sequences == 20 and found.filled == 10
    assert [part.tolist() for part in found.values] == [
        pytest.approx([value / 10] * 2) for value in (7, 8, 9)
    ]
    assert len(found.padding) == 3
    other = StreamSummary()
    other.merge(found)
    other.merge(found)
    assert other.sequences == 40 and len(other.values) == 3


def test_one_part_larger_than_all_that_is_remembered_is_kept_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(summary, "MOST_REMEMBERED", 1)
    found = StreamSummary()
    found.add(batch(0.1))
    found.add(batch(0.2))
    assert len(found.values) == 1 and found.values[0].tolist() == pytest.approx([0.2, 0.2])
