"""What the two engines share: a pretrained model, its tokenizer, and how a token is drawn.

An engine's result is a function of each row alone, so rows are grouped and cut into parts as it
suits the model: no forward on a CPU reads more than `FORWARD_TOKENS`.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synthenticity.config import SAFETENSORS
from synthenticity.errors import CompatibilityError, ConfigError, ModelError
from synthenticity.recipe import FILL_ORDERS
from synthenticity.runtimes.devices import resolve_device, widest_float
from synthenticity.runtimes.runtime import FORWARD_TOKENS
from synthenticity.seeding import digest
from synthenticity.synthesis.checkpoints import (
    MASKED,
    Checkpoint,
    context_length,
    find_checkpoint,
)
from synthenticity.synthesis.rows import Fill, Rows
from synthenticity.synthesis.sampling import (
    Sampling,
    draw_sequence_keys,
    draw_tokens,
    position_keys,
)
from synthenticity.synthesis.vocabulary import ids_that_are_not_text, logits_width
from synthenticity.text.tokenization import special_ids

FORWARD_TOKENS_ON_GPU = 32_768
NOT_ARCHITECTURE = {"_name_or_path", "architectures", "dtype", "transformers_version"}
"""Keys of a model's configuration that do not change what it computes."""


class FillingEngine(ABC):
    """A pretrained model that writes tokens at masked positions.

    Args:
        model: put into evaluation mode.
        tokenizer: its fast tokenizer.
        name: what records say wrote the tokens.
        revision: the commit of the hub that the model is, if it came from there.
        unwritable_ids: ids that are never written, beside the special ones.
        device: where to compute; default: where the model is.
        dtype: auto, float32, bfloat16 or int8; default: the model's own.
        runtime: what computes: auto, torch, openvino or onnx.

    Raises:
        ConfigError: runtime, dtype, device and kind of model do not fit each other.
        ModelError: model and tokenizer do not fit each other.

    """

    way: ClassVar[str]
    mask_token_id: int | None = None

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str,
        revision: str | None = None,
        unwritable_ids: Iterable[int] = (),
        device: torch.device | None = None,
        dtype: str | None = None,
        runtime: str = "auto",
    ) -> None:
        self._check_tokenizer(tokenizer, name)
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.name = name
        own_dtype = str(model.dtype).removeprefix("torch.")
        self._open(device or model.device, dtype or own_dtype, runtime)
        self.revision = revision
        self.special_ids = special_ids(tokenizer)
        self._not_text = ids_that_are_not_text(model, tokenizer, name)
        self.unwritable_ids = np.array(list(unwritable_ids), dtype=np.int64)

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        runtime: str = "auto",
        weights: str = SAFETENSORS,
        remote_code: bool = False,
    ) -> Self:
        """Load a folder or hub id; `find_checkpoint` says what the arguments allow.

        Raises:
            ConfigError: dtype and runtime do not fit each other, the device or the model's kind.
            ModelError: missing, of another kind, or without a usable tokenizer.

        """
        found = find_checkpoint(path, revision=revision, weights=weights, remote_code=remote_code)
        return cls.load(found, device=device, dtype=dtype, runtime=runtime)

    @classmethod
    def load(
        cls,
        checkpoint: Checkpoint,
        *,
        device: str = "auto",
        dtype: str = "auto",
        runtime: str = "auto",
    ) -> Self:
        """Load a checkpoint that was looked at."""
        checkpoint.require(cls.way)
        tokenizer, where = checkpoint.tokenizer, resolve_device(device)
        cls._check_tokenizer(tokenizer, checkpoint.path)
        return cls(
            checkpoint.load_model(cls.way),
            tokenizer,
            name=checkpoint.path,
            revision=checkpoint.commit,
            device=where,
            dtype=dtype,
            runtime=runtime,
        )

    @classmethod
    def _check_tokenizer(cls, tokenizer: Any, name: str) -> None:
        """Raise a `ModelError` if the tokenizer lacks what this way of writing needs."""
        if cls.way == MASKED and tokenizer.mask_token_id is None:
            raise ModelError(
                f"{name}: its tokenizer has no mask token. Give a masked language model with the "
                "tokenizer that it was trained with."
            )

    @property
    def unwritable_ids(self) -> NDArray[np.int64]:
        """Ids that are never written, beside the special ones; may be set at any time."""
        return self._unwritable_ids

    @unwritable_ids.setter
    def unwritable_ids(self, ids: NDArray[np.int64]) -> None:
        self._unwritable_ids = np.unique(np.asarray(ids, dtype=np.int64))
        width = logits_width(self.model)
        outside = self._unwritable_ids[~np.isin(self._unwritable_ids, np.arange(width))]
        if len(outside):
            raise ModelError(f"{self.name}: unwritable_ids: {outside[0]} is not below {width}.")
        banned = np.union1d(self._not_text, self._unwritable_ids)
        if width - len(banned) < 2:
            raise ModelError(f"{self.name}: fewer than two of its tokens may be written.")
        self._ban = _runs(banned)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the weights and the architecture, wherever they were loaded from.

        It is made once: an engine computes with a copy of the weights that it was given.
        """
        settings = self.model.config.to_dict()
        architecture = {key: settings[key] for key in settings if key not in NOT_ARCHITECTURE}
        architecture["attention"] = self.model.config._attn_implementation
        parts: list[bytes | str] = [json.dumps(architecture, sort_keys=True, default=str)]
        for key, tensor in sorted(self.model.state_dict().items()):
            flat = tensor.detach().cpu().contiguous().flatten()
            parts += [key, str(tensor.dtype), flat.view(torch.uint8).numpy().tobytes()]
        return digest(*parts)

    @abstractmethod
    def _open(self, device: torch.device, dtype: str, runtime: str) -> None:
        """Make of the model what computes."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where logits are."""

    @property
    @abstractmethod
    def calibrated(self) -> bool:
        """Whether it can fill, or must be calibrated before."""

    @abstractmethod
    def calibrate(self, texts: Sequence[str]) -> None:
        """Choose the scales of int8 by texts like those to be filled."""

    @property
    @abstractmethod
    def computed_by(self) -> str:
        """Runtime, device kind, dtype."""

    @property
    def arithmetic(self) -> str:
        """What else decides the written tokens: what computes them, and unwritable ids."""
        if not len(self.unwritable_ids):
            return self.computed_by
        return f"{self.computed_by} unwritable {digest(self.unwritable_ids.tobytes())[:12]}"

    @property
    def longest_input(self) -> int:
        """How many tokens it can read at once, special ones counted."""
        limit = min(context_length(self.model.config), int(self.tokenizer.model_max_length))
        return limit - self._tokens_in_front

    def check_length(self, tokens: int) -> None:
        """Raise a `CompatibilityError` if the model cannot read that many tokens at once."""
        limit = self.longest_input
        if tokens > limit:
            raise CompatibilityError(
                f"block_size: sequences of {tokens} tokens are longer than the {limit} that "
                f"{self.name} can read. Lower block_size, or train the MLM with a larger one."
            )

    @property
    def _tokens_in_front(self) -> int:
        """How many tokens the engine itself puts before a text."""
        return 0

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
        fill = self.fill(
            input_ids, mask_positions, sequence_keys=sequence_keys, opinion=False, **sampling
        )
        return fill.ids

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
        steps: int | NDArray[np.int64] = 1,
        order: str | NDArray[np.str_] = "confident",
        forbid_original: bool | NDArray[np.bool_] = False,
        attention_mask: Any = None,
        opinion: bool = True,
    ) -> Fill:
        """Write a token at every masked position.

        What stands at a masked position is not seen by the model. The result is a function of
        each row alone: its ids, mask, key and settings.

        Args:
            input_ids: `[batch, length]`, numpy or torch; not changed.
            mask_positions: bool `[batch, length]`.
            sequence_keys: `[batch]`, the noise key of each row.
            temperature: of the sampling, one or `[batch]`; 0 is greedy.
            top_k: sample among the k likeliest, one or `[batch]`; None or 0 for all.
            top_p: sample within this mass, one or `[batch]`; None or 1 for all.
            steps: in how many rounds a row's masked positions are written, one or `[batch]`.
            order: what a round writes, one or `[batch]`: `confident` or `random`.
            forbid_original: whether the token in `input_ids` may not be written there again,
                one or `[batch]`.
            attention_mask: `[batch, length]`, 0 at the padding of padded rows.
            opinion: whether log-probabilities and ranks are wanted, too.

        Raises:
            CompatibilityError: the rows are longer than the model reads.
            ConfigError: steps or order that are none, or that this model has not.

        """
        ids = np.asarray(input_ids, dtype=np.int64)
        count = len(ids)

        def each(value: Any, dtype: Any) -> NDArray[Any]:
            return np.broadcast_to(np.asarray(value, dtype=dtype), count)

        rows = Rows(
            ids=ids,
            mask=np.asarray(mask_positions, dtype=bool),
            visible=np.ones(ids.shape, dtype=bool)
            if attention_mask is None
            else np.asarray(attention_mask, dtype=bool),
            keys=each(sequence_keys, np.int64),
            temperature=each(temperature, np.float64),
            top_k=each(0 if top_k is None else top_k, np.int64),
            top_p=each(1.0 if top_p is None else top_p, np.float64),
            steps=each(steps, np.int64),
            order=each(order, np.str_),
            forbid_original=each(forbid_original, bool),
        )
        self._check(rows)
        found = Fill.unwritten(ids)
        for part in self._parts(rows):
            done = self._fill_part(rows[part], opinion)
            found.put(part, (done.ids, done.log_probability, done.rank))
        return found

    def _check(self, rows: Rows) -> None:
        """Refuse rows and settings that cannot be filled."""
        self.check_length(rows.ids.shape[1])
        if (rows.steps < 1).any():
            raise ConfigError(f"steps: {rows.steps.min()} is not at least 1.")
        wrong = set(rows.order.tolist()) - set(FILL_ORDERS)
        if wrong:
            raise ConfigError(f"order: {min(wrong)!r} is none of {', '.join(FILL_ORDERS)}.")

    def _parts(self, rows: Rows) -> Iterator[NDArray[np.int64]]:
        """Yield the row numbers of each part: rows of one kind, as many as are read at once."""
        tokens = FORWARD_TOKENS if self.device.type == "cpu" else FORWARD_TOKENS_ON_GPU
        most = max(1, tokens // max(1, rows.ids.shape[1]))
        kinds = self._kinds(rows)
        masked = rows.mask.any(axis=1)
        for kind in np.unique(kinds):
            members = np.nonzero((kinds == kind) & masked)[0]
            if len(members):
                yield from np.array_split(members, -(-len(members) // most))

    @abstractmethod
    def _kinds(self, rows: Rows) -> NDArray[Any]:
        """Return the kind `[rows]` of each row; only rows of one kind share a forward."""

    @abstractmethod
    def _fill_part(self, rows: Rows, opinion: bool) -> Fill:
        """Fill rows of one kind, each with at least one masked position."""

    def _draw(
        self,
        logits: Tensor,
        rows: Rows,
        at: tuple[NDArray[np.int64], NDArray[np.int64]],
        *,
        opinion: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Draw a token for each position `at` (row, column) from its logits, which are changed.

        Return ids, log-probabilities and ranks; the last two are 0 without `opinion`.
        """
        row, column = at
        device = self.device
        for run in self._ban:
            logits[:, run] = -torch.inf
        total = logits.logsumexp(dim=1) if opinion else None
        keys, top_k, columns = (
            torch.as_tensor(value, device=device)
            for value in (rows.keys[row], rows.top_k[row], column)
        )
        temperature, top_p = (
            torch.from_numpy(value[row]).to(widest_float(device)).to(device)
            for value in (rows.temperature, rows.top_p)
        )
        forbid = np.nonzero(rows.forbid_original[row])[0]
        original = torch.as_tensor(rows.ids[row[forbid], column[forbid]], device=device)
        forbidden = torch.as_tensor(forbid, device=device)
        spared = logits[forbidden, original]
        logits[forbidden, original] = -torch.inf
        sampling = Sampling(temperature, top_k, top_p)
        tokens = draw_tokens(logits, position_keys(keys, columns), sampling)
        if total is None:
            nothing = torch.zeros(len(tokens), device=device)
            return tokens, nothing, nothing
        chosen = logits.gather(1, tokens[:, None])
        rank = (logits > chosen).sum(dim=1)
        rank[forbidden] += spared > chosen[forbidden, 0]
        return tokens, chosen[:, 0] - total, rank


def _runs(ids: NDArray[np.int64]) -> list[slice]:
    """Return sorted ids as runs of neighbours, of which a vocabulary's special ones are few.

    >>> _runs(np.array([0, 1, 2, 7, 9, 10]))
    [slice(0, 3, None), slice(7, 8, None), slice(9, 11, None)]
    """
    runs = np.split(ids, np.flatnonzero(np.diff(ids) > 1) + 1)
    return [slice(int(run[0]), int(run[-1]) + 1) for run in runs if len(run)]
