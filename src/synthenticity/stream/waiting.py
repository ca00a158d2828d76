"""Waiting for a provider: what ends a wait, and what a person is told about it."""

import shlex
import time
from typing import Protocol

from synthenticity.stream.batch_queue import BatchQueue
from synthenticity.stream.object_set import ObjectSet


class Stop(Protocol):
    """What ends a wait: a `threading.Event`, or anything that can be waited for like one."""

    def wait(self, timeout: float) -> bool:
        """Wait for some seconds at most; return whether it is set."""
        ...


class NeverStopped:
    """The `Stop` of one who was given none."""

    def wait(self, timeout: float) -> bool:
        """Wait."""
        time.sleep(timeout)
        return False


def provider_news(queue: BatchQueue) -> str:
    """Say why nothing comes from a queue: nobody is there, or somebody who does what."""
    if isinstance(queue, ObjectSet):
        return queue.said_of_owner()
    directory = queue.directory
    start = (
        f"Start one: synthenticity prepare CONFIG --out-dir {shlex.quote(str(directory))} "
        "(or train with --prepare)."
    )
    if not directory.exists():
        return f"{directory} is not there: no provider has ever run for it. {start}"
    owner = queue.owner()
    if owner is None:
        return f"No provider is running for {directory}. {start}"
    if not owner.alive:
        return (
            f"The provider ({owner.name}) is dead; it was last alive {owner.seconds_ago:.0f} s ago "
            f"({owner.state}). {start}"
        )
    return f"The provider ({owner.name}) is alive: {owner.state}."
