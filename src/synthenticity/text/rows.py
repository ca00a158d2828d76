"""The rows of tables: CSV, JSON lines and arrays, Parquet, Arrow and Hugging Face data sets.

A row is its number (the line it begins in, for text formats; 1 is the first) and its values by
column name. Only the columns asked for are read, a record batch of them at a time.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from synthenticity.errors import CorpusError, MissingExtraError, SynthenticityError
from synthenticity.settings import did_you_mean
from synthenticity.text.files import (
    CorpusFile,
    decoded,
    lines_of,
    one_line,
    open_stream,
    read_blocks,
)
from synthenticity.text.json_text import json_rows

Row = tuple[int, Mapping[str, Any]]

BATCH_BYTES, BATCH_ROWS = 4 * 2**20, 1024
LONGEST_FIELD = 2**30
"""A quotation mark that is never closed must not swallow a file of any size."""
ROWS_TO_SEE_A_COLUMN = 100
"""JSON objects may lack what they have no value for: a column must occur in one of the first."""


def read_rows(file: CorpusFile, columns: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a file, streamed.

    Raises:
        CorpusError: a column that is missing, a broken row (with its line), a damaged file.

    """
    if file.format == "parquet":
        return _parquet_rows(file, columns)
    if file.format == "arrow":
        return _arrow_rows(file, columns)
    texts = decoded(read_blocks(file), file)
    if file.format == "csv":
        return _csv_rows(texts, file, columns)
    return with_columns(json_rows(texts, file), columns, file)


def _check_columns(columns: Sequence[str], there: Iterable[str], where: object) -> None:
    known = list(dict.fromkeys(there))
    for column in columns:
        if column not in known:
            raise CorpusError(
                f"{where}: has no column {column!r}, its columns are "
                f"{', '.join(map(repr, known)) or 'none'}.{did_you_mean(column, known)}"
            )


def with_columns(rows: Iterator[Row], columns: Sequence[str], where: object) -> Iterator[Row]:
    """Yield rows of objects whose keys may differ, and insist that each column occurs."""
    seen: dict[str, None] = {}
    count = 0
    for row in rows:
        if count < ROWS_TO_SEE_A_COLUMN:
            seen |= dict.fromkeys(row[1])
        count += 1
        if count == ROWS_TO_SEE_A_COLUMN:
            _check_columns(columns, seen, where)
        yield row
    if 0 < count < ROWS_TO_SEE_A_COLUMN:
        _check_columns(columns, seen, where)


def _csv_rows(texts: Iterator[str], file: CorpusFile, columns: Sequence[str]) -> Iterator[Row]:
    csv.field_size_limit(LONGEST_FIELD)
    tabs = ".tsv" in file.path.suffixes
    reader = csv.reader(lines_of(texts), delimiter="\t" if tabs else ",", strict=True)
    line = 1
    try:
        head = next(reader, [])
        _check_columns(columns, head, file)
        places = {column: head.index(column) for column in columns}
        line = reader.line_num + 1
        for values in reader:
            if values and len(values) != len(head):
                raise CorpusError(
                    f"{file}: line {line} has {len(values)} fields, the head {len(head)}. Mend "
                    "the row; fields that hold separators or newlines need quotation marks."
                )
            if values:
                yield line, {column: values[place] for column, place in places.items()}
            line = reader.line_num + 1
    except csv.Error as error:
        raise CorpusError(
            f"{file}: line {line} begins a broken CSV row ({one_line(error)}). Mend the row."
        ) from None


@contextmanager
def _damage_named(where: object, what: str) -> Iterator[None]:
    """Within, whatever a library raises over a file becomes a `CorpusError` of one line."""
    try:
        yield
    except SynthenticityError:
        raise
    except Exception as error:
        raise CorpusError(
            f"{where}: cannot be read as {what} ({one_line(error)}). Give a complete, "
            "undamaged one."
        ) from error


def _parquet_rows(file: CorpusFile, columns: Sequence[str]) -> Iterator[Row]:
    import pyarrow.parquet as pq

    if file.compression:
        raise CorpusError(f"{file}: Parquet is compressed inside. Decompress the file first.")
    with (
        _damage_named(file, "Parquet"),
        pq.ParquetFile(str(file.path), buffer_size=2**20, pre_buffer=False) as opened,
    ):
        _check_columns(columns, opened.schema_arrow.names, file)
        metadata = opened.metadata
        size = sum(metadata.row_group(n).total_byte_size for n in range(metadata.num_row_groups))
        rows = BATCH_BYTES * metadata.num_rows // max(size, 1)
        batches = opened.iter_batches(
            min(max(rows, 1), BATCH_ROWS), columns=list(columns), use_threads=False
        )
        yield from _batch_rows(batches, columns)


def _arrow_rows(file: CorpusFile, columns: Sequence[str]) -> Iterator[Row]:
    """Read an Arrow file or stream; only a stream can be compressed as a whole."""
    import pyarrow as pa

    with _damage_named(file, "an Arrow file or stream"), open_stream(file) as stream:
        is_file = not file.compression and stream.read(6) == b"ARROW1"
        if not file.compression:
            stream.seek(0)
        reader = pa.ipc.open_file(stream) if is_file else pa.ipc.open_stream(stream)
        _check_columns(columns, reader.schema.names, file)
        if is_file:
            batches = map(reader.get_batch, range(reader.num_record_batches))
            yield from _batch_rows(batches, columns)
        else:
            yield from _batch_rows(reader, columns)
            while file.compression and stream.read(BATCH_BYTES):
                pass  # to the end, where a cut is noticed


def _batch_rows(batches: Iterable[Any], columns: Sequence[str]) -> Iterator[Row]:
    number = 0
    for batch in batches:
        for start in range(0, batch.num_rows, BATCH_ROWS):
            part = batch.slice(start, BATCH_ROWS)
            values = [part.column(column).to_pylist() for column in columns]
            for row in zip(*values, strict=True):
                number += 1
                yield number, dict(zip(columns, row, strict=True))


def hub_rows(name: str, columns: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a Hugging Face data set, streamed: `NAME`, `NAME:SPLIT` or
    `NAME:CONFIG:SPLIT` (the split is `train` unless it is named).

    Raises:
        MissingExtraError: without `datasets` (extra `hub`).
        CorpusError: no such data set, configuration, split or column.

    """
    try:
        from datasets import load_dataset
    except ImportError:
        raise MissingExtraError("Reading Hugging Face data sets (datasets)", "hub") from None
    where = f"hf:{name}"
    path, *rest = name.split(":")
    if not path or len(rest) > 2:
        raise CorpusError(
            f"{where}: is no data set. Write hf:NAME, hf:NAME:SPLIT or hf:NAME:CONFIG:SPLIT."
        )
    config, split = [None, "train", *rest][-2:] if len(rest) != 1 else (None, rest[0])
    with _damage_named(where, "a data set"):
        rows = load_dataset(path, config, split=split, streaming=True)
        if rows.column_names is not None:
            _check_columns(columns, rows.column_names, where)
            rows = rows.select_columns(list(columns))
        yield from with_columns(enumerate(rows, 1), columns, where)
