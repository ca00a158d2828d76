"""ONNX Runtime on the CPU, in float32: for machines where PyTorch's own kernels are slow."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synthenticity.errors import MissingExtraError
from synthenticity.runtimes.conversion import (
    check_conversion,
    converting,
    encoder_inputs,
    example_inputs,
    parts_to_convert,
)
from synthenticity.runtimes.memory import keep_freed_memory
from synthenticity.runtimes.runtime import filled_up

CPU = torch.device("cpu")
ENCODER_DIMENSIONS = {"input_ids": 2, "attention_mask": 2, "places": 1}
"""The inputs of an encoder, and how many dimensions of each may be of any size."""


class OnnxRuntime:
    """A masked language model in ONNX Runtime. See `Runtime`.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
        ModelError: ONNX Runtime cannot take the model.

    """

    batch_invariant = True
    calibrated = True

    def __init__(self, model: Any) -> None:
        self.device = CPU
        self._version = _onnxruntime().__version__
        keep_freed_memory()
        encoder, head = parts_to_convert(model)
        example = example_inputs(model)
        with converting("ONNX Runtime", model):
            self._encoder = _session(encoder, example, ENCODER_DIMENSIONS)
            self._head = None
            if not isinstance(head, torch.nn.Identity):
                self._head = _session(head, {"rows": encoder(**example)}, {"rows": 1})
        check_conversion(model, encoder, self, "ONNX Runtime")

    @property
    def arithmetic(self) -> str:
        """Runtime, device kind and dtype."""
        return f"onnx {self._version} cpu float32"

    def hidden_at(
        self, ids: NDArray[np.int64], places: NDArray[np.bool_], visible: NDArray[np.bool_]
    ) -> Tensor:
        """Return hidden states `[places, width]`."""
        return torch.from_numpy(self._encoder.run(None, encoder_inputs(ids, places, visible))[0])

    def logits(self, hidden: Tensor) -> Tensor:
        """Return float32 logits `[rows, vocabulary]`."""
        if self._head is None:
            return hidden.clone()
        logits = self._head.run(None, {"rows": filled_up(hidden).numpy()})[0]
        return torch.from_numpy(logits)[: len(hidden)]

    def calibrate(
        self, ids: NDArray[np.int64], places: NDArray[np.bool_], visible: NDArray[np.bool_]
    ) -> None:
        """Do nothing: there are no scales to choose."""


def _onnxruntime() -> Any:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  (PyTorch exports with it)
    except ImportError as error:
        raise MissingExtraError("runtime onnx (onnxruntime, onnxscript)", "onnx") from error
    return onnxruntime


def _session(module: Any, example: dict[str, Tensor], dimensions: dict[str, int]) -> Any:
    """Export a module and open it; the first dimensions of each input are of any size."""
    any_size = torch.export.Dim.AUTO
    program = torch.onnx.export(
        module,
        tuple(example.values()),
        dynamo=True,
        input_names=list(example),
        dynamic_shapes=tuple(dict.fromkeys(range(dimensions[name]), any_size) for name in example),
        verbose=False,
    )
    assert program is not None
    options = _onnxruntime().SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    return _onnxruntime().InferenceSession(
        program.model_proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
