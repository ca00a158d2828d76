"""`SequenceScorer`: an encoder that reads channels beside ids, and what its heads say of a text.

The token head gives each token's probability of being machine-written; the synthenticity of the
text is their mean over counted tokens, moved in logit space by the [CLS] head (which starts at
zero, so an untrained correction changes nothing). `head = "cls"` is the plan's scorer: [CLS],
one linear layer, sigmoid; it learns later and less (docs/benchmarks.md).
"""

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import MODEL_MAPPING, AutoConfig, AutoModel, PreTrainedConfig
from transformers import PreTrainedModel as _PreTrainedModel
from transformers.utils import ModelOutput

from synthenticity.training.enriched_embedding import Channel, EnrichedEmbedding
from synthenticity.training.likelihood_channel import LikelihoodChannel
from synthenticity.training.ngram_channel import NgramChannel
from synthenticity.training.padding import padding_mask
from synthenticity.training.scorer_folder import SCORER_TYPE

SCORER_FORMAT = 2
IDENTITY_MAP = (1.0, 1.0, 0.0)


class SequenceScorerConfig(PreTrainedConfig):  # type: ignore[misc]
    """What a scorer is: its encoder's own configuration, its head, and what it reads.

    `special_token_ids` are not counted, and `outside_ids`, padding and [CLS], are no part of an
    n-gram. `likelihoods` are the arguments of a `LikelihoodChannel`, without `special`. `tokenizer`
    is the fingerprint of the tokenizer that the scorer was trained with. `ratio_map` (see
    `mapped_logit`) and `interval_margin`, which widens every interval, are what held-out documents
    asked for when training had ended; `replaced_share` is that of their filled tokens that were
    not what stood there before.
    """

    model_type = SCORER_TYPE

    def __init__(
        self,
        encoder: dict[str, Any] | None = None,
        *,
        head: str = "token",
        special_token_ids: list[int] | None = None,
        block_size: int = 256,
        tokenizer: str = "",
        ngram_sizes: list[int] | None = None,
        ngram_bits: int = 16,
        ngram_width: int = 16,
        ngram_dropout: float = 0.0,
        outside_ids: list[int] | None = None,
        likelihoods: dict[str, Any] | None = None,
        ratio_map: Sequence[float] = IDENTITY_MAP,
        interval_margin: float = 0.0,
        replaced_share: float | None = None,
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
        self.likelihoods = likelihoods
        self.ratio_map = list(ratio_map)
        self.interval_margin = interval_margin
        self.replaced_share = replaced_share
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
        self.channel_head = None
        channels = _channels_of(config)
        if channels:
            enriched = EnrichedEmbedding(self.encoder.get_input_embeddings(), channels)
            self.encoder.set_input_embeddings(enriched)
            if self.token_head is not None:
                self.channel_head = nn.Linear(enriched.width, 1, bias=False)
        self.encoder_frozen = False
        self.post_init()
        for head in (self.cls_head, self.interval_head, self.channel_head):
            if head is not None:
                nn.init.zeros_(head.weight)
        nn.init.zeros_(self.cls_head.bias)
        nn.init.constant_(self.interval_head.bias, FIRST_INTERVAL)
        if self.enriched is not None:
            self.enriched.forget()

    @property
    def enriched(self) -> EnrichedEmbedding | None:
        """What adds channels to the encoder's embeddings, if anything does."""
        embedding = self.encoder.get_input_embeddings()
        return embedding if isinstance(embedding, EnrichedEmbedding) else None

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the encoder without those of its channels."""
        enriched = self.enriched
        new = [] if enriched is None else [*enriched.channels, enriched.projection]
        added = {id(each) for module in new for each in module.parameters()}
        return [each for each in self.encoder.parameters() if id(each) not in added]

    def load_encoder(self, weights: dict[str, Tensor]) -> None:
        """Take the weights of an encoder of the same architecture, which has no channels."""
        enriched = self.enriched
        if enriched is not None:
            self.encoder.set_input_embeddings(enriched.words)
        self.encoder.load_state_dict(weights)
        if enriched is not None:
            self.encoder.set_input_embeddings(enriched)

    def load_reader(self, weights: dict[str, Tensor]) -> None:
        """Take the weights of the language model whose likelihoods are a channel."""
        for channel in self._likelihood_channels():
            channel.reader.load_state_dict(weights)

    def _likelihood_channels(self) -> list[LikelihoodChannel]:
        channels: Iterable[nn.Module] = () if self.enriched is None else self.enriched.channels
        return [channel for channel in channels if isinstance(channel, LikelihoodChannel)]

    def freeze_encoder(self, frozen: bool) -> None:
        """Freeze the encoder really (no gradient, no dropout), or thaw it."""
        self.encoder_frozen = frozen
        self.encoder.requires_grad_(not frozen)
        for channel in self._likelihood_channels():
            channel.reader.requires_grad_(False)
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
        elif self.config.outside_ids:  # channels know padding by its id
            input_ids = input_ids.masked_fill(attention_mask == 0, self.config.outside_ids[0])
        hidden, features = self._read(input_ids, attention_mask)
        special = torch.tensor(self.config.special_token_ids, device=input_ids.device)
        counted = ~torch.isin(input_ids, special)
        logit = cls_logit = self.cls_head(hidden[:, 0]).squeeze(-1).float()
        token_logits = None
        if self.token_head is not None:
            token_logits = self.token_head(hidden).squeeze(-1).float()
            if self.channel_head is not None and features is not None:
                token_logits = token_logits + self.channel_head(features).squeeze(-1).float()
            probability = token_logits.sigmoid() * counted
            mean = probability.sum(dim=1) / counted.sum(dim=1).clamp(min=1)
            logit = logit + mean.clamp(MEAN_MARGIN, 1 - MEAN_MARGIN).logit()
        logit = mapped_logit(logit, self.config.ratio_map)
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
            low=(low - margin).clamp(min=0).minimum(synthenticity),
            high=(high + margin).clamp(max=1).maximum(synthenticity),
        )

    def _read(
        self, input_ids: Tensor, attention_mask: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return what encoder and channels make of each token, `[batch, length, width]` both."""
        enriched, dtype = self.enriched, self.cls_head.weight.dtype
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.encoder_frozen):
            hidden = self.encoder(
                input_ids=input_ids, attention_mask=attention_mask
            ).last_hidden_state
            features = None if enriched is None else enriched.take_features(input_ids).to(dtype)
        return hidden.to(dtype), features  # an encoder alone may be in bfloat16


