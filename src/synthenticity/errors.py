"""The errors a user can meet, one tree, every one with what was wrong, where, and what to do.

    SynthenticityError
    ├── ConfigError            a setting is unknown, misspelt or out of range        (ValueError)
    ├── CorpusError            the text cannot be used: missing, empty, undecodable  (ValueError)
    ├── ModelError             a checkpoint is missing or is not what was asked for  (ValueError)
    ├── CompatibilityError     two artefacts do not belong together                  (ValueError)
    ├── BatchFileError         a batch file is damaged, foreign or misnamed          (ValueError)
    ├── QueueError             a queue directory cannot be used                      (RuntimeError)
    │   ├── QueueOwnedError    another provider process owns the directory
    │   └── ProviderTimeoutError   the awaited file did not come                     (TimeoutError)
    └── MissingExtraError      an optional dependency is not installed               (ImportError)

`cli` turns each into one line on standard error and exit code 2.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class SynthenticityError(Exception):
    """Base of all errors that a user can mend."""


class ConfigError(SynthenticityError, ValueError):
    """A setting is unknown, misspelt, of the wrong type or out of range."""


class CorpusError(SynthenticityError, ValueError):
    """The text is missing, empty, undecodable, too short or in an unknown alphabet."""


class ModelError(SynthenticityError, ValueError):
    """A checkpoint is missing, incomplete or not of the kind that was asked for."""


class CompatibilityError(SynthenticityError, ValueError):
    """Two artefacts (data, filling model, scorer) do not belong together."""


class BatchFileError(SynthenticityError, ValueError):
    """A batch file is damaged, cut, foreign or under another file's name."""


class QueueError(SynthenticityError, RuntimeError):
    """A queue directory is missing, unusable or made with another configuration."""


class QueueOwnedError(QueueError):
    """Another provider process owns the queue directory."""


class ProviderTimeoutError(QueueError, TimeoutError):
    """The batch file that the consumer waits for did not come in time."""


class MissingExtraError(SynthenticityError, ImportError):
    """An optional dependency is not installed; the message names the install line."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what}: the extra {extra} is not installed. Install it: "
            f'pip install "synthenticity[{extra}]"'
        )
        self.what, self.extra = what, extra

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.what, self.extra), vars(self)


@contextmanager
def _no_bars() -> Iterator[None]:
    """Within, transformers draws no bars of its own; those of downloads, the hub's, stay.

    Its public switch switches both.
    """
    from transformers.utils import logging as bars

    drawn = bars.is_progress_bar_enabled()
    bars._tqdm_active = False
    try:
        yield
    finally:
        bars._tqdm_active = drawn


@contextmanager
def model_loading(path: str | Path, what: str = "model") -> Iterator[None]:
    """Within, whatever a library raises over a checkpoint becomes a `ModelError` of one line.

    Libraries raise errors of every kind, bare `Exception` included, over damaged files. No bar is
    drawn of how far the loading is.
    """
    try:
        with _no_bars():
            yield
    except SynthenticityError:
        raise
    except Exception as error:
        words = str(error).strip().splitlines() or [type(error).__name__]
        where = "" if Path(path).exists() else "there is no such folder here; of the hub: "
        raise ModelError(
            f"{path}: no {what} can be loaded from it ({where}{words[0]}). Give a complete "
            "checkpoint."
        ) from error
