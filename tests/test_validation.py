"""`validate`: each of the four checks holds on good data and fails when its fault is put in."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from synthenticity.config import Config
from synthenticity.config_file import load_config, write_config
from synthenticity.errors import QueueError
from synthenticity.providers.prepare import prepare
from synthenticity.stream.batch_file import Identity, encode_batch_file, read_batch_file
from synthenticity.stream.batch_queue import BatchQueue
from synthenticity.validation import validate

MODEL, TARGETS, FILES, TRAINING = range(4)


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
    assert [check.passed for check in checks] == [True] * 4
    assert "top-1 accuracy" in checks[MODEL].detail
    assert "48 sequences over" in checks[TARGETS].detail
    assert "4 files read" in checks[FILES].detail


def test_a_config_is_checked_without_a_trace(scorer_config: Config, tmp_path: Path) -> None:
    config = dataclasses.replace(scorer_config, data_dir=str(tmp_path / "data"))
    write_config(config, tmp_path / "c.toml")
    assert all(check.passed for check in validate(tmp_path / "c.toml"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.toml"]


def test_language_model_data_have_two_checks(mlm_config: Config) -> None:
    assert [check.passed for check in validate(mlm_config.data_dir)] == [True, True]


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


def moved_labels(columns: dict[str, np.ndarray]) -> None:
    columns["token_labels"] = np.roll(columns["token_labels"], 1, axis=1)
    columns["token_labels"][:, :2] = columns["token_labels"][:, 1::-1]


@pytest.mark.parametrize("fault", [wrong_target, wrong_share, moved_labels])
def test_wrong_truth_is_found(fault: Callable, directory: Path) -> None:
    rewrite(directory, fault)
    assert passed(directory)[TARGETS] is False


def test_damaged_and_short_files_are_found(directory: Path) -> None:
    rewrite(directory, lambda columns: columns.update({k: v[:-1] for k, v in columns.items()}))
    assert passed(directory) == [True, True, False, True]
    path = BatchQueue(directory).path("train", 0)
    path.write_bytes(path.read_bytes()[:-9])
    checks = validate(directory)
    assert [check.passed for check in checks][TARGETS:TRAINING] == [False, False]
    assert path.name in checks[FILES].detail


def test_training_that_learns_nothing_is_found(directory: Path) -> None:
    config = load_config(directory / "config.toml")
    write_config(dataclasses.replace(config, learning_rate=0.0), directory / "config.toml")
    assert passed(directory) == [True, True, True, False]


def test_what_holds_no_batch_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(QueueError, match=r"no meta\.json"):
        validate(tmp_path)
