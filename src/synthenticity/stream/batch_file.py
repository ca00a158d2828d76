"""Batch files: the only thing provider and consumer share.

A file is Parquet with page checksums, one row a sequence, integers in the narrowest type. Its
identity (format version, fingerprint, split, number) and a digest of every column stand in its
metadata, under a checksum of their own, and are compared at every read, so a flipped bit, a cut, a
foreign or a renamed file is never read silently. The bytes are a function of the content. Verified
read of 800 sequences of 256 tokens: 5 ms. The format is specified in docs/formats.md.
"""

import errno
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from synthenticity.errors import BatchFileError
from synthenticity.seeding import digest

FORMAT_VERSION = 2
METADATA_KEY = b"synthenticity"

UNREADABLE = (
    *(pa.ArrowException, OSError, ValueError, LookupError, TypeError, AttributeError),
    RecursionError,
)
"""What Arrow, numpy and json raise over bytes that nobody of ours wrote."""

Columns = dict[str, NDArray[Any]]

STRINGS = np.dtypes.StringDType()
"""How text columns are held: numpy's fixed-width strings lose NUL characters at their end."""


@dataclass(frozen=True)
class Column:
    """One column of a batch: what `get_batch` returns and how the file stores it.

    `dtype` is what the consumer hands out, `stored` the narrower type on disk, `shape` that of
    one sequence (`()` or `(length,)`), `role` input, target or info (not handed to the trainer).
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    role: str
    stored: str

    def arrow_type(self) -> pa.DataType:
        """Return the Parquet type: a scalar, or a list of fixed size."""
        item = pa.string() if self.stored == "str" else pa.from_numpy_dtype(np.dtype(self.stored))
        return pa.list_(item, self.shape[0]) if self.shape else item


def narrowest_ids(vocab_size: int) -> str:
    """Return the narrowest unsigned type that holds every id: uint16, or uint32 above 65 536."""
    return "uint16" if vocab_size <= 2**16 else "uint32"


@dataclass(frozen=True)
class BatchSchema:
    """The columns of a batch, in order; written to `meta.json` as `batch_schema`."""

    columns: tuple[Column, ...]

    def names(self, *roles: str) -> list[str]:
        """Return the names of the columns that have one of the roles (all without argument)."""
        return [column.name for column in self.columns if not roles or column.role in roles]

    def arrow_schema(self) -> pa.Schema:
        """Return the schema of the file."""
        return pa.schema([pa.field(c.name, c.arrow_type(), nullable=False) for c in self.columns])

    def to_json(self) -> list[dict[str, Any]]:
        """Return the plan's `batch_schema`: a list of name, dtype, shape, role (and stored)."""
        return [{**asdict(column), "shape": list(column.shape)} for column in self.columns]

    @classmethod
    def from_json(cls, items: Sequence[Mapping[str, Any]]) -> "BatchSchema":
        """Read what `to_json` wrote; without `stored`, the file holds the delivered dtype."""
        return cls(
            tuple(
                Column(**{"stored": item["dtype"], **item, "shape": tuple(item["shape"])})
                for item in items
            )
        )

    def check(self, columns: Mapping[str, Any]) -> int:
        """Return the number of rows of a batch that obeys the schema; raise `ValueError` if not."""
        if set(columns) != set(self.names()):
            raise ValueError(
                f"batch: has the columns {sorted(columns)}, the schema {sorted(self.names())}."
            )
        rows = {len(columns[name]) for name in self.names()}
        if len(rows) != 1:
            raise ValueError(f"batch: its columns have different lengths {sorted(rows)}.")
        for column in self.columns:
            _check_column(column, np.asarray(columns[column.name]))
        return rows.pop()


def _check_column(column: Column, values: NDArray[Any]) -> None:
    if values.shape[1:] != column.shape:
        raise ValueError(
            f"batch: {column.name} has rows of shape {values.shape[1:]}, the schema {column.shape}."
        )
    kind = np.dtype(column.stored).kind
    if kind in "iu" and values.size:
        limits = np.iinfo(column.stored)
        if values.min() < limits.min or values.max() > limits.max:
            raise ValueError(
                f"batch: {column.name} holds {values.min()} to {values.max()}, "
                f"{column.stored} {limits.min} to {limits.max}."
            )


@dataclass(frozen=True)
class Identity:
    """Which file this is: a batch file holds exactly what its identity says."""

    fingerprint: str
    split: str
    number: int
    format_version: int = FORMAT_VERSION


@dataclass(frozen=True)
class BatchFile:
    """A verified file: its identity and its columns, `[rows, ...]` in their stored types."""

    identity: Identity
    columns: Columns

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


