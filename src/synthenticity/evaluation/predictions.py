"""What a scorer says of labelled sequences, and its figures against their truth."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from synthenticity.metrics import finite, ratio_metrics, token_metrics
from synthenticity.scoring.forward import fast_scorer
from synthenticity.stream.batch_file import Columns
from synthenticity.training.model import SequenceScorer
from synthenticity.training.objective import tensor_batches


@dataclass(frozen=True)
class Predictions:
    """A scorer's values for labelled sequences: ratios `[rows]`, token probabilities or None."""

    ratios: NDArray[np.float64]
    tokens: NDArray[np.float32] | None

    def metrics(self, data: Columns) -> dict[str, float]:
        """Return the figures against the truth of `data`."""
        figures = ratio_metrics(self.ratios, data["synthenticity"])
        if self.tokens is not None:
            figures |= token_metrics(self.tokens, data["token_labels"])
        return finite(figures)


@torch.inference_mode()
def predict(model: SequenceScorer, data: Columns, *, batch_size: int = 64) -> Predictions:
    """Score the sequences `input_ids` `[rows, length]` as they are."""
    ratios, tokens = [], []
    fast = fast_scorer(model, model.device, torch.float32)
    for batch in tensor_batches(data, ["input_ids"], batch_size, model.device):
        output = fast(batch["input_ids"])
        ratios.append(output.synthenticity.double().cpu().numpy())
        if output.token_logits is not None:
            tokens.append(output.token_logits.sigmoid().cpu().numpy())
    return Predictions(np.concatenate(ratios), np.concatenate(tokens) if tokens else None)
