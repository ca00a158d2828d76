"""A masked language model in two parts: the encoder, and the LM head that is asked for few rows.

Of a vocabulary of 30,522, the head is the larger half of a small model's work, and only masked
positions need it. Works for every architecture whose head treats positions one by one; where that
does not show in a trial, the encoder is the whole model and the head does nothing.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from synthenticity.runtimes.packing import copy_for_inference

TRIAL_ROWS, TRIAL_LENGTH = 2, 16
TRIAL_TOLERANCE = 1e-3


class EncoderPart(nn.Module):
    """Reads rows of ids, and returns the hidden states at chosen places."""

    def __init__(self, encoder: Any, output: str) -> None:
        super().__init__()
        self.encoder, self.output = encoder, output

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None, places: Tensor) -> Tensor:
        """Return `[places, width]`; `places` are indices into the flattened `[rows, length]`."""
        found = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        values: Tensor = getattr(found, self.output)
        return values.reshape(-1, values.shape[-1]).index_select(0, places)


class HeadPart(nn.Module):
    """Turns hidden states into logits: the model around an encoder that has been read already."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        setattr(model, model.base_model_prefix, _Read(model.base_model))
        self.model = model

    def forward(self, rows: Tensor) -> Tensor:
        """Return `[rows, vocabulary]` of `[rows, width]`."""
        logits: Tensor = self.model(input_ids=rows[None]).logits[0]
        return logits


class _Read(nn.Module):
    """Stands where the encoder stood: what it is given as ids has been read already.

    The encoder's weights can be asked for.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.__dict__["_encoder"] = encoder  # not as a module of this one

    def forward(self, input_ids: Tensor, *_: Any, **__: Any) -> BaseModelOutput:
        return BaseModelOutput(last_hidden_state=input_ids)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["_encoder"], name)


def heads_apart(model: Any) -> bool:
    """Whether a model's logits are those of its two parts, by a trial; the model stays as it is."""
    if model.base_model is model:
        return False
    ids = torch.arange(TRIAL_ROWS * TRIAL_LENGTH).reshape(TRIAL_ROWS, TRIAL_LENGTH)
    ids = 1 + ids % (len(model.get_input_embeddings().weight) - 1)
    places = torch.arange(0, ids.numel(), 3)
    trial = copy_for_inference(model, torch.device("cpu"), torch.float32)
    with torch.inference_mode():
        whole = trial(input_ids=ids).logits.flatten(0, 1)[places]
        encoder, head = EncoderPart(trial.base_model, "last_hidden_state"), HeadPart(trial)
        try:
            apart = head(encoder(ids, None, places))
        except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
            return False
    return bool((whole - apart).abs().max() <= TRIAL_TOLERANCE * (1 + whole.abs().max()))


def part(model: Any, *, apart: bool) -> tuple[EncoderPart, nn.Module]:
    """Part a model of one's own; `apart` is what `heads_apart` says of it."""
    if not apart:
        return EncoderPart(model, "logits"), nn.Identity()
    return EncoderPart(model.base_model, "last_hidden_state"), HeadPart(model)
