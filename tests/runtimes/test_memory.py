"""What is asked of the C library is asked in full, whatever version of it is there."""

import ctypes
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from synthenticity.runtimes import memory

TRIM, MAPPED, ARENAS = -1, -3, -8


@pytest.mark.parametrize(
    ("most_mapped", "asked", "done"),
    [
        (2**30, [(TRIM, 2**30), (MAPPED, 2**30), (ARENAS, 1)], True),
        (2**25, [(TRIM, 2**30), (MAPPED, 2**30), (MAPPED, 2**25), (ARENAS, 1)], True),
        (0, [(TRIM, 2**30), (MAPPED, 2**30), (MAPPED, 2**25), (ARENAS, 1)], False),
    ],
    ids=["glibc from 2.35", "an older glibc", "a refusal"],
)
def test_threads_share_memory_whatever_threshold_of_mapping_is_refused(
    most_mapped: int, asked: list[tuple[int, int]], done: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []

    class Mallopt:
        def __call__(self, name: int, value: int) -> int:
            found.append((name, value))
            return int(name != MAPPED or value <= most_mapped)

    library: Any = SimpleNamespace(mallopt=Mallopt())
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    assert memory.keep_freed_memory.__wrapped__() == done
    assert found == asked
