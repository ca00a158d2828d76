"""Fault points: the named places between two steps of a protocol at which a test may fail it.

A promise such as "killed at any moment, nothing is lost" is only as good as the moments that were
tried. `point` names such a moment; in use it does nothing. The tests find every
name in the source, watch the points and, at a chosen one, raise or end the process.
"""

from collections.abc import Callable

_watchers: list[Callable[[str], None]] = []


def point(name: str) -> None:
    """Pass a moment, named `room.what_has_just_happened`."""
    for watcher in _watchers:
        watcher(name)


def watch(by: Callable[[str], None] | None) -> None:
    """Call a function with the name of every point that this process passes; None ends that."""
    _watchers[:] = [] if by is None else [by]
