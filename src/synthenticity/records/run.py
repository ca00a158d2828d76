"""`fill_corpus`: every document of a corpus through the filling models, into records.

A corpus is read as a stream and filled in chunks; chunks are written as they come and joined at
the end, so a run that was killed goes on at the chunk it was in.
"""

import functools
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from synthenticity.config import SETTINGS, Config
from synthenticity.config_file import write_config
from synthenticity.distributed.cluster import Cluster, connected
from synthenticity.durable import write_whole
from synthenticity.errors import ConfigError, MissingExtraError
from synthenticity.evaluation.alarms import ArtefactAlarm, Passage, artefact_alarm
from synthenticity.records.card import records_card
from synthenticity.records.chunks import Chunk, chunks, make_missing
from synthenticity.records.dataset_folder import SPLITS, write_splits
from synthenticity.records.filled_chunks import MadePart, filling_line
from synthenticity.records.output import (
    Part,
    RecordOutput,
    check_out,
    is_file,
    publish,
    rejected_beside,
    write_tables,
)
from synthenticity.records.table import RECORDS, SCHEMA, spans_of
from synthenticity.records.unusable import UnusableList
from synthenticity.runtimes.devices import resolve_device
from synthenticity.synthesis.filling import Filler
from synthenticity.text.reading import CorpusSource

logger = logging.getLogger(__name__)

ALARM_DOCUMENTS = 2000
LISTED = "rejected.jsonl"
"""In a folder, those that could not be used."""


@dataclass(frozen=True)
class FillProgress:
    """How far a run is: counts of documents, written tokens and rejected documents, and seconds.

    `new_documents` and `new_tokens` are those of this run, without what an earlier one has left;
    `readings_spared` are those of rows that a model had read before, in this run.
    """

    documents: int
    written_tokens: int
    rejected: int
    seconds: float
    new_documents: int = 0
    new_tokens: int = 0
    readings_spared: int = 0
    resumed: bool = False


@dataclass(frozen=True)
class FillResult:
    """What a run left: the output, its counts, how many could not be used, and why.

    `made_with` is everything that decides the records.
    """

    out: Path
    records: int
    rejected: int
    rejected_list: Path | None
    reasons: dict[str, int]
    alarm: ArtefactAlarm | None
    progress: FillProgress
    made_with: dict[str, Any]


def fill_corpus(
    config: Config,
    out: str | Path,
    *,
    copies: int = 1,
    batch_size: int = 64,
    workers: int = 1,
    cluster: Cluster | None = None,
    licence: str | None = None,
    on_progress: Callable[[FillProgress], None] = lambda progress: None,
) -> FillResult:
    """Fill every document of `config.corpus` and write the records to `out`.

    Killed and called again, it goes on; the records do not depend on `batch_size`, `workers` or
    interruptions.

    Args:
        config: the corpus, the filling model, the mixture and the seed.
        out: a `.parquet` or `.jsonl` file, or a folder to be: a data set with splits and a card.
        copies: differently filled records of each document.
        batch_size: windows of a model call.
        workers: processes. With more than one, a script makes this call under
            `if __name__ == "__main__"`.
        cluster: on which chunks are filled instead; every node must see the models under the same
            names.
        licence: of the texts, for the card.
        on_progress: called after each chunk that is filled or was before.

    Raises:
        ConfigError: `out` exists.
        CorpusError: the corpus cannot be read, or nothing in it can be used.
        CompatibilityError: an interrupted run there had other settings or documents.

    """
    for name, number in (("copies", copies), ("workers", workers), ("batch_size", batch_size)):
        if number < 1:
            raise ConfigError(f"{name}: {number} is not at least 1.")
    check_settings_of_fill(config)
    check_out(Path(out), RECORDS)
    source = CorpusSource.from_config(config)
    reads = {f"corpus {name}": value for name, value in vars(source).items() if name != "source"}
    if cluster is not None:
        cluster.check_kind(resolve_device(config.device).type)
    with connected(cluster):
        filler = Filler.from_config(config, batch_size=batch_size)
        output = RecordOutput(
            out, {**filler.made_with(), "corpus": config.corpus, **reads, "copies": copies}, RECORDS
        )
        start, done = time.monotonic(), FillProgress(0, 0, 0, 0.0)

        def report(chunk: Chunk, written: int, *, spared: int = 0, resumed: bool = False) -> None:
            nonlocal done
            done = FillProgress(
                done.documents + len(chunk.documents),
                done.written_tokens + written,
                done.rejected + len(chunk.rejected),
                time.monotonic() - start,
                done.new_documents + (0 if resumed else len(chunk.documents)),
                done.new_tokens + (0 if resumed else written),
                done.readings_spared + spared,
                resumed,
            )
            on_progress(done)

        def keep(chunk: Chunk, made: MadePart) -> None:
            output.put(chunk.number, made.content)
            report(chunk, made.written_tokens, spared=made.readings_spared)

        def pass_by(chunk: Chunk, part: Part) -> None:
            written = pc.sum(pc.list_value_length(part.table.column("ranks"))).as_py() or 0
            report(chunk, written, resumed=True)

        with output.owned():
            try:
                line = filling_line(filler, config, copies, workers=workers, cluster=cluster)
                del filler  # beside workers, its models would only take memory
                found = chunks(source, copies)
                count = make_missing(line, found, output, keep=keep, pass_by=pass_by)
            finally:
                output.clear_if_empty()
            return _finish(output, count, config, licence, done)


