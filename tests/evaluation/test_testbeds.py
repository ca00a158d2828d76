"""The limits of sources that are known, as the command tells them."""

import json

import numpy as np
import pytest

from synthenticity import cli
from synthenticity.evaluation.testbeds import Asked, markov_limit, switching_limit
from synthenticity.synthesis.markov_source import MarkovSource, SwitchingSource


@pytest.fixture(scope="module")
def chain() -> MarkovSource:
    return MarkovSource(np.array([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7], [0.4, 0.5, 0.1]]))


def test_longer_texts_are_better_known(chain: MarkovSource) -> None:
    short, long = (
        markov_limit(chain, Asked(texts=200, length=length, ratios=(0.1, 0.7))).figures
        for length in (24, 96)
    )
    assert long["mae"] < 0.9 * short["mae"] < 0.9 * short["mae_of_mean"]


def test_a_machine_that_is_the_human_is_not_to_be_told_from_her(chain: MarkovSource) -> None:
    asked = Asked(texts=300, length=48, ratios=(0.1, 0.7))
    same = switching_limit(SwitchingSource.cooled(chain, 1.0), asked).figures
    cold = switching_limit(SwitchingSource.cooled(chain, 0.3), asked).figures
    assert same["mae"] == pytest.approx(same["mae_of_mean"], rel=0.05)
    assert same["token_auroc_filled_within"] == pytest.approx(0.5, abs=0.03)
    assert cold["mae"] < 0.9 * same["mae"]
    assert cold["token_auroc_filled_within"] > 0.55


def test_the_command_prints_what_it_computed(
    corpus_folder: object, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["limit", "markov", "--corpus", str(corpus_folder), "--length", "32", "--texts", "50"]
    assert cli.run([*command, "--json"]) == cli.GOOD
    found = json.loads(capsys.readouterr().out)
    assert found["texts"] == 50 and 0 < found["mae"] < found["mae_of_mean"]
    assert cli.run(command) == cli.GOOD
    shown = capsys.readouterr().out
    assert "50 texts of 32 characters" in shown and "mae of mean" in shown


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--length", "0"], "--length: 0 is not positive"),
        (["--texts", "0"], "--texts: 0 is not positive"),
        (["--temperature", "nan"], "--temperature: nan is not positive"),
        (["--ratio", "0.7,0.1"], "--ratio: 0.7,0.1 is not a share"),
        (["--corpus", "nowhere.txt"], "nowhere.txt"),
        (["--length", "5000", "--ratio", "0,1"], "too far apart for texts of 5000"),
    ],
)
def test_what_cannot_be_computed_is_refused(
    options: list[str], said: str, corpus_folder: object, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"--corpus": str(corpus_folder), "--texts": "2"}
    given |= dict(zip(options[::2], options[1::2], strict=True))
    command = ["limit", "switching", *(part for pair in given.items() for part in pair)]
    assert cli.run(command) == cli.USER_ERROR
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
