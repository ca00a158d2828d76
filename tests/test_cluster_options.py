"""`--ray` without Ray: it is said before anything is read, loaded or written."""

import sys
from pathlib import Path

import pytest

from synthenticity import cli

PREPARE = ["prepare", "c.toml", "--out_dir", "out", "--files", "1"]
FILL = ["fill", "no_corpus", "--model", "no_model", "--out", "out.parquet"]
SCORE = ["score", "no_scorer", "no_corpus", "--out", "out.csv"]


@pytest.mark.parametrize("command", [PREPARE, FILL, SCORE], ids=lambda words: words[0])
def test_a_missing_extra_is_said_first(
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "ray", None)
    (tmp_path / "c.toml").write_text('corpus = "no_corpus"\n', encoding="utf-8")
    assert cli.run([*command, "--ray", "--device", "cpu"]) == cli.USER_ERROR
    assert 'pip install "synthenticity[ray]"' in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["c.toml"]


@pytest.mark.parametrize("command", [PREPARE, FILL, SCORE], ids=lambda words: words[0])
def test_gpus_for_workers_of_an_owner_without_one_are_refused(
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.toml").write_text('corpus = "no_corpus"\n', encoding="utf-8")
    given = [*command, "--ray", "--device", "cpu", "--worker_gpus", "0.5"]
    assert cli.run(given) == cli.USER_ERROR
    assert "--worker_gpus: 0.5, and this process computes on cpu" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["c.toml"]
