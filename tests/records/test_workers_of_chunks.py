"""Workers that would not make what their owner makes: they refuse, and say why."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from synthenticity.config import Config
from synthenticity.errors import CompatibilityError
from synthenticity.providers import making
from synthenticity.providers.sequence_scorer import SequenceScorerProvider
from synthenticity.records import filled_chunks, scored_chunks
from synthenticity.stream.meta import FINITE
from synthenticity.synthesis.filling import Filler


@pytest.fixture(autouse=True)
def no_settling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the threads and the log of this process as they are."""
    for module in (making, filled_chunks, scored_chunks):
        monkeypatch.setattr(module, "settle_libraries", lambda _: None)


def with_changed(values: Mapping[str, Any], word: str) -> dict[str, Any]:
    """Return values with "cuda" in place of a word, however deep it stands."""
    return {
        key: with_changed(value, word)
        if isinstance(value, Mapping)
        else value.replace(word, "cuda")
        if isinstance(value, str)
        else value
        for key, value in values.items()
    }


def test_a_worker_on_another_kind_of_device_fills_nothing(family: Callable[[str], Path]) -> None:
    config = Config(mlm_checkpoint_path=str(family("bert-cased")), device="cpu", dtype="float32")
    owner = Filler.from_config(config).made_with()
    task = filled_chunks.FillingTask(config, 8, 1, owner)
    assert filled_chunks._chunk_filler(task, 1)
    task = dataclasses.replace(task, made_with=with_changed(owner, " cpu "))
    with pytest.raises(CompatibilityError, match=r"arithmetic is 'torch .* with its owner and"):
        filled_chunks._chunk_filler(task, 1)


@pytest.mark.parametrize("key", ["weights", "calibration", "device", "dtype", "torch"])
def test_a_worker_with_another_scorer_scores_nothing(scorer_path: Path, key: str) -> None:
    task = scored_chunks.ScoringTask(str(scorer_path), "cpu", "auto", None, None, False, False)
    owner = scored_chunks._decisive(task, task.load_scorer())
    assert scored_chunks._chunk_scorer(task, owner, 1)
    words = f"{key} is 'another' with its owner and {owner[key]!r} with the worker"
    with pytest.raises(CompatibilityError, match=words):
        scored_chunks._chunk_scorer(task, {**owner, key: "another"}, 1)


def test_a_worker_with_another_corpus_makes_no_file(scorer_config: Config) -> None:
    meta = SequenceScorerProvider(scorer_config).meta(FINITE)
    other = dataclasses.replace(meta, made_with={**meta.made_with, "corpus_hash": "another"})
    assert making._build_in_worker(scorer_config, meta, 1)
    with pytest.raises(CompatibilityError, match="corpus_hash is 'another' with its owner"):
        making._build_in_worker(scorer_config, other, 1)
