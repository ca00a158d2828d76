"""`meta.json`: what a directory of batch files holds and what it was made with.

Written once, before the first file; compared key by key when a provider comes back and when a
trainer opens the directory, so that files of two configurations never mix.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthenticity.errors import CompatibilityError, QueueError
from synthenticity.seeding import digest
from synthenticity.stream.batch_file import FORMAT_VERSION, BatchSchema

META_NAME = "meta.json"
LIVE, FINITE = "live", "finite"


@dataclass(frozen=True)
class Meta:
    """What `meta.json` says.

    `task` is what the provider's `build_meta` returned (`dataset_name`, `training_type`,
    `vocab_size`, `cls_token_id`, ...); `made_with` every setting and hash that decides the
    content; `kind` live (bounded, consumed) or finite (never consumed).
    """

    task: Mapping[str, Any]
    schema: BatchSchema
    made_with: Mapping[str, Any]
    kind: str
    rows_per_file: int

    @property
    def fingerprint(self) -> str:
        """A digest of everything that decides the content of the files and their form."""
        return digest(json.dumps(self._decisive(), sort_keys=True), str(FORMAT_VERSION))

    def _decisive(self) -> dict[str, Any]:
        return {
            **self.made_with,
            **{f"meta {key}": value for key, value in self.task.items()},
            "batch_schema": self.schema.to_json(),
            "rows_per_file": self.rows_per_file,
        }

    def differences(self, other: "Meta") -> list[str]:
        """Say of each decisive key that differs what it is here and what in the other."""
        ours, theirs = self._decisive(), other._decisive()
        found = [
            f"{key} is {ours.get(key)!r} there and {theirs.get(key)!r} here"
            for key in sorted({*ours, *theirs})
            if ours.get(key) != theirs.get(key)
        ]
        if self.kind != other.kind:
            found.append(f"it is a {self.kind} directory and this run wants a {other.kind} one")
        return found

    def to_json(self) -> dict[str, Any]:
        """Return the content of the file: the plan's keys first."""
        return {
            **self.task,
            "batch_schema": self.schema.to_json(),
            "format_version": FORMAT_VERSION,
            "kind": self.kind,
            "rows_per_file": self.rows_per_file,
            "fingerprint": self.fingerprint,
            "made_with": dict(self.made_with),
        }


_OWN_KEYS = {"batch_schema", "format_version", "kind", "rows_per_file", "fingerprint", "made_with"}


def read_meta(directory: Path) -> Meta | None:
    """Read `meta.json`, or return None if there is none yet.

    Raises:
        QueueError: it is damaged or of another format version; names both.

    """
    path = directory / META_NAME
    try:
        return parse_meta(path.read_bytes(), path)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise QueueError(f"{directory}: is a file. Give a directory of batch files.") from None
    except OSError as error:
        raise QueueError(f"{path}: cannot be read ({error}). Make the data again.") from None


def parse_meta(raw: bytes, path: Path | str) -> Meta:
    """Return what the bytes of a `meta.json` say; `path` is for messages.

    Raises:
        QueueError: it is damaged or of another format version; names both.

    """
    try:
        content = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise QueueError(f"{path}: cannot be read ({error}). Make the data again.") from None
    if not isinstance(content, dict) or not set(content) >= _OWN_KEYS:
        raise QueueError(f"{path}: is not the meta file of a batch directory.")
    if content["format_version"] != FORMAT_VERSION:
        raise QueueError(
            f"{path}: has format version {content['format_version']}, this version of "
            f"synthenticity works with {FORMAT_VERSION}. Make the data again."
        )
    meta = _from_json(content)
    if meta is None or meta.kind not in (LIVE, FINITE):
        raise QueueError(f"{path}: is damaged. Make the data again.")
    if meta.fingerprint != content["fingerprint"]:
        raise QueueError(f"{path}: was edited (its fingerprint does not fit). Make the data again.")
    return meta


def _from_json(content: Mapping[str, Any]) -> Meta | None:
    """Return what `to_json` was made of, or None if it does not even have that form."""
    try:
        return Meta(
            task={key: value for key, value in content.items() if key not in _OWN_KEYS},
            schema=BatchSchema.from_json(content["batch_schema"]),
            made_with=dict(content["made_with"]),
            kind=content["kind"],
            rows_per_file=content["rows_per_file"],
        )
    except (TypeError, ValueError, KeyError):
        return None


def check_same_meta(directory: str | Path, found: Meta, wanted: Meta) -> None:
    """Raise a `CompatibilityError` with the differing keys if a directory holds other data."""
    differing = found.differences(wanted)
    if differing:
        raise CompatibilityError(
            f"{directory}: was made with another configuration: {'; '.join(differing)}. "
            "Use another directory (--out-dir), or remove this one."
        )
