"""Chunks filled: by this process, which reads, masks, fills and writes at once, or by workers."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from synthenticity.config import Config
from synthenticity.distributed.cluster import Cluster
from synthenticity.pipeline import Pipeline
from synthenticity.records.chunks import Chunk, ChunkLine, PoolLine
from synthenticity.records.output import Part, encode_part
from synthenticity.records.table import to_table
from synthenticity.synthesis.filling import FilledDocument, Filler, MaskedDocument
from synthenticity.text.reading import Rejected
from synthenticity.workers import (
    Pool,
    Workers,
    check_same_work,
    settle_libraries,
    threads_of_each,
)


@dataclass(frozen=True)
class FillingTask:
    """How chunks are filled, as whoever does it is told; see `fill_corpus`.

    `made_with` is what decides the records (`Filler.made_with`).
    """

    config: Config
    batch_size: int
    copies: int
    made_with: Mapping[str, Any]


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


def _chunk_filler(task: FillingTask, threads: int) -> Callable[[Chunk], MadePart]:
    """Load the filling models in a worker, if they are its owner's.

    Raises:
        CompatibilityError: model, version or kind of device are not those of the owner.

    """
    settle_libraries(threads)
    filler = Filler.from_config(task.config, batch_size=task.batch_size)
    check_same_work(task.made_with, filler.made_with())
    return lambda chunk: encode_chunk(
        filler, write_chunk(filler, mask_chunk(filler, chunk, task.copies))
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


def filling_line(
    filler: Filler, config: Config, copies: int, *, workers: int, cluster: Cluster | None
) -> ChunkLine[MadePart]:
    """Return the line of chunks before this process, before workers, or before a cluster."""
    if cluster is None and workers == 1:
        return ChunkLine(_Threads(filler, copies), 2)
    task = FillingTask(config, filler.batch_size, copies, filler.made_with())
    pool: Pool[Chunk, MadePart]
    if cluster is None:
        pool = Workers(_chunk_filler, [(task, threads_of_each(workers))] * workers)
        return ChunkLine(PoolLine(pool), 2 * workers)
    from synthenticity.distributed.ray_workers import RayWorkers

    pool = RayWorkers(_chunk_filler, (task, cluster.threads), cluster)
    return ChunkLine(PoolLine(pool), cluster.most_in_work)
