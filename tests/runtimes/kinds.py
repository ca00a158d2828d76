"""The runtimes and dtypes there are, each skipped where its extra is not installed."""

import importlib.util
from typing import Any

import pytest

NEEDS = {"openvino": ["openvino"], "onnx": ["onnx", "onnxscript", "onnxruntime"], "torch": []}


def kind(runtime: str, dtype: str, *, needs: tuple[str, ...] = ()) -> Any:
    there = all(importlib.util.find_spec(name) for name in (*NEEDS[runtime], *needs))
    skip = pytest.mark.skipif(not there, reason=f"the extra of {runtime} is not installed")
    return pytest.param(runtime, dtype, marks=skip, id=f"{runtime} {dtype}")


KINDS = [
    kind("torch", "float32"),
    kind("torch", "bfloat16"),
    kind("openvino", "float32"),
    kind("openvino", "bfloat16"),
    kind("openvino", "int8", needs=("nncf",)),
    kind("onnx", "float32"),
]
