"""A checkpoint becomes the filler that it is, or is refused with what to do."""

import inspect
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    BertLMHeadModel,
    BertModel,
    PreTrainedTokenizerFast,
)

from synthenticity.config import Config
from synthenticity.errors import ConfigError, ModelError
from synthenticity.synthesis.causal_inference import CausalInferenceEngine
from synthenticity.synthesis.filling_model import load_filling_model
from synthenticity.synthesis.mlm_inference import MLMInferenceEngine

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SIZES: dict[str, dict[str, Any]] = {
    "bert": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    | {"intermediate_size": 16, "max_position_embeddings": 64},
    "gpt2": {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64}
    | {"bos_token_id": 0, "eos_token_id": 0},
}


def tokenizer(words: int = 40, mask_token: str | None = "w3") -> Any:
    vocabulary = {f"w{index}": index for index in range(words)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="w1"))
    special = {"pad_token": "w0", "unk_token": "w1", "bos_token": "w2"}
    special |= {"mask_token": mask_token} if mask_token else {}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


def config(family: str, rows: int = 40, **settings: Any) -> Any:
    return AutoConfig.for_model(family, vocab_size=rows, **SIZES[family], **settings)


def saved(folder: Path, model: Any, its_tokenizer: Any = None) -> Path:
    model.save_pretrained(folder)
    (its_tokenizer or tokenizer()).save_pretrained(folder)
    return folder


def masked(folder: Path, its_tokenizer: Any = None, rows: int = 40) -> Path:
    torch.manual_seed(0)
    return saved(folder, AutoModelForMaskedLM.from_config(config("bert", rows)), its_tokenizer)


def causal(folder: Path, its_tokenizer: Any = None) -> Path:
    torch.manual_seed(0)
    return saved(folder, AutoModelForCausalLM.from_config(config("gpt2")), its_tokenizer)


def load(path: Any, **options: Any) -> Any:
    return load_filling_model(path, device="cpu", **options)


def of_a_decoder(folder: Path) -> Path:
    return saved(folder, BertLMHeadModel(config("bert", is_decoder=True)))


def of_both_kinds(folder: Path) -> Path:
    """Make a checkpoint that does not say how it was trained."""
    return with_setting(masked(folder), "architectures", None)


def of_both_kinds_without_mask_token(folder: Path) -> Path:
    path = saved(
        folder, BertLMHeadModel(config("bert", is_decoder=True)), tokenizer(mask_token=None)
    )
    return with_setting(path, "architectures", None)


def with_setting(folder: Path, key: str, value: Any) -> Path:
    content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**content, key: value}), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (masked, MLMInferenceEngine),
        (causal, CausalInferenceEngine),
        (of_a_decoder, CausalInferenceEngine),
        (of_both_kinds, MLMInferenceEngine),
        (of_both_kinds_without_mask_token, CausalInferenceEngine),
    ],
)
def test_a_checkpoint_becomes_the_filler_that_it_is(
    make: Callable[[Path], Path], kind: type, tmp_path: Path
) -> None:
    engine = load(make(tmp_path / "model"))
    assert type(engine) is kind
    assert engine.name == str(tmp_path / "model") and engine.revision is None
    assert (engine.mask_token_id is None) == (kind is CausalInferenceEngine)
    ids = np.full((2, 16), 9)
    written = engine.fill(ids, ids == 9, sequence_keys=np.arange(2)).ids
    assert not np.isin(written, engine.special_ids).any()


def without_tokenizer(folder: Path) -> None:
    (masked(folder) / "tokenizer.json").unlink()


def in_the_old_format(folder: Path) -> None:
    masked(folder)
    weights = AutoModelForMaskedLM.from_pretrained(folder).state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")


def with_too_many_words(folder: Path) -> None:
    masked(folder, tokenizer(41))


def without_head(folder: Path) -> None:
    saved(folder, BertModel(config("bert")))


def of_another_task(folder: Path) -> None:
    masked(folder)
    AutoConfig.for_model("vit").save_pretrained(folder)


