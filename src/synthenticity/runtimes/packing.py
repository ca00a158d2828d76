"""Linear layers whose weights lie in memory as oneDNN's matrix product wants them.

PyTorch's own linear layer rearranges its weights at each call in bfloat16, and goes to another
library in float32, which on AMD processors reaches less than half of what oneDNN does. The
operators are PyTorch's own (its compiler writes calls of them), but not public: where they are
missing, layers stay as they are.
"""

import copy
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from synthenticity.runtimes.attention import choose_attention
from synthenticity.runtimes.steady_rows import SteadyRows


class PackedLinear(nn.Module):
    """A linear layer for inference on the CPU, which gives a row the same bits in any company.

    Args:
        layer: whose weights are taken.
        dtype: of the weights and of what is given and returned, float32 or bfloat16.

    """

    def __init__(self, layer: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.dtype = dtype
        self.bias = None if layer.bias is None else layer.bias.detach().to(dtype)
        self._packed = torch.ops.mkldnn._reorder_linear_weight(
            layer.weight.detach().to(dtype).contiguous()
        )

    @property
    def weight(self) -> Tensor:
        """The weights, as some architectures read them beside the product; made at each call."""
        weight: Tensor = self._packed.to_dense()
        return weight

    def forward(self, values: Tensor) -> Tensor:
        """Return `[..., out_features]` of `[..., in_features]`."""
        rows = values.numel() // self.in_features
        counts = _steady_rows(
            self.in_features,
            self.out_features,
            self.dtype,
            has_bias=self.bias is not None,
            threads=torch.get_num_threads(),
        )
        steady = counts.at_least(rows, self)
        if rows == steady:
            return self.product(values)
        flat = values.reshape(rows, self.in_features)
        if steady is None:
            flat = torch.cat([self(part) for part in torch.split(flat, counts.measure)])
        else:
            flat = self.product(nn.functional.pad(flat, (0, 0, 0, steady - rows)))[:rows]
        return flat.reshape(*values.shape[:-1], self.out_features)

    def product(self, values: Tensor) -> Tensor:
        """Compute all rows at once, whatever their number is."""
        product: Tensor = torch.ops.mkldnn._linear_pointwise(
            values, self._packed, self.bias, "none", [], ""
        )
        return product


@cache
def _steady_rows(
    in_features: int, out_features: int, dtype: torch.dtype, *, has_bias: bool, threads: int
) -> SteadyRows:
    """Return what is known of the layers of one size, all of which are computed alike."""
    return SteadyRows(out_features)


def can_pack(device: torch.device) -> bool:
    """Whether linear layers on a device can be packed by this PyTorch."""
    operators = ("_reorder_linear_weight", "_linear_pointwise")
    return (
        device.type == "cpu"
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and all(hasattr(torch.ops.mkldnn, name) for name in operators)
    )


def copy_for_inference(model: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """Return a copy of a model on a device and in a dtype, whose modules can be exchanged.

    It shares the tensors that are there in that dtype already. Buffers keep their dtype: rotary
    frequencies in bfloat16 would be other frequencies.
    """
    tensors: dict[int, Tensor] = {id(own): own.detach().to(device) for own in model.buffers()}
    for own in model.parameters():
        to = dtype if own.is_floating_point() else own.dtype
        moved = own.detach().to(device=device, dtype=to)
        tensors[id(own)] = nn.Parameter(moved, requires_grad=False)
    return copy.deepcopy(model, tensors).eval()


def pack_linear_layers(model: nn.Module, dtype: torch.dtype) -> None:
    """Exchange the linear layers of a model for packed ones, in place."""
    for name, module in list(model.named_children()):
        if type(module) is nn.Linear:
            setattr(model, name, PackedLinear(module, dtype))
        elif type(module) is Conv1D:
            setattr(model, name, PackedLinear(_linear_of(module), dtype))
        else:
            pack_linear_layers(module, dtype)


def _linear_of(layer: Conv1D) -> nn.Linear:
    """Return the linear layer that GPT-2's is, with its weights the other way round."""
    inputs, outputs = layer.weight.shape
    linear = nn.Linear(inputs, outputs, device="meta")
    linear.weight, linear.bias = nn.Parameter(layer.weight.detach().T), layer.bias
    return linear


def fast_for_inference(model: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """Return a copy of a model that computes fast on a device in a dtype, for inference only."""
    fast = copy_for_inference(model, device, dtype)
    choose_attention(fast, device, dtype)
    if can_pack(device):
        pack_linear_layers(fast, dtype)
    return fast
