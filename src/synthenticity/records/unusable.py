"""The documents that cannot be used: a line each in a file, and how many for what reason."""

import json
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

from synthenticity.durable import flush
from synthenticity.errors import CorpusError
from synthenticity.records.output import publish

KNOWN_REASONS = 20
"""Reasons may name what is wrong in a document; more than so many kinds are counted together."""


class UnusableList:
    """Lists what is added within, as JSON lines, and counts it by reason.

    Args:
        path: of the list, until it is published.

    """

    def __init__(self, path: Path) -> None:
        self.count = 0
        self.reasons: Counter[str] = Counter()
        self._path = path

    def __enter__(self) -> Self:
        self._file = self._path.open("w", encoding="utf-8")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        flush(self._path)

    def add(self, rows: list[dict[str, str]]) -> None:
        """List documents: id and reason of each."""
        self.count += len(rows)
        for row in rows:
            self._file.write(json.dumps(row) + "\n")
            reason = row["reason"]
            known = reason in self.reasons or len(self.reasons) < KNOWN_REASONS
            self.reasons[reason if known else "other reasons"] += 1

    def nothing_left(self, source: str) -> CorpusError:
        """Return what is said of a corpus of which no document can be used."""
        reasons = "; ".join(f"{count} x {reason}" for reason, count in self.reasons.items())
        return CorpusError(f"{source}: nothing in it can be used: {reasons or 'is empty'}.")

    def publish(self, final: Path) -> None:
        """Give the list its name, if it lists anything."""
        final.unlink(missing_ok=True)  # a killed run of ours may have come so far
        if self.count:
            publish(self._path, final)
