"""A batch file is read as what was written, or not at all."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sample_file import IDENTITY, SCHEMA, columns, encoded, equal, written

from synthenticity.errors import BatchFileError
from synthenticity.stream import batch_file
from synthenticity.stream.batch_file import (
    STRINGS,
    BatchSchema,
    Column,
    Identity,
    encode_batch_file,
    narrowest_ids,
    read_batch_file,
)


def test_every_stored_type_comes_back_as_it_was(tmp_path: Path) -> None:
    found = read_batch_file(written(tmp_path / "a", encoded()), IDENTITY)
    stored = {c.name: STRINGS if c.stored == "str" else c.stored for c in SCHEMA.columns}
    expected = {name: columns()[name].astype(dtype) for name, dtype in stored.items()}
    assert equal(found.columns, expected)
    assert found.identity == IDENTITY
    assert len(found) == 2
    assert found.columns["ids"].dtype == np.uint16


def test_text_keeps_its_last_characters(tmp_path: Path) -> None:
    texts = ["a\x00", "", "\x00\x00", "b\n"]
    column = Column("text", "str", (), "info", "str")
    data = {"text": np.array(texts, dtype=STRINGS)}
    raw = encode_batch_file(data, BatchSchema((column,)), IDENTITY)
    assert read_batch_file(written(tmp_path / "a", raw)).columns["text"].tolist() == texts


def test_the_same_columns_give_the_same_bytes() -> None:
    assert encoded() == encoded()
    assert encoded() != encoded(place=np.array([0, 1]))


def test_the_narrowest_type_holds_every_id() -> None:
    assert [narrowest_ids(size) for size in (2, 65_536, 65_537)] == ["uint16", "uint16", "uint32"]


@pytest.mark.parametrize(
    "content",
    [b"", b"PAR1", b"\x00" * 5000, encoded() + b"more", encoded()[:-8] + b"\x00" * 8],
    ids=["empty", "magic", "zeros", "extended", "zeroed end"],
)
def test_what_is_no_batch_file_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(BatchFileError, match="bad"):
        read_batch_file(written(tmp_path / "bad", content), IDENTITY)


@pytest.mark.parametrize(
    "other",
    [Identity("e" * 32, "train", 7), Identity("f" * 32, "val", 7), Identity("f" * 32, "train", 8)],
)
def test_another_file_under_this_name_is_refused(other: Identity, tmp_path: Path) -> None:
    path = written(tmp_path / "x", encode_batch_file(columns(), SCHEMA, other))
    with pytest.raises(BatchFileError, match="another file than its name"):
        read_batch_file(path, IDENTITY)
    assert read_batch_file(path).identity == other


def test_an_unknown_format_version_is_refused_naming_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = Identity("f" * 32, "train", 7, format_version=3)
    path = written(tmp_path / "x", encode_batch_file(columns(), SCHEMA, newer))
    with pytest.raises(BatchFileError, match=r"version 3.*reads 2"):
        read_batch_file(path)
    monkeypatch.setattr(batch_file, "FORMAT_VERSION", 3)
    assert len(read_batch_file(path, newer)) == 2


def test_a_foreign_parquet_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "foreign.parquet"
    pq.write_table(pa.table({"ids": [1, 2]}), path)
    with pytest.raises(BatchFileError, match="not a batch file"):
        read_batch_file(path)


def test_a_column_whose_values_were_rewritten_is_refused(tmp_path: Path) -> None:
    """Checksums alone would not see it: the pages are whole, the digest is another's."""
    table = pq.read_table(pa.BufferReader(encoded()))
    place = table.schema.get_field_index("ratio")
    forged = table.set_column(place, table.schema.field(place), pa.array([0.5, 0.5], pa.float32()))
    path = tmp_path / "forged"
    pq.write_table(forged, path, write_page_checksum=True)
    with pytest.raises(BatchFileError, match="column ratio is not what was written"):
        read_batch_file(path, IDENTITY)


def test_chosen_columns_are_read_and_verified_alone(tmp_path: Path) -> None:
    path = written(tmp_path / "x", encoded())
    assert set(read_batch_file(path, columns=["ratio", "ids"]).columns) == {"ratio", "ids"}
    with pytest.raises(BatchFileError):
        read_batch_file(path, columns=["nothing"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ids": np.array([[1, 2], [3, 4]])}, "rows of shape"),
        ({"ids": np.array([[1, 2, 65536], [3, 4, 5]])}, "holds 1 to 65536"),
        ({"labels": np.array([[0, 0, -129], [0, 0, 0]])}, "int8 -128 to 127"),
        ({"ratio": np.zeros(3)}, "different lengths"),
        ({"more": np.zeros(2)}, "has the columns"),
    ],
)
def test_columns_against_the_schema_are_refused(changes: dict[str, np.ndarray], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        encoded(**changes)


def test_the_schema_survives_json() -> None:
    assert BatchSchema.from_json(json.loads(json.dumps(SCHEMA.to_json()))) == SCHEMA
