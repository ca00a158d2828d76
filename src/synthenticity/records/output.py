"""Where records are written: whole parts first, the file or folder last.

A part holds the records of some documents that follow each other in the corpus, and the list of
those that could not be used. It is written aside and renamed, so a killed run leaves whole parts;
the same run goes on behind them, after comparing the documents with those the parts were made of.
What is there under the final name is complete. Nothing is ever overwritten.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from synthenticity.durable import flush, flush_names, take_lock, write_whole
from synthenticity.errors import CompatibilityError, ConfigError
from synthenticity.seeding import digest

METADATA_KEY = b"synthenticity"
STATE = "made_with.json"
FORMS = (".parquet", ".jsonl", ".csv")
OTHER_FORMS = (".arrow", ".feather", ".gz", ".html", ".json", ".tsv", ".txt", ".zip", ".zst")


@dataclass(frozen=True)
class RecordKind:
    """What an output holds: its fields, their version, and the forms that it may have.

    `forms` are endings of files; "" is a folder.
    """

    schema: pa.Schema
    version: int
    forms: tuple[str, ...]

    def words(self) -> str:
        """Return the forms as a person reads them."""
        files = [form for form in self.forms if form]
        folder = ", or a folder" if "" in self.forms else ""
        return f"a {', '.join(files[:-1])} or {files[-1]} file{folder}"


@dataclass(frozen=True)
class Part:
    """A chunk's table, who could not be used, and a digest of the documents it was made of."""

    table: pa.Table
    rejected: list[dict[str, str]]
    documents: str


def encode_part(part: Part) -> bytes:
    """Return the bytes of a part."""
    metadata = {"rejected": part.rejected, "documents": part.documents}
    sink = pa.BufferOutputStream()
    table = part.table.replace_schema_metadata({METADATA_KEY: json.dumps(metadata).encode()})
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return bytes(sink.getvalue())


def _decode_part(raw: bytes) -> Part:
    file = pq.ParquetFile(pa.BufferReader(raw), page_checksum_verification=True)
    metadata = json.loads(file.schema_arrow.metadata[METADATA_KEY])
    table = file.read(use_threads=False).replace_schema_metadata(None)
    return Part(table, metadata["rejected"], metadata["documents"])


