"""What is wrong with a directory of batch files, and the repair of what is safe to repair.

`audit` reads and verifies every file and changes nothing. What somebody is doing just now is no
fault: files that are being consumed, temporaries and gaps of a provider at work. So whatever a
healthy queue shows for a moment only is looked at a second time. `repair_queue` removes what is
left over and moves bad files to quarantine; what is not ours is never touched.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from synthenticity.errors import BatchFileError
from synthenticity.seeding import digest
from synthenticity.stream.batch_file import BatchFile, Columns, Identity, read_batch_file
from synthenticity.stream.batch_queue import TRAIN, BatchQueue
from synthenticity.stream.meta import LIVE, Meta
from synthenticity.stream.ownership import still_beats

SPLITS = (TRAIN, "val", "test")
GAP, DUPLICATE, FOREIGN = "gap", "duplicate", "foreign"
TEMPORARY, ACKNOWLEDGED, DAMAGED = "temporary", "acknowledged", "damaged"
REMOVE, QUARANTINE = "remove", "quarantine"
SETTLE_SECONDS = 0.5
"""Longer than a consumer takes to remove what it acknowledged, or anyone to rename a file."""
SELF_TEST = ".self-test-"
PRIVATE = frozenset({*SPLITS, "quarantine", ".queue"})
"""The directories of a queue that are looked at otherwise, or hold no data."""


@dataclass(frozen=True)
class Finding:
    """One thing that a directory should not hold, or lacks."""

    kind: str
    """`gap`, `duplicate`, `foreign`, `temporary`, `acknowledged` or `damaged`."""
    path: Path
    detail: str
    repair: str = ""
    """What `repair_queue` does about it: `remove`, `quarantine`, or nothing."""

    def __str__(self) -> str:
        return f"{self.path}: {self.detail}"


@dataclass(frozen=True)
class Audit:
    """What was found, and how many files were read and are what they should be."""

    findings: list[Finding]
    files_verified: int


def audit(queue: BatchQueue, meta: Meta) -> Audit:
    """Read and verify all files of a directory, and list what should not be as it is.

    Raises:
        QueueError: one of the small files in `.queue/` is damaged.

    """
    live = meta.kind == LIVE
    acknowledged = queue.first_unacknowledged() if live else 0
    findings: list[Finding] = []
    verified = 0
    for split in SPLITS:
        contents: dict[str, int] = {}
        for number in queue.numbers(split):
            if split == TRAIN and number < acknowledged:
                continue
            found = _look_at(queue, meta, split, number)
            if isinstance(found, Finding):
                findings.append(found)
            elif found is not None:
                verified += 1
                first = contents.setdefault(_content_digest(found.columns), number)
                findings += [] if first == number else [_same_data(queue, split, first, number)]
    findings += _settled(lambda: [*_gaps(queue, live=live), *_left_over(queue, live=live)])
    findings += _foreign(queue, meta)
    return Audit(findings, verified)


def repair_queue(queue: BatchQueue, meta: Meta) -> list[str]:
    """Remove what is left over, move bad files to quarantine, and return what was done.

    Raises:
        QueueOwnedError: a provider is at work.
        QueueError: the directory cannot be written to, or a bad file cannot be moved.

    """
    owner, left, done = queue.owner(), queue.temporaries(), list[str]()
    with queue.owned() as ownership:  # which refuses if that owner lives, and tidies up
        ownership.report("repairing")
        if owner is not None:
            done.append(f"removed the last beat of {owner.name}, which is dead")
        for path in left:
            path.unlink(missing_ok=True)
            done.append(f"removed {path}: stale temporary")
        for finding in audit(queue, meta).findings:
            if finding.repair == REMOVE:
                finding.path.unlink(missing_ok=True)
                done.append(f"removed {finding}")
            elif finding.repair == QUARANTINE:
                queue.quarantine(finding.path, str(finding))
                done.append(f"moved to quarantine/ {finding}")
            elif finding.kind in (FOREIGN, DUPLICATE):
                done.append(f"not removed {finding}")
    return done


def missing_numbers(
    queue: BatchQueue, numbers: Mapping[str, list[int]], first: int = 0
) -> dict[str, list[range]]:
    """Return what each split lacks below what was announced, or else below its last file.

    As spans: a foreign file may bear any number.

    Args:
        queue: the directory.
        numbers: those that are there, by split.
        first: the first train file that there should be.

    """
    missing = {}
    for split, found in numbers.items():
        start = first if split == TRAIN else 0
        end = queue.announced(split) or (found[-1] + 1 if found else 0)
        edges = [start - 1, *(number for number in found if start <= number < end), end]
        spans = [range(a + 1, b) for a, b in pairwise(edges) if b - a > 1]
        if spans:
            missing[split] = spans
    return missing


def how_many(spans: list[range]) -> int:
    """Return how many numbers there are in spans of them."""
    return sum(span.stop - span.start for span in spans)  # `len` has its limits


def _look_at(queue: BatchQueue, meta: Meta, split: str, number: int) -> BatchFile | Finding | None:
    """Return a file that is as it should be, what is wrong with it, or None if it has gone."""
    path = queue.path(split, number)
    try:
        file = queue.look_at(split, number)
        if file is not None:
            rows = meta.schema.check(file.columns)
            if rows != meta.rows_per_file:
                raise ValueError(f"has {rows} rows, meta.json says {meta.rows_per_file}.")
        return file
    except (BatchFileError, ValueError, OSError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        reason = said.removeprefix(f"{path}: ")
    if not os.path.lexists(path):
        return None  # somebody else found it, too
    copied = _identity_here(path, meta)
    if copied is not None and copied != (split, number) and queue.path(*copied).exists():
        reason = f"a copy of {queue.path(*copied).name}; {reason}"
        return Finding(DUPLICATE, path, reason, QUARANTINE)
    return Finding(DAMAGED, path, reason, QUARANTINE)


def _identity_here(path: Path, meta: Meta) -> tuple[str, int] | None:
    """Return which file of this directory a whole batch file is, whatever its name; or None."""
    with suppress(BatchFileError, OSError):
        identity: Identity = read_batch_file(path).identity
        if identity.fingerprint == meta.fingerprint:
            return identity.split, identity.number
    return None


def _content_digest(columns: Columns) -> str:
    parts: list[str | bytes] = []
    for name in sorted(columns):
        values = columns[name]
        parts += [name, *(values.tolist() if values.dtype.kind in "UT" else [values.tobytes()])]
    return digest(*parts)


def _same_data(queue: BatchQueue, split: str, first: int, second: int) -> Finding:
    name = queue.path(split, first).name
    detail = f"holds the same data as {name}; --remake tells which is right"
    return Finding(DUPLICATE, queue.path(split, second), detail)


def _gaps(queue: BatchQueue, *, live: bool) -> list[Finding]:
    """List the numbers that are missing, one finding a split; a provider at work makes them."""
    if _provided(queue):
        return []
    numbers = {split: queue.numbers(split) for split in SPLITS}
    # Read after the names: what a consumer removed meanwhile lies below.
    missing = missing_numbers(queue, numbers, queue.first_unacknowledged() if live else 0)
    return [
        Finding(GAP, queue.directory / split, f"lacks {_in_words(lacking)}; prepare makes it again")
        for split, lacking in missing.items()
    ]


def _provided(queue: BatchQueue) -> bool:
    owner = queue.owner()
    return owner is not None and (owner.alive or still_beats(queue.private))


def _in_words(spans: list[range]) -> str:
    """Return ascending numbers as people write them.

    >>> _in_words([range(1, 2), range(4, 7)])
    'numbers 1, 4-6'
    """
    shown = (f"{s.start}" if s.stop - s.start == 1 else f"{s.start}-{s.stop - 1}" for s in spans)
    return f"number{'' if how_many(spans) == 1 else 's'} {', '.join(shown)}"


def _foreign(queue: BatchQueue, meta: Meta) -> Iterator[Finding]:
    """List what is no batch file's name in a split's place, and data where none belong."""
    for split in SPLITS:
        for path in sorted((queue.directory / split).glob("*")):
            if path.name.startswith(SELF_TEST):
                continue
            digits = path.stem.removeprefix(f"{split}-")
            if not (digits.isdecimal() and path == queue.path(split, int(digits))):
                copied = (
                    _identity_here(path, meta)
                    if path.suffix == ".parquet" and path.is_file()
                    else None
                )
                if copied is None:
                    yield Finding(FOREIGN, path, "not ours, it has no batch file's name")
                else:
                    name = queue.path(*copied).name
                    yield Finding(DUPLICATE, path, f"not ours by its name, it holds {name}")
    for path in sorted(queue.directory.glob("*")):
        if path.is_dir() and not path.is_symlink() and path.name not in PRIVATE:
            count = sum(name.endswith(".parquet") for *_, names in os.walk(path) for name in names)
            if count:
                yield Finding(FOREIGN, path, f"not ours, it holds {count} Parquet file(s)")
        elif path.suffix == ".parquet":
            yield Finding(FOREIGN, path, "not ours, batch files are in train/, val/ and test/")


def _left_over(queue: BatchQueue, *, live: bool) -> list[Finding]:
    """List stale temporaries, and files that are acknowledged and not yet removed."""
    left = [] if _provided(queue) else queue.temporaries()
    found = [Finding(TEMPORARY, path, "stale temporary", REMOVE) for path in left]
    first = queue.first_unacknowledged() if live else 0
    for number in queue.numbers(TRAIN):
        if number < first:
            detail = f"acknowledged, as all below {first}, and not removed"
            found.append(Finding(ACKNOWLEDGED, queue.path(TRAIN, number), detail, REMOVE))
    return found


def _settled(look: Callable[[], list[Finding]]) -> list[Finding]:
    """Return what is found, if it still is a while later."""
    before = {_mark(finding) for finding in look()}
    if not before:
        return []
    time.sleep(SETTLE_SECONDS)
    return [finding for finding in look() if _mark(finding) in before]


def _mark(finding: Finding) -> tuple[Path, int]:
    """Return what stays the same of a thing left alone; a temporary's name may be used again."""
    if finding.kind != TEMPORARY:
        return finding.path, 0
    try:
        return finding.path, finding.path.lstat().st_mtime_ns
    except FileNotFoundError:
        return finding.path, -1
