"""`prepare`: run a provider until it is stopped, or until a finite data set is complete.

Endless, it keeps at most `max_backlog_files` train files waiting; with `files`, it makes that
many files of each split and nothing bounds it. Stopped at any moment, it leaves whole files
only, and the same call goes on where it was; asked for more files, it makes the missing ones.
With workers, this process hands out the numbers and commits; the bytes are the same.
"""

import errno
import json
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from synthenticity.config import Config
from synthenticity.config_file import write_config
from synthenticity.data_card import with_int8
from synthenticity.distributed.cluster import Cluster, connected
from synthenticity.durable import flush, flush_names, is_full, write_whole
from synthenticity.errors import ConfigError, QueueError
from synthenticity.providers.base import DataProviderBase, find_provider
from synthenticity.providers.card import finite_set_card
from synthenticity.providers.file_line import Name
from synthenticity.providers.making import FileMaker, Places, find_places
from synthenticity.providers.run import PrepareProgress, Run
from synthenticity.stream.audit import SPLITS as KNOWN_SPLITS
from synthenticity.stream.batch_queue import TRAIN, BatchQueue
from synthenticity.stream.meta import FINITE, LIVE, Meta
from synthenticity.stream.object_store import is_url
from synthenticity.stream.ownership import BACKLOG_FULL
from synthenticity.stream.places import Place
from synthenticity.stream.staged_set import StagedSet
from synthenticity.stream.summary import StreamSummary, summarize

logger = logging.getLogger(__name__)

SPLITS = ("train", "val")
NO_SPACE = os.strerror(errno.ENOSPC)
"""What the tokenizers library says of a full disk, in an error of no type."""
OUR_NAMES = (
    *("README.md", "config.toml", "summary.json", "tensorboard", "tokenizer", "quarantine"),
    *KNOWN_SPLITS,
)
"""What `prepare` writes into a directory, beside `meta.json` and `.queue/`."""


def prepare(
    config: Config,
    directory: str | Path | None = None,
    *,
    files: int | None = None,
    samples: int | None = None,
    splits: Sequence[str] = SPLITS,
    licence: str | None = None,
    staging: Path | None = None,
    provider: DataProviderBase | None = None,
    on_progress: Callable[[PrepareProgress], None] = lambda progress: None,
    on_end: Callable[[dict[str, Any]], None] = lambda summary: None,
    stop: threading.Event | None = None,
    take_turns: bool = False,
    workers: int = 0,
    devices: Sequence[str] = (),
    cluster: Cluster | None = None,
) -> dict[str, Any]:
    """Make the data that a config describes, and return the summary of what this run made.

    Args:
        config: the settings.
        directory: where to; default `config.data_dir`. A finite data set may go to an object
            store: a URL.
        files: make a finite data set of this many files a split; None: a live queue, endlessly.
        samples: or of this many sequences a split, rounded up to whole files.
        splits: the splits of a finite data set.
        licence: of the texts, for the card of a finite data set.
        staging: where files on their way to an object store lie until they are uploaded; default:
            in the user's cache.
        provider: in place of the one that `config.dataset` names.
        on_progress: called after each file and at the start of each wait: for the consumer, or
            for space on a full disk.
        on_end: called with the summary when the run is complete, stopped or interrupted.
        stop: set it from another thread to end the run; what is not committed is made another time.
        take_turns: while another provider owns the directory, wait for its end (or for `stop`).
        workers: processes that make the files; 0 or 1: this one does. With more, a script makes
            this call under `if __name__ == "__main__"`.
        devices: of the workers, dealt in turn, all of one kind; default `config.device`. Several
            without `workers`: one worker each.
        cluster: on which files are made instead; every node must see corpus and models under the
            same names.

    Raises:
        ConfigError: the arguments or settings do not fit together.
        CompatibilityError: the directory was made with another configuration, or what a worker
            reads is not what this process has read.
        QueueOwnedError: another provider is at work there.
        QueueError: workers die again and again.

    """
    files = _files_asked_for(config, files, samples)
    _check_splits(splits)
    places = find_places(config, workers, devices, cluster)
    _check_workers(places, provider, None if files is not None else config.max_backlog_files)
    config = places.config
    with connected(cluster):
        queue = _open(config, directory or config.data_dir, staging, live=files is None)
        target = queue.directory
        provider = provider or find_provider(config.dataset)(config)
        meta = provider.meta(LIVE if files is None else FINITE)
        stop = stop or threading.Event()
        with queue.owned(unless=stop if take_turns else None) as ownership:
            ownership.report("starting", workers=places.workers)
            with _full_disk_said(target):
                _write_beside(config, queue, meta, provider.tokenizer)
            unknown_share = provider.unknown_share
            maker = FileMaker(provider, meta, places)
            del provider  # beside workers, its models would only take memory
            pause = config.sleep_seconds
            run = Run(queue, ownership, maker, on_progress=on_progress, stop=stop, pause=pause)
            try:
                with maker:
                    if files is None:
                        _provide(run, config.val_files)
                    elif _complete(run, files, splits):
                        card = finite_set_card(queue, meta, run.summary, licence=licence)
                        with _full_disk_said(target):
                            write_whole(target / "README.md", card)
            except KeyboardInterrupt:
                on_end(_finish(run, meta, unknown_share))
                raise
            summary = _finish(run, meta, unknown_share)
            queue.settle()
    on_end(summary)
    return summary


