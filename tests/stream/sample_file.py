"""A batch file of two rows with a column of every kind, and the bytes to damage it in."""

from pathlib import Path

import numpy as np

from synthenticity.stream.batch_file import (
    BatchSchema,
    Column,
    Columns,
    Identity,
    encode_batch_file,
)

SCHEMA = BatchSchema(
    (
        Column("ids", "int64", (3,), "input", "uint16"),
        Column("labels", "int64", (3,), "target", "int8"),
        Column("ratio", "float32", (), "info", "float32"),
        Column("place", "int64", (), "info", "uint32"),
        Column("name", "str", (), "info", "str"),
    )
)
IDENTITY = Identity("f" * 32, "train", 7)


def columns() -> Columns:
    return {
        "ids": np.array([[1, 2, 65535], [4, 5, 6]]),
        "labels": np.array([[-100, 0, 2], [1, 1, 3]]),
        "ratio": np.array([0.25, np.float32(1 / 3)]),
        "place": np.array([0, 2**32 - 1]),
        "name": np.array(["hamlet", "ö\u2028\U0001f3ad"]),
    }


def encoded(**changes: np.ndarray) -> bytes:
    return encode_batch_file({**columns(), **changes}, SCHEMA, IDENTITY)


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def equal(left: Columns, right: Columns) -> bool:
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype and np.array_equal(left[name], right[name])
        for name in left
    )
