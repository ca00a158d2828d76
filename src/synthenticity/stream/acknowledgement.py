"""What a consumer no longer needs, in one small file that is replaced whole."""

from dataclasses import asdict, dataclass
from pathlib import Path

from synthenticity.durable import write_whole
from synthenticity.errors import QueueError
from synthenticity.faults import point
from synthenticity.stream.sealed import seal, unseal

NAME = "acknowledged.json"
REMEMBERED = 16
MOST = 10**15


@dataclass(frozen=True)
class Acknowledgement:
    """All train files below a number are safely in a checkpoint."""

    first_unacknowledged: int = 0
    by: str = ""
    """The run that said so last."""
    recent: tuple[tuple[float, int], ...] = ()
    """When (Unix seconds) which number was said, the last few: for rates, nothing else."""

    def advanced(self, first: int, by: str, when: float) -> "Acknowledgement":
        """Return what holds when a run says a larger number."""
        return Acknowledgement(first, by, (*self.recent, (when, first))[-REMEMBERED:])


def read_acknowledgement(folder: Path) -> Acknowledgement:
    """Return what a queue's private folder says.

    Raises:
        QueueError: the file is damaged.

    """
    path = folder / NAME
    try:
        content = unseal(path.read_text(encoding="utf-8"))
        if content.keys() != {"first_unacknowledged", "by", "recent"}:
            raise ValueError(f"it has the keys {sorted(content)}")
        recent = tuple((float(when), int(number)) for when, number in content["recent"])
        return Acknowledgement(_number(content["first_unacknowledged"]), str(content["by"]), recent)
    except FileNotFoundError:
        return Acknowledgement()
    except (ValueError, TypeError, OverflowError) as error:
        raise QueueError(
            f"{path}: is damaged ({error}). It holds the number of the first train file still "
            f'needed; write it anew, {{"first_unacknowledged": N, "by": "", "recent": []}}, or '
            "remove the directory."
        ) from None


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value < MOST:
        raise ValueError(f"first_unacknowledged is {value!r}, no number of a file")
    return value


def record_acknowledgement(folder: Path, acknowledgement: Acknowledgement) -> None:
    """Write it in the place of the one before."""
    folder.mkdir(exist_ok=True)
    write_whole(folder / NAME, seal(asdict(acknowledgement)))
    point("acknowledge.recorded")
