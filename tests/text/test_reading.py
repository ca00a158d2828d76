"""Reading: every format gives the same documents, every mistake its place, nothing is lost."""

import bz2
import gzip
import io
import json
import lzma
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synthenticity.errors import CorpusError, MissingExtraError
from synthenticity.text.reading import CorpusSource, Document, Rejected, read_documents

ROWS = [
    {"text": 'a, "b"\nc\r\nd', "name": "one", "by": "x", "kind": 1, "keep": [[0, 1], [3, 6]]},
    {"text": "\u0394\U0001f642", "name": "two", "by": None, "kind": 2, "keep": []},
    {"text": " plain ", "name": "three", "by": "x", "kind": 1, "keep": None},
]
COLUMNS = {
    "id_column": "name",
    "group_column": "by",
    "domain_column": "kind",
    "protect_column": "keep",
}
EXPECTED = [
    Document("one", 'a, "b"\nc\r\nd', "x", "1", ((0, 1), (3, 6))),
    Document("two", "\u0394\U0001f642", None, "2"),
    Document("three", " plain ", "x", "1"),
]


def read(source: object, **more: Any) -> tuple[list[Document], list[Rejected]]:
    rejected: list[Rejected] = []
    settings = CorpusSource(source=str(source), **more)
    return list(read_documents(settings, on_rejected=rejected.append)), rejected


def good(source: object, **more: Any) -> list[Document]:
    documents, rejected = read(source, **more)
    assert rejected == []
    return documents


def complaint(source: object, **more: Any) -> str:
    with pytest.raises(CorpusError) as caught:
        read(source, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def as_csv(rows: list[dict[str, Any]], separator: str = ",") -> bytes:
    import csv

    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]), delimiter=separator)
    writer.writeheader()
    for row in rows:
        writer.writerow({**row, "keep": json.dumps(row["keep"])} if "keep" in row else row)
    return out.getvalue().encode()


def as_lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out, row_group_size=2)
    return out.getvalue()


def as_arrow(rows: list[dict[str, Any]], new: Callable[..., Any] = pa.ipc.new_file) -> bytes:
    table, out = pa.Table.from_pylist(rows), io.BytesIO()
    with new(out, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return out.getvalue()


def as_stream(rows: list[dict[str, Any]]) -> bytes:
    return as_arrow(rows, pa.ipc.new_stream)


TABLES: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "a.csv": as_csv,
    "a.tsv": lambda rows: as_csv(rows, "\t"),
    "a.jsonl": as_lines,
    "a.ndjson": lambda rows: b"\xef\xbb\xbf" + as_lines(rows).replace(b"\n", b"\n\n"),
    "a.json": lambda rows: json.dumps(rows, indent=1).encode(),
    "b.json": as_lines,
    "a.parquet": as_parquet,
    "a.arrow": as_arrow,
    "a.feather": as_arrow,
    "b.arrow": as_stream,
}
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: pa.Codec("zstd").compress(data, asbytes=True),
}


