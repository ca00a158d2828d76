"""A limit stands beside the systems of its data set, and whoever is better has seen the answers."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from synthenticity import cli
from synthenticity.config import Config
from synthenticity.errors import ConfigError
from synthenticity.evaluation.evaluate import Effort, evaluate
from synthenticity.evaluation.judging import SCORER, judge, partly_filled
from synthenticity.evaluation.known_limits import (
    BAYES,
    GENIE,
    limit_alarm,
    limit_of_data,
    limits_of,
)
from synthenticity.evaluation.predictions import Predictions
from synthenticity.evaluation.systems import Reading
from synthenticity.providers.prepare import prepare
from synthenticity.synthesis.checkpoints import load_mlm
from synthenticity.text.tokenization import load_tokenizer


@pytest.fixture(scope="module")
def chain_data(tiny: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of a chain: 160 sequences of each split, the default mixture."""
    folder = tmp_path_factory.mktemp("chain") / "chain"
    config = dataclasses.replace(
        tiny, dataset="markov", data_dir=str(folder), batch_size=40, batches_per_file=4
    )
    prepare(config, files=1, splits=("train", "val", "test"))
    return folder


@pytest.fixture(scope="module")
def reading(mlm_path: Path) -> Reading:
    return Reading(load_tokenizer(mlm_path), load_mlm(mlm_path).eval())


def test_the_posterior_of_a_mixture_is_calibrated_and_errs_least(
    chain_data: Path, reading: Reading
) -> None:
    (limit,) = limits_of(chain_data, reading, pytest.fail)
    test = reading.read(chain_data, "test")
    said = limit.predict(test)
    assert limit.name == BAYES
    error = np.abs(said.ratios - test.ratios)
    inside = (said.low <= test.ratios) & (test.ratios <= said.high)
    assert inside.mean() > 0.85
    assert error.mean() < 0.8 * np.abs(test.ratios - np.median(test.ratios)).mean()
    filled = test.columns["token_labels"] > 0
    assert said.tokens[test.counted].mean() == pytest.approx(filled[test.counted].mean(), abs=0.04)
    assert (said.tokens[~test.counted] == 0).all()
    human = said.scores[test.ratios == 0]
    assert human.mean() < said.scores[test.ratios > 0.3].mean()


def test_who_is_better_than_the_limit_rings_and_who_is_not_does_not(
    chain_data: Path, reading: Reading
) -> None:
    test = reading.read(chain_data, "test")
    said = limits_of(chain_data, reading, pytest.fail)[0].predict(test)
    nearer = Predictions(said.ratios + 0.5 * (test.ratios - said.ratios))
    farther = Predictions(np.full(len(test), 0.4))
    for scorer, rings in ((nearer, True), (farther, False), (said, False)):
        found = judge(test, {SCORER: [scorer], BAYES: [said]}, {}, 200)
        alarm = limit_alarm(found[BAYES])
        assert alarm.rings is rings
        assert ("has seen the answers" in alarm.sentence) is rings


def test_a_scorer_that_knows_the_answers_fails_the_evaluation(
    chain_data: Path,
    scorer_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("synthenticity.evaluation.evaluate.leak_alarms", lambda *_: [])
    command = ["evaluate", str(scorer_path), str(chain_data)]
    assert cli.run([*command, "--json"]) == cli.GOOD
    systems = json.loads(capsys.readouterr().out)["rows"][0]["systems"]
    assert list(systems)[-1] == BAYES
    assert systems[BAYES]["figures"]["mae_all"] < systems[SCORER]["figures"]["mae_all"]
    assert systems[BAYES]["figures"]["document_auroc"] > 0.5
    assert 0 <= systems[BAYES]["figures"]["human_alarms_at_5"] < 0.5

    def know(_: object, data: dict[str, np.ndarray]) -> Predictions:
        return Predictions(data["synthenticity"].astype(np.float64))

    monkeypatch.setattr("synthenticity.evaluation.systems.predict", know)
    assert cli.run(command) == cli.CHECK_FAILED
    assert "ALARM: better than the limit" in capsys.readouterr().out


def test_the_genie_knows_what_was_replaced(
    scorer_config: Config, scorer_path: Path, mlm_path: Path, reading: Reading
) -> None:
    directory = Path(scorer_config.data_dir)
    row = evaluate([scorer_path], [directory], mlm=mlm_path, effort=Effort(times=20)).rows[0]
    figures = row["systems"][GENIE]["figures"]
    others = [system["figures"]["mae"] for name, system in row["systems"].items() if name != GENIE]
    assert figures["mae"] < min(others)
    assert figures["token_auroc_replaced_within"] == 1.0
    assert "better than the limit" not in {alarm["name"] for alarm in row["alarms"]}
    test = reading.read(directory, "test")
    said = limits_of(directory, reading, pytest.fail)[0].predict(test)
    partly = partly_filled(test)
    assert abs((said.ratios - test.ratios)[partly].mean()) < 0.05


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"pattern": "span"}, "not all recipes are plain"),
        ({"temperature": 0.7}, "not all recipes are plain"),
        ({"corruption": "bert"}, "replaced at random"),
    ],
)
def test_there_is_no_genie_where_she_would_be_wrong(
    changes: dict, why: str, scorer_config: Config, reading: Reading, tmp_path: Path
) -> None:
    config = dataclasses.replace(scorer_config, data_dir=str(tmp_path / "data"), **changes)
    prepare(config, files=1, splits=("test",))
    said: list[str] = []
    assert limits_of(tmp_path / "data", reading, said.append) == []
    assert why in said[0]


def test_data_of_another_corpus_have_no_limit(
    chain_data: Path, reading: Reading, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(chain_data, moved)
    config = (moved / "config.toml").read_text(encoding="utf-8")
    other = tmp_path / "other"
    other.mkdir()
    (other / "text.txt").write_text("another text " * 99, encoding="utf-8")
    lines = [line for line in config.splitlines() if not line.startswith("corpus =")]
    text = "\n".join([f'corpus = "{other}"', *lines])
    (moved / "config.toml").write_text(text, encoding="utf-8")
    said: list[str] = []
    assert limits_of(moved, reading, said.append) == []
    assert "corpus_hash is not what it was made with" in said[0]
    (moved / "config.toml").unlink()
    assert limits_of(moved, reading, said.append) == []
    assert "config.toml" in said[1]


def test_the_command_prints_the_limit_of_a_data_set(
    chain_data: Path,
    scorer_config: Config,
    mlm_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.run(["limit", str(chain_data), "--json"]) == cli.GOOD
    found = json.loads(capsys.readouterr().out)
    assert found["limit"] == BAYES and found["mae_all"] < found["mae_all_of_median"]
    command = ["limit", scorer_config.data_dir]
    assert cli.run([*command, "--mlm", str(mlm_path)]) == cli.GOOD
    assert GENIE in capsys.readouterr().out
    assert cli.run(command) == cli.USER_ERROR
    assert "no limit is known of it" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="no limit is known"):
        limit_of_data(Path(scorer_config.data_dir))
