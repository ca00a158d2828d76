"""What computes a masked language model: PyTorch, OpenVINO or ONNX Runtime, behind one interface.

Two calls: hidden states at chosen places, and logits of hidden states. Between them lie the row
cache and the choice of what to draw, which are the engine's. Numbers go in as numpy arrays, and
come out as tensors on the runtime's device.
"""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

KERNEL_BLOCK = 16
"""Sequences are padded to a multiple of this, and so are the rows that a head sees: what fills no
block of a kernel is rounded otherwise (on AMD processors already the last two rows of ten)."""
FORWARD_TOKENS = 4096
"""A forward on a CPU reads so many: more make a layer's output too large for its cache."""


class Runtime(Protocol):
    """A masked language model that computes.

    Attributes:
        device: where the tensors are that it returns.
        arithmetic: runtime, device kind, dtype: what else decides the bits.
        batch_invariant: whether a row's bits depend on nothing but the row.
        calibrated: False while it must see rows of the user's text before it computes (int8).

    """

    device: torch.device
    batch_invariant: bool

    @property
    def arithmetic(self) -> str:
        """Runtime, device kind and dtype."""
        ...

    @property
    def calibrated(self) -> bool:
        """Whether it can compute."""
        ...

    def hidden_at(
        self, ids: NDArray[np.int64], places: NDArray[np.bool_], visible: NDArray[np.bool_]
    ) -> Tensor:
        """Return hidden states `[places, width]`, row by row; all arguments `[rows, length]`."""
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """Return float32 logits `[rows, vocabulary]`.

        The caller may change them; they stand until the thread's next call.
        """
        ...

    def calibrate(
        self, ids: NDArray[np.int64], places: NDArray[np.bool_], visible: NDArray[np.bool_]
    ) -> None:
        """Choose the scales of integer arithmetic by rows of the user's text."""
        ...


def filled_up(rows: Tensor) -> Tensor:
    """Return rows and zeros behind them, up to a multiple of `KERNEL_BLOCK`."""
    return torch.nn.functional.pad(rows, (0, 0, 0, -len(rows) % KERNEL_BLOCK))
