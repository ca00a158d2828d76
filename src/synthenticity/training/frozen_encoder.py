"""A frozen encoder: without gradients, as fast as inference is, and once for rows that recur.

While it is frozen, a copy for inference answers in its place: no dropout, no graph, layers packed
as the machine likes them (`runtimes.packing`). The features of a finite set's rows are kept by the
hash of their ids, as far as memory allows. None is ever dropped for another: epochs come in cycles,
so the row that was not used for longest is the next one needed. benchmarks/train.py shows what both
save.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import xxhash
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from synthenticity.runtimes.packing import fast_for_inference


class FeatureCache:
    """The features of rows that were computed before, in the memory of the host.

    Args:
        most_bytes: of all features together.
        most_rows: that there are; no more memory is asked for than these need.

    """

    def __init__(self, most_bytes: int, most_rows: int) -> None:
        self.most_bytes = most_bytes
        self.most_rows = most_rows
        self.asked = self.hits = 0
        self._slots: dict[bytes, int] = {}
        self._store: Tensor | None = None

    @property
    def stored_bytes(self) -> int:
        """Memory that the features take."""
        if self._store is None or not len(self._store):
            return 0
        return len(self._slots) * self._store[0].nbytes

    def features(self, input_ids: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the features `[rows, length, width]` of `[rows, length]` ids.

        Args:
            input_ids: of the rows.
            compute: returns the features of the rows with the given indices.

        """
        keys = [xxhash.xxh3_128_digest(row) for row in input_ids.cpu().numpy()]
        slots = np.array([self._slots.get(key, -1) for key in keys])
        self.asked += len(keys)
        self.hits += int((slots >= 0).sum())
        missing = torch.from_numpy(np.flatnonzero(slots < 0))
        new = compute(missing.to(input_ids.device)) if len(missing) else None
        if new is not None:
            self._keep([keys[row] for row in missing.tolist()], new)
            if len(missing) == len(keys):
                return new
        assert self._store is not None
        known = torch.from_numpy(np.flatnonzero(slots >= 0))
        kept = self._store[torch.from_numpy(slots[slots >= 0])].to(input_ids.device)
        if new is None:
            return kept
        whole = new.new_empty((len(keys), *new.shape[1:]))
        whole[missing.to(new.device)], whole[known.to(new.device)] = new, kept
        return whole

    def _keep(self, keys: list[bytes], features: Tensor) -> None:
        if self._store is None:
            rows = min(self.most_bytes // features[0].nbytes, self.most_rows)
            self._store = torch.empty((rows, *features.shape[1:]), dtype=features.dtype)
        for key, row in zip(keys, features, strict=True):
            if key not in self._slots and len(self._slots) < len(self._store):
                self._store[len(self._slots)] = row
                self._slots[key] = len(self._slots)


class FrozenEncoder:
    """Answers in the place of a model's encoder from now on, until it is removed.

    Args:
        encoder: whose weights do not change meanwhile.
        dtype: of the arithmetic.
        cache: of its features, if rows recur.

    """

    def __init__(self, encoder: Any, dtype: torch.dtype, cache: FeatureCache | None) -> None:
        self.cache = cache
        self._encoder = encoder
        self._fast = fast_for_inference(encoder, encoder.device, dtype)
        encoder.forward = self._forward

    def remove(self) -> None:
        """Let the encoder answer for itself again; what was kept is dropped."""
        del self._encoder.forward

    @torch.no_grad()
    def _forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **others: Any
    ) -> BaseModelOutput:
        def compute(rows: Tensor | slice) -> Tensor:
            visible = None if attention_mask is None else attention_mask[rows]
            hidden: Tensor = self._fast(
                input_ids[rows], attention_mask=visible, **others
            ).last_hidden_state
            return hidden

        with torch.autocast(input_ids.device.type, enabled=False):  # the copy has its dtype
            if self.cache is None:
                return BaseModelOutput(last_hidden_state=compute(slice(None)))
            return BaseModelOutput(last_hidden_state=self.cache.features(input_ids, compute))
