"""Left to right: each token after its own prefix, with a cache, and each row by itself."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from synthenticity.errors import CompatibilityError, ConfigError, ModelError
from synthenticity.synthesis.causal_inference import CausalInferenceEngine
from synthenticity.synthesis.rows import Fill

LENGTH = 64
VOCABULARY = 1100
SIZE = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4} | {
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 128,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": 128},
    "llama": SIZE,
    "qwen2": SIZE,
    "mistral": {**SIZE, "sliding_window": 20},
    "opt": {"hidden_size": 48, "word_embed_proj_dim": 48, "num_hidden_layers": 2}
    | {"num_attention_heads": 4, "ffn_dim": 64, "max_position_embeddings": 128},
}


def train_tokenizer(**special: str) -> Any:
    """Return a byte-level BPE tokenizer of more than a thousand tokens."""
    rng = np.random.default_rng(0)
    syllables = ["".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), 3)) for _ in range(400)]
    text = [" ".join("".join(rng.choice(syllables, 2)) for _ in range(50)) for _ in range(200)]
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<s>", "</s>", "<unused>"],
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    backend.train_from_iterator(text, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


def build(family: str, **special: str) -> CausalInferenceEngine:
    torch.manual_seed(0)
    tokenizer = train_tokenizer(**special)
    ids = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    config = AutoConfig.for_model(family, vocab_size=len(tokenizer), **FAMILIES[family], **ids)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    return CausalInferenceEngine(model, tokenizer, name=family)


@pytest.fixture(scope="module", params=FAMILIES)
def engine(request: pytest.FixtureRequest) -> CausalInferenceEngine:
    return build(request.param, bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="module")
def llama() -> CausalInferenceEngine:
    return build("llama", bos_token="<s>", eos_token="</s>")


def batch(rows: int = 64) -> dict[str, np.ndarray]:
    """Return rows masked here and there, in spans, whole or not at all; some begin with <s>."""
    rng = np.random.default_rng(0)
    ids = rng.integers(3, VOCABULARY, (rows, LENGTH))
    mask = rng.random(ids.shape) < rng.random((rows, 1))
    for row in range(0, rows, 3):
        start, end = np.sort(rng.integers(0, LENGTH, 2))
        mask[row] = (np.arange(LENGTH) >= start) & (np.arange(LENGTH) <= end)
    mask[4], mask[7] = True, False
    ids[1::5, 0], mask[1::5, 0] = 0, False
    return {
        "input_ids": ids,
        "mask_positions": mask,
        "sequence_keys": rng.integers(2**62, size=rows),
        "temperature": rng.choice([0.0, 0.7, 1.0], rows),
        "top_k": rng.choice([0, 20], rows),
        "top_p": rng.choice([1.0, 0.9], rows),
        "forbid_original": rng.random(rows) < 0.5,
    }


def taken(fields: dict[str, np.ndarray], rows: Any) -> dict[str, np.ndarray]:
    return {name: value[rows] for name, value in fields.items()}


def assert_same(fill: Fill, other: Fill, rows: Any) -> None:
    for name in ("ids", "log_probability", "rank"):
        assert np.array_equal(getattr(fill, name), getattr(other, name)[rows]), name


def slow_reference(engine: CausalInferenceEngine, row: np.ndarray, mask: np.ndarray) -> Fill:
    """Fill one row greedily by one whole forward a token, without a cache."""
    fill = Fill.unwritten(row[None])
    for column in np.nonzero(mask)[0]:
        prefix = fill.ids[0, :column]
        if not len(prefix) or prefix[0] != 0:
            prefix = np.concatenate([[0], prefix])
        with torch.inference_mode():
            logits = engine.model(input_ids=torch.as_tensor(prefix)[None]).logits[0, -1]
            logits[:3] = -torch.inf
            token = int(logits.argmax())
            probability = float(logits.log_softmax(dim=0)[token])
        fill.put((0, column), (np.array(token), np.array(probability), np.array(0)))
    return fill


def test_greedy_filling_is_that_of_one_whole_forward_a_token(
    engine: CausalInferenceEngine,
) -> None:
    fields = taken(batch(), slice(0, 12))
    fields |= {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "forbid_original": False}
    found = engine.fill(**fields)
    for row in range(12):
        mask = fields["mask_positions"][row]
        expected = slow_reference(engine, fields["input_ids"][row], mask)
        assert (found.ids[row] == expected.ids[0]).all()
        assert np.allclose(found.log_probability[row], expected.log_probability[0], atol=1e-4)
        assert (found.rank[row] == np.where(mask, 0, -1)).all()


def test_a_row_is_filled_alike_whatever_its_batch(engine: CausalInferenceEngine) -> None:
    fields = batch()
    together = engine.fill(**fields)
    shuffled = np.random.default_rng(1).permutation(64)
    for rows in ([0], [1], [4], [7], [63], [5, 2, 9, 60, 8, 7, 6], range(20, 27), shuffled):
        assert_same(engine.fill(**taken(fields, list(rows))), together, list(rows))


def test_padding_on_the_right_changes_nothing(engine: CausalInferenceEngine) -> None:
    fields = batch()
    padding = np.zeros((64, 16), dtype=np.int64)
    padded = {
        **fields,
        "input_ids": np.concatenate([fields["input_ids"], padding + 1], axis=1),
        "mask_positions": np.concatenate([fields["mask_positions"], padding > 0], axis=1),
        "attention_mask": np.concatenate([np.ones((64, LENGTH), dtype=int), padding], axis=1),
    }
    found = engine.fill(**padded)
    cut = Fill(found.ids[:, :LENGTH], found.log_probability[:, :LENGTH], found.rank[:, :LENGTH])
    assert_same(cut, engine.fill(**fields), slice(None))


def test_only_masked_positions_are_written_and_only_with_text(llama: CausalInferenceEngine) -> None:
    fields = batch()
    ids, mask = fields["input_ids"].copy(), fields["mask_positions"]
    found = llama.fill(**{**fields, "temperature": 3.0})
    assert (fields["input_ids"] == ids).all() and (found.ids[~mask] == ids[~mask]).all()
    assert not np.isin(found.ids[mask], [0, 1]).any()
    assert (found.rank[~mask] == -1).all() and (found.log_probability[mask] < 0).all()
    forbidden = fields["forbid_original"][:, None] & mask
    assert (found.ids[forbidden] != ids[forbidden]).all()


def test_what_follows_is_not_seen_and_what_precedes_is(llama: CausalInferenceEngine) -> None:
    fields = taken(batch(), [0])
    mask = np.arange(LENGTH)[None] == 40
    fields |= {"mask_positions": mask, "forbid_original": False}
    found = llama.fill(**fields)
    for column, is_seen in ((41, False), (39, True), (3, True)):
        ids = fields["input_ids"].copy()
        ids[0, column] = (ids[0, column] - 2) % 1000 + 3
        other = llama.fill(**{**fields, "input_ids": ids})
        assert (other.log_probability[mask] != found.log_probability[mask]).any() == is_seen


def test_a_beginning_is_read_at_once_and_the_rest_a_column_a_call(
    llama: CausalInferenceEngine,
) -> None:
    calls: list[tuple[int, ...]] = []
    hook = llama.computing.base_model.register_forward_pre_hook(
        lambda _module, _arguments, named: calls.append(tuple(named["input_ids"].shape)),
        with_kwargs=True,
    )
    ids = np.full((20, LENGTH), 9)
    mask = np.zeros(ids.shape, dtype=bool)
    mask[:, 40:44] = True
    llama.fill(ids, mask, sequence_keys=np.arange(20))
    hook.remove()
    # with the start token in front, position 40 is column 41: columns 0 to 31 at once
    assert calls == [(20, 32)] + [(32, 1)] * 12


def test_arithmetic_names_the_version_of_torch(llama: CausalInferenceEngine) -> None:
    version = torch.__version__.split("+")[0]
    assert llama.arithmetic.startswith(f"torch {version} cpu float32")


def test_without_a_start_token_the_first_position_cannot_be_masked() -> None:
    bare = build("gpt2")
    ids = np.full((2, LENGTH), 9)
    mask = np.arange(LENGTH)[None].repeat(2, axis=0) == 0
    with pytest.raises(CompatibilityError, match="no start or end token to put before it"):
        bare.fill(ids, mask, sequence_keys=np.arange(2))
    found = bare.fill(ids, ~mask, sequence_keys=np.arange(2))
    assert (found.ids[:, 0] == 9).all() and (found.rank[:, 1:] >= 0).all()


def test_a_model_in_a_dtype_that_is_not_computed_is_refused(llama: CausalInferenceEngine) -> None:
    half = copy.deepcopy(llama.model).half()
    with pytest.raises(ConfigError, match="dtype: float16 is not computed here"):
        CausalInferenceEngine(half, llama.tokenizer)


def test_the_end_token_stands_in_for_a_start_token() -> None:
    assert build("gpt2", eos_token="</s>").start_token_id == 1


@pytest.mark.parametrize("settings", [{"steps": 2}, {"order": np.array(["random"] * 64)}])
def test_rounds_and_orders_are_refused(llama: CausalInferenceEngine, settings: dict) -> None:
    with pytest.raises(ConfigError, match="writes from left to right"):
        llama.fill(**{**batch(), **settings})


def test_padding_on_the_left_is_refused(llama: CausalInferenceEngine) -> None:
    visible = np.ones((64, LENGTH), dtype=np.int64)
    visible[3, :2] = 0
    with pytest.raises(CompatibilityError, match="Pad on the right"):
        llama.fill(**batch(), attention_mask=visible)


def test_the_start_token_counts_for_the_length(llama: CausalInferenceEngine) -> None:
    llama.check_length(127)
    with pytest.raises(CompatibilityError, match="128 tokens are longer than the 127"):
        llama.check_length(128)


def test_models_without_a_key_value_cache_are_refused_in_words() -> None:
    tokenizer = train_tokenizer(bos_token="<s>")
    config = AutoConfig.for_model("mamba", vocab_size=VOCABULARY, hidden_size=16, num_layers=1)
    engine = CausalInferenceEngine(AutoModelForCausalLM.from_config(config), tokenizer)
    with pytest.raises(ModelError, match="keeps no key-value cache"):
        engine.fill(**batch())


def test_rows_of_many_parts_are_filled_alike(
    llama: CausalInferenceEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = batch()
    whole = llama.fill(**fields)
    monkeypatch.setattr("synthenticity.synthesis.filling_engine.FORWARD_TOKENS", 10 * LENGTH)
    assert_same(llama.fill(**fields), whole, slice(None))
