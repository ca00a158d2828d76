"""`score_corpus`: every document once and in order, whatever dies; all forms say the same."""

import csv
import html
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from synthenticity.colours import heat_style
from synthenticity.display import score_lines
from synthenticity.errors import CompatibilityError, ConfigError, CorpusError
from synthenticity.records import chunks
from synthenticity.records.pages import score_page
from synthenticity.records.scores import ScoreProgress, ScoreResult, score_corpus
from synthenticity.scoring.calibration import Calibration, weights_fingerprint
from synthenticity.scoring.score import Score
from synthenticity.scoring.scorer import Scorer
from synthenticity.terminal import ScoreView
from synthenticity.text.reading import CorpusSource

Run = Callable[..., ScoreResult]


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven hundred documents in the scorer's alphabet, and three that cannot be used."""
    path = tmp_path_factory.mktemp("letters") / "letters.jsonl"
    rows: list[dict[str, Any]] = [
        {"id": f"n{n}", "text": " ".join(["the king fell on stone"] * (n % 9)) + " night" * (n % 3)}
        for n in range(1, 701)
        if n % 9 or n % 3
    ]
    rows.insert(300, {"id": "empty", "text": " \n"})
    rows.insert(400, {"id": "number", "text": 5})
    rows.append({"id": "none"})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def source(letters: Path) -> CorpusSource:
    return CorpusSource(source=str(letters), id_column="id")


