"""What is trained, from a config: a language model or a scorer, new or from a checkpoint.

A checkpoint that reads other tokens than the data, or not so many, is refused before it is built.
"""

import logging
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModelForMaskedLM

from synthenticity.config import Config
from synthenticity.errors import CompatibilityError, ModelError, model_loading
from synthenticity.synthesis.checkpoints import (
    CAUSAL,
    MASKED,
    Checkpoint,
    context_length,
    find_checkpoint,
    load_mlm,
    load_mlm_to_train,
)
from synthenticity.text.tokenization import (
    frame_ids,
    load_tokenizer,
    special_ids,
    tokenizer_fingerprint,
)
from synthenticity.training.scorer_folder import check_scorer, is_scorer
from synthenticity.training.sequence_scorer import (
    IDENTITY_MAP,
    SCORER_FORMAT,
    SequenceScorer,
    SequenceScorerConfig,
)

logger = logging.getLogger(__name__)


class ModelMode(StrEnum):
    """What a model is trained for."""

    LANGUAGE_MODEL = "language_model"
    SEQUENCE_SCORER = "sequence_scorer"


def new_encoder_config(config: Config, tokenizer: Any) -> Any:
    """Return the configuration of a new character model: a small ModernBERT.

    Local layers under a global one is what makes it learn within a minute on a CPU: after 70
    CPU-seconds a masked character costs 1.97 nats, with global layers alone 2.14, in RoFormer or
    ConvBERT 2.30, in BERT 3.35 (docs/benchmarks.md).
    """
    local = "sliding_attention" if config.attention_window else "full_attention"
    layer_types = [local] * (config.layers - 1) + ["full_attention"]
    return AutoConfig.for_model(
        "modernbert",
        vocab_size=len(tokenizer),
        hidden_size=config.hidden_size,
        num_hidden_layers=config.layers,
        num_attention_heads=config.attention_heads,
        intermediate_size=config.intermediate_size,
        max_position_embeddings=config.block_size + 1,
        attention_dropout=config.dropout,
        mlp_dropout=config.dropout,
        embedding_dropout=config.dropout,
        layer_types=layer_types,
        local_attention=max(config.attention_window, 1),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.cls_token_id,
        cls_token_id=tokenizer.cls_token_id,
        sep_token_id=tokenizer.cls_token_id,
        tie_word_embeddings=True,
    )


def build_language_model(
    config: Config, tokenizer: Any, on_message: Callable[[str], None] = logger.info
) -> Any:
    """Return a masked language model, new or from `init_from_checkpoint`.

    An encoder without an LM head gets a new one, tied to its embeddings, and a message says so.
    """
    path = config.init_from_checkpoint
    if path:
        check_tokenizer(path, tokenizer, "init_from_checkpoint")
        model, head_is_new = load_mlm_to_train(path)
        if head_is_new:
            on_message(f"{path}: is an encoder; it gets a new LM head, tied to its embeddings.")
        return model
    return AutoModelForMaskedLM.from_config(new_encoder_config(config, tokenizer))


def build_scorer(config: Config, tokenizer: Any) -> SequenceScorer:
    """Return a scorer: new, or with the encoder of an MLM, or all of another scorer.

    Raises:
        CompatibilityError: the checkpoint's tokenizer or length does not fit the data.

    """
    path = config.init_from_checkpoint
    if path is None:
        encoder_config, weights = new_encoder_config(config, tokenizer), None
    else:
        check_tokenizer(path, tokenizer, "init_from_checkpoint")
        if is_scorer(path):
            return _scorer_like(load_scorer(path), config)
        language_model = load_mlm(path)
        encoder_config = language_model.config
        weights = language_model.base_model.state_dict()
    likelihoods, reader = _likelihood_reader(config, tokenizer)
    scorer = SequenceScorer(
        SequenceScorerConfig(
            encoder=encoder_config.to_dict(),
            head=config.head,
            special_token_ids=special_ids(tokenizer).tolist(),
            block_size=config.block_size,
            tokenizer=tokenizer_fingerprint(tokenizer),
            ngram_dropout=config.ngram_dropout,
            **_channel_settings(config),
            outside_ids=[tokenizer.pad_token_id, tokenizer.cls_token_id],
            likelihoods=likelihoods,
        )
    )
    if reader is not None:
        scorer.load_reader(reader.state_dict())
    if weights is not None:
        scorer.load_encoder(weights)
    return scorer


