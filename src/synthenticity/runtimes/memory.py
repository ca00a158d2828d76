"""Freed memory is kept: a process that computes batch after batch asks the system for it once.

glibc maps every block above a threshold anew and gives it back when it is freed, so that each
layer's output costs a page fault for every 4 KiB. benchmarks/fill.py shows what that costs. A
thread beside the main one gets memory of its own, to which these settings do not apply, and
models may be computed in one (`prepare`), so all threads share the main one's.
"""

import ctypes
import sys
from collections.abc import Callable, Iterable
from functools import cache

KEPT_BYTES = 2**30
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""The numbers of glibc's `mallopt`."""
MOST_MAPPED_BEFORE_2_35 = 2**25
"""The largest threshold of mapping that glibc accepted before 2.35."""
SETTINGS = {
    _TRIM_THRESHOLD: (KEPT_BYTES,),
    _MMAP_THRESHOLD: (KEPT_BYTES, MOST_MAPPED_BEFORE_2_35),
    _ARENA_MAX: (1,),
}
"""The values of each that are tried in turn, until one is accepted."""


@cache
def keep_freed_memory() -> bool:
    """Have this process keep what it frees; return False where its memory is not glibc's.

    Each setting is made, whatever became of the one before.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library
        return False
    mallopt.argtypes, mallopt.restype = [ctypes.c_int, ctypes.c_int], ctypes.c_int
    done = [_set_first(mallopt, name, values) for name, values in SETTINGS.items()]
    return all(done)


def _set_first(mallopt: Callable[[int, int], int], name: int, values: Iterable[int]) -> bool:
    return any(mallopt(name, value) == 1 for value in values)
