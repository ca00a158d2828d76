"""What a filling model is to the rest of the house, and how one is loaded.

Two kinds there are: masked language models fill in the light of both sides, left-to-right ones
after what stands before. Which a checkpoint is, it says itself.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from synthenticity.config import SAFETENSORS
from synthenticity.synthesis.causal_inference import CausalInferenceEngine
from synthenticity.synthesis.checkpoints import CAUSAL, MASKED, Checkpoint, find_checkpoint
from synthenticity.synthesis.filling_engine import FillingEngine
from synthenticity.synthesis.mlm_inference import MLMInferenceEngine
from synthenticity.synthesis.rows import Fill

__all__ = ["Fill", "FillingModel", "load_filling_model", "open_filling_model"]


class FillingModel(Protocol):
    """What writes tokens at masked positions; `MLMInferenceEngine` and `CausalInferenceEngine` do.

    `name` is a folder or hub id, `revision` the hub's commit; `fingerprint` tells weights apart,
    and `arithmetic` says what else decides what is written. `mask_token_id` is None for a model
    that reads from left to right. `special_ids` and `unwritable_ids` are never written.
    """

    name: str
    revision: str | None
    tokenizer: Any
    mask_token_id: int | None
    special_ids: NDArray[np.int64]
    unwritable_ids: NDArray[np.int64]

    @property
    def fingerprint(self) -> str:
        """A digest of the weights and the architecture."""
        ...

    @property
    def arithmetic(self) -> str:
        """Device kind, dtype and whatever else decides the written tokens."""
        ...

    @property
    def calibrated(self) -> bool:
        """Whether it can fill, or must be calibrated before."""
        ...

    def calibrate(self, texts: Sequence[str]) -> None:
        """Choose the scales of int8 by texts like those to be filled."""
        ...

    @property
    def longest_input(self) -> int:
        """How many tokens it can read at once."""
        ...

    def check_length(self, tokens: int) -> None:
        """Raise a `CompatibilityError` if the model cannot read that many tokens at once."""
        ...

    def predict_masked_tokens(
        self, input_ids: Any, mask_positions: Any, **sampling: Any
    ) -> NDArray[np.int64]:
        """Return the ids `[batch, length]` with the masked positions written."""
        ...

    def fill(
        self,
        input_ids: Any,
        mask_positions: Any,
        *,
        sequence_keys: NDArray[np.int64],
        temperature: float | NDArray[np.float64] = 1.0,
        top_k: int | NDArray[np.int64] | None = None,
        top_p: float | NDArray[np.float64] | None = None,
        steps: int | NDArray[np.int64] = 1,
        order: str | NDArray[np.str_] = "confident",
        forbid_original: bool | NDArray[np.bool_] = False,
        attention_mask: Any = None,
        opinion: bool = True,
    ) -> Fill:
        """Return the written ids with their log-probabilities and ranks."""
        ...


def load_filling_model(
    path: str | Path,
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    runtime: str = "auto",
    weights: str = SAFETENSORS,
    remote_code: bool = False,
) -> FillingModel:
    """Load a folder or hub id as the kind of filling model that it is.

    Args:
        path: a folder or hub id.
        revision: branch, tag or commit on the hub.
        device: auto, cpu, cuda, cuda:1, mps.
        dtype: auto (bfloat16 where the device multiplies it), float32, bfloat16, or int8, which
            must be calibrated before it fills.
        runtime: auto (torch; openvino for int8), torch, openvino or onnx.
        weights: `safetensors`, or `any` to allow PyTorch's old format as well.
        remote_code: run the Python code that comes with the checkpoint.

    Raises:
        ConfigError: runtime, dtype, device and kind of model do not fit each other.
        ModelError: there is none, or none that can fill.

    """
    found = find_checkpoint(path, revision=revision, weights=weights, remote_code=remote_code)
    return open_filling_model(found, device=device, dtype=dtype, runtime=runtime)


def open_filling_model(
    checkpoint: Checkpoint, *, device: str = "auto", dtype: str = "auto", runtime: str = "auto"
) -> FillingModel:
    """Load a checkpoint that was looked at.

    It becomes a masked filler if it may be one and has a mask token, else a left-to-right one.
    """
    ways = checkpoint.ways
    has_mask_token = checkpoint.tokenizer.mask_token_id is not None
    is_causal = CAUSAL in ways and not (MASKED in ways and has_mask_token)
    engine: type[FillingEngine] = CausalInferenceEngine if is_causal else MLMInferenceEngine
    return engine.load(checkpoint, device=device, dtype=dtype, runtime=runtime)
