"""What matrix products reach on this machine: the ceiling under which models are measured.

    python benchmarks/ceiling.py [--device cuda]

A ceiling is the best of many products of large matrices in the same run as what stands beside it:
no model can be faster, and how far it stays below is what is left to win. float32 and bfloat16
are linear layers packed for oneDNN on a CPU, and plain products on a GPU. int8 is a chain of
products in an OpenVINO graph, each with the rounding to eight bits before it, as in a quantized
model; the graph says itself that it multiplies bytes.
"""

import argparse
import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import record
import torch

from synthenticity.runtimes.devices import resolve_device
from synthenticity.runtimes.packing import PackedLinear, can_pack

SIZES = {"cpu": (2048, 3072), "cuda": (8192, 12288), "mps": (4096,)}
CHAIN = 4
TRIES = 5
TORCH_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Product:
    """Square matrices, ready to be multiplied; `multiply` returns when it is done."""

    how: str
    size: int
    operations: float
    multiply: Callable[[], object]

    def best_rate(self, tries: int = TRIES) -> float:
        """Return operations a second, the best of so many products."""
        return max(self.operations / _seconds(self.multiply) for _ in range(tries))


class Ceiling:
    """The products of each dtype on a device."""

    def __init__(self, device: str = "cpu") -> None:
        where = resolve_device(device)
        sizes = SIZES[where.type]
        self.products = {
            dtype: [_torch_product(where, dtype, size) for size in sizes] for dtype in TORCH_DTYPES
        }
        if where.type == "cpu" and importlib.util.find_spec("openvino"):
            self.products["int8"] = [_int8_product(sizes[0])]
        for products in self.products.values():
            for product in products:
                product.multiply()

    def rates(self, tries: int = TRIES) -> dict[str, float]:
        """Return operations a second of each dtype, the best of its sizes and of so many tries."""
        return {
            dtype: max(product.best_rate(tries) for product in products)
            for dtype, products in self.products.items()
        }


def wait_for(device: torch.device) -> None:
    """Return when all that was given to a device is computed."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _torch_product(device: torch.device, dtype: str, size: int) -> Product:
    kind = TORCH_DTYPES[dtype]
    layer = torch.nn.Linear(size, size, bias=False).to(device, kind)
    packed = can_pack(device)
    multiply = PackedLinear(layer, kind) if packed else layer
    values = torch.randn(size, size).to(device, kind)

    @torch.inference_mode()
    def work() -> None:
        multiply(values)
        wait_for(device)

    how = "oneDNN linear layer, packed" if packed else f"linear layer on {device.type}"
    return Product(how, size, 2 * size**3, work)


def _int8_product(size: int) -> Product:
    import openvino
    from openvino import opset13

    entry = values = opset13.parameter([size, size], np.float32)
    low, high = np.float32(-4), np.float32(4 * 127 / 128)
    rng = np.random.default_rng(0)
    for _ in range(CHAIN):
        rounded = opset13.fake_quantize(values, low, high, low, high, 256)
        weights = opset13.constant(rng.integers(-127, 128, (size, size)).astype(np.int8))
        scale = opset13.constant(np.full((size, 1), 1 / 500, dtype=np.float32))
        weights = opset13.multiply(opset13.convert(weights, np.float32), scale)
        values = opset13.matmul(rounded, weights, transpose_a=False, transpose_b=True)
    compiled = openvino.Core().compile_model(
        openvino.Model([values], [entry]),
        "CPU",
        {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "NUM_STREAMS": 1},
    )
    infos = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    layers = [info for info in infos if info["layerType"].value == "FullyConnected"]
    if [info["runtimePrecision"].value for info in layers] != ["i8"] * CHAIN:
        raise SystemExit("int8: OpenVINO does not multiply bytes here; it has no int8 ceiling.")
    request = compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(rng.standard_normal((size, size), dtype=np.float32)))
    return Product(f"OpenVINO, {CHAIN} in a row", size, 2 * CHAIN * size**3, request.infer)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    device = parser.parse_args().device
    rows = [
        {
            "dtype": dtype,
            "product": product.how,
            "size": product.size,
            "thousand million operations a second": f"{product.best_rate(30) / 1e9:,.0f}",
        }
        for dtype, products in Ceiling(device).products.items()
        for product in products
    ]
    record.write(
        "ceiling" if device == "cpu" else f"ceiling_{device}",
        title="The ceiling: matrix products" + ("" if device == "cpu" else f" on {device}"),
        command="python benchmarks/ceiling.py" + ("" if device == "cpu" else f" --device {device}"),
        about="Products of square matrices, a multiplication and an addition counted as two "
        "operations; the best of 30 each.",
        rows=rows,
        device=device,
    )


if __name__ == "__main__":
    main()
