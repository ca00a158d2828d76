"""Who provides for a directory, what waits in it, and who waits for whom.

Everything is read from names, sizes and the small files in `.queue/`; no batch file is opened and
nothing is written, so it may be asked at any time, of a read-only directory, too. What comes or
goes meanwhile is counted or not.
"""

import os
import shlex
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from synthenticity.config_file import load_config
from synthenticity.errors import ConfigError, QueueError
from synthenticity.stream.acknowledgement import Acknowledgement
from synthenticity.stream.audit import SPLITS, how_many, missing_numbers
from synthenticity.stream.batch_file import FORMAT_VERSION
from synthenticity.stream.batch_queue import TRAIN, BatchQueue
from synthenticity.stream.meta import LIVE, Meta
from synthenticity.stream.object_set import ObjectSet
from synthenticity.stream.ownership import BACKLOG_FULL, DISK_FULL, OwnerState
from synthenticity.stream.places import open_queue


@dataclass(frozen=True)
class QueueStatus:
    """A directory of batch files at one moment; what is not known is None."""

    directory: str
    kind: str
    fingerprint: str
    format_version: int
    owner: OwnerState | None
    files: dict[str, int]
    """How many are there, by split."""
    missing: dict[str, list[range]]
    """Spans of the numbers that a finite data set still lacks, by split."""
    backlog: int
    max_backlog_files: int | None
    next_number: int | None
    """The train file to be made next; None once a finite data set has all of them."""
    first_unacknowledged: int
    acknowledged_by: str
    acknowledged_seconds_ago: float | None
    files_per_second_made: float | None
    """While making, of a provider that is alive."""
    files_per_second_taken: float | None
    """Over the last acknowledgements."""
    rows_per_file: int
    quarantined: int
    last_reason: str
    temporaries: int
    used_bytes: int
    free_bytes: int | None
    """Not known of an object store."""
    files_that_fit: int | None
    """How many more files the free space holds."""
    knows_owner: bool = True
    """False: a provider on another machine is not seen, as of an object store."""

    @property
    def alive(self) -> bool:
        """Whether a provider is at work."""
        return self.owner is not None and self.owner.alive

    @property
    def who_waits(self) -> str:
        """Say in one line who waits for whom."""
        if self.kind == LIVE:
            return _who_waits(self)
        return _what_is_missing(self)

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        content = asdict(self)
        content["missing"] = {
            split: [[span.start, span.stop - 1] for span in spans]
            for split, spans in self.missing.items()
        }
        if self.owner is not None:
            content["owner"]["alive"] = self.owner.alive
        for which in ("made", "taken"):
            files = content[f"files_per_second_{which}"]
            rows = None if files is None else files * self.rows_per_file
            content[f"sequences_per_second_{which}"] = rows
        return {**content, "who_waits": self.who_waits}


def queue_status(directory: str | Path) -> QueueStatus:
    """Look at a live queue or a finite data set.

    Raises:
        QueueError: the directory holds no batch files, or one of its small files is damaged.

    """
    queue = open_queue(directory)
    meta = described(queue)
    owner, said = queue.owner(), queue.acknowledgement()
    numbers = {split: queue.numbers(split) for split in SPLITS}
    live = meta.kind == LIVE
    missing = {} if live else missing_numbers(queue, numbers)
    used, free, fit = _space(queue, numbers)
    bad = list((queue.directory / "quarantine").glob("*.bad"))
    first = said.first_unacknowledged
    following = min(set(range(first, first + len(numbers[TRAIN]) + 1)) - set(numbers[TRAIN]))
    return QueueStatus(
        directory=str(directory),
        kind=meta.kind,
        fingerprint=meta.fingerprint,
        format_version=FORMAT_VERSION,
        owner=owner,
        files={split: len(found) for split, found in numbers.items() if found},
        missing=missing,
        backlog=sum(number >= first for number in numbers[TRAIN]) if live else 0,
        max_backlog_files=_max_backlog_files(queue.directory, owner) if live else None,
        next_number=following if live else next((s.start for s in missing.get(TRAIN, [])), None),
        first_unacknowledged=first,
        acknowledged_by=said.by,
        acknowledged_seconds_ago=time.time() - said.recent[-1][0] if said.recent else None,
        files_per_second_made=_made_per_second(owner),
        files_per_second_taken=_taken_per_second(said),
        rows_per_file=meta.rows_per_file,
        quarantined=len(bad),
        last_reason=_last_reason(queue.directory / "quarantine"),
        temporaries=len(queue.temporaries()),
        used_bytes=used,
        free_bytes=free,
        files_that_fit=fit,
        knows_owner=queue.knows_owner,
    )


def described(queue: BatchQueue) -> Meta:
    """Return what a directory's `meta.json` says.

    Raises:
        QueueError: there is none, or it is damaged.

    """
    meta = queue.meta()
    if meta is None:
        raise QueueError(
            f"{queue.name}: holds no batch files (no meta.json). Make some: "
            "synthenticity prepare CONFIG --out-dir DIR"
        )
    return meta


