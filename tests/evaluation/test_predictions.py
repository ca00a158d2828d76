"""What a scorer says of labelled sequences."""

import numpy as np
import pytest
import torch
from transformers.utils import ModelOutput

from synthenticity.config import Config
from synthenticity.evaluation.predictions import Predictions, predict
from synthenticity.stream.dataset_consumer import DatasetConsumer
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
    figures = Predictions(np.zeros(len(data["synthenticity"]))).metrics(data)
    assert not [name for name in figures if name.startswith("token")]


class _Sure(torch.nn.Module):
    """Says one half of everything, and is sure within a tenth."""

    device = torch.device("cpu")

    def forward(self, input_ids: torch.Tensor) -> ModelOutput:
        half = torch.full((len(input_ids),), 0.5)
        return ModelOutput(synthenticity=half, low=half - 0.1, high=half + 0.1)


def test_intervals_are_taken_from_a_scorer_that_has_them(
    data: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synthenticity.evaluation.predictions.fast_scorer", lambda model, *_: model)
    said = predict(_Sure(), data, batch_size=7)
    assert said.tokens is None
    assert said.low == pytest.approx(said.ratios - 0.1)
    assert said.high == pytest.approx(said.ratios + 0.1)
