"""Several processes train as one, on the same stream, and their number may change."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import faulty
import pytest
from faulty import run_with_fault
from runs import providing, seen_in_one_go, stopped_at, weights
from seen import recording, stream_digest

from synthenticity.config import Config
from synthenticity.config_file import write_config
from synthenticity.errors import ConfigError
from synthenticity.stream.dataset_consumer import DatasetConsumer
from synthenticity.training.checkpoint_files import newest_checkpoint
from synthenticity.training.checks import check_agreement
from synthenticity.training.ranks import Ranks
from synthenticity.training.train import train

TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
ACCELERATE = (
    *("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"),
    *("--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"),
    *("--main_process_port", "0", "-m", "synthenticity"),
)
"""With `--cpu`, it would start one process; `--multi_gpu` means several, here without a GPU."""


def largest_difference(folder: Path, other: Path) -> float:
    left, right = weights(folder), weights(other)
    assert left.keys() == right.keys()
    return max(float((left[name] - right[name]).abs().max()) for name in left)


def logged(folder: Path) -> list[float]:
    """Return the losses that a run has reported."""
    state = json.loads((newest_checkpoint(folder)[0] / "trainer_state.json").read_text("utf-8"))
    return [entry["loss"] for entry in state["log_history"] if "loss" in entry]


def eval_losses(folder: Path) -> dict[int, float]:
    content = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return {entry["step"]: entry["eval_loss"] for entry in content["history"]}


@pytest.mark.parametrize(
    ("killed", "again"),
    [
        (1, False),
        pytest.param(0, True, marks=pytest.mark.slow),
        pytest.param(1, True, marks=pytest.mark.slow),
    ],
)
def test_two_processes_killed_then_one_then_two_learn_what_one_learns(
    killed: int, again: bool, live_run: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same rows in the same order; without dropout, which each draws for itself."""
    config = dataclasses.replace(live_run, dropout=0.0)
    write_config(config, tmp_path / "c.toml")
    out = tmp_path / "run"
    command = ["train", str(tmp_path / "c.toml"), "--out_dir", str(out), "--json"]
    markers, launches = [], [tmp_path / f"seen{number}" for number in range(3 if again else 2)]
    with providing(config) as queue:
        fault = {"point": "checkpoint.flushed", "nth": 3, "fault": "SIGKILL", "rank": killed}
        monkeypatch.setenv("SEEN", str(launches[0]))
        done = run_with_fault(command, tmp_path / "fired", **fault, launcher=TWO)
        assert done.returncode and not (out / "metrics.json").exists()
        markers.append(newest_checkpoint(out)[1])
        with recording(launches[1]):
            if again:
                stop = stopped_at(markers[0]["global_step"] + 5)
                with stop as watch, pytest.raises(KeyboardInterrupt):
                    train(config, out, on_progress=watch)
                markers.append(newest_checkpoint(out)[1])
            else:
                train(config, out)
        if again:
            monkeypatch.setenv("SEEN", str(launches[2]))
            done = run_by_two(command, (*TWO, faulty.__file__))
            assert json.loads(done.stdout)["steps"] == 30  # said once
        markers.append(newest_checkpoint(out)[1])
        assert queue.first_unacknowledged() == 30 * 8 // 12
    steps = [marker["global_step"] for marker in markers]
    assert steps == sorted(set(steps)) and steps[0] > 0 and steps[-1] == 30
    assert [marker["position"] for marker in markers] == [step * 8 for step in steps]
    with recording(tmp_path / "seen_once"):
        seen_in_one_go(config, tmp_path)
    assert stream_digest(launches, 30) == stream_digest([tmp_path / "seen_once"], 30)
    assert largest_difference(out, tmp_path / "once") < 1e-5
    assert eval_losses(out) == pytest.approx(eval_losses(tmp_path / "once"))


