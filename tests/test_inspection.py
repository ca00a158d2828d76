"""`inspect` shows what the files hold, and the figures of all of them."""

from pathlib import Path

import numpy as np
import pytest

from synthenticity.config import Config
from synthenticity.errors import QueueError
from synthenticity.inspection import inspect_directory
from synthenticity.stream.batch_queue import BatchQueue
from synthenticity.stream.dataset_consumer import DatasetConsumer
from synthenticity.text.tokenization import load_tokenizer


def test_samples_are_sequences_of_the_split_with_their_truth(scorer_config: Config) -> None:
    found = inspect_directory(scorer_config.data_dir, count=4, split="train", seed=3)
    columns = ["input_ids", "token_labels", "original_ids", "synthenticity", "offset", "recipe"]
    data = DatasetConsumer(scorer_config.data_dir, batch_size=1, columns=columns).read_all()
    tokenizer = load_tokenizer(Path(scorer_config.data_dir) / "tokenizer")
    assert len(found.samples) == 4
    for sample in found.samples:
        final = tokenizer.convert_tokens_to_ids(sample.final)
        (row,) = np.flatnonzero((data["input_ids"][:, 1:] == final).all(axis=1))
        assert sample.original == tokenizer.convert_ids_to_tokens(
            data["original_ids"][row, 1:].tolist()
        )
        assert sample.labels == data["token_labels"][row, 1:].tolist()
        assert sample.facts["synthenticity"] == pytest.approx(float(data["synthenticity"][row]))
        assert {"document", "offset", "recipe", "targets", "mlm"} <= set(sample.facts)


def test_statistics_are_those_of_every_split(scorer_config: Config) -> None:
    found = inspect_directory(scorer_config.data_dir, count=1)
    assert list(found.statistics) == ["train", "val", "test"]
    data = DatasetConsumer(
        scorer_config.data_dir, batch_size=1, columns=["synthenticity"]
    ).read_all()
    assert found.statistics["train"]["synthenticity"]["mean"] == pytest.approx(
        data["synthenticity"].mean()
    )


def test_language_model_data_show_their_masks(mlm_config: Config) -> None:
    (sample,) = inspect_directory(mlm_config.data_dir, count=1).samples
    masked = [piece == "▒" for piece in sample.final]
    assert any(masked)
    assert all(label == 2 for label, hidden in zip(sample.labels, masked, strict=True) if hidden)
    assert "▒" not in sample.original


def test_the_seed_chooses_the_samples(scorer_config: Config) -> None:
    first, same, other = (
        inspect_directory(scorer_config.data_dir, count=2, seed=seed).samples for seed in (1, 1, 2)
    )
    assert first == same != other


def test_looking_changes_nothing(scorer_config: Config) -> None:
    folder = Path(scorer_config.data_dir)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    inspect_directory(folder)
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert before == after


def test_what_is_not_there_is_refused(scorer_config: Config, tmp_path: Path) -> None:
    with pytest.raises(QueueError, match="holds no batch files"):
        inspect_directory(tmp_path)
    with pytest.raises(QueueError, match="has no nope files; it has train, val, test"):
        inspect_directory(scorer_config.data_dir, split="nope")
    assert BatchQueue(scorer_config.data_dir).numbers("train")
