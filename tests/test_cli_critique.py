"""`synthenticity critique`: what a person sees, what a program reads, and what is refused."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from synthenticity import cli
from synthenticity.scoring.critic import TokenCritic
from synthenticity.synthesis import filling_model

DRAFT = "the king and his fool\r\nwent to a hall where night fell on stone; " * 2


@pytest.fixture
def draft(tmp_path: Path) -> Path:
    path = tmp_path / "draft.txt"
    path.write_bytes(DRAFT.encode())
    return path


class Critique:
    """Runs the command, for three rounds unless told otherwise, and returns what it printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str], run: Path, mlm: Path) -> None:
        self.capsys, self.models = capsys, (str(run), str(mlm))

    def said(self, code: int, text: object, *options: object) -> tuple[str, str]:
        run, mlm = self.models
        rounds = () if "--rounds" in options else ("--rounds", 3)
        words = ["critique", run, text, "--mlm", mlm, *rounds, *options]
        assert cli.run([str(word) for word in words]) == code
        return tuple(self.capsys.readouterr())  # type: ignore[return-value]


@pytest.fixture
def critique(capsys: pytest.CaptureFixture[str], scorer_path: Path, mlm_path: Path) -> Critique:
    return Critique(capsys, scorer_path, mlm_path)


def test_json_holds_every_round_and_the_text_that_is_kept(critique: Critique, draft: Path) -> None:
    found = json.loads(critique.said(cli.GOOD, draft, "--json", "--share", 0.2)[0])
    assert set(found) == {"rounds", "kept", "text", "tokens", "spans", "settings"}
    assert [each["round"] for each in found["rounds"]] == [0, 1, 2, 3]
    assert [each["remasked"] for each in found["rounds"]] == [
        0,
        25,
        22,
        13,
    ]  # of 126 tokens: the scorer knows no \r\n
    for each in found["rounds"]:
        assert each["interval"][0] <= each["synthenticity"] <= each["interval"][1]
    scores = [each["synthenticity"] for each in found["rounds"]]
    assert scores[found["kept"]] == min(scores)
    assert "".join(token["text"] for token in found["tokens"]) == found["text"]
    assert found["text"].count("\r\n") == 2 and len(found["text"]) == len(DRAFT)
    assert found["settings"] == {
        "rounds": 3,
        "share": 0.2,
        "fall": "cosine",
        "temperature": 0.0,
        "fill_temperature": 1.0,
        "control": False,
        "seed": 0,
    }


def test_plain_is_the_text_alone_of_a_file_or_of_standard_input(
    critique: Critique, draft: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = json.loads(critique.said(cli.GOOD, draft, "--json", "--keep", "last")[0])
    out, table = critique.said(cli.GOOD, draft, "--plain", "--keep", "last")
    assert kept["kept"] == 3 and out == kept["text"] != DRAFT
    assert "synthenticity" in table and "kept" in table
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(DRAFT.encode())))
    assert critique.said(cli.GOOD, "-", "--plain", "--keep", "last")[0] == out
    assert critique.said(cli.GOOD, draft, "--plain", "--keep", "last", "--seed", 1)[0] != out
    assert critique.said(cli.GOOD, draft, "--plain", "--keep", "last", "--control")[0] != out


def test_a_person_sees_the_rounds_the_text_and_what_it_is_worth(
    critique: Critique, draft: Path
) -> None:
    shown = critique.said(cli.GOOD, draft, "--keep", "last")[0]
    lines = [line.replace("│", " ").split() for line in shown.splitlines()]
    rows = [line[:2] for line in lines if line and line[0] in ("draft", "1", "2", "3")]
    assert [name for name, _ in rows] == ["draft", "1", "2", "3"]
    assert [remasked for _, remasked in rows[1:]] == ["13", "11", "6"]
    assert "kept: after round 3" in shown
    assert "no score of this scorer is evidence" in shown


def test_device_and_arithmetic_are_those_of_both_models(
    critique: Critique, draft: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, object]] = []
    for owner, name in ((TokenCritic, "from_pretrained"), (filling_model, "load_filling_model")):
        load = getattr(owner, name)

        def watched(path: object, load: Any = load, **how: object) -> Any:
            told.append(how)
            return load(path, **how)

        monkeypatch.setattr(owner, name, watched)
    chosen = ("--device", "cpu", "--dtype", "float32")
    assert critique.said(cli.GOOD, draft, "--plain", *chosen)[0]
    assert told == [{"device": "cpu", "dtype": "float32"}] * 2
    for wrong in (("--device", "abacus"), ("--dtype", "float8")):
        assert wrong[1] in critique.said(cli.USER_ERROR, draft, *wrong)[1]


def test_a_draft_of_which_the_scorer_abstains_stays_and_that_is_said(
    critique: Critique, tmp_path: Path
) -> None:
    short = tmp_path / "short.txt"
    short.write_text("the", encoding="utf-8")
    said = critique.said(cli.GOOD, short, "--rounds", 2)[0]
    assert "kept: the draft: the scorer abstains of every round" in said
    assert said.count("abstained: too short: 3 tokens") == 1


def test_a_draft_that_may_be_all_human_is_said_to_be(critique: Critique, draft: Path) -> None:
    said = critique.said(cli.GOOD, draft, "--rounds", 1, "--json")[0]
    low = json.loads(said)["rounds"][0]["interval"][0]
    shown = critique.said(cli.GOOD, draft, "--rounds", 1)[0]
    assert ("may be all human" in shown) == (low < 0.005)


def test_what_cannot_be_improved_is_refused(
    critique: Critique, draft: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "bytes.txt").write_bytes(b"ab\xff")
    for text, options, words in [
        (draft, ("--rounds", 0), "rounds: 0 is not a finite number of at least 1"),
        (draft, ("--share", 2), "share: 2 is outside 0 to 1"),
        (draft, ("--fill_temperature", -1), "temperature: -1"),
        (draft, ("--keep", "worst"), "keep"),
        (draft, ("--plain", "--json"), "Give one"),
        (tmp_path / "empty.txt", (), "empty.txt: is empty"),
        (tmp_path / "bytes.txt", (), "offset 2 is not UTF-8"),
        (tmp_path / "none.txt", (), "none.txt: is not there"),
    ]:
        out, said = critique.said(cli.USER_ERROR, text, *options)
        assert out == "" and words in said
        assert all(line.startswith("synthenticity: ") for line in said.splitlines())


def test_a_critic_is_a_scorer_and_a_filling_model_fills(
    capsys: pytest.CaptureFixture[str], draft: Path, scorer_path: Path, mlm_path: Path
) -> None:
    wrong = Critique(capsys, mlm_path, mlm_path).said(cli.USER_ERROR, draft)[1]
    assert "is not a scorer" in wrong
    wrong = Critique(capsys, scorer_path, scorer_path).said(cli.USER_ERROR, draft)[1]
    assert str(scorer_path) in wrong
