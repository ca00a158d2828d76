"""`prepare` with workers, on a full disk, over a changed corpus: the same bytes, or clear words."""

import dataclasses
import errno
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from synthenticity import cli
from synthenticity.config import Config
from synthenticity.config_file import write_config
from synthenticity.errors import CompatibilityError, ConfigError, QueueError
from synthenticity.providers import making
from synthenticity.providers.base import find_provider
from synthenticity.providers.prepare import prepare
from synthenticity.providers.run import PrepareProgress
from synthenticity.stream.batch_queue import BatchQueue

ALL = ("train", "val", "test")


def contents(directory: str | Path) -> dict[str, bytes]:
    """Return every batch file of a directory by its place."""
    files = sorted(Path(directory).glob("*/*.parquet"))
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def run_live(config: Config, directory: Path, last: int, **options: Any) -> dict[str, Any]:
    """Be a provider and its consumer, who takes what is there, until a train file is there."""
    stop, kept = threading.Event(), {}

    def watch(progress: PrepareProgress) -> None:
        if progress.waiting:
            queue = BatchQueue(directory)
            assert progress.backlog <= config.max_backlog_files
            kept.update(contents(directory))
            first = queue.first_unacknowledged()
            queue.acknowledge(first + 2)
            if first + config.max_backlog_files > last:
                stop.set()

    prepare(config, directory, on_progress=watch, stop=stop, **options)
    return kept


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_number_of_workers_makes_the_same_finite_set(
    scorer_config: Config, tmp_path: Path, workers: int
) -> None:
    summary = prepare(scorer_config, tmp_path / "d", files=3, splits=ALL, workers=workers)
    assert contents(tmp_path / "d") == contents(scorer_config.data_dir)
    assert summary["files_made"] == 9
    here = prepare(scorer_config, tmp_path / "d", files=3, splits=ALL)
    for key in ("sequences", "tokens", "filled_tokens", "restored_share", "recipes"):
        assert summary[key] == here[key]


@pytest.mark.parametrize("options", [{}, {"workers": 3}, {"devices": ["cpu"] * 2}])
def test_any_number_of_workers_makes_the_same_stream(
    mlm_config: Config, tmp_path: Path, options: dict[str, Any]
) -> None:
    made = run_live(mlm_config, tmp_path / "live", 6, **options)
    prepare(mlm_config, tmp_path / "set", files=9)
    wanted = contents(tmp_path / "set")
    assert len(made) > 7
    assert {name: wanted[name] for name in made} == made
    assert [f"train/train-{number:08d}.parquet" in made for number in range(7)] == [True] * 7


