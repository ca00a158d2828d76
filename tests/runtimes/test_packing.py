"""Models that compute fast say what the models say that they are copies of."""

import copy

import pytest
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    EuroBertConfig,
    EuroBertForMaskedLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    RobertaConfig,
    RobertaForMaskedLM,
)

from synthenticity.runtimes import attention
from synthenticity.runtimes.packing import PackedLinear, can_pack, fast_for_inference

CPU = torch.device("cpu")
SIZE = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "pad_token_id": 0,
}
GROUPED = {**SIZE, "num_attention_heads": 4, "num_key_value_heads": 2, "mask_token_id": 4}
KINDS = {
    "bert": lambda: BertForMaskedLM(BertConfig(**SIZE)),
    "roberta": lambda: RobertaForMaskedLM(RobertaConfig(**SIZE)),
    "eurobert, grouped": lambda: EuroBertForMaskedLM(
        EuroBertConfig(**GROUPED, bos_token_id=1, eos_token_id=2)
    ),
    "modernbert, local": lambda: ModernBertForMaskedLM(
        ModernBertConfig(
            **SIZE,
            layer_types=["sliding_attention"] * 2 + ["full_attention"],
            local_attention=8,
            bos_token_id=1,
            eos_token_id=2,
            cls_token_id=1,
            sep_token_id=2,
        )
    ),
}


def inputs() -> dict[str, torch.Tensor]:
    visible = torch.ones(4, 48, dtype=torch.long)
    visible[1:, 30:] = 0
    ids = torch.randint(5, 50, (4, 48), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids * visible, "attention_mask": visible}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("dtype", "tiles", "most"),
    [
        pytest.param(torch.float32, False, 1e-5, id="float32"),
        pytest.param(torch.bfloat16, False, 0.05, id="bfloat16, attention by products"),
        pytest.param(torch.bfloat16, True, 0.05, id="bfloat16, fused attention"),
    ],
)
@torch.inference_mode()
def test_a_fast_copy_computes_what_the_model_does(
    kind: str, dtype: torch.dtype, tiles: bool, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "multiplies_by_tiles", lambda _: tiles)
    torch.manual_seed(0)
    model = KINDS[kind]().eval()
    given = inputs()
    seen = given["attention_mask"].bool()
    with_padding = model(**given).logits[seen]
    without = model(given["input_ids"][:1]).logits
    fast = fast_for_inference(model, CPU, dtype)
    assert (fast(**given).logits[seen].float() - with_padding).abs().max() < most
    assert (fast(given["input_ids"][:1]).logits.float() - without).abs().max() < most
    assert can_pack(CPU) == any(isinstance(module, PackedLinear) for module in fast.modules())
    by_products = dtype == torch.bfloat16 and not tiles
    assert (fast.config._attn_implementation == attention.PRODUCTS) == by_products


def test_a_fast_copy_leaves_its_model_alone() -> None:
    model = KINDS["bert"]()
    before = copy.deepcopy(model.state_dict())
    chosen = model.config._attn_implementation
    fast_for_inference(model, CPU, torch.bfloat16)
    after = model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert {tensor.dtype for tensor in after.values()} == {torch.float32}
    assert model.config._attn_implementation == chosen
    assert all(parameter.requires_grad for parameter in model.parameters())
