"""Filling in rounds, in either order, and what may not be written: each row by itself."""

from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import AutoConfig, AutoModelForMaskedLM, PreTrainedTokenizerFast

from synthenticity.errors import ConfigError, ModelError
from synthenticity.runtimes.row_cache import RowCache
from synthenticity.synthesis.mlm_inference import MLMInferenceEngine
from synthenticity.synthesis.rows import Fill

VOCABULARY = 1200
LENGTH, PADDED = 48, 64
SPECIAL = {"pad_token": "w0", "unk_token": "w1", "cls_token": "w2", "mask_token": "w3"}
SIZE = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2} | {
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
FAMILIES = {
    "bert": SIZE,
    "modernbert": {**SIZE, "local_attention": 8, "global_attn_every_n_layers": 3},
}


def tokenizer() -> Any:
    words = {f"w{index}": index for index in range(VOCABULARY)}
    backend = Tokenizer(models.WordLevel(words, unk_token="w1"))
    return PreTrainedTokenizerFast(tokenizer_object=backend, **SPECIAL)


def build(family: str) -> MLMInferenceEngine:
    torch.manual_seed(0)
    ids = dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 2)
    config = AutoConfig.for_model(
        family, vocab_size=VOCABULARY, pad_token_id=0, **FAMILIES[family], **ids
    )
    model = AutoModelForMaskedLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    return MLMInferenceEngine(model, tokenizer())


@pytest.fixture(scope="module", params=FAMILIES)
def engine(request: pytest.FixtureRequest) -> MLMInferenceEngine:
    return build(request.param)


@pytest.fixture(scope="module")
def bert() -> MLMInferenceEngine:
    return build("bert")


def batch(rows: int = 64) -> dict[str, np.ndarray]:
    """Return rows of many shapes and settings; every third is padded, one has no mask."""
    rng = np.random.default_rng(0)
    visible = np.ones((rows, PADDED), dtype=np.int64)
    visible[::3, LENGTH:] = 0
    mask = (rng.random(visible.shape) < rng.random((rows, 1))) & (visible == 1)
    mask[2] = False
    return {
        "input_ids": np.where(visible == 1, rng.integers(4, VOCABULARY, visible.shape), 0),
        "mask_positions": mask,
        "attention_mask": visible,
        "sequence_keys": rng.integers(2**62, size=rows),
        "temperature": rng.choice([0.0, 0.7, 1.0], rows),
        "top_k": rng.choice([0, 5, 200], rows),
        "top_p": rng.choice([1.0, 0.8], rows),
        "steps": rng.choice([1, 2, 3, 8, 100], rows),
        "order": rng.choice(["confident", "random"], rows),
        "forbid_original": rng.random(rows) < 0.5,
    }


def taken(fields: dict[str, np.ndarray], rows: Any) -> dict[str, np.ndarray]:
    return {name: value[rows] for name, value in fields.items()}


def assert_same(fill: Fill, other: Fill, rows: Any) -> None:
    for name in ("ids", "log_probability", "rank"):
        assert np.array_equal(getattr(fill, name), getattr(other, name)[rows]), name


def test_a_row_is_filled_alike_whatever_its_batch(engine: MLMInferenceEngine) -> None:
    fields = batch()
    together = engine.fill(**fields)
    shuffled = np.random.default_rng(1).permutation(64)
    for rows in ([0], [1], [2], [63], [5, 2, 9, 60, 8, 7, 6], range(20, 27), shuffled):
        assert_same(engine.fill(**taken(fields, list(rows))), together, list(rows))


def watched_rounds(
    engine: MLMInferenceEngine, fields: dict[str, np.ndarray]
) -> tuple[Fill, list[np.ndarray]]:
    """Fill, and return which positions still held the mask in each forward."""
    engine.cache = RowCache(0)
    seen: list[np.ndarray] = []
    hook = engine.runtime.encoder.register_forward_pre_hook(
        lambda _module, given: seen.append((given[0] == engine.mask_token_id).numpy())
    )
    fill = engine.fill(**fields)
    hook.remove()
    return fill, seen


@pytest.mark.parametrize("order", ["confident", "random"])
@pytest.mark.parametrize(("masks", "steps"), [(7, 3), (8, 4), (3, 10), (5, 1)])
def test_rounds_write_even_shares_and_no_more_rounds_than_masks(
    bert: MLMInferenceEngine, order: str, masks: int, steps: int
) -> None:
    ids = np.full((1, LENGTH), 9)
    mask = np.arange(LENGTH)[None] < masks
    fields = {"input_ids": ids, "mask_positions": mask, "sequence_keys": np.array([3])}
    fill, seen = watched_rounds(bert, {**fields, "steps": steps, "order": order})
    left = [int(one.sum()) for one in seen] + [0]
    shares = -np.diff(left)
    assert left[0] == masks and len(shares) == min(masks, steps)
    assert shares.max() - shares.min() <= 1
    assert not (fill.ids == bert.mask_token_id).any()


