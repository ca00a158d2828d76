"""Temporary folders in memory, for tests that would spend nine tenths of their time in flushes.

A kill loses nothing that was written, flushed or not, so a flush adds only time to a fault test.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEMORY = Path("/dev/shm")


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """Make a folder in memory, or on the disk where the system offers nothing else."""
    where = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=where) as folder:
        yield Path(folder)
