"""Files that are whole or as they were before, whatever happens while one is written.

A file is written aside and flushed before it gets its name, and the names of its directory are
flushed after. `write_new` gives the name by a hard link, which never replaces what is there;
`write_whole` by a rename, which does.
"""

import errno
import fcntl
import os
from pathlib import Path
from typing import IO

from synthenticity.faults import point

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
CANNOT = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})
"""What file systems say to a flush of a directory that they do not know."""
NO_LINKS = CANNOT | {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
"""And to a hard link."""
TRIES = 3


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file (text as UTF-8) in the place of the one there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    for left in reversed(range(TRIES)):
        try:
            write_aside(temporary, content)
            temporary.replace(path)
            break
        except FileNotFoundError:  # somebody who cleaned up took it for left behind
            if not left:
                raise
        finally:
            temporary.unlink(missing_ok=True)
    point("replace.named")
    flush_names(path.parent)
    point("replace.flushed")


def write_new(path: Path, content: bytes, temporary: Path, *, link: bool = True) -> bool:
    """Write a file that is not there yet; return False if it is, and leave it as it is.

    Args:
        path: its final name.
        content: its bytes.
        temporary: its name until then, on the same file system.
        link: give the final name by a hard link, which the file system itself refuses if the name
            is taken; or else, where it has no hard links, by a rename, which does not.

    """
    for left in reversed(range(TRIES)):
        try:
            write_aside(temporary, content)
            if link:
                os.link(temporary, path)
            elif path.exists():
                return False
            else:
                temporary.rename(path)
            point("commit.named")
            break
        except FileExistsError:
            # NFS says so, too, when a link of ours was made and the answer got lost.
            if temporary.stat().st_nlink == 1:
                return False
            break
        except FileNotFoundError:  # a second provider, where there are no locks, cleaned up
            if not left:
                raise
        finally:
            temporary.unlink(missing_ok=True)
    flush_names(path.parent)
    point("commit.flushed")
    return True


def write_aside(temporary: Path, content: str | bytes) -> None:
    """Write and flush a file that nobody reads yet; one of that name is what a crash left."""
    data = memoryview(content.encode("utf-8") if isinstance(content, str) else content)
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        point("aside.created")
        half = len(data) // 2
        _write_all(descriptor, data[:half])
        point("aside.half_written")
        _write_all(descriptor, data[half:])
        point("aside.written")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    point("aside.flushed")


def _write_all(descriptor: int, data: memoryview) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def flush(path: Path) -> None:
    """Make what is in a file survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_names(directory: Path) -> bool:
    """Make the names in a directory survive a power cut; return False where that is not offered."""
    try:
        flush(directory)
    except OSError as error:
        if error.errno not in CANNOT:
            raise
        return False
    return True


def make_folder(path: Path) -> None:
    """Make a folder and those above it, if they are not there, with names that last."""
    new = [place for place in (path, *path.parents) if not place.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for place in new:
        flush_names(place.parent)


def take_lock(file: IO[str]) -> bool:
    """Lock a file if it is free, until it is closed; where there are no locks, it is."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def is_full(error: BaseException) -> bool:
    """Whether an error says that there is no space left, on the disk or in the quota."""
    return isinstance(error, OSError) and error.errno in NO_SPACE


def lacking_promise(aside: Path, named: Path) -> str | None:
    """Try what `write_new` rests on, and return what the file system does not do, or None.

    Args:
        aside: the directory where files are written.
        named: the directory where they get their names.

    Raises:
        OSError: nothing can be written there at all.

    """
    first, second = aside / f".self-test-a.{os.getpid()}", named / f".self-test-b.{os.getpid()}"
    try:
        second.unlink(missing_ok=True)  # in a container, the one before had the same number
        write_aside(first, b"1")
        try:
            os.link(first, second)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            return f"it makes no hard links ({error.strerror})"
        write_aside(first, b"2")
        try:
            os.link(first, second)
            return "a hard link replaces the file that is there"
        except FileExistsError:
            pass
        if second.read_bytes() != b"1":
            return "a hard link replaces the file that is there"
        if not flush_names(named):
            return "it does not flush directories"
        return None
    finally:
        first.unlink(missing_ok=True)
        second.unlink(missing_ok=True)
