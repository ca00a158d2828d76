"""Chunks scored: by this process when they are taken, or by the workers of a cluster."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from synthenticity.distributed.cluster import Cluster
from synthenticity.records.chunks import Chunk, ChunkLine, PoolLine
from synthenticity.records.output import Part, encode_part
from synthenticity.records.pages import score_page
from synthenticity.records.score_table import PLAIN, WITH_TOKENS, row_of
from synthenticity.scoring.calibration import CALIBRATION_FILE, weights_fingerprint
from synthenticity.scoring.forward import OnShare
from synthenticity.scoring.scorer import Scorer
from synthenticity.seeding import digest
from synthenticity.workers import check_same_work, settle_libraries

OnChunkShare = Callable[[Chunk, float], None]


@dataclass(frozen=True)
class ScoringTask:
    """How chunks are scored, as whoever does it is told; see `score_corpus`."""

    run: str
    device: str
    dtype: str
    min_tokens: int | None
    batch_size: int | None
    tokens: bool
    pages: bool

    def load_scorer(self) -> Scorer:
        """Load the scorer."""
        return Scorer.from_pretrained(
            self.run, device=self.device, dtype=self.dtype, min_tokens=self.min_tokens
        )

    def made_with(self, scorer: Scorer) -> dict[str, Any]:
        """Return what of a loaded scorer decides the rows."""
        calibration = Path(self.run) / CALIBRATION_FILE
        known = calibration.exists()
        return {
            "weights": weights_fingerprint(Path(self.run)),
            "calibration": digest(calibration.read_text(encoding="utf-8")) if known else None,
            "device": scorer.model.device.type,
            "dtype": "float32" if self.dtype == "auto" else self.dtype,
            "min_tokens": scorer.min_tokens,
        }


@dataclass(frozen=True)
class ScoredChunk:
    """The bytes of a part, and the pages of its documents, if pages are asked for."""

    content: bytes
    pages: tuple[str, ...]


def score_chunk(
    scorer: Scorer, task: ScoringTask, chunk: Chunk, on_share: OnShare | None = None
) -> ScoredChunk:
    """Return the part that the scores of a chunk's documents are, and their pages."""
    texts = [document.text for document in chunk.documents]
    scores = scorer.score(texts, batch_size=task.batch_size, on_share=on_share)
    pairs = list(zip([document.id for document in chunk.documents], scores, strict=True))
    rows = [row_of(name, score, tokens=task.tokens) for name, score in pairs]
    schema = (WITH_TOKENS if task.tokens else PLAIN).schema
    part = Part(pa.Table.from_pylist(rows, schema=schema), chunk.rejected, chunk.digest)
    pages = tuple(score_page(name, score) for name, score in pairs) if task.pages else ()
    return ScoredChunk(encode_part(part), pages)


def scoring_line(
    scorer: Scorer, task: ScoringTask, cluster: Cluster | None, on_share: OnChunkShare
) -> ChunkLine[ScoredChunk]:
    """Return the line of chunks before this process, or before a cluster.

    `on_share` is told how much of a chunk is scored, if this process does it.
    """
    if cluster is None:
        return ChunkLine(_Here(scorer, task, on_share), 0)
    from synthenticity.distributed.ray_workers import RayWorkers

    own = (task, _decisive(task, scorer), cluster.threads)
    return ChunkLine(PoolLine(RayWorkers(_chunk_scorer, own, cluster)), cluster.most_in_work)


class _Here:
    """Scores a chunk when it is taken."""

    def __init__(self, scorer: Scorer, task: ScoringTask, on_share: OnChunkShare) -> None:
        self.scorer, self.task, self.on_share = scorer, task, on_share

    def give(self, chunk: Chunk) -> None:
        pass

    def take(self, chunk: Chunk) -> ScoredChunk:
        return score_chunk(self.scorer, self.task, chunk, partial(self.on_share, chunk))

    def end(self) -> None:
        pass


def _chunk_scorer(
    task: ScoringTask, owner: Mapping[str, Any], threads: int
) -> Callable[[Chunk], ScoredChunk]:
    """Load the scorer in a worker, if it is its owner's.

    Raises:
        CompatibilityError: weights, calibration, kind of device or version are not the owner's.

    """
    settle_libraries(threads)
    scorer = task.load_scorer()
    check_same_work(owner, _decisive(task, scorer))
    return partial(score_chunk, scorer, task)


def _decisive(task: ScoringTask, scorer: Scorer) -> dict[str, Any]:
    """Return what must be the same wherever the chunks of a run are scored."""
    return {**task.made_with(scorer), "torch": torch.__version__.partition("+")[0]}
