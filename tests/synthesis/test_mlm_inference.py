"""The engine fills what is masked, with any architecture, and each row by itself."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM

from synthenticity.config import Config
from synthenticity.errors import CompatibilityError, ConfigError, ModelError
from synthenticity.synthesis import filling_engine
from synthenticity.synthesis.masked_head import masked_logits
from synthenticity.synthesis.mlm_inference import MLMInferenceEngine
from synthenticity.text.tokenization import build_character_tokenizer
from synthenticity.training.model import new_encoder_config

LETTERS = "abcdefghijklmnopqrstuvwxyz .,\n"
LENGTH = 32
SIZE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
FAMILIES = {
    "bert": SIZE,
    "roformer": {**SIZE, "embedding_size": 32},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48},
    "roberta": SIZE,
}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return build_character_tokenizer([LETTERS], block_size=64)


def build(family: str, tokenizer: Any) -> Any:
    """Return a random model whose weights are large enough for clear preferences."""
    torch.manual_seed(0)
    if family == "ours":
        config = new_encoder_config(
            Config(layers=2, hidden_size=32, intermediate_size=48, block_size=63), tokenizer
        )
    else:
        ids = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
        config = AutoConfig.for_model(family, **ids, **FAMILIES[family])
    model = AutoModelForMaskedLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    return model


@pytest.fixture(scope="module", params=["ours", *FAMILIES])
def engine(request: pytest.FixtureRequest, tokenizer: Any) -> MLMInferenceEngine:
    return MLMInferenceEngine(build(request.param, tokenizer), tokenizer)


@pytest.fixture(scope="module")
def ours(tokenizer: Any) -> MLMInferenceEngine:
    return MLMInferenceEngine(build("ours", tokenizer), tokenizer)


def batch(rows: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ids, masks and keys."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(4, 4 + len(LETTERS), (rows, LENGTH))
    return ids, rng.random(ids.shape) < 0.4, rng.integers(2**62, size=rows)


def test_the_head_at_masked_positions_says_what_the_whole_head_says(
    engine: MLMInferenceEngine,
) -> None:
    ids, mask, _ = batch()
    inputs, positions = torch.as_tensor(ids), torch.as_tensor(mask)
    with torch.inference_mode():
        whole = engine.model(input_ids=inputs).logits[positions]
        cut = masked_logits(engine.model, inputs, positions)
    assert cut.shape == (mask.sum(), len(engine.tokenizer))
    assert torch.allclose(cut, whole, atol=1e-5)


def test_only_masked_positions_are_written_and_the_input_stays(engine: MLMInferenceEngine) -> None:
    ids, mask, keys = batch()
    before = ids.copy()
    written = engine.predict_masked_tokens(ids, mask, sequence_keys=keys)
    assert (ids == before).all()
    assert (written[~mask] == ids[~mask]).all()
    assert (written[mask] != ids[mask]).any()
    assert not np.isin(written, engine.special_ids).any()


def test_what_stood_at_a_masked_position_is_not_seen(engine: MLMInferenceEngine) -> None:
    ids, mask, keys = batch()
    other = np.where(mask, 5, ids)
    left, right = (
        engine.predict_masked_tokens(values, mask, sequence_keys=keys) for values in (ids, other)
    )
    assert (left == right).all()


def test_visible_tokens_are_seen(engine: MLMInferenceEngine) -> None:
    ids, mask, keys = batch()
    other = np.where(mask, ids, (ids - 3) % len(LETTERS) + 4)
    left, right = (engine.fill(values, mask, sequence_keys=keys) for values in (ids, other))
    assert (left.log_probability[mask] != right.log_probability[mask]).mean() > 0.5


def test_a_row_is_filled_alike_whatever_its_batch(engine: MLMInferenceEngine) -> None:
    ids, mask, keys = batch(rows=9)
    together = engine.fill(ids, mask, sequence_keys=keys)
    single = [[row] for row in range(9)]
    for rows in (*single, [8, 3, 0], [0, 1, 2, 3, 4, 5, 6], [3, 3]):
        alone = engine.fill(ids[rows], mask[rows], sequence_keys=keys[rows])
        assert (alone.ids == together.ids[rows]).all()
        assert (alone.log_probability == together.log_probability[rows]).all()


def test_padding_changes_nothing(engine: MLMInferenceEngine) -> None:
    ids, mask, keys = batch()
    padding = np.zeros((len(ids), 16), dtype=int)
    visible = np.concatenate([np.ones_like(ids), padding], axis=1)
    padded = engine.fill(
        np.concatenate([ids, padding], axis=1),
        np.concatenate([mask, padding.astype(bool)], axis=1),
        sequence_keys=keys,
        attention_mask=visible,
    )
    bare = engine.fill(ids, mask, sequence_keys=keys)
    assert (padded.ids[:, :LENGTH] == bare.ids).all()
    assert np.allclose(padded.log_probability[:, :LENGTH], bare.log_probability, atol=1e-4)


def test_log_probability_and_rank_are_those_of_the_written_token(
    engine: MLMInferenceEngine,
) -> None:
    ids, mask, keys = batch()
    found = engine.fill(ids, mask, sequence_keys=keys, temperature=2.0)
    inputs = torch.as_tensor(np.where(mask, engine.mask_token_id, ids))
    with torch.inference_mode():
        logits = engine.model(input_ids=inputs).logits
        logits[..., torch.as_tensor(engine.special_ids)] = -torch.inf
    expected = logits.log_softmax(dim=-1)
    chosen = expected.gather(2, torch.as_tensor(found.ids)[..., None])[..., 0].numpy()
    assert np.allclose(found.log_probability[mask], chosen[mask], atol=1e-4)
    likelier = (logits > logits.gather(2, torch.as_tensor(found.ids)[..., None])).sum(dim=2)
    assert (found.rank[mask] == likelier.numpy()[mask]).mean() > 0.99
    assert (found.rank[~mask] == -1).all() and (found.log_probability[~mask] == 0).all()
    greedy = engine.fill(ids, mask, sequence_keys=keys, temperature=0.0)
    assert (greedy.rank[mask] == 0).all()


def test_the_mask_token_is_never_written_however_likely(tokenizer: Any) -> None:
    model = build("bert", tokenizer)
    with torch.no_grad():
        model.cls.predictions.bias[:4] += 1000.0
    ids, mask, keys = batch()
    engine = MLMInferenceEngine(model, tokenizer)
    for temperature in (0.0, 1.0, 5.0):
        written = engine.predict_masked_tokens(
            ids, mask, sequence_keys=keys, temperature=temperature
        )
        assert not np.isin(written, engine.special_ids).any()


def test_one_model_call_fills_a_batch(ours: MLMInferenceEngine) -> None:
    calls: list[tuple[int, ...]] = []
    hook = ours.runtime.encoder.register_forward_pre_hook(
        lambda _module, given: calls.append(tuple(given[0].shape))
    )
    ids, mask, keys = batch(rows=12)
    ours.predict_masked_tokens(ids, mask, sequence_keys=keys)
    ours.predict_masked_tokens(ids, np.zeros_like(mask), sequence_keys=keys)
    hook.remove()
    assert calls == [(12, LENGTH)]


def test_keys_and_positions_decide_the_draw(ours: MLMInferenceEngine) -> None:
    ids, mask, keys = batch()
    first = ours.predict_masked_tokens(ids, mask, sequence_keys=keys)
    assert (ours.predict_masked_tokens(ids, mask, sequence_keys=keys) == first).all()
    assert (ours.predict_masked_tokens(ids, mask, sequence_keys=keys + 1) != first).any()
    twins = ours.predict_masked_tokens(ids[[0, 0]], mask[[0, 0]], sequence_keys=keys[:2])
    assert (twins[0] != twins[1]).any()


def test_an_empty_batch_is_no_error(ours: MLMInferenceEngine) -> None:
    nothing = np.zeros((0, LENGTH), dtype=int)
    assert ours.predict_masked_tokens(nothing, nothing > 0, sequence_keys=nothing[:, 0]).shape == (
        0,
        LENGTH,
    )


def test_texts_longer_than_the_model_reads_are_refused_naming_both(
    ours: MLMInferenceEngine,
) -> None:
    long = np.full((1, 100), 5)
    with pytest.raises(CompatibilityError, match="100 tokens are longer than the 64"):
        ours.predict_masked_tokens(long, long > 5, sequence_keys=np.zeros(1))


def test_models_that_count_positions_from_the_padding_id_read_fewer(tokenizer: Any) -> None:
    engine = MLMInferenceEngine(build("roberta", tokenizer), tokenizer)
    longest = np.full((1, 63), 5)
    engine.predict_masked_tokens(longest, longest == 5, sequence_keys=np.zeros(1))
    with pytest.raises(CompatibilityError, match="64 tokens are longer than the 63"):
        engine.check_length(64)
    with pytest.raises(RuntimeError, match="out of bounds"):
        engine.model(input_ids=torch.full((1, 64), 5))


def test_the_fingerprint_knows_the_weights(tokenizer: Any) -> None:
    left, right = (MLMInferenceEngine(build("ours", tokenizer), tokenizer) for _ in range(2))
    assert left.fingerprint == right.fingerprint
    with torch.no_grad():
        next(right.model.parameters())[0, 0] += 1e-6
    assert left.fingerprint != MLMInferenceEngine(right.model, tokenizer).fingerprint


def test_the_weights_are_read_for_one_fingerprint_only(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = MLMInferenceEngine(build("ours", tokenizer), tokenizer)
    first = engine.fingerprint
    monkeypatch.setattr(engine.model, "state_dict", None)
    assert engine.fingerprint == first


def test_a_saved_engine_fills_alike(ours: MLMInferenceEngine, tmp_path: Path) -> None:
    ours.model.save_pretrained(tmp_path)
    ours.tokenizer.save_pretrained(tmp_path)
    ids, mask, keys = batch()
    loaded = MLMInferenceEngine.from_pretrained(tmp_path, device="cpu")
    assert loaded.fingerprint == ours.fingerprint
    assert (
        loaded.predict_masked_tokens(ids, mask, sequence_keys=keys)
        == ours.predict_masked_tokens(ids, mask, sequence_keys=keys)
    ).all()


def remove_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def remove_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def remove_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def damage_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"damaged")


def keep_the_encoder_only(folder: Path) -> None:
    encoder = AutoModel.from_pretrained(folder)
    encoder.save_pretrained(folder)


def make_it_causal(folder: Path) -> None:
    config = AutoConfig.for_model("gpt2", vocab_size=40, n_embd=16, n_layer=1, n_head=2)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)


def drop_the_mask_token(folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["mask_token"] = None
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (remove_tokenizer, r"no tokenizer\.json"),
        (remove_weights, "no model can be loaded"),
        (remove_config, "is not a model checkpoint"),
        (damage_weights, "no model can be loaded"),
        (keep_the_encoder_only, "not a masked language model"),
        (make_it_causal, "is a gpt2 model, not a masked language model"),
        (drop_the_mask_token, "no mask token"),
        (shutil.rmtree, "is not a model checkpoint"),
    ],
)
def test_what_is_no_masked_language_model_is_refused_in_words(
    harm: Any, words: str, ours: MLMInferenceEngine, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    ours.model.save_pretrained(folder)
    ours.tokenizer.save_pretrained(folder)
    harm(folder)
    with pytest.raises(ModelError, match=words) as caught:
        MLMInferenceEngine.from_pretrained(folder, device="cpu")
    assert "\n" not in str(caught.value)


def test_the_fingerprint_knows_the_architecture_and_not_the_place(
    ours: MLMInferenceEngine, tmp_path: Path
) -> None:
    ours.model.save_pretrained(tmp_path)
    ours.tokenizer.save_pretrained(str(tmp_path))
    again = MLMInferenceEngine.from_pretrained(tmp_path, device="cpu")
    assert again.fingerprint == ours.fingerprint
    again.model.config.num_attention_heads = 4
    other = MLMInferenceEngine(again.model, ours.tokenizer)
    assert other.fingerprint != ours.fingerprint


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64], ids=str)
def test_a_model_in_a_dtype_that_is_not_computed_is_refused_or_converted(
    dtype: torch.dtype, tokenizer: Any
) -> None:
    model = build("ours", tokenizer).to(dtype)
    with pytest.raises(ConfigError, match=f"dtype: {str(dtype)[6:]} is not computed here"):
        MLMInferenceEngine(model, tokenizer)
    ids, mask, keys = batch()
    converted = MLMInferenceEngine(model, tokenizer, dtype="float32")
    assert (converted.fill(ids, mask, sequence_keys=keys).rank[mask] >= 0).all()


def test_the_fingerprint_knows_how_attention_is_computed(tokenizer: Any) -> None:
    one, other = (MLMInferenceEngine(build("ours", tokenizer), tokenizer) for _ in range(2))
    other.model.set_attn_implementation("eager")
    assert one.fingerprint != other.fingerprint


class _Float64Tensors(TorchDispatchMode):
    """Counts what is computed with float64, which MPS refuses."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        is_new = func is not torch.ops.aten.lift_fresh.default  # else a view of numpy's, on the CPU
        self.count += is_new and getattr(found, "dtype", None) == torch.float64
        return found


