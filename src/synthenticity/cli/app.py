"""What the commands share: the application, its option types, and how results are shown."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from synthenticity import __version__
from synthenticity.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from synthenticity.config import Config
    from synthenticity.distributed.cluster import Cluster

GOOD, CHECK_FAILED, USER_ERROR, INTERRUPTED = 0, 1, 2, 130

app = App(
    name="synthenticity",
    version=__version__,
    help="Say how much of a text a machine wrote, and which words.",
    help_epilogue="Commands that show --[KEYWORD] take any setting: docs/configuration.md.",
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # `run` answers it
    default_parameter=Parameter(negative_iterable=()),
)

ConfigPath = Annotated[Path, Parameter(help="TOML file of settings, for example configs/tiny.toml")]
Overrides = Annotated[str, Parameter(help="Any setting, for example --batch_size 32.")]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON.")]


@Parameter(name="*")
@dataclass(frozen=True)
class OnRay:
    """Where tasks are made if not on this machine alone."""

    ray: Annotated[
        list[str] | None,
        Parameter(
            negative="",
            consume_multiple=(0, 1),
            help="On a Ray cluster: HOST:PORT, ray://HOST:PORT, auto; alone, one of this machine.",
        ),
    ] = None
    ray_workers: Annotated[str | None, Parameter(help="So many, or a range: 2:16 (1:2).")] = None
    worker_cpus: Annotated[float | None, Parameter(help="Processors of each (1).")] = None
    worker_gpus: Annotated[float | None, Parameter(help="GPUs of each; .5, say (0).")] = None


def cluster_of(given: OnRay | None) -> "Cluster | None":
    """Return the cluster that options name.

    Raises:
        ConfigError: a number is none, or has no effect.

    """
    given = given or OnRay()
    if given.ray is None:
        for name in ("ray_workers", "worker_cpus", "worker_gpus"):
            if getattr(given, name) is not None:
                raise ConfigError(f"--{name}: has no effect without --ray.")
        return None
    from synthenticity.distributed.cluster import LOCAL, Cluster

    least, most = _range(given.ray_workers or "1:2")
    cpus, gpus = given.worker_cpus, given.worker_gpus
    return Cluster(
        address=given.ray[0] if given.ray else LOCAL,
        least=least,
        most=most,
        cpus=1.0 if cpus is None else cpus,
        gpus=0.0 if gpus is None else gpus,
    )


def _range(given: str) -> tuple[int, int]:
    least, _, most = given.partition(":")
    try:
        return int(least), int(most or least)
    except ValueError:
        raise ConfigError(
            f"--ray_workers: {given!r} is no number of workers. Give 4, or a range: 2:16."
        ) from None


def console_for(*, stderr: bool = False, plain: bool = False) -> "Console":
    """Return a console on standard output, or error.

    A plain one has no colours and redraws nothing, as into a file.
    """
    from rich.console import Console

    class Pipe(Console):
        """A console that leaves a broken pipe to `run`, which ends well."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Pipe(
        stderr=stderr, highlight=False, soft_wrap=True, force_terminal=False if plain else None
    )


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
