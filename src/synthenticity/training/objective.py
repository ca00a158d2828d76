"""What a run optimises and watches: one object for each `ModelMode`.

An objective turns a batch into a loss and the val set into figures; the trainer knows nothing
else about the task.
"""

from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from synthenticity.metrics import conformal_quantile, finite, ratio_metrics, token_metrics
from synthenticity.stream.batch_file import Columns
from synthenticity.synthesis.masked_head import masked_logits
from synthenticity.training.loss import (
    LossModifiers,
    MeanWeight,
    ScorerLoss,
    counted_tokens,
    masked_lm_loss,
    masked_lm_weight,
    of_one_batch,
)
from synthenticity.training.padding import padding_mask
from synthenticity.training.ratio_map import fitted_map
from synthenticity.training.sequence_scorer import (
    IDENTITY_MAP,
    SCORER_INTERVAL,
    SequenceScorer,
    interval_bounds,
    mapped_logit,
)

Batch = dict[str, Tensor]


class Objective(Protocol):
    """A task: which columns it needs, its loss, its figures."""

    columns: list[str]

    def weight(self, batch: Batch) -> Tensor | None:
        """Return what the tokens of a batch weigh; None if only its prediction tells."""
        ...

    def loss(self, model: Any, batch: Batch, mean_weight: MeanWeight = of_one_batch) -> Tensor:
        """Return the mean loss of a batch, or its share of the step's; gradients flow."""
        ...

    def evaluate(self, model: Any, data: Columns, batch_size: int) -> dict[str, float]:
        """Return the figures of the model on a whole fixed set."""
        ...

    def settle(self, model: Any, data: Columns, batch_size: int) -> None:
        """Fit what a trained model owes to a fixed set that it was not trained on."""
        ...

    def encoder_parameters(self, model: Any) -> Iterable[Any]:
        """Return the parameters that a pretrained encoder brings; the others are new."""
        ...


def tensor_batches(data: Columns, columns: list[str], batch_size: int, device: Any) -> list[Batch]:
    """Cut numeric columns into batches of tensors; integers become int64."""
    rows = len(data[columns[0]])
    tensors = {
        name: torch.from_numpy(
            data[name].astype(np.int64 if data[name].dtype.kind in "iu" else np.float32)
        )
        for name in columns
    }
    return [
        {name: tensor[start : start + batch_size].to(device) for name, tensor in tensors.items()}
        for start in range(0, rows, batch_size)
    ]


class LanguageModelObjective:
    """Masked language modelling: the LM head runs at masked positions only."""

    columns = ["input_ids", "labels"]  # noqa: RUF012

    def __init__(self, modifiers: LossModifiers) -> None:
        self.modifiers = modifiers

    def _logits(self, model: Any, batch: Batch) -> Tensor:
        ids = batch["input_ids"]
        visible = padding_mask(ids, model.config.pad_token_id)
        return masked_logits(model, ids, batch["labels"] != -100, visible)

    def weight(self, batch: Batch) -> Tensor | None:
        """Return the weight of the masked tokens; None with the entropy modifier."""
        return masked_lm_weight(batch["labels"], self.modifiers)

    def loss(self, model: Any, batch: Batch, mean_weight: MeanWeight = of_one_batch) -> Tensor:
        """Return the mean cross-entropy of the masked tokens, in nats."""
        logits = self._logits(model, batch)
        return masked_lm_loss(logits, batch["labels"], self.modifiers, mean_weight)

    @torch.no_grad()
    def evaluate(self, model: Any, data: Columns, batch_size: int) -> dict[str, float]:
        """Return nats per masked token, perplexity, and top-1 accuracy."""
        nats, hits, count = 0.0, 0, 0
        for batch in tensor_batches(data, self.columns, batch_size, model.device):
            logits = self._logits(model, batch).float()
            labels = batch["labels"][batch["labels"] != -100]
            nats += float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"))
            hits += int((logits.argmax(dim=1) == labels).sum())
            count += len(labels)
        loss = nats / max(count, 1)
        return {"loss": loss, "perplexity": float(np.exp(loss)), "accuracy": hits / max(count, 1)}

    def settle(self, model: Any, data: Columns, batch_size: int) -> None:
        """Leave the model as it is."""

    def encoder_parameters(self, model: Any) -> Iterable[Any]:
        """Return those of the encoder, a matrix that the LM head shares with it included."""
        return list(model.base_model.parameters())


