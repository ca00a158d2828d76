"""The maker's side of a finite data set on an object store: commit here, upload, let go.

A file is first committed to a local staging directory, an ordinary queue of ours with its one
owner, then uploaded whole and read back, then removed here. So nothing that was made is lost
when uploading fails, and a killed run begins by uploading what it finds staged. What is on
the store is the truth: numbers are those of the objects, and no object is replaced by another.
"""

from collections.abc import Sequence
from pathlib import Path

from synthenticity.durable import write_whole
from synthenticity.errors import ConfigError
from synthenticity.faults import point
from synthenticity.stream.announcement import NAME as ANNOUNCED
from synthenticity.stream.announcement import record_announcement
from synthenticity.stream.audit import SPLITS
from synthenticity.stream.batch_queue import LINK, BatchQueue
from synthenticity.stream.copy_cache import staging_folder
from synthenticity.stream.meta import META_NAME, Meta, check_same_meta
from synthenticity.stream.object_set import ANNOUNCEMENT, ObjectSet
from synthenticity.stream.ownership import OwnerState
from synthenticity.stream.sealed import seal


class StagedSet(ObjectSet):
    """The owner's view of a finite data set on an object store.

    Args:
        url: of the set.
        staging: holds a directory for each set that is being made; default: in the user's cache.
        commit: how files get their names there, `link` or `rename`.

    """

    def __init__(self, url: str, staging: Path | None = None, *, commit: str = LINK) -> None:
        super().__init__(url, staging_folder(url.rstrip("/"), staging))
        self._link = commit == LINK
        self.staged = BatchQueue(self.directory, commit=commit)

    def check_place(self, names: Sequence[str]) -> None:
        """Refuse a prefix where objects of other people bear the names of ours.

        A killed start of ours leaves `tokenizer/`, which is put first, and never replaced.
        """
        if self.meta() is not None:
            return
        there = self.store.sizes()
        taken = [name for name in names if name in there and name != "tokenizer"]
        if taken:
            raise ConfigError(
                f"{self.name}: holds {', '.join(taken)}, which prepare did not make and would "
                "replace. Give another prefix (--out-dir)."
            )

    def put_meta(self, meta: Meta) -> None:
        """Stage `meta.json`, or check that the one on the store describes the same data.

        What is staged of other data is removed: their set is gone from the store.

        Raises:
            CompatibilityError: the set was made with another configuration (which keys).

        """
        found = self.meta()
        if found is not None:
            check_same_meta(self.name, found, meta)
        staged = self.staged.meta()
        if staged is not None and staged.differences(meta):
            self._clear()
        self.staged.put_meta(meta)

    def _clear(self) -> None:
        for split in SPLITS:
            for number in self.staged.numbers(split):
                self.path(split, number).unlink(missing_ok=True)
        (self.directory / META_NAME).unlink()

    def announce(self, files: int, splits: Sequence[str]) -> None:
        """Say how many files each of some splits will have, and let readers see the set.

        Whoever sees `meta.json` then finds the announcement and the tokenizer. Then what an
        earlier run left staged is uploaded. What was announced of a set that is gone from the store
        is forgotten.
        """
        write_whole(self.private / ANNOUNCED, seal(self.announcements()))
        record_announcement(self.private, files, splits)
        is_new = self.meta() is None
        if is_new:
            for path in sorted((self.directory / "tokenizer").glob("*")):
                self.store.put_new(f"tokenizer/{path.name}", path.read_bytes())
        self.store.replace(ANNOUNCEMENT, (self.private / ANNOUNCED).read_bytes())
        point("store.announced")
        if is_new:
            self.store.put_new(META_NAME, (self.directory / META_NAME).read_bytes())
        self._replace("config.toml")
        self._upload_staged()

    def _upload_staged(self) -> None:
        for split in SPLITS:
            for number in self.staged.numbers(split):
                if self.staged.get(split, number) is None:
                    continue  # damaged, and in quarantine now
                if self.get(split, number) is None:
                    self._upload(split, number)
                else:  # uploaded before, or made on another machine
                    self.path(split, number).unlink()

    def put(self, split: str, number: int, content: bytes) -> bool:
        """Commit a file here and upload it; return False if it was there already.

        Raises:
            CompatibilityError: an object of that name holds something else.
            QueueError: the store does not take it; it stays staged.
            OSError: the disk is full or broken.

        """
        self.staged.put(split, number, content)
        point("store.staged")
        return self._upload(split, number)

    def _upload(self, split: str, number: int) -> bool:
        path = self.path(split, number)
        new = self.store.put_new(self.key(split, number), path.read_bytes())
        point("store.uploaded")
        path.unlink()
        point("store.released")
        return new

    def content(self, split: str, number: int) -> bytes | None:
        """Return the bytes of an object; the owner keeps no copies."""
        return self.store.read(self.key(split, number))

    def forget(self, split: str, number: int) -> None:
        """Keep what is staged: it is no copy."""

    def settle(self) -> None:
        """Upload card and summary."""
        for name in ("README.md", "summary.json"):
            self._replace(name)

    def _replace(self, name: str) -> None:
        path = self.directory / name
        if path.is_file():
            self.store.replace(name, path.read_bytes())

    def owner(self) -> OwnerState | None:
        """Return who provides, on this machine."""
        return self.staged.owner()
