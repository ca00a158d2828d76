"""Who provides for a directory: one process, known to be alive by a beat that it writes.

The lock saves two providers from doing the same work twice; no promise rests on it, since what a
file holds is a function of its number. On a cluster's file system a lock may succeed for everyone,
so a beat of another machine that still goes on counts as well. Beats are compared with each other,
not with a clock; a clock only dates them in messages.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from synthenticity.durable import lacking_promise, make_folder, take_lock
from synthenticity.errors import QueueError, QueueOwnedError
from synthenticity.faults import point

BACKLOG_FULL, DISK_FULL = "the backlog is full", "waiting for disk space"
"""What a provider says while it waits."""
BEAT_SECONDS = 2.0
BEAT_BYTES = 1024
"""Of each beat, so that it fits in the place of another."""
LOCK_SECONDS = 0.2
SILENT_SECONDS = 15.0
"""A provider that has not beaten for this long is taken for dead, in messages only."""


@dataclass(frozen=True)
class OwnerState:
    """The last beat of a directory's provider: who it is, what it does and has made so far."""

    pid: int
    host: str
    beats: int = 0
    state: str = "starting"
    files_made: int = 0
    seconds: float = 0.0
    """Spent making files, waiting left out."""
    workers: int = 0
    max_backlog_files: int = 0
    """So many train files it lets wait."""
    seconds_ago: float = 0.0
    """When it beat, by this machine's clock."""

    @property
    def alive(self) -> bool:
        """Whether it beat recently, by this machine's clock, and is not known to be dead.

        A beat of this machine lies in the future when its clock was set back since.
        """
        if self.known_dead:
            return False
        if self.host == socket.gethostname():
            return self.seconds_ago < SILENT_SECONDS
        return abs(self.seconds_ago) < SILENT_SECONDS

    @property
    def known_dead(self) -> bool:
        """Whether this machine was its, and runs no such process."""
        return self.host == socket.gethostname() and not _runs(self.pid)

    @property
    def name(self) -> str:
        """Who it is, as people say it."""
        return f"process {self.pid} on {self.host}"


def _runs(pid: int) -> bool:
    """Whether this machine runs a process of that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


class Ownership:
    """The right to provide for a directory, while it lasts; see `owned`."""

    def __init__(self, path: Path, max_backlog_files: int) -> None:
        self._path = path
        self._said = OwnerState(
            os.getpid(), socket.gethostname(), max_backlog_files=max_backlog_files
        )
        self._writing = threading.Lock()

    def report(
        self,
        state: str,
        *,
        files_made: int | None = None,
        seconds: float | None = None,
        workers: int | None = None,
    ) -> None:
        """Say what the provider is doing; it is written with the next beat, a new state at once."""
        before = self._said
        with self._writing:
            self._said = replace(
                self._said,
                state=state,
                files_made=before.files_made if files_made is None else files_made,
                seconds=before.seconds if seconds is None else seconds,
                workers=before.workers if workers is None else workers,
            )
        if state != before.state:
            self.beat()

    def beat(self) -> None:
        """Write a beat; one that cannot be written only makes messages less precise."""
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        with self._writing, suppress(OSError):
            self._said = replace(self._said, beats=self._said.beats + 1)
            content = json.dumps(asdict(self._said)).ljust(BEAT_BYTES).encode()
            try:
                temporary.write_bytes(content)
                temporary.replace(self._path)
            except OSError:  # a full disk, perhaps, on which the last beat has its place
                with self._path.open("r+b", buffering=0) as last:
                    last.write(content)


def read_owner(folder: Path) -> OwnerState | None:
    """Return who provides for a queue's private folder, or None if nobody says so."""
    path = folder / "owner.json"
    try:
        said = OwnerState(**json.loads(path.read_text(encoding="utf-8")))
        if not _is_whole(said):
            return None
        return replace(said, seconds_ago=time.time() - path.stat().st_mtime)
    except (OSError, ValueError, TypeError):
        return None


def _is_whole(said: OwnerState) -> bool:
    """Whether each field holds what it should; a damaged file may hold anything."""
    kinds = {field.name: field.type for field in fields(said)}
    numbers = {name for name, kind in kinds.items() if kind is float}
    return all(
        isinstance(value, int | float) if name in numbers else type(value) is kinds[name]
        for name, value in asdict(said).items()
    )


@contextmanager
def owned(
    directory: Path,
    folder: Path,
    *,
    unless: threading.Event | None,
    link: bool,
    max_backlog_files: int,
) -> Iterator[Ownership]:
    """Be the only provider of a directory, whose private folder is `folder`, and beat.

    Args:
        directory: the queue, for messages.
        folder: where lock and beat are.
        unless: wait for another provider's end, unless this is set; None: do not wait.
        link: whether files get their names by hard links, which the file system must then offer.
        max_backlog_files: how many train files this owner will let wait.

    Raises:
        QueueOwnedError: another process is.
        QueueError: the directory cannot be written to, or its file system cannot keep promises.

    """
    try:
        make_folder(folder)
        lock = (folder / "owner.lock").open("a")
    except OSError as error:
        raise QueueError(f"{directory}: cannot be written to: {error.strerror}.") from None
    with lock:
        while not take_lock(lock) or _beats_elsewhere(folder):
            if unless is not None and not unless.wait(LOCK_SECONDS):
                continue
            owner = read_owner(folder)
            raise QueueOwnedError(
                f"{directory}: another provider owns it{f' ({owner.name})' if owner else ''}. Stop "
                "that one, or use another directory."
            )
        point("owner.locked")
        _check_file_system(directory, folder / "tmp", directory / "train", link=link)
        ownership = Ownership(folder / "owner.json", max_backlog_files)
        ownership.beat()
        stop = threading.Event()
        beating = threading.Thread(target=_beat_until, args=(ownership, stop), daemon=True)
        beating.start()
        try:
            yield ownership
        finally:
            stop.set()
            beating.join()
            with suppress(OSError):
                (folder / "owner.json").unlink()


def _beat_until(ownership: Ownership, stop: threading.Event) -> None:
    while not stop.wait(BEAT_SECONDS):
        ownership.beat()


def _beats_elsewhere(folder: Path) -> bool:
    """Whether a provider on another machine beats, which a lock may not have told."""
    owner = read_owner(folder)
    return owner is not None and owner.host != socket.gethostname() and still_beats(folder)


def still_beats(folder: Path) -> bool:
    """Whether the provider of a queue's private folder beats: watched, not judged by a clock."""
    first = read_owner(folder)
    if first is None or first.known_dead:
        return False
    deadline = time.monotonic() + 3 * BEAT_SECONDS
    while time.monotonic() < deadline:
        time.sleep(LOCK_SECONDS)
        now = read_owner(folder)
        if now is not None and now.beats != first.beats:
            return True
    return False


def _check_file_system(directory: Path, aside: Path, named: Path, *, link: bool) -> None:
    try:
        for folder in (aside, named):
            folder.mkdir(exist_ok=True)
        moves = aside.stat().st_dev == named.stat().st_dev
        lacking = lacking_promise(aside, named)
    except OSError as error:
        raise QueueError(f"{directory}: cannot be written to: {error.strerror}.") from None
    if not moves:
        raise QueueError(
            f"{named}: is on another file system than {aside}, so no file can get its name there. "
            "Use a directory that is in one place."
        )
    if lacking and link:
        raise QueueError(
            f"{directory}: its file system cannot keep a queue's promises: {lacking}. Use another "
            'directory, or set commit = "rename" and read in docs/formats.md what that costs.'
        )
