"""`MLMInferenceEngine`: any `AutoModelForMaskedLM` as a filler of masks.

One model call per batch, and the LM head only where a token is masked: the encoder's output is
cut down to the masked rows before the model's own head sees it, which works for every
architecture whose head treats positions one by one. Special tokens are never written.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synthenticity.errors import CompatibilityError, ModelError
from synthenticity.seeding import digest
from synthenticity.synthesis.checkpoints import (
    context_length,
    load_mlm,
    load_mlm_tokenizer,
    resolve_device,
    resolve_dtype,
)
from synthenticity.synthesis.sampling import (
    Sampling,
    draw_sequence_keys,
    draw_tokens,
    position_keys,
    rank_of,
)
from synthenticity.text.tokenization import special_ids

FORWARD_TOKENS = 32_768
NOT_ARCHITECTURE = {"_name_or_path", "architectures", "dtype", "transformers_version"}
"""Keys of a model's configuration that do not change what it computes."""
HEAD_ROW_BLOCK = 16
"""The head sees a multiple of so many rows: the last rows of a matrix product that fill no block
of its kernel are rounded otherwise (on AMD processors already the last two of ten)."""


@dataclass(frozen=True)
class Fill:
    """What the engine wrote, all `[batch, length]`.

    `log_probability` (nats, at temperature 1, over ordinary tokens) and `rank` (0 = likeliest)
    are those of the written token, and 0 and -1 where nothing was masked.
    """

    ids: NDArray[np.int64]
    log_probability: NDArray[np.float32]
    rank: NDArray[np.int32]


@contextmanager
def _encoder_output_cut_to(model: Any, positions: Tensor) -> Iterator[None]:
    """Within, the model's head sees only the masked rows, as a batch of one sequence."""

    def cut(_module: Any, _args: Any, output: Any) -> Any:
        rows = output.last_hidden_state[positions]
        missing = -len(rows) % HEAD_ROW_BLOCK
        output.last_hidden_state = torch.nn.functional.pad(rows, (0, 0, 0, missing))[None]
        return output

    hook = model.base_model.register_forward_hook(cut)
    try:
        yield
    finally:
        hook.remove()


def masked_logits(
    model: Any, input_ids: Tensor, positions: Tensor, attention_mask: Tensor | None = None
) -> Tensor:
    """Return the logits `[masked, vocabulary]` at the masked positions, in row-major order.

    `input_ids`, `positions` (bool) and `attention_mask` are `[batch, length]`. Gradients flow.
    """
    count = int(positions.sum())
    with _encoder_output_cut_to(model, positions):
        logits: Tensor = model(input_ids=input_ids, attention_mask=attention_mask).logits
    return logits[0, :count]