DYING = """
import multiprocessing, os, signal
from pathlib import Path
from synthenticity import faults
from synthenticity.providers.char_diffusion import CharDiffusionProvider

class Dying(CharDiffusionProvider):
    '''Kills its worker, once, at a point of its second file.'''

    def made_with(self):
        if multiprocessing.parent_process() is not None:
            faults.watch(die)
        return super().made_with()

passed = []
def die(name):
    passed.append(name)
    place = Path(__file__).with_name("died")
    if name == POINT and passed.count(name) == 2 and not place.exists():
        place.write_text(str(os.getpid()), encoding="utf-8")
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("point", ["worker.begun", "provider.made", "worker.made"])
def test_a_killed_workers_number_is_made_by_another(
    mlm_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    installed = tmp_path / "installed"
    (installed / "dying-1.dist-info").mkdir(parents=True)
    (installed / "dying-1.dist-info" / "entry_points.txt").write_text(
        "[synthenticity.providers]\ndying = dying:Dying\n", encoding="utf-8"
    )
    (installed / "dying.py").write_text(DYING.replace("POINT", repr(point)), encoding="utf-8")
    monkeypatch.syspath_prepend(str(installed))
    monkeypatch.delitem(sys.modules, "dying", raising=False)
    config = dataclasses.replace(mlm_config, dataset="dying")
    prepare(config, tmp_path / "here", files=3)
    assert not (installed / "died").exists()
    prepare(config, tmp_path / "workers", files=3, workers=2)
    dead = int((installed / "died").read_text(encoding="utf-8"))
    assert dead != os.getpid()
    assert contents(tmp_path / "workers") == contents(tmp_path / "here")
    assert len(contents(tmp_path / "here")) == 6
    assert multiprocessing.active_children() == []


@pytest.fixture
def own_corpus(mlm_config: Config, tmp_path: Path) -> Config:
    """Settings over a corpus that may be changed."""
    folder = tmp_path / "corpus"
    shutil.copytree(mlm_config.corpus, folder)
    return dataclasses.replace(mlm_config, corpus=str(folder))


def change(config: Config) -> None:
    place = sorted(Path(config.corpus).iterdir())[0]
    place.write_text(place.read_text("utf-8") + " and a word", encoding="utf-8")


def test_a_corpus_changed_under_a_running_provider_changes_nothing(
    own_corpus: Config, tmp_path: Path
) -> None:
    prepare(own_corpus, tmp_path / "before", files=3)
    changed: list[int] = []

    def meddle(progress: PrepareProgress) -> None:
        if not changed:
            change(own_corpus)
            changed.append(progress.files_made)

    prepare(own_corpus, tmp_path / "during", files=3, on_progress=meddle)
    assert changed == [1]
    assert contents(tmp_path / "during") == contents(tmp_path / "before")


def test_a_worker_that_starts_after_a_change_of_the_corpus_says_so(
    own_corpus: Config, tmp_path: Path
) -> None:
    killed: list[int] = []

    def meddle(_: PrepareProgress) -> None:
        if not killed:
            change(own_corpus)
            for child in multiprocessing.active_children():
                assert child.pid is not None
                killed.append(child.pid)
                child.kill()

    with pytest.raises(CompatibilityError, match=r"a worker.*corpus_hash is '"):
        prepare(own_corpus, tmp_path / "d", files=5, workers=2, on_progress=meddle)
    assert len(killed) == 2
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("workers", [0, 2])
def test_a_restart_after_a_change_of_the_corpus_is_refused(
    own_corpus: Config, tmp_path: Path, workers: int
) -> None:
    prepare(own_corpus, tmp_path / "d", files=1)
    change(own_corpus)
    with pytest.raises(CompatibilityError, match="corpus_hash"):
        prepare(own_corpus, tmp_path / "d", files=2, workers=workers)
    assert len(contents(tmp_path / "d")) == 2


class FullDisk:
    """Lets some files through, then has no space for some tries, and then has."""

    def __init__(self, free: int, tries: int) -> None:
        self.free, self.tries, self.refused = free, tries, 0
        self.put = BatchQueue.put

    def __call__(self, queue: BatchQueue, split: str, number: int, content: bytes) -> bool:
        if self.free:
            self.free -= 1
        elif self.refused < self.tries:
            self.refused += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.put(queue, split, number, content)


def on_full_disk(monkeypatch: pytest.MonkeyPatch, free: int, tries: int) -> FullDisk:
    disk = FullDisk(free, tries)

    def put(queue: BatchQueue, split: str, number: int, content: bytes) -> bool:
        return disk(queue, split, number, content)

    monkeypatch.setattr(BatchQueue, "put", put)
    return disk


@pytest.mark.parametrize("workers", [0, 2])
def test_a_provider_waits_for_space_and_makes_nothing_twice(
    mlm_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    prepare(mlm_config, tmp_path / "before", files=2)
    disk = on_full_disk(monkeypatch, free=1, tries=3)
    made: list[tuple[str, int]] = []
    kind = find_provider(mlm_config.dataset)
    make = kind.make_file
    monkeypatch.setattr(
        kind, "make_file", lambda self, *name: (made.append(name), make(self, *name))[1]
    )
    seen: list[PrepareProgress] = []
    states: list[str] = []

    def watch(progress: PrepareProgress) -> None:
        seen.append(progress)
        owner = BatchQueue(tmp_path / "full").owner()
        assert owner is not None
        states.append(owner.state)

    prepare(mlm_config, tmp_path / "full", files=2, workers=workers, on_progress=watch)
    assert disk.refused == 3
    assert contents(tmp_path / "full") == contents(tmp_path / "before")
    assert len(made) == len(set(made)) == (0 if workers else 4)  # in this process
    assert [progress.waiting for progress in seen] == [False, *[True] * 3, *[False] * 3]
    assert {progress.reason for progress in seen if progress.waiting} == {
        f"The disk of {tmp_path / 'full'} is full; waiting for space."
    }
    assert states[1:4] == ["waiting for disk space"] * 3


@pytest.mark.parametrize("files", [None, 3])
def test_the_wait_for_space_can_be_stopped(
    mlm_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int | None
) -> None:
    disk = on_full_disk(monkeypatch, free=1, tries=10**6)
    stop = threading.Event()
    summary = prepare(
        mlm_config,
        tmp_path / "d",
        files=files,
        stop=stop,
        on_progress=lambda progress: stop.set() if progress.reason else None,
    )
    assert disk.refused == 1
    assert summary["files_made"] == len(contents(tmp_path / "d")) == 1
    assert not (tmp_path / "d" / "README.md").exists()  # which says that a set is complete


def test_another_error_of_the_disk_goes_through(
    mlm_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> bool:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(BatchQueue, "put", broken)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        prepare(mlm_config, tmp_path / "d", files=1)


@pytest.mark.parametrize("step", ["put_meta", "announce"])
@pytest.mark.parametrize(
    "said", [OSError(errno.ENOSPC, "full"), Exception("No space left on device (os error 28)")]
)
def test_a_disk_that_is_full_from_the_start_is_said_to_be(
    mlm_config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    said: Exception,
) -> None:
    def full(*_: object) -> None:
        raise said

    monkeypatch.setattr(BatchQueue, step, full)
    with pytest.raises(QueueError, match="d: the disk is full"):
        prepare(mlm_config, tmp_path / "d", files=1)


def test_a_lost_val_file_is_made_again_while_the_provider_runs(
    mlm_config: Config, tmp_path: Path
) -> None:
    stop, lost = threading.Event(), []
    val = BatchQueue(tmp_path / "d").path("val", 0)

    def watch(progress: PrepareProgress) -> None:
        if progress.waiting and not lost:
            lost.append(val.read_bytes())
            val.unlink()
        elif lost and not progress.waiting:
            stop.set()

    prepare(mlm_config, tmp_path / "d", stop=stop, on_progress=watch)
    assert lost == [val.read_bytes()]


def test_an_owner_says_what_it_makes_and_with_how_many(mlm_config: Config, tmp_path: Path) -> None:
    owners = []
    prepare(
        mlm_config,
        tmp_path / "d",
        files=3,
        workers=2,
        on_progress=lambda _: owners.append(BatchQueue(tmp_path / "d").owner()),
    )
    assert {owner.workers for owner in owners} == {2}
    assert owners[0].state.startswith("making train ")
    assert owners[-1].files_made > owners[0].files_made


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"workers": -1}, "workers: -1 is negative"),
        ({"workers": 2, "devices": ["cpu"] * 3}, "3 are named for 2 workers"),
        ({"devices": ["cpu", "gpu"]}, "device: gpu is not there"),
        ({"devices": ["cpu", "cuda:0"]}, "cpu, cuda:0 are of two kinds"),
    ],
)
def test_wrong_workers_and_devices_are_refused(
    mlm_config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    words: str,
) -> None:
    if "cuda:0" in options.get("devices", ()):  # as on a machine that has one
        monkeypatch.setattr(making, "resolve_device", torch.device)
    with pytest.raises(ConfigError, match=words):
        prepare(mlm_config, tmp_path / "d", files=1, **options)
    assert not (tmp_path / "d").exists()


def test_the_command_takes_devices_with_commas(
    mlm_config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_config(mlm_config, tmp_path / "c.toml")
    assert cli.run(["prepare", str(tmp_path / "c.toml"), "--devices", "cpu, gpu"]) == 2
    assert "device: gpu is not there" in capsys.readouterr().err


def test_workers_are_dealt_to_the_devices_in_turn(
    mlm_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "resolve_device", torch.device)
    places = making.find_places(mlm_config, 3, ["cuda:0", "cuda:1"])
    assert [config.device for config in places.configs] == ["cuda:0", "cuda:1", "cuda:0"]
    assert places.threads is None
    one = making.find_places(mlm_config, 0, ["cuda:1"])
    assert (one.config.device, one.workers) == ("cuda:1", 0)


def test_what_workers_cannot_share_is_refused(mlm_config: Config, tmp_path: Path) -> None:
    provider = find_provider(mlm_config.dataset)(mlm_config)
    with pytest.raises(ConfigError, match="provider: workers cannot share it"):
        prepare(mlm_config, tmp_path / "d", files=1, provider=provider, workers=2)
    piped = dataclasses.replace(mlm_config, corpus="-")
    with pytest.raises(ConfigError, match=r"standard input\) cannot be read by 2 workers"):
        prepare(piped, tmp_path / "d", files=1, workers=2)
    assert not (tmp_path / "d").exists()


def children(pid: int) -> list[int]:
    """Return the processes that a process has started and that run."""
    found = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = place.read_text("utf-8").rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == pid and state != "Z":
            found.append(int(place.parent.name))
    return found


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_stopped_with_workers_it_shows_the_summary_and_leaves_nobody(
    mlm_config: Config, tmp_path: Path, by: signal.Signals
) -> None:
    config = dataclasses.replace(mlm_config, batches_per_file=200)
    write_config(config, tmp_path / "c.toml")
    data = tmp_path / "data"
    command = [sys.executable, "-m", "synthenticity", "prepare", str(tmp_path / "c.toml")]
    command += ["--workers", "2", "--files", "500", "--out-dir", str(data)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + 60
        while len(contents(data)) < 3:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        workers = children(process.pid)
        os.killpg(process.pid, by)  # as a terminal does: everybody gets it
        shown, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert len(workers) >= 2
    assert "prepared in" in shown and "files made" in shown
    assert "Stopped. The same command goes on from here." in said
    assert "Traceback" not in said
    for pid in workers:
        while Path(f"/proc/{pid}").exists():
            assert time.monotonic() < deadline, "a worker is still there"
            time.sleep(0.02)
    queue = BatchQueue(data)
    assert all(queue.look_at("train", number) for number in queue.numbers("train"))
    assert queue.temporaries() == []
