"""Chunks filled: by this process, which reads, masks, fills and writes at once, or by workers."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from synthenticity.config import Config
from synthenticity.distributed.cluster import Cluster
from synthenticity.pipeline import Pipeline
from synthenticity.records.chunks import Chunk, Makers, PoolLine
from synthenticity.records.output import Part, encode_part
from synthenticity.records.table import to_table
from synthenticity.synthesis.filling import FilledDocument, Filler, MaskedDocument
from synthenticity.text.reading import Rejected
from synthenticity.workers import Pool, Workers, settle_libraries, threads_of_each


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


def fillers(
    filler: Filler, config: Config, copies: int, *, workers: int, cluster: Cluster | None
) -> Makers[MadePart]:
    """Return who fills chunks: this process, workers, or a cluster."""
    if workers > 1 or cluster is not None:
        return PoolLine(_filling_workers(config, filler.batch_size, copies, workers, cluster))
    return _Threads(filler, copies)
