"""Objects under one prefix of an object store (s3://, gs://, abfs://, whatever fsspec opens).

A store has no links, no rename and no locks; but a PUT shows an object whole or not at all, and a
conditional one (If-None-Match) never replaces what is there. `put_new` rests on these two alone,
and reads back what it wrote: that says on every store, whatever its checksums are, that the
bytes are there. fsspec's libraries try a request some times by themselves; what still fails
and may pass is tried `TRIES` times here, with pauses of 1, 2, 4, 8 seconds.
"""

import logging
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from synthenticity.errors import CompatibilityError, ConfigError, MissingExtraError, QueueError

logger = logging.getLogger(__name__)

TRIES = 5
FIRST_PAUSE = 1.0
EXTRAS = {
    **dict.fromkeys(("s3", "s3a"), "s3"),
    **dict.fromkeys(("gs", "gcs"), "gs"),
    **dict.fromkeys(("abfs", "abfss", "az"), "abfs"),
}
"""The extra with which a protocol is installed."""
LOCAL = frozenset({"file", "local"})
BUGS = (TypeError, AttributeError, NameError, AssertionError, MemoryError)
PERMANENT = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError, ValueError)
PERMANENT_NAMES = frozenset(
    {"NoCredentialsError", "PartialCredentialsError", "ParamValidationError"}
)
"""Of the stores' libraries, which are not imported for it."""
Result = TypeVar("Result")


def is_url(place: str | Path) -> bool:
    """Whether a place is an object store's.

    >>> is_url("s3://bucket/set"), is_url("data/set"), is_url("hf:NAME:SPLIT")
    (True, False, False)
    """
    return isinstance(place, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", place) is not None


class ObjectStore:
    """One prefix of a store; it may be handed to other processes, and opens anew in each.

    Args:
        url: protocol, bucket and prefix.

    Raises:
        ConfigError: no such protocol is known, or it is this machine's file system.
        MissingExtraError: the package of the protocol is not installed.

    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._opened: tuple[int, Any, str] | None = None
        self._file_system()

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url, "_opened": None}

    def _file_system(self) -> tuple[Any, str]:
        """Return the file system of this process, which no other may use, and the prefix."""
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), *_open(self.url))
        return self._opened[1:]

    def url_of(self, name: str) -> str:
        """Return how people name an object."""
        return f"{self.url}/{name}" if name else self.url

    def sizes(self, folder: str = "") -> dict[str, int | None]:
        """Return what lies right under a folder of the prefix, with bytes; None: a folder."""

        def attempt(files: Any, path: str) -> list[dict[str, Any]]:
            files.invalidate_cache()
            try:
                found: list[dict[str, Any]] = files.ls(path, detail=True)
            except FileNotFoundError:
                return []
            return found

        return {
            item["name"].rstrip("/").rpartition("/")[2]: None
            if item["type"] == "directory"
            else int(item["size"])
            for item in self._tried(folder, "listed", attempt)
        }

    def read(self, name: str) -> bytes | None:
        """Return an object's bytes, or None if there is none."""

        def attempt(files: Any, path: str) -> bytes | None:
            try:
                return bytes(files.cat_file(path))
            except FileNotFoundError:
                return None

        return self._tried(name, "read", attempt)

    def check_bucket(self) -> None:
        """Raise a `QueueError` if there is no such bucket, which a listing does not tell."""
        bucket = self._file_system()[1].partition("/")[0]
        if bucket and not self._tried("", "found", lambda files, _: files.exists(bucket)):
            raise QueueError(f"{self.url}: there is no bucket {bucket}. Make it, or name another.")

    def put_new(self, name: str, content: bytes) -> bool:
        """Write an object that is not there yet, and read it back; False if it was, just so.

        Raises:
            CompatibilityError: an object of that name holds something else, and is left as it is.
            QueueError: what was written is not what can be read.

        """
        new = self._put(name, content)
        found = self._tried(name, "read back", _reading_there)
        if found == content:
            return new
        where = self.url_of(name)
        if new:
            raise QueueError(f"{where}: holds other bytes than were written. Remove it; {AGAIN}")
        raise CompatibilityError(
            f"{where}: is there already and holds something else; nothing is ever replaced. Use "
            f"another prefix, or remove it; {AGAIN}"
        )

    def _put(self, name: str, content: bytes) -> bool:
        def attempt(files: Any, path: str) -> bool:
            try:
                files.pipe_file(path, content, mode="create")
            except FileExistsError:  # also if an answer got lost on the way
                return False
            return True

        return self._tried(name, "written", attempt)

    def replace(self, name: str, content: bytes) -> None:
        """Write one of the small objects that say something of the set; it appears whole."""
        self._tried(name, "written", lambda files, path: files.pipe_file(path, content))

    def _tried(self, name: str, done: str, attempt: Callable[[Any, str], Result]) -> Result:
        """Return what an attempt does, which is made again when it fails for a reason that passes.

        Raises:
            QueueError: it does not pass.

        """
        pause = FIRST_PAUSE
        for left in reversed(range(TRIES)):
            files, prefix = self._file_system()
            try:
                return attempt(files, f"{prefix}/{name}" if name else prefix)
            except BUGS:
                raise
            except Exception as error:
                passes = not isinstance(error, PERMANENT)
                passes &= type(error).__name__ not in PERMANENT_NAMES
                said = f"{self.url_of(name)}: cannot be {done} ({_reason(error)})."
                if not passes:
                    raise QueueError(
                        f"{said} Check its name, your credentials and rights."
                    ) from error
                if not left:
                    raise QueueError(
                        f"{said} It was tried {TRIES} times. Later, {AGAIN}"
                    ) from error
                logger.warning("%s Trying again in %g s.", said, pause)
            time.sleep(pause)
            pause *= 2
        raise AssertionError("unreachable")


AGAIN = "the same command goes on from here."


def _reading_there(files: Any, path: str) -> bytes:
    """Read an object that was just written; a slow store shows it after a while."""
    try:
        return bytes(files.cat_file(path))
    except FileNotFoundError:
        raise OSError("it is not there yet") from None


def _reason(error: BaseException) -> str:
    words = str(error.args[-1] if isinstance(error, OSError) and error.args else error).strip()
    return f"{type(error).__name__}: {words.splitlines()[0]}" if words else type(error).__name__


def _open(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    protocol = url.partition("://")[0].lower()
    if protocol in LOCAL:
        raise ConfigError(f"{url}: is on this machine. Give its path, without {protocol}://.")
    try:
        # What others write must be seen, so no listing is remembered.
        files, path = url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        if protocol in EXTRAS:
            raise MissingExtraError(f"{protocol}:// (fsspec's package)", EXTRAS[protocol]) from None
        raise ConfigError(f"{url}: cannot be opened: {error}.") from None
    except ValueError as error:
        raise ConfigError(f"{url}: cannot be opened: {error}.") from None
    return files, path.rstrip("/")