def with_code(folder: Path) -> None:
    with_setting(masked(folder), "model_type", "foreign")
    with_setting(folder, "auto_map", {"AutoConfig": "code.C", "AutoModelForMaskedLM": "code.M"})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (without_tokenizer, "no fast tokenizer"),
        (in_the_old_format, r"old format \(pytorch_model.bin\).*Convert.*model_weights = \"any\""),
        (with_too_many_words, "ids up to 40, the model only 40 tokens"),
        (without_head, "is not a masked language model: the checkpoint lacks"),
        (of_another_task, "is a vit model, not"),
        (with_code, "needs Python code of its own.*model_remote_code = true"),
    ],
)
def test_what_cannot_fill_is_refused_in_one_line(
    make: Callable[[Path], None], words: str, tmp_path: Path
) -> None:
    make(tmp_path / "model")
    with pytest.raises(ModelError, match=words) as caught:
        load(tmp_path / "model")
    assert "\n" not in str(caught.value) and str(tmp_path / "model") in str(caught.value)


def test_each_engine_refuses_the_other_kind_and_says_where_it_goes(tmp_path: Path) -> None:
    folder = causal(tmp_path / "gpt2")
    words = "is a gpt2 model, not a masked.*left-to-right.*in a recipe.*load_filling_model"
    with pytest.raises(ModelError, match=words):
        MLMInferenceEngine.from_pretrained(folder, device="cpu")
    with pytest.raises(ModelError, match="is a bert model, not a left-to-right"):
        CausalInferenceEngine.from_pretrained(masked(tmp_path / "bert"), device="cpu")


def test_nothing_unsafe_is_allowed_unless_asked_for() -> None:
    for loader in (load_filling_model, MLMInferenceEngine.from_pretrained):
        options = inspect.signature(loader).parameters
        assert options["weights"].default == "safetensors"
        assert options["remote_code"].default is False
    assert Config().model_weights == "safetensors" and Config().model_remote_code is False


def test_weights_in_the_old_format_load_if_allowed_and_are_the_same(tmp_path: Path) -> None:
    in_the_old_format(tmp_path / "old")
    old = load(tmp_path / "old", weights="any")
    assert old.fingerprint == load(masked(tmp_path / "new")).fingerprint


CODE = """
from transformers import BertConfig, BertForMaskedLM
class C(BertConfig):
    model_type = "foreign"
class M(BertForMaskedLM):
    config_class = C
"""


def test_code_of_a_checkpoint_runs_if_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path))
    folder = tmp_path / "model"
    with_code(folder)
    (folder / "code.py").write_text(CODE, encoding="utf-8")
    assert type(load(folder, remote_code=True).model).__name__ == "M"


def test_embedding_rows_that_no_token_owns_are_never_written(tmp_path: Path) -> None:
    engine = load(masked(tmp_path, rows=64))
    ids = np.full((50, 16), 9)
    written = engine.fill(ids, ids == 9, sequence_keys=np.arange(50), temperature=50.0).ids
    assert written.max() == 39 and len(np.unique(written)) > 20


def test_control_tokens_that_a_tokenizer_only_marks_as_special_are_never_written(
    tmp_path: Path,
) -> None:
    marked = tokenizer()
    marked.add_tokens(["w10"], special_tokens=True)
    engine = load(masked(tmp_path, marked))
    ids = np.full((50, 16), 9)
    written = engine.fill(ids, ids == 9, sequence_keys=np.arange(50), temperature=50.0).ids
    assert 10 not in written and 11 in written


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a cache of the hub that holds org/bert at two commits."""
    root = tmp_path / "cache"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(root))
    monkeypatch.chdir(tmp_path)
    repository = root / "models--org--bert"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT, encoding="utf-8")
    masked(repository / "snapshots" / COMMIT)
    shutil.copytree(repository / "snapshots" / COMMIT, repository / "snapshots" / COMMIT[::-1])
    return root


def test_a_model_of_the_hub_knows_its_commit(hub_cache: Path) -> None:
    assert load("org/bert").revision == COMMIT
    assert load("org/bert", revision="main").revision == COMMIT
    assert load("org/bert", revision=COMMIT[::-1]).revision == COMMIT[::-1]


def test_what_the_hub_cannot_give_offline_is_an_error_that_says_how_else(hub_cache: Path) -> None:
    assert hub_cache.is_dir()
    words = "HF_HUB_OFFLINE is set.*hf download org/none --local-dir DIR; then give that folder"
    with pytest.raises(ModelError, match=words) as caught:
        load("org/none")
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set"):
        load("org/bert", revision="no-such-branch")


def test_what_the_hub_answers_is_passed_on() -> None:
    with pytest.raises(
        ModelError, match="no/such/id: there is no such folder, and a hub id is NAME"
    ):
        load("no/such/id")


def test_a_folder_has_no_revision(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"revision: .* is a folder"):
        load(masked(tmp_path), revision="main")
