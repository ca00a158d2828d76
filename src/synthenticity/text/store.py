"""`TextStore`: texts on disk instead of in memory, any stretch of them read in microseconds.

The texts go one after the other into a temporary file that has no name, so that nothing is left
of it however the process ends. Each is written with 1, 2 or 4 bytes a character, the fewest that
hold its characters (as Python does in memory), so a stretch of characters is a stretch of bytes.
It is read with `pread`: pages mapped into memory would count as memory. A text costs 17 bytes.
"""

import os
import tempfile
import weakref
from array import array
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthenticity.errors import CorpusError

ENCODINGS = {1: "latin-1", 2: "utf-16-le", 4: "utf-32-le"}
TYPES: dict[int, Any] = {1: np.dtype("u1"), 2: np.dtype("<u2"), 4: np.dtype("<u4")}
BLOCK_BYTES = 2**20
CODE_POINTS = 0x110000


class TextStore:
    """Texts by their number, counted by character while they are appended.

    >>> store = TextStore()
    >>> store.append("to be"), store.append("\u03c4\u03cc \u03b5\u1f36\u03bd\u03b1\u03b9")
    (0, 1)
    >>> store.read(1, 3, 5), store.lengths.tolist(), int(store.character_counts[ord("e")])
    ('\u03b5\u1f36', [5, 8], 1)
    """

    def __init__(self) -> None:
        with tempfile.TemporaryFile() as file:
            self._file = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._file)
        self._written = 0
        self._waiting = bytearray()
        self._places, self._lengths, self._widths = array("q"), array("q"), array("B")
        self._counts = np.zeros(CODE_POINTS, dtype=np.int64)
        self._uncounted = {width: bytearray() for width in ENCODINGS}

    def __len__(self) -> int:
        return len(self._lengths)

    def append(self, text: str) -> int:
        """Store a text and return its number.

        Raises:
            UnicodeEncodeError: it holds a lone surrogate.
            CorpusError: the disk is full.

        """
        width, data = _narrowest(text)
        self._places.append(self._written + len(self._waiting))
        self._lengths.append(len(text))
        self._widths.append(width)
        self._waiting += data
        self._uncounted[width] += data
        if len(self._waiting) >= BLOCK_BYTES:
            self._write()
        if len(self._uncounted[width]) >= BLOCK_BYTES:
            self._count(width)
        return len(self) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The characters of each text, `[texts]`."""
        return np.array(self._lengths, dtype=np.int64)

    @property
    def character_counts(self) -> NDArray[np.int64]:
        """How often each code point occurs in all texts together, `[code points]`."""
        for width in ENCODINGS:
            self._count(width)
        return self._counts

    def read(self, number: int, start: int = 0, end: int | None = None) -> str:
        """Return the characters `start` to `end` of a text, cut to what there is."""
        length, width = self._lengths[number], self._widths[number]
        end = length if end is None else min(end, length)
        start = max(start, 0)
        if start >= end:
            return ""
        data = self._read_bytes(self._places[number] + start * width, (end - start) * width)
        return data.decode(ENCODINGS[width])

    def __iter__(self) -> Iterator[str]:
        """Yield all texts in order, read in large blocks."""
        first, block = 0, b""
        for place, length, width in zip(self._places, self._lengths, self._widths, strict=True):
            size = length * width
            if place + size > first + len(block):
                left = self._written + len(self._waiting) - place
                first, block = place, self._read_bytes(place, max(size, min(BLOCK_BYTES, left)))
            yield block[place - first : place - first + size].decode(ENCODINGS[width])

    def _read_bytes(self, place: int, count: int) -> bytes:
        if self._waiting:
            self._write()
        data = os.pread(self._file, count, place)
        while len(data) < count:  # one call reads at most 2 GiB
            more = os.pread(self._file, count - len(data), place + len(data))
            if not more:
                raise CorpusError("corpus: its temporary file was cut. Leave it alone, run again.")
            data += more
        return data

    def _write(self) -> None:
        view = memoryview(bytes(self._waiting))
        self._waiting.clear()
        try:
            while view:
                done = os.pwrite(self._file, view, self._written)
                self._written, view = self._written + done, view[done:]
        except OSError as error:
            raise CorpusError(
                f"{tempfile.gettempdir()}: the corpus cannot be stored there: {error.strerror}. "
                "Set TMPDIR to a folder with more room than the corpus has characters."
            ) from None

    def _count(self, width: int) -> None:
        data = bytes(self._uncounted[width])
        points: NDArray[Any] = np.frombuffer(data, dtype=TYPES[width])
        self._uncounted[width].clear()
        if len(points):
            counts = np.bincount(points)
            self._counts[: len(counts)] += counts


def _narrowest(text: str) -> tuple[int, bytes]:
    """Return the bytes a character that suffice for a text, and the text in these."""
    try:
        return 1, text.encode(ENCODINGS[1])
    except UnicodeEncodeError:
        data = text.encode(ENCODINGS[2])
        return (2, data) if len(data) == 2 * len(text) else (4, text.encode(ENCODINGS[4]))
