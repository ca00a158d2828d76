"""A directory of batch files as a queue: bounded, ordered, crash-safe, without locks that matter.

A file appears under its final name whole or not at all: it is written aside, flushed to disk
and linked, and a link never replaces a file. Numbers only grow. The train split is bounded by
`max_backlog_files`; the other splits are fixed sets. What is in a file is a function of its
number, so two writers of one number do no harm; the lock on the directory only saves work.
Commit of a file of 800 sequences: some milliseconds, most of it the disk's.

    DIR/meta.json               what the files are and what they were made with
    DIR/train/train-00000007.parquet, DIR/val/...
    DIR/quarantine/             damaged files, each with a reason beside it
    DIR/.queue/                 temporaries, the provider's heartbeat, the acknowledgement
"""

import fcntl
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from synthenticity.durable import flush, write_whole
from synthenticity.errors import BatchFileError, QueueError, QueueOwnedError
from synthenticity.stream.batch_file import BatchFile, Identity, read_batch_file
from synthenticity.stream.meta import LIVE, META_NAME, Meta, check_same_meta, read_meta

logger = logging.getLogger(__name__)

TRAIN = "train"
HEARTBEAT_SECONDS = 2.0
LOCK_SECONDS = 0.2
SILENT_SECONDS = 15.0
"""A provider that has not beaten for this long is taken for dead, in messages only."""


@dataclass(frozen=True)
class OwnerState:
    """Who provides for a directory, and when it last said so."""

    pid: int
    host: str
    seconds_ago: float

    @property
    def alive(self) -> bool:
        """Whether it beat recently."""
        return self.seconds_ago < SILENT_SECONDS