def check_settings_of_fill(config: Config) -> None:
    """Refuse settings that only pools of training data obey."""
    names = ("split_by", "pool_shares", "near_duplicates", "shared_training_pool")
    given = [name for name in names if getattr(config, name) != SETTINGS[name].default]
    if given:
        raise ConfigError(
            f"{given[0]}: has no effect on fill, whose splits are by the hash of group or id. "
            "Leave it out."
        )


def _finish(
    output: RecordOutput, count: int, config: Config, licence: str | None, done: FillProgress
) -> FillResult:
    """Join the parts to the file or folder that was asked for, and remove them."""
    finished, passages = output.finished, _Passages()
    with UnusableList(output.rejected) as unusable:
        tables = passages.watch(output.parts(count), unusable)
        if is_file(output.out):
            rows = write_tables(finished, tables, SCHEMA, output.file_metadata())
        else:
            facts = write_splits(
                finished,
                tables,
                seed=config.seed,
                shares=SPLITS,
                test_domains=config.test_domains,
                metadata=output.file_metadata(),
            )
            rows, facts.rejected = sum(facts.rows.values()), unusable.count
    if not rows:
        output.clear()
        raise unusable.nothing_left(config.corpus)
    listed = place = rejected_beside(output.out)
    if not is_file(output.out):
        listed, place = finished / LISTED, output.out / LISTED
        card = records_card(
            facts,
            output.made_with,
            name=output.out.name,
            alarm=passages.alarm,
            licence=licence,
        )
        write_whole(finished / "README.md", card)
        write_config(config, finished / "config.toml")
    unusable.publish(listed)
    publish(finished, output.out)
    output.clear()
    return FillResult(
        output.out,
        rows,
        unusable.count,
        place if unusable.count else None,
        dict(unusable.reasons),
        passages.alarm,
        done,
        output.made_with,
    )


class _Passages:
    """The first documents of the parts, kept while they are joined, and what their alarm says."""

    def __init__(self) -> None:
        self.passages: list[Passage] = []

    def watch(self, parts: Iterable[Part], unusable: UnusableList) -> Iterator[pa.Table]:
        """Return the tables of the parts; their unusable documents go to the list."""
        for part in parts:
            unusable.add(part.rejected)
            room = max(0, ALARM_DOCUMENTS - len(self.passages))
            rows = part.table.slice(0, room).select(["original", "text", "spans"]).to_pylist()
            self.passages += [
                Passage(row["original"], row["text"], spans_of(row["spans"])) for row in rows
            ]
            yield part.table

    @functools.cached_property
    def alarm(self) -> ArtefactAlarm | None:
        """Return the artefact alarm of the first documents; None without scikit-learn."""
        try:
            return artefact_alarm(self.passages)
        except MissingExtraError as error:
            logger.warning("%s", error)
            return None
