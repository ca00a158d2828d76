"""Rows on disk: hidden states that outlive the process, in one SQLite file.

It is only a cache. Whatever SQLite says once it is open means that nothing was found or kept: one
warning, and the run goes on to the same bytes. Several processes may use the file at once, and one
that is killed leaves it whole. The journal is SQLite's oldest, which lives for one transaction: a
write-ahead log would double what is written and stand beside the file's bound. A value's checksum
covers its key, so that a damaged or misplaced one counts as missing.
"""

import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash
from torch import Tensor

from synthenticity.errors import ConfigError

logger = logging.getLogger(__name__)

MEBIBYTE = 2**20
FORMAT = 1
"""Of the file; it stands in SQLite's `user_version`."""
PAGE_BYTES = 4096
EMPTY_PAGES = 8
"""A file without rows has 4; the others are for what B-trees need beside their leaves."""
PATIENCE_SECONDS = 20
"""So long another process is waited for; after the first failure, none is."""
CHECK_BYTES = 8
DTYPES = {str(dtype): dtype for dtype in (torch.float32, torch.bfloat16)}
FAILURES = (sqlite3.Error, UnicodeError)
"""SQLite's messages of damage quote what is damaged."""
OLDEST_TENTH = "rowid <= (9 * (SELECT min(rowid) FROM rows) + (SELECT max(rowid) FROM rows)) / 10"
ADVICE = {
    sqlite3.SQLITE_BUSY: "Wait for the process that holds it",
    sqlite3.SQLITE_FULL: "Make room on its disk",
    sqlite3.SQLITE_IOERR: "Check its disk",
    sqlite3.SQLITE_READONLY: "Allow writing there",
    sqlite3.SQLITE_CANTOPEN: "Allow writing there",
}


class RowStore:
    """Tensors `[places, width]` by their keys; what was written longest ago goes first.

    Args:
        folder: on a disk of this machine; made if it is not there.
        mebibytes: how large the file may get, whoever writes to it.

    Raises:
        ConfigError: the folder cannot be used; one that is read-only is, if it has a store.

    """

    def __init__(self, folder: str | Path, mebibytes: int) -> None:
        self._bound = mebibytes * MEBIBYTE // PAGE_BYTES
        self._patience: float = PATIENCE_SECONDS
        self._warned: set[str] = set()
        self.path = Path(folder) / "rows.sqlite"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._opened() as file:
                self._make_room(file, 0)
                file.execute("COMMIT")
        except (OSError, *FAILURES) as error:
            raise ConfigError(
                f"fill_cache_dir: {self.path} cannot be used ({error}). {_advice(error)}, or name "
                "another folder."
            ) from error

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Tensor]:
        """Return what is there of some rows."""
        values = {}
        with self._forgiven(), self._opened() as file:
            file.execute("BEGIN")
            for key in keys:
                row = file.execute("SELECT value FROM rows WHERE key = ?", (key,)).fetchone()
                if row is not None:
                    values[key] = row[0]
        found = {key: _decode(key, value) for key, value in values.items()}
        return {key: tensor for key, tensor in found.items() if tensor is not None}

    def keep(self, rows: Mapping[bytes, Tensor]) -> None:
        """Store rows, unless the disk or the bound refuses them."""
        pages = EMPTY_PAGES + ceil(sum(_most_pages(tensor) for tensor in rows.values()))
        if pages > self._bound:
            self._warn(
                "fill_cache_dir_mib",
                f"a batch of {len(rows)} rows takes {pages * PAGE_BYTES / MEBIBYTE:.1f} MiB, more "
                f"than {self._bound * PAGE_BYTES // MEBIBYTE}, and is not kept. Raise the bound.",
            )
            return
        values = [(key, _encode(key, tensor)) for key, tensor in rows.items()]
        with self._forgiven(), self._opened() as file:
            if self._make_room(file, pages):
                file.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?)", values)
            file.execute("COMMIT")

    def _make_room(self, file: sqlite3.Connection, pages: int) -> bool:
        """Begin a transaction in which so many pages fit under the bound; return whether they do.

        What is let go of is committed first, so that no journal holds it while it is written over.
        """
        while True:
            file.execute("BEGIN IMMEDIATE")
            there = _pragma(file, "page_count")
            if there - _pragma(file, "freelist_count") + pages <= self._bound:
                for _ in range(there - self._bound):  # the bound was higher before
                    file.execute("PRAGMA incremental_vacuum(1)")
                return True
            if not file.execute(f"DELETE FROM rows WHERE {OLDEST_TENTH}").rowcount:
                return False
            file.execute("COMMIT")

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """Open the file for one call; what is not committed is rolled back."""
        connection = sqlite3.connect(self.path, timeout=self._patience, isolation_level=None)
        with closing(connection) as file:
            file.execute("PRAGMA synchronous=OFF")  # what a power cut takes is read again
            if _pragma(file, "user_version") != FORMAT:
                _begin(file)
            yield file

    @contextmanager
    def _forgiven(self) -> Iterator[None]:
        try:
            yield
        except FAILURES as error:
            self._patience = 0
            self._warn(
                "fill_cache_dir",
                f"{self.path} fails ({error}), and the model reads what is not found there. "
                f"{_advice(error)}, or name another folder.",
            )

    def _warn(self, setting: str, message: str) -> None:
        if setting not in self._warned:
            logger.warning("%s: %s", setting, message)
        self._warned.add(setting)


def _begin(file: sqlite3.Connection) -> None:
    """Make the table in a new file; refuse another's."""
    file.execute(f"PRAGMA page_size={PAGE_BYTES}")
    file.execute("PRAGMA auto_vacuum=INCREMENTAL")
    file.execute("BEGIN IMMEDIATE")
    found = _pragma(file, "user_version")  # another process may have been faster
    if found == 0 and not file.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        file.execute("CREATE TABLE rows (key BLOB PRIMARY KEY, value BLOB)")
        file.execute(f"PRAGMA user_version={FORMAT}")
    elif found != FORMAT:
        raise sqlite3.NotSupportedError(f"it has format {found}, not {FORMAT}")
    file.execute("COMMIT")


def _pragma(file: sqlite3.Connection, name: str) -> int:
    return int(file.execute(f"PRAGMA {name}").fetchone()[0])


def _advice(error: Exception) -> str:
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(error, OSError):
        code = sqlite3.SQLITE_CANTOPEN
    return ADVICE.get((code or 0) & 0xFF, "Remove the file")


def _most_pages(tensor: Tensor) -> float:
    """Return how many pages a row takes at most: leaves are half full, overflow pages are full."""
    size = tensor.nbytes + 150  # key, index and head
    return min(2 * size / PAGE_BYTES, 2 + size / (PAGE_BYTES - 4))


def _encode(key: bytes, tensor: Tensor) -> bytes:
    content = f"{tensor.dtype} {tensor.shape[1]}\n".encode()
    content += tensor.contiguous().view(torch.uint8).numpy().tobytes()
    return xxhash.xxh3_64_digest(key + content) + content


def _decode(key: bytes, value: Any) -> Tensor | None:
    if not isinstance(value, bytes):
        return None
    content = value[CHECK_BYTES:]
    if xxhash.xxh3_64_digest(key + content) != value[:CHECK_BYTES]:
        return None
    head, _, body = content.partition(b"\n")
    dtype, width = head.decode().split()
    numbers = torch.from_numpy(np.frombuffer(body, dtype=np.uint8).copy())
    return numbers.view(DTYPES[dtype]).reshape(-1, int(width))
