"""Failed, killed or stopped at any point, a run goes on to the weights of one that was not.

All runs have dropout, accumulation and evaluations between, and checkpoints that fit neither.
"""

import dataclasses
import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from faulty import BrokenError, Fault, run_with_fault
from runs import Weights, providing, same, seen_in_one_go, stopped_at, weights

from synthenticity import faults
from synthenticity.cli import INTERRUPTED
from synthenticity.config import Config
from synthenticity.config_file import write_config
from synthenticity.errors import QueueError
from synthenticity.training.checkpoint_files import (
    MARKER_KEYS,
    mark_position,
    newest_checkpoint,
    remove_old_checkpoints,
    verify_checkpoint,
)
from synthenticity.training.train import train

POINTS = (
    "consumer.read",
    "step.taken",
    "checkpoint.begun",
    "checkpoint.saved",
    "checkpoint.flushed",
    "checkpoint.marked",
    "checkpoint.acknowledged",
    "checkpoint.cleaned",
    "model.saved",
    "metrics.saved",
)


@contextmanager
def fault(point: str, kind: str, nth: int = 1) -> Iterator[None]:
    """Within, a fault strikes once; check that it did."""
    watcher = Fault(point, kind, nth)
    faults.watch(watcher)
    try:
        yield
    finally:
        faults.watch(None)
    assert watcher.fired


@pytest.fixture
def sparse(long_run: Config) -> Config:
    """Checkpoints after 5, 10 and 12 of 12 iterations."""
    return dataclasses.replace(long_run, save_interval=5)


def test_a_run_that_fails_at_every_point_in_turn_has_the_weights_of_one_that_does_not(
    sparse: Config, uninterrupted: Weights, tmp_path: Path
) -> None:
    for point in POINTS:
        with fault(point, "exception"), pytest.raises(BrokenError):
            train(sparse, tmp_path / "run")
    assert train(sparse, tmp_path / "run").already_complete
    assert all(same(weights(tmp_path / "run"), uninterrupted))


@pytest.mark.parametrize("point", ["checkpoint.saved", "checkpoint.marked", "checkpoint.cleaned"])
def test_a_run_that_fails_at_a_later_checkpoint_goes_on_from_the_one_before(
    point: str, sparse: Config, uninterrupted: Weights, tmp_path: Path
) -> None:
    with fault(point, "exception", nth=2), pytest.raises(BrokenError):
        train(sparse, tmp_path / "run")
    found = newest_checkpoint(tmp_path / "run")
    assert found is not None
    assert found[1]["global_step"] == (5 if point == "checkpoint.saved" else 10)
    train(sparse, tmp_path / "run")
    assert all(same(weights(tmp_path / "run"), uninterrupted))


def test_on_a_live_queue_too_each_sequence_acts_once(live_run: Config, tmp_path: Path) -> None:
    with providing(live_run) as queue:
        for point in POINTS:
            with fault(point, "exception"), pytest.raises(BrokenError):
                train(live_run, tmp_path / "run")
        assert queue.first_unacknowledged() == 30 * 8 // 12
    assert all(same(weights(tmp_path / "run"), seen_in_one_go(live_run, tmp_path)))


def test_a_trainer_killed_again_and_again_is_the_trainer_that_was_not(
    live_run: Config, tmp_path: Path
) -> None:
    write_config(live_run, tmp_path / "c.toml")
    command = ["train", str(tmp_path / "c.toml"), "--out_dir", str(tmp_path / "run")]
    with providing(live_run) as queue:
        for point, nth in (
            ("checkpoint.saved", 2),
            ("checkpoint.marked", 1),
            ("model.saved", 1),
        ):
            done = run_with_fault(
                command, tmp_path / "fired", point=point, nth=nth, fault="SIGKILL"
            )
            assert done.returncode == -signal.SIGKILL
        result = train(live_run, tmp_path / "run")
        assert result.steps == 30 and not result.already_complete
        assert queue.first_unacknowledged() == 30 * 8 // 12
    assert all(same(weights(tmp_path / "run"), seen_in_one_go(live_run, tmp_path)))


@pytest.mark.parametrize(
    ("kind", "points"),
    [
        ("SIGTERM", ("consumer.read", "step.taken", "checkpoint.begun", "checkpoint.marked")),
        ("SIGINT", ("checkpoint.saved", "step.taken", "checkpoint.cleaned")),
    ],
)
def test_a_signal_at_a_point_stops_in_order_with_a_checkpoint(
    kind: str, points: tuple[str, ...], sparse: Config, uninterrupted: Weights, tmp_path: Path
) -> None:
    for point in points:
        before = newest_checkpoint(tmp_path / "run")
        with fault(point, kind), pytest.raises(KeyboardInterrupt):
            train(sparse, tmp_path / "run")
        after = newest_checkpoint(tmp_path / "run")
        assert after is not None and (before is None or after[0] != before[0])
    assert train(sparse, tmp_path / "run").steps == 12
    assert all(same(weights(tmp_path / "run"), uninterrupted))


@pytest.mark.parametrize("point", ["model.saved", "metrics.saved"])
def test_a_signal_when_all_is_done_but_a_file_lets_the_run_end(
    point: str, sparse: Config, uninterrupted: Weights, tmp_path: Path
) -> None:
    with fault(point, "SIGTERM"):
        train(sparse, tmp_path / "run")
    assert train(sparse, tmp_path / "run").already_complete