def _likelihood_reader(config: Config, tokenizer: Any) -> tuple[dict[str, Any] | None, Any]:
    """Return the arguments of the channel of a config's `likelihood_model`, and the model.

    Raises:
        CompatibilityError: it reads other tokens than the data.

    """
    path = config.likelihood_model
    if path is None:
        return None, None
    check_tokenizer(path, tokenizer, "likelihood_model")
    found = find_checkpoint(path)
    way, first = _way_of_reading(found)
    model = found.load_model(way)
    arguments = {
        "model": model.config.to_dict(),
        "way": way,
        "passes": config.likelihood_passes,
        "mask_token_id": found.tokenizer.mask_token_id,
        "first": first,
    }
    return arguments, model


def _way_of_reading(reader: Checkpoint) -> tuple[str, int]:
    """Return whether a model reads masked or causal, and how many tokens before the text it has
    never seen: 1 if that is [CLS].
    """
    own = reader.tokenizer
    if MASKED in reader.ways and own.mask_token_id is not None:
        return MASKED, 0 if frame_ids(own)[0] else 1
    starts_with_cls = own.cls_token_id is not None and own.bos_token_id == own.cls_token_id
    return CAUSAL, 0 if starts_with_cls else 1


def tokens_read_by(path: str | Path) -> int:
    """Return how long a sequence, [CLS] counted, may be for a `likelihood_model`."""
    return checkpoint_context_length(path) + _way_of_reading(find_checkpoint(path))[1]


def _channel_settings(config: Config) -> dict[str, Any]:
    """Return what decides the shape of the n-gram tables."""
    return {
        "ngram_sizes": list(config.ngram_sizes),
        "ngram_bits": config.ngram_bits,
        "ngram_width": config.ngram_width,
    }


def _scorer_like(scorer: SequenceScorer, config: Config) -> SequenceScorer:
    if scorer.config.head != config.head:
        raise CompatibilityError(
            f"init_from_checkpoint: that scorer has the head {scorer.config.head!r}, the config "
            f"asks for {config.head!r}. Make them equal."
        )
    asked, own = _channel_settings(config), scorer.config
    for name, value in asked.items():
        if value != getattr(own, name):
            raise CompatibilityError(
                f"{name}: that scorer, {config.init_from_checkpoint}, has {getattr(own, name)!r}, "
                f"the config asks for {value!r}. Make them equal, or start from an MLM."
            )
    if (config.likelihood_model is not None) != (own.likelihoods is not None):
        raise CompatibilityError(
            f"likelihood_model: {config.likelihood_model!r}, and that scorer, "
            f"{config.init_from_checkpoint}, reads {'none' if own.likelihoods is None else 'one'}."
            " Make them equal, or start from an MLM."
        )
    scorer.config.block_size = config.block_size
    scorer.config.ratio_map, scorer.config.interval_margin = list(IDENTITY_MAP), 0.0
    return scorer


def load_scorer(path: str | Path) -> SequenceScorer:
    """Load a trained scorer, in evaluation mode, float32 on the CPU.

    Raises:
        ModelError: the folder holds no scorer that this version reads; says what it holds.
        CompatibilityError: the tokenizer beside it is not the one it was trained with.

    """
    check_scorer(path)
    folder = Path(path)
    with model_loading(path, "scorer"):
        config = SequenceScorerConfig.from_pretrained(str(folder))
        if config.format_version != SCORER_FORMAT:
            raise ModelError(
                f"{path}: is a scorer of format version {config.format_version}, this version of "
                f"synthenticity reads {SCORER_FORMAT}. Train it again."
            )
        found = tokenizer_fingerprint(load_tokenizer(folder))
        if found != config.tokenizer:
            raise CompatibilityError(
                f"{path}: its tokenizer ({found[:12]}) is not the one that the scorer was trained "
                f"with ({config.tokenizer[:12]}). Put that one back."
            )
        model = SequenceScorer.from_pretrained(str(folder), use_safetensors=True)
    model.eval()
    return model  # type: ignore[no-any-return]


def checkpoint_context_length(path: str | Path) -> int:
    """Return how many tokens the model of an MLM or scorer checkpoint can read."""
    with model_loading(path):
        config = AutoConfig.from_pretrained(str(path), trust_remote_code=False)
    if isinstance(config, SequenceScorerConfig):
        inner = dict(config.encoder)
        config = AutoConfig.for_model(inner.pop("model_type"), **inner)
    return context_length(config)


def check_tokenizer(path: str | Path, tokenizer: Any, setting: str) -> None:
    """Raise a `CompatibilityError` if the checkpoint at `path` reads other tokens than the data."""
    other = load_tokenizer(path)
    if tokenizer_fingerprint(other) != tokenizer_fingerprint(tokenizer):
        raise CompatibilityError(
            f"{setting}: the tokenizer of {path} ({len(other)} tokens) is not that of the data "
            f"({len(tokenizer)} tokens). Train both from the same corpus, or make the data with "
            "this checkpoint's tokenizer."
        )
