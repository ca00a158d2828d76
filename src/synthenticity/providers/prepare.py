"""`prepare`: run a provider until it is stopped, or until a finite data set is complete.

Endless, it keeps at most `max_backlog_files` train files waiting; with `files`, it makes that
many files of each split and nothing bounds it. Stopped at any moment, it leaves whole files
only, and the same call goes on where it was; asked for more files, it makes the missing ones.
"""

import json
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthenticity.config import Config
from synthenticity.config_file import write_config
from synthenticity.durable import write_whole
from synthenticity.errors import ConfigError
from synthenticity.providers.base import DataProviderBase, find_provider
from synthenticity.providers.card import finite_set_card
from synthenticity.stream.batch_file import BatchSchema, Identity, encode_batch_file
from synthenticity.stream.batch_queue import TRAIN, BatchQueue
from synthenticity.stream.meta import FINITE, LIVE, Meta
from synthenticity.stream.summary import StreamSummary, summarize

SPLITS = ("train", "val")
KNOWN_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class PrepareProgress:
    """What a provider reports after each file and while its backlog is full."""

    split: str
    files_made: int
    files_wanted: int | None
    backlog: int
    waiting: bool
    seconds: float
    """Spent making files, waiting left out."""
    sequences_made: int
    tokens_made: int
    summary: StreamSummary


class _Run:
    """The state of one call of `prepare`."""

    def __init__(
        self,
        provider: DataProviderBase,
        queue: BatchQueue,
        meta: Meta,
        on_progress: Callable[[PrepareProgress], None],
    ) -> None:
        self.provider = provider
        self.queue = queue
        self.meta = meta
        self.on_progress = on_progress
        self.summary = StreamSummary()
        self.files_wanted: int | None = None
        self.files_made = self.sequences = self.tokens = 0
        self.seconds = 0.0

    def make(self, split: str, number: int) -> None:
        """Make, commit and count one file."""
        start = time.monotonic()
        columns = self.provider.make_file(split, number)
        schema: BatchSchema = self.meta.schema
        identity = Identity(self.meta.fingerprint, split, number)
        self.queue.put(split, number, encode_batch_file(columns, schema, identity))
        self.seconds += time.monotonic() - start
        rows = len(next(iter(columns.values())))
        length = columns["input_ids"].shape[1] if "input_ids" in columns else 0
        self.files_made += 1
        self.sequences += rows
        self.tokens += rows * length
        self.summary.add(columns)
        self.report(split, waiting=False)

    def report(self, split: str, *, waiting: bool) -> None:
        """Tell the caller how far it is."""
        self.on_progress(
            PrepareProgress(
                split=split,
                files_made=self.files_made,
                files_wanted=self.files_wanted,
                backlog=self.queue.backlog(),
                waiting=waiting,
                seconds=self.seconds,
                sequences_made=self.sequences,
                tokens_made=self.tokens,
                summary=self.summary,
            )
        )


def prepare(
    config: Config,
    directory: str | Path | None = None,
    *,
    files: int | None = None,
    samples: int | None = None,
    splits: Sequence[str] = SPLITS,
    licence: str | None = None,
    provider: DataProviderBase | None = None,
    on_progress: Callable[[PrepareProgress], None] = lambda progress: None,
    on_end: Callable[[dict[str, Any]], None] = lambda summary: None,
    stop: threading.Event | None = None,
    take_turns: bool = False,
) -> dict[str, Any]:
    """Make the data that a config describes, and return the summary of what this run made.

    Args:
        config: the settings.
        directory: where to; default `config.data_dir`.
        files: make a finite data set of this many files a split; None: a live queue, endlessly.
        samples: or of this many sequences a split, rounded up to whole files.
        splits: the splits of a finite data set.
        licence: of the texts, for the card of a finite data set.
        provider: in place of the one that `config.dataset` names.
        on_progress: called after each file and at the start of each wait.
        on_end: called with the summary when the run is complete, stopped or interrupted.
        stop: set it from another thread to end an endless run between two files.
        take_turns: while another provider owns the directory, wait for its end (or for `stop`).

    Raises:
        CompatibilityError: the directory was made with another configuration.
        QueueOwnedError: another provider is at work there.

    """
    files = _files_asked_for(config, files, samples)
    unknown = [split for split in splits if split not in KNOWN_SPLITS]
    if unknown:
        raise ConfigError(f"splits: {unknown} are none of {', '.join(KNOWN_SPLITS)}.")
    target = Path(directory or config.data_dir)
    provider = provider or find_provider(config.dataset)(config)
    queue = BatchQueue(target, max_backlog_files=config.max_backlog_files)
    run = _Run(provider, queue, provider.meta(LIVE if files is None else FINITE), on_progress)
    stop = stop or threading.Event()
    with queue.owned(unless=stop if take_turns else None):
        _write_beside(config, run)
        try:
            if files is None:
                _provide(run, config, stop)
            else:
                _complete(run, files, splits)
                card = finite_set_card(queue, run.meta, run.summary, licence=licence)
                write_whole(target / "README.md", card)
        except KeyboardInterrupt:
            on_end(_finish(run, target))
            raise
        summary = _finish(run, target)
    on_end(summary)
    return summary


