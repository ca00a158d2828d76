"""Scorer and baselines before the same sequences."""

import importlib.util
import sys

import numpy as np
import pytest
import torch

from synthenticity.config import Config
from synthenticity.errors import MissingExtraError
from synthenticity.evaluation.baselines import MeanBaseline, NgramRidgeBaseline
from synthenticity.evaluation.evaluate import Predictions, evaluate_baseline, predict, texts_of
from synthenticity.stream.dataset_consumer import DatasetConsumer
from synthenticity.text.tokenization import load_tokenizer
from synthenticity.training.model import load_scorer

COLUMNS = ["input_ids", "token_labels", "synthenticity", "original_ids"]


@pytest.fixture(scope="module")
def data(scorer_config: Config) -> dict[str, np.ndarray]:
    consumer = DatasetConsumer(scorer_config.data_dir, batch_size=1, split="test", columns=COLUMNS)
    return consumer.read_all()


def test_predictions_are_what_the_model_says_row_by_row(data: dict, scorer_path) -> None:
    model = load_scorer(scorer_path)
    said = predict(model, data, batch_size=7)
    assert said.ratios.shape == data["synthenticity"].shape
    with torch.no_grad():
        alone = model(torch.from_numpy(data["input_ids"][10:11].astype(np.int64)))
    assert said.ratios[10] == pytest.approx(alone.synthenticity.item(), abs=1e-6)
    assert np.allclose(said.tokens[10], alone.token_logits.sigmoid()[0], atol=1e-5)


def test_a_perfect_scorer_has_perfect_figures(data: dict) -> None:
    filled = ((data["token_labels"] == 1) | (data["token_labels"] == 2)).astype(np.float32)
    figures = Predictions(data["synthenticity"].astype(np.float64), filled).metrics(data)
    assert figures["mae"] == 0 and figures["token_auroc_filled"] == 1
    assert figures["pearson"] == pytest.approx(1)


def test_a_scorer_without_token_head_has_no_token_figures(data: dict) -> None:
    figures = Predictions(np.zeros(len(data["synthenticity"])), None).metrics(data)
    assert not [name for name in figures if name.startswith("token")]


def test_texts_are_the_final_ones_without_special_tokens(data: dict, scorer_config: Config) -> None:
    tokenizer = load_tokenizer(f"{scorer_config.data_dir}/tokenizer")
    for text, ids in zip(texts_of(data, tokenizer), data["input_ids"], strict=True):
        assert text == "".join(tokenizer.convert_ids_to_tokens(ids[1:].tolist()))


def test_the_mean_baseline_predicts_the_training_mean() -> None:
    figures = evaluate_baseline(
        MeanBaseline(), ["a", "b"], np.array([0.2, 0.4]), ["c", "d"], np.array([0.1, 0.5])
    )
    assert figures["mae"] == pytest.approx(0.2) and figures["bias"] == pytest.approx(0.0)


def test_the_ridge_learns_what_characters_tell_and_stays_within_the_range() -> None:
    rng = np.random.default_rng(0)
    ratios = rng.random(300)
    texts = ["".join(rng.choice(["ab", "xy"], 100, p=[1 - r, r])) for r in ratios]
    ridge = NgramRidgeBaseline()
    figures = evaluate_baseline(ridge, texts[:200], ratios[:200], texts[200:], ratios[200:])
    assert figures["mae"] < 0.05 and figures["pearson"] > 0.9
    extreme = ridge.predict(["ab" * 100, "xy" * 100])
    assert 0 <= extreme[0] < 0.1 and 0.9 < extreme[1] <= 1


def test_the_ridge_without_scikit_learn_names_its_install_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert importlib.util.find_spec("sklearn")
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(MissingExtraError, match=r"synthenticity\[eval\]"):
        NgramRidgeBaseline()
