"""While the model fills, the next batch is drawn and a file is written; nothing else changes."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthenticity.config import Config
from synthenticity.errors import CorpusError
from synthenticity.providers.base import DataProviderBase, column
from synthenticity.providers.prepare import prepare
from synthenticity.providers.sequence_scorer import SequenceScorerProvider
from synthenticity.stream.batch_file import Columns, Identity, encode_batch_file
from synthenticity.stream.batch_queue import BatchQueue

PATIENCE = 20


class Watched(SequenceScorerProvider):
    """Notes which step of which batch has begun; a test may hold a step, or fail it."""

    def __init__(self, config: Config, mlm_engine: Any) -> None:
        super().__init__(config, mlm_engine=mlm_engine)
        self.counts = {"draw": 0, "fill": 0, "label": 0}
        self.moved = threading.Condition()
        self.failing: tuple[str, int] | None = None

    def begin(self, step: str) -> None:
        with self.moved:
            self.counts[step] += 1
            self.moved.notify_all()
            if self.failing == (step, self.counts[step]):
                raise CorpusError(f"corpus: the {step} of a test failed.")

    def wait_for(self, step: str, count: int) -> None:
        with self.moved:
            assert self.moved.wait_for(lambda: self.counts[step] >= count, PATIENCE), self.counts

    def draw_batch(self, split: str, rng: np.random.Generator) -> Any:
        self.begin("draw")
        return super().draw_batch(split, rng)

    def fill_batch(self, drawn: Any) -> Any:
        self.begin("fill")
        return super().fill_batch(drawn)

    def label_batch(self, filled: Any) -> Columns:
        self.begin("label")
        return super().label_batch(filled)


@pytest.fixture
def provider(tiny: Config, constant_engine: Any) -> Watched:
    return Watched(tiny, constant_engine)


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("synthenticity-")]


def test_the_model_fills_the_next_file_while_one_is_committed(
    provider: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, batches = BatchQueue.put, provider.config.batches_per_file
    committed: list[int] = []

    def slow(queue: BatchQueue, split: str, number: int, content: bytes) -> bool:
        committed.append(number)
        provider.wait_for("fill", min(len(committed) * batches + 1, 3 * batches))
        return put(queue, split, number, content)

    monkeypatch.setattr(BatchQueue, "put", slow)
    prepare(provider.config, tmp_path / "d", files=3, splits=["train"], provider=provider)
    assert committed == [0, 1, 2]


def test_the_next_batches_are_drawn_while_the_model_fills_one(
    provider: Watched, tmp_path: Path
) -> None:
    fill = SequenceScorerProvider.fill_batch

    def slow(drawn: Any) -> Any:
        provider.begin("fill")
        provider.wait_for("draw", 3)
        return fill(provider, drawn)

    provider.fill_batch = slow  # type: ignore[method-assign]
    prepare(provider.config, tmp_path / "d", files=1, splits=["train"], provider=provider)
    assert provider.counts == {"draw": 3, "fill": 3, "label": 3}


def test_the_files_are_those_that_the_steps_make_one_after_the_other(
    provider: Watched, tmp_path: Path
) -> None:
    prepare(provider.config, tmp_path / "d", files=3, provider=provider)
    queue = BatchQueue(tmp_path / "d")
    meta = queue.meta()
    assert meta is not None
    for split in ("train", "val"):
        for number in range(3):
            columns = provider.make_file(split, number)
            content = encode_batch_file(
                columns, meta.schema, Identity(meta.fingerprint, split, number)
            )
            assert queue.path(split, number).read_bytes() == content


def test_nothing_is_drawn_that_a_full_backlog_cannot_take(
    provider: Watched, tmp_path: Path
) -> None:
    stop, drawn = threading.Event(), []

    def watch(progress: Any) -> None:
        if progress.waiting:
            drawn.append((provider.counts["draw"], progress.files_made))
            stop.set()

    prepare(provider.config, tmp_path / "d", provider=provider, on_progress=watch, stop=stop)
    files = provider.config.max_backlog_files + provider.config.val_files
    assert drawn == [(files * provider.config.batches_per_file, files)]


@pytest.mark.parametrize("step", ["draw", "fill", "label"])
def test_an_error_of_a_step_is_the_callers_and_takes_no_whole_file_with_it(
    provider: Watched, tmp_path: Path, step: str
) -> None:
    batches = provider.config.batches_per_file
    provider.failing = step, 2 * batches + 1
    with pytest.raises(CorpusError, match=f"^corpus: the {step} of a test failed.$"):
        prepare(provider.config, tmp_path / "d", files=4, splits=["train"], provider=provider)
    assert BatchQueue(tmp_path / "d").numbers("train") == [0, 1]
    assert BatchQueue(tmp_path / "d").temporaries() == []
    assert threads() == []


def test_stopped_in_the_middle_of_a_file_it_leaves_no_thread(
    provider: Watched, tmp_path: Path
) -> None:
    stop = threading.Event()
    fill = SequenceScorerProvider.fill_batch

    def stopping(drawn: Any) -> Any:
        provider.begin("fill")
        if provider.counts["fill"] == provider.config.batches_per_file + 2:
            stop.set()
        return fill(provider, drawn)

    provider.fill_batch = stopping  # type: ignore[method-assign]
    prepare(provider.config, tmp_path / "d", files=500, provider=provider, stop=stop)
    assert len(BatchQueue(tmp_path / "d").numbers("train")) < 10
    assert threads() == []


class Plain(DataProviderBase):
    """Does what every provider must, and no more."""

    def build_meta(self) -> dict[str, Any]:
        task = {"dataset_name": "plain", "training_type": "MLM", "vocab_size": 9}
        return {
            **task,
            "cls_token_id": 2,
            "batch_schema": [column("input_ids", "int64", [4], "input", "uint16")],
        }

    def sample_batch(self, split: str, rng: np.random.Generator) -> Columns:
        return {"input_ids": rng.integers(9, size=(self.config.batch_size, 4))}


def test_a_provider_that_only_samples_batches_works(tiny: Config, tmp_path: Path) -> None:
    provider = Plain(tiny)
    summary = prepare(tiny, tmp_path / "d", files=2, splits=["train"], provider=provider)
    assert summary["files_made"] == 2
    file = BatchQueue(tmp_path / "d").get("train", 1)
    assert file is not None
    assert (file.columns["input_ids"] == provider.make_file("train", 1)["input_ids"]).all()


class Whole(Watched):
    """Makes batches in a way of its own, though its parent has steps."""

    def sample_batch(self, split: str, rng: np.random.Generator) -> Columns:
        batch = super().sample_batch(split, rng)
        return {**batch, "targets": np.full_like(batch["targets"], 0.5)}


def test_a_provider_with_batches_of_its_own_is_asked_for_these(
    tiny: Config, tmp_path: Path, constant_engine: Any
) -> None:
    provider = Whole(tiny, constant_engine)
    prepare(tiny, tmp_path / "d", files=1, splits=["train"], provider=provider)
    file = BatchQueue(tmp_path / "d").get("train", 0)
    assert file is not None
    assert (file.columns["targets"] == 0.5).all()