def _files_asked_for(config: Config, files: int | None, samples: int | None) -> int | None:
    """Return the number of files of a split, None for a live queue."""
    if files is not None and samples is not None:
        raise ConfigError("samples: beside files. Give one of the two.")
    for name, number in (("files", files), ("samples", samples)):
        if number is not None and number < 1:
            raise ConfigError(f"{name}: {number} is not a positive number of {name}.")
    if samples is None:
        return files
    return -(-samples // (config.batch_size * config.batches_per_file))


def _write_beside(config: Config, run: _Run) -> None:
    """Write what a reader needs besides the files; the meta file last, it invites readers."""
    directory = run.queue.directory
    found = run.queue.meta()
    if found is None:
        if run.provider.tokenizer is not None:
            run.provider.tokenizer.save_pretrained(str(directory / "tokenizer"))
        write_config(config, directory / "config.toml")
    run.queue.put_meta(run.meta)


def _complete(run: _Run, files: int, splits: Sequence[str]) -> None:
    """Make what is missing of a finite data set."""
    run.queue.announce(files, splits)
    for split in splits:  # damaged files go to quarantine here, and are made again below
        run.summary.merge(summarize(run.queue, split))
    missing = [
        (split, number)
        for split in splits
        for number in sorted(set(range(files)) - set(run.queue.numbers(split)))
    ]
    run.files_wanted = len(missing)
    for split, number in missing:
        run.make(split, number)


def _provide(run: _Run, config: Config, stop: threading.Event) -> None:
    """Make the fixed val set, then train files as long as the backlog has room."""
    for number in sorted(set(range(config.val_files)) - set(run.queue.numbers("val"))):
        if not stop.is_set():
            run.make("val", number)
    while not stop.is_set():
        following = run.queue.next_number()
        if following is None:
            run.report(TRAIN, waiting=True)
            stop.wait(config.sleep_seconds)
        else:
            run.make(TRAIN, following)


def _finish(run: _Run, directory: Path) -> dict[str, Any]:
    """Write `summary.json` and TensorBoard events, and return the summary."""
    summary = {
        **run.summary.to_json(),
        "unknown_character_share": run.provider.unknown_share,
        "files_made": run.files_made,
        "seconds": round(run.seconds, 3),
        "sequences_per_second": run.sequences / max(run.seconds, 1e-9),
        "tokens_per_second": run.tokens / max(run.seconds, 1e-9),
    }
    if not run.summary.files:
        return summary  # nothing was made or read: what an earlier run wrote stays
    with suppress(OSError):  # a full disk must not hide what the run has to say
        text = json.dumps(summary, indent=2) + "\n"
        write_whole(directory / "summary.json", text)
        _write_events(summary, run.summary, directory / "tensorboard")
    return summary


def _write_events(summary: dict[str, Any], stream: StreamSummary, directory: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(directory)) as writer:
        for key, value in summary.items():
            if isinstance(value, int | float):
                writer.add_scalar(f"prepare/{key}", value, stream.files)
        if stream.values:
            values = np.concatenate(stream.values)
            writer.add_histogram(f"prepare/{stream.graded}", values, stream.files)