class ScorerObjective:
    """The scorer: token labels and the ratio."""

    columns = ["input_ids", "targets", "token_labels"]  # noqa: RUF012

    def __init__(self, criterion: ScorerLoss, *, target: str) -> None:
        self.criterion = criterion
        self.target = target

    def _synthenticity(self, targets: Any) -> Any:
        return 1 - targets if self.target == "authenticity" else targets

    def weight(self, batch: Batch) -> Tensor:
        """Return the number of counted tokens."""
        return counted_tokens(batch["token_labels"]).sum()

    def loss(
        self, model: SequenceScorer, batch: Batch, mean_weight: MeanWeight = of_one_batch
    ) -> Tensor:
        """Return the scorer's loss of a batch."""
        return self.criterion(
            model(batch["input_ids"]),
            self._synthenticity(batch["targets"]),
            batch["token_labels"],
            mean_weight,
        )

    @torch.no_grad()
    def evaluate(self, model: SequenceScorer, data: Columns, batch_size: int) -> dict[str, float]:
        """Return the loss and MSE, MAE, Pearson, R2 of the ratio and AUROC of the tokens."""
        ratios, tokens, losses = [], [], []
        for batch in tensor_batches(data, self.columns, batch_size, model.device):
            output = model(batch["input_ids"])
            true = self._synthenticity(batch["targets"])
            loss = self.criterion(output, true, batch["token_labels"])
            losses.append(float(loss) * len(true))
            ratios.append(output.synthenticity.cpu().numpy())
            if output.token_logits is not None:
                tokens.append(output.token_logits.sigmoid().cpu().numpy())
        true = self._synthenticity(data["targets"])
        figures = {"loss": sum(losses) / len(true)}
        figures |= ratio_metrics(np.concatenate(ratios), true)
        if tokens:
            figures |= token_metrics(np.concatenate(tokens), data["token_labels"])
        return finite(figures)

    @torch.no_grad()
    def settle(self, model: SequenceScorer, data: Columns, batch_size: int) -> None:
        """Map the model's ratios, then widen its intervals, so that both hold of `data`, and count
        which share of what was filled there was replaced.

        A model knows the human text that it was trained on, and takes other human text for a
        little stranger than it is. The margin is that of conformalized quantile regression
        (Romano et al. 2019); it may be negative.
        """
        model.eval()
        model.config.ratio_map = list(IDENTITY_MAP)
        true = torch.from_numpy(self._synthenticity(data["targets"]).astype(np.float64))
        said = [
            model(batch["input_ids"])
            for batch in tensor_batches(data, ["input_ids"], batch_size, model.device)
        ]
        logits = torch.cat([output.logit for output in said]).cpu().double()
        model.config.ratio_map = fitted_map(logits, true)
        ratios = mapped_logit(logits, model.config.ratio_map).sigmoid()
        reach = torch.cat([output.interval_logits for output in said]).cpu().double()
        low, high = interval_bounds(ratios, reach)
        model.config.interval_margin = conformal_quantile(
            torch.maximum(low - true, true - high).numpy(), SCORER_INTERVAL
        )
        filled = int(np.isin(data["token_labels"], (1, 2)).sum())
        replaced = int((data["token_labels"] == 2).sum())
        model.config.replaced_share = replaced / filled if filled else None

    def encoder_parameters(self, model: SequenceScorer) -> Iterable[Any]:
        """Return those of the encoder without its channels."""
        return model.pretrained_parameters()
