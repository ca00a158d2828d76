"""Records: filled documents as rows of a typed table. Every field is in docs/formats.md.

Positions count characters (code points) of `text`, as Python, pandas and `datasets` do.
"""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from synthenticity.records.output import RecordKind
from synthenticity.synthesis.filling import FilledDocument
from synthenticity.synthesis.splicing import Span
from synthenticity.synthesis.token_labels import LABEL_NAMES

FORMAT_VERSION = 1

_POSITION = pa.int32()
SPAN = pa.struct(
    [
        pa.field("start", _POSITION, nullable=False),
        pa.field("end", _POSITION, nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("original", pa.string(), nullable=False),
    ]
)
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("copy", pa.int32(), nullable=False),
        pa.field("original", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("spans", pa.list_(SPAN), nullable=False),
        pa.field("synthenticity", pa.float32(), nullable=False),
        pa.field("replaced_fraction", pa.float32(), nullable=False),
        pa.field("token_labels", pa.list_(pa.int8()), nullable=False),
        pa.field("token_starts", pa.list_(_POSITION), nullable=False),
        pa.field("token_ends", pa.list_(_POSITION), nullable=False),
        pa.field("token_ids", pa.list_(pa.uint32()), nullable=False),
        pa.field("log_probabilities", pa.list_(pa.float32()), nullable=False),
        pa.field("ranks", pa.list_(pa.int32()), nullable=False),
        pa.field("recipe", pa.string(), nullable=False),
        pa.field("mlm", pa.string(), nullable=False),
        pa.field("group", pa.string()),
        pa.field("domain", pa.string()),
    ]
)

RECORDS = RecordKind(SCHEMA, FORMAT_VERSION, (".parquet", ".jsonl", ""))


def to_table(documents: Sequence[FilledDocument]) -> pa.Table:
    """Return filled documents as a table, in their order."""
    columns: dict[str, Any] = {name: [] for name in SCHEMA.names}
    for document in documents:
        for name, values in columns.items():
            value = getattr(document, name)
            values.append(_spans(document) if name == "spans" else value)
    return pa.table(columns, schema=SCHEMA)


def _spans(document: FilledDocument) -> list[dict[str, Any]]:
    return [{**vars(span), "label": LABEL_NAMES[span.label]} for span in document.spans]


def spans_of(rows: Sequence[dict[str, Any]]) -> list[Span]:
    """Return spans as they were before they became rows."""
    numbers = {name: label for label, name in LABEL_NAMES.items()}
    return [Span(**{**row, "label": numbers[row["label"]]}) for row in rows]


def to_records(documents: Sequence[FilledDocument]) -> list[dict[str, Any]]:
    """Return filled documents as plain dictionaries with the same fields as the table's rows."""
    rows: list[dict[str, Any]] = to_table(documents).to_pylist()
    return rows
