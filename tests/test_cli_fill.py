"""The command `fill`: what a person types, sees and gets wrong."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synthenticity import cli

TEXT = "The keeper counted the ships before breakfast."


@pytest.fixture
def model(family: Callable[[str], Path]) -> Path:
    return family("roberta")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fill(*arguments: object) -> int:
    return cli.run(["fill", *map(str, arguments)])


def lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_file_becomes_records_and_a_summary(
    here: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = lines(here / "in.jsonl", {"text": TEXT}, {"text": 5})
    assert (
        fill(corpus, "--model", model, "--ratio", 0.5, "--out", "out.jsonl", "--json") == cli.GOOD
    )
    summary = json.loads(capsys.readouterr().out)
    (record,) = map(json.loads, (here / "out.jsonl").read_text(encoding="utf-8").splitlines())
    assert summary["records"] == summary["rejected"] == 1
    assert summary["filled_tokens"] == len(record["ranks"])
    assert record["original"] == TEXT
    assert 0.3 < record["synthenticity"] < 0.7
    (rejected,) = (here / "out.jsonl.rejected.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(rejected)["where"] == f"{corpus}:2"


def test_what_could_not_be_used_is_said(
    here: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = lines(here / "in.jsonl", {"text": TEXT}, {"text": 5})
    assert fill(corpus, "--model", model, "--out", "out") == cli.GOOD
    shown = capsys.readouterr().out
    assert "not usable" in shown
    assert "of the type int" in shown


def test_explore_shows_coloured_documents_and_writes_nothing(
    here: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = lines(here / "in.jsonl", *[{"text": TEXT}] * 5)
    assert fill(corpus, "--model", model, "--explore", 2) == cli.GOOD
    shown = capsys.readouterr().out
    assert shown.count("synthenticity=") == 2
    assert "replaced" in shown
    assert [path.name for path in here.iterdir()] == ["in.jsonl"]
    assert fill(corpus, "--model", model, "--explore", 2, "--json") == cli.GOOD
    assert len(json.loads(capsys.readouterr().out)) == 2


@pytest.mark.parametrize("place", [0, 2])
def test_standard_input_is_read(
    here: Path, model: Path, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    class Piped:
        buffer = io.BytesIO(TEXT.encode())

    monkeypatch.setattr(sys, "stdin", Piped)
    command: list[object] = ["--model", model, "--out", "out.jsonl"]
    command.insert(place, "-")
    assert fill(*command) == cli.GOOD
    assert TEXT in (here / "out.jsonl").read_text(encoding="utf-8")


def test_the_corpus_may_be_named_in_the_config(
    here: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines(here / "in.jsonl", {"text": TEXT})
    (here / "fill.toml").write_text('corpus = "in.jsonl"\n', encoding="utf-8")
    assert fill("--config", "fill.toml", "--model", model, "--out", "a.jsonl") == cli.GOOD
    assert fill("--corpus", "in.jsonl", "--model", model, "--out", "b.jsonl") == cli.GOOD
    assert (here / "a.jsonl").read_bytes() == (here / "b.jsonl").read_bytes()
    assert fill("--model", model, "--out", "c.jsonl") == cli.USER_ERROR
    assert "no texts are given" in capsys.readouterr().err


def test_settings_come_from_a_file_and_options(here: Path, model: Path) -> None:
    config = here / "fill.toml"
    config.write_text(
        f'mlm_checkpoint_path = "{model}"\npattern = "suffix"\nseed = 3\n', encoding="utf-8"
    )
    corpus = lines(here / "in.jsonl", {"body": TEXT})
    command = [corpus, "--config", config, "--text_column", "body", "--ratio", "0.3"]
    assert fill(*command, "--seed", 4, "--out", "out.jsonl") == cli.GOOD
    (record,) = map(json.loads, (here / "out.jsonl").read_text(encoding="utf-8").splitlines())
    assert record["recipe"] == "suffix 0.3 t1"
    labels = record["token_labels"]
    assert labels == sorted(labels, key=bool)


WRONG: list[tuple[str, list[Any], list[str], str]] = [
    ("a missing column", [{"body": TEXT}], [], "has no column 'text', its columns are 'body'"),
    ("a broken line", ["{"], [], "in.jsonl: line 1 is broken JSON"),
    (
        "two documents of one id",
        [{"id": "a", "text": TEXT}, {"id": "a", "text": TEXT}],
        ["--id_column", "id"],
        "has the id 'a', and so has",
    ),
    ("nothing that can be used", [{"text": ""}], [], "nothing in it can be used"),
    ("no share", [{"text": TEXT}], ["--ratio", "most"], "--ratio: most is not a share"),
    ("a share above 1", [{"text": TEXT}], ["--ratio", "3"], "--ratio: 3 is not a share"),
    ("an unknown setting", [{"text": TEXT}], ["--patern", "span"], "Did you mean pattern?"),
    ("a setting of pools", [{"text": TEXT}], ["--split_by", "balanced"], "has no effect on fill"),
    ("no worker", [{"text": TEXT}], ["--workers", "0"], "workers: 0 is not at least 1"),
    ("an unknown ending", [{"text": TEXT}], ["--out", "out.csv"], "out.csv ends in .csv"),
]


@pytest.mark.parametrize("case", WRONG, ids=[case[0] for case in WRONG])
def test_mistakes_are_one_line_and_leave_nothing(
    here: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    case: tuple[str, list[Any], list[str], str],
) -> None:
    _, rows, options, words = case
    corpus = here / "in.jsonl"
    texts = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    corpus.write_text("\n".join(texts) + "\n", encoding="utf-8")
    out = [] if "--out" in options else ["--out", "out.parquet"]
    assert fill(corpus, "--model", model, *out, *options) == cli.USER_ERROR
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
    assert [path.name for path in here.iterdir()] == ["in.jsonl"]


def test_a_mended_corpus_is_filled_by_the_same_command(here: Path, model: Path) -> None:
    corpus = here / "in.jsonl"
    corpus.write_text('{"text": "a', encoding="utf-8")
    assert fill(corpus, "--model", model, "--out", "out.jsonl") == cli.USER_ERROR
    lines(corpus, {"text": TEXT})
    assert fill(corpus, "--model", model, "--out", "out.jsonl") == cli.GOOD


@pytest.mark.parametrize("options", [[], ["--out", "o.jsonl", "--explore", "1"]])
def test_records_or_a_look_must_be_asked_for(
    here: Path, model: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    corpus = lines(here / "in.jsonl", {"text": TEXT})
    assert fill(corpus, "--model", model, *options) == cli.USER_ERROR
    assert "--explore N" in capsys.readouterr().err


def test_a_model_that_is_not_there_is_said_to_be_so(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = lines(here / "in.jsonl", {"text": TEXT})
    assert fill(corpus, "--model", "./none", "--out", "out") == cli.USER_ERROR
    assert "./none: is not a model checkpoint" in capsys.readouterr().err
    assert fill(corpus, "--out", "out") == cli.USER_ERROR
    assert "mlm_checkpoint_path: not set" in capsys.readouterr().err
