"""A row of a matrix product keeps its bits, however many rows stand beside it."""

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

from synthenticity.runtimes.packing import PackedLinear, can_pack
from synthenticity.runtimes.steady_rows import SteadyRows
from synthenticity.runtimes.torch_runtime import TorchRuntime
from synthenticity.synthesis.causal_inference import CausalInferenceEngine
from synthenticity.text.tokenization import build_character_tokenizer

CPU = torch.device("cpu")
COUNTS = (1, 3, 16, 48, 96, 208, 255, 512, 1000)
DTYPES = pytest.mark.parametrize("dtype", ["float32", "bfloat16"])


class Moody:
    """A layer that computes otherwise where it is given one of some numbers of rows."""

    in_features, out_features, dtype = 4, 4, torch.float32

    def __init__(self, moods: set[int], weight: float = 1.0) -> None:
        self.moods, self.weight, self.calls = moods, weight, 0

    def product(self, values: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return values * self.weight * (1 + 1e-6 * (len(values) in self.moods))


def test_rows_are_added_only_where_the_product_would_be_another() -> None:
    layer = Moody({1, 48, 512, 5000})
    counts = SteadyRows(layer.out_features)
    found = [counts.at_least(rows, layer) for rows in (1, 16, 48, 511, 513, 4096, 5000, 5001)]
    assert found == [1024, 16, 1024, 511, 513, 4096, None, 5001]
    calls = layer.calls
    assert counts.at_least(48, layer) == 1024
    assert layer.calls == calls  # each number is tried once


def test_a_layer_that_gives_every_row_the_same_decides_nothing() -> None:
    counts = SteadyRows(4)
    assert counts.at_least(48, Moody({48}, weight=0.0)) == 48
    assert counts.at_least(48, Moody({48})) == 512


@pytest.mark.skipif(not can_pack(CPU), reason="this PyTorch packs nothing")
@DTYPES
@pytest.mark.parametrize("shape", [(384, 1536), (1536, 384), (768, 768), (384, 103)], ids=str)
@torch.inference_mode()
def test_a_packed_layer_gives_a_row_the_same_bits_in_any_number(
    shape: tuple[int, int], dtype: str
) -> None:
    torch.manual_seed(0)
    own = getattr(torch, dtype)
    layer = PackedLinear(nn.Linear(*shape), own)
    rows = torch.randn(4096, shape[0], dtype=own)
    whole = layer(rows)
    for count in COUNTS:
        some = rows[: 64 * count]
        parts = torch.cat([layer(part) for part in some.split(count)])
        assert torch.equal(parts, whole[: len(some)]), count


@DTYPES
def test_a_row_of_a_wide_encoder_keeps_its_bits_in_any_batch(dtype: str) -> None:
    torch.manual_seed(0)
    model = BertForMaskedLM(
        BertConfig(vocab_size=98, hidden_size=384, num_hidden_layers=2, num_attention_heads=6)
    ).eval()
    runtime = TorchRuntime(model, CPU, dtype)
    rng = np.random.default_rng(0)
    for length in (48, 96, 255):
        ids = rng.integers(4, 98, (20, length))
        everywhere = np.ones(ids.shape, dtype=bool)
        whole = runtime.hidden_at(ids, everywhere, everywhere)
        for count in (1, 3, 7):
            some = everywhere[:count]
            alone = runtime.hidden_at(ids[:count], some, some)
            assert torch.equal(alone, whole[: count * length]), (length, count)


@DTYPES
def test_attention_gives_a_row_its_bits_in_any_batch(dtype: str) -> None:
    """PyTorch chooses by the number of rows whether its fused kernel packs keys and values."""
    torch.manual_seed(0)
    model = BertForMaskedLM(
        BertConfig(vocab_size=98, hidden_size=768, num_hidden_layers=1, num_attention_heads=12)
    ).eval()
    runtime = TorchRuntime(model, CPU, dtype)
    ids = np.random.default_rng(0).integers(4, 98, (48, 96))
    everywhere = np.ones(ids.shape, dtype=bool)
    whole = runtime.hidden_at(ids, everywhere, everywhere)
    for count in (1, 3, 36):
        some = everywhere[:count]
        alone = runtime.hidden_at(ids[:count], some, some)
        assert torch.equal(alone, whole[: count * ids.shape[1]]), count


@DTYPES
def test_a_row_of_a_wide_left_to_right_model_keeps_its_bits_in_any_batch(dtype: str) -> None:
    tokenizer = build_character_tokenizer(["abcdefghijklmnopqrstuvwxyz .,"], block_size=96)
    size = len(tokenizer)
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=size, n_embd=384, n_layer=2, n_head=6, bos_token_id=0, eos_token_id=0)
    ).eval()
    engine = CausalInferenceEngine(model, tokenizer, dtype=dtype, device=CPU)
    rng = np.random.default_rng(0)
    ids = rng.integers(8, size, (20, 80))
    mask = rng.random(ids.shape) < 0.3
    mask[:, :20] = mask[:10, :60] = False
    whole = engine.fill(ids, mask, sequence_keys=np.arange(20))
    for count in (1, 3, 7):
        few = engine.fill(ids[:count], mask[:count], sequence_keys=np.arange(count))
        assert np.array_equal(few.ids, whole.ids[:count])
        assert np.array_equal(few.log_probability, whole.log_probability[:count])
