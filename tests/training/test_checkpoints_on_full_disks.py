"""A full disk is waited out: the run says so once, leaves nothing half-written, and goes on."""

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faulty import Fault
from runs import Weights, providing, same, seen_in_one_go, weights
from torch.utils.tensorboard import SummaryWriter
from transformers import Trainer

from synthenticity import faults
from synthenticity.config import Config
from synthenticity.config_file import write_config
from synthenticity.errors import ModelError
from synthenticity.training import checkpoint_files
from synthenticity.training.checkpoint_files import newest_checkpoint
from synthenticity.training.train import train

NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


def failing(times: int, error: Exception, real: Callable[..., Any]) -> Any:
    """Return a function that raises the first times it is called; `.calls` counts all."""

    def call(*args: Any, **kwargs: Any) -> Any:
        call.calls += 1
        if call.calls <= times:
            raise error
        return real(*args, **kwargs)

    call.calls = 0
    return call


@pytest.mark.parametrize(
    ("place", "what"),
    [
        (("checkpoint.saved", 1), "the checkpoint of iteration 4"),
        (("aside.half_written", 1), "config.toml"),  # the first small file of a run
        (("aside.half_written", 2), "the checkpoint of iteration 4"),  # its marker
    ],
)
def test_a_checkpoint_and_the_settings_wait_for_space(
    place: tuple[str, int], what: str, long_run: Config, uninterrupted: Weights, tmp_path: Path
) -> None:
    said: list[str] = []
    watcher = Fault(place[0], "ENOSPC", nth=place[1])
    faults.watch(watcher)
    try:
        train(long_run, tmp_path / "run", on_message=said.append)
    finally:
        faults.watch(None)
    assert watcher.fired
    assert said == [f"The disk of {tmp_path / 'run'} is full; {what} waits for space."]
    assert all(same(weights(tmp_path / "run"), uninterrupted))


