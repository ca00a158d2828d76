"""Rows that were read before are not read again: hidden states by the content of a row.

What a model says of a masked row depends on the row alone, whereas what is drawn depends on the
row's noise, too; so the cache lies between the encoder and the head, and with or without it the
same tokens are written. Sequences that are masked whole are one row of masks, again and again;
duplicate documents are found as well, and data made again in another process with a `RowStore`.
"""

from collections import OrderedDict
from functools import cache
from importlib.metadata import version
from itertools import accumulate

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray
from torch import Tensor

from synthenticity.runtimes.devices import processor
from synthenticity.runtimes.row_store import MEBIBYTE, RowStore
from synthenticity.runtimes.runtime import Runtime

MEBIBYTES = 64
ROWS_FORMAT = 1
"""To be raised when our code has an encoder compute other bits for the same row."""


class RowCache:
    """The hidden states of rows that were read, in bounded memory; the longest unused go first.

    Rows of a runtime whose bits depend on a row's neighbours pass through.

    Args:
        mebibytes: of memory; 0 keeps nothing.
        store: keeps them on disk as well.
        model: the fingerprint of the model that is read with, so that a store tells models apart.

    Attributes:
        rows: how many were asked for.
        hits: how many of them were not read by the model.

    """

    def __init__(
        self, mebibytes: int = MEBIBYTES, store: RowStore | None = None, model: str = ""
    ) -> None:
        self._model = model
        self._bound = mebibytes * MEBIBYTE
        self._store = store
        self._size = 0
        self._kept: OrderedDict[bytes, Tensor] = OrderedDict()
        self.rows = self.hits = 0

    def hidden_at(
        self,
        runtime: Runtime,
        ids: NDArray[np.int64],
        places: NDArray[np.bool_],
        visible: NDArray[np.bool_],
    ) -> Tensor:
        """Return what `Runtime.hidden_at` returns."""
        self.rows += len(ids)
        if not runtime.batch_invariant or not (self._bound or self._store):
            return runtime.hidden_at(ids, places, visible)
        keys = row_keys(ids, places, visible, read_with(self._model, runtime))
        known = self._find(keys)
        first = {key: row for row, key in reversed(list(enumerate(keys)))}
        unread = sorted(row for key, row in first.items() if key not in known)
        self.hits += len(ids) - len(unread)
        counts = places[unread].sum(axis=1).tolist()
        hidden = torch.empty(0)
        if unread:
            hidden = runtime.hidden_at(ids[unread], places[unread], visible[unread])
            read = {
                keys[row]: own for row, own in zip(unread, torch.split(hidden, counts), strict=True)
            }
            self._keep(read)
            known |= read
        if len(unread) == len(ids):
            return hidden
        return torch.cat([known[key] for key in keys])

    def _find(self, keys: list[bytes]) -> dict[bytes, Tensor]:
        known = {}
        for key in keys:
            if key in self._kept:
                self._kept.move_to_end(key)
                known[key] = self._kept[key]
        if self._store is not None and len(known) < len(keys):
            stored = self._store.find([key for key in keys if key not in known])
            self._remember(stored)
            known |= stored
        return known

    def _keep(self, read: dict[bytes, Tensor]) -> None:
        if self._store is not None:
            self._store.keep(read)
        self._remember(read)

    def _remember(self, rows: dict[bytes, Tensor]) -> None:
        """Copy rows, which are views of a batch; of more than fits at all, the first."""
        sizes = accumulate(own.nbytes for own in rows.values())
        for (key, own), size in zip(rows.items(), sizes, strict=True):
            if size > self._bound:
                break
            self._kept[key] = own.clone()
            self._size += own.nbytes
        while self._size > self._bound and self._kept:
            self._size -= self._kept.popitem(last=False)[1].nbytes


def read_with(model: str, runtime: Runtime) -> str:
    """Name all that decides the bits of a row's states, besides the row."""
    return f"{model}\n{runtime.arithmetic}\nrows {ROWS_FORMAT}\n{_here()}"


@cache
def _here() -> str:
    return f"transformers {version('transformers')}\n{processor()}"


def row_keys(
    ids: NDArray[np.int64],
    places: NDArray[np.bool_],
    visible: NDArray[np.bool_],
    reader: str,
) -> list[bytes]:
    """Return a digest of each row: its ids, the places asked for, its padding, and its reader."""
    content = np.ascontiguousarray(np.concatenate([ids, places * 2 + visible], axis=1))
    seed = xxhash.xxh3_64_intdigest(reader.encode())
    return [xxhash.xxh3_128_digest(row, seed) for row in content]
