"""`score_corpus`: every document of a corpus through a scorer, into a table, a row each.

A corpus is read twice, once to know that it can be read and how much there is, and then scored in
chunks, which are written as they come and joined at the end: a run that was killed goes on at the
chunk it was in, and scores nothing twice. Rows are in the order of the corpus.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pyarrow as pa

from synthenticity.distributed.cluster import Cluster, connected
from synthenticity.durable import write_whole
from synthenticity.errors import ConfigError
from synthenticity.records.chunks import Chunk, chunks, make_missing
from synthenticity.records.output import (
    Part,
    RecordOutput,
    partial_of,
    publish,
    rejected_beside,
    write_tables,
)
from synthenticity.records.pages import GALLERY, gallery, page_name
from synthenticity.records.score_table import check_form, figures_of
from synthenticity.records.scored_chunks import ScoredChunk, ScoringTask, scoring_line
from synthenticity.records.unusable import UnusableList
from synthenticity.runtimes.devices import resolve_device
from synthenticity.text.files import STANDARD_INPUT
from synthenticity.text.reading import HUB, CorpusSource, Rejected, read_documents

PAGES = "pages"
"""Where pages are until all are there, in the folder of the parts."""


@dataclass(frozen=True)
class ScoreProgress:
    """How far a run is: documents and characters, and seconds.

    `characters` counts what is done, an earlier run's included, `new_characters` what this one
    did; `all_characters` is None where the corpus can be read only once. `unusable` documents
    have no row.
    """

    documents: int = 0
    characters: int = 0
    new_documents: int = 0
    new_characters: int = 0
    unusable: int = 0
    all_characters: int | None = None
    seconds: float = 0.0

    @property
    def seconds_left(self) -> float | None:
        """The seconds left at this run's rate; None where that is not known."""
        if self.all_characters is None or not self.new_characters:
            return None
        left = self.all_characters - self.characters
        return left * self.seconds / self.new_characters


@dataclass(frozen=True)
class ScoreResult:
    """What a run left: the output, counts of rows, of abstentions by reason, of flagged documents,
    and of documents that could not be used; `mean` is that of the others' synthenticity.
    """

    out: Path
    rows: int
    mean: float | None
    verdicts: dict[str, int]
    abstained: dict[str, int]
    unusable: int
    unusable_list: Path | None
    progress: ScoreProgress


def score_corpus(
    run: str | Path,
    source: CorpusSource,
    out: str | Path,
    *,
    tokens: bool = False,
    device: str = "auto",
    dtype: str = "auto",
    batch_size: int | None = None,
    min_tokens: int | None = None,
    pages: Path | None = None,
    cluster: Cluster | None = None,
    on_progress: Callable[[ScoreProgress], None] = lambda progress: None,
) -> ScoreResult:
    """Score every document of a corpus and write a row for each to `out`, in its order.

    Killed and called again, it goes on. Rows do not depend on `batch_size` (unless the
    scorer reads a `likelihood_model`) or interruptions.

    Args:
        run: the scorer's folder.
        source: the documents.
        out: a `.parquet`, `.jsonl` or `.csv` file.
        tokens: whether rows hold text, tokens, spans and sentences, too (no CSV).
        device: that scores.
        dtype: of the encoder, see `Scorer`.
        batch_size: full windows of a model call.
        min_tokens: of fewer the scorer abstains, see `Scorer`.
        pages: a folder to be, of a heat map for each document and a gallery.
        cluster: on which chunks are scored instead; every node must see the scorer under the same
            name.
        on_progress: called after each batch that is scored here, and after each chunk that is
            scored or was before.

    Raises:
        ConfigError: `out` exists, or has another form.
        CorpusError: the corpus cannot be read, or nothing in it can be used.
        CompatibilityError: an interrupted run there had another scorer, settings or documents.

    """
    kind = check_form(Path(out), tokens=tokens)
    check_pages(pages, Path(out))
    task = ScoringTask(str(run), device, dtype, min_tokens, batch_size, tokens, pages is not None)
    if cluster is not None:
        cluster.check_kind(resolve_device(device).type)
    with connected(cluster):
        scorer = task.load_scorer()
        everything = _characters(source)
        made_with = {
            **task.made_with(scorer),
            "tokens": tokens,
            "pages": None if pages is None else str(pages.resolve()),
            **{f"corpus {name}": value for name, value in asdict(source).items()},
        }
        output = RecordOutput(out, made_with, kind)
        progress = _Counting(everything, on_progress)
        begun = output.folder / PAGES

        def keep(chunk: Chunk, made: ScoredChunk) -> None:
            for number, page in enumerate(made.pages, chunk.first):
                write_whole(begun / page_name(number), page)
            output.put(chunk.number, made.content)
            progress.add(chunk, resumed=False)

        def pass_by(chunk: Chunk, _: Part) -> None:
            progress.add(chunk, resumed=True)

        with output.owned():
            try:
                if pages is not None:
                    begun.mkdir(exist_ok=True)
                line = scoring_line(scorer, task, cluster, progress.within)
                del scorer  # beside a cluster, it would only take memory
                count = make_missing(line, chunks(source), output, keep=keep, pass_by=pass_by)
            finally:
                output.clear_if_empty()
            return _finish(output, count, source, pages, progress.now)