class RecordOutput:
    """The parts of a run, and the file or folder they become.

    Args:
        out: a file, or a folder to be, in one of the forms of `kind`.
        made_with: everything that decides the records, as plain values.
        kind: what records these are.

    Raises:
        ConfigError: `out` exists, or ends in something else.
        CompatibilityError: there are parts of a run with other settings; names what differs.

    """

    def __init__(self, out: str | Path, made_with: Mapping[str, Any], kind: RecordKind) -> None:
        self.out = Path(out)
        self.kind = kind
        check_out(self.out, kind)
        self.made_with = json.loads(json.dumps({"format": kind.version, **made_with}))
        self.folder = partial_of(self.out)
        state = self.folder / STATE
        if state.is_file():
            self._compare(json.loads(state.read_text(encoding="utf-8")))
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(state, json.dumps(self.made_with, indent=2, sort_keys=True) + "\n")

    @property
    def fingerprint(self) -> str:
        """A digest of everything that decides the records."""
        return digest(json.dumps(self.made_with, sort_keys=True), str(self.kind.version))

    def _compare(self, found: dict[str, Any]) -> None:
        differing = [
            f"{key} is {found.get(key)!r} there and {self.made_with.get(key)!r} here"
            for key in sorted({*found, *self.made_with})
            if found.get(key) != self.made_with.get(key)
        ]
        if differing:
            raise CompatibilityError(
                f"{self.folder}: holds a run with other settings: {'; '.join(differing)}. "
                "Use another --out, or remove it."
            )

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Within, this process alone writes parts; the lock ends with the process.

        Where locks do not work, names with the process's number keep runs out of each other's
        files.

        Raises:
            ConfigError: another run is at work.

        """
        with (self.folder / "lock").open("w") as file:
            if not take_lock(file):
                raise ConfigError(
                    f"out: another run is writing {self.out}. Let it end, or use another --out."
                )
            yield

    @property
    def finished(self) -> Path:
        """Where this process joins the parts."""
        return self.folder / f"finished-{os.getpid()}{self.out.suffix if is_file(self.out) else ''}"

    @property
    def rejected(self) -> Path:
        """Where the documents are listed that could not be used, until the end."""
        return self.folder / f"rejected-{os.getpid()}.jsonl"

    def _path(self, number: int) -> Path:
        return self.folder / f"part-{number:06d}.parquet"

    def put(self, number: int, raw: bytes) -> None:
        """Write a part; after a power cut it is there whole or not at all."""
        write_whole(self._path(number), raw)

    def get(self, number: int) -> Part | None:
        """Return a part, or None if it is not there or damaged and has to be made (again)."""
        try:
            return _decode_part(self._path(number).read_bytes())
        except FileNotFoundError:
            return None
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError):
            return None

    def find(self, number: int, documents: str) -> Part | None:
        """Return a part that is there already, made of these documents.

        Raises:
            CompatibilityError: it was made of other documents.

        """
        part = self.get(number)
        if part is not None and part.documents != documents:
            raise CompatibilityError(
                f"{self.folder}: was begun with another corpus: the documents of part {number} "
                "have changed. Remove it, or use another --out."
            )
        return part

    def parts(self, count: int) -> Iterator[Part]:
        """Return the first `count` parts in order."""
        for number in range(count):
            part = self.get(number)
            if part is None:
                raise ConfigError(f"{self._path(number)}: is gone. Run the same command again.")
            yield part

    def file_metadata(self) -> dict[str, Any]:
        """Return what every finished file says of itself."""
        return {
            "format_version": self.kind.version,
            "fingerprint": self.fingerprint,
            "made_with": self.made_with,
        }

    def clear_if_empty(self) -> None:
        """Remove what a run leaves that has made no part."""
        if self.folder.exists() and not any(self.folder.glob("part-*.parquet")):
            self.clear()

    def clear(self) -> None:
        """Remove the parts."""
        shutil.rmtree(self.folder)


def form_of(out: Path) -> str:
    """Return the ending by which a form is known, in small letters; "" for a folder.

    >>> form_of(Path("a/Scores.CSV")), form_of(Path("filled.d"))
    ('.csv', '')
    """
    ending = out.suffix.lower()
    return ending if ending in (*FORMS, *OTHER_FORMS) else ""


def check_out(out: Path, kind: RecordKind) -> None:
    """Refuse an output that exists, is a URL, or has a form that is none of a kind's."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(out)):  # a path has one slash of two
        raise ConfigError(
            f"out: {out} is a URL; this is written to a disk of this machine. Give a path, and "
            "copy what is there then: it is complete."
        )
    beside = [rejected_beside(out)] if is_file(out) and not partial_of(out).exists() else []
    for path in (out, *beside):
        if path.exists():
            raise ConfigError(f"out: {path} exists. Give another name, or remove it.")
    form = form_of(out)
    if form not in kind.forms:
        raise ConfigError(
            f"out: {out.name} {f'ends in {form}' if form else 'is no file by its ending'}. Give "
            f"{kind.words()}."
        )


def partial_of(out: Path) -> Path:
    """Return the folder of the parts of an output."""
    return out.with_name(f"{out.name}.partial")


def is_file(out: Path) -> bool:
    """Whether an output is a file by its name, and not a folder to be."""
    return form_of(out) in FORMS


def rejected_beside(out: Path) -> Path:
    """Return where the documents are listed that a file lacks."""
    return out.with_name(f"{out.name}.rejected.jsonl")


def write_tables(
    path: Path, tables: Iterator[pa.Table], schema: pa.Schema, metadata: Mapping[str, Any]
) -> int:
    """Write tables of a schema one after the other, in the form of the path's ending; return the
    number of rows.
    """
    rows = 0

    def counted() -> Iterator[pa.Table]:
        nonlocal rows
        for table in tables:
            rows += len(table)
            yield table

    form = form_of(path)
    if form == ".jsonl":
        with path.open("w", encoding="utf-8") as file:
            for table in counted():
                file.writelines(json.dumps(row) + "\n" for row in table.to_pylist())
    elif form == ".csv":
        with path.open("wb") as sink, pa_csv.CSVWriter(sink, schema) as writer:
            for table in counted():
                writer.write_table(table)
    else:
        schema = schema.with_metadata({METADATA_KEY: table_metadata(metadata)})
        options: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True}
        with path.open("wb") as sink, pq.ParquetWriter(sink, schema, **options) as writer:
            for table in counted():
                writer.write_table(table.replace_schema_metadata(schema.metadata))
    flush(path)
    return rows


def table_metadata(metadata: Mapping[str, Any]) -> bytes:
    """Return what a Parquet file says of itself under `METADATA_KEY`."""
    return json.dumps(dict(metadata), sort_keys=True).encode()


def publish(path: Path, final: Path) -> None:
    """Give a finished file or folder its name; what is there already is never replaced.

    Raises:
        ConfigError: something has taken the name meanwhile.

    """
    try:
        if path.is_dir():
            path.rename(final)
        else:
            os.link(path, final)
    except (FileExistsError, OSError) as error:
        if not final.exists():
            raise
        raise ConfigError(f"out: {final} exists. Give another name, or remove it.") from error
    flush_names(final.parent)
