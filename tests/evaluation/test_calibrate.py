"""Calibrating: thresholds that hold of the next document, maps that are kept if they help."""

import dataclasses
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from synthenticity import cli
from synthenticity.config import Config
from synthenticity.errors import ConfigError, CorpusError
from synthenticity.evaluation import calibrate as calibrating
from synthenticity.evaluation.calibrate import calibrate, sure_rate, threshold_for
from synthenticity.evaluation.predictions import Predictions
from synthenticity.providers.prepare import prepare
from synthenticity.scoring.scorer import Scorer
from synthenticity.stream.batch_file import Columns


def make_text(seed: int, characters: int) -> str:
    """Return prose like that of the tests' corpus."""
    words = "the king and his fool went to a hall where night fell on stone; who speaks?".split()  # noqa: SIM905
    return " ".join(random.Random(seed).choices(words, k=characters // 3))[:characters]


@pytest.fixture
def run(scorer_path: Path, tmp_path: Path) -> Path:
    """A scorer's folder that may be written to."""
    return Path(shutil.copytree(scorer_path, tmp_path / "run"))


@pytest.fixture(scope="module")
def human(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty short human documents, one a line."""
    path = tmp_path_factory.mktemp("human") / "texts.txt"
    path.write_text("\n".join(make_text(seed, 60) for seed in range(60)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def filled(scorer_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with enough sequences for a map."""
    folder = tmp_path_factory.mktemp("filled") / "data"
    prepare(dataclasses.replace(scorer_config, data_dir=str(folder)), files=10, splits=("train",))
    return folder


def lines(path: Path) -> Config:
    return Config(corpus=str(path), document_per="line")


def test_a_threshold_holds_of_the_next_document() -> None:
    rng = np.random.default_rng(0)
    for rate, documents in ((0.1, 9), (0.1, 40), (0.05, 59)):
        alarms = []
        for _ in range(4000):
            *known, following = rng.beta(1, 20, documents + 1)
            alarms.append(following > threshold_for(np.array(known), rate))
        assert np.mean(alarms) == pytest.approx(
            int(rate * (documents + 1) + 1e-9) / (documents + 1), abs=0.015
        )


def test_the_true_rate_stays_below_what_is_said_in_nineteen_of_twenty_calibrations() -> None:
    rng = np.random.default_rng(1)
    thresholds = [threshold_for(rng.random(100), 0.05) for _ in range(4000)]
    rates = 1 - np.array(thresholds)  # of uniform scores
    assert np.mean(rates <= sure_rate(100, 0.05)) == pytest.approx(0.95, abs=0.012)


def test_too_few_documents_for_a_rate_are_refused(run: Path, human: Path) -> None:
    with pytest.raises(CorpusError, match=r"--fpr 0.01: needs at least 99 human documents, got 60"):
        calibrate(run, lines(human))
    assert not (run / "calibration.json").exists()


def test_text_that_the_scorer_cannot_read_is_refused(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "foreign.txt"
    path.write_text("\n".join(f"король и шут {number}" for number in range(60)), encoding="utf-8")
    with pytest.raises(CorpusError, match="are unknown to the tokenizer"):
        calibrate(run, lines(path), rates=(0.1,))
    assert not (run / "calibration.json").exists()


@pytest.mark.parametrize("rate", [0.0, 1.0, -1.0, float("nan")])
def test_a_rate_is_between_0_and_1(rate: float, run: Path, human: Path) -> None:
    with pytest.raises(ConfigError, match="is not between 0 and 1"):
        calibrate(run, lines(human), rates=(rate,))


def test_human_documents_alone_give_thresholds_and_no_map(run: Path, human: Path) -> None:
    made = calibrate(run, lines(human), rates=(0.05, 0.1))
    assert made.values == () and made.margin is None
    scorer = Scorer.from_pretrained(run, device="cpu")
    texts = human.read_text(encoding="utf-8").split("\n")
    scores = scorer.score(texts)
    for rate, most in (("0.05", 3), ("0.1", 6)):
        assert sum(score.alarms[rate] for score in scores) == most - 1


def shrunken(slope: float) -> Callable[..., Predictions]:
    """Return a scorer's answers that are a line of the truth."""

    def predict(model: object, columns: Columns) -> Predictions:
        said = 0.4 + slope * columns["synthenticity"].astype(np.float64)
        return Predictions(said, None, said - 0.01, said + 0.01)

    return predict


@pytest.mark.parametrize(("kind", "error"), [("isotonic", 0.05), ("affine", 1e-6)])
def test_a_map_is_fitted_on_one_half_and_judged_on_the_other(
    kind: str, error: float, run: Path, human: Path, filled: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibrating, "predict", shrunken(0.2))
        made = calibrate(
            run, lines(human), rates=(0.1,), filled=filled, split="train", kind=kind, device="cpu"
        )
    about = made.about["filled"]
    assert about["sequences"] == 120 and about["map"] == kind
    assert about["mae_with"] < error < about["mae_without"]
    assert made.mapped(np.array([0.4, 0.5, 0.6])) == pytest.approx([0.0, 0.5, 1.0], abs=error)
    assert Scorer.from_pretrained(run, device="cpu").calibration.values == made.values


def test_a_scorer_that_errs_to_the_other_side_is_not_mapped(
    run: Path, human: Path, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrating, "predict", shrunken(-0.2))
    with pytest.raises(CorpusError, match=r"fall where the truth grows \(slope -5.00\)"):
        calibrate(run, lines(human), rates=(0.1,), filled=filled, split="train", kind="affine")


def test_a_map_that_does_not_help_is_left_out(
    run: Path, human: Path, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrating, "_fitted", lambda *_: ((0.0, 1.0), (0.0, 0.01)))
    made = calibrate(run, lines(human), rates=(0.1,), filled=filled, split="train")
    assert made.values == () and made.about["filled"]["map"].startswith("none: ")
    assert made.margin is not None


def test_too_few_sequences_make_no_map(run: Path, human: Path, scorer_config: Config) -> None:
    with pytest.raises(
        CorpusError, match=r"holds 36 sequences of 1 document; .* of more documents"
    ):
        calibrate(run, lines(human), rates=(0.1,), filled=Path(scorer_config.data_dir))


def test_the_command_says_what_it_found_and_score_reports_it(
    run: Path, human: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["calibrate", str(run), "--human", str(human), "--document_per", "line"]
    assert cli.run([*command, "--fpr", "0.05"]) == cli.GOOD
    said = capsys.readouterr().out
    assert "60 human texts" in said and "0.05 of such texts exceed it" in said
    assert "earlier" not in said
    assert cli.run([*command, "--fpr", "0.05"]) == cli.GOOD
    assert "in place of an earlier calibration" in capsys.readouterr().out
    text = run / "text.txt"
    text.write_text(make_text(3, 50), encoding="utf-8")
    assert cli.run(["score", str(run), str(text)]) == cli.GOOD
    said = capsys.readouterr()
    assert "above the threshold that 5 % of human texts exceed (calibrated)" in said.out
    assert "not calibrated" not in said.err
    assert cli.run([*command, "--fpr", "0.05", "0.1", "--json"]) == cli.GOOD
    assert set(json.loads(capsys.readouterr().out)["thresholds"]) == {"0.05", "0.1"}
    assert cli.run([*command, "--fpr", "0.01"]) == cli.USER_ERROR
    assert "needs at least 99" in capsys.readouterr().err
