"""Attention as it is fastest where a model is computed.

In bfloat16 on a CPU by two matrix products, with which models learn faster, and read faster where
bfloat16 is not multiplied by tiles (AMX): PyTorch's fused kernel computes softmax and sums in
float32. With tiles it reads in a third of the products' time (12 heads, 256 tokens). On other
devices, and in float32, by the fused kernel; for other runtimes, which fuse by themselves, with a
mask of numbers.
"""

import math
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, eager_mask

from synthenticity.runtimes.devices import multiplies_by_tiles

FUSED = "sdpa"
PRODUCTS = "synthenticity_products"
FUSED_WITH_NUMBERS = "synthenticity_fused"
"""PyTorch's kernel with a mask that is added: one that forbids makes NaN of a padded query that
sees nothing, which other runtimes then carry on."""
MOST_SHARES = 2**29
"""Attention shares that a training step may keep: of 2 bytes each, 1 GiB."""


def products_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend, as transformers calls it: `[batch, heads, length, width]`, and a mask to be added.

    Several heads of the query may share a key and a value (grouped-query attention).
    """
    groups = getattr(module, "num_key_value_groups", 1)
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    query = query * (1 / math.sqrt(query.shape[-1]) if scaling is None else scaling)
    scores = query @ key.transpose(-1, -2)
    if attention_mask is not None:
        if attention_mask.dtype != scores.dtype:  # autocast; its lowest number is -inf in another
            attention_mask = attention_mask.clamp(min=torch.finfo(scores.dtype).min)
        scores += attention_mask
    shares = scores.softmax(dim=-1)
    if dropout and module.training:
        shares = torch.nn.functional.dropout(shares, dropout)
    return (shares @ value).transpose(1, 2).contiguous(), None


AttentionInterface.register(PRODUCTS, products_attention)
AttentionMaskInterface.register(PRODUCTS, eager_mask)
AttentionInterface.register(FUSED_WITH_NUMBERS, sdpa_attention_forward)
AttentionMaskInterface.register(FUSED_WITH_NUMBERS, eager_mask)


def choose_attention(model: Any, device: torch.device, dtype: torch.dtype) -> None:
    """Give a bidirectional model the attention that is fastest there; others keep their own."""
    if not multiplies_by_tiles(device):
        _choose_products(model, device, dtype)


def _choose_products(model: Any, device: torch.device, dtype: torch.dtype) -> None:
    if device.type == "cpu" and dtype == torch.bfloat16:
        _exchange(model, PRODUCTS)


def choose_attention_to_train(
    model: Any, device: torch.device, dtype: torch.dtype, *, rows: int, length: int
) -> None:
    """Give an encoder the attention that it learns fastest with, as far as memory allows.

    For the backward pass the products keep `length * length` shares of each head and row.

    Args:
        model: the encoder.
        device: on which it is trained.
        dtype: of the matrix products.
        rows: sequences of a batch.
        length: tokens of a sequence.

    """
    names = ("num_attention_heads", "num_hidden_layers")
    each = math.prod(getattr(model.config, name, 0) for name in names)
    if 0 < rows * each * length**2 <= MOST_SHARES:
        _choose_products(model, device, dtype)


def choose_attention_to_convert(model: Any) -> None:
    """Give a model an attention that other runtimes compute without NaN; some keep their own."""
    _exchange(model, FUSED_WITH_NUMBERS)


def _exchange(model: Any, name: str) -> None:
    if getattr(model.config, "_attn_implementation", None) == FUSED:
        model.set_attn_implementation(name)