def encode_batch_file(columns: Columns, schema: BatchSchema, identity: Identity) -> bytes:
    """Return the bytes of a batch file; the same columns give the same bytes.

    Raises:
        ValueError: the columns do not obey the schema.

    """
    schema.check(columns)
    stored = {
        c.name: np.asarray(columns[c.name], dtype=STRINGS if c.stored == "str" else c.stored)
        for c in schema.columns
    }
    metadata: dict[str, Any] = {
        **asdict(identity),
        "digests": {name: _column_digest(values) for name, values in stored.items()},
    }
    metadata["checksum"] = _metadata_checksum(metadata)
    table = pa.Table.from_arrays(
        [_to_arrow(stored[column.name], column) for column in schema.columns],
        schema=schema.arrow_schema().with_metadata(
            {METADATA_KEY: json.dumps(metadata, sort_keys=True).encode()}
        ),
    )
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    )
    return bytes(sink.getvalue())


def _metadata_checksum(metadata: Mapping[str, Any]) -> str:
    return digest(json.dumps(metadata, sort_keys=True))


def _to_arrow(values: NDArray[Any], column: Column) -> pa.Array:
    if not column.shape:
        return pa.array(values.tolist() if column.stored == "str" else values, column.arrow_type())
    flat = pa.array(values.reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, column.shape[0])


def _column_digest(values: NDArray[Any]) -> str:
    if values.dtype.kind in "UT":
        return digest("str", *values.tolist())
    return digest(values.dtype.str, str(values.shape), values.tobytes())


def read_batch_file(
    path: str | Path, expected: Identity | None = None, *, columns: Sequence[str] | None = None
) -> BatchFile:
    """Read a batch file and verify all of it: checksums, identity, schema, digests.

    Args:
        path: the file.
        expected: what it must be; without it, only its own consistency is checked.
        columns: read these only.

    Raises:
        BatchFileError: the file is not exactly what it should be, with the reason.
        FileNotFoundError: there is no such file.
        MemoryError: there is too little memory to read it, which says nothing about the file.

    """
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        if error.errno not in (errno.EISDIR, errno.ELOOP):
            raise
        raise BatchFileError(f"{path}: is no file ({error.strerror}). Remove it.") from None
    return decode_batch_file(raw, path, expected, columns=columns)


def decode_batch_file(
    raw: bytes,
    name: str | Path,
    expected: Identity | None = None,
    *,
    columns: Sequence[str] | None = None,
) -> BatchFile:
    """Verify the bytes of a batch file, as `read_batch_file` does; `name` is for messages.

    Raises:
        BatchFileError: they are not exactly what they should be, with the reason.
        MemoryError: there is too little memory, which says nothing about the file.

    """
    try:
        return _decode(raw, expected, columns)
    except MemoryError:  # Arrow's is one of its own errors, too
        raise
    except BatchFileError as error:
        raise BatchFileError(f"{name}: {error}") from None
    except UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BatchFileError(
            f"{name}: is damaged or not a batch file ({reason}). Remove it; the provider makes "
            "it again."
        ) from None


def _decode(raw: bytes, expected: Identity | None, columns: Sequence[str] | None) -> BatchFile:
    file = pq.ParquetFile(pa.BufferReader(raw), page_checksum_verification=True)
    metadata = json.loads((file.schema_arrow.metadata or {})[METADATA_KEY])
    if metadata["format_version"] != FORMAT_VERSION:
        raise BatchFileError(
            f"has format version {metadata['format_version']}, this version of synthenticity "
            f"reads {FORMAT_VERSION}. Make the data again."
        )
    if metadata.pop("checksum") != _metadata_checksum(metadata):
        raise BatchFileError(
            "its identity is not what was written. Remove the file; the provider makes it again."
        )
    digests: dict[str, str] = metadata.pop("digests")
    identity = Identity(**metadata)
    if expected is not None and identity != expected:
        raise BatchFileError(_identity_difference(identity, expected))
    # In this thread alone: a process that ends soon after reading would be aborted by Arrow's.
    table = file.read(columns=None if columns is None else list(columns), use_threads=False)
    values = {name: _to_numpy(table.column(name)) for name in table.column_names}
    if columns is None and set(values) != set(digests):
        raise BatchFileError(f"has the columns {sorted(values)}, written were {sorted(digests)}.")
    for name in columns if columns is not None else digests:
        if name not in values or _column_digest(values[name]) != digests[name]:
            raise BatchFileError(
                f"column {name} is not what was written. Remove the file; the provider makes it "
                "again."
            )
    return BatchFile(identity, values)


def _identity_difference(found: Identity, expected: Identity) -> str:
    differing = [
        f"{key} is {value!r}, expected {asdict(expected)[key]!r}"
        for key, value in asdict(found).items()
        if value != asdict(expected)[key]
    ]
    return f"is another file than its name and place say: {'; '.join(differing)}."


def _to_numpy(column: pa.ChunkedArray) -> NDArray[Any]:
    combined = column.combine_chunks()
    if pa.types.is_fixed_size_list(combined.type):
        width = combined.type.list_size
        return np.asarray(combined.flatten().to_numpy(zero_copy_only=False)).reshape(-1, width)
    if pa.types.is_string(combined.type):
        return np.array(combined.to_pylist(), dtype=STRINGS)
    return np.asarray(combined.to_numpy(zero_copy_only=False))