class MLMInferenceEngine:
    """A pretrained masked language model that writes tokens at masked positions.

    Args:
        model: any `AutoModelForMaskedLM`; put into evaluation mode.
        tokenizer: its fast tokenizer, with a mask token.
        name: what records say wrote the tokens.

    Raises:
        ModelError: the tokenizer has no mask token.

    """

    def __init__(self, model: Any, tokenizer: Any, *, name: str = "mlm") -> None:
        if tokenizer.mask_token_id is None:
            raise ModelError(f"{name}: its tokenizer has no mask token, so it cannot fill.")
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.name = name
        self.mask_token_id = int(tokenizer.mask_token_id)
        self.special_ids = special_ids(tokenizer)
        self._banned = torch.as_tensor(self.special_ids, device=model.device)

    @classmethod
    def from_pretrained(
        cls, path: str | Path, *, device: str = "auto", dtype: str = "auto"
    ) -> "MLMInferenceEngine":
        """Load a folder or hub id (safetensors only, no remote code).

        Raises:
            ModelError: missing, not a masked language model, or without a usable tokenizer.

        """
        tokenizer = load_mlm_tokenizer(path)
        where = resolve_device(device)
        model = load_mlm(path).to(device=where, dtype=resolve_dtype(dtype, where))
        return cls(model, tokenizer, name=str(path))

    @property
    def fingerprint(self) -> str:
        """A digest of the weights and the architecture, wherever they were loaded from."""
        settings = self.model.config.to_dict()
        architecture = {key: settings[key] for key in settings if key not in NOT_ARCHITECTURE}
        parts: list[bytes | str] = [json.dumps(architecture, sort_keys=True, default=str)]
        for key, tensor in sorted(self.model.state_dict().items()):
            flat = tensor.detach().cpu().contiguous().flatten()
            parts += [key, str(tensor.dtype), flat.view(torch.uint8).numpy().tobytes()]
        return digest(*parts)

    @property
    def arithmetic(self) -> str:
        """What else decides the written tokens: device kind, dtype and matrix precision."""
        precision = torch.get_float32_matmul_precision()
        return f"{self.model.device.type} {self.model.dtype} {precision}".replace("torch.", "")

    def check_length(self, tokens: int) -> None:
        """Raise a `CompatibilityError` if the model cannot read that many tokens at once."""
        limit = context_length(self.model.config)
        if tokens > limit:
            raise CompatibilityError(
                f"block_size: sequences of {tokens} tokens are longer than the {limit} that "
                f"{self.name} can read. Lower block_size, or train the MLM with a larger one."
            )

    def predict_masked_tokens(
        self,
        input_ids: Any,
        mask_positions: Any,
        *,
        rng: np.random.Generator | None = None,
        sequence_keys: NDArray[np.int64] | None = None,
        **sampling: Any,
    ) -> NDArray[np.int64]:
        """Return the ids `[batch, length]` with the masked positions written; see `fill`.

        `rng` draws a key for each row where `sequence_keys` are not given.
        """
        if sequence_keys is None:
            if rng is None:
                raise TypeError("predict_masked_tokens: needs rng or sequence_keys.")
            sequence_keys = draw_sequence_keys(rng, len(input_ids))
        return self.fill(input_ids, mask_positions, sequence_keys=sequence_keys, **sampling).ids

    @torch.inference_mode()
    def fill(
        self,
        input_ids: Any,
        mask_positions: Any,
        *,
        sequence_keys: NDArray[np.int64],
        temperature: float | NDArray[np.float64] = 1.0,
        top_k: int | NDArray[np.int64] | None = None,
        top_p: float | NDArray[np.float64] | None = None,
        attention_mask: Any = None,
    ) -> Fill:
        """Write a token at every masked position.

        What stands at a masked position is ignored and replaced by the mask token. The result
        is a function of each row alone: its ids, mask, key and sampling.

        Args:
            input_ids: `[batch, length]`, numpy or torch; not changed.
            mask_positions: bool `[batch, length]`.
            sequence_keys: `[batch]`, the noise key of each row.
            temperature: of the sampling, one or `[batch]`; 0 is greedy.
            top_k: sample among the k likeliest, one or `[batch]`; None or 0 for all.
            top_p: sample within this mass, one or `[batch]`; None or 1 for all.
            attention_mask: `[batch, length]`, for padded rows.

        """
        ids = np.asarray(input_ids, dtype=np.int64)
        mask = np.asarray(mask_positions, dtype=bool)
        self.check_length(ids.shape[1])
        rows = len(ids)
        settings = {
            "keys": np.broadcast_to(np.asarray(sequence_keys, dtype=np.int64), rows),
            "temperature": np.broadcast_to(np.asarray(temperature, dtype=np.float64), rows),
            "top_k": np.broadcast_to(np.asarray(0 if top_k is None else top_k), rows),
            "top_p": np.broadcast_to(np.asarray(1.0 if top_p is None else top_p), rows),
        }
        attention = None if attention_mask is None else np.asarray(attention_mask)
        written = ids.copy()
        log_probability = np.zeros(ids.shape, dtype=np.float32)
        rank = np.full(ids.shape, -1, dtype=np.int32)
        step = max(1, FORWARD_TOKENS // max(1, ids.shape[1]))
        for start in range(0, rows, step):
            part = slice(start, start + step)
            if mask[part].any():
                tokens, probabilities, ranks = self._fill_part(
                    ids[part],
                    mask[part],
                    {key: value[part] for key, value in settings.items()},
                    None if attention is None else attention[part],
                )
                written[part][mask[part]] = tokens
                log_probability[part][mask[part]] = probabilities
                rank[part][mask[part]] = ranks
        return Fill(written, log_probability, rank)

    def _fill_part(
        self,
        ids: NDArray[np.int64],
        mask: NDArray[np.bool_],
        settings: dict[str, NDArray[Any]],
        attention: NDArray[Any] | None,
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        device = self.model.device
        masked = torch.as_tensor(np.where(mask, self.mask_token_id, ids), device=device)
        positions = torch.as_tensor(mask, device=device)
        visible = None if attention is None else torch.as_tensor(attention, device=device)
        logits = masked_logits(self.model, masked, positions, visible).float()
        logits[:, self._banned] = -torch.inf
        row, column = (torch.as_tensor(index, device=device) for index in np.nonzero(mask))
        each = {key: torch.tensor(value, device=device)[row] for key, value in settings.items()}
        sampling = Sampling(each["temperature"], each["top_k"], each["top_p"])
        tokens = draw_tokens(logits, position_keys(each["keys"], column), sampling)
        probability = logits.log_softmax(dim=1).gather(1, tokens[:, None])[:, 0]
        return (
            tokens.cpu().numpy(),
            probability.cpu().numpy(),
            rank_of(logits, tokens).cpu().numpy(),
        )
