"""A batch file is read as what was written, or not at all."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synthenticity.errors import BatchFileError
from synthenticity.stream import batch_file
from synthenticity.stream.batch_file import (
    STRINGS,
    BatchSchema,
    Column,
    Columns,
    Identity,
    encode_batch_file,
    narrowest_ids,
    read_batch_file,
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


def verdicts(tmp_path: Path, damaged: list[bytes]) -> list[str]:
    """Read each damaged file: `refused`, `harmless` (as written), or `silent` (other data)."""
    truth = read_batch_file(written(tmp_path / "good", encoded()), IDENTITY).columns
    found = []
    for content in damaged:
        try:
            data = read_batch_file(written(tmp_path / "bad", content), IDENTITY).columns
            found.append("harmless" if equal(data, truth) else "silent")
        except BatchFileError:
            found.append("refused")
    return found


def test_no_flipped_bit_is_read_as_other_data(tmp_path: Path) -> None:
    good = encoded()
    flipped = [
        good[:place] + bytes([good[place] ^ (1 << bit)]) + good[place + 1 :]
        for place in range(len(good))
        for bit in range(8)
    ]
    found = verdicts(tmp_path, flipped)
    assert "silent" not in found
    assert found.count("refused") > len(flipped) / 2


def test_no_cut_is_read_as_data(tmp_path: Path) -> None:
    good = encoded()
    found = verdicts(tmp_path, [good[:length] for length in range(len(good))])
    assert set(found) == {"refused"}


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
    newer = Identity("f" * 32, "train", 7, format_version=2)
    path = written(tmp_path / "x", encode_batch_file(columns(), SCHEMA, newer))
    with pytest.raises(BatchFileError, match=r"version 2.*reads 1"):
        read_batch_file(path)
    monkeypatch.setattr(batch_file, "FORMAT_VERSION", 2)
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
