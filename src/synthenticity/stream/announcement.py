"""How many files the fixed sets of a directory will have, said before the first is made."""

from collections.abc import Sequence
from pathlib import Path

from synthenticity.durable import write_whole
from synthenticity.errors import QueueError
from synthenticity.stream.sealed import seal, unseal

NAME = "announced.json"


def read_announcements(folder: Path) -> dict[str, int]:
    """Return what a queue's private folder says, by split.

    Raises:
        QueueError: the file is damaged.

    """
    path = folder / NAME
    try:
        return {key: int(files) for key, files in unseal(path.read_text("utf-8")).items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, OverflowError) as error:
        raise QueueError(f"{path}: is damaged ({error}). Remove it.") from None


def record_announcement(folder: Path, files: int, splits: Sequence[str]) -> None:
    """Say how many files each of some splits will have; it never gets less."""
    wanted = read_announcements(folder)
    wanted |= {split: max(files, wanted.get(split, 0)) for split in splits}
    write_whole(folder / NAME, seal(wanted))
