"""Provider, workers and trainer killed at random end where an undisturbed run ends.

Some minutes, so `slow`; benchmarks/soak.py does the same with 200 kills.
"""

from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.slow
def test_random_kills_change_neither_the_stream_nor_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from soak import soak

    killed, undisturbed, differences = soak(tmp_path, kills=15, iterations=500, mean_seconds=2.0)
    assert differences == []
    assert killed.kills.total() == 15
    assert killed.starts["trainer"] > undisturbed.starts["trainer"] == 1
    assert max(killed.most_waiting, undisturbed.most_waiting) <= 3
    assert killed.consumed == 500 * 8 // 12