@pytest.fixture(scope="module")
def whole(scorer_path: Path, source: CorpusSource, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The table of one undisturbed run, with tokens."""
    out = tmp_path_factory.mktemp("whole") / "out.parquet"
    score_corpus(scorer_path, source, out, tokens=True, device="cpu")
    return out


def rows_of(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def texts_of(letters: Path) -> dict[str, str]:
    rows = map(json.loads, letters.read_text(encoding="utf-8").splitlines())
    texts = {row["id"]: row.get("text") for row in rows}
    return {name: text for name, text in texts.items() if isinstance(text, str) and text.strip()}


def test_every_document_has_its_row_in_order_and_its_own_score(
    whole: Path, letters: Path, scorer_path: Path
) -> None:
    rows, texts = rows_of(whole), texts_of(letters)
    assert [row["id"] for row in rows] == list(texts)
    scorer = Scorer.from_pretrained(scorer_path, device="cpu")
    for row in rows[::40]:
        score = scorer.score(texts[row["id"]])
        assert row["text"] == score.text and row["synthenticity"] == score.synthenticity
        assert (row["low"], row["high"]) == score.interval
        assert row["probabilities"] == score.probabilities.tolist()
        places = zip(row["token_starts"], row["token_ends"], strict=True)
        assert "".join(score.text[start:end] for start, end in places) == score.text
        assert [(s["start"], s["end"]) for s in row["spans"]] == [
            (span.start, span.end) for span in score.spans
        ]
        assert (row["abstained"] is None) == (score.abstained is None)


def test_bad_rows_are_listed_beside_with_reasons(whole: Path) -> None:
    listed = whole.with_name("out.parquet.rejected.jsonl").read_text(encoding="utf-8").splitlines()
    reasons = {row["id"]: row["reason"] for row in map(json.loads, listed)}
    assert set(reasons) == {"empty", "number", "none"} and all(reasons.values())


KILL = """
import os, signal, sys
from pathlib import Path
from synthenticity.records import chunks
from synthenticity.records.scores import score_corpus
from synthenticity.text.reading import CorpusSource

run, corpus, out, chunk, most, *pages = sys.argv[1:]
chunks.CHUNK = int(chunk)

def kill(progress):
    if progress.new_documents >= int(most):
        os.kill(os.getpid(), signal.SIGKILL)

pages = Path(pages[0]) if pages else None
score_corpus(run, CorpusSource(source=corpus, id_column="id"), out, pages=pages, device="cpu",
             on_progress=kill)
"""


def killed(run: Path, corpus: Path, out: Path, chunk: int, most: int, *pages: Path) -> int:
    """Score in a process that kills itself after so many documents; return its exit code."""
    given = [str(run), str(corpus), str(out), str(chunk), str(most), *map(str, pages)]
    return subprocess.run([sys.executable, "-c", KILL, *given], check=False).returncode


def test_a_run_that_was_killed_three_times_scores_every_row_once(
    whole: Path, letters: Path, scorer_path: Path, source: CorpusSource, tmp_path: Path
) -> None:
    out = tmp_path / "out.parquet"
    for _ in range(3):
        assert killed(scorer_path, letters, out, 50, 150) == -9
    parts = sorted((tmp_path / "out.parquet.partial").glob("part-*.parquet"))
    assert len(parts) == 9 and not out.exists()
    parts[4].write_bytes(parts[4].read_bytes()[:-100])  # and one is damaged
    seen: list[ScoreProgress] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "CHUNK", 50)
        result = score_corpus(scorer_path, source, out, device="cpu", on_progress=seen.append)
    assert result.progress.new_documents == len(rows_of(whole)) - 8 * 50
    assert seen[-1].characters == seen[-1].all_characters
    left = [progress.seconds_left for progress in seen if progress.seconds_left is not None]
    assert left[-1] == 0
    names = ("id", "synthenticity", "low", "high", "abstained", "characters")
    found, expected = rows_of(out), rows_of(whole)
    assert [[row[n] for n in names] for row in found] == [
        [row[n] for n in names] for row in expected
    ]
    assert not (tmp_path / "out.parquet.partial").exists()


@pytest.mark.slow
def test_a_hundred_thousand_texts_survive_three_kills(scorer_path: Path, tmp_path: Path) -> None:
    corpus, out = tmp_path / "many.jsonl", tmp_path / "out.parquet"
    with corpus.open("w", encoding="utf-8") as file:
        for n in range(100_000):
            text = "the king and his fool went to a hall"[n % 7 :] + " night"[: n % 6]
            file.write(json.dumps({"id": f"n{n}", "text": text}) + "\n")
    for _ in range(3):
        assert killed(scorer_path, corpus, out, 256, 25_000) == -9
    source = CorpusSource(source=str(corpus), id_column="id")
    result = score_corpus(scorer_path, source, out, device="cpu")
    assert 20_000 < result.progress.new_documents < 26_000
    table = pq.read_table(out)
    assert table.column("id").to_pylist() == [f"n{n}" for n in range(100_000)]
    assert table.column("synthenticity").null_count == 0


def test_all_forms_say_the_same(
    scorer_path: Path, source: CorpusSource, whole: Path, tmp_path: Path
) -> None:
    outs = {name: tmp_path / name / f"out.{name}" for name in ("jsonl", "csv", "parquet")}
    for out in outs.values():
        out.parent.mkdir()
        score_corpus(scorer_path, source, out, device="cpu", batch_size=3)
    expected = rows_of(outs["parquet"])
    assert expected == [{k: row[k] for k in expected[0]} for row in rows_of(whole)]
    lines = outs["jsonl"].read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == expected
    with outs["csv"].open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["id"] for row in found] == [row["id"] for row in expected]
    assert [float(row["synthenticity"]) for row in found] == [r["synthenticity"] for r in expected]
    assert [row["abstained"] or None for row in found] == [row["abstained"] for row in expected]


def test_page_terminal_and_json_say_the_same(scorer_path: Path) -> None:
    scorer = Scorer.from_pretrained(scorer_path, device="cpu")
    score = scorer.score("the king <b>and</b> his fool & a hall; who speaks?")
    page = score_page("a <letter>", score)
    content = json.loads("".join(score.iter_json()))
    assert content == json.loads(json.dumps(score.to_json()))
    heat = page[page.index("class='heat'") :].partition("</div>")[0]
    spans = re.findall(r"title='([\d.]+)'>(.*?)</span>", heat, re.DOTALL)
    assert "".join(html.unescape(text) for _, text in spans) == score.text
    shown = [f"{token['probability']:.4f}" for token in content["tokens"]]
    assert [value for value, _ in spans] == shown
    words = score.in_words()
    assert f"{content['synthenticity']:.3f}" in words and words in page
    terminal = score_lines(score, heat=True)
    assert terminal[0].plain == score.text
    assert any(line.plain.startswith(words) for line in terminal)
    assert "<script" not in page and "a &lt;letter&gt;" in page and "http" not in page


def test_pages_come_with_a_gallery_that_leads_to_them(
    scorer_path: Path, source: CorpusSource, whole: Path, tmp_path: Path
) -> None:
    pages = tmp_path / "pages"
    out = tmp_path / "out.jsonl"
    score_corpus(scorer_path, source, out, pages=pages, device="cpu")
    rows = rows_of(whole)
    index = (pages / "index.html").read_text(encoding="utf-8")
    links = re.findall(r"<a href='(\d+\.html)'>(n\d+)</a>", index)
    assert {name for _, name in links} == {row["id"] for row in rows}
    numbers = {name: number for number, name in enumerate(row["id"] for row in rows)}
    for link, name in links[:20]:
        assert link == f"{numbers[name]:06d}.html"
        assert f"<h1>{name}</h1>" in (pages / link).read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match="pages exists"):
        score_corpus(scorer_path, source, tmp_path / "b.jsonl", pages=pages, device="cpu")


def test_pages_survive_a_kill_and_are_there_whole_or_not_at_all(
    scorer_path: Path, source: CorpusSource, letters: Path, tmp_path: Path
) -> None:
    out, pages = tmp_path / "out.csv", tmp_path / "pages"
    assert killed(scorer_path, letters, out, 256, 200, pages) == -9
    assert not pages.exists()
    with pytest.raises(CompatibilityError, match=r"pages is .* there and None here"):
        score_corpus(scorer_path, source, out, device="cpu")
    result = score_corpus(scorer_path, source, out, device="cpu", pages=pages)
    assert len(list(pages.iterdir())) == result.rows + 1
    assert not (tmp_path / "out.csv.partial").exists()


def test_a_folder_that_is_there_is_never_written_into(
    scorer_path: Path, source: CorpusSource, letters: Path, tmp_path: Path
) -> None:
    out, mine = tmp_path / "out.csv", tmp_path / "mine"
    mine.mkdir()
    (mine / "index.html").write_text("mine", encoding="utf-8")
    assert killed(scorer_path, letters, out, 256, 200, tmp_path / "pages") == -9
    for target in (out, tmp_path / "other.csv"):
        with pytest.raises(ConfigError, match="mine exists"):
            score_corpus(scorer_path, source, target, device="cpu", pages=mine)
    assert (mine / "index.html").read_text(encoding="utf-8") == "mine"
    with pytest.raises(ConfigError, match="nowhere is no folder"):
        score_corpus(scorer_path, source, out, pages=tmp_path / "nowhere" / "p")


def test_endings_are_read_in_any_case(
    scorer_path: Path, source: CorpusSource, tmp_path: Path
) -> None:
    for name in ("A.CSV", "b.Jsonl"):
        score_corpus(scorer_path, source, tmp_path / name, device="cpu")
    assert (tmp_path / "A.CSV").read_text(encoding="utf-8").startswith('"id",')
    first = (tmp_path / "b.Jsonl").read_text(encoding="utf-8").splitlines()[0]
    assert json.loads(first)["id"] == "n1"
    assert (tmp_path / "A.CSV.rejected.jsonl").exists()


def test_a_calibrated_scorer_gives_its_verdict_in_every_form(
    scorer_path: Path, source: CorpusSource, tmp_path: Path
) -> None:
    run = shutil.copytree(scorer_path, tmp_path / "run", ignore=shutil.ignore_patterns("check*"))
    plain = Scorer.from_pretrained(run, device="cpu")
    texts = ["the king fell on stone " * 3, "the", "the king went to a hall where night fell"]
    middle = float(np.median([plain.score(text).synthenticity for text in texts[::2]]))
    Calibration(weights_fingerprint(run), thresholds={"0.01": middle, "0.2": -1.0}).save(run)
    scorer = Scorer.from_pretrained(run, device="cpu")
    scores = scorer.score(texts)
    assert {score.verdict for score in scores[::2]} == {"flagged at 0.01", "flagged at 0.2"}
    assert scores[1].verdict is None and scores[1].alarms == {}
    corpus = tmp_path / "c.jsonl"
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    result = score_corpus(run, CorpusSource(source=str(corpus)), tmp_path / "o.csv", device="cpu")
    with (tmp_path / "o.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for score, row in zip(scores, rows, strict=True):
        assert (row["verdict"] or None) == score.verdict == score.to_json()["verdict"]
        shown = "\n".join(line.plain for line in score_lines(score, heat=True))
        page = score_page("x", score)
        assert ("(calibrated)" in shown) == (score.verdict is not None)
        assert ("Calibrated verdict" in page) == (score.verdict is not None)
        assert score.verdict is None or score.verdict in page
    assert result.verdicts == {"flagged at 0.01": 1, "flagged at 0.2": 1}
    assert result.abstained == {"too short": 1}
    assert result.mean == pytest.approx(np.mean([s.synthenticity for s in scores[::2]]))


@pytest.mark.parametrize("colours", ["truecolor", "256", "standard"])
def test_the_terminals_colours_are_those_of_the_probabilities(
    scorer_path: Path, colours: str
) -> None:
    score = Scorer.from_pretrained(scorer_path, device="cpu").score("the king and his fool went")
    (text, *_) = score_lines(score, heat=True, colours=colours)
    for place, token in enumerate(score.tokens):
        styles = [str(span.style) for span in text.spans if span.start <= place < span.end]
        style = heat_style(token.probability, colours)
        assert styles == ([style] if style else [])
        assert ("underline" in style) == (token.probability >= 0.5)


def test_a_book_is_coloured_by_the_sentence(
    scorer_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = Scorer.from_pretrained(scorer_path, device="cpu")
    score = scorer.score("the king fell! " * 20 + "who speaks?")
    monkeypatch.setattr("synthenticity.records.pages.MOST_TOKENS", 50)
    page = score_page("book", score)
    heat = page[page.index("<div class='heat'>") :].partition("</div>")[0]
    assert heat.count("<span") == 21
    assert html.unescape(re.sub("<[^>]*>", "", heat)) == score.text


def test_a_scorer_without_token_head_has_a_page(whole: Path, scorer_path: Path) -> None:
    import dataclasses

    score = Scorer.from_pretrained(scorer_path, device="cpu").score("the king fell on stone")
    plain: Score = dataclasses.replace(score, token_logits=None)
    assert "no token head" in score_page("letter", plain)
    assert json.loads("".join(plain.iter_json())) == plain.to_json()


def test_another_scorer_or_corpus_does_not_go_on(
    scorer_path: Path, letters: Path, tmp_path: Path
) -> None:
    out, corpus = tmp_path / "out.parquet", tmp_path / "letters.jsonl"
    corpus.write_text(letters.read_text(encoding="utf-8"), encoding="utf-8")
    source = CorpusSource(source=str(corpus), id_column="id")
    assert killed(scorer_path, corpus, out, 256, 200) == -9
    with pytest.raises(CompatibilityError, match="min_tokens is 4 there and 1 here"):
        score_corpus(scorer_path, source, out, min_tokens=1, device="cpu")
    changed = corpus.read_text(encoding="utf-8").replace("stone", "night", 1)
    corpus.write_text(changed, encoding="utf-8")
    with pytest.raises(CompatibilityError, match="documents of part 0 have changed"):
        score_corpus(scorer_path, source, out, device="cpu")


@pytest.mark.parametrize(
    ("name", "tokens", "why"),
    [
        ("out.csv", True, "cannot hold tokens"),
        ("out.html", False, r"ends in \.html\. Give a \.parquet, \.jsonl or \.csv file"),
        ("folder", False, "is no file by its ending"),
        ("there.parquet", False, "exists"),
    ],
)
def test_what_cannot_be_written_is_refused_first(
    source: CorpusSource, tmp_path: Path, name: str, tokens: bool, why: str
) -> None:
    (tmp_path / "there.parquet").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match=why):
        score_corpus(tmp_path / "no run", source, tmp_path / name, tokens=tokens)


def test_a_url_is_no_place_for_a_table(scorer_path: Path, source: CorpusSource) -> None:
    with pytest.raises(ConfigError, match=r"s3:/bucket/o\.csv is a URL"):
        score_corpus(scorer_path, source, "s3://bucket/o.csv", device="cpu")
    assert not Path("s3:").exists()


def test_what_is_wrong_with_a_corpus_is_said_before_anything_is_scored(
    scorer_path: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"text": "the king"}\n' * 600 + '{"text": \n', encoding="utf-8")
    seen: list[ScoreProgress] = []
    with pytest.raises(CorpusError):
        score_corpus(
            scorer_path,
            CorpusSource(source=str(broken)),
            tmp_path / "o.csv",
            on_progress=seen.append,
        )
    assert seen == [] and list(tmp_path.iterdir()) == [broken]


def test_nothing_usable_is_an_error_and_leaves_nothing(scorer_path: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text('{"text": ""}\n', encoding="utf-8")
    with pytest.raises(CorpusError, match="nothing in it can be used: 1 x is empty"):
        score_corpus(scorer_path, CorpusSource(source=str(empty)), tmp_path / "out.csv")
    assert list(tmp_path.iterdir()) == [empty]


def test_progress_is_told_within_a_document(scorer_path: Path, tmp_path: Path) -> None:
    text = "the king and his fool went to a hall " * 400
    (tmp_path / "long.txt").write_text(text, encoding="utf-8")
    source = CorpusSource(source=str(tmp_path / "long.txt"))
    told: list[ScoreProgress] = []
    score_corpus(
        scorer_path, source, tmp_path / "o.csv", batch_size=8, device="cpu", on_progress=told.append
    )
    done = [each.characters for each in told]
    assert len(done) > 3 and done == sorted(done) and done[-1] == len(text)
    assert [each.documents for each in told] == [0] * (len(told) - 1) + [1]
    left = [each.seconds_left for each in told]
    assert None not in left and left[-1] == 0


def test_a_view_says_what_a_run_found(
    scorer_path: Path, source: CorpusSource, tmp_path: Path
) -> None:
    result = score_corpus(scorer_path, source, tmp_path / "out.parquet", device="cpu")
    said = ScoreView.summary(result)
    assert said["rows"] == result.rows and said["unusable"] == 3
    assert said["abstained"] == {} and 0 < said["mean_synthenticity"] < 1
