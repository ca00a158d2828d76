"""`prepare`: the same number gives the same bytes, however, wherever and whenever it is made."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from synthenticity.config import Config
from synthenticity.config_file import load_config, write_config
from synthenticity.errors import ConfigError, QueueError, QueueOwnedError
from synthenticity.providers.prepare import PrepareProgress, prepare
from synthenticity.providers.process import provider_running
from synthenticity.stream.batch_queue import BatchQueue


def contents(directory: Path) -> dict[str, bytes]:
    """Return every batch file of a directory by its place."""
    files = sorted(directory.glob("*/*.parquet"))
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def command(config: Config, folder: Path, *options: str) -> list[str]:
    folder.mkdir(exist_ok=True)
    write_config(config, folder / "c.toml")
    return [sys.executable, "-m", "synthenticity", "prepare", str(folder / "c.toml"), *options]


@pytest.mark.parametrize("kind", ["mlm_config", "scorer_config"])
def test_two_processes_with_other_hash_seeds_make_the_same_bytes(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    config = request.getfixturevalue(kind)
    made = []
    for salt in ("1", "2"):
        folder = tmp_path / salt
        run = command(config, folder, "--files", "4", "--out-dir", str(folder / "data"))
        subprocess.run(
            run, env={**os.environ, "PYTHONHASHSEED": salt}, check=True, capture_output=True
        )
        made.append(contents(folder / "data"))
    assert len(made[0]) == 8
    assert made[0] == made[1]
    assert len(set(made[0].values())) == 8


def test_two_files_continued_to_four_equal_four_at_once(
    scorer_config: Config, tmp_path: Path
) -> None:
    prepare(scorer_config, tmp_path / "once", files=4)
    prepare(scorer_config, tmp_path / "twice", files=2)
    assert len(contents(tmp_path / "twice")) == 4
    summary = prepare(scorer_config, tmp_path / "twice", files=4)
    assert summary["files_made"] == 4
    assert contents(tmp_path / "once") == contents(tmp_path / "twice")


def test_a_file_does_not_depend_on_what_else_was_made(
    scorer_config: Config, tmp_path: Path
) -> None:
    prepare(scorer_config, tmp_path / "whole", files=3)
    prepare(scorer_config, tmp_path / "mended", files=3)
    lost = tmp_path / "mended" / "train" / "train-00000001.parquet"
    lost.unlink()
    assert prepare(scorer_config, tmp_path / "mended", files=3)["files_made"] == 1
    assert contents(tmp_path / "whole") == contents(tmp_path / "mended")


def test_an_interrupted_run_leaves_whole_files_and_goes_on_to_the_same_bytes(
    scorer_config: Config, tmp_path: Path
) -> None:
    ended: list[dict] = []

    def interrupt(progress: PrepareProgress) -> None:
        if progress.files_made == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(scorer_config, tmp_path / "a", files=3, on_progress=interrupt, on_end=ended.append)
    assert [summary["files_made"] for summary in ended] == [2]
    assert len(contents(tmp_path / "a")) == 2
    prepare(scorer_config, tmp_path / "a", files=3)
    prepare(scorer_config, tmp_path / "b", files=3)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_killed_provider_goes_on_to_the_same_bytes(scorer_config: Config, tmp_path: Path) -> None:
    data = tmp_path / "killed" / "data"
    run = command(scorer_config, tmp_path / "killed", "--files", "12", "--out-dir", str(data))
    with subprocess.Popen(run, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        while len(contents(data)) < 3:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert len(contents(data)) < 24
    prepare(scorer_config, data, files=12)
    prepare(scorer_config, tmp_path / "whole", files=12)
    assert contents(data) == contents(tmp_path / "whole")


def test_a_live_provider_keeps_to_its_backlog_and_can_be_stopped(
    scorer_config: Config, tmp_path: Path
) -> None:
    stop, seen = threading.Event(), []

    def watch(progress: PrepareProgress) -> None:
        seen.append(progress)
        if progress.waiting:
            queue = BatchQueue(tmp_path / "live")
            if queue.first_unacknowledged() < 4:
                queue.acknowledge(queue.first_unacknowledged() + 2)
            else:
                stop.set()

    summary = prepare(scorer_config, tmp_path / "live", on_progress=watch, stop=stop)
    assert max(progress.backlog for progress in seen) == scorer_config.max_backlog_files
    assert BatchQueue(tmp_path / "live").numbers("train") == [4, 5, 6]
    assert BatchQueue(tmp_path / "live").numbers("val") == [0]
    assert BatchQueue(tmp_path / "live").announced("val") == scorer_config.val_files == 1
    assert summary["files_made"] == 8
    assert [progress.split for progress in seen].count("val") == 1


def test_a_restarted_live_provider_goes_on_with_growing_numbers(
    scorer_config: Config, tmp_path: Path
) -> None:
    def run_until_full() -> None:
        stop = threading.Event()
        prepare(
            scorer_config,
            tmp_path / "live",
            stop=stop,
            on_progress=lambda progress: stop.set() if progress.waiting else None,
        )

    run_until_full()
    BatchQueue(tmp_path / "live").acknowledge(3)
    assert BatchQueue(tmp_path / "live").numbers("train") == []
    run_until_full()
    assert BatchQueue(tmp_path / "live").numbers("train") == [3, 4, 5]


def test_the_settings_beside_the_files_are_those_of_the_last_provider(
    mlm_config: Config, tmp_path: Path
) -> None:
    prepare(mlm_config, tmp_path / "d", files=1)
    corpus = shutil.copytree(mlm_config.corpus, tmp_path / "moved")
    there = dataclasses.replace(mlm_config, corpus=str(corpus), max_backlog_files=7)
    prepare(there, tmp_path / "d", files=1)
    kept = load_config(tmp_path / "d" / "config.toml")
    assert (kept.corpus, kept.max_backlog_files) == (str(corpus), 7)


def test_a_second_provider_of_a_directory_is_refused(scorer_config: Config, tmp_path: Path) -> None:
    with BatchQueue(tmp_path / "d").owned(), pytest.raises(QueueOwnedError):
        prepare(scorer_config, tmp_path / "d", files=1)


def test_the_summary_is_what_the_files_hold(scorer_config: Config, tmp_path: Path) -> None:
    summary = prepare(scorer_config, tmp_path / "d", files=2)
    queue = BatchQueue(tmp_path / "d")
    files = [queue.get(split, n).columns for split in ("train", "val") for n in (0, 1)]
    labels = np.concatenate([columns["token_labels"] for columns in files])
    ratios = np.concatenate([columns["synthenticity"] for columns in files])
    assert summary["sequences"] == len(ratios) == 48
    assert summary["tokens"] == labels.size
    assert summary["filled_tokens"] == (labels > 0).sum()
    assert summary["restored_share"] == (labels == 1).sum() / (labels > 0).sum()
    assert summary["synthenticity"]["mean"] == pytest.approx(ratios.mean())
    assert summary["synthenticity"]["quantiles"]["0.5"] == pytest.approx(np.median(ratios))
    assert sum(summary["synthenticity"]["histogram"]) == len(ratios)
    assert sum(summary["recipes"].values()) == len(ratios)
    assert json.loads((tmp_path / "d" / "summary.json").read_text(encoding="utf-8")) == summary
    again = prepare(scorer_config, tmp_path / "d", files=2)
    assert again["files_made"] == 0
    assert again["restored_share"] == summary["restored_share"]


def test_the_summary_is_written_as_tensorboard_events(
    scorer_config: Config, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    summary = prepare(scorer_config, tmp_path / "d", files=1)
    events = EventAccumulator(str(tmp_path / "d" / "tensorboard"))
    events.Reload()
    (value,) = events.Scalars("prepare/restored_share")
    assert value.value == pytest.approx(summary["restored_share"])


def test_splits_and_numbers_of_files_are_checked(scorer_config: Config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="splits"):
        prepare(scorer_config, tmp_path / "d", files=1, splits=("train", "dev"))
    with pytest.raises(ConfigError, match="files: 0"):
        prepare(scorer_config, tmp_path / "d", files=0)
    assert not (tmp_path / "d").exists()


def test_a_provider_process_works_while_it_is_wanted_and_no_longer(
    scorer_config: Config, tmp_path: Path
) -> None:
    config = dataclasses.replace(scorer_config, data_dir=str(tmp_path / "live"))
    queue = BatchQueue(config.data_dir)
    with provider_running(config) as raise_if_failed:
        while not queue.numbers("train"):
            raise_if_failed()
            time.sleep(0.02)
        assert queue.owner().alive
    with queue.owned():  # nobody else does
        assert queue.owner().pid == os.getpid()


def test_a_failing_provider_process_says_why(scorer_config: Config, tmp_path: Path) -> None:
    config = dataclasses.replace(scorer_config, data_dir=str(tmp_path / "d"), dataset="nothing")
    words = "no provider is called 'nothing'"
    with provider_running(config) as raise_if_failed, pytest.raises(QueueError, match=words):
        for _ in range(1000):
            raise_if_failed()
            time.sleep(0.02)


def test_a_killed_provider_process_is_told_from_one_that_failed(
    mlm_config: Config, tmp_path: Path
) -> None:
    config = dataclasses.replace(mlm_config, data_dir=str(tmp_path / "data"))
    with provider_running(config) as raise_if_failed:
        while (owner := BatchQueue(config.data_dir).owner()) is None:
            assert raise_if_failed()
            time.sleep(0.05)
        os.kill(owner.pid, signal.SIGKILL)
        with pytest.raises(QueueError, match=r"ended by signal 9.*Run the same command again"):
            while raise_if_failed():
                time.sleep(0.05)


def test_the_tokenizer_is_on_disk_before_the_meta_file_that_invites_readers(
    mlm_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []
    fsync, link = os.fsync, os.link

    def note_flush(descriptor: int) -> None:
        flushed.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    def note_link(source: Path, target: Path) -> None:
        link(source, target)
        flushed.append(str(target))

    monkeypatch.setattr(os, "fsync", note_flush)
    monkeypatch.setattr(os, "link", note_link)
    prepare(mlm_config, tmp_path / "d", files=1)
    before = flushed[: flushed.index(str(tmp_path / "d" / "meta.json"))]
    folder = tmp_path / "d" / "tokenizer"
    assert {str(folder), *map(str, folder.iterdir())} <= set(before)


def test_no_provider_outlives_its_trainer_and_the_next_one_takes_over(
    scorer_config: Config, tmp_path: Path
) -> None:
    config = dataclasses.replace(scorer_config, data_dir=str(tmp_path / "live"))
    write_config(config, tmp_path / "c.toml")
    parent = (
        "import sys, time\n"
        "from synthenticity.config_file import load_config\n"
        "from synthenticity.providers.process import provider_running\n"
        "with provider_running(load_config(sys.argv[1])):\n"
        "    time.sleep(600)\n"
    )
    queue = BatchQueue(config.data_dir)
    with subprocess.Popen([sys.executable, "-c", parent, str(tmp_path / "c.toml")]) as process:
        while len(queue.numbers("train")) < config.max_backlog_files:
            assert process.poll() is None
            time.sleep(0.02)
        orphan = queue.owner().pid
        process.send_signal(signal.SIGKILL)
    with provider_running(config) as raise_if_failed:
        deadline = time.monotonic() + 60
        while (owner := queue.owner()) is None or owner.pid == orphan:
            assert time.monotonic() < deadline, "the orphan lives on"
            raise_if_failed()
            time.sleep(0.02)
        queue.acknowledge(2)
        while queue.numbers("train") != [2, 3, 4]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    with pytest.raises(ProcessLookupError):
        os.kill(orphan, 0)


def test_a_provider_beside_another_waits_for_its_turn_or_its_stop(
    scorer_config: Config, tmp_path: Path
) -> None:
    stop = threading.Event()
    with BatchQueue(tmp_path / "d").owned():
        threading.Timer(0.5, stop.set).start()
        with pytest.raises(QueueOwnedError):
            prepare(scorer_config, tmp_path / "d", stop=stop, take_turns=True)
    assert stop.is_set() and not (tmp_path / "d" / "meta.json").exists()


def test_a_damaged_file_of_a_finite_set_is_made_again(
    scorer_config: Config, tmp_path: Path
) -> None:
    prepare(scorer_config, tmp_path / "d", files=2)
    before = contents(tmp_path / "d")
    path = BatchQueue(tmp_path / "d").path("train", 1)
    path.write_bytes(path.read_bytes()[:-10])
    assert prepare(scorer_config, tmp_path / "d", files=2)["files_made"] == 1
    assert contents(tmp_path / "d") == before
    assert len(list((tmp_path / "d" / "quarantine").glob("*.bad"))) == 1


def test_no_provider_is_started_for_a_finite_set(scorer_config: Config) -> None:
    with (
        pytest.raises(ConfigError, match="holds a finite data set, --prepare makes a live"),
        provider_running(scorer_config),
    ):
        pass


def test_a_provider_process_is_not_asked_to_read_standard_input(scorer_config: Config) -> None:
    config = dataclasses.replace(scorer_config, corpus="-")
    with pytest.raises(ConfigError, match=r"standard input.*--prepare"), provider_running(config):
        pass


def test_a_finite_set_has_a_card_with_which_datasets_opens_it(
    scorer_config: Config, tmp_path: Path
) -> None:
    import datasets
    from huggingface_hub import DatasetCard

    folder = tmp_path / "set"
    prepare(scorer_config, folder, samples=13, licence="cc0-1.0")
    found = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert {name: split.num_rows for name, split in found.items()} == {
        "train": 24,
        "validation": 24,
    }
    assert found["train"].features["token_labels"].length == 33
    card = DatasetCard.load(folder / "README.md")
    assert card.data.license == "cc0-1.0"
    labels = np.array([*found["train"]["token_labels"], *found["validation"]["token_labels"]])
    filled = (labels == 1) | (labels == 2)
    assert f"- {filled.sum():,} filled tokens" in card.text
    assert "- train: 24 sequences" in card.text
    assert "filling model mlm@" in card.text
    assert f"- seed: `{scorer_config.seed}`" in card.text


@pytest.mark.parametrize(
    ("asked", "words"),
    [({"samples": 0}, "samples: 0"), ({"samples": 5, "files": 1}, "one of the two")],
)
def test_a_wrong_number_of_samples_is_refused(
    scorer_config: Config, tmp_path: Path, asked: dict[str, int], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        prepare(scorer_config, tmp_path / "set", **asked)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("name", ["README.md", "config.toml", "train/notes.txt"])
def test_files_of_other_people_are_not_replaced(
    name: str, scorer_config: Config, tmp_path: Path
) -> None:
    theirs = tmp_path / "project" / name
    theirs.parent.mkdir(parents=True)
    theirs.write_text("mine", encoding="utf-8")
    with pytest.raises(
        ConfigError, match=f"holds {name.split('/', maxsplit=1)[0]}, which prepare did not"
    ):
        prepare(scorer_config, tmp_path / "project", files=1)
    assert [path for path in (tmp_path / "project").rglob("*") if path.is_file()] == [theirs]
    assert theirs.read_text(encoding="utf-8") == "mine"


def test_what_a_killed_start_left_is_ours(scorer_config: Config, tmp_path: Path) -> None:
    prepare(scorer_config, tmp_path / "d", files=1)
    (tmp_path / "d" / "meta.json").unlink()
    assert (tmp_path / "d" / "config.toml").exists()
    assert prepare(scorer_config, tmp_path / "d", files=1)["files_made"] == 0
