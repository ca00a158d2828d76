"""What a language model thinks of each token, as a channel of the scorer.

The model is part of the scorer and never trained: text that people wrote is often less likely than
what a model writes. It reads each text several times, which is dear: for a filling model that the
scorer knows it lowers the error from .049 to .040 by itself, and beside n-grams from .034 to .033
(docs/benchmarks.md).
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

from synthenticity.synthesis.checkpoints import CAUSAL, MASKED
from synthenticity.synthesis.likelihood import (
    LIKELIHOODS,
    causal_likelihoods,
    token_likelihoods,
)
from synthenticity.training.enriched_embedding import Channel
from synthenticity.training.padding import padding_mask

CLASSES = {MASKED: AutoModelForMaskedLM, CAUSAL: AutoModelForCausalLM}
WIDTH = 32
SPREADS = (3.0, 1.0, 1.0, 3.0)
"""What each likelihood is divided by: about a standard deviation of it in ordinary text."""


class LikelihoodChannel(Channel):
    """What a frozen language model thinks of each token.

    Args:
        model: its configuration as a dictionary, `model_type` included.
        way: masked or causal.
        passes: readings of a text by a masked model; 0 is one in which nothing is masked.
        mask_token_id: of a masked model.
        special: ids that are no text.
        first: a model that never saw [CLS] is shown none: 1; else 0.

    """

    def __init__(
        self,
        model: dict[str, Any],
        *,
        way: str,
        passes: int,
        mask_token_id: int | None,
        special: list[int],
        first: int,
    ) -> None:
        super().__init__()
        inner = dict(model)
        config = AutoConfig.for_model(inner.pop("model_type"), **inner)
        config.tie_word_embeddings = False  # a tensor of two names is not saved twice
        self.reader = CLASSES[way].from_config(config).requires_grad_(False)
        self.way, self.passes, self.mask_token_id = way, passes, mask_token_id
        self.special, self.first = list(special), first
        self.width = WIDTH
        self.layer = nn.Linear(len(LIKELIHOODS), WIDTH)

    def train(self, mode: bool = True) -> "LikelihoodChannel":
        """Set the training mode, of which the model knows nothing."""
        super().train(mode)
        self.reader.eval()
        return self

    def forward(self, ids: Tensor) -> Tensor:
        """Return what a layer makes of likelihoods, `[batch, length, width]`, of ids `[batch,
        length]`.
        """
        values: Tensor = self.layer(self.likelihoods(ids).to(self.layer.weight.dtype))
        return nn.functional.gelu(values)

    @torch.no_grad()
    def likelihoods(self, ids: Tensor) -> Tensor:
        """Return scaled `LIKELIHOODS` `[batch, length, 4]` of ids `[batch, length]`; 0 where there
        is no text.
        """
        special = torch.tensor(self.special, device=ids.device)
        counted = ~torch.isin(ids, special)
        read, asked = ids[:, self.first :], counted[:, self.first :]
        seen = padding_mask(read, self.reader.config.pad_token_id)
        if self.way == CAUSAL:
            found = causal_likelihoods(self.reader, read, asked, never=special, attention_mask=seen)
        else:
            assert self.mask_token_id is not None
            found = token_likelihoods(
                self.reader,
                read,
                asked,
                passes=self.passes,
                mask_token_id=self.mask_token_id,
                never=special,
                attention_mask=seen,
            )
        scaled = found / torch.tensor(SPREADS, device=ids.device)
        return nn.functional.pad(scaled, (0, 0, self.first, 0))
