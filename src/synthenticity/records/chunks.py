"""Chunks: documents that follow each other, which become parts of a run's output, in order.

Chunk borders follow the corpus alone, so a part is the same whoever makes it, here or in worker
processes, and whenever. A run that was killed goes on at the first chunk without a part.
"""

import dataclasses
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from synthenticity.records.output import Part, RecordOutput
from synthenticity.seeding import digest
from synthenticity.text.reading import CorpusSource, Document, Rejected, read_documents
from synthenticity.workers import Pool

Made = TypeVar("Made")
Made_co = TypeVar("Made_co", covariant=True)

CHUNK, CHUNK_CHARACTERS = 256, 1_000_000
"""Documents and characters of a chunk, at most (a longer document is one by itself): enough to
batch those of one length, little to lose when killed, some 100 MB of memory; without workers,
four are held at once."""


@dataclass
class Chunk:
    """Documents that follow each other, and the unusable ones among and before them.

    `first` is the number in the corpus of the first one that can be used.
    """

    number: int
    first: int = 0
    documents: list[Document] = field(default_factory=list)
    rejected: list[dict[str, str]] = field(default_factory=list)

    @property
    def digest(self) -> str:
        """A digest of the documents, with all that is known of them, and of the unusable ones."""
        rest = [(d.group, d.domain, d.protected) for d in self.documents]
        texts = [part for d in self.documents for part in (d.id, d.text)]
        return digest(json.dumps([rest, self.rejected]), *texts)


def chunks(source: CorpusSource, copies: int = 1) -> Iterator[Chunk]:
    """Cut a corpus into chunks, in its own order."""
    chunk, characters = Chunk(0), 0

    def reject(rejected: Rejected) -> None:
        chunk.rejected.append(dataclasses.asdict(rejected))

    for document in read_documents(source, on_rejected=reject):
        size = copies * len(document.text)
        if chunk.documents and characters + size > CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = _after(chunk), 0
        chunk.documents.append(document)
        characters += size
        if len(chunk.documents) == CHUNK:
            yield chunk
            chunk, characters = _after(chunk), 0
    if chunk.documents or chunk.rejected:
        yield chunk


def _after(chunk: Chunk) -> Chunk:
    return Chunk(chunk.number + 1, chunk.first + len(chunk.documents))


class PoolLine(Generic[Made]):
    """Chunks in the hands of workers, which are handed back by their numbers."""

    def __init__(self, pool: Pool[Chunk, Made]) -> None:
        self.pool = pool
        self.made: dict[int, Made] = {}

    def give(self, chunk: Chunk) -> None:
        """Have a chunk made."""
        self.pool.give(chunk, f"chunk {chunk.number}")
        self._collect(0.0)  # keeps every worker at work while the corpus is read

    def take(self, chunk: Chunk) -> Made:
        """Return what is made of a chunk that is in work."""
        while chunk.number not in self.made:
            self._collect()
        return self.made.pop(chunk.number)

    def _collect(self, seconds: float | None = 1.0) -> None:
        self.made |= {chunk.number: made for chunk, made in self.pool.wait(seconds)}

    def end(self) -> None:
        """End the workers."""
        self.pool.end()


class Makers(Protocol[Made_co]):
    """Who makes something of chunks: they are given in order, and taken in the same."""

    def give(self, chunk: Chunk) -> None:
        """Have a chunk made."""
        ...

    def take(self, chunk: Chunk) -> Made_co:
        """Return what is made of a chunk, the first of those that were given and not taken."""
        ...

    def end(self) -> None:
        """End whatever is at work."""
        ...


class ChunkLine(Generic[Made]):
    """Hands chunks to whoever makes them, and what is made of them back in order.

    At most so many wait, and one is in work.
    """

    def __init__(self, makers: Makers[Made], most: int) -> None:
        self.waiting: deque[Chunk] = deque()
        self.makers, self.most = makers, most

    def add(self, chunk: Chunk) -> Iterator[tuple[Chunk, Made]]:
        """Take a chunk and return those that are done and must make room."""
        self.waiting.append(chunk)
        self.makers.give(chunk)
        while len(self.waiting) > self.most:
            yield self._next()

    def rest(self) -> Iterator[tuple[Chunk, Made]]:
        """Return what is left."""
        while self.waiting:
            yield self._next()

    def _next(self) -> tuple[Chunk, Made]:
        chunk = self.waiting.popleft()
        return chunk, self.makers.take(chunk)

    def __enter__(self) -> "ChunkLine[Made]":
        return self

    def __exit__(self, *_: object) -> None:
        self.makers.end()


def make_missing(
    line: ChunkLine[Made],
    found: Iterable[Chunk],
    output: RecordOutput,
    *,
    keep: Callable[[Chunk, Made], None],
    pass_by: Callable[[Chunk, Part], None],
) -> int:
    """Make what the output lacks, and return how many chunks there are.

    Args:
        line: who makes it.
        found: all chunks of the corpus, in order.
        output: where parts are looked for.
        keep: is given each chunk with what was made of it, in order.
        pass_by: is given each chunk of which there is a part already.

    """
    count = 0
    with line:
        for chunk in found:
            count += 1
            part = output.find(chunk.number, chunk.digest)
            if part is not None:
                pass_by(chunk, part)
                continue
            for ready, made in line.add(chunk):
                keep(ready, made)
        for ready, made in line.rest():
            keep(ready, made)
    return count
