"""Baselines learn what they look at, and nothing else."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoModelForMaskedLM

from synthenticity.config import Config
from synthenticity.errors import MissingExtraError
from synthenticity.evaluation.baselines import (
    LIKELIHOOD_BASELINES,
    ConstantBaseline,
    NgramRidgeBaseline,
    all_baselines,
    curvature_features,
    gltr_features,
    pseudo_likelihood_features,
)
from synthenticity.evaluation.sequences import COLUMNS, Sequences, sequences_of
from synthenticity.stream.dataset_consumer import DatasetConsumer
from synthenticity.text.tokenization import load_tokenizer


def made_up(texts: list[str], ratios: list[float], **more: np.ndarray) -> Sequences:
    """Return sequences whose tokens are the characters of their texts."""
    longest = max(map(len, texts))
    labels = np.array([[0] * len(t) + [-100] * (longest - len(t)) for t in texts], dtype=np.int8)
    return Sequences({"synthenticity": np.array(ratios), "token_labels": labels}, texts, **more)


def mixed(count: int, seed: int) -> Sequences:
    """Return texts of two kinds of words, mixed by ratio."""
    rng = np.random.default_rng(seed)
    ratios = rng.random(count)
    texts = ["".join(rng.choice(["ab ", "xy "], 100, p=[1 - r, r])) for r in ratios]
    return made_up(texts, ratios.tolist())


def test_a_constant_is_that_of_the_training_ratios() -> None:
    seen, other = made_up(["a", "b", "c"], [0.1, 0.2, 0.9]), made_up(["d", "e"], [0.0, 1.0])
    assert ConstantBaseline(np.mean).fit(seen).predict(other).tolist() == pytest.approx([0.4, 0.4])
    assert ConstantBaseline(np.median).fit(seen).predict(other).tolist() == [0.2, 0.2]


@pytest.mark.parametrize("analyzer", ["char", "word"])
def test_the_ridge_learns_what_n_grams_tell_and_stays_within_the_range(analyzer: str) -> None:
    ridge = NgramRidgeBaseline(analyzer).fit(mixed(200, 0))
    test = mixed(100, 1)
    error = np.abs(ridge.predict(test) - test.ratios).mean()
    assert error < 0.1
    extreme = ridge.predict(made_up(["ab " * 100, "xy " * 100], [0, 0]))
    assert 0 <= extreme[0] < 0.2 and 0.8 < extreme[1] <= 1


def test_length_alone_learns_length_and_nothing_of_equal_ones() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(10, 100, 200)
    tell = made_up(["a" * n for n in lengths], (lengths / 100).tolist())
    alone = all_baselines(with_likelihoods=False)["length alone"].fit(tell)
    assert np.abs(alone.predict(tell) - tell.ratios).mean() < 0.1
    equal = mixed(200, 2)
    nothing = all_baselines(with_likelihoods=False)["length alone"].fit(equal)
    assert np.allclose(nothing.predict(equal), equal.ratios.mean())


def test_likelihood_features_are_the_field_s() -> None:
    own = np.array([[-1.0, -3.0, 0.0]])
    likelihoods = np.stack(
        [own, np.log1p([[0, 10, 0]]), [[2.0, 1.0, 0.0]], [[1.0, 3.0, 0.0]]], axis=-1
    ).astype(np.float32)
    sequences = made_up(["ab", "abc"], [0.5, 0.5]).taken(np.array([0]))
    sequences = Sequences(sequences.columns, sequences.texts, likelihoods)
    assert pseudo_likelihood_features(sequences) == pytest.approx(np.array([[-2.0]]))
    assert gltr_features(sequences) == pytest.approx(np.array([[0.5, 0.5, 1.0]]))
    expected = ((-1 + 2) + (-3 + 1)) / 4**0.5
    assert curvature_features(sequences) == pytest.approx(np.array([[expected]]), abs=1e-4)


@pytest.fixture(scope="module")
def read(scorer_config: Config, mlm_path: Path) -> dict[str, Sequences]:
    tokenizer = load_tokenizer(mlm_path)
    model = AutoModelForMaskedLM.from_pretrained(mlm_path).eval()
    found = {}
    for split in ("train", "test"):
        data = DatasetConsumer(scorer_config.data_dir, batch_size=1, split=split, columns=COLUMNS)
        sequences = sequences_of(data.read_all(), tokenizer)
        found[split] = sequences.read_by(model, tokenizer, passes=4)
    return found


def test_texts_are_the_final_ones_without_special_tokens(read: dict, mlm_path: Path) -> None:
    tokenizer, sequences = load_tokenizer(mlm_path), read["test"]
    for text, ids in zip(sequences.texts, sequences.columns["input_ids"], strict=True):
        assert text == "".join(tokenizer.convert_ids_to_tokens(ids[1:].tolist()))


def test_a_language_model_reads_every_counted_token_and_no_other(read: dict) -> None:
    sequences = read["test"]
    assert sequences.likelihoods is not None
    assert (sequences.likelihoods[sequences.counted][:, 0] < 0).all()
    assert (sequences.likelihoods[~sequences.counted] == 0).all()
    some = sequences.taken(np.array([3, 1]))
    assert np.array_equal(some.likelihoods, sequences.likelihoods[[3, 1]])


@pytest.mark.parametrize("name", LIKELIHOOD_BASELINES)
def test_what_a_model_finds_likely_tells_something(name: str, read: dict) -> None:
    """Words of a small vocabulary, broken up by filled characters."""
    found = all_baselines(with_likelihoods=True)[name].fit(read["train"]).predict(read["train"])
    correlation = np.corrcoef(found, read["train"].ratios)[0, 1]
    assert correlation > 0.4


@pytest.mark.parametrize("module", ["sklearn.linear_model"])
def test_without_scikit_learn_the_install_line_is_named(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert importlib.util.find_spec("sklearn")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"synthenticity\[eval\]"):
        NgramRidgeBaseline()
    with pytest.raises(MissingExtraError, match=r"synthenticity\[eval\]"):
        all_baselines(with_likelihoods=False)
