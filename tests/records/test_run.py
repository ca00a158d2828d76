"""`fill_corpus`: the same records however they were made, nothing lost, nothing overwritten."""

import dataclasses
import json
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from synthenticity import fill
from synthenticity.config import Config
from synthenticity.errors import CompatibilityError, ConfigError, CorpusError
from synthenticity.recipe import Recipe
from synthenticity.records import chunks
from synthenticity.records.fill import explore
from synthenticity.records.run import FillProgress, fill_corpus
from synthenticity.records.table import spans_of
from synthenticity.synthesis import filling
from synthenticity.synthesis.splicing import SplicedText, restore, splice
from synthenticity.terminal import FillView


def rows_of(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def test_records_hold_the_truth_of_every_document(whole: Path, notes: Path) -> None:
    texts = {
        row["id"]: row.get("text")
        for row in map(json.loads, notes.read_text(encoding="utf-8").splitlines())
    }
    rows = rows_of(whole)
    assert [row["id"] for row in rows] == [f"n{n}" for n in range(600)]
    for row in rows:
        assert row["original"] == texts[row["id"]]
        spliced = SplicedText(row["text"], spans_of(row["spans"]), *[None] * 3)  # type: ignore[arg-type]
        assert restore(spliced) == row["original"]
        labels = row["token_labels"]
        filled = sum(label in (1, 2) for label in labels)
        counted = sum(label != -100 for label in labels)
        assert row["synthenticity"] == pytest.approx(filled / counted)
        assert row["replaced_fraction"] == pytest.approx(labels.count(2) / counted)
        assert len(row["log_probabilities"]) == len(row["ranks"]) == filled
        assert all(value <= 0 for value in row["log_probabilities"])
        assert len(labels) == len(row["token_ids"]) == len(row["token_starts"])
        for span in row["spans"]:
            changed = row["text"][span["start"] : span["end"]] != span["original"]
            assert changed == (span["label"] == "replaced")
    assert max(row["synthenticity"] for row in rows) > 0.5


def test_unusable_documents_are_listed_with_reasons(whole: Path) -> None:
    listed = whole.with_name("out.parquet.rejected.jsonl").read_text(encoding="utf-8").splitlines()
    reasons = {row["id"]: row["reason"] for row in map(json.loads, listed)}
    assert set(reasons) == {"empty", "number", "none"}
    assert all(reasons.values())


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (7, 1), (64, 2)])
def test_records_do_not_depend_on_batches_and_workers(
    config: Config, whole: Path, tmp_path: Path, batch_size: int, workers: int
) -> None:
    out = tmp_path / "out.parquet"
    fill_corpus(config, out, batch_size=batch_size, workers=workers)
    assert out.read_bytes() == whole.read_bytes()
    listed = [path.with_name("out.parquet.rejected.jsonl").read_bytes() for path in (out, whole)]
    assert listed[0] == listed[1]


def test_a_document_does_not_depend_on_the_others(
    config: Config, whole: Path, notes: Path, tmp_path: Path
) -> None:
    lines = notes.read_text(encoding="utf-8").splitlines(keepends=True)[:600]
    shuffled = tmp_path / "shuffled.jsonl"
    shuffled.write_text("".join(lines[::-3]), encoding="utf-8")
    out = tmp_path / "out.parquet"
    fill_corpus(dataclasses.replace(config, corpus=str(shuffled)), out, batch_size=5)
    known = {row["id"]: row for row in rows_of(whole)}
    found = rows_of(out)
    assert len(found) == 200
    assert all(row == known[row["id"]] for row in found)


KILL = """
import os, signal, sys
from pathlib import Path
from synthenticity.config_file import load_config
from synthenticity.records.run import FillProgress, fill_corpus

def kill(progress):
    if progress.documents >= 512:
        os.kill(os.getpid(), signal.SIGKILL)

fill_corpus(load_config(Path(sys.argv[1])), Path(sys.argv[2]), on_progress=kill)
"""


def test_a_killed_run_goes_on_and_gives_the_same_bytes(
    config: Config, whole: Path, tmp_path: Path
) -> None:
    from synthenticity.config_file import write_config

    out = tmp_path / "out.parquet"
    write_config(config, tmp_path / "config.toml")
    command = [sys.executable, "-c", KILL, str(tmp_path / "config.toml"), str(out)]
    killed = subprocess.run(command, capture_output=True, check=False)
    assert killed.returncode == -9, killed.stderr
    parts = sorted((tmp_path / "out.parquet.partial").glob("part-*.parquet"))
    assert len(parts) == 2
    assert not out.exists()
    parts[0].write_bytes(parts[0].read_bytes()[:-100])  # and one is damaged
    seen: list[FillProgress] = []
    result = fill_corpus(config, out, on_progress=seen.append)
    assert sorted(progress.resumed for progress in seen) == [False, False, True]
    written = sum(len(row["ranks"]) for row in rows_of(out))
    assert result.progress.written_tokens == written
    assert result.progress.new_documents == 344
    assert result.progress.new_tokens < written
    assert out.read_bytes() == whole.read_bytes()
    assert not (tmp_path / "out.parquet.partial").exists()