def test_what_the_librarys_writer_makes_of_a_full_disk_is_recognised_by_trying(
    long_run: Config, uninterrupted: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    unclear = RuntimeError("[enforce fail at inline_container.cc:672] unexpected pos 64 vs 0")
    save = failing(3, unclear, Trainer._save_optimizer_and_scheduler)
    probe = failing(3, NO_SPACE, checkpoint_files.write_aside)
    monkeypatch.setattr(Trainer, "_save_optimizer_and_scheduler", save)
    monkeypatch.setattr(checkpoint_files, "write_aside", probe)
    train(long_run, tmp_path / "run", on_message=said.append)
    assert save.calls == 3 + 3 and probe.calls == 3 and len(said) == 1
    assert all(same(weights(tmp_path / "run"), uninterrupted))
    assert not list((tmp_path / "run").glob(".space*"))


def test_another_failure_of_the_writer_ends_the_run(
    long_run: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = failing(1, RuntimeError("the head has crashed"), lambda *_: None)
    monkeypatch.setattr(Trainer, "_save_optimizer_and_scheduler", broken)
    with pytest.raises(ModelError, match=r"iteration 4 cannot be written \(the head has crashed"):
        train(long_run, tmp_path / "run")
    assert broken.calls == 1 and newest_checkpoint(tmp_path / "run") is None


def test_a_stop_ends_the_wait_and_leaves_nothing_half_written(
    long_run: Config, uninterrupted: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = failing(99, NO_SPACE, lambda *_: None)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_save_optimizer_and_scheduler", full)
        with pytest.raises(KeyboardInterrupt):
            train(
                long_run,
                tmp_path / "run",
                on_message=lambda _line: os.kill(os.getpid(), signal.SIGTERM),
            )
    assert full.calls and not list((tmp_path / "run").glob("checkpoint-*"))
    train(long_run, tmp_path / "run")
    assert all(same(weights(tmp_path / "run"), uninterrupted))


def test_the_model_and_its_figures_wait_for_space(
    long_run: Config, uninterrupted: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    real = Trainer.save_model
    model = failing(2, NO_SPACE, real)
    monkeypatch.setattr(
        Trainer,
        "save_model",
        lambda *a, _internal_call=False: (real if _internal_call else model)(*a, _internal_call),
    )
    from synthenticity.training import train as room

    figures = failing(1, NO_SPACE, room.write_whole)
    monkeypatch.setattr(room, "write_whole", figures)
    train(dataclasses.replace(long_run), tmp_path / "run", on_message=said.append)
    assert (model.calls, figures.calls) == (3, 2)
    assert ["the model waits" in said[0], "metrics.json waits" in said[1]] == [True, True]
    assert all(same(weights(tmp_path / "run"), uninterrupted))
    assert json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))


def test_an_acknowledgement_waits_for_space(live_run: Config, tmp_path: Path) -> None:
    said: list[str] = []
    config = dataclasses.replace(live_run, max_iters=12)
    with providing(config) as queue:
        real = type(queue).acknowledge
        full = failing(2, NO_SPACE, real)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(queue), "acknowledge", full)
            train(config, tmp_path / "run", on_message=said.append)
        assert queue.first_unacknowledged() == 12 * 8 // 12
    assert full.calls > 2
    assert f"The disk of {queue.directory} is full; the acknowledgement waits for space." in said
    assert all(same(weights(tmp_path / "run"), seen_in_one_go(config, tmp_path)))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_figures_are_left_out_while_the_disk_is_full_and_the_run_goes_on(
    scorer_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    said: list[str] = []
    flush = failing(1, NO_SPACE, SummaryWriter.flush)
    monkeypatch.setattr(SummaryWriter, "flush", flush)
    config = dataclasses.replace(scorer_config, report_to="tensorboard")
    train(config, tmp_path / "run", on_message=said.append)
    assert flush.calls > 1
    assert said == [
        f"The disk of {tmp_path / 'run' / 'tensorboard'} is full; figures are left out."
    ]
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("eval/mae")][-1] == 6


ON_A_SMALL_DISK = """
import dataclasses, json, shutil, sys
from pathlib import Path
from synthenticity.config_file import load_config
from synthenticity.training.train import train

config, disk = load_config(Path(sys.argv[1])), Path(sys.argv[2])
said = []

def fill(progress):
    if not said and not (disk / "ballast").exists():
        with (disk / "ballast").open("wb", buffering=0) as ballast:
            for size in (2**12, 1):
                try:
                    while ballast.write(bytes(size)): pass
                except OSError: pass

def free(line):
    said.append(line)
    if "checkpoint" in line: (disk / "ballast").unlink()

train(config, disk / "run", on_progress=fill, on_message=free)
shutil.copy(disk / "run" / "model.safetensors", sys.argv[3])
print(json.dumps(said))
print(json.dumps(sorted(str(path.relative_to(disk)) for path in disk.rglob("*.pt*"))))
"""


def test_a_run_on_a_really_full_disk_goes_on_when_there_is_space(
    long_run: Config, uninterrupted: Weights, tmp_path: Path
) -> None:
    config = dataclasses.replace(long_run, report_to="tensorboard", eval_interval=3)
    write_config(config, tmp_path / "c.toml")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = [
        "unshare",
        "-Urm",
        "sh",
        "-c",
        f'mount -t tmpfs -o size=2000k none {disk} && "$@"',
        "-",
    ]
    if subprocess.run([*mount, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system lets nobody mount a small disk")
    model = tmp_path / "model.safetensors"
    command = [sys.executable, "-c", ON_A_SMALL_DISK, str(tmp_path / "c.toml"), str(disk)]
    done = subprocess.run(
        [*mount, *command, str(model)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    said, files = (json.loads(line) for line in done.stdout.splitlines())
    assert any("the checkpoint of iteration 4 waits for space" in line for line in said)
    assert "Traceback" not in done.stderr
    assert {Path(name).parent.name for name in files} == {"checkpoint-8", "checkpoint-12"}
    assert all(same(weights(tmp_path), uninterrupted))
