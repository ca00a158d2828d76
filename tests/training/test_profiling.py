"""`train --profile`: a trace, a table, and the same weights as without."""

import dataclasses
import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import Weights, same, stopped_at, weights

from synthenticity.cli import run
from synthenticity.config import Config
from synthenticity.config_file import write_config
from synthenticity.training.profiling import Profiling, operators_table
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
    assert said[-1].count("Written: ") == 2
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
    assert not (tmp_path / "run" / "profile").exists()


def test_a_complete_run_says_that_there_is_nothing_to_profile(
    scorer_config: Config, tmp_path: Path
) -> None:
    train(scorer_config, tmp_path / "run")
    said: list[str] = []
    again = train(scorer_config, tmp_path / "run", profile_steps=5, on_message=said.append)
    assert again.already_complete
    assert "nothing measured, all 6 iterations are made" in said[-1]


def test_no_report_ends_a_run(
    long_run: Config, uninterrupted: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("synthenticity.training.profiling.write_whole", full)
    monkeypatch.setattr(torch.profiler.profile, "export_chrome_trace", full)
    said: list[str] = []
    train(long_run, tmp_path / "run", profile_steps=2, on_message=said.append)
    assert all(same(weights(tmp_path / "run"), uninterrupted))
    told = [line for line in said if "could not be made (OSError: [Errno 28]" in line]
    assert "trace-3.json" in told[0] and "times-3.txt" in told[1]
    assert "Iterations 4 to 12" in said[-1] and "aten::" in said[-1]
    assert "Written" not in said[-1]


def test_a_run_on_the_cpu_is_measured_as_one_where_a_gpu_is_there_too(
    long_run: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Profiling.on_step_begin

    def with_a_gpu_there(self: Profiling, *arguments: Any, **others: Any) -> None:
        begin(self, *arguments, **others)
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        monkeypatch.setattr("torch.cuda.random.get_rng_state", torch.get_rng_state)

    monkeypatch.setattr(Profiling, "on_step_begin", with_a_gpu_there)
    said: list[str] = []
    config = dataclasses.replace(long_run, max_iters=5, eval_interval=5, device="cpu")
    train(config, tmp_path / "run", profile_steps=1, on_message=said.append)
    (table,) = (line for line in said if "aten::" in line)
    shares = [float(line.split()[-2][:-1]) for line in table.splitlines() if "aten::" in line]
    assert max(shares) > 0


def test_a_trace_without_device_times_is_still_a_table() -> None:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as trace:
        torch.ones(4, 4) @ torch.ones(4, 4)
    table = operators_table(trace, 1, on_gpu=True)
    assert "0.0%" in table and "aten::" in table


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
