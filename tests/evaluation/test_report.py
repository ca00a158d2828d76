"""The report: one page that needs nothing else and shows text as text."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from synthenticity import cli
from synthenticity.config import Config
from synthenticity.evaluation.evaluate import Evaluated, Evidence
from synthenticity.evaluation.heat import heat_samples, pieces_of, shown_rows
from synthenticity.evaluation.judging import SCORER, judge
from synthenticity.evaluation.known_limits import BAYES
from synthenticity.evaluation.page import HeatSample, heat_sample
from synthenticity.evaluation.predictions import Predictions
from synthenticity.evaluation.report import write_report
from synthenticity.evaluation.sequences import Sequences
from synthenticity.text.tokenization import build_character_tokenizer

TOKENIZER = build_character_tokenizer(["ab<>&"], block_size=64)
RNG = np.random.default_rng(0)
RIDGE = "n-gram ridge"


def labelled(rows: int = 90, length: int = 41) -> Sequences:
    """Return sequences of characters that HTML must not read, a third of them untouched."""
    shares = np.where(np.arange(rows) % 3 == 0, 0.0, RNG.uniform(0.1, 0.9, rows))
    labels = np.where(RNG.random((rows, length)) < shares[:, None], 2, 0).astype(np.int8)
    labels[:, 0] = -100
    ids = np.array(TOKENIZER.convert_tokens_to_ids(list("ab<>&")))
    columns = {
        "input_ids": ids[RNG.integers(5, size=labels.shape)],
        "token_labels": labels,
        "synthenticity": (labels > 0).sum(axis=1) / (length - 1),
        "document": np.array([f"<b>{number // 3}" for number in range(rows)]),
    }
    return Sequences(columns, [""] * rows)


def said_of(test: Sequences, error: float, *, tokens: bool = True) -> Predictions:
    ratios = np.clip(test.ratios + RNG.normal(0, error, len(test)), 0, 1)
    told = np.clip(
        0.5 * (test.columns["token_labels"] > 0) + 0.5 * RNG.random(test.counted.shape), 0, 1
    )
    return Predictions(ratios, told if tokens else None, ratios - 0.1, ratios + 0.1)


def evaluated(run: Path, *, rings: bool = False, tokens: bool = True, sets: int = 2) -> Evaluated:
    rows, evidence = [], []
    for number in range(sets):
        test = labelled()
        said = {
            SCORER: [said_of(test, 0.05, tokens=tokens)],
            RIDGE: [said_of(test, 0.1, tokens=False)],
            BAYES: [said_of(test, 0.02)],
        }
        alarm = {"name": "smoke", "rings": rings, "sentence": "Half > of it."}
        rows.append(
            {
                "name": f"set & {number}",
                "sequences": len(test),
                "documents": 30,
                "files": {"test-0.parquet": "ab" * 32},
                "systems": judge(test, said, {name: {0.05: 0.1, 0.01: 0.2} for name in said}, 50),
                "alarms": [alarm],
            }
        )
        evidence.append(Evidence(test, said))
    thresholds = {SCORER: {"0.05": 0.1, "0.01": 0.2}}
    ratios = RNG.random(100)
    return Evaluated([str(run)], ["5fd7"], 100, thresholds, rows, evidence, ratios, TOKENIZER)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    history = [{"step": 5, "eval_mae": 0.2}, {"step": 9, "eval_mae": 0.1}, {"step": 9, "loss": 1}]
    (folder / "metrics.json").write_text(json.dumps({"history": history}), encoding="utf-8")
    return folder


def test_the_page_is_self_contained_and_the_same_each_time(run: Path, tmp_path: Path) -> None:
    found = evaluated(run)
    for name in ("a.html", "b.html"):
        write_report(tmp_path / name, found)
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert page == (tmp_path / "b.html").read_text(encoding="utf-8")
    assert not re.findall(r"(?:src|href)=[\"'](?!#)", page) and "<script" not in page
    assert page.count("<svg") == 4 + 4 + 3
    assert page.count("<svg") == len(re.findall(r'<svg role="img" aria-label="[^"]+"', page))
    assert page.count("<svg") == page.count("<figcaption>")


def test_it_shows_every_system_with_intervals_and_differences(run: Path, tmp_path: Path) -> None:
    found = evaluated(run)
    write_report(tmp_path / "r.html", found)
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    for row in found.rows:
        for name, system in row["systems"].items():
            assert f"<th scope='row'>{name}" in page
            low, high = system["intervals"]["mae"]
            assert f"<td>{system['figures']['mae']:.3f} [{low:.3f}, {high:.3f}]</td>" in page
        low, high = row["systems"][RIDGE]["intervals"]["mae_difference"]
        assert f"[{low:+.3f}, {high:+.3f}]" in page
    assert "which the scorer beats" in page and "The limit (Bayes): " in page
    assert "ab" * 32 in page


def test_the_summary_speaks_of_every_data_set_and_says_when_documents_are_few(
    run: Path, tmp_path: Path
) -> None:
    found = evaluated(run)
    found.rows[1]["documents"] = 3
    write_report(tmp_path / "r.html", found)
    top = (tmp_path / "r.html").read_text(encoding="utf-8").split("<h2>")[0]
    assert "(set &amp; 0), the scorer" in top and "(set &amp; 1), the scorer" in top
    assert top.count("over so few documents say little") == 1


def test_text_is_shown_as_text(run: Path, tmp_path: Path) -> None:
    write_report(tmp_path / "r.html", evaluated(run), about=["a < b"], commands=["x > y"])
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<b>" not in page and "set &amp; 0" in page
    assert "a &lt; b" in page and "x &gt; y" in page
    sample = HeatSample("x & y", ["<", "b", ">"], np.array([0.0, 0.5, 1.0]), np.arange(3), 0.4, 0.5)
    tokens = re.findall(
        r"<span( class='\w+')? style='[^']+' title='([\d.]+)'>([^<]+)</span>", heat_sample(sample)
    )
    assert tokens == [
        ("", "0.0000", "&lt;"),
        (" class='restored'", "0.5000", "b"),
        (" class='replaced'", "1.0000", "&gt;"),
    ]


def test_alarms_that_ring_stand_at_the_top(run: Path, tmp_path: Path) -> None:
    for rings in (False, True):
        write_report(tmp_path / "r.html", evaluated(run, rings=rings))
        page = (tmp_path / "r.html").read_text(encoding="utf-8")
        assert ("<p class='alarm'>Alarm, set &amp; 0: smoke. Half &gt; of it.</p>" in page) is rings
        assert f"{2 * rings} of 2 alarms ring." in page


def test_a_scorer_without_token_head_or_history_has_a_report_too(tmp_path: Path) -> None:
    write_report(tmp_path / "r.html", evaluated(tmp_path / "nowhere", tokens=False, sets=1))
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 3 + 1 and page.count("class='heat'") == 3
    assert "class='replaced'>" in page


def test_the_shown_texts_are_the_best_a_typical_and_the_worst() -> None:
    test = labelled()
    said = said_of(test, 0.1)
    error = np.abs(said.ratios - test.ratios)
    best, typical, worst = shown_rows(test, said).values()
    partly = (test.ratios > 0) & (test.ratios < 1)
    assert error[best] == error[partly].min() and error[worst] == error[partly].max()
    assert abs(test.ratios[typical] - 0.4) < 0.1
    samples = heat_samples(Evidence(test, {SCORER: [said]}), TOKENIZER)
    assert [len(sample.tokens) for sample in samples] == [40, 40, 40]


def test_pieces_are_the_text_in_any_tokenizer(word_tokenizer: object) -> None:
    text = "the king and his fool went to a hall"
    ids = word_tokenizer(text, add_special_tokens=False)["input_ids"]
    pieces = pieces_of(np.array(ids), word_tokenizer)
    assert "".join(pieces) == text and len(pieces) == len(ids)
    own = np.array(TOKENIZER.convert_tokens_to_ids(list("a<b")))
    assert pieces_of(own, TOKENIZER) == ["a", "<", "b"]


def test_the_command_writes_the_page(
    scorer_path: Path,
    scorer_config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("synthenticity.evaluation.evaluate.leak_alarms", lambda *_: [])
    command = ["evaluate", str(scorer_path), scorer_config.data_dir, "--report"]
    assert cli.run([*command, str(tmp_path / "r.html")]) == cli.GOOD
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "character n-gram ridge" in page and page.count("class='heat'") == 3
    capsys.readouterr()
    assert cli.run([*command, str(tmp_path / "no" / "r.html")]) == cli.USER_ERROR
    assert "its folder does not exist" in capsys.readouterr().err