def _open(config: Config, place: Place, staging: Path | None, *, live: bool) -> BatchQueue:
    """Return the queue that files are committed to, if it is a place for them."""
    if not is_url(place):
        if staging is not None:
            raise ConfigError(f"staging: has no effect, {place} is no URL. Leave it out.")
        queue = BatchQueue(place, max_backlog_files=config.max_backlog_files, commit=config.commit)
        _check_place(queue)
        return queue
    if live:
        raise ConfigError(
            f"{place}: an object store cannot keep a live queue, which needs links and one owner. "
            "Give --files for a finite data set, or a local directory."
        )
    stored = StagedSet(str(place), staging, commit=config.commit)
    stored.check_place(OUR_NAMES)
    return stored


def _check_workers(places: Places, provider: DataProviderBase | None, backlog: int | None) -> None:
    """Refuse workers that cannot work, and say if a live queue has no work for some of them."""
    if provider is not None and places.workers:
        raise ConfigError(
            "provider: workers cannot share it. Register it under an entry point and name it in "
            "dataset, or leave out workers."
        )
    if backlog is not None and places.workers > backlog:
        logger.warning(
            "workers: %d, and a backlog of %d files (max_backlog_files) gives work to no more.",
            places.workers,
            backlog,
        )


def _check_place(queue: BatchQueue) -> None:
    """Refuse a directory with files of other people under the names of ours.

    What a killed start of ours left has the queue's private folder beside it, which is made first.
    """
    if queue.meta() is not None or queue.private.is_dir():
        return
    taken = [name for name in OUR_NAMES if (queue.directory / name).exists()]
    if taken:
        raise ConfigError(
            f"{queue.directory}: holds {', '.join(taken)}, which prepare did not make and would "
            "replace. Give another directory (--out-dir)."
        )


def _check_splits(splits: Sequence[str]) -> None:
    unknown = [split for split in splits if split not in KNOWN_SPLITS]
    if unknown:
        raise ConfigError(f"splits: {unknown} are none of {', '.join(KNOWN_SPLITS)}.")


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


def _write_beside(config: Config, queue: BatchQueue, meta: Meta, tokenizer: Any) -> None:
    """Write what a reader needs besides the files; the meta file last, it invites readers."""
    is_new = queue.meta() is None
    if is_new:
        if tokenizer is not None:
            folder = queue.directory / "tokenizer"
            tokenizer.save_pretrained(str(folder))
            for path in folder.iterdir():  # or a power cut leaves a meta file beside empty ones
                flush(path)
            flush_names(folder)
        write_config(config, queue.directory / "config.toml")
    queue.put_meta(meta)
    if not is_new:  # the same data, but perhaps another backlog, or the corpus in another place
        write_config(config, queue.directory / "config.toml")


@contextmanager
def _full_disk_said(directory: Path) -> Iterator[None]:
    """Within, a full disk becomes an error that names the directory."""
    try:
        yield
    except Exception as error:
        if not is_full(error) and NO_SPACE not in str(error):
            raise
        raise QueueError(
            f"{directory}: the disk is full. Make space and run the same command again."
        ) from None


def _complete(run: Run, files: int, splits: Sequence[str]) -> bool:
    """Make what is missing of a finite data set; return whether it is complete."""
    with _full_disk_said(run.queue.directory):
        run.queue.announce(files, splits)
    for split in splits:  # damaged files go to quarantine here, and are made again below
        run.summary.merge(summarize(run.queue, split))
    missing = deque(
        (split, number)
        for split in splits
        for number in sorted(set(range(files)) - set(run.queue.numbers(split)))
    )
    run.files_wanted = len(missing)
    run.begin()
    run.work(lambda: missing.popleft() if missing else None)
    complete = run.files_made == run.files_wanted
    if complete:
        run.say("complete")
    return complete


def _provide(run: Run, val_files: int) -> None:
    """Make the fixed val set, then train files as long as the backlog has room."""

    def following() -> Name | None:
        run.queue.release()
        run.queue.withdraw()
        val = {*run.queue.numbers("val"), *run.in_work("val")}
        for number in range(val_files):
            if number not in val:
                return "val", number
        train = run.queue.next_number(taken=run.in_work(TRAIN))
        return None if train is None else (TRAIN, train)

    with _full_disk_said(run.queue.directory):
        run.queue.announce(val_files, ["val"])
    run.begin()
    while not run.stop.is_set():
        run.work(following)
        if not run.stop.is_set():
            run.wait(TRAIN, BACKLOG_FULL)


def _finish(run: Run, meta: Meta, unknown_share: float) -> dict[str, Any]:
    """Write `summary.json` and TensorBoard events, and return the summary."""
    seconds, directory = run.seconds, run.queue.directory
    summary = {
        **run.summary.to_json(),
        "unknown_character_share": unknown_share,
        "files_made": run.files_made,
        "readings_spared": run.readings_spared,
        **with_int8(meta.made_with),
        "seconds": round(seconds, 3),
        "sequences_per_second": run.sequences / max(seconds, 1e-9),
        "tokens_per_second": run.tokens / max(seconds, 1e-9),
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
