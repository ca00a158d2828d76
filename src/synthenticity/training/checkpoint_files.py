"""The checkpoints of a run on disk: which are complete, and how a full disk is waited out.

A checkpoint is complete with its marker `stream.json`, written last, which says the position in
the stream and what the other files hold: a flipped bit would go on as other weights. Writers
report a full disk as they like (OSError, RuntimeError, an error of Rust's), so what happened is
found out by trying to write.
"""

import json
import logging
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import xxhash
from safetensors import SafetensorError

from synthenticity.durable import flush, flush_names, is_full, write_aside, write_whole
from synthenticity.errors import ModelError, SynthenticityError
from synthenticity.stream.dataset_consumer import DatasetConsumer
from synthenticity.stream.sealed import seal, unseal
from synthenticity.training.ranks import Ranks
from synthenticity.training.stopping import SharedFlag

logger = logging.getLogger(__name__)

POSITION_NAME = "stream.json"
MARKER_KEYS = {"global_step", "position", "data_fingerprint", "files", "digests"}
CHECKPOINT_NAME = re.compile(r"checkpoint-[0-9]+")
KEPT_CHECKPOINTS = 2
WRITE_ERRORS = (OSError, RuntimeError, SafetensorError)
PROBE_BYTES = 2**20
READ_AT_ONCE = 2**22
SHORTEST_PAUSE = 0.1
WRITTEN, FULL, FAILED = range(3)


class SpaceWaiter:
    """Writes into a run's directory; waits while its disk is full, if all ranks can.

    Args:
        out_dir: the run's directory.
        pause: seconds between two tries.
        stop: ends the wait with `KeyboardInterrupt`.
        ranks: the processes that write together; all must call `write` alike.
        on_message: is told, once for each thing that waits.

    """

    def __init__(
        self,
        out_dir: Path,
        *,
        pause: float,
        stop: SharedFlag,
        ranks: Ranks,
        on_message: Callable[[str], None],
    ) -> None:
        self.out_dir = out_dir
        self.pause = max(pause, SHORTEST_PAUSE)
        self.stop = stop
        self.ranks = ranks
        self.on_message = on_message

    def write(
        self,
        what: str,
        attempt: Callable[[], None],
        *,
        half: Path | None = None,
        folder: Path | None = None,
    ) -> None:
        """Write something until it is written.

        Args:
            what: it is, for messages.
            attempt: writes it, each time from the start.
            half: a folder that a failed try leaves and that is removed.
            folder: where it is written if not in the run's directory, for messages.

        Raises:
            ModelError: it cannot be written, for another reason than a full disk.

        """
        place = folder or self.out_dir
        said = False
        while True:
            outcome, error = self._try(attempt)
            (worst,) = self.ranks.largest(outcome)
            if worst == WRITTEN:
                return
            if worst == FAILED:
                words = str(error or "another process could not").splitlines()[0]
                raise ModelError(
                    f"{place}: {what} cannot be written ({words}). Mend it; the same command goes "
                    "on from the last complete checkpoint."
                ) from error
            if self.ranks.first and half is not None:
                shutil.rmtree(half, ignore_errors=True)
            if not said:
                self.on_message(f"The disk of {place} is full; {what} waits for space.")
                said = True
            if any(self.ranks.largest(int(self.stop.wait(self.pause)))):
                raise KeyboardInterrupt

    def _try(self, attempt: Callable[[], None]) -> tuple[int, BaseException | None]:
        try:
            attempt()
        except SynthenticityError:
            raise
        except WRITE_ERRORS as error:
            return (FULL if is_full(error) or self._no_space() else FAILED), error
        return WRITTEN, None

    def _no_space(self) -> bool:
        """Whether the disk takes no more, to be asked before what is half-written is removed."""
        probe = self.out_dir / f".space.{self.ranks.rank}"
        try:
            write_aside(probe, bytes(PROBE_BYTES))
        except OSError as error:
            return is_full(error)
        finally:
            with suppress(OSError):
                probe.unlink(missing_ok=True)
        return False