@pytest.mark.parametrize("name", TABLES)
def test_every_table_gives_the_same_documents(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(TABLES[name](ROWS))
    assert good(tmp_path / name, **COLUMNS) == EXPECTED


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json", "b.arrow"])
def test_compressed_tables_are_read_as_others(name: str, packer: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}{packer}"
    path.write_bytes(PACKERS[packer](TABLES[name](ROWS)))
    assert good(path, **COLUMNS) == EXPECTED


@pytest.mark.parametrize("packer", ["", *PACKERS])
def test_a_text_file_is_a_document_and_keeps_every_character(packer: str, tmp_path: Path) -> None:
    text = "a\r\nb\tc\u2028\u00e9\U0001f3ad\n\n"
    path = tmp_path / f"x.md{packer}"
    data = b"\xef\xbb\xbf" + text.encode()
    path.write_bytes(PACKERS[packer](data) if packer else data)
    assert good(path) == [Document(path.name, text)]


def test_rows_without_an_id_are_named_by_file_and_line_or_row(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a.csv", "a.jsonl", "a.json", "a.parquet"):
        (tmp_path / "sub" / name).write_bytes(TABLES[name](ROWS))
    names = [document.id for document in good(tmp_path)]
    assert names == [
        *(f"sub/a.csv:{line}" for line in (2, 5, 6)),
        *(f"sub/a.json:{line}" for line in (2, 18, 25)),
        *(f"sub/a.jsonl:{line}" for line in (1, 2, 3)),
        *(f"sub/a.parquet:{row}" for row in (1, 2, 3)),
    ]


def test_folders_are_read_in_depth_and_globs_by_their_pattern(tmp_path: Path) -> None:
    for name in ("b.txt", "deep/er/a.text", "deep/c.jsonl", ".hidden.txt", ".git/x.txt", "p.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(as_lines([{"text": name}]) if "jsonl" in name else name.encode())
    assert [d.id for d in good(tmp_path)] == ["b.txt", "deep/c.jsonl:1", "deep/er/a.text"]
    assert [d.id for d in good(tmp_path / "**" / "*.t*")] == ["b.txt", "deep/er/a.text"]
    assert [d.id for d in good(tmp_path / "deep" / "*.jsonl")] == ["c.jsonl:1"]
    assert [d.text for d in good(tmp_path / "p.png")] == ["p.png"]  # named itself: text


@pytest.mark.parametrize(
    ("per", "expected"),
    [
        ("file", [("t.txt", "a\r\nb \n\n\n  \nc\n")]),
        ("line", [("t.txt:1", "a"), ("t.txt:2", "b "), ("t.txt:6", "c")]),
        ("paragraph", [("t.txt:1", "a\r\nb "), ("t.txt:6", "c")]),
    ],
)
def test_plain_text_is_cut_into_documents_as_asked(
    per: str, expected: list[tuple[str, str]], tmp_path: Path
) -> None:
    (tmp_path / "t.txt").write_bytes(b"a\r\nb \n\n\n  \nc\n")
    found = good(tmp_path, document_per=per)
    assert [(document.id, document.text) for document in found] == expected


def test_files_larger_than_a_block_come_whole(tmp_path: Path) -> None:
    choose = random.Random(0)
    texts = ["".join(choose.choices('ab\n\u0394\U0001f642"\\,', k=300_000)) for _ in range(9)]
    rows = [{"text": text} for text in texts]
    for name in ("a.csv", "a.jsonl", "a.json", "a.parquet", "a.arrow"):
        (tmp_path / name).write_bytes(TABLES[name](rows))
        assert [document.text for document in good(tmp_path / name)] == texts
    (tmp_path / "t.txt").write_bytes("".join(texts).encode())
    assert [document.text for document in good(tmp_path / "t.txt")] == ["".join(texts)]


def feed(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), "latin-1"))


def test_standard_input_is_text_or_json_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    feed(monkeypatch, "to be \u0394\n".encode())
    assert good("-") == [Document("stdin", "to be \u0394\n")]
    feed(monkeypatch, as_lines(ROWS))
    assert good("-", **COLUMNS) == EXPECTED
    feed(monkeypatch, as_lines(ROWS))
    assert [document.id for document in good("-")] == ["stdin:1", "stdin:2", "stdin:3"]
    feed(monkeypatch, b"abc\xff")
    assert "standard input: byte 0xff at offset 3" in complaint("-")
    feed(monkeypatch, as_lines([ROWS[0], ROWS[0]]))
    assert "two documents have one id in 'name'" in complaint("-", **COLUMNS)


def test_data_sets_saved_to_disk_are_read_without_their_other_files(tmp_path: Path) -> None:
    import datasets

    one = datasets.Dataset.from_list(ROWS)
    one.save_to_disk(str(tmp_path / "one"), num_shards=2)
    (tmp_path / "one" / "cache-1.arrow").write_bytes(as_stream(ROWS))
    assert good(tmp_path / "one", **COLUMNS) == EXPECTED
    datasets.DatasetDict({"train": one, "test": one}).save_to_disk(str(tmp_path / "both"))
    names = [document.id for document in good(tmp_path / "both")]
    assert names == [
        f"{split}/data-00000-of-00001.arrow:{n}" for split in ("test", "train") for n in (1, 2, 3)
    ]


def test_data_sets_of_the_hub_are_streamed(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(as_lines(ROWS))
    (tmp_path / "test.jsonl").write_bytes(as_lines(ROWS[1:]))
    assert good(f"hf:{tmp_path}", **COLUMNS) == EXPECTED
    assert good(f"hf:{tmp_path}:test", **COLUMNS) == EXPECTED[1:]
    assert good(f"hf:{tmp_path}:default:test", **COLUMNS) == EXPECTED[1:]
    assert [d.id for d in good(f"hf:{tmp_path}:test")] == [
        f"{tmp_path}:test:1",
        f"{tmp_path}:test:2",
    ]
    said = complaint(f"hf:{tmp_path}", text_column="txt")
    assert "has no column 'txt'" in said and "Did you mean text?" in said
    assert "cannot be read as a data set" in complaint(f"hf:{tmp_path}:valid")
    assert "cannot be read as a data set" in complaint("hf:nobody/nothing")
    assert "Write hf:NAME" in complaint("hf:a:b:c:d")


def test_without_datasets_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"synthenticity\[hub\]"):
        read("hf:some/thing")


@pytest.mark.parametrize("name", TABLES)
def test_a_missing_column_is_named_with_those_there(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(TABLES[name](ROWS))
    said = complaint(tmp_path / name, id_column="nmae")
    assert f"{tmp_path / name}: has no column 'nmae'" in said
    assert "'text', 'name', 'by', 'kind', 'keep'. Did you mean name?" in said


def test_a_column_that_only_some_json_objects_have_is_no_mistake(tmp_path: Path) -> None:
    rows = [{"text": "a"}] * 5 + [{"text": "b", "by": "x"}] + [{"body": "c"}]
    (tmp_path / "a.jsonl").write_bytes(as_lines(rows))
    documents, rejected = read(tmp_path / "a.jsonl", group_column="by")
    assert [document.group for document in documents] == [None] * 5 + ["x"]
    assert [(r.id, r.reason) for r in rejected] == [("a.jsonl:7", "its text is null, not text")]
    (tmp_path / "a.jsonl").write_bytes(as_lines([{"text": "a"}] * 300))
    assert "has no column 'by'" in complaint(tmp_path / "a.jsonl", group_column="by")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b'{"text": "a"}\n{"text": }\n', "a.jsonl: line 2 is broken JSON"),
        ("a.jsonl", b'{"text": "a"}\n["b"]\n', 'line 2 holds ["b"], not an object'),
        ("a.json", b'[{"text": "a"},\n{"text" "b"}]', "a.json: line 2 is broken JSON"),
        ("a.csv", b'text,x\n"a\nb",1\nc\n', "a.csv: line 4 has 1 fields, the head 2"),
        ("a.csv", b'text,x\na,1\n"b,2\nc,3\n', "a.csv: line 3 begins a broken CSV row"),
        ("a.csv", b'text,"x\ny"\na,1\nb\n', "a.csv: line 4 has 1 fields, the head 2"),
        ("a.csv", b'"x\ny",text\nb\n', "a.csv: line 3 has 1 fields, the head 2"),
        ("a.csv", b'text\n"a"b\n', "line 2 begins a broken CSV row"),
        ("a.csv", b"", "has no column 'text', its columns are none"),
        ("a.csv", b"text\nab\xffc\n", "a.csv: byte 0xff at offset 7 is not UTF-8"),
        ("a.jsonl", b'{"text": "\xc3"}', "a.jsonl: byte 0xc3 at offset 10 is not UTF-8"),
        ("a.txt", b"x" * 2**20 + b"\xe2\x82", "byte 0xe2 at offset 1048576 is not UTF-8"),
        ("a.txt", b"x" * (2**20 - 1) + b"\xe2\x82\xac\xff", "0xff at offset 1048578 is"),
        ("a.parquet", b"PAR1 nonsense PAR1", "a.parquet: cannot be read as Parquet"),
        ("a.arrow", b"ARROW1 nonsense", "a.arrow: cannot be read as an Arrow file"),
        ("a.arrow", b"", "a.arrow: cannot be read as an Arrow file"),
        ("a.parquet.gz", b"", "Decompress the file first"),
    ],
)
def test_broken_files_are_refused_with_their_place(
    name: str, content: bytes, words: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    assert words in complaint(tmp_path / name)


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_damaged_and_cut_tables_are_refused(name: str, tmp_path: Path) -> None:
    content = TABLES[name]([{"text": f"{n} " * 999} for n in range(500)])
    for damaged in (content[: len(content) // 2], b"\0" * 500 + content[500:], content[:-1]):
        (tmp_path / name).write_bytes(damaged)
        assert f"{name}: cannot be read as" in complaint(tmp_path / name)


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("name", ["a.jsonl", "b.arrow", "t.txt"])
def test_cut_and_damaged_compressed_files_are_refused(
    name: str, packer: str, tmp_path: Path
) -> None:
    content = TABLES.get(name, as_lines)([{"text": f"{n} " * 99} for n in range(5000)])
    path = tmp_path / f"{name}{packer}"
    whole = PACKERS[packer](content)
    for damaged in (whole[: len(whole) // 2], whole[:-9], b"nonsense" * 9):
        path.write_bytes(damaged)
        assert path.name in complaint(path)


def test_nothing_there_is_said(tmp_path: Path) -> None:
    assert f"{tmp_path / 'none'} does not exist" in complaint(tmp_path / "none")
    assert "holds no .txt" in complaint(tmp_path)
    assert "holds no .txt" in complaint(tmp_path / "*.txt")


def test_two_documents_of_one_id_are_refused_with_both_places(tmp_path: Path) -> None:
    many = [{"text": "x", "name": str(n)} for n in range(3000)]
    (tmp_path / "a.jsonl").write_bytes(as_lines(many))
    (tmp_path / "b.csv").write_bytes(
        as_csv([{"text": "x", "name": "x"}, {"text": "y", "name": 17}])
    )
    said = complaint(tmp_path, id_column="name")
    assert f"{tmp_path / 'b.csv'}:3: has the id '17', and so has {tmp_path / 'a.jsonl'}:18" in said


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": None}, "its text is null, not text"),
        ({"text": 3}, "its text is of the type int, not text"),
        ({"text": ["a"]}, "its text is of the type list, not text"),
        ({"text": ""}, "is empty"),
        ({"text": " \n\u2003"}, "is empty"),
        ({"text": "a\ud800b"}, "holds a lone surrogate (\\ud800)"),
        ({"text": "ab", "keep": [[0, 3]]}, "has a protected span [0, 3] outside its 2 characters"),
        (
            {"text": "ab", "keep": [[-1, 1]]},
            "has a protected span [-1, 1] outside its 2 characters",
        ),
        ({"text": "ab", "keep": [[2, 1]]}, "has a reversed protected span [2, 1]"),
        ({"text": "ab", "keep": [[1]]}, "its keep holds [1], not a pair of whole numbers"),
        (
            {"text": "ab", "keep": [[0, 1.5]]},
            "its keep holds [0, 1.5], not a pair of whole numbers",
        ),
        ({"text": "ab", "keep": "x"}, "its keep holds 'x', not spans as JSON"),
        ({"text": "ab", "keep": 7}, "its keep holds 7, not a pair of whole numbers"),
        ({"text": "ab", "name": None}, "its name is empty"),
        ({"text": "ab", "name": "\udfff"}, "holds a lone surrogate (\\udfff)"),
    ],
)
def test_a_document_that_cannot_be_used_is_rejected_and_reading_goes_on(
    row: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    rows = [
        {"text": "a", "name": "a", "keep": []},
        {"name": "b", **row},
        {"text": "c", "name": "c"},
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    documents, rejected = read(path, id_column="name", protect_column="keep")
    assert [document.id for document in documents] == ["a", "c"]
    (only,) = rejected
    assert (only.where, only.reason) == (f"{path}:2", reason)


def test_empty_files_and_cells_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b" \n")
    (tmp_path / "b.csv").write_bytes(b"text,x\n,1\ngood,2\n\n")
    documents, rejected = read(tmp_path)
    assert [document.text for document in documents] == ["good"]
    assert [(r.id, r.reason) for r in rejected] == [("a.txt", "is empty"), ("b.csv:2", "is empty")]


@pytest.mark.parametrize(
    "kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
)
def test_every_arrow_type_of_text_is_text(kind: pa.DataType, tmp_path: Path) -> None:
    table = pa.table({"text": pa.array(["a", "b", None], pa.string()).cast(kind)})
    with pa.ipc.new_file(str(tmp_path / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    documents, rejected = read(tmp_path)
    assert [document.text for document in documents] == ["a", "b"] and len(rejected) == 1


def test_spans_may_be_objects_and_groups_numbers(tmp_path: Path) -> None:
    rows = [
        {"text": "abc", "keep": [{"start": 0, "end": 2}], "by": 7, "kind": True},
        {"text": "abc", "keep": [], "by": 1.5, "kind": ""},
    ]
    (tmp_path / "a.parquet").write_bytes(
        as_parquet([{**row, "kind": str(row["kind"]), "by": float(row["by"])} for row in rows])
    )
    (tmp_path / "b.jsonl").write_bytes(as_lines(rows))
    columns = {"protect_column": "keep", "group_column": "by", "domain_column": "kind"}
    found = [(d.protected, d.group, d.domain) for d in good(tmp_path, **columns)]
    assert found == [
        (((0, 2),), "7.0", "True"),
        ((), "1.5", None),
        (((0, 2),), "7", "True"),
        ((), "1.5", None),
    ]
