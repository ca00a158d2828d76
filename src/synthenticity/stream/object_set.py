"""A finite data set on an object store, read as if it were a directory of batch files.

The objects bear the names of the files of such a directory, so a copy of the prefix is one. Whoever
sees `meta.json` finds beside it how many files there will be (`.queue/announced.json`, which is put
first). Objects are downloaded whole and verified as files are; one that is damaged is downloaded
a second time before it is refused. Copies are kept in a bounded folder of the user's cache.
"""

import shlex
from pathlib import Path
from typing import ClassVar

from synthenticity.durable import make_folder, write_whole
from synthenticity.errors import BatchFileError, QueueError
from synthenticity.seeding import digest
from synthenticity.stream.announcement import NAME as ANNOUNCED_NAME
from synthenticity.stream.batch_file import BatchFile, Identity, decode_batch_file
from synthenticity.stream.batch_queue import BatchQueue
from synthenticity.stream.copy_cache import CopyCache, cache_folder, most_bytes, staging_folder
from synthenticity.stream.meta import FINITE, META_NAME, Meta, parse_meta
from synthenticity.stream.object_store import ObjectStore
from synthenticity.stream.ownership import OwnerState, read_owner
from synthenticity.stream.sealed import unseal

ANNOUNCEMENT = f".queue/{ANNOUNCED_NAME}"


