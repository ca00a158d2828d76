"""Which runtime computes a model, by the names that settings have, and how it is opened."""

from typing import Any

import torch

from synthenticity.errors import ConfigError
from synthenticity.runtimes.devices import check_dtype
from synthenticity.runtimes.onnx_runtime import OnnxRuntime
from synthenticity.runtimes.openvino_runtime import OpenVinoRuntime
from synthenticity.runtimes.runtime import Runtime
from synthenticity.runtimes.torch_runtime import TorchRuntime


def resolve_runtime(runtime: str, dtype: str) -> str:
    """Return the runtime that `auto` stands for: what computes the dtype, PyTorch if it does.

    It does not depend on what is installed, because the runtime decides the bits.

    Raises:
        ConfigError: the runtime does not compute that dtype.

    """
    if dtype != "int8":
        check_dtype(dtype)
    if runtime == "auto":
        return "openvino" if dtype == "int8" else "torch"
    if dtype == "int8" and runtime == "torch":
        raise ConfigError(
            "dtype: int8 in torch takes its scale from a row's neighbours, so that data would not "
            'be reproducible. Set runtime = "openvino", or dtype = "bfloat16".'
        )
    if dtype in ("int8", "bfloat16") and runtime == "onnx":
        raise ConfigError(
            f'dtype: {dtype} is not computed by onnx here. Set dtype = "float32", or runtime = '
            '"openvino".'
        )
    return runtime


def open_runtime(model: Any, device: torch.device, dtype: str, runtime: str) -> Runtime:
    """Return what computes a masked language model; the model itself is not changed.

    Args:
        model: any `AutoModelForMaskedLM`, on the CPU in float32.
        device: where to compute; OpenVINO and ONNX Runtime compute on the CPU.
        dtype: auto, float32, bfloat16, int8.
        runtime: auto, torch, openvino, onnx.

    Raises:
        ConfigError: the combination cannot be computed here.
        MissingExtraError: the runtime is not installed.
        ModelError: the runtime cannot take this model.

    """
    chosen = resolve_runtime(runtime, dtype)
    if chosen != "torch" and device.type != "cpu":
        raise ConfigError(
            f'runtime: {chosen} computes on the CPU, not on {device}. Set device = "cpu", or '
            'runtime = "torch".'
        )
    if chosen == "openvino":
        return OpenVinoRuntime(model, dtype)
    if chosen == "onnx":
        return OnnxRuntime(model)
    return TorchRuntime(model, device, dtype)
