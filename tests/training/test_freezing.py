"""A frozen encoder: what stands still, what is saved by it, and that nothing else changes."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import same, weights

from synthenticity.config import Config
from synthenticity.runtimes.attention import FUSED, PRODUCTS, choose_attention_to_train
from synthenticity.synthesis.masked_head import masked_logits
from synthenticity.text.tokenization import load_tokenizer
from synthenticity.training.freezing import freeze_encoder
from synthenticity.training.frozen_encoder import FeatureCache, FrozenEncoder
from synthenticity.training.model import build_language_model
from synthenticity.training.train import train

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def frozen(scorer_config: Config) -> Config:
    """Frozen for 14 iterations of 4 rows, over two epochs of 36; then two more."""
    return dataclasses.replace(
        scorer_config,
        freeze_transformer=True,
        unfreeze_at_iteration=14,
        max_iters=16,
        eval_interval=5,
    )


def messages_of(config: Config, folder: Path) -> list[str]:
    said: list[str] = []
    train(config, folder, on_message=said.append)
    return [line for line in said if "features" in line]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_cached_features_teach_bit_for_bit_the_same(
    dtype: str, frozen: Config, tmp_path: Path
) -> None:
    config = dataclasses.replace(frozen, dtype=dtype)
    (said,) = messages_of(config, tmp_path / "cached")
    # of 14 times 4 rows of training those after the first 36, of 2 times 12 of val the second
    assert "32 of 80 rows, those of evaluations counted, had their features" in said
    assert not messages_of(dataclasses.replace(config, feature_cache_gb=0.0), tmp_path / "none")
    assert all(same(weights(tmp_path / "cached"), weights(tmp_path / "none")))


def test_nothing_is_cached_where_no_row_recurs_while_frozen(frozen: Config, tmp_path: Path) -> None:
    assert not messages_of(dataclasses.replace(frozen, unfreeze_at_iteration=9), tmp_path / "one")


def test_a_cache_keeps_what_fits_and_gives_it_back_unchanged() -> None:
    computed: list[int] = []

    def compute(ids: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        computed.extend(ids[rows][:, 0].tolist())
        return ids[rows][:, :, None].float().expand(-1, -1, 3)

    cache = FeatureCache(most_bytes=2 * 4 * 3 * 4, most_rows=9)  # two rows of 4 tokens of 3
    rows = torch.arange(5)[:, None].repeat(1, 4)
    for batch in (rows[:3], rows[[4, 1, 0]], rows[[0, 1]], rows[[2, 0]]):
        features = cache.features(batch, lambda rows, ids=batch: compute(ids, rows))
        assert torch.equal(features, batch[:, :, None].float().expand(-1, -1, 3))
        assert cache.stored_bytes <= cache.most_bytes
    assert computed == [0, 1, 2, 4, 2]
    assert (cache.asked, cache.hits) == (10, 5)


def test_a_bound_below_one_row_caches_nothing() -> None:
    cache = FeatureCache(most_bytes=1, most_rows=9)
    for _ in range(2):
        cache.features(torch.ones(2, 3), lambda rows: torch.ones(len(rows), 3, 1))
    assert (cache.hits, cache.stored_bytes) == (0, 0)


def test_of_a_frozen_language_model_only_what_its_head_has_of_its_own_is_trained(
    mlm_config: Config, mlm_path: Path, tmp_path: Path
) -> None:
    config = dataclasses.replace(
        mlm_config,
        init_from_checkpoint=str(mlm_path),
        freeze_transformer=True,
        max_iters=3,
        learning_rate=1e-2,
    )
    train(config, tmp_path / "run")
    before, after = weights(mlm_path), weights(tmp_path / "run")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"head.dense.weight", "head.norm.weight", "decoder.bias"}
    assert "decoder.weight" not in before  # the embeddings', which stand still with the encoder


def test_a_frozen_language_model_keeps_no_graph_of_its_encoder_and_drops_nothing_out(
    mlm_config: Config,
) -> None:
    config = dataclasses.replace(mlm_config, dropout=0.5, init_from_checkpoint=None)
    model = build_language_model(config, load_tokenizer(Path(config.data_dir) / "tokenizer"))
    ids = torch.randint(4, 20, (2, 16))
    positions = torch.ones(2, 16, dtype=torch.bool)
    freeze_encoder(model, True)
    stand_in = FrozenEncoder(model.base_model, torch.float32, None)
    model.train()
    hidden = model.base_model(input_ids=ids).last_hidden_state
    assert hidden.grad_fn is None and not hidden.requires_grad
    logits = masked_logits(model, ids, positions)
    assert torch.equal(logits, masked_logits(model, ids, positions))
    logits.sum().backward()
    assert all(parameter.grad is None for parameter in model.base_model.parameters())
    assert model.decoder.bias.grad is not None
    stand_in.remove()
    freeze_encoder(model, False)
    masked_logits(model, ids, positions).sum().backward()
    assert all(parameter.grad is not None for parameter in model.base_model.parameters())


# The attention that is trained with.


def gradients(model: Any, ids: torch.Tensor, visible: torch.Tensor | None) -> list[torch.Tensor]:
    model.zero_grad()
    positions = torch.ones_like(ids, dtype=torch.bool) if visible is None else visible.bool()
    masked_logits(model, ids, positions, visible).square().mean().backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


@pytest.mark.parametrize("padded", [False, True])
def test_the_attention_to_train_with_gives_the_gradients_of_the_fused_one(
    padded: bool, mlm_config: Config
) -> None:
    config = dataclasses.replace(mlm_config, init_from_checkpoint=None)
    model = build_language_model(config, load_tokenizer(Path(config.data_dir) / "tokenizer"))
    ids = torch.randint(4, 20, (3, 32))
    visible = (torch.arange(32) < torch.tensor([[32], [20], [9]])).long() if padded else None
    assert model.base_model.config._attn_implementation == FUSED
    fused = gradients(model, ids, visible)
    choose_attention_to_train(model.base_model, CPU, torch.bfloat16, rows=3, length=32)
    assert model.base_model.config._attn_implementation == PRODUCTS
    for left, right in zip(fused, gradients(model, ids, visible), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-7)


def test_long_sequences_keep_the_fused_attention_which_stores_no_shares(
    mlm_config: Config,
) -> None:
    model = build_language_model(
        mlm_config, load_tokenizer(Path(mlm_config.data_dir) / "tokenizer")
    )
    choose_attention_to_train(model.base_model, CPU, torch.bfloat16, rows=32, length=8192)
    assert model.base_model.config._attn_implementation == FUSED