def test_a_stopped_command_ends_with_130_and_one_line(sparse: Config, tmp_path: Path) -> None:
    write_config(sparse, tmp_path / "c.toml")
    command = ["train", str(tmp_path / "c.toml"), "--out_dir", str(tmp_path / "run")]
    done = run_with_fault(command, tmp_path / "fired", point="step.taken", nth=3, fault="SIGTERM")
    assert done.returncode == INTERRUPTED
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().endswith("Stopped. The same command goes on from here.")
    assert newest_checkpoint(tmp_path / "run")[1]["global_step"] == 3


def test_a_second_signal_a_while_later_interrupts_at_once(
    sparse: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synthenticity.training.stopping.IMPATIENCE_SECONDS", -1.0)
    with fault("step.taken", "SIGINT"), pytest.raises(KeyboardInterrupt):
        train(sparse, tmp_path / "run")
    assert newest_checkpoint(tmp_path / "run") is None


def test_a_lost_newest_checkpoint_on_a_live_queue_has_its_files_made_again(
    live_run: Config, tmp_path: Path
) -> None:
    said: list[str] = []
    with providing(live_run) as queue:
        with stopped_at(20) as watch, pytest.raises(KeyboardInterrupt):
            train(live_run, tmp_path / "run", on_progress=watch)
        newest, marker = newest_checkpoint(tmp_path / "run")
        shutil.rmtree(newest)
        before = newest_checkpoint(tmp_path / "run")[1]
        assert before["position"] // 12 < queue.first_unacknowledged() == marker["position"] // 12
        train(live_run, tmp_path / "run", on_message=said.append)
        assert queue.first_unacknowledged() == 30 * 8 // 12
    assert any("was lost; the provider makes the files since then again" in line for line in said)
    assert all(same(weights(tmp_path / "run"), seen_in_one_go(live_run, tmp_path)))


def test_a_complete_run_is_complete_whoever_used_its_queue_since(
    live_run: Config, tmp_path: Path
) -> None:
    config = dataclasses.replace(live_run, max_iters=6)
    with providing(config):
        for name in ("one", "other"):
            assert not train(config, tmp_path / name).already_complete
        assert train(config, tmp_path / "one").already_complete


def test_another_run_takes_nothing_back(live_run: Config, tmp_path: Path) -> None:
    with providing(live_run):
        with stopped_at(20) as watch, pytest.raises(KeyboardInterrupt):
            train(live_run, tmp_path / "run", on_progress=watch)
        shutil.rmtree(newest_checkpoint(tmp_path / "run")[0])
        shutil.copytree(tmp_path / "run", tmp_path / "copy")
        with pytest.raises(QueueError, match=rf"removed by another consumer \({tmp_path / 'run'}"):
            train(live_run, tmp_path / "copy")


def test_a_removal_cut_short_leaves_no_damaged_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (4, 8, 12):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        content = {**dict.fromkeys(MARKER_KEYS), "global_step": step}
        for name in ("trainer_state.json", "stream.json", "model.safetensors"):
            (folder / name).write_text(json.dumps(content), encoding="utf-8")

    def cut_short(folder: Path) -> None:
        (folder / "trainer_state.json").unlink()
        raise BrokenError

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", cut_short)
        with pytest.raises(BrokenError):
            remove_old_checkpoints(tmp_path)
    assert newest_checkpoint(tmp_path)[0].name == "checkpoint-12"
    remove_old_checkpoints(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-12", "checkpoint-8"]


def test_what_a_person_keeps_beside_the_checkpoints_is_left_alone(tmp_path: Path) -> None:
    consumer = SimpleNamespace(meta=SimpleNamespace(fingerprint="f"), files=None)
    for step in (4, 8, 12):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text("{}", encoding="utf-8")
        mark_position(folder, step, 4 * step, consumer)
    shutil.copytree(tmp_path / "checkpoint-4", tmp_path / "checkpoint-4-kept")
    (tmp_path / "checkpoint-best").mkdir()
    (tmp_path / "checkpoint-latest").symlink_to("checkpoint-12")
    (tmp_path / "checkpoint-notes.txt").touch()
    names = (path.name for path in tmp_path.iterdir())
    theirs = [name for name in names if not name[-1].isdigit()]
    remove_old_checkpoints(tmp_path)
    assert newest_checkpoint(tmp_path)[0].name == "checkpoint-12"
    found = {path.name for path in tmp_path.iterdir()}
    assert found == {*theirs, "checkpoint-8", "checkpoint-12"} and len(theirs) == 4


def test_a_half_written_marker_of_a_process_of_the_same_number_does_no_damage(
    tmp_path: Path,
) -> None:
    """In a container, the process that goes on has the number of the one that was killed."""
    folder = tmp_path / "checkpoint-4"
    folder.mkdir()
    for name in ("trainer_state.json", f".stream.json.{os.getpid()}"):
        (folder / name).write_text("{}", encoding="utf-8")
    consumer = SimpleNamespace(meta=SimpleNamespace(fingerprint="f"), files=None)
    mark_position(folder, 4, 16, consumer)
    verify_checkpoint(*newest_checkpoint(tmp_path))


def test_the_model_is_flushed_before_the_file_that_says_it_is_done(
    sparse: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or else a power cut leaves a finished run with an empty model."""
    steps: list[str] = []
    run, fsync = tmp_path / "run", os.fsync

    def flushed(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.parent == run:
            steps.append(path.name.removeprefix(".").partition(".json.")[0])
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", flushed)
    train(sparse, run)
    assert steps[-1] == "metrics" and "model.safetensors" in steps and "config.json" in steps
