"""Chunks: documents that follow each other, filled here or in worker processes, back in order.

Chunk borders follow the corpus alone, so a part is the same whoever makes it, and whenever.
"""

import dataclasses
import json
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from synthenticity.config import Config
from synthenticity.pipeline import Pipeline
from synthenticity.records.output import Part, encode_part
from synthenticity.records.table import to_table
from synthenticity.seeding import digest
from synthenticity.synthesis.filling import FilledDocument, Filler, MaskedDocument
from synthenticity.text.reading import CorpusSource, Document, Rejected, read_documents
from synthenticity.workers import Workers, settle_libraries, threads_of_each

CHUNK, CHUNK_CHARACTERS = 256, 1_000_000
"""Documents and characters of a chunk, at most (a longer document is one by itself): enough to
batch those of one length, little to lose when killed, some 100 MB of memory; without workers,
four are held at once."""


@dataclass
class Chunk:
    """Documents that follow each other, and the unusable ones among and before them."""

    number: int
    documents: list[Document] = field(default_factory=list)
    rejected: list[dict[str, str]] = field(default_factory=list)

    @property
    def digest(self) -> str:
        """A digest of the documents, with all that is known of them, and of the unusable ones."""
        rest = [(d.group, d.domain, d.protected) for d in self.documents]
        texts = [part for d in self.documents for part in (d.id, d.text)]
        return digest(json.dumps([rest, self.rejected]), *texts)


def chunks(source: CorpusSource, copies: int) -> Iterator[Chunk]:
    """Cut a corpus into chunks, in its own order."""
    chunk, characters = Chunk(0), 0

    def reject(rejected: Rejected) -> None:
        chunk.rejected.append(dataclasses.asdict(rejected))

    for document in read_documents(source, on_rejected=reject):
        size = copies * len(document.text)
        if chunk.documents and characters + size > CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = Chunk(chunk.number + 1), 0
        chunk.documents.append(document)
        characters += size
        if len(chunk.documents) == CHUNK:
            yield chunk
            chunk, characters = Chunk(chunk.number + 1), 0
    if chunk.documents or chunk.rejected:
        yield chunk


@dataclass(frozen=True)
class MaskedChunk:
    """A chunk on its way: its documents, each as often as it has copies, and masked."""

    chunk: Chunk
    documents: list[MaskedDocument]


def mask_chunk(filler: Filler, chunk: Chunk, copies: int) -> MaskedChunk:
    """Draw and mask the copies of a chunk's documents."""
    documents = [document for document in chunk.documents for _ in range(copies)]
    return MaskedChunk(chunk, filler.mask(documents, list(range(copies)) * len(chunk.documents)))


def encode_chunk(filler: Filler, written: MaskedChunk) -> tuple[bytes, int]:
    """Return the bytes of a chunk's part, and how many tokens were written."""
    results, chunk = filler.splice(written.documents), written.chunk
    filled = [result for result in results if isinstance(result, FilledDocument)]
    unusable = [result for result in results if isinstance(result, Rejected)]
    rejected = chunk.rejected + [dataclasses.asdict(item) for item in dict.fromkeys(unusable)]
    tokens = sum(len(document.ranks) for document in filled)
    return encode_part(Part(to_table(filled), rejected, chunk.digest)), tokens


def fill_chunk(filler: Filler, chunk: Chunk, copies: int) -> tuple[bytes, int]:
    """Return what `encode_chunk` does, with everything before it."""
    masked = mask_chunk(filler, chunk, copies)
    filler.write(masked.documents)
    return encode_chunk(filler, masked)


def _chunk_filler(
    config: Config, batch_size: int, copies: int, threads: int
) -> Callable[[Chunk], tuple[bytes, int]]:
    """Load the filling models in a worker."""
    settle_libraries(threads)
    filler = Filler.from_config(config, batch_size=batch_size)
    return lambda chunk: fill_chunk(filler, chunk, copies)


class ChunkLine:
    """Runs chunks here or in worker processes and hands the parts back in order.

    Here, the model fills one while the next is masked, the one after that read, and the one
    before written.
    """

    def __init__(self, filler: Filler, config: Config, copies: int, workers: int) -> None:
        self.filler = filler
        self.waiting: deque[Chunk] = deque()
        self.parts: dict[int, tuple[bytes, int]] = {}
        self.most = 2 * workers
        self.workers: Workers[Chunk, tuple[bytes, int]] | None = None
        self.pipeline: Pipeline[Chunk, MaskedChunk, MaskedChunk] = Pipeline(
            lambda chunk: mask_chunk(filler, chunk, copies), self._write, ahead=1
        )
        if workers > 1:
            own = (config, filler.batch_size, copies, threads_of_each(workers))
            self.workers = Workers(_chunk_filler, [own] * workers)

    def _write(self, masked: MaskedChunk) -> MaskedChunk:
        self.filler.write(masked.documents, between=self.pipeline.check)
        return masked

    def add(self, chunk: Chunk) -> Iterator[tuple[Chunk, bytes, int]]:
        """Take a chunk and return those that are done and must make room."""
        self.waiting.append(chunk)
        if self.workers is None:
            self.pipeline.give(chunk)
        else:
            self.workers.give(chunk, f"chunk {chunk.number}")
            self._collect(0.0)  # keeps every worker at work while the corpus is read
        while len(self.waiting) > self.most:
            yield self._next()

    def rest(self) -> Iterator[tuple[Chunk, bytes, int]]:
        """Return what is left."""
        while self.waiting:
            yield self._next()

    def _next(self) -> tuple[Chunk, bytes, int]:
        chunk = self.waiting.popleft()
        if self.workers is None:
            (written,) = self.pipeline.wait()
            return chunk, *encode_chunk(self.filler, written)
        while chunk.number not in self.parts:
            self._collect()
        return chunk, *self.parts.pop(chunk.number)

    def _collect(self, seconds: float | None = None) -> None:
        if self.workers is not None:
            self.parts |= {chunk.number: made for chunk, made in self.workers.wait(seconds)}

    def __enter__(self) -> "ChunkLine":
        return self

    def __exit__(self, *_: object) -> None:
        self.pipeline.end()
        if self.workers is not None:
            self.workers.end()
