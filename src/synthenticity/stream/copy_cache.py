"""Copies of objects on this machine: a folder of bounded size, of which nothing is ever missed.

What is not there is downloaded again, so any process may remove what it likes at any time. Names
are digests of URLs; whether a copy is what it should be, the verified read finds out.
"""

import os
from contextlib import suppress
from pathlib import Path

from synthenticity.durable import make_folder, write_whole
from synthenticity.errors import ConfigError
from synthenticity.seeding import digest

CACHE, CACHE_GB = "SYNTHENTICITY_CACHE", "SYNTHENTICITY_CACHE_GB"
"""Variables of the environment: the cache's folder, and how many GB of objects it keeps."""
DEFAULT_GB = 10.0


def cache_folder() -> Path:
    """Return where copies of objects are kept, and files that are not uploaded yet."""
    given = os.environ.get(CACHE)
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "synthenticity"


def staging_folder(url: str, staging: Path | None = None) -> Path:
    """Return where a set's files lie until they are uploaded: one folder for each set."""
    return (staging or cache_folder() / "staging") / digest(url)[:16]


class CopyCache:
    """Copies of batch files of all sets, of about so many bytes together; those not read for
    longest go first.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._room = 0

    def get(self, path: Path) -> bytes | None:
        """Return a copy, if it is there."""
        try:
            content = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        return content

    def put(self, path: Path, content: bytes) -> None:
        """Keep a copy; where that is not possible, it is downloaded when needed again."""
        with suppress(OSError):
            make_folder(path.parent)
            write_whole(path, content)
            self._room -= len(content)
            if self._room < 0:
                self._room = self._make_room(most_bytes())

    def _make_room(self, most: int) -> int:
        """Remove the oldest copies, and return how much may be written until the next look.

        A quarter of the room only: other processes write there, too.
        """
        found = []
        for path in self.root.glob("*/*/*.parquet"):
            with suppress(FileNotFoundError):
                about = path.stat()
                found.append((about.st_mtime_ns, about.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= 0.9 * most:
                break
            path.unlink(missing_ok=True)
            total -= size
        return int(max(0, most - total) / 4)


def most_bytes() -> int:
    """Return how many bytes of objects are kept.

    Raises:
        ConfigError: the environment gives no number.

    """
    given = os.environ.get(CACHE_GB, str(DEFAULT_GB))
    try:
        return int(float(given) * 1e9)
    except ValueError:
        raise ConfigError(f"{CACHE_GB}: {given!r} is no number of gigabytes.") from None
