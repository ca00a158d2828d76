"""`validate`: each check holds on good data and fails when its fault is put in."""

import dataclasses
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from synthenticity.config import Config
from synthenticity.config_file import load_config, write_config
from synthenticity.errors import ConfigError, QueueError
from synthenticity.providers.prepare import prepare
from synthenticity.providers.sequence_scorer import SequenceScorerProvider
from synthenticity.remake import remake_files
from synthenticity.stream.batch_file import Identity, encode_batch_file, read_batch_file
from synthenticity.stream.batch_queue import BatchQueue
from synthenticity.validation import validate

MODEL, TARGETS, FILES, TRAINING, DIRECTORY, REMADE = range(6)


@pytest.fixture
def directory(scorer_config: Config, tmp_path: Path) -> Path:
    """A finite data set of its own to put faults into."""
    folder = tmp_path / "data"
    prepare(dataclasses.replace(scorer_config, data_dir=str(folder)), files=2)
    return folder


def rewrite(directory: Path, change: Callable[[dict[str, np.ndarray]], None]) -> None:
    """Change the columns of a file and write it anew, consistent in itself."""
    queue = BatchQueue(directory)
    meta, path = queue.meta(), queue.path("train", 1)
    columns = read_batch_file(path).columns
    change(columns)
    identity = Identity(meta.fingerprint, "train", 1)
    path.write_bytes(encode_batch_file(columns, meta.schema, identity))


def passed(directory: Path) -> list[bool]:
    return [check.passed for check in validate(directory)]


def test_good_data_pass_with_figures(directory: Path) -> None:
    checks = validate(directory)
    assert [check.passed for check in checks] == [True] * 5
    assert "top-1 accuracy" in checks[MODEL].detail
    assert "48 sequences over" in checks[TARGETS].detail
    assert "4 files read" in checks[FILES].detail