def test_a_confident_round_writes_the_likeliest_draws(bert: MLMInferenceEngine) -> None:
    fields = taken(batch(), [1])
    settings = {"order": "confident", "temperature": 1.0, "forbid_original": False}
    settings |= {"top_k": 0, "top_p": 1.0}
    one_shot = bert.fill(**{**fields, **settings, "steps": 1})
    fill, seen = watched_rounds(bert, {**fields, **settings, "steps": 4})
    mask = fields["mask_positions"]
    first = mask & ~seen[1]
    assert (fill.ids[first] == one_shot.ids[first]).all()
    assert np.allclose(fill.log_probability[first], one_shot.log_probability[first], atol=1e-5)
    lowest = one_shot.log_probability[first].min()
    assert (one_shot.log_probability[mask & ~first] <= lowest).all()


def test_later_rounds_see_what_earlier_ones_wrote(bert: MLMInferenceEngine) -> None:
    """The last token's log-probability is that of the model given all the others."""
    fields = taken(batch(), [1])
    for order in ("confident", "random"):
        fill, seen = watched_rounds(bert, {**fields, "order": order, "steps": 100})
        last = seen[-1]
        assert last.sum() == 1
        inputs = torch.as_tensor(np.where(last, bert.mask_token_id, fill.ids))
        with torch.inference_mode():
            logits = bert.model(input_ids=inputs).logits[torch.as_tensor(last)]
            logits[:, :4] = -torch.inf
        expected = logits.log_softmax(dim=1)[0, int(fill.ids[last][0])]
        assert fill.log_probability[last] == pytest.approx(float(expected), abs=1e-4)


def test_a_random_order_is_one_of_the_rows_key_and_positions_alone(
    bert: MLMInferenceEngine,
) -> None:
    fields = taken(batch(), [1, 1, 4])
    fields |= {"order": "random", "steps": 3}
    fields["mask_positions"] = np.arange(PADDED)[None].repeat(3, axis=0) < 30
    fields["sequence_keys"] = np.array([5, 6, 5])
    _, seen = watched_rounds(bert, fields)
    assert (seen[1][0] != seen[1][1]).any()
    assert (seen[1][0] == seen[1][2]).all()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_forbidden_original_is_never_written_and_still_counts_as_ordinary(
    bert: MLMInferenceEngine, temperature: float
) -> None:
    fields = taken(batch(), [1, 4, 7])
    fields |= {"temperature": temperature, "steps": 1, "top_k": 0, "top_p": 1.0}
    fields["forbid_original"] = False
    free = bert.fill(**fields)
    fields["input_ids"] = free.ids  # now the original is what the model would write
    fields["forbid_original"] = np.array([True, True, False])
    forbidden = bert.fill(**fields)
    mask = fields["mask_positions"]
    assert (forbidden.ids[:2][mask[:2]] != free.ids[:2][mask[:2]]).all()
    assert (forbidden.ids[2] == free.ids[2]).all()
    if temperature == 0:
        assert (forbidden.rank[:2][mask[:2]] == 1).all()


def test_unwritable_ids_are_never_written_and_part_the_arithmetic(
    bert: MLMInferenceEngine,
) -> None:
    fields = batch()
    usual = np.unique(bert.fill(**fields).ids[fields["mask_positions"]])[::2]
    other = MLMInferenceEngine(bert.model, bert.tokenizer, unwritable_ids=usual)
    written = other.fill(**fields).ids[fields["mask_positions"]]
    assert len(usual) > 50 and not np.isin(written, usual).any()
    assert other.fingerprint == bert.fingerprint and other.arithmetic != bert.arithmetic
    other.unwritable_ids = np.array([], dtype=np.int64)
    assert other.arithmetic == bert.arithmetic
    assert_same(other.fill(**fields), bert.fill(**fields), slice(None))
    with pytest.raises(ModelError, match=f"{VOCABULARY} is not below {VOCABULARY}"):
        other.unwritable_ids = np.array([VOCABULARY])
    with pytest.raises(ModelError, match="fewer than two"):
        other.unwritable_ids = np.arange(4, VOCABULARY - 1)


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"steps": 0}, "steps: 0 is not"), ({"order": "left"}, "'left' is none of confident")],
)
def test_steps_and_orders_that_are_none_are_refused(
    bert: MLMInferenceEngine, settings: dict, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        bert.fill(**{**batch(), **settings})


def test_padded_and_whole_rows_share_no_forward(bert: MLMInferenceEngine) -> None:
    """Attention without a mask is another kernel on some devices, and rounds otherwise."""
    bert.cache = RowCache(0)
    seen: list[Any] = []
    hook = bert.runtime.encoder.register_forward_pre_hook(
        lambda _module, given: seen.append(given[1])
    )
    bert.fill(**{**batch(), "steps": 1})
    hook.remove()
    assert len(seen) == 2
    assert sum(mask is None for mask in seen) == 1
    assert all(not mask.all(dim=1).any() for mask in seen if mask is not None)


def test_parts_of_few_rows_and_logits_give_the_same_rows(
    bert: MLMInferenceEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = batch()
    whole = bert.fill(**fields)
    module = "synthenticity.synthesis.filling_engine"
    monkeypatch.setattr(bert, "_head_rows", 16)
    monkeypatch.setattr(f"{module}.FORWARD_TOKENS", 9 * PADDED)
    _, seen = watched_rounds(bert, fields)
    assert max(map(len, seen)) <= 9 and min(map(len, seen[:5])) < 9
    assert_same(bert.fill(**fields), whole, slice(None))
