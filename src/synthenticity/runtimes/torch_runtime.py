"""PyTorch on any device: packed linear layers on the CPU, PyTorch's own kernels elsewhere.

On the CPU the LM head stays in float32: in bfloat16 its logits are rounded to it, which moves
predictions more than the whole encoder does (benchmarks/quality.py).
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synthenticity.runtimes.attention import choose_attention
from synthenticity.runtimes.devices import resolve_dtype, torch_arithmetic
from synthenticity.runtimes.memory import keep_freed_memory
from synthenticity.runtimes.packing import can_pack, copy_for_inference, pack_linear_layers
from synthenticity.runtimes.parts import heads_apart, part
from synthenticity.runtimes.runtime import filled_up


class TorchRuntime:
    """A masked language model in PyTorch. See `Runtime`."""

    calibrated = True

    def __init__(self, model: Any, device: torch.device, dtype: str) -> None:
        self.device = device
        self.dtype = resolve_dtype(dtype, device)
        self.batch_invariant = device.type == "cpu"
        self._packed = can_pack(device)
        apart = heads_apart(model)
        own = copy_for_inference(model, device, self.dtype)
        choose_attention(own, device, self.dtype)
        self.encoder, self.head = part(own, apart=apart)
        head_dtype = self.dtype
        if device.type == "cpu":
            keep_freed_memory()
            head_dtype = torch.float32
            _, self.head = part(copy_for_inference(model, device, head_dtype), apart=apart)
        if self._packed:
            pack_linear_layers(self.encoder, self.dtype)
            pack_linear_layers(self.head, head_dtype)

    @property
    def arithmetic(self) -> str:
        """Runtime, version, device kind, dtype, and how products are computed."""
        return torch_arithmetic(self.device, self.dtype, packed=self._packed)

    def hidden_at(
        self, ids: NDArray[np.int64], places: NDArray[np.bool_], visible: NDArray[np.bool_]
    ) -> Tensor:
        """Return hidden states `[places, width]`. Rows without padding go without a mask."""
        mask = None if visible.all() else self._tensor(visible.astype(np.int64))
        with torch.inference_mode():
            chosen = self._tensor(np.flatnonzero(places))
            rows: Tensor = self.encoder(self._tensor(ids), mask, chosen)
            return rows

    def logits(self, hidden: Tensor) -> Tensor:
        """Return float32 logits `[rows, vocabulary]`."""
        with torch.inference_mode():
            if self.device.type == "cpu":
                hidden = hidden.float()
            logits: Tensor = self.head(filled_up(hidden))[: len(hidden)].float()
            return logits

    def calibrate(
        self, ids: NDArray[np.int64], places: NDArray[np.bool_], visible: NDArray[np.bool_]
    ) -> None:
        """Do nothing: there are no scales to choose."""

    def _tensor(self, values: NDArray[Any]) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(values))
        if self.device.type == "cuda":  # the copy goes on while Python prepares the next call
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)
