"""`train --profile`: a trace, a table, and the same weights as without."""

import dataclasses
import json
from pathlib import Path

import pytest
from runs import Weights, same, stopped_at, weights

from synthenticity.cli import run
from synthenticity.config import Config
from synthenticity.config_file import write_config
from synthenticity.training.train import train

PARTS = (
    "waiting for data",
    "moving",
    "forward",
    "backward",
    "optimizer",
    "evaluation",
    "checkpoints",
    "the rest",
)


def ranges(trace: Path) -> list[str]:
    """Return the names of the parts that a trace shows, once for each time."""
    events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    prefix = "synthenticity: "
    names = (e["name"] for e in events if e.get("cat") == "user_annotation")
    return [name.removeprefix(prefix) for name in names if name.startswith(prefix)]


def test_a_profiled_run_is_the_same_run_with_a_trace_and_a_table(
    long_run: Config, uninterrupted: Weights, tmp_path: Path
) -> None:
    said: list[str] = []
    train(long_run, tmp_path / "run", profile_steps=2, on_message=said.append)
    assert all(same(weights(tmp_path / "run"), uninterrupted))
    parts = ranges(tmp_path / "run" / "profile" / "trace-3.json")
    assert parts.count("forward") == parts.count("backward") == 2 * 2  # accumulated
    text = (tmp_path / "run" / "profile" / "times-3.txt").read_text(encoding="utf-8")
    table = {line[:18].strip(): line[18:].split() for line in text.splitlines()}
    assert "Iterations 4 to 12" in text and text.strip() in said[-1]
    assert all(float(table[part][0]) >= 0 for part in PARTS)
    assert sum(float(table[part][0]) for part in PARTS) == pytest.approx(
        float(table["a step"][0]), abs=0.1 * len(PARTS)
    )
    for part in ("forward", "backward", "evaluation", "checkpoints"):
        assert float(table[part][0]) > 0
    assert "aten::" in text


def test_a_stopped_run_leaves_its_profile_and_the_one_that_goes_on_its_own(
    long_run: Config, uninterrupted: Weights, tmp_path: Path
) -> None:
    with stopped_at(5) as watch, pytest.raises(KeyboardInterrupt):
        train(long_run, tmp_path / "run", on_progress=watch, profile_steps=50)
    train(long_run, tmp_path / "run", profile_steps=1)
    assert all(same(weights(tmp_path / "run"), uninterrupted))
    names = sorted(path.name for path in (tmp_path / "run" / "profile").iterdir())
    first, second = (name for name in names if name.startswith("trace"))
    assert first == "trace-3.json" or second == "trace-3.json"
    assert len(names) == 4


def test_a_run_of_warm_up_alone_says_that_nothing_was_measured(
    scorer_config: Config, tmp_path: Path
) -> None:
    said: list[str] = []
    train(
        dataclasses.replace(scorer_config, max_iters=3),
        tmp_path / "run",
        profile_steps=5,
        on_message=said.append,
    )
    assert "nothing measured, the run made 3 iterations" in said[-1]


def test_the_command_prints_where_the_time_went_and_refuses_no_iterations(
    scorer_config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_config(scorer_config, tmp_path / "c.toml")
    arguments = ["train", str(tmp_path / "c.toml"), "--out_dir", str(tmp_path / "run")]
    assert run([*arguments, "--profile", "0"]) == 2
    assert "--profile: 0 is no number of iterations" in capsys.readouterr().err
    assert run([*arguments, "--profile", "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["steps"] == 6
    assert "waiting for data" in printed.err and (tmp_path / "run/profile/trace-3.json").is_file()
