"""A filling model for a tokenizer of its own: windows in its frame, a head for an encoder."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel

from synthenticity.config import Config
from synthenticity.errors import ConfigError, ModelError
from synthenticity.providers.masked_lm import MaskedLMProvider
from synthenticity.providers.prepare import prepare
from synthenticity.stream.dataset_consumer import DatasetConsumer
from synthenticity.synthesis.checkpoints import load_mlm, load_mlm_to_train
from synthenticity.synthesis.mlm_inference import MLMInferenceEngine
from synthenticity.text.reading import CorpusSource, read_documents
from synthenticity.training.loss import LossModifiers
from synthenticity.training.objective import LanguageModelObjective
from synthenticity.training.train import train
from synthenticity.validation import validate_config

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def wordpiece_tokenizer(folder: Path) -> Any:
    """Train a tokenizer of BERT's kind on the texts of a folder."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=60, special_tokens=SPECIAL, show_progress=False)
    backend.train([str(path) for path in sorted(folder.glob("*.txt"))], trainer)
    frame = [(word, backend.token_to_id(word)) for word in ("[CLS]", "[SEP]")]
    backend.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=frame)
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, **dict(zip(names, SPECIAL, strict=True))
    )


@pytest.fixture(scope="module")
def encoder_path(corpus_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT with a pooler and without an LM head, and its tokenizer."""
    folder = tmp_path_factory.mktemp("encoder")
    tokenizer = wordpiece_tokenizer(corpus_folder)
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "bert",
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=40,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def config(tiny: Config, encoder_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    return dataclasses.replace(
        tiny,
        dataset="masked_lm",
        model_mode="language_model",
        init_from_checkpoint=str(encoder_path),
        data_dir=str(tmp_path_factory.mktemp("masked_lm") / "data"),
        max_iters=60,
        eval_interval=30,
    )


@pytest.fixture(scope="module")
def provider(config: Config) -> MaskedLMProvider:
    return MaskedLMProvider(config)


def test_windows_stand_in_the_tokenizers_own_frame(
    provider: MaskedLMProvider, config: Config
) -> None:
    columns = provider.make_file("train", 0)
    tokenizer = provider.tokenizer
    ids, labels = columns["input_ids"], columns["labels"]
    assert ids.shape == labels.shape == (12, config.block_size)
    assert (ids[:, 0] == tokenizer.cls_token_id).all()
    assert (ids[:, -1] == tokenizer.sep_token_id).all()
    original = np.where(labels == -100, ids, labels)
    source = CorpusSource.from_config(config)
    texts = {found.id: found.text for found in read_documents(source, on_rejected=pytest.fail)}
    for row, name, offset in zip(original, columns["document"], columns["offset"], strict=True):
        tokens = tokenizer(texts[name][offset:], add_special_tokens=False)["input_ids"]
        assert row[1:-1].tolist() == tokens[: config.block_size - 2]


@pytest.mark.parametrize("corruption", ["bert", "mask"])
def test_the_frame_is_never_masked_and_has_no_labels(config: Config, corruption: str) -> None:
    whole = dataclasses.replace(
        config, corruption=corruption, mask_probability_range=(1.0, 1.0), all_filled_share=1.0
    )
    provider = MaskedLMProvider(whole)
    columns = provider.make_file("train", 0)
    assert (columns["labels"][:, [0, -1]] == -100).all()
    assert (columns["input_ids"][:, [0, -1]] == np.ravel(provider.frame)).all()
    text = columns["labels"][:, 1:-1]
    assert ((text == -100) == (text == provider.tokenizer.unk_token_id)).all()
    assert (columns["mask_ratio"] == 1).all()


def test_a_frame_is_part_of_what_data_are_made_with(provider: MaskedLMProvider) -> None:
    tokenizer = provider.tokenizer
    assert provider.made_with()["frame"] == [[tokenizer.cls_token_id], [tokenizer.sep_token_id]]


def test_a_block_without_room_for_text_is_refused(config: Config) -> None:
    with pytest.raises(ConfigError, match=r"2 leaves no room for text beside \[CLS\] \[SEP\].* 3"):
        MaskedLMProvider(dataclasses.replace(config, block_size=2))


def test_data_without_a_checkpoint_are_refused(config: Config) -> None:
    with pytest.raises(ConfigError, match="init_from_checkpoint: not set"):
        MaskedLMProvider(dataclasses.replace(config, init_from_checkpoint=None))


def nats_untrained(config: Config) -> float:
    """Return what a masked token of the val set costs before any step."""
    data = DatasetConsumer(config.data_dir, batch_size=1, split="val").read_all()
    model, _ = load_mlm_to_train(str(config.init_from_checkpoint))
    return LanguageModelObjective(LossModifiers()).evaluate(model.eval(), data, 12)["loss"]


def test_an_encoder_learns_to_fill_and_loads_as_a_filling_model(
    config: Config, encoder_path: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    prepare(config, files=4)
    result = train(config, tmp_path / "mlm", on_message=said.append)
    assert said == [
        f"{encoder_path}: is an encoder; it gets a new LM head, tied to its embeddings."
    ]
    assert result.metrics["loss"] < 0.9 * nats_untrained(config)
    engine = MLMInferenceEngine.from_pretrained(result.out_dir)
    assert engine.tokenizer.get_vocab() == MaskedLMProvider(config).tokenizer.get_vocab()
    again, head_is_new = load_mlm_to_train(result.out_dir)
    assert not head_is_new
    assert again.get_output_embeddings().weight is again.get_input_embeddings().weight
    ids = np.array(engine.tokenizer(["the king and his fool"])["input_ids"])
    mask = ~np.isin(ids, engine.special_ids)
    written = engine.predict_masked_tokens(ids, mask, rng=np.random.default_rng(0))
    assert not np.isin(written[mask], engine.special_ids).any()


def test_the_encoders_weights_are_kept_and_its_pooler_left_out(encoder_path: Path) -> None:
    model, head_is_new = load_mlm_to_train(encoder_path)
    there = load_file(encoder_path / "model.safetensors")
    kept = model.base_model.state_dict()
    assert head_is_new
    assert set(there) - set(kept) == {"pooler.dense.weight", "pooler.dense.bias"}
    assert all(torch.equal(tensor, there[name]) for name, tensor in kept.items())


def test_a_new_head_is_tied_also_where_the_encoder_says_otherwise(
    encoder_path: Path, tmp_path: Path
) -> None:
    model = AutoModel.from_pretrained(encoder_path)
    model.config.tie_word_embeddings = False
    model.save_pretrained(tmp_path)
    mlm, head_is_new = load_mlm_to_train(tmp_path)
    assert head_is_new and mlm.config.tie_word_embeddings
    assert mlm.get_output_embeddings().weight is mlm.get_input_embeddings().weight


def test_an_encoder_is_no_filling_model(encoder_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is not a masked language model: .* lacks cls"):
        load_mlm(encoder_path)


@pytest.mark.parametrize(
    "lost", ["bert.encoder.layer.1.output.dense.weight", "cls.predictions.bias"]
)
def test_a_checkpoint_that_lacks_a_part_is_refused(
    lost: str, encoder_path: Path, tmp_path: Path
) -> None:
    model, _ = load_mlm_to_train(encoder_path)
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    rest = {name: tensor for name, tensor in tensors.items() if name != lost}
    assert len(rest) < len(tensors)
    save_file(rest, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"is incomplete: .* lacks "):
        load_mlm_to_train(tmp_path)


def test_validate_finds_the_data_whole_and_that_they_teach(config: Config) -> None:
    checks = validate_config(config)
    assert [check.name for check in checks if not check.passed] == []
    assert "ten training steps lower the loss" in [check.name for check in checks]
