"""Where data are: a directory here, or the URL of a finite data set on an object store."""

from pathlib import Path

from synthenticity.stream.batch_queue import LINK, BatchQueue
from synthenticity.stream.object_set import ObjectSet
from synthenticity.stream.object_store import is_url

Place = str | Path


def place_of(given: str) -> Place:
    """Return what a person named: a URL as it is, anything else as a path."""
    return given if is_url(given) else Path(given)


def open_queue(place: Place, *, commit: str = LINK) -> BatchQueue:
    """Open a directory of batch files, or a data set on an object store, for reading."""
    return ObjectSet(str(place)) if is_url(place) else BatchQueue(place, commit=commit)


def beside(place: Place) -> Path:
    """Return a folder of this machine with `meta.json`, `config.toml` and `tokenizer/` of a place.

    Raises:
        QueueError: there is no data set on the store.

    """
    return ObjectSet(str(place)).fetch_beside() if is_url(place) else Path(place)
