"""A folder that is there whole or not at all: written beside its place, and moved there."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from synthenticity.errors import ConfigError


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder to write into, which becomes `folder` when nothing went wrong.

    Raises:
        ConfigError: there is something already, or no folder to put it in.

    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder}: is there already. Give a new folder, or remove it.")
    parent = folder.absolute().parent
    if not parent.is_dir():
        raise ConfigError(f"{folder}: its folder does not exist. Make it, or give another place.")
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=parent) as place:
        made = Path(place) / "made"
        made.mkdir()
        yield made
        made.replace(folder)