@pytest.mark.parametrize(
    "modifiers",
    [
        {},
        pytest.param(
            {"loss_modifiers_enabled": True, "entropy_modifier_enabled": True},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["plain", "entropy"],
)
def test_two_processes_with_unequally_masked_rows_learn_what_one_learns(
    modifiers: dict[str, bool], mlm_config: Config, tmp_path: Path
) -> None:
    config = dataclasses.replace(mlm_config, dropout=0.0, max_iters=6, eval_interval=3, **modifiers)
    write_config(config, tmp_path / "c.toml")
    run_by_two(["train", str(tmp_path / "c.toml"), "--out_dir", str(tmp_path / "two")])
    train(config, tmp_path / "one")
    assert largest_difference(tmp_path / "two", tmp_path / "one") < 1e-5
    assert logged(tmp_path / "two") == pytest.approx(logged(tmp_path / "one"), rel=1e-4)


def test_two_processes_with_unequally_padded_rows_learn_what_one_learns(
    padded_run: Config, tmp_path: Path
) -> None:
    """Of as many rows an iteration, which one process takes at once and two in two batches each."""
    write_config(padded_run, tmp_path / "c.toml")
    halves = ["--batch_size", "4", "--gradient_accumulation_steps", "2"]
    command = ["train", str(tmp_path / "c.toml"), "--out_dir", str(tmp_path / "two")]
    run_by_two([*command, *halves])
    train(dataclasses.replace(padded_run, batch_size=8), tmp_path / "one")
    assert largest_difference(tmp_path / "two", tmp_path / "one") < 1e-5


@pytest.mark.parametrize("run", ["mlm_config", "padded_run"])
def test_accumulated_batches_count_as_one_batch_of_their_rows(
    run: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    config = dataclasses.replace(
        request.getfixturevalue(run), dropout=0.0, max_iters=6, eval_interval=3
    )
    train(dataclasses.replace(config, batch_size=8), tmp_path / "whole")
    halves = dataclasses.replace(config, batch_size=4, gradient_accumulation_steps=2)
    train(halves, tmp_path / "halves")
    assert largest_difference(tmp_path / "halves", tmp_path / "whole") < 1e-5


@pytest.mark.slow
def test_accelerate_may_start_the_processes(long_run: Config, tmp_path: Path) -> None:
    config = dataclasses.replace(long_run, dropout=0.0)
    write_config(config, tmp_path / "c.toml")
    out = tmp_path / "run"
    run_by_two(["train", str(tmp_path / "c.toml"), "--out_dir", str(out)], launcher=ACCELERATE)
    train(config, tmp_path / "alone")
    assert largest_difference(out, tmp_path / "alone") < 1e-5
    states = {path.name for path in newest_checkpoint(out)[0].glob("rng_state*")}
    assert states == {"rng_state_0.pth", "rng_state_1.pth"}


def run_by_two(
    command: list[str], launcher: tuple[str, ...] = (*TWO, "-m", "synthenticity")
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, *launcher, *command],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_processes_that_see_different_checkpoints_refuse_to_begin(
    long_run: Config, tmp_path: Path
) -> None:
    """Each on a disk of its own, of which one holds a run that was begun."""
    out = tmp_path / "disk0"
    train(dataclasses.replace(long_run, max_iters=4), out)
    write_config(long_run, tmp_path / "c.toml")
    command = f"{sys.executable} -m synthenticity train {tmp_path}/c.toml --out_dir"
    done = subprocess.run(
        [sys.executable, *TWO, "--no-python", "sh", "-c", f"{command} {tmp_path}/disk$RANK"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode
    said = (  # by one of them at least, before the launcher ends the other
        rf"out_dir: the processes see different checkpoints in {tmp_path}/disk[01] "
        r"\(rank 0: iteration 4 \([0-9a-f]{16}\); rank 1: none\)\. Give a folder that all"
    )
    assert re.search(said, done.stderr), done.stderr
    assert not (tmp_path / "disk1").exists() and newest_checkpoint(out)[1]["global_step"] == 4


class OneOfThreeApart(Ranks):
    """Three processes, of which the last has read something else in one place."""

    def __init__(self, place: int) -> None:
        super().__init__()
        self.place = place

    def of_each(self, *values: int) -> list[tuple[int, ...]]:
        other = tuple(value + (place == self.place) for place, value in enumerate(values))
        return [values, values, other]


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (1, r"out_dir: .* \(rank 0, 1: iteration 4 \(\w+\); rank 2: iteration 4 \(\w+\)\)"),
        (2, r"data_dir: the processes see different data in .* \(rank 0, 1: \w+; rank 2: \w+\)"),
    ],
)
def test_other_content_under_the_same_name_is_refused(
    place: int, said: str, scorer_config: Config, tmp_path: Path
) -> None:
    consumer = DatasetConsumer(scorer_config.data_dir, batch_size=4)
    resumed = (tmp_path / "checkpoint-4", {"global_step": 4, "digests": {}})
    check_agreement(Ranks(), tmp_path, resumed, consumer)
    with pytest.raises(ConfigError, match=said):
        check_agreement(OneOfThreeApart(place), tmp_path, resumed, consumer)


def test_a_batch_that_processes_cannot_share_is_refused(
    scorer_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"WORLD_SIZE": "3", "RANK": "2", "LOCAL_RANK": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=r"batch_size: 4 .* equally by 3 processes"):
        train(scorer_config, tmp_path / "run")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"RANK": "3"}, r"RANK is 3 and WORLD_SIZE 1"),
        ({"RANK": "-1"}, r"RANK is -1"),
        ({"WORLD_SIZE": "0"}, r"WORLD_SIZE 0"),
        ({"WORLD_SIZE": "two"}, r"WORLD_SIZE is 'two', which is no number"),
    ],
)
def test_variables_of_a_launcher_that_do_not_fit_are_refused(
    variables: dict[str, str],
    said: str,
    scorer_config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=said):
        train(scorer_config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "")
    monkeypatch.setenv("RANK", "")
    assert (Ranks().world_size, Ranks().rank) == (1, 0)