def test_a_device_without_float64_draws_in_float32(
    ours: MLMInferenceEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, mask, keys = batch()
    settings = {"temperature": 0.7, "top_p": 0.8, "sequence_keys": keys}
    with _Float64Tensors() as usual:
        expected = ours.fill(ids, mask, **settings)
    monkeypatch.setattr(filling_engine, "widest_float", lambda _: torch.float32)
    with _Float64Tensors() as narrow:
        found = ours.fill(ids, mask, **settings)
    assert narrow.count == 0 and usual.count > 0
    assert (found.ids == expected.ids).all()


def test_keys_can_be_drawn_from_a_generator(ours: MLMInferenceEngine) -> None:
    ids, mask, _ = batch()
    written = [
        ours.predict_masked_tokens(ids, mask, rng=np.random.default_rng(seed)) for seed in (1, 1, 2)
    ]
    assert (written[0] == written[1]).all() and (written[0] != written[2]).any()
    with pytest.raises(TypeError, match="needs rng or sequence_keys"):
        ours.predict_masked_tokens(ids, mask)


def test_a_folder_that_is_not_there_is_not_only_looked_for_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = "runs/mlm: there is no such folder.*synthenticity train configs/char_mlm.toml"
    with pytest.raises(ModelError, match=words):
        MLMInferenceEngine.from_pretrained("runs/mlm")
