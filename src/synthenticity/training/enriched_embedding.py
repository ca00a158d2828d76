"""`EnrichedEmbedding`: takes the place of an encoder's embedding of ids, and adds channels to it.

So any encoder reads more than ids, and is called as ever. What is added goes through layers that
start at zero: at first the encoder reads what it was pretrained on.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Channel(nn.Module):
    """Says something of each token: `[batch, length, width]` of ids `[batch, length]`."""

    width: int


class EnrichedEmbedding(nn.Module):
    """An encoder's embedding with what channels say of each token.

    Args:
        words: the encoder's own embedding.
        channels: what else is said.

    """

    def __init__(self, words: nn.Embedding, channels: Sequence[Channel]) -> None:
        super().__init__()
        self.words = words
        self.channels = nn.ModuleList(channels)
        self.width = sum(channel.width for channel in channels)
        self.projection = nn.Linear(self.width, words.embedding_dim)
        self._last: tuple[Tensor, Tensor] | None = None

    @property
    def weight(self) -> Tensor:
        """The encoder's own embeddings, `[vocabulary, width]`."""
        return self.words.weight

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what belongs to a call: a copy is made of the rest."""
        return {**self.__dict__, "_last": None}

    def forget(self) -> None:
        """Add nothing, as before any training."""
        nn.init.zeros_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the embeddings `[batch, length, embedding width]` of ids `[batch, length]`."""
        features = self._features(ids)
        self._last = ids, features
        embedding: Tensor = self.words(ids) + self.projection(features)
        return embedding

    def take_features(self, ids: Tensor) -> Tensor:
        """Return what the channels say, `[batch, length, width]`: what `forward` has just added
        of the very same ids, if it has; it is kept no longer.
        """
        last, self._last = self._last, None
        if last is not None and last[0] is ids:
            return last[1]
        return self._features(ids)

    def _features(self, ids: Tensor) -> Tensor:
        return torch.cat([channel(ids) for channel in self.channels], dim=2)
