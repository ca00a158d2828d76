"""OpenVINO on the CPU: float32, bfloat16, and int8 with scales chosen by the user's own text.

The model is converted from PyTorch once it is loaded, in two parts, and compiled for all shapes.
Scales are static: dynamic ones would make a row depend on its neighbours.
"""

import threading
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synthenticity.errors import ConfigError, MissingExtraError
from synthenticity.runtimes.conversion import (
    check_conversion,
    converting,
    encoder_inputs,
    example_inputs,
    parts_to_convert,
    quietly,
)
from synthenticity.runtimes.memory import keep_freed_memory
from synthenticity.runtimes.parts import EncoderPart
from synthenticity.runtimes.runtime import filled_up
from synthenticity.seeding import digest

CPU = torch.device("cpu")
CALIBRATION_BATCHES = 16


class OpenVinoRuntime:
    """A masked language model in OpenVINO. See `Runtime`.

    Raises:
        MissingExtraError: OpenVINO is not installed.
        ConfigError: this processor lacks the dtype.
        ModelError: OpenVINO cannot take the model.

    """

    batch_invariant = True

    def __init__(self, model: Any, dtype: str) -> None:
        self.device = CPU
        self._core = _openvino("int8" if dtype == "int8" else "openvino").Core()
        self.dtype = _resolve(dtype, self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
        self._scales = ""
        keep_freed_memory()
        encoder, head = parts_to_convert(model)
        self._parts: tuple[Any, Any] | None = _converted(model, encoder, head)
        self._encoder: _Compiled
        self._head: _Compiled | None = None
        if self.dtype != "int8":
            self._compile(self.dtype)
            check_conversion(model, encoder, self, "OpenVINO")
            self._parts = None

    @property
    def arithmetic(self) -> str:
        """Runtime, version, device kind and dtype; of int8 also the dtype of what stays floating,
        and what its scales were chosen by.
        """
        version = _openvino().__version__.split("-")[0]
        dtype = f"int8+{_floating(self._core)}" if self.dtype == "int8" else self.dtype
        return f"openvino {version} cpu {dtype} {self._scales}".strip()

    @property
    def calibrated(self) -> bool:
        """Whether it can compute."""
        return self._parts is None

    def hidden_at(
        self, ids: NDArray[np.int64], places: NDArray[np.bool_], visible: NDArray[np.bool_]
    ) -> Tensor:
        """Return hidden states `[places, width]`."""
        return torch.from_numpy(self._encoder(encoder_inputs(ids, places, visible)))

    def logits(self, hidden: Tensor) -> Tensor:
        """Return float32 logits `[rows, vocabulary]`."""
        if self._head is None:
            return hidden.clone()
        logits = self._head({"rows": filled_up(hidden).numpy()}, kept=False)
        width = logits.shape[-1]  # of a quantized head, an axis of one may have stayed in front
        return torch.from_numpy(logits.reshape(-1, width))[: len(hidden)]

    def calibrate(
        self, ids: NDArray[np.int64], places: NDArray[np.bool_], visible: NDArray[np.bool_]
    ) -> None:
        """Choose the scales of int8 by rows of the user's text; do nothing in other dtypes.

        Raises:
            MissingExtraError: NNCF is not installed.

        """
        if self._parts is None:
            return
        encoder, head = self._parts
        self._compile("float32")
        batches = [
            encoder_inputs(ids[some], places[some], visible[some])
            for some in np.array_split(np.arange(len(ids)), min(CALIBRATION_BATCHES, len(ids)))
        ]
        rows = [{"rows": self._encoder(batch)} for batch in batches]
        self._parts = (
            _quantized(encoder, batches),
            None if head is None else _quantized(head, rows),
        )
        self._compile(_floating(self._core))
        self._parts = None
        seen = digest(*(np.ascontiguousarray(v).tobytes() for v in (ids, places, visible)))
        self._scales = f"nncf {_nncf().__version__} {seen[:12]}"

    def _compile(self, precision: str) -> None:
        settings = {
            "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "NUM_STREAMS": 1,
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
        }
        assert self._parts is not None
        encoder, head = self._parts
        self._encoder = _Compiled(self._core.compile_model(encoder, "CPU", settings))
        if head is not None:
            self._head = _Compiled(self._core.compile_model(head, "CPU", settings))


class _Compiled:
    """A part that computes, by a request of its own in each thread: one computes one thing."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._of_thread = threading.local()

    def __call__(self, inputs: dict[str, NDArray[Any]], *, kept: bool = True) -> NDArray[Any]:
        """Return the output. What is not to be kept stands until the thread's next call: the
        copy of a head's logits costs as much as the head.
        """
        if not hasattr(self._of_thread, "request"):
            self._of_thread.request = self._compiled.create_infer_request()
        request = self._of_thread.request
        output: NDArray[Any] = request.infer(inputs, share_inputs=True, share_outputs=not kept)[0]
        return output


def _openvino(extra: str = "openvino") -> Any:
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError("runtime openvino", extra) from error
    return openvino


def _nncf() -> Any:
    try:
        with quietly():
            import nncf
    except ImportError as error:
        raise MissingExtraError("dtype int8 (NNCF)", "int8") from error
    return nncf


def _floating(core: Any) -> str:
    """Return the dtype in which this processor computes what is not quantized."""
    return _resolve("auto", core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def _resolve(dtype: str, capabilities: list[str]) -> str:
    if dtype == "auto":
        return "bfloat16" if "BF16" in capabilities else "float32"
    if dtype == "bfloat16" and "BF16" not in capabilities:
        raise ConfigError(
            "dtype: this processor has no bfloat16, and OpenVINO does not emulate it. Set "
            'dtype = "float32".'
        )
    return dtype


def _converted(model: Any, encoder: EncoderPart, head: Any) -> tuple[Any, Any]:
    """Convert both parts; the head is None where it does nothing."""
    openvino, example = _openvino(), example_inputs(model)
    with converting("OpenVINO", model):
        first = openvino.convert_model(encoder, example_input=example)
        if isinstance(head, torch.nn.Identity):
            return first, None
        rows = {"rows": encoder(**example)}
        return first, openvino.convert_model(head, example_input=rows)


def _quantized(part: Any, batches: list[dict[str, Any]]) -> Any:
    nncf = _nncf()
    with quietly():
        return nncf.quantize(
            part,
            nncf.Dataset(batches),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(batches),
        )
