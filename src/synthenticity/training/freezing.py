"""When the encoder is frozen, and what that means for both kinds of models.

Frozen are all weights of the encoder, also those that a head shares with it: a language model's
output matrix, when it is the embeddings', is the encoder's and stands still with it; what its head
has of its own (a layer, a norm, biases) is trained.
"""

from collections.abc import Callable
from typing import Any

import torch
from transformers import TrainerCallback

from synthenticity.runtimes.attention import choose_attention_to_train
from synthenticity.training.frozen_encoder import FeatureCache, FrozenEncoder
from synthenticity.training.sequence_scorer import SequenceScorer
from synthenticity.training.stream_trainer import StreamTrainer

GIGABYTE = 10**9


class Freezing(TrainerCallback):  # type: ignore[misc]
    """Freezes the encoder until `unfreeze_at_iteration`, also in a continued run."""

    def __init__(self, trainer: StreamTrainer, on_message: Callable[[str], None]) -> None:
        self.trainer = trainer
        self.on_message = on_message
        self.frozen: bool | None = None

    def on_step_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **_kwargs: Any
    ) -> None:
        """Freeze or thaw as the step asks for."""
        frozen = state.global_step < self._thaws_at(state.max_steps)
        if frozen == self.frozen:
            return
        self._end()
        if frozen or self.frozen:
            freeze_encoder(model, frozen)
        encoder = model.base_model
        dtype = torch.bfloat16 if args.bf16 else torch.float32
        if frozen:
            cache = self._cache(state.global_step, state.max_steps)
            self.trainer.frozen_encoder = FrozenEncoder(encoder, dtype, cache)
        else:
            choose_attention_to_train(
                encoder,
                args.device,
                dtype,
                rows=args.per_device_train_batch_size,
                length=self.trainer.settings.block_size,
            )
        self.frozen = frozen

    def on_train_end(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        """Let go of what was only for training."""
        self._end()

    def _thaws_at(self, last: int) -> int:
        settings = self.trainer.settings
        return (settings.unfreeze_at_iteration or last) if settings.freeze_transformer else 0

    def _cache(self, step: int, last: int) -> FeatureCache | None:
        """Return a cache if rows recur while the encoder is frozen: a set's over some epochs."""
        trainer, epoch = self.trainer, self.trainer.consumer.rows_per_epoch
        most = int(trainer.settings.feature_cache_gb * GIGABYTE)
        rows = (min(self._thaws_at(last), last) - step) * trainer.rows_per_step
        if epoch is None or rows <= epoch or most == 0:
            return None
        return FeatureCache(most, epoch + len(trainer.val_data["input_ids"]))

    def _end(self) -> None:
        frozen, self.trainer.frozen_encoder = self.trainer.frozen_encoder, None
        if frozen is None:
            return
        frozen.remove()
        if frozen.cache is not None and frozen.cache.asked:
            cache = frozen.cache
            self.on_message(
                f"While the encoder was frozen, {cache.hits:,} of {cache.asked:,} rows, those of "
                "evaluations counted, had their features from an earlier reading "
                f"({cache.stored_bytes / GIGABYTE:.2f} GB)."
            )


def freeze_encoder(model: Any, frozen: bool) -> None:
    """Freeze the encoder of a scorer or of a language model, or thaw it."""
    if isinstance(model, SequenceScorer):
        model.freeze_encoder(frozen)
    else:
        model.base_model.requires_grad_(not frozen)
