"""A disk that forgets what was not flushed, as a power cut makes it.

A kill loses nothing that was written, so no kill shows that a flush is missing. This disk keeps
account: which files were written since their last flush, and which names (links, renames,
removals) changed since their directory was flushed. `cut` then empties those files and, if asked,
takes those names back, as file systems are allowed to do. Files written in other ways than by
descriptors (beats, reasons, the test's own log) are taken as flushed: no promise rests on them.
"""

import os
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

Undo = Callable[[], None]
CALLS = ("open", "close", "fsync", "link", "replace", "rename", "unlink")


class ForgetfulDisk:
    """Stands between the code and a folder until the patch is undone.

    Args:
        folder: what is below it may be forgotten.
        limbo: a folder of the same file system, for what was removed and may come back.
        patch: undoes it.

    """

    def __init__(self, folder: Path, limbo: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.limbo = limbo
        self.flushes = 0
        self._off = False
        self._unflushed: set[int] = set()
        self._descriptors: dict[int, str] = {}
        self._pending: list[tuple[set[str], Undo]] = []
        self._names = map(str, count())
        self._real: dict[str, Callable[..., Any]] = {name: getattr(os, name) for name in CALLS}
        for name in CALLS:
            patch.setattr(os, name, getattr(self, f"_{name}"))

    def cut(self, *, names: bool) -> list[str]:
        """Forget what was not flushed, and the names if asked; return what was forgotten.

        From then on nothing changes on the disk: what an exception tidies up on its way out, a
        power cut does not.
        """
        self._off = True
        forgotten = []
        if names:
            for folders, undo in reversed(self._pending):
                undo()
                forgotten += [f"a name in {folder}" for folder in folders]
        for path in self.folder.rglob("*"):
            if path.is_file() and path.stat().st_ino in self._unflushed:
                os.truncate(path, 0)
                forgotten.append(f"what {path.name} holds")
        return forgotten

    def _open(self, path: Any, flags: int, *more: Any, **named: Any) -> int:
        descriptor: int = self._real["open"](path, flags, *more, **named)
        if os.fspath(path).startswith(str(self.folder)):
            self._descriptors[descriptor] = os.fspath(path)
            if flags & os.O_CREAT:
                self._unflushed.add(os.fstat(descriptor).st_ino)
                self._remember(lambda: self._real["unlink"](path), path)
        return descriptor

    def _close(self, descriptor: int) -> None:
        self._descriptors.pop(descriptor, None)
        self._real["close"](descriptor)

    def _fsync(self, descriptor: int) -> None:
        self._real["fsync"](descriptor)
        self._unflushed.discard(os.fstat(descriptor).st_ino)
        path = self._descriptors.get(descriptor)
        self._pending = [one for one in self._pending if path not in one[0]]
        self.flushes += 1

    def _link(self, source: Any, target: Any) -> None:
        if self._off:
            return
        self._real["link"](source, target)
        self._remember(lambda: self._real["unlink"](target), target)

    def _replace(self, source: Any, target: Any) -> None:
        self._move("replace", source, target)

    def _rename(self, source: Any, target: Any) -> None:
        self._move("rename", source, target)

    def _move(self, call: str, source: Any, target: Any) -> None:
        if self._off:
            return
        before, moved = self._kept(target), self._kept(source)
        self._real[call](source, target)

        def undo() -> None:
            self._real["unlink"](target)
            for kept, path in ((before, target), (moved, source)):
                if kept is not None:
                    self._real["link"](kept, path)

        self._remember(undo, source, target)

    def _unlink(self, path: Any, **named: Any) -> None:
        if self._off:
            return
        before = self._kept(path)
        self._real["unlink"](path, **named)
        if before is not None:
            self._remember(lambda: self._real["link"](before, path), path)

    def _kept(self, path: Any) -> Path | None:
        """Keep a second name of a file, if it is there and ours."""
        if not os.fspath(path).startswith(str(self.folder)) or not Path(path).is_file():
            return None
        kept = self.limbo / next(self._names)
        self._real["link"](path, kept)
        return kept

    def _remember(self, undo: Undo, *paths: Any) -> None:
        """A change lasts once a directory that it concerns is flushed; a move is one change."""
        folders = {str(Path(path).parent) for path in paths}
        if all(folder.startswith(str(self.folder)) for folder in folders):
            self._pending.append((folders, undo))