def mapped_logit(logit: Tensor, ratio_map: Sequence[float]) -> Tensor:
    """Return what a logit means: a, b and c make it a log r - b log(1 - r) + c, r its sigmoid.

    That is beta calibration (Kull et al. 2017), which can lower small ratios and leave large ones.
    """
    a, b, c = ratio_map
    return a * nn.functional.logsigmoid(logit) - b * nn.functional.logsigmoid(-logit) + c


def interval_bounds(synthenticity: Tensor, interval_logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the ends `[batch]` of the interval around a synthenticity `[batch]`, before margin.

    They are softplus of the logits `[batch, 2]` away from it, and may leave 0 to 1.
    """
    below, above = nn.functional.softplus(interval_logits).unbind(dim=1)
    return synthenticity - below, synthenticity + above


def _channels_of(config: SequenceScorerConfig) -> list[Channel]:
    channels: list[Channel] = []
    if config.ngram_sizes:
        channels.append(
            NgramChannel(
                sizes=config.ngram_sizes,
                bits=config.ngram_bits,
                width=config.ngram_width,
                dropout=config.ngram_dropout,
                outside=config.outside_ids,
            )
        )
    if config.likelihoods:
        channels.append(LikelihoodChannel(**config.likelihoods, special=config.special_token_ids))
    return channels


def _encoder_of(config: Any) -> Any:
    """Return a new encoder, without the pooler that some classes put behind it."""
    kind = MODEL_MAPPING[type(config)]
    takes = inspect.signature(kind.__init__).parameters
    return AutoModel.from_config(
        config, **({"add_pooling_layer": False} if "add_pooling_layer" in takes else {})
    )


AutoConfig.register("sequence_scorer", SequenceScorerConfig, exist_ok=True)
AutoModel.register(SequenceScorerConfig, SequenceScorer, exist_ok=True)