def _characters(source: CorpusSource) -> int | None:
    """Return the characters of a corpus that can be read again; what is wrong with it is said
    before hours of work, not after.
    """
    if source.source == STANDARD_INPUT or source.source.startswith(HUB):
        return None
    return sum(len(document.text) for document in read_documents(source, on_rejected=_pass))


def _pass(_: Rejected) -> None:
    """What cannot be used is listed when the corpus is scored."""


class _Counting:
    """Counts what is done, and tells it."""

    def __init__(
        self, everything: int | None, on_progress: Callable[[ScoreProgress], None]
    ) -> None:
        self.now = ScoreProgress(all_characters=everything)
        self._tell, self._start = on_progress, time.monotonic()

    def within(self, chunk: Chunk, share: float) -> None:
        """Tell that a share of a chunk's characters is scored; nothing is counted yet."""
        if share == 1:
            return  # the chunk is about to be counted
        characters = round(share * _length(chunk))
        self._tell(
            replace(
                self.now,
                characters=self.now.characters + characters,
                new_characters=self.now.new_characters + characters,
                seconds=time.monotonic() - self._start,
            )
        )

    def add(self, chunk: Chunk, *, resumed: bool) -> None:
        """Count a chunk."""
        characters = _length(chunk)
        new = 0 if resumed else 1
        self.now = ScoreProgress(
            self.now.documents + len(chunk.documents),
            self.now.characters + characters,
            self.now.new_documents + new * len(chunk.documents),
            self.now.new_characters + new * characters,
            self.now.unusable + len(chunk.rejected),
            self.now.all_characters,
            time.monotonic() - self._start,
        )
        self._tell(self.now)


def _length(chunk: Chunk) -> int:
    return sum(len(document.text) for document in chunk.documents)


def _finish(
    output: RecordOutput,
    count: int,
    source: CorpusSource,
    pages: Path | None,
    progress: ScoreProgress,
) -> ScoreResult:
    """Join the parts to the file that was asked for, and remove them."""
    facts, beside = _Facts(), rejected_beside(output.out)
    with UnusableList(output.rejected) as unusable:
        tables = facts.watch(output.parts(count), unusable)
        rows = write_tables(output.finished, tables, output.kind.schema, output.file_metadata())
    if not rows:
        output.clear()
        raise unusable.nothing_left(source.source)
    unusable.publish(beside)
    begun = output.folder / PAGES
    if pages is not None and begun.exists():  # or a killed run of ours has come so far
        listing = (row for part in output.parts(count) for row in figures_of(part.table))
        write_whole(begun / GALLERY, gallery(f"Scores of {source.source}", listing))
        publish(begun, pages)
    publish(output.finished, output.out)
    output.clear()
    return ScoreResult(
        output.out,
        rows,
        facts.sum / facts.known if facts.known else None,
        dict(facts.verdicts),
        dict(facts.abstained),
        unusable.count,
        beside if unusable.count else None,
        progress,
    )


class _Facts:
    """What is counted of the parts while they are joined."""

    def __init__(self) -> None:
        self.verdicts: Counter[str] = Counter()
        self.abstained: Counter[str] = Counter()
        self.sum, self.known = 0.0, 0

    def watch(self, parts: Iterable[Part], unusable: UnusableList) -> Iterator[pa.Table]:
        """Return the tables of the parts; their unusable documents go to the list."""
        for part in parts:
            unusable.add(part.rejected)
            columns = part.table.select(["verdict", "abstained", "synthenticity"]).to_pydict()
            for verdict, abstained, value in zip(*columns.values(), strict=True):
                if abstained is not None:
                    self.abstained[abstained.partition(":")[0]] += 1
                    continue
                self.sum, self.known = self.sum + value, self.known + 1
                if verdict is not None:
                    self.verdicts[verdict] += 1
            yield part.table


def check_pages(pages: Path | None, out: Path) -> None:
    """Refuse a folder that is there; a run that was killed at its very end has left its own.

    Raises:
        ConfigError: there is one.

    """
    partial = partial_of(out)
    ours = any(partial.glob("part-*.parquet")) and not (partial / PAGES).exists()
    if pages is not None and pages.exists() and not ours:
        raise ConfigError(f"html: {pages} exists. Give another name, or remove it.")
    if pages is not None and not pages.resolve().parent.is_dir():
        raise ConfigError(f"html: {pages.parent} is no folder. Make it, or give another name.")