class ObjectSet(BatchQueue):
    """The reader's view of a finite data set on an object store.

    Args:
        url: of the set.
        directory: where files lie on this machine; default: copies, in the cache.

    """

    poll_seconds: ClassVar[float] = 2.0
    knows_owner: ClassVar[bool] = False

    def __init__(self, url: str, directory: Path | None = None) -> None:
        most_bytes()
        self.store = ObjectStore(url)
        self._copies = CopyCache(cache_folder() / "objects")
        super().__init__(directory or self._copies.root / digest(self.store.url)[:16])
        self._meta: Meta | None = None
        self._seen: set[tuple[str, int]] = set()

    @property
    def name(self) -> str:
        """How people name the set."""
        return self.store.url

    @property
    def title(self) -> str:
        """Its last part."""
        return self.store.url.rpartition("/")[2]

    def meta(self) -> Meta | None:
        """Return what `meta.json` says, or None before the provider wrote it; it never changes.

        Raises:
            QueueError: it is damaged, or that of a live queue; or there is no such bucket.

        """
        if self._meta is None:
            content = self.store.read(META_NAME)
            if content is None:
                self.store.check_bucket()
                return None
            self._meta = self._described(content)
        return self._meta

    def _described(self, content: bytes) -> Meta:
        meta = parse_meta(content, self.store.url_of(META_NAME))
        if meta.kind != FINITE:
            raise QueueError(
                f"{self.name}: is a live queue, which an object store cannot keep: it needs links "
                "and one owner. Use a local directory."
            )
        return meta

    def announced(self, split: str) -> int:
        """Return how many files a split will have; 0 where nobody has said so."""
        return self.announcements().get(split, 0)

    def announcements(self) -> dict[str, int]:
        """Return how many files the splits will have."""
        content = self.store.read(ANNOUNCEMENT)
        if content is None:
            return {}
        try:
            return {split: int(files) for split, files in unseal(content.decode()).items()}
        except (ValueError, TypeError, OverflowError):
            raise QueueError(
                f"{self.store.url_of(ANNOUNCEMENT)}: is damaged. Remove it; the same prepare "
                "writes it again."
            ) from None

    def _names(self, split: str) -> list[str]:
        return list(self.store.sizes(split))

    def has(self, split: str, number: int) -> bool:
        """Whether a file is there; what was there once stays."""
        if (split, number) not in self._seen:
            self._seen |= {(split, found) for found in self.numbers(split)}
        return (split, number) in self._seen

    def url_of(self, split: str, number: int) -> str:
        """Return how people name a file."""
        return self.store.url_of(self.key(split, number))

    def key(self, split: str, number: int) -> str:
        """Return the name of a file's object under the prefix."""
        return f"{split}/{self.path(split, number).name}"

    def content(self, split: str, number: int) -> bytes | None:
        """Return the bytes of a file, from the cache if it has them; None: there is no such."""
        path = self.path(split, number)
        content = self._copies.get(path)
        if content is None:
            content = self.store.read(self.key(split, number))
            if content is not None:
                self._copies.put(path, content)
        return content

    def forget(self, split: str, number: int) -> None:
        """Remove the copy of a file, which may be what is damaged."""
        self.path(split, number).unlink(missing_ok=True)

    def look_at(
        self, split: str, number: int, *, columns: list[str] | None = None
    ) -> BatchFile | None:
        """Download and verify a file, twice if it is damaged; None if it is not there.

        Raises:
            BatchFileError: it is not what it should be.

        """
        meta = self.meta()
        if meta is None:
            return None
        expected, name = Identity(meta.fingerprint, split, number), self.url_of(split, number)
        for first in (True, False):
            content = self.content(split, number)
            if content is None:
                return None
            try:
                return decode_batch_file(content, name, expected, columns=columns)
            except BatchFileError:
                self.forget(split, number)
                if not first:
                    raise
        raise AssertionError("unreachable")

    def get(self, split: str, number: int, *, columns: list[str] | None = None) -> BatchFile | None:
        """Download and verify a file, or return None if it is not there.

        Raises:
            QueueError: it is bad. Nothing is moved or replaced on a store.

        """
        try:
            return self.look_at(split, number, columns=columns)
        except BatchFileError as error:
            raise QueueError(f"{error} (Remove the object; prepare replaces none.)") from None

    def fetch_beside(self) -> Path:
        """Fetch what lies beside the files, and return the folder.

        Raises:
            QueueError: there is no set.

        """
        self.must_be_there()
        for name in (META_NAME, "config.toml", *(f"tokenizer/{n}" for n in self._tokenizer())):
            content = self.store.read(name)
            if content is not None:
                make_folder((self.directory / name).parent)
                write_whole(self.directory / name, content)
        return self.directory

    def copy_to(self, directory: Path) -> None:
        """Download everything under the prefix, as it is, into a directory.

        Raises:
            QueueError: there is no set.

        """
        self.must_be_there()
        folders = [""]
        for folder in folders:
            for name, size in self.store.sizes(folder).items():
                place = f"{folder}/{name}" if folder else name
                if size is None:
                    folders.append(place)
                    continue
                content = self.store.read(place)
                if content is not None:
                    (directory / place).parent.mkdir(parents=True, exist_ok=True)
                    (directory / place).write_bytes(content)

    def _tokenizer(self) -> list[str]:
        return [name for name, size in self.store.sizes("tokenizer").items() if size is not None]

    def must_be_there(self) -> Meta:
        """Return what `meta.json` says.

        Raises:
            QueueError: there is none.

        """
        meta = self.meta()
        if meta is None:
            raise QueueError(f"{self.name}: holds no data set (no meta.json). {self.how_to_make()}")
        return meta

    def how_to_make(self) -> str:
        """Say which command makes the set, or what is missing of it."""
        files = max(self.announcements().values(), default=0) or "N"
        return f"synthenticity prepare CONFIG --files {files} --out-dir {shlex.quote(self.name)}"

    def owner(self) -> OwnerState | None:
        """Return who provides, if it does so on this machine; of others, nothing is known."""
        return read_owner(staging_folder(self.name) / ".queue")

    def said_of_owner(self) -> str:
        """Say what is known of the provider."""
        owner = self.owner()
        if owner is not None and owner.alive:
            return f"The provider ({owner.name}) is alive: {owner.state}."
        return (
            f"Whether anybody makes {self.name} cannot be seen from this machine. If not: "
            f"{self.how_to_make()}"
        )

    def sizes(self) -> list[int]:
        """Return the bytes of all batch files."""
        found = (self.store.sizes(split) for split in ("train", "val", "test"))
        return [size for names in found for size in names.values() if size is not None]