def test_a_config_is_checked_without_a_trace(scorer_config: Config, tmp_path: Path) -> None:
    config = dataclasses.replace(scorer_config, data_dir=str(tmp_path / "data"))
    write_config(config, tmp_path / "c.toml")
    assert all(check.passed for check in validate(tmp_path / "c.toml"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.toml"]


def test_language_model_data_have_three_checks(mlm_config: Config) -> None:
    assert [check.passed for check in validate(mlm_config.data_dir)] == [True] * 3


def test_an_untrained_filling_model_is_found(
    directory: Path, mlm_path: Path, tmp_path: Path
) -> None:
    import torch

    from synthenticity.synthesis.checkpoints import load_mlm

    other = shutil.copytree(mlm_path, tmp_path / "mlm", ignore=shutil.ignore_patterns("check*"))
    model = load_mlm(mlm_path)
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    model.save_pretrained(other)
    config = load_config(directory / "config.toml")
    write_config(
        dataclasses.replace(config, mlm_checkpoint_path=str(other)), directory / "config.toml"
    )
    assert passed(directory)[MODEL] is False


def wrong_target(columns: dict[str, np.ndarray]) -> None:
    columns["targets"] = np.roll(columns["targets"], 1)


def wrong_share(columns: dict[str, np.ndarray]) -> None:
    columns["replaced_fraction"] = columns["replaced_fraction"] + np.float32(0.01)


def no_target(columns: dict[str, np.ndarray]) -> None:
    columns["targets"] = np.full_like(columns["targets"], np.nan)


def moved_labels(columns: dict[str, np.ndarray]) -> None:
    columns["token_labels"] = np.roll(columns["token_labels"], 1, axis=1)
    columns["token_labels"][:, :2] = columns["token_labels"][:, 1::-1]


@pytest.mark.parametrize("fault", [wrong_target, wrong_share, no_target, moved_labels])
def test_wrong_truth_is_found(fault: Callable, directory: Path) -> None:
    rewrite(directory, fault)
    assert passed(directory)[TARGETS] is False


def test_damaged_and_short_files_are_found(directory: Path) -> None:
    rewrite(directory, lambda columns: columns.update({k: v[:-1] for k, v in columns.items()}))
    assert passed(directory) == [True, True, False, True, True]
    path = BatchQueue(directory).path("train", 0)
    path.write_bytes(path.read_bytes()[:-9])
    checks = validate(directory)
    assert [check.passed for check in checks] == [True, True, False, True, True]  # said once
    assert checks[FILES].detail.count(path.name) == 1
    assert "train-00000001.parquet: has 11 rows, meta.json says 12" in checks[FILES].detail


def test_training_that_learns_nothing_is_found(directory: Path) -> None:
    config = load_config(directory / "config.toml")
    write_config(dataclasses.replace(config, learning_rate=0.0), directory / "config.toml")
    assert passed(directory) == [True, True, True, False, True]


def test_what_holds_no_batch_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(QueueError, match=r"no meta\.json"):
        validate(tmp_path)


def test_what_a_directory_should_not_hold_is_listed(directory: Path) -> None:
    train = directory / "train"
    (train / "notes.txt").write_text("x", encoding="utf-8")
    (train / "train-00000001.parquet").unlink()
    checks = validate(directory)
    assert [check.passed for check in checks] == [True] * 4 + [False]
    assert f"{train / 'notes.txt'}: not ours" in checks[DIRECTORY].detail
    assert f"{train}: lacks number 1; prepare makes" in checks[DIRECTORY].detail


def test_repair_says_what_it_did_and_prepare_makes_the_rest(directory: Path) -> None:
    queue = BatchQueue(directory)
    path = queue.path("train", 0)
    content = path.read_bytes()
    path.write_bytes(content[:-9])
    (directory / ".queue" / ".announced.json.9").touch()
    first, *checks = validate(directory, repair=True)
    assert first.passed and "stale temporary" in first.detail and path.name in first.detail
    assert [check.passed for check in checks] == [True] * 4 + [False]  # the gap
    prepare(load_config(directory / "config.toml"), directory, files=2)
    first, *checks = validate(directory, repair=True)
    assert first.detail == "nothing to repair" and all(check.passed for check in checks)
    assert path.read_bytes() == content


def test_files_made_again_are_the_same(directory: Path) -> None:
    for number, files in ((3, 3), (99, 4)):
        check = validate(directory, remake=number)[REMADE]
        assert check.passed
        assert check.detail == f"{files} files made again are the same, byte for byte"


def chosen(directory: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Return which two files are made again."""
    made = []
    make_file = SequenceScorerProvider.make_file

    def note(self: SequenceScorerProvider, split: str, number: int) -> dict[str, np.ndarray]:
        made.append((split, number))
        return make_file(self, split, number)

    with monkeypatch.context() as patch:
        patch.setattr(SequenceScorerProvider, "make_file", note)
        queue = BatchQueue(directory)
        config = load_config(directory / "config.toml")
        assert remake_files(config, queue, queue.meta(), files=2, seed=seed).files == 2
    return made


def test_the_seed_chooses_what_is_made_again(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, same, *others = (chosen(directory, seed, monkeypatch) for seed in (0, 0, 1, 2, 3))
    assert first == same and any(other != first for other in others)
    assert len({each for draw in (first, *others) for each in draw}) == 4


def test_a_file_that_is_not_what_is_made_again_is_named_with_what_differs(directory: Path) -> None:
    def change(columns: dict[str, np.ndarray]) -> None:
        for name, where in {"input_ids": (2, slice(3, 5)), "offset": 7}.items():
            columns[name] = columns[name].copy()
            columns[name][where] += 1

    rewrite(directory, change)
    check = validate(directory, remake=9)[REMADE]
    assert not check.passed and check.detail.startswith("1 of 4 differ: ")
    differ = "2 of 396 values of input_ids, 1 of 12 values of offset differ"
    assert f"train-00000001.parquet: {differ}" in check.detail
    assert "Another machine" in check.detail


def test_the_same_values_in_other_bytes_are_told_apart(directory: Path) -> None:
    path = BatchQueue(directory).path("train", 1)
    pq.write_table(pq.read_table(path), path, compression="gzip")
    assert "the same values, in other bytes" in validate(directory, remake=9)[REMADE].detail


def test_damaged_files_are_not_made_again_but_reported_once(directory: Path) -> None:
    path = BatchQueue(directory).path("train", 1)
    path.write_bytes(path.read_bytes()[:-9])
    checks = validate(directory, remake=9)
    assert checks[REMADE].passed and checks[REMADE].detail.startswith("3 files")
    assert not checks[FILES].passed


def test_a_corpus_changed_since_is_named_and_nothing_is_made(
    directory: Path, corpus_folder: Path, tmp_path: Path
) -> None:
    corpus = shutil.copytree(corpus_folder, tmp_path / "corpus")
    (corpus / "play-0.txt").write_text("the king and his fool " * 90, encoding="utf-8")
    config = load_config(directory / "config.toml")
    write_config(
        dataclasses.replace(config, corpus=str(corpus), seed=config.seed + 1),
        directory / "config.toml",
    )
    check = validate(directory, remake=1)[REMADE]
    assert not check.passed
    assert "cannot be made again" in check.detail
    assert "corpus_hash is" in check.detail and "seed is" in check.detail


def test_a_live_queue_in_use_passes_every_check(scorer_config: Config, tmp_path: Path) -> None:
    """Provider and consumer are at work on it all the time."""
    folder = tmp_path / "live"
    config = dataclasses.replace(scorer_config, data_dir=str(folder), batches_per_file=1)
    stop, queue, rounds = threading.Event(), BatchQueue(folder), []
    provider = threading.Thread(target=prepare, args=(config, folder), kwargs={"stop": stop})

    def consume() -> None:
        while not stop.wait(0.01):
            numbers = queue.numbers("train")
            queue.acknowledge(numbers[0] + 1 if numbers else 0, by="run")

    consumer = threading.Thread(target=consume)
    provider.start()
    try:
        while not queue.streaming():
            assert provider.is_alive()
            time.sleep(0.02)
        consumer.start()
        for _ in range(3):
            rounds.append(queue.first_unacknowledged())
            checks = validate(folder, remake=2)
            assert [check for check in checks if not check.passed] == []
        rounds.append(queue.first_unacknowledged())
    finally:
        stop.set()
        provider.join()
        consumer.join()
    assert rounds == sorted(set(rounds))  # it was consumed meanwhile


@pytest.mark.parametrize("options", [{"remake": 1}, {"repair": True}])
def test_only_a_directory_is_repaired_or_made_again(options: dict, tmp_path: Path) -> None:
    (tmp_path / "c.toml").touch()
    with pytest.raises(ConfigError, match="is no directory"):
        validate(tmp_path / "c.toml", **options)


@pytest.mark.parametrize("options", [{"remake": -1}, {"remake": 1, "seed": -1}])
def test_numbers_that_are_none_are_refused(options: dict, directory: Path) -> None:
    with pytest.raises(ConfigError, match="must not be negative"):
        validate(directory, **options)