def mark_position(folder: Path, step: int, position: int, consumer: DatasetConsumer) -> None:
    """Write the marker that makes a checkpoint complete, atomically."""
    content = {
        "global_step": step,
        "position": position,
        "data_fingerprint": consumer.meta.fingerprint,
        "files": consumer.files,
        "digests": _digests(folder),
    }
    write_whole(folder / POSITION_NAME, seal(content))


def _digests(folder: Path) -> dict[str, str]:
    """Return the xxh3-128 of each file of a checkpoint but the marker.

    A marker that a killed process was writing is none of them: the next one takes its name.
    """
    files = (path for path in sorted(folder.iterdir()) if path.is_file())
    unnamed = f".{POSITION_NAME}."
    return {
        path.name: _file_digest(path)
        for path in files
        if path.name != POSITION_NAME and not path.name.startswith(unnamed)
    }


def _file_digest(path: Path) -> str:
    state = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(READ_AT_ONCE):
            state.update(block)
    return state.hexdigest()


def verify_checkpoint(folder: Path, marker: Mapping[str, Any]) -> None:
    """Compare what a checkpoint holds with what was written.

    Raises:
        ModelError: a file is damaged or missing, which.

    """
    written, found = marker["digests"], _digests(folder)
    differing = sorted(name for name in written if found.get(name) != written[name])
    if differing:
        raise _damaged(folder, f"{', '.join(differing)} not as written")


def _damaged(folder: Path, how: str) -> ModelError:
    return ModelError(
        f"{folder}: is damaged ({how}). Remove it; training goes on from the checkpoint before it, "
        "or anew."
    )


def flush_folder(folder: Path) -> None:
    """Make a folder and its files survive a power cut."""
    for path in folder.iterdir():
        if path.is_file():
            flush(path)
    flush_names(folder)
    flush_names(folder.parent)


def newest_checkpoint(out_dir: Path) -> tuple[Path, dict[str, Any]] | None:
    """Return the newest complete checkpoint of a run and its marker, or None."""
    return next(iter(_complete_checkpoints(out_dir)), None)


def _complete_checkpoints(out_dir: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Return the complete checkpoints with their markers, the newest first.

    Raises:
        ModelError: a marker is damaged.

    """
    found = []
    for folder in _checkpoints(out_dir):
        marker = folder / POSITION_NAME
        if not marker.exists():
            continue
        try:
            json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
            content = unseal(marker.read_text(encoding="utf-8"))
            if content.keys() != MARKER_KEYS:
                raise ValueError(f"{POSITION_NAME} has the keys {sorted(content)}")
            found.append((int(content["global_step"]), folder, content))
        except (OSError, ValueError, TypeError) as error:
            raise _damaged(folder, str(error)) from None
    return [(folder, content) for _, folder, content in sorted(found, reverse=True)]


def _checkpoints(out_dir: Path) -> list[Path]:
    """Return the folders that a run made for checkpoints; what a person put beside is theirs."""
    return [
        path
        for path in out_dir.glob("checkpoint-*")
        if CHECKPOINT_NAME.fullmatch(path.name) and path.is_dir() and not path.is_symlink()
    ]


def remove_old_checkpoints(out_dir: Path) -> None:
    """Keep the newest complete checkpoints; incomplete ones never count among them.

    The marker goes first: killed in the middle, a removal leaves no damaged checkpoint behind.
    """
    try:
        kept = [folder for folder, _ in _complete_checkpoints(out_dir)[:KEPT_CHECKPOINTS]]
    except ModelError as error:  # an old one; what is being learnt is not at stake
        logger.warning("%s", error)
        return
    for folder in _checkpoints(out_dir):
        if folder not in kept:
            (folder / POSITION_NAME).unlink(missing_ok=True)
            flush_names(folder)
            shutil.rmtree(folder)
