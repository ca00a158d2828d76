"""Chunks: documents that follow each other, filled here or in worker processes, back in order.

Chunk borders follow the corpus alone, so a part is the same whoever makes it, and whenever.
"""

import dataclasses
import json
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from synthenticity.config import Config
from synthenticity.distributed.cluster import Cluster
from synthenticity.pipeline import Pipeline
from synthenticity.records.output import Part, encode_part
from synthenticity.records.table import to_table
from synthenticity.seeding import digest
from synthenticity.synthesis.filling import FilledDocument, Filler, MaskedDocument
from synthenticity.text.reading import CorpusSource, Document, Rejected, read_documents
from synthenticity.workers import Pool, Workers, settle_libraries, threads_of_each

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


@dataclass(frozen=True)
class MaskedChunk:
    """A chunk on its way: its documents, each as often as it has copies, and masked.

    `readings_spared`: so many readings by a model were, while it was written.
    """

    chunk: Chunk
    documents: list[MaskedDocument]
    readings_spared: int = 0


@dataclass(frozen=True)
class MadePart:
    """The bytes of a part, how many tokens were written, and readings by a model spared."""

    content: bytes
    written_tokens: int
    readings_spared: int


def mask_chunk(filler: Filler, chunk: Chunk, copies: int) -> MaskedChunk:
    """Draw and mask the copies of a chunk's documents."""
    documents = [document for document in chunk.documents for _ in range(copies)]
    return MaskedChunk(chunk, filler.mask(documents, list(range(copies)) * len(chunk.documents)))


def write_chunk(
    filler: Filler, masked: MaskedChunk, between: Callable[[], None] = lambda: None
) -> MaskedChunk:
    """Let the models write into a masked chunk; one thread alone does."""
    before = filler.readings_spared
    filler.write(masked.documents, between=between)
    return dataclasses.replace(masked, readings_spared=filler.readings_spared - before)


def encode_chunk(filler: Filler, written: MaskedChunk) -> MadePart:
    """Return the part that a written chunk is."""
    results, chunk = filler.splice(written.documents), written.chunk
    filled = [result for result in results if isinstance(result, FilledDocument)]
    unusable = [result for result in results if isinstance(result, Rejected)]
    rejected = chunk.rejected + [dataclasses.asdict(item) for item in dict.fromkeys(unusable)]
    tokens = sum(len(document.ranks) for document in filled)
    content = encode_part(Part(to_table(filled), rejected, chunk.digest))
    return MadePart(content, tokens, written.readings_spared)


def _chunk_filler(
    config: Config, batch_size: int, copies: int, threads: int
) -> Callable[[Chunk], MadePart]:
    """Load the filling models in a worker."""
    settle_libraries(threads)
    filler = Filler.from_config(config, batch_size=batch_size)
    return lambda chunk: encode_chunk(
        filler, write_chunk(filler, mask_chunk(filler, chunk, copies))
    )


class _Threads:
    """Makes parts in this process: the model fills a chunk while the next is masked, the one after
    that read, and the one before written.
    """

    def __init__(self, filler: Filler, copies: int) -> None:
        self.filler = filler
        self.pipeline: Pipeline[Chunk, MaskedChunk, MaskedChunk] = Pipeline(
            lambda chunk: mask_chunk(filler, chunk, copies), self._write, ahead=1
        )

    def _write(self, masked: MaskedChunk) -> MaskedChunk:
        return write_chunk(self.filler, masked, self.pipeline.check)

    def give(self, chunk: Chunk) -> None:
        self.pipeline.give(chunk)

    def take(self, _: Chunk) -> MadePart:
        """Return the part of a chunk, the first of those that are in work."""
        (written,) = self.pipeline.wait()
        return encode_chunk(self.filler, written)

    def end(self) -> None:
        self.pipeline.end()


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


def _filling_workers(
    config: Config, batch_size: int, copies: int, workers: int, cluster: Cluster | None
) -> Pool[Chunk, MadePart]:
    """Return workers that fill chunks, each of which loads the models."""
    if cluster is not None:
        from synthenticity.distributed.ray_workers import RayWorkers

        threads = max(1, int(cluster.cpus))
        return RayWorkers(_chunk_filler, (config, batch_size, copies, threads), cluster)
    own = (config, batch_size, copies, threads_of_each(workers))
    return Workers(_chunk_filler, [own] * workers)


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


def fillers(
    filler: Filler, config: Config, copies: int, *, workers: int, cluster: Cluster | None
) -> Makers[MadePart]:
    """Return who fills chunks: this process, workers, or a cluster."""
    if workers > 1 or cluster is not None:
        return PoolLine(_filling_workers(config, filler.batch_size, copies, workers, cluster))
    return _Threads(filler, copies)


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
