"""`SequenceScorer`: an encoder, a token head and a [CLS] head.

The token head gives each token's probability of being machine-written; the synthenticity of the
text is their mean over counted tokens, moved in logit space by the [CLS] head (which starts at
zero, so an untrained correction changes nothing). `head = "cls"` is the plan's scorer: [CLS],
one linear layer, sigmoid; it learns later and less (docs/benchmarks.md).
"""

import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import (
    MODEL_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    PreTrainedConfig,
)
from transformers import PreTrainedModel as _PreTrainedModel
from transformers.utils import ModelOutput

from synthenticity.config import Config
from synthenticity.errors import CompatibilityError, ModelError, model_loading
from synthenticity.synthesis.checkpoints import context_length, load_mlm, load_mlm_to_train
from synthenticity.text.tokenization import load_tokenizer, special_ids, tokenizer_fingerprint
from synthenticity.training.ngram_embedding import NgramEmbedding

logger = logging.getLogger(__name__)


class ModelMode(StrEnum):
    """What a model is trained for."""

    LANGUAGE_MODEL = "language_model"
    SEQUENCE_SCORER = "sequence_scorer"


SCORER_FORMAT = 1


class SequenceScorerConfig(PreTrainedConfig):  # type: ignore[misc]
    """What a scorer is: its encoder's own configuration, its head, and what it reads.

    `special_token_ids` are not counted, and `outside_ids`, [CLS] and padding, are no part of an
    n-gram. `tokenizer` is the fingerprint of the tokenizer that the scorer was trained with.
    `interval_margin` widens every interval by what held-out documents asked for.
    """

    model_type = "sequence_scorer"

    def __init__(
        self,
        encoder: dict[str, Any] | None = None,
        *,
        head: str = "token",
        special_token_ids: list[int] | None = None,
        block_size: int = 256,
        tokenizer: str = "",
        ngram_sizes: list[int] | None = None,
        ngram_bits: int = 15,
        ngram_width: int = 16,
        ngram_dropout: float = 0.0,
        outside_ids: list[int] | None = None,
        interval_margin: float = 0.0,
        format_version: int = SCORER_FORMAT,
        **kwargs: Any,
    ) -> None:
        self.encoder = encoder or {}
        self.head = head
        self.special_token_ids = list(special_token_ids or [])
        self.block_size = block_size
        self.tokenizer = tokenizer
        self.ngram_sizes = list(ngram_sizes or [])
        self.ngram_bits, self.ngram_width = ngram_bits, ngram_width
        self.ngram_dropout = ngram_dropout
        self.outside_ids = list(outside_ids or [])
        self.interval_margin = interval_margin
        self.format_version = format_version
        super().__init__(**kwargs)


@dataclass
class ScorerOutput(ModelOutput):  # type: ignore[misc]
    """What a scorer says of a batch.

    `synthenticity` `[batch]`, its `logit` `[batch]`, the [CLS] head's part of that, `cls_logit`
    `[batch]`, and with a token head `token_logits` `[batch, length]` (None otherwise), all
    float32; `counted` `[batch, length]`, the tokens that the synthenticity is the mean over.
    `interval_logits` `[batch, 2]`: how far below and above the synthenticity the truth may lie
    (see `interval_bounds`), and `low` and `high` `[batch]`, the interval.
    """

    synthenticity: Tensor | None = None
    logit: Tensor | None = None
    token_logits: Tensor | None = None
    counted: Tensor | None = None
    cls_logit: Tensor | None = None
    interval_logits: Tensor | None = None
    low: Tensor | None = None
    high: Tensor | None = None


SCORER_INTERVAL = 0.9
"""The share of texts whose synthenticity lies within the interval that goes with it."""
MEAN_MARGIN = 1e-4
"""The mean probability is kept this far from 0 and 1 before its logit is taken."""
FIRST_INTERVAL = -2.0
"""An untrained interval reaches softplus of that, .13, to both sides."""


