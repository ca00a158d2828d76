"""An evaluation judges what nobody has seen, and says of everything how sure it is."""

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from synthenticity import cli
from synthenticity.config import Config
from synthenticity.errors import CompatibilityError, CorpusError, QueueError
from synthenticity.evaluation.evaluate import Effort, evaluate
from synthenticity.evaluation.judging import SCORER
from synthenticity.evaluation.known_limits import GENIE
from synthenticity.evaluation.leaks import LeakAlarm
from synthenticity.evaluation.sequences import Sequences
from synthenticity.providers.prepare import prepare
from synthenticity.scoring.calibration import weights_fingerprint
from synthenticity.stream.dataset_consumer import DatasetConsumer
from synthenticity.training.model import load_scorer


@pytest.fixture(scope="module")
def spans(scorer_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another data set: spans, in place of single tokens."""
    folder = tmp_path_factory.mktemp("spans") / "spans"
    config = dataclasses.replace(scorer_config, pattern="span", data_dir=str(folder))
    prepare(config, files=2, splits=("train", "val", "test"))
    return folder


@pytest.fixture(scope="module")
def found(scorer_path: Path, scorer_config: Config, spans: Path, mlm_path: Path) -> dict:
    data = [Path(scorer_config.data_dir), spans]
    result = evaluate([scorer_path, scorer_path], data, mlm=mlm_path, effort=Effort(times=50))
    return json.loads(json.dumps(result.to_json()))


def test_it_says_which_weights_it_is_of(found: dict, scorer_path: Path) -> None:
    assert found["weights"] == [weights_fingerprint(scorer_path)] * 2


def test_every_system_is_judged_on_every_row(found: dict) -> None:
    assert [row["name"] for row in found["rows"]] == ["data", "spans"]
    for row in found["rows"]:
        assert next(iter(row["systems"])) == SCORER
        assert {"predict the mean", "length alone", "character n-gram ridge"} < set(row["systems"])
        assert {"MLM pseudo-log-likelihood", "curvature"} < set(row["systems"])
        for name, system in row["systems"].items():
            low, high = system["intervals"]["mae"]
            assert low - 1e-9 <= system["figures"]["mae"] <= high + 1e-9
            assert ("mae_difference" in system["intervals"]) == (name != SCORER)


def test_figures_are_those_of_the_model_on_the_files(
    found: dict, scorer_path: Path, scorer_config: Config
) -> None:
    columns = ["input_ids", "synthenticity"]
    consumer = DatasetConsumer(scorer_config.data_dir, batch_size=1, split="test", columns=columns)
    test = consumer.read_all()
    import torch

    with torch.no_grad():
        said = load_scorer(scorer_path)(torch.from_numpy(test["input_ids"].astype(np.int64)))
    true = test["synthenticity"]
    partly = (true > 0) & (true < 1)
    error = np.abs(said.synthenticity.numpy() - true)
    system = found["rows"][0]["systems"][SCORER]
    assert system["figures"]["mae"] == pytest.approx(error[partly].mean(), abs=1e-5)
    human = said.synthenticity.numpy()[true == 0].mean()
    assert system["figures"]["human_mean"] == pytest.approx(human, abs=1e-5)
    assert system["mae_of_runs"] == [system["figures"]["mae"]] * 2
    paths = sorted(Path(scorer_config.data_dir, "test").glob("*.parquet"))
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    assert found["rows"][0]["files"] == sums


def test_the_mean_is_that_of_the_training_ratios_on_every_row(
    found: dict, scorer_config: Config
) -> None:
    consumer = DatasetConsumer(
        scorer_config.data_dir, batch_size=1, split="train", columns=["synthenticity"]
    )
    mean = consumer.read_all()["synthenticity"].mean()
    assert found["fitted"] == 36
    for row in found["rows"]:
        figures = row["systems"]["predict the mean"]["figures"]
        assert figures["human_mean"] == pytest.approx(mean)


def test_tokens_and_documents_are_judged_too(found: dict) -> None:
    figures = found["rows"][1]["systems"][SCORER]["figures"]
    assert {"token_auroc_filled_within", "token_ece", "span_f1", "document_auroc"} < set(figures)
    assert {"human_alarms_at_5", "detected_at_1", "by_ratio", "spearman"} < set(figures)


def test_data_of_another_tokenizer_are_refused(
    scorer_path: Path, scorer_config: Config, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(scorer_config.data_dir, other)
    path = other / "tokenizer" / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"a"', '"~"'), encoding="utf-8")
    with pytest.raises(CompatibilityError, match=r"other: its tokenizer .* is not that of"):
        evaluate([scorer_path], [Path(scorer_config.data_dir), other])


def test_what_is_missing_of_any_data_set_is_said_before_anything_is_fitted(
    scorer_path: Path, scorer_config: Config, tmp_path: Path
) -> None:
    config = dataclasses.replace(scorer_config, data_dir=str(tmp_path / "no_test"))
    prepare(config, files=1, splits=("val",))
    said: list[str] = []
    with pytest.raises(QueueError, match="has no complete test set"):
        evaluate(
            [scorer_path],
            [Path(scorer_config.data_dir), tmp_path / "no_test"],
            on_message=said.append,
        )
    assert said == []


def test_without_human_text_in_val_there_is_no_threshold(
    scorer_path: Path, scorer_config: Config, tmp_path: Path
) -> None:
    config = dataclasses.replace(
        scorer_config, untouched_share=0.0, data_dir=str(tmp_path / "touched")
    )
    prepare(config, files=2)
    with pytest.raises(CorpusError, match="holds no untouched sequences"):
        evaluate([scorer_path], [tmp_path / "touched"])


def test_a_limit_without_human_text_has_no_threshold_and_ends_nothing(
    scorer_path: Path, scorer_config: Config, mlm_path: Path, tmp_path: Path
) -> None:
    config = dataclasses.replace(
        scorer_config, untouched_share=0.0, data_dir=str(tmp_path / "touched")
    )
    prepare(config, files=2, splits=("val", "test"))
    said: list[str] = []
    data = [Path(scorer_config.data_dir), tmp_path / "touched"]
    effort = Effort(times=20, leaks=False)
    found = evaluate([scorer_path], data, mlm=mlm_path, effort=effort, on_message=said.append)
    assert any("holds no untouched sequences" in line for line in said)
    figures = found.rows[1]["systems"][GENIE]["figures"]
    assert figures["mae"] < 0.2 and "detected_at_1" not in figures


def test_the_command_prints_a_table_and_writes_what_it_found(
    scorer_path: Path,
    scorer_config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("synthenticity.evaluation.evaluate.leak_alarms", lambda *_: [])
    monkeypatch.setenv("COLUMNS", "80")
    command = ["evaluate", str(scorer_path), scorer_config.data_dir]
    assert cli.run([*command, "--out", str(tmp_path / "found.json")]) == cli.GOOD
    shown = capsys.readouterr()
    assert "character n-gram ridge" in shown.out and "judging" in shown.err
    assert max(map(len, shown.out.splitlines())) <= 80 and "…" not in shown.out
    written = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    for system in written["rows"][0]["systems"].values():
        assert f"{system['figures']['mae']:.4f}" in shown.out
        assert "{:.3f}-{:.3f}".format(*system["intervals"]["mae"]) in shown.out
    assert cli.run([*command, "--json"]) == cli.GOOD
    assert json.loads(capsys.readouterr().out) == written


def test_an_alarm_that_rings_is_printed_and_fails_the_command(
    scorer_path: Path,
    scorer_config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen: list[int] = []

    def alarms(train: Sequences, test: Sequences, said: np.ndarray, _: object) -> list[LeakAlarm]:
        seen.extend([len(train), len(test), len(said)])
        assert "original_ids" in train.columns and "original_ids" in test.columns
        return [LeakAlarm("smoke", 0.5, 0.1, "Half of it."), LeakAlarm("haze", 0.0, 0.1, "None.")]

    monkeypatch.setattr("synthenticity.evaluation.evaluate.leak_alarms", alarms)
    command = ["evaluate", str(scorer_path), scorer_config.data_dir]
    assert cli.run([*command, "--out", str(tmp_path / "found.json")]) == cli.CHECK_FAILED
    shown = capsys.readouterr().out
    assert "ALARM: smoke. Half of it." in shown and "haze" not in shown
    assert seen == [36, 36, 36]
    written = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert [each["rings"] for each in written["rows"][0]["alarms"]] == [True, False]


@pytest.mark.parametrize(
    ("which", "said"),
    [
        ("nowhere", "nowhere: is no folder"),
        ("data", "no/such/data: is no folder"),
        ("report", "is a folder. Give the name of a file"),
    ],
)
def test_what_cannot_be_judged_is_one_line(
    which: str,
    said: str,
    scorer_path: Path,
    scorer_config: Config,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = "nowhere" if which == "nowhere" else str(scorer_path)
    data = "no/such/data" if which == "data" else scorer_config.data_dir
    options = ["--report", str(scorer_path)] if which == "report" else []
    assert cli.run(["evaluate", run, data, *options]) == cli.USER_ERROR
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