def test_a_run_goes_on_when_its_workers_are_killed(
    config: Config, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK", 50)
    killed: set[int | None] = set()
    last: set[int | None] = set()

    def kill(_: FillProgress) -> None:
        last.clear()
        last.update(child.pid for child in multiprocessing.active_children())
        if not killed:
            killed.update(last)
            for child in multiprocessing.active_children():
                child.kill()

    out = tmp_path / "out.parquet"
    fill_corpus(config, out, workers=2, on_progress=kill)
    assert len(killed) == 2
    assert last - killed, "nobody took over"
    assert rows_of(out) == rows_of(whole)


@pytest.mark.parametrize("workers", [1, 2])
def test_spared_readings_are_counted_whoever_fills(
    config: Config, tmp_path: Path, workers: int
) -> None:
    all_masked = dataclasses.replace(config, mask_probability_range=(1.0, 1.0))
    done = fill_corpus(all_masked, tmp_path / "out.parquet", workers=workers)
    assert done.progress.readings_spared > 500  # of 600 texts, of twelve lengths
    assert FillView.summary(done)["readings_spared"] == done.progress.readings_spared
    none_kept = dataclasses.replace(all_masked, fill_cache_mib=0)
    done = fill_corpus(none_kept, tmp_path / "again.parquet", workers=workers)
    assert done.progress.readings_spared == 0
    assert rows_of(tmp_path / "again.parquet") == rows_of(tmp_path / "out.parquet")


def begin(config: Config, out: Path) -> None:
    """Begin a run and stop it after its first chunk."""

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill_corpus(config, out, on_progress=stop)


def test_a_run_is_not_continued_with_other_settings_or_documents(
    config: Config, notes: Path, tmp_path: Path
) -> None:
    changed = tmp_path / "notes.jsonl"
    changed.write_text(notes.read_text(encoding="utf-8"), encoding="utf-8")
    config = dataclasses.replace(config, corpus=str(changed))
    out = tmp_path / "out.parquet"
    begin(config, out)
    with pytest.raises(CompatibilityError, match="seed is 5 there and 6 here"):
        fill_corpus(dataclasses.replace(config, seed=6), out)
    changed.write_text(
        changed.read_text(encoding="utf-8").replace("keeper", "sailor", 1), encoding="utf-8"
    )
    with pytest.raises(CompatibilityError, match="documents of part 0 have changed"):
        fill_corpus(config, out)


@pytest.mark.parametrize("name", ["out.parquet", "out.jsonl", "out"])
def test_what_is_there_is_never_overwritten(config: Config, tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    out.write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="exists"):
        fill_corpus(config, out)
    assert out.read_text(encoding="utf-8") == "mine"


def test_an_unknown_form_of_output_is_refused(config: Config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.csv"):
        fill_corpus(config, tmp_path / "out.csv")


def test_json_lines_hold_the_same_records(config: Config, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    fill_corpus(config, out)
    lines = out.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == rows_of(whole)


def test_a_corpus_of_which_nothing_can_be_used_is_an_error(config: Config, tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text('{"id": "a", "text": ""}\n', encoding="utf-8")
    with pytest.raises(CorpusError):
        fill_corpus(dataclasses.replace(config, corpus=str(empty)), tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


def test_copies_are_filled_differently(config: Config, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    fill_corpus(config, out, copies=2)
    rows = rows_of(out)
    first = [row for row in rows if row["copy"] == 0]
    second = [row for row in rows if row["copy"] == 1]
    assert first == rows_of(whole)
    assert [row["id"] for row in second] == [row["id"] for row in first]
    assert sum(a["text"] != b["text"] for a, b in zip(first, second, strict=True)) > 400


def test_every_sequence_says_which_model_wrote_it(
    config: Config, family: Callable[[str], Path], tmp_path: Path
) -> None:
    paths = [str(family(name)) for name in ("bert-cased", "gpt2")]
    recipes = tuple(Recipe(ratio=(0.5, 0.5), mlm_checkpoint_path=path) for path in paths)
    several = dataclasses.replace(
        config, recipes=recipes, mask_probability_range=(0.1, 0.7), untouched_share=None
    )
    out = tmp_path / "out.parquet"
    fill_corpus(several, out)
    rows = rows_of(out)
    by_model = {row["mlm"].partition("@")[0] for row in rows}
    assert by_model == {Path(path).name for path in paths}
    for row in rows:
        assert row["recipe"].endswith("@" + row["mlm"].partition("@")[0])


def test_explore_shows_the_records_of_the_first_documents(config: Config, whole: Path) -> None:
    assert explore(config, 3) == rows_of(whole)[:3]


def test_fill_gives_the_same_records_as_the_command(
    config: Config, whole: Path, notes: Path
) -> None:
    from synthenticity.text.reading import Document

    rows = [json.loads(line) for line in notes.read_text(encoding="utf-8").splitlines()[:20]]
    documents = [Document(row["id"], row["text"]) for row in rows]
    records = fill(
        documents, model=config.mlm_checkpoint_path, ratio=(0.0, 0.6), seed=5, untouched_share=0.0
    )
    assert records == rows_of(whole)[:20]


@pytest.mark.parametrize("text", ["", " \n\t", "\ud800", None, {"text": "x"}])
def test_fill_refuses_or_hands_back_what_it_cannot_use(
    family: Callable[[str], Path], text: Any
) -> None:
    model = family("bert-cased")
    with pytest.raises(CorpusError, match="text 1: "):
        fill(["The keeper.", text], model=model)
    rejected: list[Any] = []
    records = fill(["The keeper.", text], model=model, on_rejected=rejected.append)
    assert [record["id"] for record in records] == ["0"]
    assert [item.id for item in rejected] == ["1"]


def test_fill_refuses_two_texts_of_one_id(family: Callable[[str], Path]) -> None:
    from synthenticity.text.reading import Document

    with pytest.raises(CorpusError, match="id a: two texts"):
        fill([Document("a", "one"), Document("a", "two")], model=family("bert-cased"))


def test_a_run_is_not_continued_with_other_columns(config: Config, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    begin(config, out)
    with pytest.raises(CompatibilityError, match="corpus domain_column is None there"):
        fill_corpus(dataclasses.replace(config, domain_column="kind"), out)


def test_two_runs_do_not_write_one_output(config: Config, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    refused: list[str] = []

    def meddle(_: object) -> None:
        if not refused:
            with pytest.raises(ConfigError, match="another run is writing") as error:
                fill_corpus(config, out)
            refused.append(str(error.value))

    result = fill_corpus(config, out, on_progress=meddle)
    assert refused
    assert result.records == len(rows_of(out)) == 600


def test_long_documents_make_smaller_chunks(
    config: Config, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_CHARACTERS", 2000)
    seen: list[int] = []
    out = tmp_path / "out.parquet"
    fill_corpus(config, out, on_progress=lambda progress: seen.append(progress.documents))
    assert len(seen) > 30
    assert rows_of(out) == rows_of(whole)


def test_a_foreign_list_of_rejected_documents_is_not_replaced(
    config: Config, tmp_path: Path
) -> None:
    mine = tmp_path / "out.parquet.rejected.jsonl"
    mine.write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"out\.parquet\.rejected\.jsonl exists"):
        fill_corpus(config, tmp_path / "out.parquet")
    assert mine.read_text(encoding="utf-8") == "mine"


ORPHANS = """
import os, signal, sys, time
from pathlib import Path
from synthenticity.config_file import load_config
from synthenticity.records.run import FillProgress, fill_corpus

def kill(progress):
    import multiprocessing
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    fill_corpus(load_config(Path(sys.argv[1])), Path(sys.argv[2]), workers=2, on_progress=kill)
"""


def test_no_worker_outlives_a_killed_run(config: Config, tmp_path: Path) -> None:
    from synthenticity.config_file import write_config

    script = tmp_path / "orphans.py"
    script.write_text(ORPHANS, encoding="utf-8")
    write_config(config, tmp_path / "config.toml")
    command = [sys.executable, str(script), str(tmp_path / "config.toml"), str(tmp_path / "out")]
    killed = subprocess.run(command, stdout=subprocess.PIPE, check=False, text=True)
    assert killed.returncode == -9
    workers = [Path(f"/proc/{pid}") for pid in killed.stdout.split()]
    assert len(workers) == 2
    deadline = time.monotonic() + 60
    while any(_is_running(worker) for worker in workers):
        assert time.monotonic() < deadline, "a worker is still there"
        time.sleep(0.2)


def _is_running(process: Path) -> bool:
    try:
        return "Z" not in (process / "stat").read_text(encoding="utf-8").rpartition(")")[2][:3]
    except OSError:
        return False


def test_what_passes_through_a_broken_tool_rings_the_alarm(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any) -> SplicedText:
        good = splice(*arguments)
        text, cursor = "", 0
        for span in good.spans:
            text += good.text[cursor : span.start].upper() + good.text[span.start : span.end]
            cursor = span.end
        return dataclasses.replace(good, text=text + good.text[cursor:].upper())

    monkeypatch.setattr(filling, "splice", broken)
    alarm = fill_corpus(config, tmp_path / "out").alarm
    assert alarm is not None
    assert alarm.rings
    assert "**Warning.**" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("texts", "options"),
    [
        ("one string", {}),
        (["a b"], {"ratoi": 0.3}),
        (["a b"], {"copies": 0}),
        (["a b"], {"batch_size": 0}),
        (["a b"], {"ratio": 0.2, "recipes": (Recipe(),)}),
    ],
)
def test_wrong_calls_of_fill_are_refused(
    config: Config, texts: Any, options: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError):
        fill(texts, model=config.mlm_checkpoint_path, **options)
