"""What a scorer says of labelled sequences, and its figures against their truth."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from synthenticity.metrics import finite, ratio_metrics, token_metrics
from synthenticity.scoring.forward import fast_scorer
from synthenticity.stream.batch_file import Columns
from synthenticity.training.objective import tensor_batches
from synthenticity.training.sequence_scorer import SequenceScorer

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Predictions:
    """What is said of labelled sequences.

    Attributes:
        ratios: the synthenticity of each, `[rows]`; NaN where nothing is said.
        tokens: probability of each token, `[rows, length]`; None without them.
        low: lower end of the 90 % interval of each ratio, `[rows]`; None without one.
        high: its upper end.
        suspicion: what sequences are told from untouched ones by, higher for filled ones, `[rows]`;
            None where that is the ratio.

    """

    ratios: Floats
    tokens: NDArray[np.floating] | None = None
    low: Floats | None = None
    high: Floats | None = None
    suspicion: Floats | None = None

    @property
    def scores(self) -> Floats:
        """What sequences are told from untouched ones by, `[rows]`."""
        return self.ratios if self.suspicion is None else self.suspicion

    @property
    def known(self) -> NDArray[np.bool_]:
        """Of which sequences something is said, `[rows]`."""
        return ~np.isnan(self.ratios)

    def taken(self, chosen: NDArray[Any]) -> "Predictions":
        """Return what is said of some sequences, by indices or a mask."""
        return self._each(lambda values: values[chosen])

    def padded(self, rows: int) -> "Predictions":
        """Return this as what is said of the first of more sequences, and nothing of the others."""

        def longer(values: NDArray[Any]) -> NDArray[Any]:
            whole = np.full((rows, *values.shape[1:]), np.nan, dtype=values.dtype)
            whole[: len(values)] = values
            return whole

        return self._each(longer)

    def _each(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> "Predictions":
        found: dict[str, Any] = {
            name: None if values is None else change(values) for name, values in vars(self).items()
        }
        return Predictions(**found)

    def metrics(self, data: Columns) -> dict[str, float]:
        """Return the figures against the truth of `data`."""
        figures = ratio_metrics(self.ratios, data["synthenticity"])
        if self.tokens is not None:
            figures |= token_metrics(self.tokens, data["token_labels"])
        return finite(figures)


@torch.inference_mode()
def predict(model: SequenceScorer, data: Columns, *, batch_size: int = 64) -> Predictions:
    """Score the sequences `input_ids` `[rows, length]` as they are."""
    found: dict[str, list[torch.Tensor]] = {}
    fast = fast_scorer(model, model.device, torch.float32)
    for batch in tensor_batches(data, ["input_ids"], batch_size, model.device):
        output = fast(batch["input_ids"])
        for name in ("synthenticity", "token_logits", "low", "high"):
            value = output.get(name)  # None where the scorer has no such head
            if value is not None:
                found.setdefault(name, []).append(value.cpu())
    whole = {name: torch.cat(parts) for name, parts in found.items()}
    ratios, low, high = (
        whole[name].double().numpy() if name in whole else None
        for name in ("synthenticity", "low", "high")
    )
    assert ratios is not None
    tokens = whole["token_logits"].sigmoid().numpy() if "token_logits" in whole else None
    return Predictions(ratios, tokens, low, high)
