"""What the commands share: the application, its option types, and how results are shown."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from synthenticity import __version__
from synthenticity.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from synthenticity.config import Config

GOOD, CHECK_FAILED, USER_ERROR, INTERRUPTED = 0, 1, 2, 130

app = App(
    name="synthenticity",
    version=__version__,
    help="Say how much of a text a machine wrote, and which words.",
    help_epilogue="Every setting of a config may be given as an option: docs/configuration.md.",
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # `run` answers it
)

ConfigPath = Annotated[Path, Parameter(help="TOML file of settings, for example configs/tiny.toml")]
Overrides = Annotated[str, Parameter(help="Any setting, for example --batch_size 32.")]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON.")]


def console_for(*, stderr: bool = False, least_width: int = 0, plain: bool = False) -> "Console":
    """Return a console on standard output, or error, at least so wide: longer lines wrap.

    A plain one has no colours and redraws nothing, as into a file.
    """
    from rich.console import Console

    class Pipe(Console):
        """A console that leaves a broken pipe to `run`, which ends well."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    console = Pipe(
        stderr=stderr, highlight=False, soft_wrap=True, force_terminal=False if plain else None
    )
    console.width = max(console.width, least_width)
    return console


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Within, only our own messages and warnings reach the terminal."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    yield


def share_processors() -> None:
    """Let threads that wait for each other sleep: provider and trainer run side by side, and a
    demo on whatever else its machine does.

    Spinning, as OpenMP does by default, saves 15 % of a step on an idle machine, and makes it six
    times as long beside another process (docs/benchmarks.md). To be called before torch is
    imported; a policy set in the environment stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def load_settings(path: Path | None, overrides: dict[str, str]) -> "Config":
    """Return the settings of a file and options."""
    from synthenticity.config_file import load_config

    return load_config(path, overrides)


def read_ratio(given: str) -> tuple[float, float]:
    """Return the range that an option means: a share, or two with a comma.

    Raises:
        ConfigError: it is neither.

    """
    wrong = ConfigError(f"--ratio: {given} is not a share (0.3), or two in order (0.1,0.7).")
    try:
        bounds = [float(part) for part in given.split(",")]
        low, high = bounds if len(bounds) == 2 else bounds * 2
    except ValueError:
        raise wrong from None
    if not 0 <= low <= high <= 1:
        raise wrong
    return low, high
