"""The data set folder: others open it, its splits are stable, its card says what is true."""

import dataclasses
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from synthenticity.config import Config
from synthenticity.config_file import load_config
from synthenticity.records.dataset_folder import split_of
from synthenticity.records.run import fill_corpus


def rows_of(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


@pytest.fixture(scope="session")
def folder(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("set") / "notes-filled"
    fill_corpus(config, out, licence="cc0-1.0")
    return out


def all_rows(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted((folder / "data").iterdir()) for row in rows_of(path)]


def test_datasets_opens_the_folder_with_splits_and_features(folder: Path, tmp_path: Path) -> None:
    import datasets

    found = datasets.load_dataset(str(folder), cache_dir=str(tmp_path))
    assert set(found) == {"train", "validation", "test"}
    assert sum(len(split) for split in found.values()) == 600
    features = found["train"].features
    assert features["synthenticity"].dtype == "float32"
    assert features["token_labels"].feature.dtype == "int8"
    assert set(features["spans"].feature) == {"start", "end", "label", "original"}
    assert found["test"][0] in all_rows(folder)


def test_pandas_polars_and_duckdb_open_the_files(folder: Path) -> None:
    import duckdb
    import pandas as pd
    import polars as pl

    path = folder / "data" / "train-00000.parquet"
    rows = rows_of(path)
    assert pd.read_parquet(path)["text"].tolist() == [row["text"] for row in rows]
    assert pl.read_parquet(path)["token_labels"].to_list() == [row["token_labels"] for row in rows]
    query = f"select id, spans[1].start from '{path}' where synthenticity > 0.3"
    wanted = [row for row in rows if row["synthenticity"] > 0.3]
    assert duckdb.sql(query).fetchall() == [(row["id"], row["spans"][0]["start"]) for row in wanted]


def test_the_folder_holds_the_records_of_a_single_file(
    folder: Path,
    whole: Path,
) -> None:
    assert sorted(all_rows(folder), key=lambda row: str(row["id"])) == sorted(
        rows_of(whole), key=lambda row: str(row["id"])
    )


def test_the_settings_beside_it_make_it_again(folder: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    fill_corpus(load_config(folder / "config.toml"), again, batch_size=3)
    assert all_rows(again) == all_rows(folder)


def test_copies_and_groups_stay_in_one_split(config: Config, tmp_path: Path) -> None:
    out = tmp_path / "set"
    fill_corpus(config, out, copies=2)
    places: dict[str, set[str]] = {}
    for path in (out / "data").iterdir():
        for row in rows_of(path):
            places.setdefault(row["id"], set()).add(path.name.partition("-")[0])
    assert all(len(found) == 1 for found in places.values())


def test_splits_have_their_shares_and_do_not_move() -> None:
    shares = {"train": 0.8, "test": 0.2}
    found = [split_of(f"d{n}", 1, shares) for n in range(2000)]
    assert found.count("test") == pytest.approx(400, abs=60)
    assert found[:5] == [split_of(f"d{n}", 1, shares) for n in range(5)]


def test_the_card_says_what_is_in_the_files(folder: Path, config: Config) -> None:
    from huggingface_hub import DatasetCard

    card = DatasetCard.load(folder / "README.md")
    assert card.data.license == "cc0-1.0"
    text = card.text
    for split in ("train", "validation", "test"):
        count = pq.read_metadata(folder / "data" / f"{split}-00000.parquet").num_rows
        assert f"- {split}: {count} records" in text
    rows = all_rows(folder)
    filled = sum(label in (1, 2) for row in rows for label in row["token_labels"])
    assert f"- {filled:,} filled tokens" in text
    assert "- 3 documents could not be used" in text
    assert f"- seed {config.seed}," in text
    assert f"| {rows[0]['recipe']} | 600 |" in text
    assert "A trivial classifier cannot see" in text
    assert (folder / "rejected.jsonl").read_text(encoding="utf-8").count("\n") == 3


def test_a_stopped_run_leaves_no_folder(config: Config, tmp_path: Path) -> None:
    out = tmp_path / "set"

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill_corpus(dataclasses.replace(config, seed=9), out, on_progress=stop)
    assert not out.exists()


def test_records_of_test_domains_are_in_test_only(config: Config, tmp_path: Path) -> None:
    import json

    corpus = tmp_path / "in.jsonl"
    rows = [
        {"id": f"d{n}", "text": "The keeper rowed.", "kind": "law" if n % 4 == 0 else "news"}
        for n in range(200)
    ]
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    changes = {"corpus": str(corpus), "domain_column": "kind", "test_domains": ("law",)}
    fill_corpus(dataclasses.replace(config, **changes), tmp_path / "set")
    domains: dict[str, set[str]] = {}
    for path in (tmp_path / "set" / "data").iterdir():
        split = path.name.partition("-")[0]
        domains.setdefault(split, set()).update(row["domain"] for row in rows_of(path))
    assert domains["train"] == {"news"}
    assert domains["test"] == {"news", "law"}