def _max_backlog_files(directory: Path, owner: OwnerState | None) -> int | None:
    if owner is not None and owner.max_backlog_files:
        return owner.max_backlog_files
    with suppress(ConfigError):
        return load_config(directory / "config.toml").max_backlog_files
    return None


def _made_per_second(owner: OwnerState | None) -> float | None:
    if owner is None or not owner.alive or not owner.files_made or owner.seconds <= 0:
        return None
    return owner.files_made / owner.seconds


def _taken_per_second(said: Acknowledgement) -> float | None:
    """Return the rate of the last acknowledgements, None if there are too few of them.

    Also if their times do not ascend to now: then the clock was set back in between.
    """
    times = [when for when, _ in said.recent]
    if len(times) < 2 or times != sorted(times) or not times[0] < times[-1] <= time.time():
        return None
    return (said.recent[-1][1] - said.recent[0][1]) / (times[-1] - times[0])


def _last_reason(place: Path) -> str:
    """Return the first line of the newest reason in quarantine, "" if there is none."""
    newest: tuple[int, str] = (0, "")
    for path in place.glob("*.reason"):
        with suppress(OSError, ValueError):
            text = path.read_text(encoding="utf-8").partition("\n")[0]
            newest = max(newest, (path.stat().st_mtime_ns, text))
    return newest[1]


def _space(queue: BatchQueue, numbers: dict[str, list[int]]) -> tuple[int, int | None, int | None]:
    """Return the bytes used and free, and how many more files of the usual size fit."""
    if isinstance(queue, ObjectSet):
        return sum(queue.sizes()), None, None
    used = sum(_all_sizes(queue.directory))
    free = shutil.disk_usage(queue.directory).free
    sizes: list[int] = []
    for split, found in numbers.items():
        for number in found[-16:]:
            with suppress(OSError):
                sizes.append(queue.path(split, number).stat().st_size)
    return used, free, int(free // (sum(sizes) / len(sizes))) if any(sizes) else None


def _all_sizes(directory: Path) -> Iterator[int]:
    """Give the bytes on disk of all files below a directory, as many as hold still."""
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _all_sizes(Path(entry.path))
            else:
                with suppress(OSError):
                    yield entry.stat(follow_symlinks=False).st_blocks * 512


def _who_waits(now: QueueStatus) -> str:
    """Say it of a live queue."""
    waiting = f"{_files(now.backlog)} {'waits' if now.backlog == 1 else 'wait'}"
    if now.owner is None or not now.alive:
        trainer = f"will wait after {_files(now.backlog)}" if now.backlog else "waits"
        return f"nobody provides: a trainer {trainer}. {_how_to_start(now)}"
    if now.owner.state == DISK_FULL:
        return f"the provider waits for disk space; {waiting} for the trainer"
    full = now.max_backlog_files is not None and now.backlog >= now.max_backlog_files
    if now.owner.state == BACKLOG_FULL or (full and not now.owner.state.startswith("making")):
        return f"the provider waits for the trainer: the backlog is full, {waiting}"
    made, taken = now.files_per_second_made, now.files_per_second_taken
    makes = "" if made is None else f", the provider makes {made:.2g} files/s"
    took = "" if taken is None else f", the trainer took {taken:.2g} of late"
    if now.backlog == 0:
        who = "the trainer waits" if now.first_unacknowledged else "a trainer would wait"
        return f"{who} for the provider: {waiting}{makes}{took}"
    slower = made is not None and taken is not None and made < taken
    who = "the trainer will wait for the provider" if slower else "nobody waits"
    return f"{who}: {waiting} for the trainer{makes}{took}"


def _what_is_missing(now: QueueStatus) -> str:
    """Say it of a finite data set."""
    count = sum(map(how_many, now.missing.values()))
    if not count:
        return "complete" if now.files else f"nothing was made yet. {_how_to_start(now)}"
    lack = f"{_files(count)} {'is' if count == 1 else 'are'} missing"
    if now.owner is None or not now.alive:
        who = "nobody provides" if now.knows_owner else "nobody provides on this machine"
        return f"{who}: {lack}. {_how_to_start(now)}"
    if now.owner.state == DISK_FULL:
        return f"the provider waits for disk space; {lack}"
    made = now.files_per_second_made
    left = "" if made is None else f", about {count / made:.0f} s more"
    return f"the provider is at work: {lack}{left}"


def _how_to_start(now: QueueStatus) -> str:
    """Say which command provides."""
    config = Path(now.directory) / "config.toml"
    given = shlex.quote(str(config)) if config.is_file() else "CONFIG"
    command = f"synthenticity prepare {given}"
    if now.kind != LIVE:
        wanted = [now.files.get(split, 0) + how_many(s) for split, s in now.missing.items()]
        command += f" --files {max(wanted, default='N')}"
        command += " --splits train,val,test" if "test" in now.missing else ""
    return f"Start one: {command} --out-dir {shlex.quote(now.directory)}"


def _files(count: int) -> str:
    """Return a number of files as people say it.

    >>> _files(1), _files(2)
    ('1 file', '2 files')
    """
    return f"{count} file{'' if count == 1 else 's'}"
