"""Rows on disk: hidden states that outlive the process, in one SQLite file.

Several processes may use it at once, and one that is killed leaves it whole. A value carries a
checksum, so that a damaged one counts as missing. What was written longest ago goes first.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
import xxhash
from torch import Tensor

from synthenticity.errors import ConfigError

MEBIBYTE = 2**20
CHECK_BYTES = 8
SHARE_LET_GO = 0.1
"""So much is let go of at once when the file has reached its bound."""
DTYPES = {str(dtype): dtype for dtype in (torch.float32, torch.bfloat16)}


class RowStore:
    """Tensors `[places, width]` by their keys.

    Args:
        folder: on a disk of this machine; made if it is not there.
        mebibytes: how large the file may get.

    Raises:
        ConfigError: the folder cannot be used.

    """

    def __init__(self, folder: str | Path, mebibytes: int) -> None:
        self._bound = mebibytes * MEBIBYTE
        self.path = Path(folder) / "rows.sqlite"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(
                self.path, timeout=60, isolation_level=None, check_same_thread=False
            )
            for statement in (
                "PRAGMA journal_mode=WAL",
                "PRAGMA synchronous=OFF",  # what a power cut takes is read by the model again
                "CREATE TABLE IF NOT EXISTS rows (key BLOB PRIMARY KEY, value BLOB)",
            ):
                self._file.execute(statement)
            self._size = self._file.execute("SELECT total(length(value)) FROM rows").fetchone()[0]
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(
                f"fill_cache_dir: {self.path} cannot be used ({error}). Remove it, or name another "
                "folder."
            ) from error

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Tensor]:
        """Return what is there of some rows."""
        found = {}
        for key in keys:
            row = self._file.execute("SELECT value FROM rows WHERE key = ?", (key,)).fetchone()
            tensor = None if row is None else _decode(row[0])
            if tensor is not None:
                found[key] = tensor
        return found

    def keep(self, rows: Iterable[tuple[bytes, Tensor]]) -> None:
        """Store rows; whatever the disk refuses is not stored."""
        values = [(key, _encode(tensor)) for key, tensor in rows]
        try:
            self._file.execute("BEGIN IMMEDIATE")
            self._file.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?)", values)
            self._size += sum(len(value) for _, value in values)
            while self._size > self._bound and self._let_go():
                pass
            self._file.execute("COMMIT")
        except sqlite3.Error:  # full, or another process has it for a minute
            if self._file.in_transaction:
                self._file.execute("ROLLBACK")

    def _let_go(self) -> bool:
        count = self._file.execute("SELECT count(*) FROM rows").fetchone()[0]
        oldest = "SELECT rowid FROM rows ORDER BY rowid LIMIT ?"
        self._file.execute(
            f"DELETE FROM rows WHERE rowid IN ({oldest})", (max(1, int(count * SHARE_LET_GO)),)
        )
        self._size = self._file.execute("SELECT total(length(value)) FROM rows").fetchone()[0]
        return bool(count)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _encode(tensor: Tensor) -> bytes:
    content = f"{tensor.dtype} {tensor.shape[1]}\n".encode()
    content += tensor.contiguous().view(torch.uint8).numpy().tobytes()
    return xxhash.xxh3_64_digest(content) + content


def _decode(value: bytes) -> Tensor | None:
    content = value[CHECK_BYTES:]
    if xxhash.xxh3_64_digest(content) != value[:CHECK_BYTES]:
        return None
    head, _, body = content.partition(b"\n")
    dtype, width = head.decode().split()
    numbers = torch.from_numpy(np.frombuffer(body, dtype=np.uint8).copy())
    return numbers.view(DTYPES[dtype]).reshape(-1, int(width))