class SequenceScorer(_PreTrainedModel):  # type: ignore[misc]
    """An `AutoModel` encoder with the heads that score text. See the module's text."""

    config_class = SequenceScorerConfig
    base_model_prefix = "encoder"
    _supports_sdpa = True
    _no_split_modules: ClassVar[list[str]] = []

    def __init__(self, config: SequenceScorerConfig) -> None:
        super().__init__(config)
        inner = dict(config.encoder)
        encoder_config = AutoConfig.for_model(inner.pop("model_type"), **inner)
        self.encoder = _encoder_of(encoder_config)
        width = encoder_config.hidden_size
        self.cls_head = nn.Linear(width, 1)
        self.token_head = nn.Linear(width, 1) if config.head == "token" else None
        self.interval_head = nn.Linear(width, 2)
        if config.ngram_sizes:
            self.encoder.set_input_embeddings(
                NgramEmbedding(
                    self.encoder.get_input_embeddings(),
                    sizes=config.ngram_sizes,
                    bits=config.ngram_bits,
                    width=config.ngram_width,
                    dropout=config.ngram_dropout,
                    outside=config.outside_ids,
                )
            )
        self.encoder_frozen = False
        self.post_init()
        for head in (self.cls_head, self.interval_head):
            nn.init.zeros_(head.weight)
        nn.init.zeros_(self.cls_head.bias)
        nn.init.constant_(self.interval_head.bias, FIRST_INTERVAL)
        if self.ngrams is not None:
            self.ngrams.forget()

    @property
    def ngrams(self) -> NgramEmbedding | None:
        """What adds n-grams to the encoder's embeddings, if anything does."""
        embedding = self.encoder.get_input_embeddings()
        return embedding if isinstance(embedding, NgramEmbedding) else None

    def load_encoder(self, weights: dict[str, Tensor]) -> None:
        """Take the weights of an encoder of the same architecture, which knows no n-grams."""
        ngrams = self.ngrams
        if ngrams is not None:
            self.encoder.set_input_embeddings(ngrams.words)
        self.encoder.load_state_dict(weights)
        if ngrams is not None:
            self.encoder.set_input_embeddings(ngrams)

    def freeze_encoder(self, frozen: bool) -> None:
        """Freeze the encoder really (no gradient, no dropout), or thaw it."""
        self.encoder_frozen = frozen
        self.encoder.requires_grad_(not frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> "SequenceScorer":
        """Set the training mode; a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.encoder_frozen:
            self.encoder.eval()
        return self

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> ScorerOutput:
        """Score sequences `[batch, length]` that begin with [CLS]; padding is not looked at."""
        if attention_mask is None:
            attention_mask = padding_mask(input_ids, self.encoder.config.pad_token_id)
        elif self.ngrams is not None:  # an n-gram at the end of a text must not reach into padding
            input_ids = input_ids.masked_fill(attention_mask == 0, self.config.outside_ids[0])
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.encoder_frozen):
            hidden = self.encoder(
                input_ids=input_ids, attention_mask=attention_mask
            ).last_hidden_state
        hidden = hidden.to(self.cls_head.weight.dtype)  # an encoder alone may be in bfloat16
        special = torch.tensor(self.config.special_token_ids, device=input_ids.device)
        counted = ~torch.isin(input_ids, special)
        logit = cls_logit = self.cls_head(hidden[:, 0]).squeeze(-1).float()
        token_logits = None
        if self.token_head is not None:
            token_logits = self.token_head(hidden).squeeze(-1).float()
            probability = token_logits.sigmoid() * counted
            mean = probability.sum(dim=1) / counted.sum(dim=1).clamp(min=1)
            logit = logit + mean.clamp(MEAN_MARGIN, 1 - MEAN_MARGIN).logit()
        interval_logits = self.interval_head(hidden[:, 0]).float()
        synthenticity = logit.sigmoid()
        low, high = interval_bounds(synthenticity, interval_logits)
        margin = self.config.interval_margin
        return ScorerOutput(
            synthenticity=synthenticity,
            logit=logit,
            token_logits=token_logits,
            counted=counted,
            cls_logit=cls_logit,
            interval_logits=interval_logits,
            low=(low - margin).clamp(0, 1),
            high=(high + margin).clamp(0, 1),
        )


def interval_bounds(synthenticity: Tensor, interval_logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the ends `[batch]` of the interval around a synthenticity `[batch]`, before margin.

    They are softplus of the logits `[batch, 2]` away from it, and may leave 0 to 1.
    """
    below, above = nn.functional.softplus(interval_logits).unbind(dim=1)
    return synthenticity - below, synthenticity + above


def padding_mask(input_ids: Tensor, pad_token_id: int | None) -> Tensor | None:
    """Return which tokens are no padding, `[batch, length]`; None if all are: that is faster."""
    if pad_token_id is None:
        return None
    tokens = input_ids != pad_token_id
    return None if bool(tokens.all()) else tokens.long()


def _encoder_of(config: Any) -> Any:
    """Return a new encoder, without the pooler that some classes put behind it."""
    kind = MODEL_MAPPING[type(config)]
    takes = inspect.signature(kind.__init__).parameters
    return AutoModel.from_config(
        config, **({"add_pooling_layer": False} if "add_pooling_layer" in takes else {})
    )


AutoConfig.register("sequence_scorer", SequenceScorerConfig, exist_ok=True)
AutoModel.register(SequenceScorerConfig, SequenceScorer, exist_ok=True)


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
    scorer = SequenceScorer(
        SequenceScorerConfig(
            encoder=encoder_config.to_dict(),
            head=config.head,
            special_token_ids=special_ids(tokenizer).tolist(),
            block_size=config.block_size,
            tokenizer=tokenizer_fingerprint(tokenizer),
            ngram_sizes=list(config.ngram_sizes),
            ngram_bits=config.ngram_bits,
            ngram_width=config.ngram_width,
            ngram_dropout=config.ngram_dropout,
            outside_ids=[tokenizer.pad_token_id, tokenizer.cls_token_id],
        )
    )
    if weights is not None:
        scorer.load_encoder(weights)
    return scorer


def _scorer_like(scorer: SequenceScorer, config: Config) -> SequenceScorer:
    if scorer.config.head != config.head:
        raise CompatibilityError(
            f"init_from_checkpoint: that scorer has the head {scorer.config.head!r}, the config "
            f"asks for {config.head!r}. Make them equal."
        )
    scorer.config.block_size = config.block_size
    return scorer


def is_scorer(path: str | Path) -> bool:
    """Whether a folder holds a scorer (as against an MLM)."""
    import json

    try:
        content = json.loads((Path(path) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    kind = content.get("model_type") if isinstance(content, dict) else None
    return bool(kind == SequenceScorerConfig.model_type)


def load_scorer(path: str | Path) -> SequenceScorer:
    """Load a trained scorer, in evaluation mode, float32 on the CPU.

    Raises:
        ModelError: the folder holds no scorer that this version reads; says what it holds.
        CompatibilityError: the tokenizer beside it is not the one it was trained with.

    """
    folder = Path(path)
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"{path}: holds no trained scorer (no config.json). Train one with "
            "synthenticity train configs/sequence_scorer.toml --out_dir DIR"
        )
    if not is_scorer(folder):
        raise ModelError(f"{path}: is not a scorer. Give the --out_dir of a sequence_scorer run.")
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
