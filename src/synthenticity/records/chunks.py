"""Chunks: documents that follow each other, filled here or in worker processes, back in order.

Chunk borders follow the corpus alone, so a part is the same whoever makes it, and whenever.
"""

import dataclasses
import json
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context

from synthenticity.config import Config
from synthenticity.errors import QueueError
from synthenticity.records.output import Part, encode_part
from synthenticity.records.table import to_table
from synthenticity.seeding import digest
from synthenticity.synthesis.filling import FilledDocument, Filler
from synthenticity.text.reading import CorpusSource, Document, Rejected, read_documents

CHUNK, CHUNK_CHARACTERS = 256, 1_000_000
"""Documents and characters of a chunk, at most (a longer document is one by itself): enough to
batch those of one length, little to lose when killed, some 100 MB of memory."""
PARENT_SECONDS = 2.0


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


def fill_chunk(filler: Filler, chunk: Chunk, copies: int) -> tuple[bytes, int]:
    """Return the bytes of a chunk's part, and how many tokens were written."""
    documents = [document for document in chunk.documents for _ in range(copies)]
    results = filler.fill(documents, list(range(copies)) * len(chunk.documents))
    filled = [result for result in results if isinstance(result, FilledDocument)]
    unusable = [result for result in results if isinstance(result, Rejected)]
    rejected = chunk.rejected + [dataclasses.asdict(item) for item in dict.fromkeys(unusable)]
    written = sum(len(document.ranks) for document in filled)
    return encode_part(Part(to_table(filled), rejected, chunk.digest)), written


_worker: dict[str, Filler] = {}


def _start_worker(config: Config, batch_size: int, threads: int) -> None:
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    _worker["filler"] = Filler.from_config(config, batch_size=batch_size)


def _end_with(parent: int) -> None:
    """End this worker when its parent is gone, however that died."""
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os._exit(1)


def _work(chunk: Chunk, copies: int) -> tuple[bytes, int]:
    return fill_chunk(_worker["filler"], chunk, copies)


class ChunkLine:
    """Runs chunks here or in worker processes and hands the parts back in order."""

    def __init__(self, filler: Filler, config: Config, copies: int, workers: int) -> None:
        self.filler = filler
        self.copies = copies
        self.waiting: deque[tuple[Chunk, Future[tuple[bytes, int]]]] = deque()
        self.most = 2 * workers
        self.pool: ProcessPoolExecutor | None = None
        if workers > 1:
            threads = max(1, (os.cpu_count() or 1) // workers)
            self.pool = ProcessPoolExecutor(
                workers,
                mp_context=get_context("spawn"),
                initializer=_start_worker,
                initargs=(config, filler.batch_size, threads),
            )

    def add(self, chunk: Chunk) -> Iterator[tuple[Chunk, bytes, int]]:
        """Take a chunk and return those that are done and must make room."""
        if self.pool is None:
            yield chunk, *fill_chunk(self.filler, chunk, self.copies)
            return
        self.waiting.append((chunk, self.pool.submit(_work, chunk, self.copies)))
        while len(self.waiting) > self.most:
            yield self._next()

    def rest(self) -> Iterator[tuple[Chunk, bytes, int]]:
        """Return what is left."""
        while self.waiting:
            yield self._next()

    def _next(self) -> tuple[Chunk, bytes, int]:
        chunk, future = self.waiting.popleft()
        try:
            return chunk, *future.result()
        except BrokenProcessPool:
            raise QueueError(
                "workers: one of them was ended from outside, for want of memory perhaps. Run the "
                "same command again, with fewer --workers; it goes on from here."
            ) from None

    def __enter__(self) -> "ChunkLine":
        return self

    def __exit__(self, *_: object) -> None:
        if self.pool is not None:
            self.pool.shutdown(wait=True, cancel_futures=True)