class BatchQueue:
    """One directory of batch files; provider and consumer each open their own.

    Args:
        directory: need not exist yet.
        max_backlog_files: train files that may wait to be acknowledged.

    """

    def __init__(self, directory: str | Path, *, max_backlog_files: int = 3) -> None:
        self.directory = Path(directory)
        self.max_backlog_files = max_backlog_files
        self._private = self.directory / ".queue"
        self._temporaries = self._private / "tmp"

    # What is there.

    def meta(self) -> Meta | None:
        """Return what `meta.json` says, or None before the first provider wrote it."""
        return read_meta(self.directory)

    def path(self, split: str, number: int) -> Path:
        """Return the place of a file."""
        return self.directory / split / f"{split}-{number:08d}.parquet"

    def numbers(self, split: str) -> list[int]:
        """Return the numbers of the files that are there, in order."""
        names = (path.stem for path in (self.directory / split).glob(f"{split}-*.parquet"))
        digits = (name.removeprefix(f"{split}-") for name in names)
        return sorted(int(text) for text in digits if len(text) == 8 and text.isdigit())

    def first_unacknowledged(self) -> int:
        """Return the number of the first train file that the consumer may still need."""
        path = self._private / "acknowledged.json"
        try:
            return int(json.loads(path.read_text(encoding="utf-8"))["first_unacknowledged"])
        except FileNotFoundError:
            return 0
        except (ValueError, KeyError, TypeError) as error:
            raise QueueError(
                f"{path}: is damaged ({error}). It holds the number of the first train file still "
                "needed; write it anew or remove the directory."
            ) from None

    def announce(self, files: int, splits: Sequence[str]) -> None:
        """Say how many files each split of a finite data set will have; it never gets less."""
        wanted = self._announcements()
        wanted |= {split: max(files, wanted.get(split, 0)) for split in splits}
        write_whole(self._private / "announced.json", json.dumps(wanted))

    def announced(self, split: str) -> int:
        """Return how many files a finite split will have; 0 where nobody has said so."""
        return self._announcements().get(split, 0)

    def _announcements(self) -> dict[str, int]:
        path = self._private / "announced.json"
        try:
            return {str(key): int(n) for key, n in json.loads(path.read_text("utf-8")).items()}
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, AttributeError) as error:
            raise QueueError(f"{path}: is damaged ({error}). Remove it.") from None

    def streaming(self) -> bool:
        """Whether the first train file was made, now or ever."""
        return self.first_unacknowledged() > 0 or bool(self.numbers(TRAIN))

    def next_number(self) -> int | None:
        """Return the train file to make now, or None while the backlog is full.

        It is the smallest missing number, so a quarantined file is made again first.
        """
        first = self.first_unacknowledged()
        there = set(self.numbers(TRAIN))
        missing = (n for n in range(first, first + self.max_backlog_files) if n not in there)
        return next(missing, None)

    def backlog(self) -> int:
        """Return how many train files wait."""
        first = self.first_unacknowledged()
        return sum(number >= first for number in self.numbers(TRAIN))

    # Writing.

    @contextmanager
    def owned(self, *, unless: threading.Event | None = None) -> Iterator[None]:
        """Be the directory's only provider, and beat so that others can tell.

        Args:
            unless: wait for another provider's end, unless this is set; None: do not wait.

        Raises:
            QueueOwnedError: another process is.
            QueueError: the directory cannot be written to.

        """
        try:
            self._temporaries.mkdir(parents=True, exist_ok=True)
            lock = (self._private / "owner.lock").open("a")
        except OSError as error:
            raise QueueError(f"{self.directory}: cannot be written to: {error.strerror}.") from None
        with lock:
            while not _locked(lock):
                if unless is not None and not unless.wait(LOCK_SECONDS):
                    continue
                owner = self.owner()
                who = f" (process {owner.pid} on {owner.host})" if owner else ""
                raise QueueOwnedError(
                    f"{self.directory}: another provider owns it{who}. Stop that one, or use "
                    "another directory."
                ) from None
            self._remove_temporaries()
            self._say_alive()
            stop = threading.Event()
            beat = threading.Thread(target=self._beat, args=(stop,), daemon=True)
            beat.start()
            try:
                yield
            finally:
                stop.set()
                beat.join()
                with suppress(OSError):
                    (self._private / "owner.json").unlink()

    def _beat(self, stop: threading.Event) -> None:
        while not stop.wait(HEARTBEAT_SECONDS):
            self._say_alive()

    def _say_alive(self) -> None:
        content = json.dumps({"pid": os.getpid(), "host": socket.gethostname()})
        temporary = self._private / "owner.tmp"
        with suppress(OSError):  # a missed beat only makes messages less precise
            temporary.write_text(content, encoding="utf-8")
            temporary.replace(self._private / "owner.json")

    def owner(self) -> OwnerState | None:
        """Return who provides here, or None if nobody says so."""
        path = self._private / "owner.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return OwnerState(
                content["pid"], content["host"], max(0.0, time.time() - path.stat().st_mtime)
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _remove_temporaries(self) -> None:
        for path in self._temporaries.iterdir():
            path.unlink()

    def put_meta(self, meta: Meta) -> None:
        """Write `meta.json`, or check that the one there describes the same data.

        Raises:
            CompatibilityError: the directory was made with another configuration (which keys).

        """
        found = self.meta()
        if found is None:
            content = json.dumps(meta.to_json(), indent=2, ensure_ascii=False) + "\n"
            self._commit(self.directory / META_NAME, content.encode())
            return
        check_same_meta(self.directory, found, meta)

    def put(self, split: str, number: int, content: bytes) -> bool:
        """Commit a file; return False if it is there already (then nothing is changed)."""
        return self._commit(self.path(split, number), content)

    def _commit(self, path: Path, content: bytes) -> bool:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._temporaries.mkdir(parents=True, exist_ok=True)
        temporary = self._temporaries / f"{path.name}.{os.getpid()}"
        temporary.unlink(missing_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, path)
        except FileExistsError:
            return False
        finally:
            temporary.unlink(missing_ok=True)
        flush(path.parent)
        return True

    # Reading and letting go.

    def get(self, split: str, number: int, *, columns: list[str] | None = None) -> BatchFile | None:
        """Read and verify a file, or return None if it is not there.

        A bad file goes to `quarantine/`, where it no longer stands in the way of its remake.
        """
        try:
            return self.look_at(split, number, columns=columns)
        except BatchFileError as error:
            self._quarantine(self.path(split, number), str(error))
            return None

    def look_at(
        self, split: str, number: int, *, columns: list[str] | None = None
    ) -> BatchFile | None:
        """Read and verify a file, or return None if it is not there; change nothing.

        Raises:
            BatchFileError: it is not what it should be.

        """
        meta = self.meta()
        if meta is None:
            return None
        expected = Identity(meta.fingerprint, split, number)
        try:
            return read_batch_file(self.path(split, number), expected, columns=columns)
        except FileNotFoundError:
            return None

    def _quarantine(self, path: Path, reason: str) -> None:
        logger.error("%s Moved to quarantine/.", reason)
        place = self.directory / "quarantine"
        place.mkdir(exist_ok=True)
        # Not the split's name and ending: dataset libraries would take the file for data.
        target = place / f"{path.stem.replace('-', '')}.{time.time_ns()}.bad"
        with suppress(FileNotFoundError):
            path.rename(target)
            target.with_suffix(".reason").write_text(reason + "\n", encoding="utf-8")

    def acknowledge(self, first_unacknowledged: int) -> None:
        """Let go of all train files below a number; it never goes back. Finite sets are kept."""
        meta = self.meta()
        if meta is None or meta.kind != LIVE:
            return
        first = max(first_unacknowledged, self.first_unacknowledged())
        content = json.dumps({"first_unacknowledged": first})
        write_whole(self._private / "acknowledged.json", content)
        for number in self.numbers(TRAIN):
            if number < first:
                self.path(TRAIN, number).unlink(missing_ok=True)


def _locked(file: IO[str]) -> bool:
    """Take the lock of a file if it is free."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
